"""Expressions: what a Python function computes of inputs and outputs, written down as it runs.

An expression is an affine function (``checker.Linear``) with rational coefficients. Its ``Y`` beyond the outputs of the model
are *terms*: maxima, squares, products and norms of other expressions, numbered on a tape in the order of their making.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from pydual.checker import And, Atom, Condition, Linear, Or
from pydual.errors import InputError

ALLOWED = (
    "use + - * @, division by constants, indexing, sum, mean, abs, max, min, maximum, minimum, clip, square, integer powers, "
    "norm, comparisons, & | ~, any and all"
)


@dataclass(frozen=True)
class Largest:
    """The maximum of affine functions."""

    parts: tuple[Linear, ...]


@dataclass(frozen=True)
class Times:
    """The product of two affine functions; a square if they are the same."""

    a: Linear
    b: Linear


@dataclass(frozen=True)
class Norm:
    """The Euclidean norm of affine functions."""

    parts: tuple[Linear, ...]


Term = Largest | Times | Norm


def _key(linear: Linear) -> tuple[Any, ...]:
    return tuple(sorted(linear.x.items())), tuple(sorted(linear.y.items())), linear.constant


@dataclass
class Tape:
    """The terms of one trace; term ``k`` is the variable ``Y[outputs + k]``."""

    outputs: int
    terms: list[Term] = field(default_factory=list)
    _known: dict[Any, int] = field(default_factory=dict)

    def append(self, term: Term) -> Linear:
        """The term as an affine function; one that is on the tape already is found there."""
        functions = term.parts if isinstance(term, (Largest, Norm)) else (term.a, term.b)
        key = type(term), *map(_key, functions)
        if key not in self._known:
            self._known[key] = self.outputs + len(self.terms)
            self.terms.append(term)
        return Linear({}, {self._known[key]: Fraction(1)})

    def term(self, linear: Linear) -> Term | None:
        """The term that the function is, if it is nothing else."""
        if linear.x or linear.constant or len(linear.y) != 1:
            return None
        ((j, c),) = linear.y.items()
        return self.terms[j - self.outputs] if j >= self.outputs and c == 1 else None


class Expression:
    """A number that depends on inputs and outputs; it behaves like a float as far as it can be traced."""

    def __init__(self, tape: Tape, linear: Linear) -> None:
        self.tape, self.linear = tape, linear

    def of(self, linear: Linear) -> Expression:
        return Expression(self.tape, linear)

    def _affine(self, other: Any) -> Linear | None:
        """Another operand; None for an array, which comes to its own terms."""
        if isinstance(other, np.ndarray) and other.ndim:
            return None
        if isinstance(other, np.ndarray):
            other = other.item()
        if isinstance(other, Expression):
            return other.linear
        if isinstance(other, (And, Or, Atom)):
            raise InputError("a comparison is used as a number; combine comparisons with & and |")
        return Linear({}, {}) + other

    def __add__(self, other: Any) -> Any:
        linear = self._affine(other)
        return NotImplemented if linear is None else self.of(self.linear + linear)

    def __mul__(self, other: Any) -> Any:
        linear = self._affine(other)
        return NotImplemented if linear is None else self.of(product(self.tape, self.linear, linear))

    def __truediv__(self, other: Any) -> Any:
        linear = self._affine(other)
        if linear is None:
            return NotImplemented
        if linear.x or linear.y:
            raise InputError("a division by what depends on inputs or outputs does not trace; multiply both sides by it")
        return self.of(self.linear / linear.constant)

    def __rtruediv__(self, other: Any) -> Any:
        raise InputError("a division by what depends on inputs or outputs does not trace; multiply both sides by it")

    def __neg__(self) -> Expression:
        return self.of(-self.linear)

    def __pos__(self) -> Expression:
        return self

    def __sub__(self, other: Any) -> Any:
        linear = self._affine(other)
        return NotImplemented if linear is None else self.of(self.linear - linear)

    def __rsub__(self, other: Any) -> Any:
        linear = self._affine(other)
        return NotImplemented if linear is None else self.of(linear - self.linear)

    def __pow__(self, power: Any) -> Any:
        exponent = power.item() if isinstance(power, (np.ndarray, np.generic)) else power
        if not isinstance(exponent, (int, float)) or exponent != int(exponent) or not 1 <= exponent <= 8:
            raise InputError(f"the power {power} does not trace; use an integer from 1 to 8")
        half = self ** (exponent // 2) if exponent > 1 else None
        if half is None:
            return self
        return half * half * self if exponent % 2 else half * half

    __radd__ = __add__
    __rmul__ = __mul__

    def __abs__(self) -> Expression:
        return largest(self, -self)

    def __le__(self, other: Any) -> Any:
        linear = self._affine(other)
        return NotImplemented if linear is None else Atom(self.linear - linear, strict=False)

    def __lt__(self, other: Any) -> Any:
        linear = self._affine(other)
        return NotImplemented if linear is None else Atom(self.linear - linear, strict=True)

    def __ge__(self, other: Any) -> Any:
        linear = self._affine(other)
        return NotImplemented if linear is None else Atom(linear - self.linear, strict=False)

    def __gt__(self, other: Any) -> Any:
        linear = self._affine(other)
        return NotImplemented if linear is None else Atom(linear - self.linear, strict=True)

    def __eq__(self, other: Any) -> Any:
        return (self <= other) & (self >= other)

    def __ne__(self, other: Any) -> Any:
        return (self < other) | (self > other)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise InputError(f"a number that depends on inputs or outputs has no truth value here; {ALLOWED}")

    def __float__(self) -> float:
        raise InputError(f"a number that depends on inputs or outputs is no float; {ALLOWED}")

    __int__ = __index__ = __complex__ = __float__  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        from pydual.checkers.arrays import apply_ufunc

        return apply_ufunc(ufunc, method, inputs, options)


def product(tape: Tape, a: Linear, b: Linear) -> Linear:
    """``a * b``: scaling if one is constant, the sum of squares if both are one norm, else a term."""
    norm = tape.term(a)
    if isinstance(norm, Norm) and tape.term(b) is norm:
        return sum((product(tape, part, part) for part in norm.parts), Linear({}, {}))
    if not (a.x or a.y):
        return b * a.constant
    if not (b.x or b.y):
        return a * b.constant
    return tape.append(Times(a, b))


def largest(*parts: Expression | Any) -> Expression:
    """The maximum; that of maxima is one maximum."""
    tape = next(part.tape for part in parts if isinstance(part, Expression))
    flat: dict[Any, Linear] = {}
    for part in parts:
        linear = part.linear if isinstance(part, Expression) else Linear({}, {}) + part
        inner = tape.term(linear)
        for one in inner.parts if isinstance(inner, Largest) else (linear,):
            flat.setdefault(_key(one), one)
    functions = tuple(flat.values())
    return Expression(tape, functions[0] if len(functions) == 1 else tape.append(Largest(functions)))


def euclidean_norm(parts: list[Any]) -> Expression:
    """The root of the sum of squares, which only comparisons can resolve."""
    tape = next(part.tape for part in parts if isinstance(part, Expression))
    functions = tuple(part.linear if isinstance(part, Expression) else Linear({}, {}) + part for part in parts)
    return Expression(tape, tape.append(Norm(functions)))


def condition(value: Any) -> Condition:
    """A comparison, as it was written down."""
    if isinstance(value, (bool, np.bool_)):
        return Atom(Linear({}, {}, Fraction(0 if value else 1)))
    if not isinstance(value, (Atom, And, Or)):
        raise InputError(f"a {type(value).__name__} is no comparison; {ALLOWED}")
    return value
