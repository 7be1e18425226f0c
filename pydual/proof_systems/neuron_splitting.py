"""Branch and bound on ReLU phases over any linear bound (Bunel et al. 2018; Wang et al. 2021, beta-CROWN)."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from pydual import certificate
from pydual.problem import Problem
from pydual.proof_systems.alpha_crown import AlphaCrown
from pydual.proof_systems.base import Play, Snapshot, State, start
from pydual.proof_systems.branching import candidates, look_ahead
from pydual.proof_systems.duals import (
    ABOVE_ROUNDING,
    Duals,
    LinearBound,
    Nodes,
    Refining,
    fresh_nodes,
    new_recorder,
    play,
    short_leaf,
)
from pydual.proof_systems.growth import grow, plant
from pydual.proof_systems.lp import TriangleLP
from pydual.proof_systems.neuron_search import Batch, Node, Search, Unseen
from pydual.proof_systems.partial_tree import partial_tree
from pydual.relax.cases import STEPS, cases_of
from pydual.relax.frame import Frame, Group, group, make_frame
from pydual.relax.refine import ends_to_refine, rederive, refine

CANDIDATES = 16
REFINING_SHARE = 0.5  # of the time left, for better intervals
CASES_GROW = 4
PROBE = 0.15  # of what better intervals cost is spent before it is said what they save
NODE_OVERHEAD = 3  # a node costs so many times the steps of its ascent
CASE_COST = STEPS + 3  # of a case, with looking ahead


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronState(State):
    """``ended``: the searches that ended without a proof of every problem."""

    searches: tuple[Search, ...] = field(default=())
    ended: tuple[Search, ...] = field(default=())


@dataclass(frozen=True)
class NeuronSplitting:
    """Splits the best of ``candidates`` neurons, or twice as many (branching.py). ``root`` bounds the problems once,
    ``bound`` the nodes: their ascent goes on where that of their parents ended, so fewer steps are enough.

    Where more than ``few`` neurons are open and ``bound`` optimizes lines, the core grows a tree of up to ``grown`` cases
    below each node, by the node's own lines (growth.py): a case costs a fraction of a node. Where few neurons are open, a
    split changes the best lines too much for that.

    ``batch`` nodes are split a step, those with the worst bounds first. A node without unstable neurons is a linear
    program, and ``last`` solves it. With curves, a problem is given up at the first such node: no split can help.

    Once the search has cost as much as that takes, or is expected to save as much (outlook.py), it begins anew with intervals
    whose lines are optimized by ``refine_steps`` of ascent (0: never), and later, again and again, with intervals whose ends
    are the least over more and more cases: ``cases``, four times as many, and so on, up to ``most_cases``. Where ``root`` has
    intervals of its own, the search begins with them.
    """

    bound: LinearBound = AlphaCrown(steps=10, rate=0.1)
    root: LinearBound = AlphaCrown(steps=60, rate=0.1)
    last: LinearBound = TriangleLP()
    batch: int = 64
    candidates: int = 4
    grown: int = 16
    few: int = 50
    refine_steps: int = 20
    refine_rate: float = 0.2
    cases: int = 8
    most_cases: int = 2048

    name = "bab"
    complete = True

    def init(self, problems: tuple[Problem, ...]) -> NeuronState:
        return self.resume(problems, Snapshot())

    def snapshot(self, state: NeuronState) -> Snapshot:
        partial = {}
        for search in (*state.searches, *state.ended):
            for problem, recorder in zip(search.frame.group.problems, search.recorders, strict=True):
                if problem.index not in state.trees:
                    partial[problem.index] = partial_tree(recorder, len(problem.margins))
        return Snapshot(state.trees, partial, state.lower, state.open_shares)

    def resume(self, problems: tuple[Problem, ...], snapshot: Snapshot) -> NeuronState:
        """Open leaves start with new duals, from the bound of the root."""
        known = start(problems, snapshot)
        groups = group([problem for problem in problems if problem.index not in known.trees])
        searches = tuple(self._restored(g, snapshot) for g in groups)
        return NeuronState(**{**vars(known), "open_shares": _shares(known.open_shares, searches)}, searches=searches)

    def _restored(self, g: Group, snapshot: Snapshot) -> Search:
        """The search from the partial trees on, or from the root where there is none that fits."""
        recorders, unseen = [], []
        frame = self._frame(g, snapshot)
        for p, problem in enumerate(g.problems):
            recorder, nodes = new_recorder(frame), [Unseen(p, 0)]
            tree = snapshot.partial.get(problem.index)
            if tree is not None and tree.fits(frame.anchor, len(problem.margins)) and tree.refined_by(frame.refinement):
                with suppress(ValueError):  # the tree is of another kind: phases do not tell its cells
                    paths = [tuple(zip(*path, strict=True)) or ((), ()) for path in tree.phases(g.program.neurons)]
                    units = [tuple(g.program.neuron_units[list(neurons)].tolist()) for neurons, _ in paths]
                    places = zip(tree.open.tolist(), units, paths, strict=True)
                    recorder = tree.recorder(anchor_cells=False)
                    nodes = [Unseen(p, place, path, phases) for place, path, (_, phases) in places]
            recorders.append(recorder)
            unseen += nodes
        return Search(frame, recorders, unseen, cases=cases_of(frame.refinement))

    def _frame(self, g: Group, snapshot: Snapshot) -> Frame:
        """The frame of the partial trees if they have one in common, else that of the root's bound."""
        trees = [snapshot.partial.get(problem.index) for problem in g.problems]
        refined = next((tree.refinement for tree in trees if tree is not None and tree.refinement is not None), None)
        if refined is None or refined.lines.shape[1] != g.program.neurons:
            return make_frame(g, self.root.anchor)
        with suppress(ValueError):  # its cases are not about this network
            return rederive(g, refined)
        return make_frame(g, self.root.anchor)

    def step(self, state: NeuronState, seconds: float) -> NeuronState:
        search, begin = state.searches[0], time.monotonic()
        if isinstance(self.root, Refining) and search.is_new:
            search.restart(self.root.frame(search.frame.group, REFINING_SHARE * seconds), search.cases)
        if self._worth_refining(search, seconds):
            deadline, cases = time.monotonic() + REFINING_SHARE * seconds, self._next_cases(search)
            search.restart(refine(search.frame.group, self.refine_steps, self.refine_rate, deadline, cases), cases)
            begin = time.monotonic()
        bound, batch = (self.root, self._unseen(search)) if search.unseen else (self.bound, self._next(search))
        duals = bound.evaluate(search.frame, batch.nodes, seconds)
        search.work += len(batch.places) * NODE_OVERHEAD * (getattr(self.bound, "steps", 0) or self.refine_steps)
        if bound is self.root:
            search.outlook.seen_roots(duals.bound)
        else:
            search.outlook.nodes += len(batch.places)
        points = self._settle(search, batch, duals, seconds)
        search.seconds += time.monotonic() - begin
        return self._advance(state, search, points, batch.nodes, duals)

    def _worth_refining(self, search: Search, seconds: float) -> bool:
        """Once the nodes so far have cost as much as the better intervals will, or a share of it if those are expected to save
        as much; and if there is time for them."""
        begun = not search.unseen and search.open_nodes
        if not begun or not self.refine_steps or search.frame.anchor not in (certificate.ADAPTIVE, certificate.REFINED):
            return False
        cases = self._next_cases(search)
        if cases > self.most_cases:
            return False
        of_end = 0.5 * (self.refine_steps + (2 * CASE_COST * cases if cases > 1 else 0))  # its network is half as deep
        cost, of_node = ends_to_refine(search.frame) * of_end, search.work / search.outlook.nodes
        if cost * search.seconds > seconds * search.work:
            return False
        saved = search.outlook.saved(search.worst_of_all) * of_node if search.work >= PROBE * cost else 0.0
        return 0 < cost <= max(saved, search.work)

    def _next_cases(self, search: Search) -> int:
        """The cases an end of the next intervals: one, for lines alone, then more and more."""
        if search.frame.anchor == certificate.ADAPTIVE:
            return 1
        return self.cases if search.cases == 1 else search.cases * CASES_GROW

    def _unseen(self, search: Search) -> Batch:
        """All roots at once, or open leaves of a resumed tree, as many as are split in a step."""
        count = max(2 * self.batch, len(search.recorders))
        chosen, search.unseen = search.unseen[:count], search.unseen[count:]
        problem = np.array([node.problem for node in chosen])
        paths, phases = [node.path for node in chosen], [node.phases for node in chosen]
        return Batch(_fresh_nodes(search.frame, problem, paths, phases), [node.place for node in chosen], paths, phases)

    def _children(self, search: Search) -> Batch:
        """Both phases of the chosen neuron of the worst nodes: inactive first, as in the proof."""
        parents = search.pop(self.batch)
        frame, paths, phases = search.frame, [node.path for node in parents], [node.phases for node in parents]
        nodes = _as_nodes(frame, parents, paths, phases)
        splits = look_ahead(frame, nodes, np.array([node.candidates for node in parents]))
        children = nodes.take(np.repeat(np.arange(len(parents)), 2))
        children.phase[np.arange(len(children.phase)), np.repeat(splits, 2)] = np.tile([-1, 1], len(parents))
        places: list[int] = []
        for parent, neuron in zip(parents, frame.group.program.neuron_numbers[splits].tolist(), strict=True):
            first = search.recorders[parent.problem].split(parent.place, certificate.NEURON_SPLIT, neuron)
            places += (first, first + 1)
        paths = [(*path, split) for path, split in zip(paths, splits.tolist(), strict=True) for _ in range(2)]
        phases = [(*above, phase) for above in phases for phase in (-1, 1)]
        return Batch(children, places, paths, phases)

    def _settle(self, search: Search, batch: Batch, duals: Duals, seconds: float) -> np.ndarray:
        """Close the proved nodes, queue the others; what attains the bounds of the others."""
        nodes, places, paths, phases = batch.nodes, batch.places, batch.paths, batch.phases
        unstable = search.frame.unstable
        splits = candidates(search.frame, nodes, duals, self.candidates)
        open_rows, to_grow, grows = [], [], self._grows(search)
        for row, problem in enumerate(nodes.problem.tolist()):
            if duals.bound[row] > ABOVE_ROUNDING:
                search.close(problem, places[row], short_leaf(search.frame, problem, duals, row, paths[row]))
                continue
            open_rows.append(row)
            if splits[row, 0] < 0:
                self._finish_leaf(search, nodes.take(np.array([row])), problem, places[row], paths[row], seconds)
                continue
            if grows:
                to_grow.append(row)
                continue
            alpha = duals.alpha[row, unstable].astype(np.float32)
            beta = duals.beta[row, list(paths[row])].astype(np.float32)
            found = alpha, beta, duals.weights[row], duals.curvature[row]
            bound, ended = float(duals.bound[row]), duals.ended.get(row)
            search.push(Node(problem, places[row], paths[row], phases[row], *found, bound, splits[row], ended))
        if to_grow:
            self._grow(search, batch, duals, to_grow, splits, seconds)
        return duals.x[open_rows]

    def _grow(
        self, search: Search, batch: Batch, duals: Duals, rows: list[int], splits: np.ndarray, seconds: float
    ) -> None:
        """Trees below the nodes, of one split at least."""
        trees = grow(search.frame, batch, duals, rows, self.grown, seconds=seconds)
        for row, tree in zip(rows, trees, strict=True):
            if len(tree.splits) == 1:
                tree = tree.split(int(splits[row, 0]), float(duals.bound[row]))
            plant(search, batch, duals, row, tree)
            search.outlook.nodes += len(tree.splits) - 1
            search.work += (len(tree.splits) - 1) * CASE_COST

    def _grows(self, search: Search) -> bool:
        """Whether leaves are proved by lines, so that the core can grow trees, and enough neurons are open."""
        return isinstance(self.bound, AlphaCrown) and self.grown > 1 and len(search.frame.unstable) > self.few

    def _next(self, search: Search) -> Batch:
        """What is bounded next: open nodes by lines of their own, or children of open nodes."""
        if not self._grows(search):
            return self._children(search)
        nodes = search.pop(self.batch)
        paths, phases = [node.path for node in nodes], [node.phases for node in nodes]
        return Batch(_as_nodes(search.frame, nodes, paths, phases), [node.place for node in nodes], paths, phases)

    def _finish_leaf(
        self, search: Search, node: Nodes, problem: int, place: int, path: tuple[int, ...], seconds: float
    ) -> None:
        """Every neuron is fixed, so the problem is linear, up to curves: an exact bound, or the search cannot close this
        node."""
        group = search.frame.group
        if not group.problems[0].network.piecewise_linear:
            search.stuck.add(problem)
            return
        single = group.allowed[problem].sum() == 1
        if not path and single and search.frame.anchor != certificate.INTERVAL:  # ascent had no choice
            search.stuck.add(problem)
            return
        duals = self.last.evaluate(search.frame, node, seconds)
        if duals.bound[0] > ABOVE_ROUNDING:
            search.close(problem, place, short_leaf(search.frame, problem, duals, 0, path))
        else:
            search.stuck.add(problem)

    def _advance(self, state: NeuronState, search: Search, points: np.ndarray, nodes: Nodes, duals: Duals) -> NeuronState:
        if not search.frame.group.problems[0].network.piecewise_linear:
            search.drop(search.stuck)
        lower, trees, plays = dict(state.lower), dict(state.trees), dict(state.plays)
        unseen = {node.problem for node in search.unseen}
        for p, problem in enumerate(search.frame.group.problems):
            if problem.index in trees or p in unseen:
                continue
            if search.queues[p]:
                lower[problem.index] = max(search.worst(p), lower[problem.index])
            elif p in search.stuck:
                lower[problem.index] = min(lower[problem.index], 0.0)
            else:
                trees[problem.index] = search.recorders[p].finish()
                lower[problem.index] = max(lower[problem.index], 0.0)
                plays.pop(problem.index, None)
        plays |= _plays(search.frame, nodes, duals, trees)
        searches, ended = state.searches, state.ended
        if search.ended:
            searches, ended = searches[1:], (*ended, search) if search.stuck else ended
        return replace(
            state,
            lower=lower,
            trees=trees,
            plays=plays,
            candidates=search.frame.group.lowest(points, CANDIDATES),
            searches=searches,
            ended=ended,
            finished=not searches,
            open_shares=_shares(state.open_shares, (search,)),
            statistics={**state.counting(nodes=len(nodes.problem)), "open_nodes": sum(s.open_nodes for s in searches)},
        )


