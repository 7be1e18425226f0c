"""Several proof systems, one after the other: each gets the problems that those before it left open."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pydual.problem import Problem
from pydual.proof_systems.base import ProofSystem, Snapshot, State, resume, start, take_snapshot


@dataclass(frozen=True, eq=False, kw_only=True)
class PortfolioState(State):
    rung: int = 0
    inner: State | None = field(default=None)


@dataclass(frozen=True)
class Portfolio:
    """Climbs ``systems``, cheapest first."""

    systems: tuple[ProofSystem, ...]
    name: str = "portfolio"

    @property
    def complete(self) -> bool:
        return any(system.complete for system in self.systems)

    def init(self, problems: tuple[Problem, ...]) -> PortfolioState:
        return PortfolioState(**vars(start(problems)))

    def snapshot(self, state: PortfolioState) -> Snapshot:
        inner = Snapshot() if state.inner is None else take_snapshot(self.systems[state.rung], state.inner)
        trees = {**state.trees, **inner.trees}
        return Snapshot(trees, inner.partial, state.lower, state.open_shares, (state.rung, *inner.place))

    def resume(self, problems: tuple[Problem, ...], snapshot: Snapshot) -> PortfolioState:
        state = PortfolioState(**vars(start(problems, snapshot)))
        rung, *place = snapshot.place or (0,)
        if state.finished or not 0 <= rung < len(self.systems):
            return state
        open_problems = tuple(p for p in problems if p.index not in state.trees)
        inner = resume(self.systems[rung], open_problems, replace(snapshot, place=tuple(place)))
        return replace(state, rung=rung, inner=inner, open_shares=inner.open_shares)

    def step(self, state: PortfolioState, seconds: float) -> PortfolioState:
        system = self.systems[state.rung]
        open_problems = tuple(p for p in state.problems if p.index not in state.trees)
        inner = system.step(state.inner or system.init(open_problems), seconds)
        trees = {**state.trees, **inner.trees}
        lower = {i: max(state.lower[i], inner.lower.get(i, state.lower[i])) for i in state.lower}
        plays = {i: play for i, play in {**state.plays, **inner.plays}.items() if i not in trees}
        everything = len(trees) == len(state.problems)
        done = inner.finished or everything
        return replace(
            state,
            trees=trees,
            lower=lower,
            plays=plays,
            candidates=inner.candidates,
            claim=inner.claim,
            open_shares=inner.open_shares,
            rung=state.rung + done,
            inner=None if done else inner,
            finished=everything or (done and state.rung + 1 == len(self.systems)),
            statistics={**state.statistics, system.name: inner.statistics},
        )
