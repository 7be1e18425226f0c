"""Dyadic rationals, and the cells of the exact audit: boxes and balls. Standard library only.

Vectors and intervals are lists of integers with a common exponent; scalars are fractions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import ceil, floor, isqrt
from operator import gt, mul, sub

from pydual.audit.query import Ball

STEPS = 50  # of the search for a multiplier of an l2 ball, each of which halves an interval
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


def dot(a: Vector, b: Vector) -> Fraction:
    """``a . b``."""
    return scaled(sum(map(mul, a[0], b[0])), a[1] + b[1])


def least(w: Vector, interval: Interval) -> Fraction:
    """The minimum of ``w . v`` over an interval."""
    low, high, places = interval
    return scaled(sum([c * (a if c >= 0 else b) for c, a, b in zip(w[0], low, high, strict=True)]), w[1] + places)


class Region:
    """A box of float bounds and perhaps a ball; ``interval``, ``center`` and ``radius`` are integers, with one exponent.

    Bounds of the inputs ``integers`` are rounded inward. ``empty``: box and ball have no point in common.
    """

    def __init__(self, lower: list[float], upper: list[float], ball: Ball | None, integers: tuple[int, ...] = ()) -> None:
        self.lower, self.upper, self.ball, self.integers = list(lower), list(upper), ball, integers
        for i in integers:
            self.lower[i], self.upper[i] = ceil(lower[i]), floor(upper[i])
        lower, upper = self.lower, self.upper
        self._l1 = ball is not None and ball.norm == "l1"
        numbers, exponent = dyadic([*lower, *upper, *(ball.center if ball else []), ball.radius if ball else 0.0])
        n = len(lower)
        low, high, self.center, self.radius = numbers[:n], numbers[n : 2 * n], numbers[2 * n : -1], numbers[-1]
        self.interval: Interval = low, high, exponent
        self.empty = any(map(gt, low, high))
        # the distances of the center from the box
        self.gaps = [max(a - c, c - b, 0) for a, b, c in zip(low, high, self.center, strict=False)]
        if ball:
            far = sum(self.gaps) > self.radius if self._l1 else sum(g * g for g in self.gaps) > self.radius**2
            self.empty = self.empty or far

    def cut(self, i: int, threshold: float) -> tuple[Region, Region]:
        """The parts with ``x_i <= threshold`` and with ``x_i >= threshold``."""
        upper, lower = list(self.upper), list(self.lower)
        upper[i], lower[i] = min(upper[i], threshold), max(lower[i], threshold)
        return Region(self.lower, upper, self.ball, self.integers), Region(lower, self.upper, self.ball, self.integers)

    def minimum(self, w: Vector) -> Fraction:
        """A lower bound of ``w . x``; over a box alone it is the minimum."""
        in_box = least(w, self.interval)
        return in_box if self.ball is None else max(in_box, self._in_box_and_ball(*w))

    def _in_box_and_ball(self, w: list[int], exponent: int) -> Fraction:
        """The minimum of ``(w - b) . x`` over the box, and that of ``b . x`` over the ball (by Hoelder), for a good ``b``."""
        spare = max(0, bits([self.radius]) + BITS - bits(w))
        w = [v << spare for v in w]
        b = self._share(w)
        norm = max(map(abs, b)) if self._l1 else isqrt(sum(v * v for v in b)) + 1
        in_box = least((list(map(sub, w, b)), exponent - spare), self.interval)
        return in_box + dot(([*b, -norm], exponent - spare), ([*self.center, self.radius], self.interval[2]))

    def _share(self, w: list[int]) -> list[int]:
        """The part of ``w`` that the ball should bear; any part gives a bound.

        Let ``x`` be the point of the box where ``w . x + k |x - c|`` is least, with squares instead of | | in l2. The best
        k is where x is as far from the center as the radius; there, ``-b`` is a gradient of the second summand.
        """
        low, high, _ = self.interval
        rows = list(zip(low, high, self.center, strict=True))
        ends = [(-1 if c <= z else 1, 1 if a <= c else -1) if self._l1 else (c - z, c - a) for a, z, c in rows]

        def share(k: int) -> list[int]:
            return [min(max(v, k * p), k * q) for v, (p, q) in zip(w, ends, strict=True)]

        def is_inside(k: int) -> bool:
            if not self._l1:
                return sum([s * s for s in share(k)]) <= (k * self.radius) ** 2
            at = zip(w, share(k), rows, self.gaps, strict=True)
            return sum([abs(a - c) if v > s else abs(z - c) if v < s else g for v, s, (a, z, c), g in at]) <= self.radius

        near = isqrt(sum(g * g for g in self.gaps))
        most = isqrt(sum(v * v for v in w)) // max(1, self.radius - near) + 1
        candidates = sorted(map(abs, w)) if self._l1 else range(0, most + 1, (most >> STEPS) + 1)
        return share(candidates[bisect_left(candidates, True, hi=len(candidates) - 1, key=is_inside)])
