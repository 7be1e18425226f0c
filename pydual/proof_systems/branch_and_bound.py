"""Branch and bound: a certificate for each cell of a partition. Splits inputs where there are few, else neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pydual.network import Network
from pydual.operators.primitives import Relu
from pydual.problem import Problem
from pydual.proof_systems.base import ProofSystem, Snapshot, State, refuse_lists, resume, take_snapshot
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.duals import LinearBound
from pydual.proof_systems.input_splitting import InputSplitting
from pydual.proof_systems.portfolio import Portfolio

if TYPE_CHECKING:
    from pydual.proof_systems.neuron_splitting import NeuronSplitting

BALL_STEPS = 10  # of a node's ascent over a ball, from where that of its parent ended
NARROW = 1e-9  # an input whose interval has less than this share of the widest one's width does not count


@dataclass(frozen=True)
class BranchAndBound:
    """``bound`` bounds the cells; None takes the native default of each kind of splitting.

    ``split`` is "input", "neuron", or "auto": inputs where there are at most ``few_inputs`` of them in a box. With a single
    layer of ReLUs, which lets lines clip cells well, also where there are at most ``few_of_one_layer``, and no more than
    neurons. The native bound of input splitting does not know balls; CROWN, which does, takes its place over a ball. With
    curves, "auto" counts only the inputs that may vary, and what splitting neurons leaves open it tries by splitting inputs;
    so it does where inputs are integers. Lists of points are refused: there are no boxes between them.
    """

    bound: LinearBound | None = None
    split: str = "auto"
    few_inputs: int = 40
    few_of_one_layer: int = 128
    batch: int | None = None

    name = "bab"
    complete = True

    def init(self, problems: tuple[Problem, ...]) -> State:
        refuse_lists(problems, self.name)
        return self._splitting(problems).init(problems)

    def step(self, state: State, seconds: float) -> State:
        return self._splitting(state.problems).step(state, seconds)

    def snapshot(self, state: State) -> Snapshot:
        return take_snapshot(self._splitting(state.problems), state)

    def resume(self, problems: tuple[Problem, ...], snapshot: Snapshot) -> State:
        refuse_lists(problems, self.name)
        return resume(self._splitting(problems), problems, snapshot)

    def _splitting(self, problems: tuple[Problem, ...]) -> ProofSystem:
        ball = any(problem.region.ball is not None for problem in problems)
        curves = any(not problem.network.piecewise_linear for problem in problems)
        if curves:
            few = max(map(_wide_inputs, problems)) <= self.few_inputs
        else:
            few = bool(problems) and self._few_inputs(problems[0].network) and not ball
        if self.split == "input" or (self.split == "auto" and few):
            return self._inputs(ball)
        integers = any(problem.region.integers is not None for problem in problems)
        if (curves or integers) and self.split == "auto":
            return Portfolio((self._neurons(ball), self._inputs(crown=curves or ball)), name=self.name)
        return self._neurons(ball)

    def _few_inputs(self, network: Network) -> bool:
        inputs, shallow = network.input_size, sum(isinstance(p, Relu) for p in network.primitives) == 1
        return inputs <= self.few_inputs or (shallow and inputs <= min(self.few_of_one_layer, network.neurons))

    def _inputs(self, crown: bool) -> InputSplitting:
        bound = Crown() if crown and self.bound is None else self.bound
        return InputSplitting(bound=bound, batch=self.batch or InputSplitting.batch)

    def _neurons(self, ball: bool) -> NeuronSplitting:
        from pydual.proof_systems.neuron_splitting import NeuronSplitting  # splits of inputs need not load it

        batch = self.batch or NeuronSplitting.batch
        if self.bound is None and ball:
            from pydual.proof_systems.sdp_crown import SDPCrown

            return NeuronSplitting(bound=SDPCrown(steps=BALL_STEPS), root=SDPCrown(), batch=batch)
        if self.bound is None:
            return NeuronSplitting(batch=batch)
        from pydual.proof_systems.sdp import SDP

        if isinstance(self.bound, SDP):
            return NeuronSplitting(bound=self.bound, root=self.bound, batch=batch, refine_steps=0)
        return NeuronSplitting(bound=self.bound, root=self.bound, batch=batch)


def _wide_inputs(problem: Problem) -> int:
    width = problem.region.upper - problem.region.lower
    return int(np.count_nonzero(width > NARROW * width.max()))
