"""The default proof system."""

from __future__ import annotations

from pydual.proof_systems.branch_and_bound import BranchAndBound
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.detour import Detour
from pydual.proof_systems.enumeration import Enumeration
from pydual.proof_systems.finite import Finite
from pydual.proof_systems.portfolio import Portfolio
from pydual.proof_systems.sdp import SDP


def Auto() -> Portfolio:
    """CROWN for what is easy, then branch and bound, with a detour by sums of squares where splitting takes long.

    Small finite regions are enumerated in place of the search.
    """
    over = BranchAndBound(bound=SDP(), split="neuron", batch=2)
    return Portfolio((Crown(), Finite(Enumeration(), Detour(BranchAndBound(), SDP(), over))), name="auto")
