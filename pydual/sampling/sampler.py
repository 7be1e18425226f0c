"""Samplers: uniform points of a region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pydual.errors import InputError
from pydual.region import Ball, Region

Points = Callable[[np.random.Generator, int], np.ndarray]  # a generator and a number of points: an array (points, inputs)
TRIES = 1000  # batches without any point, after which a ball and a box are taken to be disjoint


@dataclass(frozen=True)
class Uniform:
    """The uniform distribution on a region, or on its points or integers; of a ball cut by a box by rejection."""

    region: Region

    name = "uniform"

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Points (count, inputs). Raises InputError where box and ball hardly meet."""
        region = self.region
        if region.points is not None:
            return region.points[rng.integers(len(region.points), size=count)]
        if region.ball is None:
            return _in_box(region, rng, count)
        found = np.zeros((0, region.size))
        for _ in range(TRIES):
            points = in_ball(region.ball, rng, count) if region.integers is None else _in_box(region, rng, count)
            inside = ((points >= region.lower) & (points <= region.upper)).all(axis=1) & near(points, region.ball)
            found = np.concatenate([found, points[inside]])[:count]
            if len(found) == count:
                return found
        raise InputError("Box and ball of the region hardly meet, so they cannot be sampled; give a smaller box or ball.")


def _in_box(region: Region, rng: np.random.Generator, count: int) -> np.ndarray:
    whole = np.zeros(region.size, dtype=bool) if region.integers is None else region.integers
    points = region.lower + rng.random((count, region.size)) * (region.upper - region.lower + whole)
    return np.where(whole, np.minimum(np.floor(points), region.upper), points)


def near(points: np.ndarray, ball: Ball) -> np.ndarray:
    """Which of the points (rows) lie in the ball, in float64."""
    distance: np.ndarray = np.linalg.norm(points - ball.center, 2 if ball.norm == "l2" else 1, axis=1)
    return distance <= ball.radius * (1 + 1e-12)


def in_ball(ball: Ball, rng: np.random.Generator, count: int) -> np.ndarray:
    """Uniform points of a ball: a direction, and a radius whose power of the dimension is uniform."""
    size = len(ball.center)
    if ball.norm == "l2":
        directions = rng.normal(size=(count, size))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    else:
        directions = rng.exponential(size=(count, size)) * rng.choice((-1.0, 1.0), (count, size))
        directions /= np.abs(directions).sum(axis=1, keepdims=True)
    radius = ball.radius * rng.random((count, 1)) ** (1.0 / size)
    return ball.center + radius * directions
