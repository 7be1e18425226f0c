"""Affine terms under construction: ``+ - * /`` over exact numbers and variables, in time linear in the text.

Operations raise ValueError for what is not linear, ZeroDivisionError, and OverflowError for numbers of more than
MAX_BITS bits.
"""

from __future__ import annotations

from fractions import Fraction

from pydual.checker import Linear

MAX_BITS = 20_000  # of a numerator or denominator


class AffineTerm:
    """``scale * sum(coefficients[v] v)``, where the variable "" stands for 1. Operations use up their operands."""

    __slots__ = ("coefficients", "scale")

    def __init__(self, coefficients: dict[str, Fraction]) -> None:
        self.coefficients = coefficients
        self.scale = Fraction(1)

    def constant(self) -> Fraction | None:
        """The value of a constant term, None if there are variables."""
        if self.coefficients.keys() <= {""}:
            return self.scale * self.coefficients.get("", 0)
        return None

    def times(self, factor: Fraction) -> AffineTerm:
        if factor == 0:
            return AffineTerm({})
        self.scale = _short(self.scale * factor)
        return self

    def plus(self, other: AffineTerm) -> AffineTerm:
        """The sum; the smaller operand is poured into the larger."""
        big, small = (self, other) if len(self.coefficients) >= len(other.coefficients) else (other, self)
        ratio = small.scale / big.scale
        for name, coefficient in small.coefficients.items():
            total = _short(big.coefficients.get(name, 0) + coefficient * ratio)
            if total:
                big.coefficients[name] = total
            else:
                del big.coefficients[name]
        return big

    def linear(self) -> Linear:
        values = {name: _short(c * self.scale) for name, c in self.coefficients.items()}
        x, y = ({int(name[2:]): c for name, c in values.items() if name[:1] == kind} for kind in "XY")
        return Linear(x, y, values.get("", Fraction(0)))


def _short(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise OverflowError
    return value


def _add(terms: list[AffineTerm]) -> AffineTerm:
    total = terms[0]
    for term in terms[1:]:
        total = total.plus(term)
    return total


def _subtract(terms: list[AffineTerm]) -> AffineTerm:
    if len(terms) == 1:
        return terms[0].times(Fraction(-1))
    return _add([terms[0], *(term.times(Fraction(-1)) for term in terms[1:])])


def _multiply(terms: list[AffineTerm]) -> AffineTerm:
    product = terms[0]
    for term in terms[1:]:
        if product.constant() is not None:
            product, term = term, product
        factor = term.constant()
        if factor is None:
            raise ValueError("not linear")
        product = product.times(factor)
    return product


def _divide(terms: list[AffineTerm]) -> AffineTerm:
    quotient = terms[0]
    for term in terms[1:]:
        divisor = term.constant()
        if divisor is None:
            raise ValueError("not linear")
        quotient = quotient.times(1 / divisor)
    return quotient


OPERATIONS = {"+": _add, "-": _subtract, "*": _multiply, "/": _divide}
