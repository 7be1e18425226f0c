"""The exact audit: does a certificate prove that a network has no catastrophe? PROOFS.md is the specification.

The theorem. Let ``audit_exact`` return a margin ``m`` for a network, a checker and any ``proof`` whatsoever. Then no
input of the checker's region is a catastrophe, in real arithmetic on the stated weights; and in each problem of the
query (PROOFS.md, section 2) the greatest margin is at least ``m`` at every point of the region.

Everything in the proof is a hint: intervals, bounds and coverage are derived from network and checker alone, in
integers. To be trusted besides Python: ``query`` (the question), ``exact_network`` (the network as integers),
``exact_bounds`` (bounds by lines), and this page (reading the certificate, cells, leaves).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from pydual.audit import query
from pydual.audit.exact_bounds import ADAPTIVE, ONE, Path, Region, cut, derive_intervals, lines_of, lower_bound
from pydual.audit.exact_network import Interval, Network, Relu, Vector, dyadic, fraction, plus
from pydual.errors import CertificateError, InputError

LEAF, INPUT_SPLIT, NEURON_SPLIT = 0, 1, 2


def audit_exact(
    proof: Any, network: Any, checker: Any, deadline: Callable[[], object] | None = None
) -> Fraction | float:
    """The proven margin, a Fraction; ``math.inf`` if no leaf bounds one (no problem, or every cell is empty).

    ``deadline`` is called often and may raise to stop. Raises CertificateError, which names the first step that fails,
    if the proof is not one of exactly this network and query; InputError if network and checker are no question.
    """
    poll = deadline or (lambda: None)
    net = Network(network)
    problems = query.problems(checker)
    for problem in problems:
        _check_fit(problem, net)
    if getattr(proof, "arithmetic", None) != "real":
        raise CertificateError("The certificate is not about real arithmetic.")
    if getattr(proof, "network", None) != net.digest:
        raise CertificateError("The certificate belongs to another network: the digests differ.")
    if getattr(proof, "query", None) != query.digest(problems):
        raise CertificateError("The certificate belongs to another query: the digests differ.")
    trees = getattr(proof, "trees", None)
    if not isinstance(trees, (tuple, list)) or len(trees) != len(problems):
        raise CertificateError(f"The certificate must hold {len(problems)} trees, one for each problem of the query.")
    margin: Fraction | float = math.inf
    for number, (tree, problem) in enumerate(zip(trees, problems, strict=True)):
        try:
            margin = min(margin, _audit_tree(_Hints(tree, problem, net), problem, net, poll))
        except CertificateError as error:
            raise CertificateError(f"Problem {number}: {error}") from None
    return margin


def _check_fit(problem: query.Problem, net: Network) -> None:
    sizes = (("X", "x", net.sizes[0]), ("Y", "y", net.sizes[net.output]))
    if len(problem.lower) != net.sizes[0]:
        raise InputError(f"The checker's region has {len(problem.lower)} inputs, the network {net.sizes[0]}.")
    for margin in problem.margins:
        for name, attribute, size in sizes:
            for i in getattr(margin, attribute):
                if not 0 <= i < size:
                    raise InputError(f"The checker uses {name}_{i}, but the network has only {size} of them (from 0).")



class _Hints:
    """The columns of a tree as lists, each checked for type, length and range (PROOFS.md, section 6)."""

    def __init__(self, tree: Any, problem: query.Problem, net: Network) -> None:
        margins, neurons, real = len(problem.margins), len(net.neurons), ("float32", "float64")
        self.kind = _column(tree, "kind", ("uint8",), (None,), lambda v: v <= NEURON_SPLIT)
        leaves, cuts = self.kind.count(LEAF), self.kind.count(INPUT_SPLIT)
        index = _column(tree, "index", ("int32",), (len(self.kind) - leaves,), lambda v: v >= 0)
        thresholds = _column(tree, "threshold", ("float64",), (cuts,), math.isfinite)
        self.anchor = _column(tree, "anchor", ("uint8",), (len(self.kind),), lambda v: v <= ADAPTIVE)
        slopes = _column(tree, "slopes", ("uint8", *real), (None, None), lambda v: v >= 0)
        lines = _column(tree, "lines", ("int32",), (leaves,), lambda v: -ADAPTIVE <= v < len(slopes))
        columns = tree.slopes.shape[1]
        self._neurons = _column(tree, "slope_neurons", ("int32",), (columns,), lambda v: 0 <= v < neurons)
        if len(set(self._neurons)) < columns:
            raise CertificateError("'slope_neurons' names a neuron twice.")
        one = 128 if str(tree.slopes.dtype) == "uint8" else 1
        if any(v > one for row in slopes for v in row):
            raise CertificateError("'slopes' has a slope above 1.")
        self._slopes = [[int(v * (ONE // one)) for v in row] for row in slopes]
        multipliers = _column(tree, "multipliers", ("uint8", *real), (leaves, margins), _nonnegative)
        self._betas = _column(tree, "split_multipliers", real, (None,), _nonnegative)
        splits = iter(index)
        for kind in self.kind:
            if kind != LEAF and next(splits) >= (net.sizes[0] if kind == INPUT_SPLIT else neurons):
                raise CertificateError("'index' names an input or neuron that the network does not have.")
        self._indices, self._thresholds = iter(index), iter(thresholds)
        self._leaves = iter(zip(lines, multipliers, strict=True))
        self._position = 0  # in betas

    def next_index(self) -> int:
        """The input or neuron of the next split in preorder."""
        return next(self._indices)

    def next_threshold(self) -> float:
        """The threshold of the next input split."""
        return next(self._thresholds)

    def next_leaf(self, depth: int) -> tuple[int, dict[int, int], list[float], list[float]]:
        """Rule, slopes (multiples of 1 / ONE), multipliers betas of the next leaf, below ``depth`` neuron splits."""
        rule, multipliers = next(self._leaves)
        slopes = dict(zip(self._neurons, self._slopes[rule], strict=True)) if rule >= 0 else {}
        betas = self._betas[self._position : self._position + depth]
        self._position += depth
        if len(betas) < depth:
            raise CertificateError("'split_multipliers' is too short.")
        return rule, slopes, multipliers, betas

    def finish(self) -> None:
        if self._position < len(self._betas):
            raise CertificateError("'split_multipliers' is longer than the tree needs.")


def _nonnegative(value: float) -> bool:
    return 0 <= value < math.inf


def _column(
    tree: Any, name: str, types: tuple[str, ...], shape: tuple[int | None, ...], valid: Callable[[Any], bool]
) -> list[Any]:
    """A column as a list (of lists). ``valid`` must reject NaN."""
    array = getattr(tree, name, None)
    if str(getattr(array, "dtype", None)) not in types:
        raise CertificateError(f"'{name}' must be an array of type {' or '.join(types)}.")
    found = array.shape  # type: ignore[union-attr]
    if len(found) != len(shape) or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
        raise CertificateError(f"'{name}' has the shape {found}; expected {shape} (None: any).")
    values = array.tolist()  # type: ignore[union-attr]
    number = int if "int" in str(array.dtype) else float  # type: ignore[union-attr]
    for value in values if len(shape) == 1 else (v for row in values for v in row):
        if type(value) is not number or not valid(value):
            raise CertificateError(f"'{name}' contains {value}, which is not a valid entry.")
    return values


@dataclass(frozen=True)
class _Cell:
    """A node's cell: its region, the phases of its path, and the intervals of the anchor above, cut by the phases.

    ``empty``: no point is in it. ``intervals`` is None above all anchors, and may be in an empty cell.
    """

    region: Region
    path: Path = ()
    intervals: dict[int, Interval] | None = None
    anchored: bool = False
    empty: bool = False

    def split_input(self, i: int, threshold: float) -> tuple[_Cell, _Cell]:
        first, second = (replace(self, region=r, empty=self.empty or r.empty) for r in self.region.cut(i, threshold))
        return first, second

    def split_neuron(self, neuron: int, net: Network) -> tuple[_Cell, _Cell]:
        return self._with_phase(neuron, False, net), self._with_phase(neuron, True, net)

    def _with_phase(self, neuron: int, active: bool, net: Network) -> _Cell:
        child = replace(self, path=(*self.path, (neuron, active)))
        if self.empty or self.intervals is None:
            return child
        value, component = net.neurons[neuron]
        interval = cut(self.intervals[value], component, active)
        empty = interval[0][component] > interval[1][component]
        return replace(child, intervals={**self.intervals, value: interval}, empty=empty)

    def derived(self, anchor: int, net: Network, poll: Callable[[], object]) -> _Cell:
        """The cell with the intervals of an anchor."""
        if self.empty:
            return replace(self, anchored=True)
        intervals = derive_intervals(net, self.region, self.path, anchor, poll)
        return replace(self, anchored=True, intervals=intervals, empty=intervals is None)


def _audit_tree(hints: _Hints, problem: query.Problem, net: Network, poll: Callable[[], object]) -> Fraction | float:
    """The least proven margin of the leaves of a tree, which must cover the problem's region."""
    margin: Fraction | float = math.inf
    region = Region(problem.lower, problem.upper, problem.ball)
    stack = [_Cell(region, empty=region.empty)]
    for node, kind in enumerate(hints.kind):
        poll()
        try:
            if not stack:
                raise CertificateError("the tree has ended before this node.")
            cell = stack.pop()
            if hints.anchor[node]:
                cell = cell.derived(hints.anchor[node], net, poll)
            if kind == LEAF:
                margin = min(margin, _audit_leaf(hints, cell, problem, net))
            elif kind == INPUT_SPLIT:
                stack += reversed(cell.split_input(hints.next_index(), hints.next_threshold()))
            else:
                neuron = hints.next_index()
                if any(neuron == other for other, _ in cell.path):
                    raise CertificateError(f"neuron {neuron} is split twice on one path.")
                stack += reversed(cell.split_neuron(neuron, net))
        except CertificateError as error:
            raise CertificateError(f"node {node}: {error}") from None
    if stack:
        raise CertificateError("The tree ends before it covers the region.")
    hints.finish()
    return margin


