"""SDP-CROWN: lines over an l2 ball, whose rest is bounded for a layer as a whole (Chiu et al. 2025, Theorem 4.2).

Values stay near those at the ball's center, so the neurons of a layer cannot all be where their lines are worst: a square
penalty, its *curvature* optimized, says so. With curvature 0 the bound is one by lines (PROOFS.md, section 4, Ball leaves).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydual.proof_systems.alpha_crown import AlphaCrown
from pydual.proof_systems.duals import Duals, Nodes, ascend, better_of, with_best_margins
from pydual.relax.frame import Frame


@dataclass(frozen=True)
class SDPCrown(AlphaCrown):
    """The ascent of alpha-CROWN, with ``rate`` for the curvatures' logarithms, too.

    In other regions than l2 balls, and for proofs about float32, this is alpha-CROWN. Where no parent has curvatures, the
    better one of both counts.
    """

    name = "sdp-crown"

    def evaluate(self, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        around = frame.group.surroundings
        if around is None or not np.isfinite(around.radius).any():
            return super().evaluate(frame, nodes, seconds)
        start = self.spread(frame, with_best_margins(frame, nodes))
        curved = ascend(frame, start, steps=self.steps, rate=self.rate, target=self.target, around=around)
        if (nodes.curvature >= 0).all():
            return curved
        return better_of(curved, super().evaluate(frame, nodes, seconds))
