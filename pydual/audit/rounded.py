"""The rounded audit: PROOFS.md in float64, every rounding error bounded and charged against the bound.

Fast enough for trees of a million leaves, and never more generous than the rules: what it accepts is proven. Nothing is
shared with the provers or with the exact audit, except the reading of the query (``pydual.audit.query``) and
``Network.digest``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from pydual.audit import query as queries
from pydual.audit.enclosures import Domain, Sum, enclose, gamma
from pydual.audit.rounded_anchor import COLUMN_ENTRIES, Cells, flat_phases
from pydual.audit.rounded_lines import Backward, Lines, Setting, SplitNeurons, unite, unstable_in
from pydual.audit.rounded_network import Layers
from pydual.audit.rounded_tree import Anchor, Leaf, line_rules, validate, walk
from pydual.certificate import INTERVAL_LINES, PARALLEL, PARALLEL_LINES, Proof, ProofTree
from pydual.checker import Checker
from pydual.errors import CertificateError, InputError
from pydual.network import Network

FORM_ENTRIES = 2**21  # numbers in the affine forms of a batch of cells


def audit_rounded(proof: Proof, network: Network, checker: Checker, deadline: Callable[[], object] | None = None) -> float:
    """A lower bound of the proven margin (PROOFS.md, section 3); infinity where nothing is left to prove.

    ``deadline`` is called now and then and may raise to stop the audit. Raises CertificateError, naming problem and node,
    if the certificate does not belong to network and query or a step of it cannot be verified; InputError if network and
    checker themselves do not fit together.
    """
    problems = queries.problems(checker)
    _check_binding(proof, network, problems)
    layers = Layers(network)
    roots: dict[object, Cells] = {}
    margin = np.inf
    with np.errstate(all="ignore"):
        for i, (tree, problem) in enumerate(zip(proof.trees, problems, strict=True)):
            try:
                audit = TreeAudit(layers, problem, tree, roots, deadline or (lambda: None))
                margin = min(margin, audit.margin())
            except CertificateError as error:
                raise CertificateError(f"Problem {i}: {error}") from None
    return float(margin)


def _check_binding(proof: Proof, network: Network, problems: list[queries.Problem]) -> None:
    if proof.arithmetic != "real":
        raise CertificateError(f"The certificate is about the arithmetic '{proof.arithmetic}'; this audit knows 'real'.")
    if proof.network != network.digest:
        raise CertificateError("The certificate belongs to another network: the digests differ.")
    if proof.query != queries.digest(problems):
        raise CertificateError("The certificate belongs to another query: the digests differ.")
    if len(proof.trees) != len(problems):
        raise CertificateError(f"The certificate has {len(proof.trees)} proofs, the query {len(problems)} problems.")


class _Margins:
    """The margins of a problem as float columns, with bounds of their errors."""

    def __init__(self, layers: Layers, problem: queries.Problem) -> None:
        margins = problem.margins
        self.strict = np.array([m.strict for m in margins], dtype=bool)
        self.x, self.x_error = _columns([m.x for m in margins], layers.inputs, "X")
        self.y, self.y_error = _columns([m.y for m in margins], layers.sizes[layers.output], "Y")
        self.constant, self.constant_error = _enclosed([m.constant for m in margins])

    def combine(self, weights: np.ndarray, cells: Cells) -> tuple[np.ndarray, np.ndarray, Sum]:
        """``sum_r weights_r m_r`` for columns of weights (margins, columns): coefficients of inputs, of outputs, constants."""
        g = gamma(len(weights) + 4)
        inputs, outputs = cells.magnitudes[0], cells.magnitudes[cells.layers.output]
        # entries err by their enclosure, sums of products of M terms by gamma, times the magnitude of the value
        error = (g * np.abs(self.x) + 2 * self.x_error).T @ inputs + (g * np.abs(self.y) + 2 * self.y_error).T @ outputs
        error += g * np.abs(self.constant) + 2 * self.constant_error
        return self.x @ weights, self.y @ weights, Sum(self.constant @ weights, error @ weights)


def _columns(functions: list[dict], size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    floats, radii = np.zeros((size, len(functions))), np.zeros((size, len(functions)))
    for r, function in enumerate(functions):
        rows = list(function)
        if not all(0 <= i < size for i in rows):
            raise InputError(f"The query uses {name}_{max(rows)}, but the network has only {size} of them (from 0).")
        floats[rows, r], radii[rows, r] = _enclosed(list(function.values()))
    return floats, radii


def _enclosed(values: list) -> tuple[np.ndarray, np.ndarray]:
    try:
        return enclose(values)
    except OverflowError:
        raise InputError("A coefficient of the query exceeds the range of float64; rescale the condition.") from None


class TreeAudit:
    """The audit of the proof of one problem."""

    def __init__(
        self,
        layers: Layers,
        problem: queries.Problem,
        tree: ProofTree,
        roots: dict[object, Cells],
        poll: Callable[[], object],
    ) -> None:
        if len(problem.lower) != layers.inputs:
            raise InputError(f"The query has {len(problem.lower)} inputs, the network {layers.inputs}; use the right one.")
        validate(tree, layers, len(problem.margins))
        self.layers, self.problem, self.tree, self.poll = layers, problem, tree, poll
        self.margins = _Margins(layers, problem)
        self.multipliers = tree.multipliers.astype(np.float64)
        self.split_multipliers = tree.split_multipliers.astype(np.float64)
        self.slopes = tree.slopes.astype(np.float64) / (128.0 if tree.slopes.dtype == np.uint8 else 1.0)
        self.rules = line_rules(tree)
        self.roots = roots
        self.cells: dict[Anchor, tuple[Cells, int]] = {}  # derived anchors that may be needed again

    def margin(self) -> float:
        """The least proven margin of the leaves. Raises CertificateError where a leaf fails."""
        least = np.inf
        for leaves, bounds in self.bounds():
            number = np.array([leaf.number for leaf in leaves])
            margins = np.where(self._holds(bounds, number), self._scaled(bounds, number), -np.inf)
            for at in np.argsort(margins):
                if margins[at] >= least:
                    break
                if self._is_covered(leaves[at]):
                    continue
                if margins[at] == -np.inf:
                    raise CertificateError(
                        f"node {leaves[at].node} (leaf {number[at]}): its lower bound {bounds[at]:.6g} is not positive."
                    )
                least = float(margins[at])
        return least

    def bounds(self) -> Iterator[tuple[list[Leaf], np.ndarray]]:
        """Batches of leaves with lower bounds of F; infinity for cells found empty."""
        lower, upper = np.array(self.problem.lower), np.array(self.problem.upper)
        leaves = walk(self.tree, lower, upper)
        size = min(max(COLUMN_ENTRIES // self.layers.widest, 16), 2048)
        while batch := list(islice(leaves, size)):
            self.poll()
            self._derive(list(dict.fromkeys(leaf.anchor for leaf in batch)))
            yield batch, self._bound(batch)
            self._forget(batch[-1])

    def _holds(self, bounds: np.ndarray, number: np.ndarray) -> np.ndarray:
        strict = (self.multipliers[number] > 0) @ self.margins.strict
        return np.where(strict, bounds >= 0, bounds > 0)

    def _scaled(self, bounds: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Lower bounds of F / sum(lambda) for leaves that hold."""
        weight = self.multipliers[number].sum(axis=1) * (1 + 2 * gamma(self.multipliers.shape[1] + 2))
        # bounds >= 0; a quotient of 0 is right, and the step down keeps others below
        margins = np.maximum(np.nextafter(bounds / weight, -np.inf), 0.0)
        return np.where((weight > 0) & (bounds < np.inf), margins, np.inf)

    def _forget(self, last: Leaf) -> None:
        """Drop the anchors that no later leaf can have: those that are not above the last leaf."""
        kept, anchor = {}, last.anchor
        while anchor is not None:
            if anchor in self.cells:
                kept[anchor] = self.cells[anchor]
            anchor = anchor.parent  # type: ignore[assignment]
        self.cells = kept

    def _derive(self, anchors: list[Anchor]) -> None:
        """Derive the intervals of those anchors that have none, in batches of a code."""
        anchors = [anchor for anchor in anchors if anchor not in self.cells]
        for code in sorted({anchor.code for anchor in anchors}):
            group = [anchor for anchor in anchors if anchor.code == code]
            if group[0].node == 0:
                self.cells[group[0]] = self._root(group[0]), 0
                group = group[1:]
            per_cell = self.layers.widest * (self.layers.inputs + self.layers.neurons // 2 if code == PARALLEL else 8)
            size = max(1, FORM_ENTRIES // per_cell)
            for first in range(0, len(group), size):
                batch = group[first : first + size]
                cells = self._cells(batch)
                self.cells.update((anchor, (cells, column)) for column, anchor in enumerate(batch))

    def _root(self, anchor: Anchor) -> Cells:
        """The intervals of the whole region, shared by the problems on it."""
        ball = self.problem.ball
        key = (anchor.lower.tobytes(), anchor.upper.tobytes(), repr(ball), anchor.code)
        if key not in self.roots:
            if len(self.roots) >= 4:
                self.roots.clear()
            self.roots[key] = self._cells([anchor])
        return self.roots[key]

    def _cells(self, anchors: list[Anchor]) -> Cells:
        box = np.stack([a.lower for a in anchors], axis=1), np.stack([a.upper for a in anchors], axis=1)
        phases = [anchor.phases for anchor in anchors]
        return Cells(self.layers, anchors[0].code, box, self.problem.ball, phases, self.poll)

    def _bound(self, leaves: list[Leaf]) -> np.ndarray:
        """Lower bounds of F, infinity for empty cells, for leaves of any anchors and rules."""
        groups: dict[tuple[int, int], list[int]] = {}
        for at, leaf in enumerate(leaves):
            groups.setdefault((id(self.cells[leaf.anchor][0]), int(self.rules[leaf.number])), []).append(at)
        bounds = np.empty(len(leaves))
        for (_, rule), members in groups.items():
            bounds[members] = self._bound_alike([leaves[at] for at in members], rule)
        return bounds

    def _bound_alike(self, leaves: list[Leaf], rule: int) -> np.ndarray:
        """The same for leaves that share the batch of their anchors and the rule for their lines."""
        cells = self.cells[leaves[0].anchor][0]
        column = np.array([self.cells[leaf.anchor][1] for leaf in leaves])
        number = np.array([leaf.number for leaf in leaves])
        splits, empty = self._splits(leaves, cells, column, rule)
        shared = len(np.unique(column)) == 1
        lines = {k: line.columns(column[:1] if shared else column) for k, line in self._lines(cells, rule).items()}
        if rule == 0:
            lines = self._with_slopes(lines, cells, column, self.tree.lines[number])
        setting = Setting(lines, self._domain(leaves), cells.magnitudes, cells.products, splits, rule == INTERVAL_LINES)
        x, y, result = self.margins.combine(self.multipliers[number].T, cells)
        coefficients = {self.layers.output: y}
        if self.margins.x.any():
            coefficients[0] = x if self.layers.output else x + y
        bounds = Backward(self.layers, setting, coefficients, result).run()
        bounds = np.where(np.isfinite(bounds) & cells.finite[column], bounds, -np.inf)
        return np.where((empty | cells.empty[column]) & cells.finite[column], np.inf, bounds)

    def _lines(self, cells: Cells, rule: int) -> dict[int, Lines]:
        return cells.interval_lines() if rule == INTERVAL_LINES else cells.sloped_lines(rule == PARALLEL_LINES)

    def _with_slopes(self, lines: dict[int, Lines], cells: Cells, column: np.ndarray, rows: np.ndarray) -> dict[int, Lines]:
        """The lines with the slopes that the leaves name, for unstable neurons."""
        result = {}
        for relu in self.layers.relus:
            old = lines[relu.number]
            local = self.tree.slope_neurons.astype(np.int64) - relu.first
            here = np.flatnonzero((local >= 0) & (local < relu.size))
            low, high = (bound[local[here]][:, column] for bound in cells.intervals[relu.source])
            below = np.array(np.broadcast_to(old.below, (relu.size, len(rows))))
            named = self.slopes[np.ix_(rows, here)].T
            below[local[here]] = np.where(unstable_in((low, high)), named, below[local[here]])
            result[relu.number] = Lines(below, old.above, old.above_constant)
        return result

    def _domain(self, leaves: list[Leaf]) -> Domain:
        first = leaves[0]
        if all(leaf.lower is first.lower and leaf.upper is first.upper for leaf in leaves):
            leaves = [first]
        box = np.stack([leaf.lower for leaf in leaves], axis=1), np.stack([leaf.upper for leaf in leaves], axis=1)
        return Domain.of_box(*box, self.problem.ball)

    def _splits(
        self, leaves: list[Leaf], cells: Cells, column: np.ndarray, rule: int
    ) -> tuple[dict[int, SplitNeurons], np.ndarray]:
        """The splits above the leaves by the value they cut, and for each leaf whether a phase makes its cell empty."""
        neuron, at, active = flat_phases([leaf.phases for leaf in leaves])
        lengths = np.bincount(at, minlength=len(leaves))
        start = np.array([leaf.first_multiplier for leaf in leaves]) - (np.cumsum(lengths) - lengths)
        beta = self.split_multipliers[np.arange(len(at)) + np.repeat(start, lengths)]
        pull, source = np.where(active, -beta, beta), self.layers.source_of[neuron]
        empty = np.zeros(len(leaves), dtype=bool)
        splits = {}
        for value in np.unique(source).tolist():
            here = source == value
            row, leaf = self.layers.component_of[neuron[here]], at[here]
            low, high = (bound[row, column[leaf]] for bound in cells.intervals[value])
            empty[leaf[np.where(active[here], high < 0, low > 0)]] = True
            passes = active[here] | ((low >= 0) & (rule != INTERVAL_LINES))
            splits[value] = unite(SplitNeurons(row, leaf, passes, pull[here]))
        return splits, empty

    def _is_covered(self, leaf: Leaf) -> bool:
        """Whether the cell of the leaf's anchor, or of one above it, is empty by the intervals of the anchor above that."""
        anchor = leaf.anchor
        while anchor.parent is not None:
            self._derive([anchor.parent])
            cells, column = self.cells[anchor.parent]
            if not cells.finite[column]:
                return False
            if cells.empty[column]:
                return True
            for phase in anchor.phases:
                source, component = self.layers.source_of[phase >> 1], self.layers.component_of[phase >> 1]
                low, high = (bound[component, column] for bound in cells.intervals[source])
                if (high < 0) if phase & 1 else (low > 0):
                    return True
            anchor = anchor.parent
        return False
