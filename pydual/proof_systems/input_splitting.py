"""Branch and bound on inputs: bisect the box until every cell is proved (Wang et al. 2018, ReluVal; Bak et al. 2020).

Cells are bounded natively by zonotopes and one back-substitution each, many cells a step, on all cores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from pydual import certificate
from pydual.problem import Problem
from pydual.proof_systems.base import Play, State, start
from pydual.proof_systems.duals import EXPLICIT, LinearBound, root_nodes
from pydual.proof_systems.recorder import Leaf, TreeRecorder
from pydual.region import Region
from pydual.relax.engine import threads
from pydual.relax.frame import Group, group, make_frame

SMALLEST = 1e-9  # a cell whose sides are all below this share of the box is not split further
CANDIDATES = 16


@dataclass(frozen=True, eq=False)
class Cells:
    """Open cells: boxes (cells, inputs), their nodes in the tree, the bound and the input to split."""

    low: np.ndarray
    high: np.ndarray
    node: np.ndarray
    bound: np.ndarray
    split: np.ndarray

    def take(self, rows: np.ndarray) -> Cells:
        return Cells(self.low[rows], self.high[rows], self.node[rows], self.bound[rows], self.split[rows])

    def joined(self, other: Cells) -> Cells:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Cells(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True, eq=False)
class Bounded:
    """For each cell the bound, what attains it, how much it moves with each input, and the leaf that proves it."""

    bound: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    leaf: Callable[[int], Leaf]


@dataclass(eq=False)
class Search:
    """The search for one problem; a step consumes it."""

    group: Group
    cells: Cells
    recorder: TreeRecorder
    best_x: np.ndarray
    stuck: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class InputState(State):
    searches: tuple[Search, ...] = field(default=())


@dataclass(frozen=True)
class InputSplitting:
    """Bisects the input that the bound is most sensitive to. ``batch`` cells a step, those with the worst bounds first.

    ``bound`` None takes the native zonotope cells, which know boxes only: over a ball, their bounds ignore the ball.
    """

    bound: LinearBound | None = None
    batch: int = 1024

    name = "bab"
    complete = True

    def init(self, problems: tuple[Problem, ...]) -> InputState:
        return InputState(**vars(start(problems)), searches=tuple(self._root(one) for one in _single_problems(problems)))

    def step(self, state: InputState, seconds: float) -> InputState:
        search = state.searches[0]
        problem = search.group.problems[0]
        candidates, bounded = self._expand(search, seconds)
        open_cells = len(search.cells.node)
        lower, trees, plays = dict(state.lower), dict(state.trees), dict(state.plays)
        lower[problem.index] = float(search.cells.bound.min()) if open_cells else (np.inf if not search.stuck else -np.inf)
        searches = state.searches
        if open_cells == 0:
            searches = searches[1:]
            plays.pop(problem.index, None)
            if search.stuck == 0:
                trees[problem.index] = search.recorder.finish()
        else:
            worst = int(search.cells.bound.argmin())
            nothing = np.zeros(0)
            plays[problem.index] = Play(problem, search.best_x, float(search.cells.bound[worst]), nothing, nothing)
        return replace(
            state,
            lower=lower,
            trees=trees,
            plays=plays,
            candidates=candidates,
            searches=searches,
            finished=not searches,
            statistics={**state.counting(cells=bounded), "open_cells": sum(len(s.cells.node) for s in searches)},
        )

    def _expand(self, search: Search, seconds: float) -> tuple[np.ndarray, int]:
        """Split the worst cells; the candidates among their children's plays, and the number of cells bounded."""
        cells = search.cells
        count = min(self.batch, len(cells.node))
        chosen = np.argpartition(cells.bound, count - 1)[:count] if count < len(cells.node) else np.arange(count)
        rest = np.setdiff1d(np.arange(len(cells.node)), chosen, assume_unique=True)
        parents, search.cells = cells.take(chosen), cells.take(rest)
        if np.isneginf(parents.split).any():  # the root has not been bounded yet
            low, high, node = parents.low, parents.high, parents.node
        else:
            low, high, node = _bisect(search, parents)
        bounded = _native(search.group, low, high) if self.bound is None else self._framed(search.group, low, high, seconds)
        return _settle(search, low, high, node, bounded), len(node)

    def _root(self, single: Group) -> Search:
        region = single.region
        cells = Cells(
            region.lower[None, :], region.upper[None, :], np.zeros(1, dtype=np.int64), np.full(1, -np.inf), np.full(1, -np.inf)
        )
        anchor = certificate.PARALLEL if self.bound is None else self.bound.anchor
        explicit = np.arange(0 if self.bound is None else single.program.neurons)
        recorder = TreeRecorder(anchor, anchor_leaves=True, slope_neurons=explicit)
        return Search(single, cells, recorder, region.lower)

    def _framed(self, g: Group, low: np.ndarray, high: np.ndarray, seconds: float) -> Bounded:
        """Every cell with intervals of its own, by the given bound."""
        assert self.bound is not None
        leaves, bounds, plays, weights = [], [], [], []
        for lower, upper in zip(low, high, strict=True):
            frame = make_frame(g.within(Region(lower, upper, g.region.ball)), self.bound.anchor)
            duals = self.bound.evaluate(frame, root_nodes(frame), seconds)
            slopes = np.clip(duals.alpha[0], 0.0, 1.0) if duals.lines[0] == EXPLICIT else None
            leaves.append(Leaf(int(duals.lines[0]), slopes, duals.weights[0], np.zeros(0)))
            bounds.append(duals.bound[0])
            plays.append(duals.x[0])
            weights.append(np.ones(len(lower)))
        return Bounded(np.array(bounds), np.array(plays), np.array(weights), leaves.__getitem__)


