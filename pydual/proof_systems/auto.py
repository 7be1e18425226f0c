"""The default proof system."""

from __future__ import annotations

from pydual.proof_systems.branch_and_bound import BranchAndBound
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.portfolio import Portfolio


def Auto() -> Portfolio:
    """CROWN for what is easy, then branch and bound."""
    return Portfolio((Crown(), BranchAndBound()), name="auto")
