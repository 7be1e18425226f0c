"""The exact audit: does a certificate prove that a network has no catastrophe? PROOFS.md is the specification.

The theorem. Let ``audit_exact`` return a margin ``m`` for a network, a checker and any ``proof`` whatsoever. Then no
input of the checker's region is a catastrophe, and in each problem of the query (PROOFS.md, section 2) the greatest
margin is at least ``m`` at every point of the region: if the proof's ``arithmetic`` is "real", in real arithmetic on
the stated weights; if it is "float32", for every input of binary32 numbers and every execution in binary32 as in
PROOFS.md, section 6: in any order and grouping in which no monomial meets more than N roundings (maps may be merged as
long as that holds, and no entry of a merged map underflows or overflows), where each value that an activation reads is
computed once, and curves are right to 2**-20.

Everything in the proof is a hint: intervals, bounds and coverage are derived from network and checker alone, in
integers. To be trusted besides Python: ``query`` (the question), ``exact_network`` (the network as integers),
``exact_region``, ``exact_curves``, ``exact_float32`` and ``exact_bounds`` (bounds by lines), and this page (reading
the certificate, cells, leaves). Columns are read once, in order and piece by piece: memory grows with the depth of a
tree, not with its nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from typing import Any

from pydual.audit.exact_bounds import ADAPTIVE, Bounds, Path, Relaxation, cut_interval, derive, lines_of
from pydual.audit.exact_curves import ONE
from pydual.audit.exact_network import Activation, Network
from pydual.audit.exact_numbers import Vector, dyadic, fraction, plus
from pydual.audit.exact_region import Region
from pydual.audit.query import Problem, digest, problems
from pydual.errors import CertificateError, InputError

LEAF, INPUT_SPLIT, NEURON_SPLIT = 0, 1, 2
PIECE = 8192  # numbers of a column that are held at a time, or one row


def audit_exact(proof: Any, network: Any, checker: Any, deadline: Callable[[], object] | None = None) -> Fraction | float:
    """The proven margin, a Fraction; ``math.inf`` if no leaf bounds one (no problem, or every cell is empty).

    ``proof`` is a ``pydual.certificate.Proof`` or the result of ``exact_file.open_proof``. ``deadline`` is called often
    and may raise to stop. Raises CertificateError, which names the first step that fails, if the proof is not one of
    exactly this network and query; InputError if network and checker are no question.
    """
    poll = deadline or (lambda: None)
    net = Network(network)
    questions = problems(checker)
    for problem in questions:
        _check_question(problem, net)
    arithmetic = getattr(proof, "arithmetic", None)
    if arithmetic not in ("real", "float32"):
        raise CertificateError("The certificate is about neither 'real' nor 'float32' arithmetic.")
    if getattr(proof, "network", None) != net.digest:
        raise CertificateError("The certificate belongs to another network: the digests differ.")
    if getattr(proof, "query", None) != digest(questions):
        raise CertificateError("The certificate belongs to another query: the digests differ.")
    trees = getattr(proof, "trees", None)
    if not isinstance(trees, (tuple, list)) or len(trees) != len(questions):
        raise CertificateError(f"The certificate must hold {len(questions)} trees, one for each problem of the query.")
    margin: Fraction | float = math.inf
    for number, (tree, problem) in enumerate(zip(trees, questions, strict=True)):
        try:
            auditor = _TreeAudit(net, problem, arithmetic == "float32", poll)
            margin = min(margin, auditor.margin(_Hints(tree, problem, net, poll)))
        except CertificateError as error:
            raise CertificateError(f"Problem {number}: {error}") from None
    return margin


def _check_question(problem: Problem, net: Network) -> None:
    sizes = (("X", "x", net.sizes[0]), ("Y", "y", net.sizes[net.output]))
    if len(problem.lower) != net.sizes[0]:
        raise InputError(f"The checker's region has {len(problem.lower)} inputs, the network {net.sizes[0]}.")
    for margin in problem.margins:
        for name, attribute, size in sizes:
            for i in getattr(margin, attribute):
                if not 0 <= i < size:
                    raise InputError(f"The checker uses {name}_{i}, but the network has only {size} of them (from 0).")


class _Hints:
    """The columns of a tree as streams, each checked for type, length and range (PROOFS.md, section 7)."""

    def __init__(self, tree: Any, problem: Problem, net: Network, poll: Callable[[], object]) -> None:
        real, neurons = ("float32", "float64"), len(net.neurons)
        self._limits = {INPUT_SPLIT: net.sizes[0], NEURON_SPLIT: neurons}
        self.kinds = _Stream(tree, "kind", ("uint8",), (None,), lambda v: v <= NEURON_SPLIT)
        self._anchors = _Stream(tree, "anchor", ("uint8",), self.kinds.shape, lambda v: v <= ADAPTIVE)
        self._indices = _Stream(tree, "index", ("int32",), (None,), lambda v: v >= 0)
        self._thresholds = _Stream(tree, "threshold", ("float64",), (None,), math.isfinite)
        self._betas = _Stream(tree, "split_multipliers", real, (None,), _nonnegative)
        slopes = _Stream(tree, "slopes", ("uint8", *real), (None, None), lambda v: 0 <= v <= one)
        one = 128 if slopes.kind == "uint8" else 1
        rows, columns = slopes.shape
        self._lines = _Stream(tree, "lines", ("int32",), (None,), lambda v: -ADAPTIVE <= v < rows)
        shape = (*self._lines.shape, len(problem.margins))
        self._multipliers = _Stream(tree, "multipliers", ("uint8", *real), shape, _nonnegative)
        stream = _Stream(tree, "slope_neurons", ("int32",), (columns,), lambda v: 0 <= v < neurons)
        named = list(stream) if columns <= neurons else []
        if len(set(named)) < columns:
            raise CertificateError("'slope_neurons' names a neuron twice.")
        for _ in slopes if columns else ():
            poll()  # each row is valid, whether a leaf names it or not

        @lru_cache(maxsize=8)
        def row_of(number: int) -> dict[int, int]:
            (row,) = slopes.piece(number, number + 1)
            return {neuron: int(v * (ONE // one)) for neuron, v in zip(named, row, strict=True)}

        self._row_of = row_of

    def anchor(self) -> int:
        """The anchor of the next node in preorder."""
        return self._anchors.next()

    def index(self, kind: int) -> int:
        """The input or neuron of the next split."""
        number = self._indices.next()
        if number >= self._limits[kind]:
            raise CertificateError("'index' names an input or neuron that the network does not have.")
        return number

    def threshold(self) -> float:
        """The threshold of the next input split."""
        return self._thresholds.next()

    def leaf(self, depth: int) -> tuple[int, dict[int, int], list[float], list[float]]:
        """Rule, slopes (multiples of 1 / ONE), multipliers and betas of the next leaf, below ``depth`` neuron splits."""
        rule, multipliers = self._lines.next(), self._multipliers.next()
        betas = [self._betas.next() for _ in range(depth)]
        return rule, self._row_of(rule) if rule >= 0 else {}, multipliers, betas

    def finish(self) -> None:
        for stream in (self._indices, self._thresholds, self._lines, self._betas):
            stream.finish()


def _nonnegative(value: float) -> bool:
    return 0 <= value < math.inf


class _Stream:
    """A column, read once from its start. ``valid`` must reject NaN."""

    def __init__(
        self, tree: Any, name: str, types: tuple[str, ...], shape: tuple[int | None, ...], valid: Callable[[Any], bool]
    ) -> None:
        self._column, self._name, self._valid = getattr(tree, name, None), name, valid
        self.kind = str(getattr(self._column, "dtype", None))
        if self.kind not in types:
            raise CertificateError(f"'{name}' must be an array of type {' or '.join(types)}.")
        self.shape = self._column.shape  # type: ignore[union-attr]
        if len(self.shape) != len(shape) or any(w not in (None, h) for w, h in zip(shape, self.shape, strict=True)):
            raise CertificateError(f"'{name}' has the shape {self.shape}; expected {shape} (None: any).")
        self._entries = self._read()

    def piece(self, start: int, stop: int) -> list[Any]:
        """The entries or rows from ``start`` on, before ``stop``."""
        rows = self._column[start:stop]  # type: ignore[index]
        rows = rows if isinstance(rows, list) else rows.tolist()
        number = int if "int" in self.kind else float
        for value in rows if len(self.shape) == 1 else chain.from_iterable(rows):
            if type(value) is not number or not self._valid(value):
                raise CertificateError(f"'{self._name}' contains {value}, which is not a valid entry.")
        return rows

    def _read(self) -> Iterator[Any]:
        step = max(1, PIECE // max(1, *self.shape[1:], 1))
        for start in range(0, self.shape[0], step):
            yield from self.piece(start, start + step)

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def next(self) -> Any:
        for entry in self._entries:
            return entry
        raise CertificateError(f"'{self._name}' is too short.")

    def finish(self) -> None:
        for _ in self._entries:
            raise CertificateError(f"'{self._name}' is longer than the tree needs.")


@dataclass(frozen=True)
class _Cell:
    """A node's cell: its region, the phases of its path, and the bounds of the anchor above, cut by the phases.

    ``empty``: no point is in it. ``bounds`` is None above all anchors, and may be in an empty cell.
    """

    region: Region
    path: Path = ()
    bounds: Bounds | None = None
    anchored: bool = False
    empty: bool = False

    def split_input(self, i: int, threshold: float) -> tuple[_Cell, _Cell]:
        first, second = (replace(self, region=r, empty=self.empty or r.empty) for r in self.region.cut(i, threshold))
        return first, second

    def with_phase(self, neuron: int, active: bool, net: Network) -> _Cell:
        child = replace(self, path=(*self.path, (neuron, active)))
        if self.empty or self.bounds is None:
            return child
        value, component = net.neurons[neuron]
        interval = cut_interval(self.bounds.intervals[value], component, active)
        bounds = replace(self.bounds, intervals={**self.bounds.intervals, value: interval})
        return replace(child, bounds=bounds, empty=interval[0][component] > interval[1][component])


@dataclass(frozen=True)
class _TreeAudit:
    """The audit of the tree of one problem."""

    net: Network
    problem: Problem
    float32: bool
    poll: Callable[[], object]

    def margin(self, hints: _Hints) -> Fraction | float:
        """The least proven margin of the leaves, which must cover the problem's region."""
        margin: Fraction | float = math.inf
        lower, upper = self.problem.lower, self.problem.upper
        empty = any(low > high for low, high in zip(lower, upper, strict=True))
        stack = [_Cell(Region(lower, upper, self.problem.ball, empty), empty=empty)]
        for node, kind in enumerate(hints.kinds):
            self.poll()
            try:
                if not stack:
                    raise CertificateError("the tree has ended before this node.")
                cell = self._anchored(stack.pop(), hints.anchor())
                if kind == LEAF:
                    margin = min(margin, self._leaf(cell, hints))
                else:
                    stack += reversed(self._children(cell, kind, hints))
            except CertificateError as error:
                raise CertificateError(f"node {node}: {error}") from None
        if stack:
            raise CertificateError("The tree ends before it covers the region.")
        hints.finish()
        return margin

    def _anchored(self, cell: _Cell, anchor: int) -> _Cell:
        """The cell with the bounds of an anchor, if there is one."""
        if not anchor or cell.empty:
            return replace(cell, anchored=True) if anchor else cell
        bounds = derive(self.net, cell.region, cell.path, anchor, self.float32, self.poll)
        return replace(cell, anchored=True, bounds=bounds, empty=bounds is None)

    def _children(self, cell: _Cell, kind: int, hints: _Hints) -> tuple[_Cell, _Cell]:
        index = hints.index(kind)
        if kind == INPUT_SPLIT:
            return cell.split_input(index, hints.threshold())
        if any(index == neuron for neuron, _ in cell.path):
            raise CertificateError(f"neuron {index} is split twice on one path.")
        return cell.with_phase(index, False, self.net), cell.with_phase(index, True, self.net)

    def _leaf(self, cell: _Cell, hints: _Hints) -> Fraction | float:
        """Section 3, leaves: the proven margin of a leaf that holds."""
        rule, slopes, multipliers, betas = hints.leaf(len(cell.path))
        if not cell.anchored:
            raise CertificateError("the leaf has no anchor above it.")
        if cell.empty or cell.bounds is None:
            return math.inf
        net, margins = self.net, self.problem.margins
        common = math.lcm(*(c.denominator for m in margins for c in (m.constant, *m.x.values(), *m.y.values())))
        numbers, exponent = dyadic(multipliers + betas)
        weights = numbers[: len(multipliers)]
        pending: dict[int, Vector] = {}

        def add_term(value: int, component: int, amount: int) -> None:
            pending.setdefault(value, ([0] * net.sizes[value], exponent))[0][component] += amount

        for weight, margin in zip(weights, margins, strict=True):
            for value, coefficients in ((0, margin.x), (net.output, margin.y)):
                for i, c in coefficients.items():
                    add_term(value, i, weight * int(c * common))
        for beta, (neuron, active) in zip(numbers[len(multipliers) :], cell.path, strict=True):
            add_term(*net.neurons[neuron], (-beta if active else beta) * common)
        lines = {
            value: lines_of(p, rule, cell.bounds.intervals[p.source], slopes, self.float32)
            for value, p in enumerate(net.primitives, 1)
            if isinstance(p, Activation)
        }
        relaxation = Relaxation(cell.region, rule == -1, lines, cell.bounds.errors)
        constants = sum(w * int(m.constant * common) for w, m in zip(weights, margins, strict=True))
        bound = plus((constants, exponent), relaxation.lower_bound(net, pending))
        strict = any(w > 0 and m.strict for w, m in zip(weights, margins, strict=True))
        if bound[0] < 0 or (bound[0] == 0 and not strict):
            found = float(max(fraction(bound) / common, Fraction(-(10**300))))
            raise CertificateError(f"the leaf's bound F = {found:.6g} is not positive.")
        share = fraction((sum(weights) * common, exponent))
        return fraction(bound) / share if share else math.inf
