"""Branch and bound: a certificate for each cell of a partition. Splits inputs where there are few, else neurons."""

from __future__ import annotations

from dataclasses import dataclass

from pydual.problem import Problem
from pydual.proof_systems.base import State
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.duals import LinearBound
from pydual.proof_systems.input_splitting import InputSplitting
from pydual.proof_systems.neuron_splitting import NeuronSplitting


@dataclass(frozen=True)
class BranchAndBound:
    """``bound`` bounds the cells; None takes the native default of each kind of splitting.

    ``split`` is "input", "neuron", or "auto": inputs where there are at most ``few_inputs`` of them in a box. The native
    bound of input splitting does not know balls; CROWN, which does, takes its place over a ball.
    """

    bound: LinearBound | None = None
    split: str = "auto"
    few_inputs: int = 40
    batch: int | None = None

    name = "bab"
    complete = True

    def init(self, problems: tuple[Problem, ...]) -> State:
        return self._splitting(problems).init(problems)

    def step(self, state: State, seconds: float) -> State:
        return self._splitting(state.problems).step(state, seconds)  # type: ignore[arg-type]

    def _splitting(self, problems: tuple[Problem, ...]) -> InputSplitting | NeuronSplitting:
        few = bool(problems) and problems[0].network.input_size <= self.few_inputs
        ball = any(problem.region.ball is not None for problem in problems)
        if self.split == "input" or (self.split == "auto" and few and not ball):
            bound = Crown() if ball and self.bound is None else self.bound
            return InputSplitting(bound=bound, batch=self.batch or InputSplitting.batch)
        batch = self.batch or NeuronSplitting.batch
        if self.bound is None:
            return NeuronSplitting(batch=batch)
        return NeuronSplitting(bound=self.bound, root=self.bound, batch=batch)


