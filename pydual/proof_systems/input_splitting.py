"""Branch and bound on inputs: bisect the box until every cell is proved (Wang et al. 2018, ReluVal; Bak et al. 2020).

Cells are bounded natively by zonotopes and one back-substitution each, many cells a step, on all cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from pydual import certificate
from pydual.problem import Problem
from pydual.proof_systems.base import Play, Snapshot, State, start
from pydual.proof_systems.duals import ABOVE_ROUNDING, Duals, LinearBound, leaf, root_nodes
from pydual.proof_systems.partial_tree import partial_tree
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
    """Open cells: boxes (cells, inputs), their nodes in the tree, the bound, the input to split and the share of the
    region's volume. A cell that is still to be bounded has the bound and the split -inf."""

    low: np.ndarray
    high: np.ndarray
    node: np.ndarray
    bound: np.ndarray
    split: np.ndarray
    share: np.ndarray

    def take(self, rows: np.ndarray) -> Cells:
        return Cells(*(column[rows] for column in vars(self).values()))

    def joined(self, other: Cells) -> Cells:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Cells(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True, eq=False)
class Bounded:
    """For each cell what is left of it (``low``, ``high``) and its node, whether it is proved, the bound, what attains it,
    and how much each input opens signs.

    ``close(recorder, node, cell)`` writes down the proof of a proved cell.
    """

    low: np.ndarray
    high: np.ndarray
    node: np.ndarray
    proved: np.ndarray
    bound: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    close: Callable[[TreeRecorder, int, int], None]


@dataclass(eq=False)
class Search:
    """The search for one problem; a step consumes it. ``stuck`` are the cells too small to be split further."""

    group: Group
    cells: Cells
    recorder: TreeRecorder
    best_x: np.ndarray
    stuck: Cells
    finish_limit: float = 64.0

    @property
    def bound(self) -> float:
        return float(min(self.cells.bound.min(initial=np.inf), self.stuck.bound.min(initial=np.inf)))

    @property
    def open_share(self) -> float:
        """The share of the volume of the region's box that is not proved yet."""
        return float(self.cells.share.sum() + self.stuck.share.sum())


@dataclass(frozen=True, eq=False, kw_only=True)
class InputState(State):
    """``ended``: the searches that ended without a proof."""

    searches: tuple[Search, ...] = field(default=())
    ended: tuple[Search, ...] = field(default=())


