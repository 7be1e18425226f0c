"""Dyadic rationals for the exact audit, ``integer * 2**exponent``, alone and in vectors. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from operator import add

BITS = 60  # what rounded numbers keep, relative to the largest of their vector: two digits of a Python integer

Vector = tuple[list[int], int]  # integers, exponent
Interval = tuple[list[int], list[int], int]  # lower bounds, upper bounds, exponent
Number = tuple[int, int]  # integer, exponent


def dyadic(values: Iterable[float | Fraction]) -> Vector:
    """Finite floats or integers, exactly."""
    ratios = [value.as_integer_ratio() for value in values]
    places = max((d.bit_length() for _, d in ratios), default=1)
    return [n << (places - d.bit_length()) for n, d in ratios], 1 - places


def bits(integers: list[int]) -> int:
    return max(map(abs, integers), default=0).bit_length()


def plus(a: Number, b: Number) -> Number:
    exponent = min(a[1], b[1])
    return (a[0] << (a[1] - exponent)) + (b[0] << (b[1] - exponent)), exponent


def total(vectors: Sequence[Vector]) -> Vector:
    """The sum of one or more vectors."""
    exponent = min(places for _, places in vectors)
    shifted = [v if places == exponent else [x << (places - exponent) for x in v] for v, places in vectors]
    return list(map(sum, zip(*shifted, strict=True))) if len(shifted) != 2 else list(map(add, *shifted)), exponent


def rounded_up(vector: Vector) -> Vector:
    shift = max(0, bits(vector[0]) - BITS)
    return [-(-v >> shift) for v in vector[0]], vector[1] + shift


def round_down(a: Number, exponent: int) -> int:
    """The largest integer ``n`` with ``n * 2**exponent <= a``."""
    shift = a[1] - exponent
    return a[0] << shift if shift >= 0 else a[0] >> -shift


def fraction(a: Number) -> Fraction:
    return a[0] * Fraction(2) ** a[1]


def outward(lower: list[int], upper: list[int], exponent: int) -> Interval:
    shift = max(0, bits(lower) - BITS, bits(upper) - BITS)
    return [v >> shift for v in lower], [-(-v >> shift) for v in upper], exponent + shift
