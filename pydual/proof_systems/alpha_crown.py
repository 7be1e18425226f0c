"""alpha-CROWN: the prover optimizes the lines of the extrapolation (Xu et al. 2021), with the multipliers of fixed
neurons where there are any (beta-CROWN, Wang et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pydual import certificate
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.duals import Duals, Nodes, ascend, better_of, with_best_margins
from pydual.proof_systems.root_bound import RootBound
from pydual.relax.frame import Frame


@dataclass(frozen=True)
class AlphaCrown(RootBound):
    """``steps`` of projected Adam with learning rate ``rate`` on the slopes; intervals stay those of CROWN.

    The bound's supremum is the optimum of the triangle LP with the same intervals (Salman et al. 2019): ascent approaches
    it for a single margin (within 1e-3 in 1,000 steps at rate 0.3 on two layers), and more slowly where several margins
    share the weight. Ascent ends early when all bounds exceed ``target``. Where curves make interval arithmetic better in
    the last layer, it counts.
    """

    steps: int = 100
    rate: float = 0.1
    target: float = 1e-6

    name = "alpha-crown"
    anchor = certificate.ADAPTIVE

    def evaluate(self, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        start = with_best_margins(frame, nodes)
        spread = self.spread(frame, start)
        ascended = ascend(frame, spread, steps=self.steps, rate=self.rate, target=self.target)
        if spread is start and frame.group.problems[0].network.piecewise_linear:
            return ascended
        return better_of(ascended, Crown().evaluate(frame, start, seconds))

    @staticmethod
    def spread(frame: Frame, nodes: Nodes) -> Nodes:
        """Multiplicative steps cannot leave a vertex of the simplex, so a lone weight lends some to the others."""
        allowed = frame.group.allowed[nodes.problem].astype(float)
        lone = (nodes.weights == 1.0).any(axis=1, keepdims=True) & (allowed.sum(axis=1, keepdims=True) > 1)
        if not lone.any():
            return nodes
        uniform = allowed / allowed.sum(axis=1, keepdims=True)
        return replace(nodes, weights=np.where(lone, 0.8 * nodes.weights + 0.2 * uniform, nodes.weights))
