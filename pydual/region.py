"""Regions: what the adversary may choose as input."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from pydual.errors import InputError


@dataclass(frozen=True, eq=False)
class Ball:
    """The points with ``||x - center|| <= radius`` in the norm "l1" or "l2"."""

    center: np.ndarray
    radius: float
    norm: str

    def contains(self, x: np.ndarray) -> bool:
        """Whether the float64 point ``x`` lies in the ball, decided in rational arithmetic."""
        steps = [Fraction(a) - Fraction(b) for a, b in zip(x.tolist(), self.center.tolist(), strict=True)]
        if self.norm == "l1":
            return sum(map(abs, steps)) <= Fraction(self.radius)
        return sum(step * step for step in steps) <= Fraction(self.radius) ** 2


@dataclass(frozen=True, eq=False)
class Region:
    """A box, intersected with an optional l1 or l2 ball; float64 vectors of length ``inputs``.

    ``lower`` and ``upper`` are rounded outward from the bounds that were asked for: a proof covers them.
    ``inner_lower`` and ``inner_upper`` are rounded inward (they default to the same): an attack stays within them.
    Raises InputError for shapes that differ, NaN, infinite or inverted bounds.
    """

    lower: np.ndarray
    upper: np.ndarray
    ball: Ball | None = None
    inner_lower: np.ndarray = field(default=None)  # type: ignore[assignment]
    inner_upper: np.ndarray = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("lower", "upper", "inner_lower", "inner_upper"):
            array = getattr(self, name)
            array = getattr(self, name.removeprefix("inner_")) if array is None else array
            object.__setattr__(self, name, np.array(array, dtype=np.float64).ravel())
        if self.lower.shape != self.upper.shape:
            raise InputError(f"A box needs as many lower as upper bounds; got {self.lower.size} and {self.upper.size}.")
        for i, (low, high) in enumerate(zip(self.lower.tolist(), self.upper.tolist(), strict=True)):
            if not (np.isfinite(low) and np.isfinite(high)):
                raise InputError(f"Input {i} has the bounds [{low}, {high}]; both must be finite numbers.")
            if low > high:
                raise InputError(f"Input {i} has the empty interval [{low}, {high}]; swap or correct its bounds.")
        if self.ball is not None and self.ball.center.shape != self.lower.shape:
            raise InputError(f"The ball has {self.ball.center.size} coordinates, the box {self.lower.size}; make them equal.")

    @property
    def size(self) -> int:
        return len(self.lower)

    def contains(self, x: np.ndarray) -> bool:
        """Whether a float64 point lies in the region as it was asked for (inner bounds), without tolerance."""
        inside = bool(np.all(x >= self.inner_lower) and np.all(x <= self.inner_upper))
        return inside and (self.ball is None or self.ball.contains(x))


def rational_box(lower: list[Fraction], upper: list[Fraction], ball: Ball | None = None) -> Region:
    """The region of a box with rational bounds: rounded outward for proofs, inward for attacks.

    The inner box may be empty (``inner_lower > inner_upper``) where no float64 lies between the bounds.
    """
    return Region(
        np.array([round_down(v) for v in lower]),
        np.array([round_up(v) for v in upper]),
        ball,
        np.array([round_up(v) for v in lower]),
        np.array([round_down(v) for v in upper]),
    )


def round_down(value: Fraction) -> float:
    """The largest float64 that is not above ``value``."""
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else float(np.nextafter(nearest, -np.inf))


def round_up(value: Fraction) -> float:
    """The smallest float64 that is not below ``value``."""
    return -round_down(-value)
