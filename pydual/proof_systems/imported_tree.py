"""Somebody else's case distinctions, proved anew: the tree is taken as it is, each leaf gets multipliers of our own.

Nothing about soundness hangs on the tree. A wrong one has leaves that cannot be proved; they are split further while
``refine`` lasts, and then named.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np

from pydual import certificate
from pydual.problem import Problem
from pydual.proof_systems.alpha_crown import AlphaCrown
from pydual.proof_systems.base import Play, State, start
from pydual.proof_systems.branching import branching_scores
from pydual.proof_systems.case_tree import CaseTree
from pydual.proof_systems.duals import (
    ABOVE_ROUNDING,
    ADAPTIVE_START,
    Duals,
    LinearBound,
    Nodes,
    better_of,
    leaf,
    play,
    root_nodes,
)
from pydual.proof_systems.lp import TriangleLP
from pydual.proof_systems.recorder import Leaf, TreeRecorder
from pydual.region import Region
from pydual.relax.frame import Frame, Group, group, make_frame

NAMED = 3  # leaves that cannot be proved and are named
CANDIDATES = 16
ASCENT, PROGRAM, ANCHOR = range(3)  # what is tried on a cell, in this order; then it is split


@dataclass(frozen=True, eq=False)
class Anchor:
    """Where intervals are derived: over the group's region, with the units of ``path`` fixed to ``phases``."""

    group: Group
    path: tuple[int, ...]
    phases: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Cell:
    """A node without children: its problem within the group, its place in the tree, the units of the neurons split above it
    with their phases, and the number of the imported leaf that it is, or that it is a ``part`` of."""

    problem: int
    place: int
    path: tuple[int, ...]
    phases: tuple[int, ...]
    leaf: int
    part: bool = False

    @property
    def origin(self) -> tuple[int, int]:
        return self.problem, self.leaf


@dataclass(frozen=True, eq=False)
class Job:
    """Cells below one anchor that are to be bounded in the same way."""

    anchor: Anchor
    cells: tuple[Cell, ...]
    stage: int = ASCENT


