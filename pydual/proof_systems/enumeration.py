"""Enumeration: every point of a finite region, one after the other. The list is the certificate.

Points are numbered, written down in blocks and evaluated natively on all cores; the proof says no more than that all points
of the cell are to be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pydual import certificate
from pydual.errors import InputError
from pydual.problem import Problem
from pydual.proof_systems.base import Play, State, start
from pydual.proof_systems.recorder import Leaf, TreeRecorder
from pydual.region import Region
from pydual.relax.engine import threads
from pydual.relax.frame import Group, group

MOST = 10**10  # points, by default: a matter of hours
CANDIDATES = 16
STEP = 2e9  # multiply-adds of a step, about: a fraction of a second
ROUNDING = 1e-9
LEAST_STEP, MOST_STEP = 1 << 10, 1 << 22  # points of a step: a double is kept for each
AT_ZERO = 1e-9  # a worst margin so near to 0 is left to the audit


@dataclass(frozen=True, eq=False)
class Count:
    """A problem whose points before ``next`` are evaluated; ``least`` is the least worst margin among them, at ``x``."""

    group: Group
    total: int
    next: int = 0
    least: float = np.inf
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, eq=False, kw_only=True)
class EnumerationState(State):
    waiting: tuple[Count, ...] = ()


@dataclass(frozen=True)
class Enumeration:
    """Looks at all points of a region with at most ``most`` of them: integers in a box, or a list."""

    most: int = MOST

    name = "enumeration"
    complete = True

    def init(self, problems: tuple[Problem, ...]) -> EnumerationState:
        """Raises InputError for regions that are not finite or have too many points."""
        for problem in problems:
            check_finite(problem.region, self.most)
        known = start(problems)
        single = [g.only(p) for g in group(problems) for p in range(len(g.problems))]
        return EnumerationState(**vars(known), waiting=tuple(Count(g, _total(g.region)) for g in single))

    def step(self, state: EnumerationState, seconds: float) -> EnumerationState:
        if not state.waiting:
            return replace(state, finished=True)
        count, *others = state.waiting
        problem = count.group.problems[0]
        points = min(_step(problem), count.total - count.next)
        bad, least, x = _look(count, points)
        done = replace(count, next=count.next + points)
        if least < count.least:
            done = replace(done, least=least, x=x)
        state = replace(state, candidates=bad, statistics=state.counting(points=points))
        if done.least < -AT_ZERO:
            play = Play(problem, done.x, done.least, np.zeros(0), np.zeros(0))
            state = replace(state, plays={**state.plays, problem.index: play})
        if done.next < done.total:
            share = 1.0 - done.next / done.total
            return replace(state, waiting=(done, *others), open_shares={**state.open_shares, problem.index: share})
        return self._counted(state, done, tuple(others))

    def _counted(self, state: EnumerationState, done: Count, others: tuple[Count, ...]) -> EnumerationState:
        """All points of a problem have been seen."""
        index = done.group.problems[0].index
        state = replace(state, waiting=others, finished=not others, lower={**state.lower, index: done.least})
        if index in state.plays:
            return state
        return replace(state, trees={**state.trees, index: _proof(done.group)})


def check_finite(region: Region, most: int) -> None:
    """Raises InputError unless the region has at most ``most`` points."""
    count = region.count
    if count is None:
        raise InputError(
            "The system 'enumeration' needs a finite region: make inputs integers (Region(..., integers=mask)), or give "
            "Region.listed or Region.grid; 'bab' takes regions with some integers."
        )
    if count > most:
        raise InputError(f"The region has {count} points, more than {most}; allow more of them, or use 'bab'.")


def _total(region: Region) -> int:
    count = region.count
    assert count is not None
    return count


def _step(problem: Problem) -> int:
    return int(min(MOST_STEP, max(LEAST_STEP, STEP / max(1, problem.network.connections))))


def _look(count: Count, points: int) -> tuple[np.ndarray, float, np.ndarray]:
    """The candidates among the next points (the worst ones first), the least worst margin, and where it is."""
    g = count.group
    widths = np.ones(g.region.size, dtype=np.int64)
    if g.region.integers is not None:
        widths += np.where(g.region.integers, g.region.upper - g.region.lower, 0).astype(np.int64)
    listed = np.zeros((0, g.region.size)) if g.region.points is None else g.region.points
    worst = g.program.core.worst_at_points(g.core_margins, g.region.lower, widths, listed, count.next, points, threads())
    bad = np.flatnonzero(worst <= AT_ZERO)
    worst[bad] = np.where(_may_contain(g.region, _points(g.region, widths, count.next + bad)), worst[bad], np.inf)
    near = bad[np.argsort(worst[bad], kind="stable")[:CANDIDATES]]
    at = int(worst.argmin())
    x = _points(g.region, widths, count.next + np.append(near, at))
    return x[:-1], float(worst[at]), x[-1]


def _may_contain(region: Region, points: np.ndarray) -> np.ndarray:
    """Whether each of the points lies in box and ball, up to rounding errors."""
    inside = np.asarray(((points >= region.lower) & (points <= region.upper)).all(axis=1))
    if region.ball is None:
        return inside
    distance = np.linalg.norm(points - region.ball.center, 1 if region.ball.norm == "l1" else 2, axis=1)
    return inside & np.asarray(distance <= region.ball.radius * (1 + ROUNDING))


def _points(region: Region, widths: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The points with these numbers."""
    if region.points is not None:
        return region.points[numbers]
    digits, numbers = np.zeros((len(numbers), region.size)), numbers.copy()
    for i in range(region.size - 1, -1, -1):
        numbers, digits[:, i] = np.divmod(numbers, widths[i])
    return region.lower + digits


def _proof(g: Group) -> certificate.ProofTree:
    """One leaf, which says: look at every point."""
    recorder = TreeRecorder(certificate.INTERVAL, anchor_cells=False)
    recorder.close(0, Leaf(certificate.INTERVAL_LINES, np.zeros(len(g.margins.bias)), np.zeros(0), enumerated=True))
    return recorder.finish()
