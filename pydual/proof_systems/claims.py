"""What a solver claims without a proof: another search proves it, and the certificate is of that search."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydual.problem import Problem
from pydual.proof_systems.base import ProofSystem, State


@dataclass(frozen=True, eq=False, kw_only=True)
class ClaimState(State):
    """``claimed``: problems on which the solver found no attack; ``proving``: where the search for their proofs stands."""

    claimed: tuple[Problem, ...] = ()
    proving: State | None = field(default=None)


C = TypeVar("C", bound=ClaimState)


def prove_claims(proof: ProofSystem, state: C, seconds: float) -> C:
    """A step of ``proof`` at all claims; its own claims and obstacles are not those of the solver."""
    proving = proof.step(state.proving or proof.init(state.claimed), seconds)
    return replace(
        state,
        proving=proving,
        trees={**state.trees, **proving.trees},
        candidates=proving.candidates,
        finished=proving.finished,
        statistics={**state.statistics, proof.name: proving.statistics},
    )
