"""Other tools' answers as case distinctions, and our own answer along them."""

from __future__ import annotations

import os
import re

from pydual.certificate import LEAF, REAL
from pydual.checker import Checker
from pydual.errors import InputError
from pydual.io.aptp import aptp_tree, is_aptp
from pydual.io.marabou_proof import marabou_tree
from pydual.io.proof_text import read_proof_text
from pydual.network import Network
from pydual.outcome import Attack, Certificate, RelaxedAttack, Statistical, Unknown
from pydual.proof_systems.case_tree import CaseTree
from pydual.proof_systems.imported_tree import ImportedTree
from pydual.solve import solve

_UNSAT = re.compile(r"\s*(?:unsat|holds)\b[^({\[]*", re.IGNORECASE)  # Marabou: "unsat 0 6 0"; others: "unsat" or "holds"
_OTHER = re.compile(r"\s*(sat|violated|timeout|unknown|error)\b", re.IGNORECASE)


def load_case_tree(path: str | os.PathLike[str], model: Network) -> CaseTree:
    """Read what another tool says about ``model``: an APTP file, a JSON proof of Marabou, or a mere verdict.

    A verdict is a result file of the competition or a summary file of Marabou, whose first word is "unsat" or "holds": a
    tree of one leaf. What the file is, its content tells. Raises InputError for other verdicts, for files that are
    damaged, and for proofs that do not fit the model.
    """
    if not isinstance(model, Network):
        raise InputError(f"The model is a {type(model).__name__}; load it with pydual.load, from_torch or from_sklearn.")
    name, text = str(path), read_proof_text(path)
    if text.lstrip()[:1] == "{":
        return marabou_tree(name, text, model)
    if is_aptp(text):
        return aptp_tree(name, text, model)
    if _UNSAT.fullmatch(text):
        return CaseTree((LEAF,), (0,), (0.0,), ("the whole property",), f"the verdict in {name}")
    if other := _OTHER.match(text):
        raise InputError(f"{name} says '{other[1]}', which claims no proof; decide the property with 'pydual verify'.")
    raise InputError(f"{name} is neither an APTP file, nor a JSON proof of Marabou, nor a result 'unsat'.")


def certify(
    tree: CaseTree,
    model: Network,
    checker: Checker,
    *,
    arithmetic: str = REAL,
    timeout: float | None = None,
    seed: int = 0,
) -> Attack | RelaxedAttack | Certificate | Unknown:
    """Prove a query along somebody else's case distinctions; a tree of one leaf leaves the way to pydual.

    Returns a ``Certificate`` with multipliers of our own, audited like every other; an ``Attack`` where the claim is wrong;
    or ``Unknown``, whose reason names the leaves that could not be proved. Arguments and errors as in ``solve``.
    """
    if not isinstance(tree, CaseTree):
        raise InputError(f"The case tree is a {type(tree).__name__}; read one with pydual.load_case_tree.")
    system = ImportedTree(tree) if tree.leaves > 1 else "auto"
    outcome = solve(model, checker, system, arithmetic=arithmetic, timeout=timeout, seed=seed)
    assert not isinstance(outcome, Statistical)
    return outcome