def _shares(before: dict[int, float], searches: tuple[Search, ...]) -> dict[int, float]:
    """The least share of each problem that was open in any tree: one that is given up has proved what it has."""
    shares = dict(before)
    for search in searches:
        for problem, share in zip(search.frame.group.problems, search.open_share, strict=True):
            shares[problem.index] = min(share, before.get(problem.index, 1.0))
    return shares


def _as_nodes(frame: Frame, origin: list[Node], paths: list, phases: list) -> Nodes:
    """Nodes that start with the duals of ``origin``."""
    nodes = _fresh_nodes(frame, np.array([node.problem for node in origin]), paths, phases)
    for row, node in enumerate(origin):
        nodes.beta[row, list(node.path)] = node.beta
        nodes.alpha[row, frame.unstable] = node.alpha
        nodes.weights[row] = node.weights
        nodes.curvature[row] = node.curvature
        if node.ended is not None:
            nodes.ended[row] = node.ended
    return nodes


def _fresh_nodes(frame: Frame, problem: np.ndarray, paths: list, phases: list) -> Nodes:
    """Nodes without duals yet."""
    nodes = fresh_nodes(frame, problem)
    for row, path in enumerate(paths):
        nodes.phase[row, list(path)] = phases[row]
    return nodes


def _plays(frame: Frame, nodes: Nodes, duals: Duals, trees: dict) -> dict[int, Play]:
    """The worst play of the batch for each open problem."""
    found: dict[int, Play] = {}
    for row in np.argsort(-duals.bound).tolist():
        problem = int(nodes.problem[row])
        index = frame.group.problems[problem].index
        if duals.bound[row] <= 0 and index not in trees:
            found[index] = play(frame, problem, duals, row)
    return found
