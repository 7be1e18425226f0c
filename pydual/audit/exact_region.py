"""The cells of the exact audit: boxes and balls, and the minimum of a linear function there. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from operator import sub

from pydual.audit.exact_numbers import BITS, Interval, Number, bits, dyadic, outward
from pydual.audit.query import Ball


@dataclass
class Region:
    """A box of float bounds and perhaps a ball; ``integers`` are lower, upper, center, radius with one exponent."""

    lower: list[float]
    upper: list[float]
    ball: Ball | None
    empty: bool

    def __post_init__(self) -> None:
        self.empty = self.empty or self._misses_ball()

    def _misses_ball(self) -> bool:
        """Whether box and ball have no point in common (section 4: the bound then grows with the multiplier of the ball)."""
        if self.ball is None:
            return False
        lows, highs, center, (radius,), _ = self.integers
        steps = [max(low - c, c - high, 0) for low, high, c in zip(lows, highs, center, strict=True)]
        return sum(steps) > radius if self.ball.norm == "l1" else sum(s * s for s in steps) > radius**2

    @cached_property
    def integers(self) -> tuple[list[int], list[int], list[int], list[int], int]:
        extra = [] if self.ball is None else [*self.ball.center, self.ball.radius]
        numbers, exponent = dyadic([*self.lower, *self.upper, *extra])
        n = len(self.lower)
        return numbers[:n], numbers[n : 2 * n], numbers[2 * n : 3 * n], numbers[3 * n :], exponent

    @property
    def interval(self) -> Interval:
        low, high, _, _, exponent = self.integers
        return outward(low, high, exponent)

    def cut(self, i: int, threshold: float) -> tuple[Region, Region]:
        """The parts with ``x_i <= threshold`` and with ``x_i >= threshold``."""
        upper, lower = list(self.upper), list(self.lower)
        upper[i], lower[i] = min(upper[i], threshold), max(lower[i], threshold)
        first = Region(self.lower, upper, self.ball, self.empty or threshold < self.lower[i])
        return first, Region(lower, self.upper, self.ball, self.empty or threshold > self.upper[i])

    def least_in_box(self, w: list[int], exponent: int) -> Number:
        """The minimum of ``w . x`` over the box."""
        low, high, _, _, places = self.integers
        return sum([c * (a if c >= 0 else b) for c, a, b in zip(w, low, high, strict=True)]), exponent + places

    def minimum(self, w: list[int], exponent: int) -> Number:
        """A lower bound of ``w . x``."""
        in_box, e = self.least_in_box(w, exponent)
        if self.ball is None:
            return in_box, e
        value, places = (self._l1 if self.ball.norm == "l1" else self._l2)(w)
        return max(in_box << places, value), e - places

    def _l1(self, w: list[int]) -> Number:
        """``max_k sum_i min_x (w_i x + k |x - c_i|) - k r``: where x leaves the center for the largest coefficients."""
        lows, highs, center, (radius,), _ = self.integers
        nearest = [min(max(c, low), high) for c, low, high in zip(center, lows, highs, strict=True)]
        budget = radius - sum(abs(z - c) for z, c in zip(nearest, center, strict=True))
        k = 0 if budget >= 0 else (1 + max(map(abs, w))) << BITS  # beyond 0: box and ball are disjoint
        for i in sorted(range(len(w)), key=lambda i: -abs(w[i])) if budget >= 0 else ():
            farthest = lows[i] if w[i] >= 0 else highs[i]
            budget -= abs(farthest - center[i]) - abs(nearest[i] - center[i])
            if budget < 0:
                k = abs(w[i])
                break
        rows = zip(w, lows, highs, center, nearest, strict=True)
        least = sum(min(a * z + k * abs(z - c) for z in (low, high, near)) for a, low, high, c, near in rows)
        return least - k * radius, 0

    def _l2(self, w: list[int]) -> Number:
        """``sum_i min_x (w_i x + k (x - c_i)**2) - k r**2`` for a good ``k / 2**places``, times ``2**places``."""
        k, places = self._multiplier(w)
        lows, highs, center, (radius,), _ = self.integers
        least = -k * radius**2
        for a, low, high, c in zip(w, lows, highs, center, strict=True):
            a <<= places
            if -a <= 2 * k * (low - c):
                least += a * low + k * (low - c) ** 2
            elif -a >= 2 * k * (high - c):
                least += a * high + k * (high - c) ** 2
            else:
                least += a * c + -(a * a) // (4 * k)  # at x = c - a / (2 k), rounded down
        return least, places

    def _multiplier(self, w: list[int]) -> Number:
        """About the best ``k > 0`` for ``_l2``, in floating point: any ``k`` gives a bound."""
        down = max(0, bits(w) - BITS)
        low_ends, high_ends, center, (radius,), _ = self.integers
        steps = [*map(sub, low_ends, center), *map(sub, high_ends, center), radius]
        shrink = max(0, bits(steps) - BITS)
        slopes, n = [float(a >> down) for a in w], len(w)
        lows, highs, reach = steps[:n], steps[n : 2 * n], float(radius >> shrink)
        rows = [(a, float(b >> shrink), float(c >> shrink)) for a, b, c in zip(slopes, lows, highs, strict=True)]
        k = max(math.hypot(*slopes), 1.0) / (2.0 * max(reach, 1.0))

        def outside(k: float) -> bool:
            return math.fsum(min(max(-a / (2.0 * k), b), c) ** 2 for a, b, c in rows) > reach * reach

        factor = 2.0 if outside(k) else 0.5
        for _ in range(BITS):
            if outside(k * factor) != (factor > 1.0):
                break
            k *= factor
        low, high = sorted((k, k * factor))
        for _ in range(12):
            middle = (low + high) / 2.0
            low, high = (middle, high) if outside(middle) else (low, middle)
        mantissa, exponent = math.frexp(high)
        exponent += down - shrink - 30
        k = int(mantissa * 2**30)
        return (k << exponent, 0) if exponent >= 0 else (k, -exponent)