@dataclass(frozen=True)
class InputSplitting:
    """Bisects the input that leaves most signs open, or curves most bent. At most ``batch`` cells a step, the worst first.

    ``bound`` None takes the native zonotope cells, which know boxes only: over a ball, their bounds ignore the ball.
    Cells with at most ``finish_unstable`` unstable neurons are finished by ReLU splits in what is left of the network,
    with at most ``finish_work`` multiply-adds a cell and ``finish_steps`` ascent steps a node. Native cells are clipped to
    where their lines leave room for a catastrophe, up to ``clip_rounds`` times, where inputs lose ``clip_share`` of their
    intervals and the cell ``clip_cut`` of its volume (cf. Clip-and-Verify, 2025).
    """

    bound: LinearBound | None = None
    batch: int = 1024
    finish_unstable: int = 256
    finish_success: float = 0.35
    finish_work: float = 2e6
    finish_steps: int = 20
    clip_rounds: int = 16
    clip_share: float = 0.3
    clip_cut: float = 0.5

    name = "bab"
    complete = True

    def init(self, problems: tuple[Problem, ...]) -> InputState:
        return self.resume(problems, Snapshot())

    def snapshot(self, state: InputState) -> Snapshot:
        partial = {}
        for search in (*state.searches, *state.ended):
            (problem,) = search.group.problems
            partial[problem.index] = partial_tree(search.recorder, len(problem.margins))
        return Snapshot(state.trees, partial, state.lower, state.open_shares)

    def resume(self, problems: tuple[Problem, ...], snapshot: Snapshot) -> InputState:
        known = start(problems, snapshot)
        single = _single_problems([problem for problem in problems if problem.index not in known.trees])
        searches = tuple(self._restored(one, snapshot) for one in single)
        shares = {search.group.problems[0].index: search.open_share for search in searches}
        return InputState(**{**vars(known), "open_shares": shares}, searches=searches)

    def step(self, state: InputState, seconds: float) -> InputState:
        search = state.searches[0]
        problem = search.group.problems[0]
        candidates, bounded = self._expand(search, seconds)
        open_cells = len(search.cells.node)
        lower, trees, plays = dict(state.lower), dict(state.trees), dict(state.plays)
        lower[problem.index] = max(lower[problem.index], search.bound)
        searches, ended = state.searches, state.ended
        if open_cells:
            worst = float(search.cells.bound.min())
            plays[problem.index] = Play(problem, search.best_x, worst, np.zeros(0), np.zeros(0))
        else:
            searches = searches[1:]
            plays.pop(problem.index, None)
            if len(search.stuck.node):
                ended = (*ended, search)
            else:
                trees[problem.index] = search.recorder.finish()
        return replace(
            state,
            lower=lower,
            trees=trees,
            plays=plays,
            candidates=candidates,
            searches=searches,
            ended=ended,
            finished=not searches,
            open_shares={**state.open_shares, problem.index: search.open_share},
            statistics={**state.counting(cells=bounded), "open_cells": sum(len(s.cells.node) for s in searches)},
        )

    def _expand(self, search: Search, seconds: float) -> tuple[np.ndarray, int]:
        """Split the worst cells; the candidates among their children's plays, and the number of cells bounded."""
        cells = search.cells
        count = min(self._batch(search.group), len(cells.node))
        chosen = np.argpartition(cells.bound, count - 1)[:count] if count < len(cells.node) else np.arange(count)
        rest = np.setdiff1d(np.arange(len(cells.node)), chosen, assume_unique=True)
        parents, search.cells = cells.take(chosen), cells.take(rest)
        unseen = np.isneginf(parents.split)
        young = parents.take(unseen).joined(_bisect(search, parents.take(~unseen)))
        bounded = self._native(search, young) if self.bound is None else self._framed(search.group, young, seconds)
        return _settle(search, young, bounded), len(young.node)

    def _batch(self, g: Group) -> int:
        """Cells a step: fewer where a cell is so large that a step would outlast the clock."""
        cell = g.problems[0].network.connections * (1 + g.region.size + g.program.units)
        step, least = (STEP, LEAST_BATCH) if self.bound is None else (FRAMED_STEP, LEAST_FRAMED_BATCH)
        return min(self.batch, max(least, int(step / max(cell, 1))))

    def _restored(self, single: Group, snapshot: Snapshot) -> Search:
        """The search from the partial tree of its problem on, or from the root if there is none that fits."""
        region = single.region
        anchor = certificate.PARALLEL if self.bound is None else self.bound.anchor
        recorder = TreeRecorder(anchor, anchor_cells=True)
        low, high, node = region.lower[None, :], region.upper[None, :], np.zeros(1, dtype=np.int64)
        tree = snapshot.partial.get(single.problems[0].index)
        if tree is not None and tree.fits(anchor, len(single.problems[0].margins)):
            with suppress(ValueError):  # the tree is of another kind: cells are no boxes there
                low, high = tree.boxes(region.lower, region.upper)
                recorder, node = tree.recorder(anchor_cells=True), tree.open
        unknown = np.full(len(node), -np.inf)
        cells = Cells(low, high, node, unknown, unknown, _share(low, high, region.lower, region.upper))
        return Search(single, cells, recorder, region.lower, stuck=cells.take(np.zeros(0, dtype=np.int64)))

    def _framed(self, g: Group, cells: Cells, seconds: float) -> Bounded:
        """Every cell with intervals of its own, by the given bound."""
        assert self.bound is not None
        leaves, bounds, plays, weights = [], [], [], []
        for lower, upper in zip(cells.low, cells.high, strict=True):
            frame = make_frame(g.within(Region(lower, upper, g.region.ball)), self.bound.anchor)
            duals = self.bound.evaluate(frame, root_nodes(frame), seconds)
            leaves.append(leaf(frame, 0, duals, 0))
            bounds.append(duals.bound[0])
            plays.append(duals.x[0])
            weights.append(_influence(frame, duals, 0) * (upper - lower))
        bound = np.array(bounds)
        proved = bound > ABOVE_ROUNDING

        def close(recorder: TreeRecorder, node: int, row: int) -> None:
            recorder.close(node, leaves[row])

        return Bounded(cells.low, cells.high, cells.node, proved, bound, np.array(plays), np.array(weights), close)

    def _native(self, search: Search, cells: Cells) -> Bounded:
        g = search.group
        limit = int(min(search.finish_limit, self.finish_unstable))
        result = g.program.core.bound_cells(
            g.core_margins,
            cells.low,
            cells.high,
            threads(),
            limit,
            self.finish_work,
            self.finish_steps,
            self.clip_rounds if g.region.integers is None else 0,  # clipped cells do not end at integers
            clip_share=self.clip_share,
            clip_cut=self.clip_cut,
        )
        node = _clip(search.recorder, cells.node, len(g.margins.bias), result["clips"])
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
            recorder.close(node, _leaf(best[row], len(g.margins.bias), adaptive[row]))

        return Bounded(result["low"], result["high"], node, proved, bound, result["x"], result["weight"], close)


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


