"""SDP-CROWN: lines over an l2 ball, whose rest is bounded for a layer as a whole (Chiu et al. 2025, Theorem 4.2).

Values stay near those at the ball's center, so the neurons of a layer cannot all be where their lines are worst: a square
penalty, its *curvature* optimized, says so. With curvature 0 the bound is one by lines (PROOFS.md, section 4, Ball leaves).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydual import certificate
from pydual.proof_systems.alpha_crown import AlphaCrown
from pydual.proof_systems.duals import Duals, Nodes, ascend, better_of, with_best_margins
from pydual.proof_systems.root_bound import RootBound
from pydual.relax.frame import Frame


@dataclass(frozen=True)
class SDPCrown(RootBound):
    """``steps`` of projected Adam with learning rate ``rate`` on slopes and multipliers, and on the curvatures' logarithms.

    In other regions than l2 balls, and for proofs about float32, this is alpha-CROWN. Where no parent has curvatures, the
    better one of both counts.
    """

    steps: int = 100
    rate: float = 0.1
    target: float = 1e-6

    name = "sdp-crown"
    anchor = certificate.ADAPTIVE

    def evaluate(self, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        lines, around = AlphaCrown(self.steps, self.rate, self.target), frame.group.surroundings
        if around is None or not np.isfinite(around.radius).any():
            return lines.evaluate(frame, nodes, seconds)
        start = lines.spread(frame, with_best_margins(frame, nodes))
        curved = ascend(frame, start, steps=self.steps, rate=self.rate, target=self.target, around=around)
        if (nodes.curvature >= 0).all():
            return curved
        return better_of(curved, lines.evaluate(frame, nodes, seconds))