def _audit_leaf(hints: _Hints, cell: _Cell, problem: query.Problem, net: Network) -> Fraction | float:
    """Section 3, leaves: the proven margin of a leaf that holds."""
    rule, slopes, multipliers, betas = hints.next_leaf(len(cell.path))
    if not cell.anchored:
        raise CertificateError("the leaf has no anchor above it.")
    if cell.empty or cell.intervals is None:
        return math.inf
    common = math.lcm(*(c.denominator for m in problem.margins for c in (m.constant, *m.x.values(), *m.y.values())))
    numbers, exponent = dyadic(multipliers + betas)
    weights = numbers[: len(multipliers)]
    pending: dict[int, Vector] = {}
    constant = 0

    def add_term(value: int, component: int, amount: int) -> None:
        pending.setdefault(value, ([0] * net.sizes[value], exponent))[0][component] += amount

    for weight, margin in zip(weights, problem.margins, strict=True):
        constant += weight * int(margin.constant * common)
        for value, coefficients in ((0, margin.x), (net.output, margin.y)):
            for i, c in coefficients.items():
                add_term(value, i, weight * int(c * common))
    for beta, (neuron, active) in zip(numbers[len(multipliers) :], cell.path, strict=True):
        add_term(*net.neurons[neuron], (-beta if active else beta) * common)
    lines = {
        value: lines_of(rule, cell.intervals[p.source], p.first, slopes)
        for value, p in enumerate(net.primitives, 1)
        if isinstance(p, Relu)
    }
    bound = plus((constant, exponent), lower_bound(net, pending, cell.region, lines))
    strict = any(w > 0 and m.strict for w, m in zip(weights, problem.margins, strict=True))
    if bound[0] < 0 or (bound[0] == 0 and not strict):
        found = float(max(fraction(bound) / common, Fraction(-(10**300))))
        raise CertificateError(f"the leaf's bound F = {found:.6g} is not positive.")
    total = fraction((sum(weights) * common, exponent))
    return fraction(bound) / total if total else math.inf
