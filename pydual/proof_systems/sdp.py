"""Sums of squares of degree 2: the adversary plays pseudo-moments of degree 2 (Raghunathan, Steinhardt, Liang, NeurIPS 2018).

The relaxation is theirs with triangle rows (Batten et al., IJCAI 2021) and stable neurons substituted: moments of the inputs
and the unstable neurons, with z (z - y) = 0, products of each variable's two bounds, and the linear rows of the triangle. It
is solved from its dual (cpp/kernels/gram.hpp), beginning at the linear bound, so it never ends below that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pydual import certificate
from pydual.errors import UnsupportedError
from pydual.problem import Problem
from pydual.proof_systems.base import State, no_candidates, start
from pydual.proof_systems.climb import Climb, Path, advance, closed, start_climbs
from pydual.proof_systems.duals import ABOVE_ROUNDING, Duals, LinearBound, Nodes, leaf_proof, root_nodes
from pydual.proof_systems.root_bound import with_bounds
from pydual.proof_systems.rounding import rounded
from pydual.proof_systems.sdp_crown import SDPCrown
from pydual.relax.engine import threads
from pydual.relax.frame import Frame, Group, group, make_frame
from pydual.relax.program import compile_network
from pydual.relax.refine import refine

if TYPE_CHECKING:
    from pydual.proof_systems.sos import SOS, SOSState

REFINING_SHARE = 0.5  # of the time left, for better intervals
AT_ONCE = 2  # climbs for each thread
IN_TREES = 25  # times as many steps as without a tree before Newton's method: a split is cheaper than what that would gain


@dataclass(frozen=True, eq=False, kw_only=True)
class SDPState(State):
    """``climbs``: those under way; ``waiting``: those that are not."""

    groups: tuple[Group, ...]
    climbs: tuple[Climb, ...] = field(default=())
    waiting: tuple[Climb, ...] = field(default=())


@dataclass(frozen=True)
class SDP:
    """``linear`` bounds the problems first; those that it leaves open climb along ``path`` (proof_systems/climb.py).

    Intervals are optimized by ``refine_steps`` of ascent for each end (0: adaptive lines). Where more than ``few`` neurons are
    unstable by adaptive lines, each end is the least over up to ``cases`` cases: in deep, normally trained networks wide
    intervals keep the relaxation from the truth. (A neuron that cases decide is substituted, and the adversary need not heed
    its sign any more; with few neurons that costs more than it gains.) The problem with the worst linear bound comes first,
    and the first that stays open ends the game: the relaxed adversary wins there.
    """

    linear: LinearBound = SDPCrown(steps=60, rate=0.1)
    path: Path = Path()
    refine_steps: int = 20
    refine_rate: float = 0.2
    cases: int = 32
    few: int = 50
    squares: SOS | None = None

    name = "sdp"
    complete = False
    anchor = certificate.ADAPTIVE

    def init(self, problems: tuple[Problem, ...]) -> SDPState | SOSState:
        if problems and "square" in compile_network(problems[0].network).kinds:
            return self._squares().init(problems)
        _check(problems)
        return SDPState(**vars(start(problems)), groups=tuple(group(problems)))

    def step(self, state: SDPState | SOSState, seconds: float) -> SDPState | SOSState:
        if not isinstance(state, SDPState):
            return self._squares().step(state, seconds)
        if state.climbs:
            return self._climb(state)
        return self._begin(state, seconds)

    def _squares(self) -> SOS:
        from pydual.proof_systems.sos import SOS

        return self.squares or SOS(degree=2, dense=60)

    def evaluate(self, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        """The bounds of nodes of a branch and bound: linear ones, and climbs where these prove nothing."""
        _check(frame.group.problems)
        deadline = time.monotonic() + seconds
        duals = self.linear.evaluate(frame, nodes, seconds)
        rows = np.flatnonzero(duals.bound <= ABOVE_ROUNDING).tolist()
        units = [tuple(np.flatnonzero(nodes.phase[row]).tolist()) for row in rows]
        path = replace(self.path, cheap=IN_TREES * self.path.cheap)
        climbs = [climb for climb in start_climbs(frame, nodes, duals, rows, units, path) if climb.is_possible]
        under_way = climbs
        while under_way and time.monotonic() < deadline:
            advance(under_way)
            under_way = [climb for climb in under_way if not climb.ended]
        return closed(duals, climbs)

    def frame(self, g: Group, seconds: float = np.inf) -> Frame:
        """The group's intervals, those of the rest by adaptive lines after about so many seconds."""
        adaptive = make_frame(g, certificate.ADAPTIVE)
        if not self.refine_steps:
            return adaptive
        cases = self.cases if len(adaptive.unstable) > self.few else 1
        return refine(g, self.refine_steps, self.refine_rate, time.monotonic() + seconds, cases)

    def _begin(self, state: SDPState, seconds: float) -> SDPState:
        """The linear bounds of the next group, and what is left to climb."""
        now, later = state.groups[0], state.groups[1:]
        frame = self.frame(now, REFINING_SHARE * seconds)
        nodes = root_nodes(frame)
        duals = self.linear.evaluate(frame, nodes, seconds)
        rows = [row for row in np.argsort(duals.bound).tolist() if duals.bound[row] <= ABOVE_ROUNDING]
        climbs = [c for c in start_climbs(frame, nodes, duals, rows, [()] * len(rows), self.path) if c.is_possible]
        state = replace(with_bounds(state, frame, duals), groups=later, waiting=tuple(climbs))
        return self._go_on(replace(state, statistics=state.counting(climbs=len(climbs))), ())

    def _climb(self, state: SDPState) -> SDPState:
        """A chunk of steps."""
        before = sum(climb.steps for climb in state.climbs)
        advance(list(state.climbs))
        lower, trees, plays = dict(state.lower), dict(state.trees), dict(state.plays)
        roundings = []
        for climb in state.climbs:
            problem = climb.frame.group.problems[climb.problem]
            lower[problem.index] = climb.bound
            if climb.proved:
                trees[problem.index] = leaf_proof(climb.frame, climb.problem, closed(climb.duals, [climb]), climb.row)
                plays.pop(problem.index)
            else:
                roundings.append(rounding := rounded(climb))
                plays[problem.index] = rounding.play
        roundings.sort(key=lambda rounding: rounding.value)
        points = np.concatenate([no_candidates(state.problems), *(rounding.points for rounding in roundings)])
        claim = next((rounding.claim for rounding in roundings if rounding.claim), state.claim)
        steps = sum(climb.steps for climb in state.climbs) - before
        state = replace(
            state, lower=lower, trees=trees, plays=plays, candidates=points, claim=claim,
            statistics=state.counting(steps=steps),
        )  # fmt: skip
        return self._go_on(state, tuple(climb for climb in state.climbs if not climb.proved))

    def _go_on(self, state: SDPState, climbs: tuple[Climb, ...]) -> SDPState:
        """Fill up the climbs under way; finished where one has ended without a proof, or nothing is left."""
        free = AT_ONCE * threads() - len(climbs)
        climbs, waiting = (*climbs, *state.waiting[:free]), state.waiting[free:]
        lost = any(climb.ended for climb in climbs)
        return replace(state, climbs=climbs, waiting=waiting, finished=lost or not (climbs or waiting or state.groups))


def _check(problems: tuple[Problem, ...]) -> None:
    if any(not problem.network.piecewise_linear for problem in problems):
        raise UnsupportedError("The proof system 'sdp' knows ReLU networks only; use 'bab' or 'alpha-crown'.")
