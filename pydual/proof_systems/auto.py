"""The default proof system."""

from __future__ import annotations

from pydual.proof_systems.base import ProofSystem
from pydual.proof_systems.branch_and_bound import BranchAndBound
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.detour import Detour
from pydual.proof_systems.enumeration import Enumeration
from pydual.proof_systems.finite import Finite
from pydual.proof_systems.portfolio import Portfolio


def Auto() -> Portfolio:
    """CROWN for what is easy, then branch and bound, with a detour by sums of squares where splitting takes long.

    Small finite regions are enumerated in place of the search.
    """
    return Portfolio((Crown(), Finite(Enumeration(), Detour(BranchAndBound(), _squares, _over_squares))), name="auto")


def _squares() -> ProofSystem:
    from pydual.proof_systems.sdp import SDP

    return SDP()


def _over_squares() -> ProofSystem:
    from pydual.proof_systems.sdp import SDP

    return BranchAndBound(bound=SDP(), split="neuron", batch=2)
