"""The catastrophe checker: a region of inputs and a condition on (input, output) pairs.

Conditions are written with the variables ``X`` and ``Y`` (inputs and outputs, flat, from 0), ``+ - * /`` with numbers,
``<= < >= >``, and ``&`` (and), ``|`` (or)::

    >>> from pydual import Checker, Region, X, Y
    >>> region = Region([-1.0, 0.0], [1.0, 0.5])
    >>> checker = Checker(region, (Y[0] <= Y[1]) & (Y[0] <= "0.1") | (X[0] + 2 * Y[1] >= 3))
    >>> checker.is_catastrophe([0.25, 0.5], [0.0, 0.0])
    True
    >>> checker.is_catastrophe([0.25, 0.75], [0.0, 0.0])  # outside of the region
    False

A condition says when there *is* a catastrophe. Coefficients are rationals: floats are taken exactly (``0.1`` is the
float64 next to one tenth), decimal strings and ``fractions.Fraction`` as written.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from pydual.errors import InputError
from pydual.region import Ball, Region, finite_radius, float_vector, rational_box

Number = int | float | str | Fraction
Point = Mapping[int, Fraction] | Sequence[Fraction]  # exact coordinates, at least those that a condition speaks of

MAX_DEPTH = 100  # of alternating "and" and "or": trees are walked by recursion


@dataclass(frozen=True)
class Linear:
    """The affine function ``sum x[i] X_i + sum y[j] Y_j + constant`` with rational coefficients."""

    x: Mapping[int, Fraction]
    y: Mapping[int, Fraction]
    constant: Fraction = Fraction(0)

    __array_ufunc__ = None  # a numpy number on the left leaves the operation to this class

    def __add__(self, other: Linear | Number) -> Linear:
        other = _linear(other)
        return Linear(_sum(self.x, other.x), _sum(self.y, other.y), self.constant + other.constant)

    def __mul__(self, factor: Number) -> Linear:
        f = _rational(factor)
        x, y = ({i: c * f for i, c in terms.items() if c * f} for terms in (self.x, self.y))
        return Linear(x, y, self.constant * f)

    def __truediv__(self, divisor: Number) -> Linear:
        if _rational(divisor) == 0:
            raise InputError("A condition divides by zero; correct the divisor.")
        return self * (1 / _rational(divisor))

    def __neg__(self) -> Linear:
        return self * -1

    def __sub__(self, other: Linear | Number) -> Linear:
        return self + -_linear(other)

    def __rsub__(self, other: Number) -> Linear:
        return _linear(other) - self

    __radd__ = __add__
    __rmul__ = __mul__

    def __le__(self, other: Linear | Number) -> Atom:
        return Atom(self - other, strict=False)

    def __lt__(self, other: Linear | Number) -> Atom:
        return Atom(self - other, strict=True)

    def __ge__(self, other: Linear | Number) -> Atom:
        return Atom(_linear(other) - self, strict=False)

    def __gt__(self, other: Linear | Number) -> Atom:
        return Atom(_linear(other) - self, strict=True)

    def at(self, x: Point, y: Point) -> Fraction:
        """The exact value at a point."""
        total = self.constant
        for i, c in self.x.items():
            total += c * x[i]
        for j, c in self.y.items():
            total += c * y[j]
        return total


class _Operators:
    def __and__(self, other: Condition) -> And:
        return And((*_parts(self, And), *_parts(other, And)))

    def __or__(self, other: Condition) -> Or:
        return Or((*_parts(self, Or), *_parts(other, Or)))

    def __invert__(self) -> Condition:
        return _negated(self)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        raise InputError(
            "A condition has no truth value; combine conditions with & and |, not with 'and' and 'or', "
            "and write a <= b <= c as (a <= b) & (b <= c)."
        )


@dataclass(frozen=True)
class Atom(_Operators):
    """``margin <= 0``, or ``margin < 0`` if strict."""

    margin: Linear
    strict: bool = False

    def holds(self, x: Point, y: Point) -> bool:
        value = self.margin.at(x, y)
        return value < 0 or (value == 0 and not self.strict)


@dataclass(frozen=True)
class And(_Operators):
    """Every part holds; at least one part."""

    parts: tuple[Condition, ...]

    def holds(self, x: Point, y: Point) -> bool:
        return all(part.holds(x, y) for part in self.parts)


@dataclass(frozen=True)
class Or(_Operators):
    """Some part holds; at least one part."""

    parts: tuple[Condition, ...]

    def holds(self, x: Point, y: Point) -> bool:
        return any(part.holds(x, y) for part in self.parts)


Condition = Atom | And | Or


class _Variables:
    """``X[i]`` or ``Y[j]`` as affine functions."""

    __iter__ = None  # there is no last variable

    def __init__(self, name: str) -> None:
        self._name = name

    def __getitem__(self, index: int) -> Linear:
        try:
            i = operator.index(index)
        except TypeError:
            i = -1
        if i < 0:
            raise InputError(f"{self._name}[{index!r}] is no variable; number them by integers from 0.")
        one = {i: Fraction(1)}
        return Linear(one, {}) if self._name == "X" else Linear({}, one)


X = _Variables("X")
Y = _Variables("Y")


@dataclass(frozen=True, eq=False)
class Checker:
    """A catastrophe is a point of ``region`` at which ``catastrophe`` holds.

    ``outputs`` is the number of outputs that the condition speaks of, where the source declares it (VNN-LIB), else
    None. Raises InputError if ``catastrophe`` is not a condition in ``X`` and ``Y``, or uses an input that ``region``
    does not have.
    """

    region: Region
    catastrophe: Condition
    outputs: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.region, Region):
            raise InputError(f"A checker needs a Region; got {type(self.region).__name__}.")
        inputs, outputs = (max(used, default=-1) for used in self._used)
        if inputs >= self.region.size:
            raise InputError(f"The condition uses X[{inputs}], but the region has {self.region.size} inputs (from 0).")
        if self.outputs is not None and outputs >= self.outputs:
            raise InputError(f"The condition uses Y[{outputs}], but the checker has {self.outputs} outputs (from 0).")

    @cached_property
    def _used(self) -> tuple[frozenset[int], frozenset[int]]:
        """The inputs and the outputs that the condition speaks of."""
        margins = [atom.margin for atom in atoms(self.catastrophe)]
        return frozenset(i for m in margins for i in m.x), frozenset(j for m in margins for j in m.y)

    def is_catastrophe(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Whether the float64 pair (x, y) is a catastrophe, decided in rational arithmetic at zero tolerance.

        NaN or infinity in ``x`` or ``y`` makes it none. Raises InputError where the sizes do not fit.
        """
        x, y = float_vector(x, "The input x"), float_vector(y, "The output y")
        self._check_sizes(x, y)
        if not (np.isfinite(y).all() and self.region.contains(x)):
            return False
        return self.catastrophe.holds(*self._exact(x, y))

    def margin(self, x: np.ndarray, y: np.ndarray) -> Fraction:
        """The minimum over disjuncts of the maximum over their margins, exactly; positive means: no catastrophe there.

        Only the condition is looked at; whether ``x`` lies in the region is not. Raises InputError for NaN or infinity,
        and where the sizes do not fit.
        """
        x, y = float_vector(x, "The input x"), float_vector(y, "The output y")
        self._check_sizes(x, y)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise InputError("A margin needs finite numbers; x or y contains NaN or infinity.")
        return margin_at(self.catastrophe, *self._exact(x, y))

    def _check_sizes(self, x: np.ndarray, y: np.ndarray) -> None:
        if len(x) != self.region.size:
            raise InputError(f"The point x has {len(x)} coordinates, the region {self.region.size}; make them equal.")
        if self.outputs not in (None, len(y)) or len(y) <= max(self._used[1], default=-1):
            expected = self.outputs or f"at least {max(self._used[1]) + 1}"
            raise InputError(f"The output y has {len(y)} coordinates, the checker speaks of {expected}; make them fit.")

    def _exact(self, x: np.ndarray, y: np.ndarray) -> tuple[Point, Point]:
        inputs, outputs = self._used
        return {i: Fraction(float(x[i])) for i in inputs}, {j: Fraction(float(y[j])) for j in outputs}


