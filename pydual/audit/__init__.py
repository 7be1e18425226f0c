"""Audits: they decide whether a certificate proves what it claims; PROOFS.md says when.

``audit`` is the door; ``exact.py`` decides in rational arithmetic with the standard library only, ``rounded.py`` in
float64 with directed rounding. A test holds that the rounded audit never accepts what the rules reject.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from pydual.certificate import FLOAT32, REAL, Proof
from pydual.chain_file import is_chain, open_lemmas
from pydual.checker import Checker
from pydual.errors import CertificateError, InputError
from pydual.network import Network
from pydual.query import Composed, Judge, Lemma, pose

EXACT, ROUNDED = "exact", "rounded"
FOLDED = (
    "Constants of the node '{}' are computed when the model is loaded, otherwise than in float32 (PROOFS.md, section 6); "
    "fold them when exporting the model, or use real arithmetic."
)


@dataclass(frozen=True)
class Accepted:
    """What an accepted certificate proves: the worst margin is at least ``margin``.

    ``level`` says how it was checked, "exact" or "rounded"; ``arithmetic`` of which execution it speaks, "real" or
    "float32" (PROOFS.md, section 6).
    """

    margin: float
    level: str
    arithmetic: str


def audit(
    certificate: Any,
    network: Network,
    checker: Checker | Judge | Composed,
    *,
    level: str = EXACT,
    deadline: Callable[[], None] | None = None,
) -> Accepted:
    """Check a certificate: an outcome ``Certificate``, a ``Proof``, or the path of a certificate file.

    ``level`` "exact" is rational arithmetic; "rounded" is faster, in float64 with directed rounding. A file is read
    in pieces, so that its size does not matter; it must not change meanwhile. ``deadline`` is called between leaves and
    may raise to stop the audit. Raises CertificateError, with the first step that fails, if the certificate does not
    prove that the network has no catastrophe.
    """
    if level not in (EXACT, ROUNDED):
        raise InputError(f"Unknown audit level '{level}'; use '{EXACT}' or '{ROUNDED}'.")
    if isinstance(checker, Composed):
        return _audit_lemmas(certificate, checker.lemmas(network), level, deadline)
    query = pose(network, checker)
    network, checker = query.network, query.checker
    with _opened(certificate) as proof:
        if proof.arithmetic == FLOAT32 and network.folded:
            raise CertificateError(FOLDED.format(network.folded[0]))
        if level == ROUNDED:
            from pydual.audit.rounded import audit_rounded

            return Accepted(audit_rounded(proof, network, checker, deadline), ROUNDED, proof.arithmetic)
        from pydual.audit.exact import audit_exact

        return Accepted(_down(audit_exact(proof, network, checker, deadline)), EXACT, proof.arithmetic)


def _audit_lemmas(certificate: Any, lemmas: tuple[Lemma, ...], level: str, deadline: Callable[[], None] | None) -> Accepted:
    """All lemmas of a composed question, each against its own certificate; the last one's margin is the model's."""
    with open_lemmas(getattr(certificate, "certificate", certificate), [lemma.name for lemma in lemmas]) as proofs:
        for lemma in lemmas:
            try:
                accepted = audit(proofs[lemma.name], lemma.model, lemma.checker, level=level, deadline=deadline)
            except CertificateError as error:
                raise CertificateError(f"Lemma '{lemma.name}' of the chain: {error}") from None
            if accepted.arithmetic != REAL:
                raise CertificateError(f"Lemma '{lemma.name}' of the chain speaks of {accepted.arithmetic}; chains are real.")
    return accepted


def _opened(certificate: Any) -> AbstractContextManager[Any]:
    if isinstance(certificate, Proof):
        return nullcontext(certificate)
    if isinstance(certificate, (str, os.PathLike)):
        from pydual.audit.exact_file import open_proof

        if is_chain(certificate):
            raise CertificateError(f"{certificate} is the certificate of a chain; say which models it trusts (pydual.chain).")
        return open_proof(certificate)
    proof = getattr(certificate, "certificate", None)
    if not isinstance(proof, Proof):
        kind = type(certificate).__name__
        raise InputError(f"There is no certificate to audit in a {kind}; give a Certificate, a Proof or the path of a file.")
    return nullcontext(proof)


def _down(margin: Any) -> float:
    """The largest float64 not above an exact margin."""
    from pydual.region import round_down

    return margin if isinstance(margin, float) else round_down(margin)
