"""A search that gives way to enumeration where the region is finite and small."""

from __future__ import annotations

from dataclasses import dataclass

from pydual.problem import Problem
from pydual.proof_systems.base import ProofSystem, Snapshot, State, resume, take_snapshot
from pydual.proof_systems.enumeration import Enumeration

FEW = 1e11  # multiply-adds in all, about: half a minute


@dataclass(frozen=True)
class Finite:
    """``enumeration`` where the regions of all problems have few points for their network, or are lists; else ``other``."""

    enumeration: Enumeration
    other: ProofSystem

    @property
    def name(self) -> str:
        return self.other.name

    @property
    def complete(self) -> bool:
        return self.other.complete

    def init(self, problems: tuple[Problem, ...]) -> State:
        return self._system(problems).init(problems)

    def step(self, state: State, seconds: float) -> State:
        return self._system(state.problems).step(state, seconds)

    def snapshot(self, state: State) -> Snapshot:
        return take_snapshot(self._system(state.problems), state)

    def resume(self, problems: tuple[Problem, ...], snapshot: Snapshot) -> State:
        return resume(self._system(problems), problems, snapshot)

    def _system(self, problems: tuple[Problem, ...]) -> ProofSystem:
        counts = [problem.region.count for problem in problems]
        if any(problem.region.points is not None for problem in problems):
            return self.enumeration
        if not counts or None in counts:
            return self.other
        work = sum(count or 0 for count in counts) * max(1, problems[0].network.connections)
        return self.enumeration if work <= FEW else self.other
