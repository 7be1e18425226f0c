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
from pydual.proof_systems.duals import ABOVE_ROUNDING, Duals, LinearBound, leaf, root_nodes
from pydual.proof_systems.recorder import EXPLICIT, Leaf, TreeRecorder
from pydual.region import Region
from pydual.relax.engine import threads
from pydual.relax.frame import Frame, Group, group, make_frame

SMALLEST = 1e-9  # a cell whose sides are all below this share of the box is not split further
CANDIDATES = 16
STEP, LEAST_BATCH = 1e11, 64  # multiply-adds that a step may take, about: a second or two; and cells at least
FRAMED_STEP, LEAST_FRAMED_BATCH = 1e10, 8  # likewise for bounds that see one cell at a time


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
    """For each cell whether it is proved, the bound, what attains it, and how much each input opens signs.

    ``close(recorder, node, cell)`` writes down the proof of a proved cell.
    """

    proved: np.ndarray
    bound: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    close: Callable[[TreeRecorder, int, int], None]


@dataclass(eq=False)
class Search:
    """The search for one problem; a step consumes it."""

    group: Group
    cells: Cells
    recorder: TreeRecorder
    best_x: np.ndarray
    finish_limit: float = 64.0
    stuck: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class InputState(State):
    searches: tuple[Search, ...] = field(default=())


@dataclass(frozen=True)
class InputSplitting:
    """Bisects the input that leaves most signs open, or curves most bent. At most ``batch`` cells a step, the worst first.

    ``bound`` None takes the native zonotope cells, which know boxes only: over a ball, their bounds ignore the ball.
    Cells with at most ``finish_unstable`` unstable neurons are finished by ReLU splits in what is left of the network,
    with at most ``finish_work`` multiply-adds a cell and ``finish_steps`` ascent steps a node.
    """

    bound: LinearBound | None = None
    batch: int = 1024
    finish_unstable: int = 256
    finish_success: float = 0.35
    finish_work: float = 2e6
    finish_steps: int = 20

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
        count = min(self._batch(search.group), len(cells.node))
        chosen = np.argpartition(cells.bound, count - 1)[:count] if count < len(cells.node) else np.arange(count)
        rest = np.setdiff1d(np.arange(len(cells.node)), chosen, assume_unique=True)
        parents, search.cells = cells.take(chosen), cells.take(rest)
        if np.isneginf(parents.split).any():  # the root has not been bounded yet
            low, high, node = parents.low, parents.high, parents.node
        else:
            low, high, node = _bisect(search, parents)
        bounded = self._native(search, low, high) if self.bound is None else self._framed(search.group, low, high, seconds)
        return _settle(search, low, high, node, bounded), len(node)

    def _batch(self, g: Group) -> int:
        """Cells a step: fewer where a cell is so large that a step would outlast the clock."""
        cell = g.problems[0].network.connections * (1 + g.region.size + g.program.units)
        step, least = (STEP, LEAST_BATCH) if self.bound is None else (FRAMED_STEP, LEAST_FRAMED_BATCH)
        return min(self.batch, max(least, int(step / max(cell, 1))))

    def _root(self, single: Group) -> Search:
        region = single.region
        cells = Cells(
            region.lower[None, :], region.upper[None, :], np.zeros(1, dtype=np.int64), np.full(1, -np.inf), np.full(1, -np.inf)
        )
        anchor = certificate.PARALLEL if self.bound is None else self.bound.anchor
        recorder = TreeRecorder(anchor, anchor_cells=True)
        return Search(single, cells, recorder, region.lower)

    def _framed(self, g: Group, low: np.ndarray, high: np.ndarray, seconds: float) -> Bounded:
        """Every cell with intervals of its own, by the given bound."""
        assert self.bound is not None
        leaves, bounds, plays, weights = [], [], [], []
        for lower, upper in zip(low, high, strict=True):
            frame = make_frame(g.within(Region(lower, upper, g.region.ball)), self.bound.anchor)
            duals = self.bound.evaluate(frame, root_nodes(frame), seconds)
            leaves.append(leaf(frame, 0, duals, 0))
            bounds.append(duals.bound[0])
            plays.append(duals.x[0])
            weights.append(_influence(frame, duals, 0) * (upper - lower))
        bound = np.array(bounds)
        proved = bound > ABOVE_ROUNDING
        return Bounded(proved, bound, np.array(plays), np.array(weights), lambda r, node, row: r.close(node, leaves[row]))

    def _native(self, search: Search, low: np.ndarray, high: np.ndarray) -> Bounded:
        g = search.group
        limit = int(min(search.finish_limit, self.finish_unstable))
        result = g.program.core.bound_cells(g.core_margins, low, high, threads(), limit, self.finish_work, self.finish_steps)
        hard = (result["nodes"] > 0) & (result["unstable"] > 0.75 * limit)
        success = np.isin(np.flatnonzero(hard), list(result["proofs"])).mean() if hard.any() else 1.0
        search.finish_limit *= 1.25 if success > self.finish_success else 0.85
        best = result["lower"].argmax(axis=1)
        rows = np.arange(len(best))
        bound, adaptive, finished = result["lower"][rows, best], result["adaptive"][rows, best], result["proofs"]
        proved = bound > ABOVE_ROUNDING
        proved[list(finished)] = True

        def close(recorder: TreeRecorder, node: int, row: int) -> None:
            if row in finished:
                _close_finished(recorder, node, len(g.margins.bias), *finished[row])
                return
            multipliers = np.zeros(len(g.margins.bias))
            multipliers[best[row]] = 1
            lines = certificate.ADAPTIVE_LINES if adaptive[row] else certificate.PARALLEL_LINES
            recorder.close(node, Leaf(lines, multipliers, np.zeros(0)))

        return Bounded(proved, bound, result["x"], result["weight"], close)


