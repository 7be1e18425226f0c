"""The cells of the exact audit: boxes and balls, and the minimum of a linear function there. Standard library only."""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from math import isqrt
from operator import gt, sub

from pydual.audit.exact_numbers import BITS, Interval, Vector, bits, dyadic, least, product
from pydual.audit.query import Ball

STEPS = 50  # of the search for a multiplier of an l2 ball, each of which halves an interval


class Region:
    """A box of float bounds and perhaps a ball; ``interval``, ``center`` and ``radius`` are integers, with one exponent.

    ``empty``: box and ball have no point in common.
    """

    def __init__(self, lower: list[float], upper: list[float], ball: Ball | None) -> None:
        self.lower, self.upper, self.ball = lower, upper, ball
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
        return Region(self.lower, upper, self.ball), Region(lower, self.upper, self.ball)

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
        return in_box + product(([*b, -norm], exponent - spare), ([*self.center, self.radius], self.interval[2]))

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
