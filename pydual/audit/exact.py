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
``exact_region``, ``exact_curves``, ``exact_float32`` and ``exact_bounds`` (bounds by lines), ``exact_numbers``, and this
page (columns, cells, leaves). Columns are read once, in order and piece by piece: memory grows with the depth of a
tree, not with its nodes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from typing import Any

from pydual.audit.exact_bounds import ADAPTIVE, Bounds, Path, Relaxation, cut_interval, derive, lines_of
from pydual.audit.exact_curves import ONE
from pydual.audit.exact_network import Activation, Network
from pydual.audit.exact_numbers import Vector
from pydual.audit.exact_region import Region
from pydual.audit.query import Problem, digest, problems
from pydual.errors import CertificateError, InputError

LEAF, INPUT_SPLIT, NEURON_SPLIT = 0, 1, 2
PIECE = 8192  # numbers of a column that are held at a time, or one row
MOST = sys.float_info.max


def audit_exact(proof: Any, network: Any, checker: Any, deadline: Callable[[], object] | None = None) -> Fraction | float:
    """The proven margin, a Fraction; ``math.inf`` if no leaf bounds one (no problem, or every cell is empty).

    ``proof`` is a ``pydual.certificate.Proof`` or the result of ``exact_file.open_proof``. ``deadline`` is called often
    and may raise to stop. Raises CertificateError, which names the first step that fails, if the proof is not one of
    exactly this network and query; InputError if network and checker are no question.
    """
    net, questions = Network(network), problems(checker)
    for problem in questions:
        _check_question(problem, net)
    arithmetic = getattr(proof, "arithmetic", None)
    if arithmetic not in ("real", "float32"):
        raise CertificateError("The certificate is about neither 'real' nor 'float32' arithmetic.")
    for name, expected in (("network", net.digest), ("query", digest(questions))):
        if getattr(proof, name, None) != expected:
            raise CertificateError(f"The certificate belongs to another {name}: the digests differ.")
    trees = getattr(proof, "trees", None)
    if not isinstance(trees, (tuple, list)) or len(trees) != len(questions):
        raise CertificateError(f"The certificate must hold {len(questions)} trees, one for each problem of the query.")
    margin: Fraction | float = math.inf
    for number, (tree, problem) in enumerate(zip(trees, questions, strict=True)):
        try:
            audit = _TreeAudit(net, problem, arithmetic == "float32", deadline or (lambda: None))
            margin = min(margin, audit.margin(tree))
        except CertificateError as error:
            raise CertificateError(f"Problem {number}: {error}") from None
    return margin


def _check_question(problem: Problem, net: Network) -> None:
    inputs, outputs = net.sizes[0], net.sizes[net.output]
    used = [(i, size) for margin in problem.margins for part, size in ((margin.x, inputs), (margin.y, outputs)) for i in part]
    if len(problem.lower) != inputs or not all(0 <= i < size for i, size in used):
        raise InputError(f"The checker does not fit a network of {inputs} inputs and {outputs} outputs; correct it.")


class _Column:
    """A column of a tree, checked for type, shape and range (PROOFS.md, section 7), and read once from its start."""

    def __init__(self, tree: Any, name: str, types: str, shape: tuple[int | None, ...], low: float, high: float) -> None:
        self._column, self._name, self._low, self._high = getattr(tree, name, None), name, low, high
        self.type = str(getattr(self._column, "dtype", None))
        if self.type not in types.split():
            raise CertificateError(f"'{name}' must be an array of type {' or '.join(types.split())}.")
        self.shape = self._column.shape  # type: ignore[union-attr]
        if len(self.shape) != len(shape) or any(w not in (None, h) for w, h in zip(shape, self.shape, strict=True)):
            raise CertificateError(f"'{name}' has the shape {self.shape}; expected {shape} (None: any).")
        self._entries = self._read()

    def piece(self, start: int, stop: int) -> list[Any]:
        """The entries or rows from ``start`` on, before ``stop``."""
        rows = self._column[start:stop]  # type: ignore[index]
        rows = rows if isinstance(rows, list) else rows.tolist()
        number = int if "int" in self.type else float
        for value in rows if len(self.shape) == 1 else chain.from_iterable(rows):
            if type(value) is not number or not self._low <= value <= self._high:  # NaN is in no range
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


