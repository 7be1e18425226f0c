"""Parts of a problem that were proved one by one, and the one proof that they make together (PROOFS.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pydual import certificate
from pydual.certificate import ProofTree
from pydual.network import Network
from pydual.operators.primitives import Relu
from pydual.problem import Problem
from pydual.proof_systems.recorder import ONE
from pydual.region import Region

BATCH = 256  # points that are evaluated at once

OF_LEAVES = certificate.GRAM_COLUMNS + certificate.SOS_COLUMNS


@dataclass(eq=False)
class Part:
    """A problem over a cell of its region: cut in two at ``threshold`` of an input, proved by a tree, given up, or open.

    ``share`` is that of the box of the whole problem.
    """

    problem: Problem
    lower: float = -np.inf
    share: float = 1.0
    tree: ProofTree | None = None
    given_up: bool = False
    index: int = 0
    threshold: float = 0.0
    halves: tuple[Part, ...] = ()

    def cut(self, index: int, threshold: float) -> tuple[Part, ...]:
        """Cut it into two halves: below the threshold, and above."""
        region = self.problem.region
        upper, lower = region.upper.copy(), region.lower.copy()
        upper[index] = lower[index] = threshold
        cells = Region(region.lower, upper, region.ball), Region(lower, region.upper, region.ball)
        self.index, self.threshold = index, threshold
        width = region.upper[index] - region.lower[index]
        shares = [float(self.share * (cell.upper[index] - cell.lower[index]) / width) for cell in cells]
        self.halves = tuple(
            Part(replace(self.problem, region=cell), self.lower, share) for cell, share in zip(cells, shares, strict=True)
        )
        return self.halves

    def preorder(self) -> Iterator[Part]:
        pending = [self]
        while pending:
            part = pending.pop()
            yield part
            pending += reversed(part.halves)


def graft(root: Part) -> ProofTree:
    """The proof of a problem of which all parts are proved: input splits, and below them the parts' own proofs.

    A part was proved over its own cell, from intervals derived there: its tree has all the anchors that it needs.
    """
    parts = list(root.preorder())
    proved = [part for part in parts if part.tree is not None]
    stems = {part: _stem(part) for part in parts if part.tree is None}
    columns = [part.tree or stems[part] for part in parts]
    trees = [part.tree for part in proved if part.tree is not None]
    explicit = [tree for tree in trees if len(tree.slopes)]
    neurons = np.unique(np.concatenate([tree.slope_neurons for tree in explicit] or [np.zeros(0, np.int32)]))
    kind = np.result_type(*{tree.slopes.dtype for tree in explicit}) if explicit else np.dtype(np.uint8)
    first_row = np.cumsum([0, *(len(tree.slopes) for tree in trees)])
    lines = [np.where(t.lines >= 0, t.lines + first, t.lines) for t, first in zip(trees, first_row[:-1], strict=True)]
    first_refinement = np.cumsum([0, *(len(tree.refinements) for tree in columns)])
    anchors = [
        np.where(t.anchor >= certificate.REFINED, t.anchor + n, t.anchor)
        for t, n in zip(columns, first_refinement, strict=False)
    ]
    anchor = np.concatenate(anchors)
    return ProofTree(
        kind=np.concatenate([tree.kind for tree in columns]),
        index=np.concatenate([tree.index for tree in columns]),
        threshold=np.concatenate([tree.threshold for tree in columns]),
        anchor=anchor.astype(np.uint8) if anchor.max() < 256 else anchor,  # ``Proof.of`` refuses larger ones
        lines=np.concatenate(lines).astype(np.int32),
        slopes=np.concatenate([_slopes(part, neurons, kind) for part in proved]),
        slope_neurons=neurons.astype(np.int32),
        multipliers=np.concatenate([tree.multipliers for tree in trees]),
        split_multipliers=np.concatenate([tree.split_multipliers for tree in trees]),
        **{name: np.concatenate([getattr(tree, name) for tree in trees]) for name in OF_LEAVES},
        **_ball_columns([tree for tree in trees if len(tree.curvatures)]),
        refinements=tuple(refinement for tree in trees for refinement in tree.refinements),
    )


def _ball_columns(trees: list[ProofTree]) -> dict[str, np.ndarray]:
    """Of the trees with ball leaves, which are about one network, and so have the same norms."""
    return {"curvatures": np.concatenate([tree.curvatures for tree in trees]), "norms": trees[0].norms} if trees else {}


def _stem(part: Part) -> ProofTree:
    """The one input split of a part that was cut: columns without leaves."""
    nothing = np.zeros(0)
    return ProofTree(
        kind=np.array([certificate.INPUT_SPLIT], dtype=np.uint8),
        index=np.array([part.index], dtype=np.int32),
        threshold=np.array([part.threshold]),
        anchor=np.zeros(1, dtype=np.uint8),
        lines=nothing, slopes=nothing, slope_neurons=nothing, multipliers=nothing, split_multipliers=nothing,
    )  # fmt: skip


def _slopes(part: Part, neurons: np.ndarray, kind: np.dtype) -> np.ndarray:
    """The rows of a part's tree for more neurons, and in the numbers of all.

    A neuron that the tree does not list has the adaptive slope. It is stable in the leaf's cell, or it would be listed, so
    any point of the cell tells its sign; where an audit leaves the sign open by a little, that is its adaptive slope too.
    """
    tree = part.tree
    assert tree is not None
    rows = tree.slopes
    one = ONE if kind == np.uint8 else 1
    if rows.dtype != kind:
        rows = rows.astype(kind) / (ONE if rows.dtype == np.uint8 else 1)
    wide = np.zeros((len(rows), len(neurons)), dtype=kind)
    if len(rows) == 0:
        return wide
    listed = np.isin(neurons, tree.slope_neurons)
    if not listed.all():
        points = _points(tree, part.problem.region)
        for begin in range(0, len(rows), BATCH):
            batch = slice(begin, begin + BATCH)
            wide[batch] = one * _active(part.problem.network, points[batch], neurons)
    wide[:, np.searchsorted(neurons, tree.slope_neurons)] = rows
    return wide


def _points(tree: ProofTree, region: Region) -> np.ndarray:
    """For each row of slopes a point of the cell of a leaf that names it; the ball's if it reaches the cell."""
    points = np.zeros((len(tree.slopes), region.size))
    index, threshold, lines = iter(tree.index.tolist()), iter(tree.threshold.tolist()), iter(tree.lines.tolist())
    pending = [(region.lower, region.upper)]
    for kind in tree.kind.tolist():
        lower, upper = pending.pop()
        if kind not in (certificate.INPUT_SPLIT, certificate.NEURON_SPLIT):
            if (row := next(lines)) >= 0:
                points[row] = 0.5 * (lower + upper) if region.ball is None else np.clip(region.ball.center, lower, upper)
            continue
        i = next(index)
        first_upper, second_lower = upper, lower
        if kind == certificate.INPUT_SPLIT:
            first_upper, second_lower = upper.copy(), lower.copy()
            first_upper[i] = second_lower[i] = next(threshold)
        pending += ((second_lower, upper), (lower, first_upper))
    return points


def _active(network: Network, points: np.ndarray, neurons: np.ndarray) -> np.ndarray:
    """Whether the neurons are active at the points: shape (points, neurons)."""
    values = network.values(points.T)
    sources = [values[primitive.source] for primitive in network.primitives if isinstance(primitive, Relu)]
    return np.concatenate(sources)[neurons].T > 0
