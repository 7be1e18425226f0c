"""The proof systems. One system a file, one table, cheapest first."""

from __future__ import annotations

from collections.abc import Callable

from pydual.errors import InputError
from pydual.proof_systems.alpha_crown import AlphaCrown
from pydual.proof_systems.auto import Auto
from pydual.proof_systems.base import ProofSystem
from pydual.proof_systems.branch_and_bound import BranchAndBound
from pydual.proof_systems.climb import Path
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.enumeration import Enumeration
from pydual.proof_systems.input_splitting import InputSplitting
from pydual.proof_systems.interval import Interval
from pydual.proof_systems.lp import TriangleLP
from pydual.proof_systems.milp import MILP
from pydual.proof_systems.neuron_splitting import NeuronSplitting
from pydual.proof_systems.portfolio import Portfolio
from pydual.proof_systems.sdp import SDP
from pydual.proof_systems.smt import SMT
from pydual.proof_systems.sos import SOS

BY_NAME: dict[str, Callable[[], ProofSystem]] = {
    "interval": Interval,
    "crown": Crown,
    "alpha-crown": AlphaCrown,
    "lp": TriangleLP,
    "sdp": SDP,
    "sos": SOS,
    "bab": BranchAndBound,
    "milp": MILP,
    "smt": SMT,
    "enumeration": Enumeration,
    "auto": Auto,
}

__all__ = [
    "BY_NAME",
    "MILP",
    "SDP",
    "SMT",
    "SOS",
    "AlphaCrown",
    "Auto",
    "BranchAndBound",
    "Crown",
    "Enumeration",
    "InputSplitting",
    "Interval",
    "NeuronSplitting",
    "Path",
    "Portfolio",
    "ProofSystem",
    "TriangleLP",
    "by_name",
]


def by_name(name: str) -> ProofSystem:
    """The proof system of that name with its default options. Raises InputError for an unknown name."""
    if name not in BY_NAME:
        raise InputError(f"Unknown proof system '{name}'; use one of {', '.join(BY_NAME)}.")
    return BY_NAME[name]()
