"""The proof systems. One system a file, one table, cheapest first. Each is loaded on first use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydual.errors import InputError

if TYPE_CHECKING:
    from pydual.proof_systems.alpha_crown import AlphaCrown as AlphaCrown
    from pydual.proof_systems.auto import Auto as Auto
    from pydual.proof_systems.base import ProofSystem as ProofSystem
    from pydual.proof_systems.branch_and_bound import BranchAndBound as BranchAndBound
    from pydual.proof_systems.climb import Path as Path
    from pydual.proof_systems.crown import Crown as Crown
    from pydual.proof_systems.enumeration import Enumeration as Enumeration
    from pydual.proof_systems.input_splitting import InputSplitting as InputSplitting
    from pydual.proof_systems.interval import Interval as Interval
    from pydual.proof_systems.lp import TriangleLP as TriangleLP
    from pydual.proof_systems.milp import MILP as MILP
    from pydual.proof_systems.neuron_splitting import NeuronSplitting as NeuronSplitting
    from pydual.proof_systems.portfolio import Portfolio as Portfolio
    from pydual.proof_systems.sdp import SDP as SDP
    from pydual.proof_systems.sdp_crown import SDPCrown as SDPCrown
    from pydual.proof_systems.smt import SMT as SMT
    from pydual.proof_systems.sos import SOS as SOS

# the file in which each lives; tests/test_package.py holds this table and the imports above to each other
_HOME = {
    "MILP": "milp",
    "SDP": "sdp",
    "SDPCrown": "sdp_crown",
    "SMT": "smt",
    "SOS": "sos",
    "AlphaCrown": "alpha_crown",
    "Auto": "auto",
    "BranchAndBound": "branch_and_bound",
    "Crown": "crown",
    "Enumeration": "enumeration",
    "InputSplitting": "input_splitting",
    "Interval": "interval",
    "NeuronSplitting": "neuron_splitting",
    "Path": "climb",
    "Portfolio": "portfolio",
    "ProofSystem": "base",
    "TriangleLP": "lp",
}

__all__ = [*_HOME, "BY_NAME", "by_name"]  # noqa: PLE0604


def _default(name: str) -> Callable[[], ProofSystem]:
    def make() -> ProofSystem:
        made: ProofSystem = _load(name)()
        return made

    return make


def _load(name: str) -> Any:
    return getattr(import_module(f"pydual.proof_systems.{_HOME[name]}"), name)


# with default options
BY_NAME: dict[str, Callable[[], ProofSystem]] = {
    "interval": _default("Interval"),
    "crown": _default("Crown"),
    "alpha-crown": _default("AlphaCrown"),
    "sdp-crown": _default("SDPCrown"),
    "lp": _default("TriangleLP"),
    "sdp": _default("SDP"),
    "sos": _default("SOS"),
    "bab": _default("BranchAndBound"),
    "milp": _default("MILP"),
    "smt": _default("SMT"),
    "enumeration": _default("Enumeration"),
    "auto": _default("Auto"),
}


def by_name(name: str) -> ProofSystem:
    """The proof system of that name with its default options. Raises InputError for an unknown name."""
    if name not in BY_NAME:
        raise InputError(f"Unknown proof system '{name}'; use one of {', '.join(BY_NAME)}.")
    return BY_NAME[name]()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'pydual.proof_systems' has no attribute '{name}'")
        return _load(name)