def _single_problems(problems: tuple[Problem, ...]) -> list[Group]:
    return [g.only(p) for g in group(problems) for p in range(len(g.problems))]


def _bisect(search: Search, parents: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.arange(len(parents.node))
    split = parents.split.astype(np.int64)
    middle = 0.5 * (parents.low[rows, split] + parents.high[rows, split])
    low, high = np.repeat(parents.low, 2, axis=0), np.repeat(parents.high, 2, axis=0)
    high[2 * rows, split] = middle
    low[2 * rows + 1, split] = middle
    record = search.recorder.split
    first = [
        record(n, certificate.INPUT_SPLIT, i, t)
        for n, i, t in zip(parents.node.tolist(), split.tolist(), middle.tolist(), strict=True)
    ]
    return low, high, np.add.outer(np.array(first), (0, 1)).ravel()


def _native(g: Group, low: np.ndarray, high: np.ndarray) -> Bounded:
    result = g.program.core.bound_cells(g.core_margins, low, high, threads())
    best = result["lower"].argmax(axis=1)
    rows = np.arange(len(best))
    adaptive = result["adaptive"][rows, best]

    def leaf(row: int) -> Leaf:
        multipliers = np.zeros(len(g.margins.bias), dtype=np.uint8)
        multipliers[best[row]] = 1
        lines = certificate.ADAPTIVE_LINES if adaptive[row] else certificate.PARALLEL_LINES
        return Leaf(lines, None, multipliers, np.zeros(0))

    return Bounded(result["lower"][rows, best], result["x"], np.abs(result["weight"][rows, :, best]), leaf)


def _settle(search: Search, low: np.ndarray, high: np.ndarray, node: np.ndarray, bounded: Bounded) -> np.ndarray:
    """Close the proved cells, keep the others; the most promising inputs among their plays."""
    proved = bounded.bound > 0
    for row in np.flatnonzero(proved).tolist():
        search.recorder.close(int(node[row]), bounded.leaf(row))
    left = np.flatnonzero(~proved)
    weight, width = bounded.weight[left], high[left] - low[left]
    score = (weight + 1e-3 * weight.mean(axis=1, keepdims=True)) * width
    split = np.where(score.max(axis=1) > 0, score.argmax(axis=1), width.argmax(axis=1)).astype(float)
    region = search.group.region
    small = (width <= SMALLEST * (region.upper - region.lower)).all(axis=1)
    search.stuck += int(small.sum())
    fresh = Cells(low[left], high[left], node[left], bounded.bound[left], split)
    search.cells = search.cells.joined(fresh.take(np.flatnonzero(~small)))
    return _candidates(search, bounded.x[left])


def _candidates(search: Search, points: np.ndarray) -> np.ndarray:
    if len(points) == 0:
        return points
    values = search.group.worst(search.group.margins_at(points))
    order = np.argsort(values)[:CANDIDATES]
    search.best_x = points[order[0]]
    return points[order]
