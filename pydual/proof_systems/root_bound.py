"""Proof systems that bound each problem once, at the root: one group of problems a step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydual.problem import Problem
from pydual.proof_systems.base import S, State, start
from pydual.proof_systems.duals import ABOVE_ROUNDING, Duals, LinearBound, leaf_proof, play, root_nodes
from pydual.relax.frame import Frame, Group, group, make_frame


@dataclass(frozen=True, eq=False, kw_only=True)
class RootState(State):
    groups: tuple[Group, ...]


def with_bounds(state: S, frame: Frame, duals: Duals) -> S:
    """The state with the bounds of a frame's problems, a row of ``duals`` each: proofs where they are positive, else plays."""
    lower, trees, plays = dict(state.lower), dict(state.trees), dict(state.plays)
    for row, problem in enumerate(frame.group.problems):
        lower[problem.index] = float(duals.bound[row])
        if duals.bound[row] > ABOVE_ROUNDING:
            trees[problem.index] = leaf_proof(frame, row, duals, row)
        else:
            plays[problem.index] = play(frame, row, duals, row)
    counts = state.counting(bounds=len(frame.group.problems), unstable_neurons=len(frame.unstable))
    return replace(state, lower=lower, trees=trees, plays=plays, candidates=duals.x, statistics=counts)


class RootBound:
    """Turns a linear bound into a proof system; the bound is the class that inherits this."""

    complete = False

    def init(self, problems: tuple[Problem, ...]) -> RootState:
        return RootState(**vars(start(problems)), groups=tuple(group(problems)))

    def step(self: LinearBound, state: RootState, seconds: float) -> RootState:
        now, later = state.groups[0], state.groups[1:]
        frame = make_frame(now, self.anchor)
        duals = self.evaluate(frame, root_nodes(frame), seconds)
        return replace(with_bounds(state, frame, duals), groups=later, finished=not later)
