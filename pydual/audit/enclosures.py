"""Float64 arithmetic with rigorous error bounds: the ground that the rounded audit stands on.

The model of arithmetic: ``fl(a op b) = (a op b)(1 + d) + e`` with ``|d| <= U`` and ``|e| <= 2^-1022`` (gradual underflow, or
flushing to zero), ``e = 0`` for sums. An inner product of n terms, in any order and with or without fused operations, has
an error of at most ``gamma(n) |x|.|y| + n 2^-1022``. Overflow gives infinity or NaN, which no comparison accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pydual.audit.query import Ball

U = 2.0**-53
LONGEST = 2**26  # the longest inner product that gamma and SAFE are right for
SAFE = 1.0 + 1e-6  # error bounds are sums of nonnegative terms: computed, they lose a factor of at most (1 - U)^LONGEST
HUGE = 1e200  # a lower bound over the empty set
UNDERFLOW = 1e-290  # above the sum of any 10^17 underflow errors


def gamma(n: int) -> float:
    """``n U / (1 - n U)``, rounded up, for ``n <= LONGEST``."""
    return n * U * SAFE


def down(x: np.ndarray) -> np.ndarray:
    """Below ``x`` by one unit in the last place: a lower bound of what ``x`` is the rounding of."""
    return np.nextafter(x, -np.inf)


def up(x: np.ndarray) -> np.ndarray:
    return np.nextafter(x, np.inf)


def dot(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Inner products of columns: ``a`` is (n, 1), the same for all columns, or (n, columns); ``w`` is (n, columns)."""
    return a[:, 0] @ w if a.shape[1] == 1 else np.einsum("ij,ij->j", a, w)


def enclose(values: list[Fraction]) -> tuple[np.ndarray, np.ndarray]:
    """Nearest floats of rationals, and bounds of their distances. Raises OverflowError beyond the float64 range."""
    floats = [float(v) for v in values]
    distances = [abs(Fraction(f) - v) for f, v in zip(floats, values, strict=True)]
    # rounded to nearest, a distance may shrink: twice it, or the smallest normal number, is above it
    radii = [max(2 * float(d), 2.0**-1022) if d else 0.0 for d in distances]
    return np.array(floats), np.array(radii)


