"""From what was traced to a query: comparisons that are affine stay as they are, the rest becomes a network.

Where a maximum is all that keeps a comparison from being affine, it is expanded: ``max(a, b) >= t`` says ``a >= t`` or
``b >= t``, and ``max(a, b) <= t`` says both. Other maxima become ReLUs, ``max(a, b) = b + max(a - b, 0)``. A comparison of a
Euclidean norm, ``|v| <= r``, says ``r >= 0`` and ``sum v^2 <= r^2``. So it does not matter how a condition was written.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from math import gcd, lcm

from pydual.checker import And, Atom, Condition, Linear
from pydual.checkers.expression import Largest, Norm, Tape, Term, Times
from pydual.errors import InputError

MOST_ATOMS = 10_000  # that one comparison is expanded to


@dataclass(frozen=True)
class Positive:
    """``max(p, 0)``."""

    p: Linear


@dataclass(frozen=True)
class Squared:
    """``p ** 2``."""

    p: Linear


Unit = Positive | Squared  # what the network computes


@dataclass
class Lowering:
    """The condition of a tape over ``X`` and ``Y``, where ``Y`` beyond the outputs are ``units`` of the network."""

    tape: Tape
    units: list[Unit] = field(default_factory=list)
    _numbers: dict[object, int] = field(default_factory=dict)
    _lowered: dict[int, Linear] = field(default_factory=dict)

    def condition(self, condition: Condition) -> Condition:
        if isinstance(condition, Atom):
            return self._atom(condition.margin, condition.strict)
        parts = tuple(self.condition(part) for part in condition.parts)
        return reduce(operator.and_, parts) if isinstance(condition, And) else reduce(operator.or_, parts)

    # comparisons

    def _atom(self, margin: Linear, strict: bool) -> Condition:
        named = [(j, self._term(j)) for j in margin.y if j >= self.tape.outputs]
        norms = [j for j, term in named if isinstance(term, Norm)]
        if norms:
            return self._norm(margin, strict, norms)
        maxima = [(j, term) for j, term in named if isinstance(term, Largest)]
        if len(maxima) == 1 and len(maxima[0][1].parts) <= MOST_ATOMS:
            ((j, term),) = maxima
            return self._expanded(margin, strict, j, term)
        return Atom(self._affine(margin), strict)

    def _expanded(self, margin: Linear, strict: bool, j: int, term: Largest) -> Condition:
        """``c max(p) + q <= 0``: all of ``c p + q <= 0`` for c > 0, one of them for c < 0."""
        c = margin.y[j]
        rest = margin - Linear({}, {j: c})
        parts = tuple(self._atom(rest + part * c, strict) for part in term.parts)
        return reduce(operator.and_, parts) if c > 0 else reduce(operator.or_, parts)

    def _norm(self, margin: Linear, strict: bool, norms: list[int]) -> Condition:
        """``c |v| <= c r`` with ``r`` affine."""
        (j,) = norms if len(norms) == 1 else (None,)
        if j is None:
            raise InputError("a comparison of several Euclidean norms does not trace; compare squares, or use norm 1 or inf")
        c, term = margin.y[j], self._term(j)
        assert isinstance(term, Norm)
        r = (Linear({}, {j: c}) - margin) / c
        squares = Linear({}, {}) + 0
        for part in term.parts:
            squares = squares + self._times(part, part)
        excess = squares - self._times(r, r)
        if c > 0:
            return self._atom(-r, strict) & self._atom(excess, strict)
        return self._atom(r, strict) | self._atom(-excess, strict)

    def _times(self, a: Linear, b: Linear) -> Linear:
        if not (a.x or a.y):
            return b * a.constant
        if not (b.x or b.y):
            return a * b.constant
        return self.tape.append(Times(a, b))

    # terms

    def _term(self, j: int) -> Term:
        return self.tape.terms[j - self.tape.outputs]

    def _affine(self, linear: Linear) -> Linear:
        """The function with the terms of the tape replaced by units."""
        total = Linear(linear.x, {j: c for j, c in linear.y.items() if j < self.tape.outputs}, linear.constant)
        for j, c in linear.y.items():
            if j >= self.tape.outputs:
                if j not in self._lowered:
                    self._lowered[j] = self._compute(self._term(j))
                total = total + self._lowered[j] * c
        return total

    def _compute(self, term: Term) -> Linear:
        if isinstance(term, Norm):
            raise InputError("a Euclidean norm traces in a comparison only; use its square, or the norms 1 or inf")
        if isinstance(term, Times):
            return self._product(self._affine(term.a), self._affine(term.b))
        players = [self._affine(part) for part in term.parts]
        while len(players) > 1:
            pairs = [self._larger(a, b) for a, b in zip(players[::2], players[1::2], strict=False)]
            players = pairs + players[2 * len(pairs) :]
        return players[0]

    def _larger(self, a: Linear, b: Linear) -> Linear:
        if not (b.x or b.y) or len(a.x) + len(a.y) < len(b.x) + len(b.y):
            a, b = b, a  # what is added to the ReLU is the simpler one
            return a + self._unit(Positive, b - a)
        return b + self._unit(Positive, a - b)

    def _product(self, a: Linear, b: Linear) -> Linear:
        """A product is the difference of two squares: ``4 a b = (a + b)^2 - (a - b)^2``."""
        for factor in _ratio(a, b):  # b = factor a
            p, scale = _dyadic(a)
            return self._number(("square", _key(p)), Squared(p)) * (factor / (scale * scale))
        return (self._product(a + b, a + b) - self._product(a - b, a - b)) / 4

    def _unit(self, kind: type[Positive], p: Linear) -> Linear:
        """``max(p, 0)``; of a constant, a constant."""
        if not (p.x or p.y):
            return Linear({}, {}, max(p.constant, Fraction(0)))
        scaled, scale = _dyadic(p)
        return self._number(("relu", _key(scaled)), kind(scaled)) * (1 / scale)

    def _number(self, key: object, unit: Unit) -> Linear:
        if key not in self._numbers:
            self._numbers[key] = self.tape.outputs + len(self.units)
            self.units.append(unit)
        return Linear({}, {self._numbers[key]: Fraction(1)})


def _key(p: Linear) -> object:
    return tuple(sorted(p.x.items())), tuple(sorted(p.y.items())), p.constant


def _ratio(a: Linear, b: Linear) -> Iterable[Fraction]:
    """The ``f`` with ``b = f a``, if there is one."""
    variables = [(v, i) for v, terms in (("x", a.x), ("y", a.y)) for i in terms]
    (kind, i), c = variables[0], (a.x if variables[0][0] == "x" else a.y)[variables[0][1]]
    factor = (b.x if kind == "x" else b.y).get(i, Fraction(0)) / c
    if factor and _key(a * factor) == _key(b):
        yield factor


def _dyadic(p: Linear) -> tuple[Linear, Fraction]:
    """``scale p``, whose coefficients are float64 numbers. Raises InputError where none fit."""
    numbers = [c for c in (*p.x.values(), *p.y.values(), p.constant) if c]
    if all(_is_float(c) for c in numbers):
        return p, Fraction(1)
    scale = Fraction(lcm(*(c.denominator for c in numbers)), gcd(*(c.numerator for c in numbers)))
    if not all(_is_float(c * scale) for c in numbers):
        raise InputError("the constants of a sum need more than 53 bits together; round them to a common scale")
    return p * scale, scale


def _is_float(c: Fraction) -> bool:
    try:
        return Fraction(float(c)) == c
    except OverflowError:
        return False
