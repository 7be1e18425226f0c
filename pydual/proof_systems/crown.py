"""CROWN: the adversary attacks a linear extrapolation of the model (Zhang et al. 2018; DeepPoly, Singh et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from pydual import certificate
from pydual.proof_systems.duals import Duals, Nodes, ascend, better_of, with_best_margins
from pydual.proof_systems.interval import Interval
from pydual.proof_systems.root_bound import RootBound
from pydual.relax.frame import Frame


@dataclass(frozen=True)
class Crown(RootBound):
    """One back-substitution through the adaptive lines: the lower line of a neuron has slope 1 if u > -l, else 0.

    Neither this nor interval arithmetic in the last layer is always better; the better one counts.
    """

    name = "crown"
    anchor = certificate.ADAPTIVE

    def evaluate(self, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        crown = ascend(frame, with_best_margins(frame, nodes), steps=0, rate=0.0, target=0.0)
        return better_of(crown, Interval().evaluate(frame, nodes, seconds))
