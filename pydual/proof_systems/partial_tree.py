"""An unfinished proof of one problem as columns: what a recorder holds, without loss, so that a search can go on from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pydual.certificate import ADAPTIVE_LINES, INPUT_SPLIT, LEAF, NEURON_SPLIT, PARTS, REFINED, Refinement
from pydual.proof_systems.recorder import EXPLICIT, NO_PRODUCTS, Leaf, TreeRecorder
from pydual.relax.cases import read

KINDS = (LEAF, INPUT_SPLIT, NEURON_SPLIT)
REAL = (
    "threshold", "multipliers", "betas", "product_multipliers", "slopes", "curvatures", "norms", "refined_slopes",
    "refined_case_multipliers",
)  # fmt: skip
PER_NODE = ("kind", "index", "threshold", "first")
MATRICES = ("multipliers", "products", "curvatures", "refined_lines", "refined_slopes", "refined_case_trees")
PER_LEAF = ("closed", "lines", "multipliers", "beta_count", "product_count", "sloped_set", "active_set", "curvatures")

NO_REFINEMENT = Refinement(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.uint8), np.zeros(0, np.int32))


@dataclass(frozen=True, eq=False)
class PartialTree:
    """A tree in which leaves are open. Every number in it is a hint: only an audit of the whole proof decides.

    With N nodes in order of creation (``TreeRecorder``): ``kind``, ``index``, ``threshold``, ``first`` (N,), ``anchor``
    (1,), and ``anchored``, the nodes that are anchors where not the root alone is. With C closed leaves: ``closed`` (C,)
    their nodes, ``lines`` (C,), ``multipliers`` (C, margins), ``betas`` of all, ``beta_count`` (C,). Sets of neurons, which
    many leaves share, are written once: ``members`` of all sets, ``set_size`` (sets,), and of each leaf the numbers of the
    sets ``sloped_set`` that ``slopes`` belong to and ``active_set``. ``products`` and ``product_multipliers`` of all Gram
    leaves, ``product_count`` (C,) how many each leaf has, -1 for linear leaves. ``curvatures`` (C, ReLU layers), -1 in leaves
    that are no ball leaves, or of no layers, and ``norms``.
    Where the anchor is REFINED, what its refinement has, as ``refined_lines``, ``refined_slopes``, ...; else they are empty.
    """

    anchor: np.ndarray
    anchored: np.ndarray
    kind: np.ndarray
    index: np.ndarray
    threshold: np.ndarray
    first: np.ndarray
    closed: np.ndarray
    lines: np.ndarray
    multipliers: np.ndarray
    betas: np.ndarray
    beta_count: np.ndarray
    members: np.ndarray
    set_size: np.ndarray
    sloped_set: np.ndarray
    active_set: np.ndarray
    slopes: np.ndarray
    products: np.ndarray
    product_multipliers: np.ndarray
    product_count: np.ndarray
    curvatures: np.ndarray
    norms: np.ndarray
    refined_lines: np.ndarray
    refined_slopes: np.ndarray
    refined_neurons: np.ndarray
    refined_case_trees: np.ndarray
    refined_case_splits: np.ndarray
    refined_case_multipliers: np.ndarray

    @property
    def refinement(self) -> Refinement | None:
        if self.anchor[0] != REFINED:
            return None
        return Refinement(**{part: getattr(self, f"refined_{part}") for part in PARTS})

    def refined_by(self, refinement: Refinement | None) -> bool:
        """Whether its refinement is this one."""
        own = self.refinement
        if own is None or refinement is None:
            return own is refinement
        return all(
            np.array_equal(mine, other) for mine, other in zip(vars(own).values(), vars(refinement).values(), strict=True)
        )

    @property
    def open(self) -> np.ndarray:
        """The nodes that are still to be proved."""
        leaves = self.kind == LEAF
        leaves[self.closed] = False
        return np.flatnonzero(leaves)

    def fits(self, anchor: int, margins: int) -> bool:
        """Whether it may be about a problem with so many margins, by a proof system with this anchor."""
        return int(self.anchor[0]) == anchor and self.multipliers.shape[1] == margins

    def recorder(self, anchor_cells: bool) -> TreeRecorder:
        """A recorder that goes on where this tree ends."""
        recorder = TreeRecorder(int(self.anchor[0]), anchor_cells)
        recorder.refinements = () if self.refinement is None else (self.refinement,)
        recorder.kind, recorder.index = self.kind.tolist(), self.index.tolist()
        recorder.anchored = set(self.anchored.tolist())
        recorder.threshold, recorder.first = self.threshold.tolist(), self.first.tolist()
        sets = _parts(self.members.astype(np.int64), self.set_size)
        betas = _parts(self.betas, self.beta_count)
        slopes = _parts(self.slopes, self.set_size[self.sloped_set])
        columns = zip(
            self.closed.tolist(), self.lines.tolist(), self.multipliers, betas, self.sloped_set.tolist(), slopes,
            self.active_set.tolist(), self._grams(), self._curved(), strict=True,
        )  # fmt: skip
        for node, lines, multipliers, beta, sloped, slope, active, gram, curved in columns:
            recorder.close(node, Leaf(lines, multipliers, beta, sets[sloped], slope, sets[active], *gram, **curved))
        return recorder

    def _grams(self) -> Iterable[tuple[np.ndarray, ...]]:
        """Of each closed leaf its products and their multipliers; nothing for linear leaves."""
        counts = np.maximum(self.product_count, 0)
        pairs = zip(_parts(self.products, counts), _parts(self.product_multipliers, counts), strict=True)
        return (pair if count >= 0 else () for count, pair in zip(self.product_count.tolist(), pairs, strict=True))

    def _curved(self) -> Iterable[dict[str, np.ndarray]]:
        """Of each closed leaf what it has as a ball leaf."""
        some = self.curvatures.shape[1] > 0
        return ({"curvatures": row, "norms": self.norms} if some and (row >= 0).all() else {} for row in self.curvatures)

    def boxes(self, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cells of the open leaves, rows of (open, inputs). Raises ValueError where one lies below another split."""
        node = self.open
        low, high = np.tile(lower, (len(node), 1)), np.tile(upper, (len(node), 1))
        for row, parent, is_second in self._ancestors(node):
            index, threshold = self.index[parent], self.threshold[parent]
            if not ((self.kind[parent] == INPUT_SPLIT) & (index >= 0) & (index < len(lower))).all():
                raise ValueError("the open leaves are no boxes")
            low[row, index] = np.where(is_second, np.maximum(low[row, index], threshold), low[row, index])
            high[row, index] = np.where(is_second, high[row, index], np.minimum(high[row, index], threshold))
        if not (low <= high).all():
            raise ValueError("a cell is empty")
        return low, high

    def phases(self, neurons: int) -> list[list[tuple[int, int]]]:
        """Of every open leaf the neurons split above it from the root down, with their phases, -1 or 1.

        Raises ValueError where it lies below another split.
        """
        paths: list[list[tuple[int, int]]] = [[] for _ in self.open]
        for row, parent, is_second in self._ancestors(self.open):
            index = self.index[parent]
            if not ((self.kind[parent] == NEURON_SPLIT) & (index >= 0) & (index < neurons)).all():
                raise ValueError("the open leaves are not told by phases")
            for r, i, second in zip(row.tolist(), index.tolist(), is_second.tolist(), strict=True):
                paths[r].append((i, 1 if second else -1))
        for path in paths:
            path.reverse()
        if any(len({neuron for neuron, _ in path}) < len(path) for path in paths):
            raise ValueError("a neuron is split twice")
        return paths

    def _ancestors(self, node: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Level by level upward: rows of ``node``, the parent of each, and whether the way comes from the second child."""
        parent = np.full(len(self.kind), -1)
        split = np.flatnonzero(self.kind != LEAF)
        parent[self.first[split]] = parent[self.first[split] + 1] = split
        row = np.flatnonzero(node != 0)
        here = node[row]
        while row.size:
            above = parent[here]
            yield row, above, here != self.first[above]
            row, here = row[above != 0], above[above != 0]

    def check(self) -> None:
        """Raises ValueError where the columns do not fit together."""
        n, c, sets = len(self.kind), len(self.closed), len(self.set_size)
        for name, column in vars(self).items():
            kinds = "fu" if name in REAL else "iu"
            _require(column.dtype.kind in kinds and column.ndim == (2 if name in MATRICES else 1))
            length = n if name in PER_NODE else c if name in PER_LEAF else len(column)
            _require(len(column) == length)
        _require(self.anchor.shape == (1,) and 1 <= self.anchor[0] <= REFINED and n > 0)
        rows, width = self.refined_slopes.shape
        _require(len(self.refined_neurons) == width and self.refined_lines.shape[0] == (2 if self.anchor[0] == REFINED else 0))
        _require(bool(((self.refined_lines >= ADAPTIVE_LINES) & (self.refined_lines < rows)).all()))
        _require(bool(((self.refined_neurons >= 0) & (self.refined_neurons < self.refined_lines.shape[1])).all()))
        trees = read(self.refined_case_splits, self.refined_case_multipliers, self.refined_lines.shape[1])
        _require(self.refined_case_trees.shape in ((2, 0), (2, self.refined_lines.shape[1])))
        _require(bool(((self.refined_case_trees >= -1) & (self.refined_case_trees < len(trees))).all()))
        _require(bool(((self.anchored >= 0) & (self.anchored < n)).all()))
        split = np.flatnonzero(self.kind != LEAF)
        _require(bool(np.isin(self.kind, KINDS).all()) and bool(np.isfinite(self.threshold).all()))
        _require(bool((self.first[split] > split).all()) and n == 1 + 2 * len(split))
        _require(
            np.array_equal(np.sort(self.first[split]), np.arange(1, n, 2))
            and bool((self.first[self.kind == LEAF] == -1).all())
        )
        _require(len(np.unique(self.closed)) == c and bool(np.isin(self.closed, np.flatnonzero(self.kind == LEAF)).all()))
        _require(bool(((self.lines >= ADAPTIVE_LINES) & (self.lines <= EXPLICIT)).all()))
        for chosen in (self.sloped_set, self.active_set):
            _require(bool(((chosen >= 0) & (chosen < sets)).all()))
        for parts, count in (
            (self.members, self.set_size),
            (self.betas, self.beta_count),
            (self.slopes, self.set_size[self.sloped_set]),
            (self.products, np.maximum(self.product_count, 0)),
            (self.product_multipliers, np.maximum(self.product_count, 0)),
        ):
            _require(bool((count >= 0).all()) and len(parts) == count.sum())


def partial_tree(recorder: TreeRecorder, margins: int) -> PartialTree:
    """What ``recorder`` holds, for a problem with so many margins."""
    leaves = list(recorder.leaves.values())
    refinement = recorder.refinements[0] if recorder.refinements else NO_REFINEMENT
    sets = _Sets()
    sloped = [sets.number(leaf.neurons) for leaf in leaves]
    active = [sets.number(leaf.active) for leaf in leaves]
    grams = [(leaf.products, leaf.product_multipliers) for leaf in leaves if leaf.products is not None]
    return PartialTree(
        anchor=np.array([recorder.anchor], dtype=np.uint8),
        anchored=np.array(sorted(recorder.anchored), dtype=np.int32),
        kind=np.array(recorder.kind, dtype=np.uint8),
        index=np.array(recorder.index, dtype=np.int32),
        threshold=np.array(recorder.threshold, dtype=float),
        first=np.array(recorder.first, dtype=np.int32),
        closed=np.array(list(recorder.leaves), dtype=np.int32),
        lines=np.array([leaf.lines for leaf in leaves], dtype=np.int32),
        multipliers=np.array([leaf.multipliers for leaf in leaves]).reshape(-1, margins),
        betas=_joined([leaf.betas for leaf in leaves]),
        beta_count=np.array([len(leaf.betas) for leaf in leaves], dtype=np.int32),
        members=_joined(sets.arrays).astype(np.int32),
        set_size=np.array([len(array) for array in sets.arrays], dtype=np.int32),
        sloped_set=np.array(sloped, dtype=np.int32),
        active_set=np.array(active, dtype=np.int32),
        slopes=_joined([leaf.slopes for leaf in leaves if leaf.lines == EXPLICIT]),
        products=np.concatenate([NO_PRODUCTS, *(products for products, _ in grams)]).astype(np.int32),
        product_multipliers=_joined([multipliers for _, multipliers in grams]),
        product_count=np.array([-1 if leaf.products is None else len(leaf.products) for leaf in leaves], dtype=np.int32),
        **_curvatures(leaves),
        **{f"refined_{part}": getattr(refinement, part) for part in PARTS},
    )


def _curvatures(leaves: list[Leaf]) -> dict[str, np.ndarray]:
    curved = next((leaf for leaf in leaves if leaf.curvatures is not None), None)
    if curved is None or curved.curvatures is None:
        return {"curvatures": np.zeros((len(leaves), 0)), "norms": np.zeros(0)}
    none = np.full(len(curved.curvatures), -1.0)
    rows = [none if leaf.curvatures is None else leaf.curvatures for leaf in leaves]
    return {"curvatures": np.array(rows), "norms": curved.norms}


class _Sets:
    """Numbers arrays, equal ones alike; those that are the same object without a look at them."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._by_identity: dict[int, int] = {}
        self._by_content: dict[bytes, int] = {}

    def number(self, array: np.ndarray) -> int:
        known = self._by_identity.get(id(array))
        if known is None:
            known = self._by_content.setdefault(array.astype(np.int32).tobytes(), len(self.arrays))
            self._by_identity[id(array)] = known
            if known == len(self.arrays):
                self.arrays.append(array)
        return known


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _parts(joined: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum(sizes, dtype=np.int64).tolist()
    return [joined[begin:end] for begin, end in zip([0, *ends][:-1], ends, strict=True)]


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("the columns of a partial tree do not fit together")