def _single_problems(problems: Sequence[Problem]) -> list[Group]:
    return [g.only(p) for g in group(problems) for p in range(len(g.problems))]


def _share(low: np.ndarray, high: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The volume of cells by that of the boxes around them, in the dimensions that these have."""
    width = upper - lower
    return np.prod((high - low) / np.where(width > 0, width, 1), axis=1, where=width > 0)


def _bisect(search: Search, parents: Cells) -> Cells:
    rows = np.arange(len(parents.node))
    split = parents.split.astype(np.int64)
    middle = 0.5 * (parents.low[rows, split] + parents.high[rows, split])
    integers = search.group.region.integers
    below = above = middle
    if integers is not None:  # between two integers; the audit rounds cells inward, too
        below = np.where(integers[split], np.floor(middle), middle)
        middle = np.where(integers[split], below + 0.5, middle)
        above = np.where(integers[split], below + 1.0, middle)
    record = search.recorder.split
    first = [
        record(n, certificate.INPUT_SPLIT, i, t)
        for n, i, t in zip(parents.node.tolist(), split.tolist(), middle.tolist(), strict=True)
    ]
    children = parents.take(np.repeat(rows, 2))
    children.high[2 * rows, split] = below
    children.low[2 * rows + 1, split] = above
    node = np.add.outer(np.array(first, dtype=np.int64), (0, 1)).ravel()
    return replace(children, node=node, share=children.share / 2)


def _leaf(margin: int, margins: int, adaptive: bool) -> Leaf:
    multipliers = np.zeros(margins)
    multipliers[margin] = 1
    lines = certificate.ADAPTIVE_LINES if adaptive else certificate.PARALLEL_LINES
    return Leaf(lines, multipliers, np.zeros(0))


def _clip(recorder: TreeRecorder, node: np.ndarray, margins: int, clips: dict[str, np.ndarray]) -> np.ndarray:
    """Write down clips: splits of which one side is closed by the lines of the anchor above. The nodes that are left."""
    node = node.copy()
    last = -1, -1
    for cell, round_, index, threshold, first, margin, adaptive in zip(*(c.tolist() for c in clips.values()), strict=True):
        if (cell, round_) != last:
            recorder.anchored.add(int(node[cell]))
            last = cell, round_
        child = recorder.split(int(node[cell]), certificate.INPUT_SPLIT, index, threshold)
        recorder.close(child + 1 if first else child, _leaf(margin, margins, adaptive))
        node[cell] = child if first else child + 1
    return node


def _settle(search: Search, cells: Cells, bounded: Bounded) -> np.ndarray:
    """Close the proved cells, keep the others; the most promising inputs among their plays."""
    for row in np.flatnonzero(bounded.proved).tolist():
        node = int(bounded.node[row])
        search.recorder.anchored.add(node)
        bounded.close(search.recorder, node, row)
    left = np.flatnonzero(~bounded.proved)
    region = search.group.region
    share = cells.share * _share(bounded.low, bounded.high, cells.low, cells.high)
    open_cells = replace(cells, low=bounded.low, high=bounded.high, node=bounded.node, share=share).take(left)
    weight, width = bounded.weight[left], open_cells.high - open_cells.low
    score = weight * (width > 0)
    split = np.where(score.max(axis=1) > 0, score.argmax(axis=1), width.argmax(axis=1)).astype(float)
    small = (width <= SMALLEST * (region.upper - region.lower)).all(axis=1)
    open_cells = replace(open_cells, bound=bounded.bound[left], split=split)
    search.stuck = search.stuck.joined(open_cells.take(small))
    search.cells = search.cells.joined(open_cells.take(~small))
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