def _influence(frame: Frame, duals: Duals, row: int) -> np.ndarray:
    """What each input does to the bound through the units that read it: the sum of ``|price| |weight|``."""
    program, margins = frame.group.program, frame.group.margins
    price = np.split(np.abs(duals.price[row]), np.cumsum(program.sizes)[:-1])
    readers = [*zip(price, program.layers, strict=False), (np.abs(duals.weights[row]), margins)]
    total = np.zeros(program.core.inputs)
    for prices, reader in readers:
        if 0 in reader.terms:
            matrix = reader.terms[0]
            total += prices if matrix is None else prices @ abs(matrix)
    return total


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


def _settle(search: Search, low: np.ndarray, high: np.ndarray, node: np.ndarray, bounded: Bounded) -> np.ndarray:
    """Close the proved cells, keep the others; the most promising inputs among their plays."""
    for row in np.flatnonzero(bounded.proved).tolist():
        bounded.close(search.recorder, int(node[row]), row)
    left = np.flatnonzero(~bounded.proved)
    weight, width = bounded.weight[left], high[left] - low[left]
    score = weight * (width > 0)
    split = np.where(score.max(axis=1) > 0, score.argmax(axis=1), width.argmax(axis=1)).astype(float)
    region = search.group.region
    small = (width <= SMALLEST * (region.upper - region.lower)).all(axis=1)
    search.stuck += int(small.sum())
    fresh = Cells(low[left], high[left], node[left], bounded.bound[left], split)
    search.cells = search.cells.joined(fresh.take(np.flatnonzero(~small)))
    return _candidates(search, bounded.x[left])


def _close_finished(
    recorder: TreeRecorder,
    node: int,
    margins: int,
    neurons: np.ndarray,
    active: np.ndarray,
    split: np.ndarray,
    weights: np.ndarray,
    betas: np.ndarray,
    slopes: np.ndarray,
) -> None:
    """Write down the tree of a finished cell, given in preorder (cpp/kernels/finish.hpp)."""
    places, leaf_number, beta_at = [(node, 0)], 0, 0
    for local in split.tolist():
        place, depth = places.pop()
        if local >= 0:
            child = recorder.split(place, certificate.NEURON_SPLIT, int(neurons[local]))
            places += ((child + 1, depth + 1), (child, depth + 1))
            continue
        multipliers = weights[leaf_number * margins : (leaf_number + 1) * margins]
        own = slopes[leaf_number * len(neurons) : (leaf_number + 1) * len(neurons)]
        recorder.close(place, Leaf(EXPLICIT, multipliers, betas[beta_at : beta_at + depth], neurons, own, active))
        leaf_number += 1
        beta_at += depth


def _candidates(search: Search, points: np.ndarray) -> np.ndarray:
    if len(points) == 0:
        return points
    values = search.group.worst(search.group.margins_at(points))
    order = np.argsort(values)[:CANDIDATES]
    search.best_x = points[order[0]]
    return points[order]