def robustness(
    x: np.ndarray,
    label: int,
    radius: float,
    norm: str = "linf",
    clip: tuple[float, float] | None = None,
    *,
    classes: int = 10,
) -> Checker:
    """Catastrophe: within ``radius`` of ``x``, another class scores at least as high as ``label``.

    ``x`` has any shape and is read row-major; ``norm`` is "linf", "l2" or "l1"; ``clip`` is the interval of valid
    inputs, such as (0.0, 1.0); ``classes`` is the number of outputs. The ball is taken exactly: ``x`` and ``radius``
    are the rational values of their floats. Raises InputError for an unknown norm, a negative radius, a label outside
    0 .. classes - 1, or a ball without a valid input::

        >>> from pydual import robustness
        >>> checker = robustness([0.5, 0.5], label=0, radius=0.25, clip=(0.0, 0.625), classes=2)
        >>> checker.region.lower.tolist(), checker.region.upper.tolist()
        ([0.25, 0.25], [0.625, 0.625])
        >>> checker.margin([0.5, 0.5], [1.0, 0.25])
        Fraction(3, 4)
    """
    point, radius = float_vector(x, "The center x"), finite_radius(radius)
    if not np.isfinite(point).all():
        raise InputError("The center x contains NaN or infinity; give finite inputs.")
    if norm not in ("linf", "l2", "l1"):
        raise InputError(f"Unknown norm '{norm}'; use one of 'linf', 'l2', 'l1'.")
    rivals = _rivals(label, classes)
    lower = [Fraction(v) - Fraction(radius) for v in point.tolist()]
    upper = [Fraction(v) + Fraction(radius) for v in point.tolist()]
    if clip is not None:
        lower, upper = _clipped(lower, upper, clip)
    ball = None if norm == "linf" else Ball(point, radius, norm)
    return Checker(rational_box(lower, upper, ball), rivals, classes)


