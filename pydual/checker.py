"""The catastrophe checker: a region of inputs and a condition on (input, output) pairs.

Conditions are written with the variables ``X`` and ``Y``::

    Checker(region, (Y[0] <= Y[1]) & (Y[0] <= Y[2]) | (X[0] + Y[1] >= 3))

A condition says when there *is* a catastrophe. Coefficients are rationals: floats are taken exactly, decimal strings and
``fractions.Fraction`` as written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pydual.errors import InputError
from pydual.region import Ball, Region, rational_box

Number = int | float | str | Fraction


@dataclass(frozen=True)
class Linear:
    """The affine function ``sum x[i] X_i + sum y[j] Y_j + constant`` with rational coefficients."""

    x: Mapping[int, Fraction]
    y: Mapping[int, Fraction]
    constant: Fraction = Fraction(0)

    def __add__(self, other: Linear | Number) -> Linear:
        other = _linear(other)
        return Linear(_sum(self.x, other.x), _sum(self.y, other.y), self.constant + other.constant)

    def __mul__(self, factor: Number) -> Linear:
        f = _rational(factor)
        return Linear(
            {i: c * f for i, c in self.x.items() if c * f}, {j: c * f for j, c in self.y.items() if c * f}, self.constant * f
        )

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

    def at(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
        """The exact value at a point."""
        total = self.constant
        for i, c in self.x.items():
            total += c * x[i]
        for j, c in self.y.items():
            total += c * y[j]
        return total


class _Operators:
    def __and__(self, other: Condition) -> And:
        return And((self, other))  # type: ignore[arg-type]

    def __or__(self, other: Condition) -> Or:
        return Or((self, other))  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        raise InputError("A condition has no truth value; combine conditions with & and |, not with 'and' and 'or'.")


@dataclass(frozen=True)
class Atom(_Operators):
    """``margin <= 0``, or ``margin < 0`` if strict."""

    margin: Linear
    strict: bool = False

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        value = self.margin.at(x, y)
        return value < 0 or (value == 0 and not self.strict)


@dataclass(frozen=True)
class And(_Operators):
    parts: tuple[Condition, ...]

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        return all(part.holds(x, y) for part in self.parts)


@dataclass(frozen=True)
class Or(_Operators):
    parts: tuple[Condition, ...]

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        return any(part.holds(x, y) for part in self.parts)


Condition = Atom | And | Or


class _Variables:
    """``X[i]`` or ``Y[j]`` as affine functions."""

    def __init__(self, is_input: bool) -> None:
        self._is_input = is_input

    def __getitem__(self, index: int) -> Linear:
        one = {index: Fraction(1)}
        return Linear(one, {}) if self._is_input else Linear({}, one)


X = _Variables(is_input=True)
Y = _Variables(is_input=False)


@dataclass(frozen=True, eq=False)
class Checker:
    """A catastrophe is a point of ``region`` at which ``catastrophe`` holds.

    ``outputs`` is the number of outputs that the condition speaks of, where the source declares it (VNN-LIB), else None.
    """

    region: Region
    catastrophe: Condition
    outputs: int | None = None

    def is_catastrophe(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Whether the float64 pair (x, y) is a catastrophe, decided in rational arithmetic at zero tolerance."""
        x, y = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
        if not (np.isfinite(y).all() and self.region.contains(x)):
            return False
        return self.catastrophe.holds([Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()])

    def margin(self, x: np.ndarray, y: np.ndarray) -> Fraction:
        """Minimum over disjuncts of the maximum over conjuncts; positive means: no catastrophe at (x, y)."""
        exact_x, exact_y = ([Fraction(float(v)) for v in np.ravel(a)] for a in (x, y))
        return _margin(self.catastrophe, exact_x, exact_y)


def robustness(
    x: np.ndarray, label: int, radius: float, norm: str = "linf", clip: tuple[float, float] | None = None, *, classes: int = 10
) -> Checker:
    """Catastrophe: within ``radius`` of ``x``, another class scores at least as high as ``label``.

    ``norm`` is "linf", "l2" or "l1"; ``clip`` is the interval of valid inputs, such as (0.0, 1.0); ``classes`` is the
    number of outputs. The ball is taken exactly: ``x`` and ``radius`` are the rational values of their floats.
    Raises InputError for an unknown norm, a negative radius or a label outside 0 .. classes - 1.
    """
    point = np.asarray(x, dtype=np.float64).ravel()
    if not np.isfinite(point).all():
        raise InputError("The center x contains NaN or infinity; give finite inputs.")
    if norm not in ("linf", "l2", "l1"):
        raise InputError(f"Unknown norm '{norm}'; use one of 'linf', 'l2', 'l1'.")
    if not (np.isfinite(radius) and radius >= 0):
        raise InputError(f"The radius is {radius}; give a finite number that is at least 0.")
    if not 0 <= label < classes:
        raise InputError(f"The label {label} is outside 0 .. {classes - 1}; pass classes= if there are more outputs.")
    lower = [Fraction(v) - Fraction(radius) for v in point.tolist()]
    upper = [Fraction(v) + Fraction(radius) for v in point.tolist()]
    if clip is not None:
        lower = [max(v, Fraction(clip[0])) for v in lower]
        upper = [min(v, Fraction(clip[1])) for v in upper]
    ball = None if norm == "linf" else Ball(point, float(radius), norm)
    rivals = tuple(Y[j] >= Y[label] for j in range(classes) if j != label)
    return Checker(rational_box(lower, upper, ball), Or(rivals), classes)


def _margin(condition: Condition, x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
    if isinstance(condition, Atom):
        return condition.margin.at(x, y)
    values = [_margin(part, x, y) for part in condition.parts]
    return max(values) if isinstance(condition, And) else min(values)


def _linear(value: Linear | Number) -> Linear:
    return value if isinstance(value, Linear) else Linear({}, {}, _rational(value))


def _rational(value: Number) -> Fraction:
    try:
        return Fraction(value)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise InputError(f"'{value}' is not a finite number; conditions need rational coefficients.") from None


def _sum(a: Mapping[int, Fraction], b: Mapping[int, Fraction]) -> dict[int, Fraction]:
    merged = {i: a.get(i, Fraction(0)) + b.get(i, Fraction(0)) for i in {**a, **b}}
    return {i: c for i, c in merged.items() if c}
