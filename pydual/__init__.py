"""pydual: a primal-dual verifier of neural networks.

``solve(model, checker)`` plays the adversary (an input on which the model does something catastrophic) against the
prover (a certificate that there is none) and returns the winning move: ``Attack``, ``RelaxedAttack``, ``Certificate``
or ``Unknown``.

Names are loaded on first use, so that ``import pydual`` is fast.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydual.audit import audit as audit
    from pydual.certificate import load_proof as load_proof
    from pydual.checker import Checker as Checker
    from pydual.checker import X as X
    from pydual.checker import Y as Y
    from pydual.checker import robustness as robustness
    from pydual.checkers.black_box import black_box as black_box
    from pydual.checkers.chain import chain as chain
    from pydual.checkers.overseer import equivalence as equivalence
    from pydual.checkers.overseer import overseer as overseer
    from pydual.checkers.pairs import lipschitz as lipschitz
    from pydual.checkers.pairs import monotone as monotone
    from pydual.checkers.traced import checker as checker
    from pydual.checkers.traced import relu as relu
    from pydual.errors import CertificateError as CertificateError
    from pydual.errors import InputError as InputError
    from pydual.errors import PydualError as PydualError
    from pydual.errors import UnsupportedError as UnsupportedError
    from pydual.io.case_tree import certify as certify
    from pydual.io.case_tree import load_case_tree as load_case_tree
    from pydual.io.onnx import load as load
    from pydual.io.sklearn import from_sklearn as from_sklearn
    from pydual.io.torch import from_torch as from_torch
    from pydual.io.vnnlib import load_checker as load_checker
    from pydual.network import Network as Network
    from pydual.outcome import Attack as Attack
    from pydual.outcome import Bracket as Bracket
    from pydual.outcome import Certificate as Certificate
    from pydual.outcome import RelaxedAttack as RelaxedAttack
    from pydual.outcome import Statistical as Statistical
    from pydual.outcome import Unknown as Unknown
    from pydual.proof_systems import MILP as MILP
    from pydual.proof_systems import SMT as SMT
    from pydual.proof_systems import AlphaCrown as AlphaCrown
    from pydual.proof_systems import Auto as Auto
    from pydual.proof_systems import BranchAndBound as BranchAndBound
    from pydual.proof_systems import Crown as Crown
    from pydual.proof_systems import Enumeration as Enumeration
    from pydual.proof_systems import InputSplitting as InputSplitting
    from pydual.proof_systems import Interval as Interval
    from pydual.proof_systems import NeuronSplitting as NeuronSplitting
    from pydual.proof_systems import Portfolio as Portfolio
    from pydual.proof_systems import TriangleLP as TriangleLP
    from pydual.proof_systems.case_tree import CaseTree as CaseTree
    from pydual.proof_systems.imported_tree import ImportedTree as ImportedTree
    from pydual.region import Ball as Ball
    from pydual.region import Region as Region
    from pydual.sampling.counting import Counting as Counting
    from pydual.sampling.relaxed import Relaxed as Relaxed
    from pydual.sampling.smoothing import Smoothing as Smoothing
    from pydual.sampling.splitting import Splitting as Splitting
    from pydual.solve import solve as solve

__version__ = "0.1.0"

# where each public name lives; tests/test_package.py holds this table and the imports above to each other
_HOME = {
    "AlphaCrown": "pydual.proof_systems",
    "Attack": "pydual.outcome",
    "Auto": "pydual.proof_systems",
    "Ball": "pydual.region",
    "Bracket": "pydual.outcome",
    "BranchAndBound": "pydual.proof_systems",
    "CaseTree": "pydual.proof_systems.case_tree",
    "Certificate": "pydual.outcome",
    "CertificateError": "pydual.errors",
    "Checker": "pydual.checker",
    "Counting": "pydual.sampling.counting",
    "Crown": "pydual.proof_systems",
    "Enumeration": "pydual.proof_systems",
    "ImportedTree": "pydual.proof_systems.imported_tree",
    "InputError": "pydual.errors",
    "InputSplitting": "pydual.proof_systems",
    "Interval": "pydual.proof_systems",
    "MILP": "pydual.proof_systems",
    "Network": "pydual.network",
    "NeuronSplitting": "pydual.proof_systems",
    "Portfolio": "pydual.proof_systems",
    "PydualError": "pydual.errors",
    "Region": "pydual.region",
    "Relaxed": "pydual.sampling.relaxed",
    "RelaxedAttack": "pydual.outcome",
    "SMT": "pydual.proof_systems",
    "Smoothing": "pydual.sampling.smoothing",
    "Splitting": "pydual.sampling.splitting",
    "Statistical": "pydual.outcome",
    "TriangleLP": "pydual.proof_systems",
    "Unknown": "pydual.outcome",
    "UnsupportedError": "pydual.errors",
    "X": "pydual.checker",
    "Y": "pydual.checker",
    "audit": "pydual.audit",
    "black_box": "pydual.checkers.black_box",
    "certify": "pydual.io.case_tree",
    "chain": "pydual.checkers.chain",
    "checker": "pydual.checkers.traced",
    "equivalence": "pydual.checkers.overseer",
    "from_sklearn": "pydual.io.sklearn",
    "from_torch": "pydual.io.torch",
    "lipschitz": "pydual.checkers.pairs",
    "load": "pydual.io.onnx",
    "load_case_tree": "pydual.io.case_tree",
    "load_checker": "pydual.io.vnnlib",
    "load_proof": "pydual.certificate",
    "monotone": "pydual.checkers.pairs",
    "overseer": "pydual.checkers.overseer",
    "relu": "pydual.checkers.traced",
    "robustness": "pydual.checker",
    "solve": "pydual.solve",
}

__all__ = [
    "AlphaCrown",
    "Attack",
    "Auto",
    "Ball",
    "Bracket",
    "BranchAndBound",
    "CaseTree",
    "Certificate",
    "CertificateError",
    "Checker",
    "Counting",
    "Crown",
    "Enumeration",
    "ImportedTree",
    "InputError",
    "InputSplitting",
    "Interval",
    "MILP",
    "Network",
    "NeuronSplitting",
    "Portfolio",
    "PydualError",
    "Region",
    "Relaxed",
    "RelaxedAttack",
    "SMT",
    "Smoothing",
    "Splitting",
    "Statistical",
    "TriangleLP",
    "Unknown",
    "UnsupportedError",
    "X",
    "Y",
    "__version__",
    "audit",
    "black_box",
    "certify",
    "chain",
    "checker",
    "equivalence",
    "from_sklearn",
    "from_torch",
    "lipschitz",
    "load",
    "load_case_tree",
    "load_checker",
    "load_proof",
    "monotone",
    "overseer",
    "relu",
    "robustness",
    "solve",
]


if not TYPE_CHECKING:  # a type checker knows the names from above, and calls others an error

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'pydual' has no attribute '{name}'")
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps ``pydual.solve``, ``audit`` and ``checker`` functions: importing the modules of these names hides nothing."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