@dataclass(eq=False)
class Search:
    """The proof of the problems of one region; a step consumes it. ``failed`` and ``splits`` count by problem and leaf."""

    group: Group
    recorders: list[TreeRecorder]
    jobs: list[Job]
    failed: set[tuple[int, int]] = field(default_factory=set)
    splits: dict[tuple[int, int], int] = field(default_factory=dict)
    frame: tuple[Anchor, Frame] | None = None

    def next_job(self) -> Job:
        """Without the cells of leaves that are given up."""
        job = self.jobs.pop()
        return replace(job, cells=tuple(cell for cell in job.cells if cell.origin not in self.failed))

    def frame_at(self, anchor: Anchor) -> Frame:
        """The intervals at an anchor; the last ones are kept."""
        if self.frame is None or self.frame[0] is not anchor:
            fixed = _phases(anchor.group, anchor.path, anchor.phases)
            self.frame = (anchor, make_frame(anchor.group, certificate.ADAPTIVE, fixed))
        return self.frame[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportedState(State):
    searches: tuple[Search, ...] = field(default=())
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportedTree:
    """Proves every problem along the case distinctions of ``tree``.

    A leaf is tried with ``bound`` at the intervals of its input box, with ``last`` there, and with intervals that know its
    phases; then it is split at most ``refine`` times: at inputs where a box has at most ``few_inputs``, else at neurons.
    ``batch`` cells are bounded a step.
    """

    tree: CaseTree
    bound: LinearBound = AlphaCrown(steps=20, rate=0.1)
    last: LinearBound = TriangleLP()
    refine: int = 2000
    few_inputs: int = 10
    batch: int = 64

    name = "imported"
    complete = True

    def init(self, problems: tuple[Problem, ...]) -> ImportedState:
        if problems:
            self.tree.check_fit(problems[0].network)
        searches = tuple(_search(self.tree, g, self.batch) for g in group(problems))
        return ImportedState(**vars(start(problems)), searches=searches)

    def step(self, state: ImportedState, seconds: float) -> ImportedState:
        search = state.searches[0]
        job = search.next_job()
        plays: dict[int, Play] = {}
        points, failures = self._work(search, job, seconds, plays) if job.cells else (state.candidates[:0], [])
        done = not search.jobs
        lower, trees = dict(state.lower), dict(state.trees)
        if done:
            _finish(search, lower, trees)
        everything = (*state.failures, *failures)
        return replace(
            state,
            lower=lower,
            trees=trees,
            plays={**state.plays, **plays},
            candidates=points,
            searches=state.searches[done:],
            finished=done and len(state.searches) == 1,
            failures=everything,
            claim=f"The imported proof was at {self.tree.names[job.cells[0].leaf]}." if job.cells else state.claim,
            obstacle=_complaint(everything),
            statistics=state.counting(cells=len(job.cells), leaves_not_proved=len(failures)),
        )

    def _work(self, search: Search, job: Job, seconds: float, plays: dict[int, Play]) -> tuple[np.ndarray, list[str]]:
        """Close the cells that are proved and plan for the others: what attains their bounds, and leaves given up."""
        frame = search.frame_at(job.anchor)
        nodes = _nodes(frame, job.cells)
        duals, empty = self._bounded(job.stage, frame, nodes, seconds), _empty(frame, nodes)
        scores = branching_scores(frame, nodes, duals)
        rest, failures = [], []
        for row, cell in enumerate(job.cells):
            recorder = search.recorders[cell.problem]
            if job.stage == ANCHOR:
                recorder.anchored.add(cell.place)
            if duals.bound[row] > ABOVE_ROUNDING:
                recorder.close(cell.place, leaf(frame, cell.problem, duals, row, cell.path))
            elif empty[row]:
                recorder.close(cell.place, Leaf(certificate.ADAPTIVE_LINES, *_no_multipliers(frame, cell)))
            else:
                rest.append(row)
                if not self._plan(search, job, cell, scores[row], duals.price[row]) and cell.origin not in search.failed:
                    search.failed.add(cell.origin)
                    plays[frame.group.problems[cell.problem].index] = play(frame, cell.problem, duals, row)
                    failures.append(_failure(self.tree, frame, cell, float(duals.bound[row])))
        return duals.x[rest][:CANDIDATES], failures

    def _bounded(self, stage: int, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        if stage == PROGRAM:
            return self.last.evaluate(frame, nodes, seconds)
        duals = self.bound.evaluate(frame, nodes, seconds)
        if stage == ASCENT or (duals.bound > ABOVE_ROUNDING).all():
            return duals
        return better_of(duals, self.last.evaluate(frame, nodes, seconds))

    def _plan(self, search: Search, job: Job, cell: Cell, scores: np.ndarray, price: np.ndarray) -> bool:
        """What to do with a cell that is not proved; False if there is nothing left."""
        g = job.anchor.group
        unstable = bool(scores.max(initial=-1.0) >= 0)
        few = g.region.size <= self.few_inputs and g.region.ball is None
        relaxed = unstable or (few and bool(g.program.curves))  # else the linear program was the problem itself
        if job.stage == ASCENT and not (cell.part and relaxed):
            search.jobs.append(Job(job.anchor, (cell,), PROGRAM))
            return True
        if job.stage == PROGRAM and len(cell.path) > len(job.anchor.path):
            search.jobs.append(Job(Anchor(g, cell.path, cell.phases), (cell,), ANCHOR))
            return True
        count = search.splits[cell.origin] = search.splits.get(cell.origin, 0) + 1
        if not relaxed or count > self.refine:
            return False
        if few:
            return _split_input(search, g, cell, price)
        _split_neuron(search, job.anchor, cell, int(scores.argmax()))
        return True


def _split_neuron(search: Search, anchor: Anchor, cell: Cell, unit: int) -> None:
    """Both phases below the same anchor, inactive first."""
    neuron = int(anchor.group.program.neuron_numbers[unit])
    first = search.recorders[cell.problem].split(cell.place, certificate.NEURON_SPLIT, neuron)
    halves = [
        replace(cell, place=first + side, path=(*cell.path, unit), phases=(*cell.phases, phase), part=True)
        for side, phase in enumerate((-1, 1))
    ]
    search.jobs.append(Job(anchor, tuple(halves)))


def _split_input(search: Search, g: Group, cell: Cell, price: np.ndarray) -> bool:
    """Both halves of the box, each an anchor, where the input moves what is paid for most; False if nothing is between."""
    low, high = g.region.lower, g.region.upper
    i = int(((high - low) * _influence(g, price)).argmax())
    t = 0.5 * (low[i] + high[i])
    if not low[i] < t < high[i]:
        return False
    recorder = search.recorders[cell.problem]
    first = recorder.split(cell.place, certificate.INPUT_SPLIT, i, float(t))
    recorder.anchored -= {cell.place}
    recorder.anchored |= {first, first + 1}
    at = np.arange(len(low)) == i
    for side, box in enumerate((Region(low, np.where(at, t, high)), Region(np.where(at, t, low), high))):
        anchor = Anchor(g.within(box), cell.path, cell.phases)
        search.jobs.append(Job(anchor, (replace(cell, place=first + side, part=True),)))
    return True


@dataclass(frozen=True, eq=False)
class _Spot:
    """A node of the tree while it is expanded; ``anchor`` is None where intervals are to be derived anew."""

    place: int
    low: np.ndarray
    high: np.ndarray
    path: tuple[int, ...]
    phases: tuple[int, ...]
    anchor: Anchor | None


def _search(tree: CaseTree, g: Group, batch: int) -> Search:
    """The tree over the group's region, without splits that do not cut it, and a cell for each problem and leaf."""
    recorder = TreeRecorder(certificate.ADAPTIVE, anchor_cells=True)
    places: dict[Anchor, list[Cell]] = {}
    pending: list[_Spot | None] = [_Spot(0, g.region.lower, g.region.upper, (), (), None)]
    leaves = -1
    for kind, index, t in zip(tree.kind, tree.index, tree.threshold, strict=True):
        spot = pending.pop()
        leaves += kind == certificate.LEAF
        if spot is not None and kind != certificate.INPUT_SPLIT and spot.anchor is None:
            recorder.anchored.add(spot.place)
            box = Region(spot.low, spot.high, g.region.ball)
            spot = replace(spot, anchor=Anchor(g.within(box), spot.path, spot.phases))
        if kind != certificate.LEAF:
            pending += reversed(_children(recorder, g, spot, kind, index, t))
        elif spot is not None and spot.anchor is not None:
            places.setdefault(spot.anchor, []).append(Cell(0, spot.place, spot.path, spot.phases, leaves))
    problems = range(len(g.problems))
    jobs = []
    for anchor, cells in places.items():
        everyone = [replace(cell, problem=p) for p in problems for cell in cells]
        jobs += [Job(anchor, tuple(everyone[k : k + batch])) for k in range(0, len(everyone), batch)]
    return Search(g, [deepcopy(recorder) for _ in problems], jobs[::-1])


def _children(recorder: TreeRecorder, g: Group, spot: _Spot | None, kind: int, index: int, t: float) -> tuple:
    """The two children; None is one without points, and a split that does not cut the box has its node as the other."""
    if spot is None:
        return None, None
    if kind == certificate.NEURON_SPLIT:
        first = recorder.split(spot.place, kind, index)
        path = (*spot.path, int(g.program.neuron_units[index]))
        return tuple(
            replace(spot, place=first + side, path=path, phases=(*spot.phases, phase)) for side, phase in enumerate((-1, 1))
        )
    if t >= spot.high[index]:
        return spot, None
    if t <= spot.low[index]:
        return None, spot
    first = recorder.split(spot.place, kind, index, t)
    low, high = spot.low.copy(), spot.high.copy()
    low[index] = high[index] = t
    return replace(spot, place=first, high=high, anchor=None), replace(spot, place=first + 1, low=low, anchor=None)


def _influence(g: Group, price: np.ndarray) -> np.ndarray:
    """How far a step of each input moves the units that read it, in units of their price."""
    total, begin = np.full(g.region.size, 1e-12), 0
    for layer, size in zip(g.program.layers, g.program.sizes, strict=True):
        paid = np.abs(price[begin : begin + size])
        if 0 in layer.terms:
            matrix = layer.terms[0]
            total = total + (paid if matrix is None else abs(matrix).T @ paid)
        begin += size
    return total


def _finish(search: Search, lower: dict[int, float], trees: dict[int, certificate.ProofTree]) -> None:
    for p, problem in enumerate(search.group.problems):
        if any(failed == p for failed, _ in search.failed):
            lower[problem.index] = min(lower[problem.index], 0.0)
        else:
            trees[problem.index] = search.recorders[p].finish()
            lower[problem.index] = max(lower[problem.index], 0.0)


def _phases(g: Group, path: tuple[int, ...], phases: tuple[int, ...]) -> np.ndarray:
    fixed = np.zeros(g.program.units, dtype=np.int8)
    fixed[list(path)] = phases
    return fixed


def _nodes(frame: Frame, cells: tuple[Cell, ...]) -> Nodes:
    """The cells as nodes, with nothing known about their duals."""
    nodes = root_nodes(frame).take(np.array([cell.problem for cell in cells]))
    phase = np.stack([_phases(frame.group, cell.path, cell.phases) for cell in cells])
    return replace(nodes, phase=phase, alpha=np.full(nodes.alpha.shape, ADAPTIVE_START))


def _empty(frame: Frame, nodes: Nodes) -> np.ndarray:
    """Whether an interval and the phases of a cell exclude each other, by more than an audit's rounding."""
    noise = 1e-9 * (1.0 + np.abs(frame.lower) + np.abs(frame.upper))
    excluded = ((nodes.phase > 0) & (frame.upper < -noise)) | ((nodes.phase < 0) & (frame.lower > noise))
    return excluded.any(axis=1) | (not frame.possible and bool((frame.lower - frame.upper > noise).any()))


def _no_multipliers(frame: Frame, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(len(frame.group.columns(cell.problem))), np.zeros(len(cell.path))


def _failure(tree: CaseTree, frame: Frame, cell: Cell, bound: float) -> str:
    """One phrase: the leaf's name, what is assumed there, and how far the proof got."""
    assumed = tree.assumptions(cell.leaf, frame.group.program.neuron_name)
    return f"{tree.names[cell.leaf]} ({assumed or 'no assumption'}): bound {bound:.4g}"


def _complaint(failures: tuple[str, ...]) -> str:
    if not failures:
        return ""
    others = f"; and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
    return f"Of the imported proof, {len(failures)} leaves could not be proved: {'; '.join(failures[:NAMED])}{others}."
