"""The primal player: projected gradient descent on the real network, from corners, random points and relaxed attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pydual.problem import Problem
from pydual.region import Region
from pydual.relax.engine import threads
from pydual.relax.frame import Group, group


@dataclass(frozen=True)
class Effort:
    """``restarts`` starts a problem, ``steps`` gradient steps each."""

    restarts: int
    steps: int


QUICK = Effort(restarts=4, steps=8)
NORMAL = Effort(restarts=16, steps=25)
THOROUGH = Effort(restarts=64, steps=60)
BATCH = 8  # starts between two looks at the clock
SHARE = 0.08  # of the time: for descents from points of the prover's search, and as much for random searches


def may_polish(spent: float, elapsed: float) -> bool:
    """Whether the primal player, who has spent so many of the elapsed seconds, may descend from points of the prover."""
    return spent <= SHARE * elapsed


@dataclass(frozen=True, eq=False)
class Find:
    """A point of a problem's region and its worst margin in float64: at most 0 for a candidate attack."""

    problem: Problem
    x: np.ndarray
    margin: float


class Adversary:
    """Searches all problems of a query; random numbers come from one generator with the caller's seed.

    ``left`` says how many seconds are left; when none are, a search ends with what it has.
    """

    def __init__(self, problems: tuple[Problem, ...], seed: int, left: Callable[[], float] = lambda: np.inf) -> None:
        self._left = left
        self._single = [g.only(p) for g in group(problems) for p in range(len(g.problems))]
        self._random = np.random.default_rng(seed)

    def search(self, effort: Effort, goal: float = 0.0, skip: frozenset[int] = frozenset()) -> list[Find]:
        """The best find of each problem, the least margin first. Stops at the first problem whose margin reaches ``goal``."""
        finds = []
        for single in self._single:
            if single.problems[0].index in skip:
                continue
            starts = self._starts(single.region, effort.restarts)
            finds.append(self._descend(single, starts, effort.steps, goal))
            if finds[-1].margin <= goal or self._left() <= 0:
                break
        return sorted(finds, key=lambda find: find.margin)

    def polish(self, points: np.ndarray, effort: Effort, goal: float = 0.0) -> list[Find]:
        """Descent from given inputs, for every problem whose region has them (after projection)."""
        finds: list[Find] = []
        for single in self._single if len(points) else ():
            if finds and self._left() <= 0:
                break
            finds.append(self._descend(single, points, effort.steps, goal))
        return sorted(finds, key=lambda find: find.margin)

    def evaluate(self, points: np.ndarray) -> list[Find]:
        """The best of the given inputs for each problem, as they are."""
        finds = []
        for single in self._single:
            inside = into_region(points, single.region)
            values = single.margins_at(inside).max(axis=1)
            best = int(values.argmin())
            finds.append(Find(single.problems[0], inside[best], float(values[best])))
        return sorted(finds, key=lambda find: find.margin)

    def _descend(self, single: Group, starts: np.ndarray, steps: int, goal: float) -> Find:
        """The best find from the starts, a batch at a time."""
        batches = (self._batch(single, starts[k : k + BATCH], steps, goal) for k in range(0, len(starts), BATCH))
        best = next(batches)
        while best.margin > goal and self._left() > 0 and (other := next(batches, None)):
            best = min(best, other, key=lambda find: find.margin)
        return best

    def _batch(self, single: Group, starts: np.ndarray, steps: int, goal: float) -> Find:
        points, values = single.program.core.descend(
            single.core_margins, single.core_region, into_region(starts, single.region),
            steps=steps, first_step=0.25, decay=0.93, goal=goal, threads=threads(),
        )  # fmt: skip
        best = int(np.argmin(values))
        return Find(single.problems[0], points[best], float(values[best]))

    def _starts(self, region: Region, restarts: int) -> np.ndarray:
        """The center, then corners and uniform points by turns."""
        uniform = self._random.random((restarts, region.size))
        uniform[1::2] = np.round(uniform[1::2])
        uniform[0] = 0.5
        return region.lower * (1 - uniform) + region.upper * uniform


def nearest_listed(x: np.ndarray, region: Region) -> np.ndarray:
    """The point of the list, among those in the box if there are any, that is nearest to ``x``."""
    assert region.points is not None
    outside = ~((region.points >= region.lower) & (region.points <= region.upper)).all(axis=1)
    steps = np.square(region.points - x).sum(axis=1) + np.where(outside, np.finfo(float).max, 0.0)
    return region.points[int(steps.argmin())]


def into_region(points: np.ndarray, region: Region) -> np.ndarray:
    """The points (rows) clipped to the box and, with a ball, moved toward the box's point nearest to the center."""
    points = np.clip(points, region.lower, region.upper)
    if region.integers is not None:
        points[:, region.integers] = np.rint(points[:, region.integers])
    if region.points is not None:
        points = np.array([nearest_listed(x, region) for x in points]).reshape(points.shape)
    if region.ball is None:
        return points
    order = 1 if region.ball.norm == "l1" else 2
    nearest = np.clip(region.ball.center, region.lower, region.upper)
    base = np.linalg.norm(nearest - region.ball.center, order)
    size = np.linalg.norm(points - region.ball.center, order, axis=1)
    # a norm is convex: at a share t of the way it is at most (1 - t) base + t size, which is the radius for this t
    room = max(region.ball.radius - base, 0.0)
    share = np.where(size <= region.ball.radius, 1.0, room / np.maximum(size - base, room + np.finfo(float).tiny))
    return nearest + share[:, None] * (points - nearest)
