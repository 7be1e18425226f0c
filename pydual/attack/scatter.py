"""The primal player where inputs are few: many random points, and walks of random steps from the best of them.

In a few dimensions a rare catastrophe is found sooner by looking everywhere than by descending from anywhere. A walk takes
the best of some random steps if that is better than where it is; the steps become longer after a success and shorter after
a failure (Solis and Wets 1981, "Minimization by random search techniques").
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from pydual.attack.search import SHARE, Find, into_region
from pydual.problem import Problem
from pydual.region import Region
from pydual.relax.frame import Group, group

MOST_INPUTS = 16  # that vary; with more, random points tell little
ROUNDS, TRIES = 50, 8  # of a walk: its steps, and the points tried for each
FIRST_STEP, LONGER, SHORTER, SHORTEST, LONGEST = 0.1, 1.5, 0.7, 1e-6, 1.0  # deviations, as shares of the inputs' intervals
MOVED = 0.5  # of the inputs, in a step

FEWEST, FIRST, MOST = 64, 1e7, 2e9  # points, and products of a network's weights with points, at first and at last
ROW = 2e3  # products in the time that a point takes in any case
HELD = 4_000_000  # numbers in memory: points, and margins at them
SPEED = 1e9  # products a second that are expected before any are measured


class Scatter:
    """Random searches for the problems of a query, each twice as long as the one before, in a share of the time."""

    def __init__(self, problems: tuple[Problem, ...], seed: int, left: Callable[[], float] = lambda: np.inf) -> None:
        self._groups = group([problem for problem in problems if is_low_dimensional(problem.region)])
        self._random = np.random.default_rng(seed)
        self._left = left
        self.spent = 0.0
        work = sum((1 + len(g.problems)) * (g.program.weights + ROW) for g in self._groups)
        self.samples, self._most = (max(FEWEST, int(products / max(work, 1.0))) for products in (FIRST, MOST))
        self._expected = self.samples * work / SPEED

    def search(self, elapsed: float, goal: float = 0.0, skip: frozenset[int] = frozenset()) -> list[Find]:
        """The best finds, the least margin first, or none where it is too early, so many seconds after the beginning, or
        too late.

        Stops at the first find that reaches the ``goal``.
        """
        if not self._groups or self.spent + self._expected > SHARE * elapsed or self._expected > self._left():
            return []
        begin, finds = time.monotonic(), list[Find]()
        for find in (find for g in self._groups for find in scatter(g, self.samples, self._random, goal, skip)):
            finds.append(find)
            if find.margin <= goal or self._left() <= 0:
                break
        else:  # to the end
            samples = min(2 * self.samples, self._most)
            self._expected = (time.monotonic() - begin) * samples / self.samples
            self.samples = samples
        self.spent += time.monotonic() - begin
        return sorted(finds, key=lambda find: find.margin)


def is_low_dimensional(region: Region) -> bool:
    """Whether so few inputs vary that random points are worth a try."""
    return region.points is None and 0 < varying(region) <= MOST_INPUTS


def varying(region: Region) -> int:
    """How many inputs vary."""
    return int(np.count_nonzero(region.upper > region.lower))


def scatter(g: Group, samples: int, random: np.random.Generator, goal: float, skip: frozenset[int]) -> Iterator[Find]:
    """For each of the group's problems, but those to skip, the best of so many random points and of walks from the best of
    these, which look at about as many. A walk ends where it reaches the ``goal``."""
    searched = [p for p, problem in enumerate(g.problems) if problem.margins and problem.index not in skip]
    if not searched:
        return
    starts = best_points(g, searched, samples, random)
    for p in searched:
        yield Find(g.problems[p], *_walk(g.only(p), *starts[p], random, goal))


def best_points(
    g: Group, searched: list[int], samples: int, random: np.random.Generator
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """For each problem the best of so many random points, with their values: as many as walks begin, if there are."""
    walks, block = max(1, samples // (ROUNDS * TRIES)), max(FEWEST, HELD // (g.region.size + len(g.margins.bias)))
    best = {p: (np.zeros((0, g.region.size)), np.zeros(0)) for p in searched}
    for begin in range(0, samples, block):
        drawn = random_points(g.region, min(block, samples - begin), random)
        margins = g.margins_at(drawn)
        for p in searched:
            values = margins[:, g.columns(p)].max(axis=1)
            few = _least(values, walks)
            points, values = np.vstack([best[p][0], drawn[few]]), np.append(best[p][1], values[few])
            least = _least(values, walks)
            best[p] = points[least], values[least]
    return best


def _least(values: np.ndarray, number: int) -> np.ndarray:
    """The places of so many of the least values, in no order."""
    return np.argpartition(values, number - 1)[:number] if number < len(values) else np.arange(len(values))


def random_points(region: Region, number: int, random: np.random.Generator) -> np.ndarray:
    """Points of the box; with a ball, those outside of it are moved onto its surface, and every other one inside."""
    share = random.random((number, region.size))
    points = into_region(region.lower * (1 - share) + region.upper * share, region)
    if region.ball is None:
        return points
    inside, center = points[::2], np.clip(region.ball.center, region.lower, region.upper)
    distance = random.random((len(inside), 1)) ** (1 / varying(region))
    return into_region(np.vstack([center + distance * (inside - center), points[1::2]]), region)


def _walk(
    g: Group, points: np.ndarray, values: np.ndarray, random: np.random.Generator, goal: float
) -> tuple[np.ndarray, float]:
    """Walks from the points (rows), which have these values, all at once: the best point and its value."""
    walks, inputs = points.shape
    half, step, rows = 0.5 * g.region.upper - 0.5 * g.region.lower, np.full((walks, 1, 1), FIRST_STEP), np.arange(walks)
    for _ in range(ROUNDS):
        if values.min() <= goal:
            break
        moves = random.standard_normal((walks, TRIES, inputs)) * (random.random((walks, TRIES, inputs)) < MOVED)
        with np.errstate(over="ignore"):
            tried = into_region((points[:, None, :] + 2 * step * moves * half).reshape(-1, inputs), g.region)
        found = g.margins_at(tried).max(axis=1).reshape(walks, TRIES)
        first = found.argmin(axis=1)
        least, better = found[rows, first], found[rows, first] < values
        points = np.where(better[:, None], tried.reshape(walks, TRIES, inputs)[rows, first], points)
        values = np.where(better, least, values)
        step = np.clip(step * np.where(better, LONGER, SHORTER)[:, None, None], SHORTEST, LONGEST)
    best = int(values.argmin())
    return points[best], float(values[best])