def difference(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Floats below and above ``a - b``; both equal it where it is a float."""
    d = a - b
    back = d - a
    error = (a - (d - back)) - (b + back)  # exact: Knuth's TwoSum of a and -b
    return np.where(error < 0, down(d), d), np.where(error > 0, up(d), d)


class Sum:
    """A sum for each column, and a bound of the error made in it."""

    def __init__(self, total: np.ndarray, error: np.ndarray) -> None:
        self.total, self.error = total, error

    def add(self, value: np.ndarray, error: np.ndarray | float) -> None:
        self.total = self.total + value
        # a sum t = fl(a + b) has |t - (a + b)| <= U |t|
        self.error = self.error + error + U * np.abs(self.total)

    def lower(self) -> np.ndarray:
        """A lower bound of the sums; not finite where anything overflowed."""
        return down(self.total - SAFE * self.error)


@dataclass(frozen=True, eq=False)
class Domain:
    """Inputs ``origin + d`` with ``below <= d <= above`` and, with a ball, ``||d|| <= radius``.

    The arrays are (inputs, 1) or (inputs, columns).
    """

    origin: np.ndarray
    below: np.ndarray
    above: np.ndarray
    norm: str | None = None
    radius: float = 0.0

    @classmethod
    def of_box(cls, lower: np.ndarray, upper: np.ndarray, ball: Ball | None) -> Domain:
        """The domain of boxes, columns (inputs, n), each cut by the same ball, if there is one."""
        if ball is None:
            origin = 0.5 * lower + 0.5 * upper
            return cls(origin, difference(lower, origin)[0], difference(upper, origin)[1])
        origin = np.array(ball.center, dtype=np.float64)[:, None]
        below, above = difference(lower, origin)[0], difference(upper, origin)[1]
        return cls(origin, below, above, ball.norm, ball.radius)

    @property
    def reach(self) -> np.ndarray:
        """The largest ``|d|``."""
        return np.maximum(np.abs(self.below), np.abs(self.above))

    def columns(self, index: np.ndarray) -> Domain:
        """The domain for each of several columns, which name columns of this one."""
        origin, below, above = (a if a.shape[1] == 1 else a[:, index] for a in (self.origin, self.below, self.above))
        return Domain(origin, below, above, self.norm, self.radius)

    def add_minimum(self, w: np.ndarray, result: Sum) -> None:
        """Add a lower bound of ``min w . x`` for each column of ``w`` (inputs, columns)."""
        result.add(dot(self.origin, w), gamma(len(w) + 2) * dot(np.abs(self.origin), np.abs(w)))
        result.add(*self.least_displacement(w))

    def least_displacement(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A lower bound of ``min w . d`` for each column of ``w``, and a bound of its rounding error."""
        box = self._least_in_box(w)
        if self.norm is None:
            return box
        # for every vector t: w.d = t.d + (w - t).d >= (min over the box of t.d) - radius ||w - t||_dual
        t = self._box_part_l2(w) if self.norm == "l2" else self._box_part_l1(w)
        value, error = self._least_in_box(t)
        rest = w - t
        size = np.sqrt(np.einsum("ij,ij->j", rest, rest)) if self.norm == "l2" else np.abs(rest).max(axis=0, initial=0.0)
        share = self.radius * size
        # squares below 1e-300 may vanish: the root of their sum is below 1e-140
        error = error + gamma(len(w) + 8) * (np.abs(value) + share) + self.radius * 1e-140
        value = value - share
        better = value - error > box[0] - box[1]
        value, error = np.where(better, value, box[0]), np.where(better, error, box[1])
        return np.where(self._misses_ball(), HUGE, value), error

    def _misses_ball(self) -> np.ndarray:
        """Where the box lies outside the ball, and kappa without bound gives bounds without bound; (1,) or (columns,)."""
        near = np.maximum(np.maximum(self.below, -self.above), 0.0)
        if self.norm == "l1":
            return near.sum(axis=0) > self.radius * (1 + 2 * gamma(len(near) + 4))
        return (near * near).sum(axis=0) > self.radius**2 * (1 + 2 * gamma(len(near) + 4)) + UNDERFLOW

    def _least_in_box(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = dot(self.below, np.maximum(w, 0.0)) + dot(self.above, np.minimum(w, 0.0))
        return value, gamma(2 * len(w) + 2) * dot(self.reach, np.abs(w))

    def _box_part_l2(self, w: np.ndarray) -> np.ndarray:
        """The Lagrangian's t: d = clip(-theta w) with theta such that ``||d|| = radius``, and t = w + d / theta.

        ``||d||`` grows with theta: Newton's method for its square, between the bounds found so far.
        """
        theta = max(self.radius, 1e-100) / np.sqrt(np.einsum("ij,ij->j", w, w))
        low, high = np.zeros_like(theta), np.full_like(theta, np.inf)
        farthest = np.where(w > 0, self.below, self.above)
        # done where the ball cuts nothing off, and where w is zero
        done = (np.einsum("ij,ij->j", farthest, farthest) <= self.radius**2) | ~np.isfinite(theta)
        for _ in range(40):
            free_d = -theta * w
            d = np.clip(free_d, self.below, self.above)
            free = d == free_d
            fixed = np.einsum("ij,ij->j", d, np.where(free, 0.0, d))
            slope = np.einsum("ij,ij->j", w, np.where(free, w, 0.0))
            inside = fixed + theta**2 * slope <= self.radius**2
            low, high = np.where(inside, theta, low), np.where(inside, high, theta)
            root = np.sqrt((self.radius**2 - fixed) / slope)
            middle = np.where(high < np.inf, np.where(low > 0, np.sqrt(low * high), high / 16), low * 16)
            following = np.where((root >= low) & (root <= high) & np.isfinite(root), root, middle)
            done |= np.abs(following - theta) <= 1e-9 * theta
            if done.all():
                break
            theta = np.where(done, theta, following)
        return w + np.clip(-theta * w, self.below, self.above) / theta

    def _box_part_l1(self, w: np.ndarray) -> np.ndarray:
        """The Lagrangian's t: w shrunk by kappa, where the farthest d with ``|w| > kappa`` just reach the ball."""
        near = np.abs(np.clip(0.0, self.below, self.above))
        far = np.where(w > 0, np.abs(self.below), np.abs(self.above))
        order = np.argsort(-np.abs(w), axis=0)
        steps = np.take_along_axis(far - near, order, axis=0)
        outside = near.sum(axis=0) + np.cumsum(steps, axis=0) > self.radius
        sizes = np.take_along_axis(np.abs(w), order, axis=0)
        kappa = np.where(outside.any(axis=0), np.take_along_axis(sizes, outside.argmax(axis=0)[None], axis=0)[0], 0.0)
        towards = np.where(self.below > 0, kappa, np.where(self.above < 0, -kappa, np.clip(-w, -kappa, kappa)))
        return w + towards