def atoms(condition: Condition) -> Iterator[Atom]:
    """The atoms of a condition from left to right; InputError for what is no condition, or is nested too deep."""
    agenda: list[tuple[Any, int]] = [(condition, 0)]
    while agenda:
        part, depth = agenda.pop()
        if isinstance(part, Atom):
            yield part
        elif isinstance(part, And | Or) and part.parts and depth < MAX_DEPTH:
            agenda += [(child, depth + 1) for child in reversed(part.parts)]
        else:
            _refuse(part)


def _refuse(part: object) -> NoReturn:
    if not isinstance(part, And | Or):
        raise InputError(
            f"A catastrophe is a condition such as Y[0] <= Y[1], combined by & and |; got {type(part).__name__} "
            "(write an equation as (a <= b) & (a >= b))."
        )
    if not part.parts:
        raise InputError(f"A condition contains an {type(part).__name__} without parts; give it at least one.")
    raise InputError(f"A condition nests & and | more than {MAX_DEPTH} levels deep; flatten it.")


def _rivals(label: int, classes: int) -> Condition:
    try:
        label, classes = operator.index(label), operator.index(classes)
    except TypeError:
        raise InputError(f"label and classes must be integers; got {label!r} and {classes!r}.") from None
    if classes < 2:
        raise InputError(f"There are {classes} classes, so nothing can be confused; give at least 2.")
    if not 0 <= label < classes:
        raise InputError(f"The label {label} is outside 0 .. {classes - 1}; pass classes= if there are more outputs.")
    return Or(tuple(Y[j] >= Y[label] for j in range(classes) if j != label))


def _clipped(
    lower: list[Fraction], upper: list[Fraction], clip: tuple[float, float]
) -> tuple[list[Fraction], list[Fraction]]:
    try:
        low, high = (_rational(v) for v in clip)
    except (TypeError, ValueError):
        raise InputError(f"clip must be a pair of finite numbers such as (0.0, 1.0); got {clip!r}.") from None
    lower, upper = [max(v, low) for v in lower], [min(v, high) for v in upper]
    for i, (a, b) in enumerate(zip(lower, upper, strict=True)):
        if a > b:
            raise InputError(f"The ball does not meet clip {clip} at input {i}; correct x, radius or clip.")
    return lower, upper


def positive(number: Number, what: str) -> Fraction:
    """The number, exactly. Raises InputError, which says ``what`` it is, for anything else than a positive number."""
    try:
        value = _rational(number)
    except (InputError, TypeError, ValueError):
        value = Fraction(0)
    if value <= 0:
        raise InputError(f"{what} is {number!r}; give a positive number.")
    return value


def margin_at(condition: Condition, x: Point, y: Point) -> Fraction:
    """The minimum over disjuncts of the maximum over their margins at an exact point."""
    if isinstance(condition, Atom):
        return condition.margin.at(x, y)
    values = [margin_at(part, x, y) for part in condition.parts]
    return max(values) if isinstance(condition, And) else min(values)


def _negated(condition: Condition) -> Condition:
    """``not (m <= 0)`` is ``-m < 0``."""
    if isinstance(condition, Atom):
        return Atom(-condition.margin, strict=not condition.strict)
    parts = tuple(_negated(part) for part in condition.parts)
    return Or(parts) if isinstance(condition, And) else And(parts)


def _parts(condition: Any, connective: type) -> tuple[Condition, ...]:
    """What ``condition`` contributes to a conjunction or disjunction; ``a & b & c`` becomes one And."""
    if not isinstance(condition, Atom | And | Or):
        _refuse(condition)
    return condition.parts if isinstance(condition, connective) else (condition,)  # type: ignore[union-attr]


def _linear(value: Linear | Number) -> Linear:
    return value if isinstance(value, Linear) else Linear({}, {}, _rational(value))


def _rational(value: Number) -> Fraction:
    if isinstance(value, Linear):
        raise InputError("A condition multiplies or divides variables by each other; conditions must be linear.")
    if isinstance(value, np.generic):
        value = value.item()
    try:
        return Fraction(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise InputError(f"'{value}' is not a finite number; conditions need rational coefficients.") from None


def _sum(a: Mapping[int, Fraction], b: Mapping[int, Fraction]) -> dict[int, Fraction]:
    merged = {i: a.get(i, Fraction(0)) + b.get(i, Fraction(0)) for i in {**a, **b}}
    return {i: c for i, c in merged.items() if c}