class _Hints:
    """The columns of a tree."""

    def __init__(self, tree: Any, margins: int, neurons: int, poll: Callable[[], object]) -> None:
        real, real_or_byte = "float32 float64", "uint8 float32 float64"
        self.kinds = _Column(tree, "kind", "uint8", (None,), LEAF, NEURON_SPLIT)
        self.anchors = _Column(tree, "anchor", "uint8", self.kinds.shape, 0, ADAPTIVE)
        self.indices = _Column(tree, "index", "int32", (None,), 0, MOST)
        self.thresholds = _Column(tree, "threshold", "float64", (None,), -MOST, MOST)
        self.betas = _Column(tree, "split_multipliers", real, (None,), 0, MOST)
        one = 128 if str(getattr(getattr(tree, "slopes", None), "dtype", None)) == "uint8" else 1
        self._slopes = _Column(tree, "slopes", real_or_byte, (None, None), 0, one)
        rows, columns = self._slopes.shape
        self.lines = _Column(tree, "lines", "int32", (None,), -ADAPTIVE, rows - 1)
        self.multipliers = _Column(tree, "multipliers", real_or_byte, (*self.lines.shape, margins), 0, MOST)
        named = _Column(tree, "slope_neurons", "int32", (columns,), 0, neurons - 1)
        self._named, self._unit = list(named) if columns <= neurons else [], ONE // one
        if len(set(self._named)) < columns:
            raise CertificateError("'slope_neurons' names a neuron twice.")
        for _ in self._slopes if columns else ():
            poll()  # each row is valid, whether a leaf names it or not
        self.row = lru_cache(maxsize=8)(self._row)

    def _row(self, number: int) -> dict[int, int]:
        """The slopes of a row by neuron, as multiples of 1 / ONE."""
        (row,) = self._slopes.piece(number, number + 1)
        return {neuron: int(v * self._unit) for neuron, v in zip(self._named, row, strict=True)}


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

    def margin(self, tree: Any) -> Fraction | float:
        """The least proven margin of the leaves, which must cover the problem's region."""
        hints = _Hints(tree, len(self.problem.margins), len(self.net.neurons), self.poll)
        margin: Fraction | float = math.inf
        region = Region(self.problem.lower, self.problem.upper, self.problem.ball)
        stack = [_Cell(region, empty=region.empty)]
        for node, kind in enumerate(hints.kinds):
            self.poll()
            try:
                if not stack:
                    raise CertificateError("the tree has ended before this node.")
                cell = self._anchored(stack.pop(), hints.anchors.next())
                if kind == LEAF:
                    margin = min(margin, self._leaf(cell, hints))
                else:
                    stack += reversed(self._children(cell, kind, hints))
            except CertificateError as error:
                raise CertificateError(f"node {node}: {error}") from None
        if stack:
            raise CertificateError("The tree ends before it covers the region.")
        for column in (hints.indices, hints.thresholds, hints.lines, hints.betas):
            column.finish()
        return margin

    def _anchored(self, cell: _Cell, anchor: int) -> _Cell:
        """The cell with the bounds of an anchor, if there is one."""
        if not anchor or cell.empty:
            return replace(cell, anchored=cell.anchored or anchor > 0)
        bounds = derive(self.net, cell.region, cell.path, anchor, self.float32, self.poll)
        return replace(cell, anchored=True, bounds=bounds, empty=bounds is None)

    def _children(self, cell: _Cell, kind: int, hints: _Hints) -> tuple[_Cell, _Cell]:
        index = hints.indices.next()
        if index >= (self.net.sizes[0] if kind == INPUT_SPLIT else len(self.net.neurons)):
            raise CertificateError("'index' names an input or neuron that the network does not have.")
        if kind == INPUT_SPLIT:
            return cell.split_input(index, hints.thresholds.next())
        if any(index == neuron for neuron, _ in cell.path):
            raise CertificateError(f"neuron {index} is split twice on one path.")
        return cell.with_phase(index, False, self.net), cell.with_phase(index, True, self.net)

    def _leaf(self, cell: _Cell, hints: _Hints) -> Fraction | float:
        """Section 3, leaves: the proven margin of a leaf that holds."""
        rule, multipliers = hints.lines.next(), hints.multipliers.next()
        betas = [hints.betas.next() for _ in cell.path]
        if not cell.anchored:
            raise CertificateError("the leaf has no anchor above it.")
        if cell.empty or cell.bounds is None:
            return math.inf
        weights = list(map(Fraction, multipliers))
        bound = sum((w * m.constant for w, m in zip(weights, self.problem.margins, strict=True)), Fraction(0))
        pending, scale = self._function(cell.path, weights, betas)
        bound += self._relaxation(cell, rule, hints).lower_bound(pending) / scale
        strict = any(w > 0 and m.strict for w, m in zip(weights, self.problem.margins, strict=True))
        if bound < 0 or (bound == 0 and not strict):
            raise CertificateError(f"the leaf's bound F = {float(max(bound, Fraction(-(10**300)))):.6g} is not positive.")
        share = sum(weights)
        return bound / share if share else math.inf

    def _relaxation(self, cell: _Cell, rule: int, hints: _Hints) -> Relaxation:
        assert cell.bounds is not None
        slopes = hints.row(rule) if rule >= 0 else {}
        lines = {
            number: lines_of(value, rule, cell.bounds.intervals[value.source], slopes, self.float32)
            for number, value in enumerate(self.net.values)
            if isinstance(value, Activation)
        }
        return Relaxation(self.net, cell.region, rule == -1, lines, cell.bounds.errors)

    def _function(self, path: Path, weights: list[Fraction], betas: list[float]) -> tuple[dict[int, Vector], int]:
        """The leaf's function without its constant: coefficients of values, times a common denominator."""
        terms = [
            (value, i, weight * c)
            for weight, margin in zip(weights, self.problem.margins, strict=True)
            for value, coefficients in ((0, margin.x), (self.net.output, margin.y))
            for i, c in coefficients.items()
        ]
        for beta, (neuron, active) in zip(map(Fraction, betas), path, strict=True):
            terms.append((*self.net.neurons[neuron], -beta if active else beta))
        scale = math.lcm(*(amount.denominator for _, _, amount in terms))
        pending: dict[int, Vector] = {}
        for value, i, amount in terms:
            pending.setdefault(value, ([0] * self.net.sizes[value], 0))[0][i] += int(amount * scale)
        return pending, scale
