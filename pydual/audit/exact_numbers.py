"""Dyadic rationals for the exact audit: vectors and intervals of integers with a common exponent. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from operator import mul

BITS = 60  # what rounded numbers keep, relative to the largest of their vector: two digits of a Python integer

Vector = tuple[list[int], int]  # integers, exponent: ``integers * 2**exponent``
Interval = tuple[list[int], list[int], int]  # lower bounds, upper bounds, exponent


def scaled(n: int, exponent: int) -> Fraction:
    """``n * 2**exponent``."""
    return Fraction(n << exponent) if exponent >= 0 else Fraction(n, 1 << -exponent)


def dyadic(values: Iterable[float | Fraction]) -> Vector:
    """Finite floats, integers or dyadic fractions, exactly."""
    ratios = [value.as_integer_ratio() for value in values]
    places = max((d.bit_length() for _, d in ratios), default=1)
    return [n << (places - d.bit_length()) for n, d in ratios], 1 - places


def bits(integers: Iterable[int]) -> int:
    return max(map(abs, integers), default=0).bit_length()


def total(vectors: Sequence[Vector]) -> Vector:
    """The sum of one or more vectors."""
    exponent = min(places for _, places in vectors)
    shifted = [v if places == exponent else [x << (places - exponent) for x in v] for v, places in vectors]
    return list(map(sum, zip(*shifted, strict=True))), exponent


def outward(lower: list[int], upper: list[int], exponent: int) -> Interval:
    """An interval with its ends rounded outward to BITS."""
    shift = max(0, bits(lower) - BITS, bits(upper) - BITS)
    return [v >> shift for v in lower], [-(-v >> shift) for v in upper], exponent + shift


def sum_of(intervals: Sequence[Interval]) -> Interval:
    """The sum of one or more intervals, rounded outward."""
    lower, exponent = total([(low, places) for low, _, places in intervals])
    return outward(lower, total([(high, places) for _, high, places in intervals])[0], exponent)


def product(a: Vector, b: Vector) -> Fraction:
    """``a . b``."""
    return scaled(sum(map(mul, a[0], b[0])), a[1] + b[1])


def least(w: Vector, interval: Interval) -> Fraction:
    """The minimum of ``w . v`` over an interval."""
    low, high, places = interval
    return scaled(sum([c * (a if c >= 0 else b) for c, a, b in zip(w[0], low, high, strict=True)]), w[1] + places)
