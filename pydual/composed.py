"""Solving composed questions lemma by lemma."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pydual.attack.lift import Lifter
from pydual.audit import EXACT, ROUNDED
from pydual.certificate import Proof
from pydual.chain_file import ChainProof
from pydual.network import Network
from pydual.outcome import Attack, Bracket, Certificate, Outcome, Unknown
from pydual.query import Composed, Lemma, pose

Ask = Callable[[Lemma, float | None], Outcome]  # a lemma and how many seconds it may take


def solve_lemmas(model: Network, checker: Composed, ask: Ask, timeout: float | None) -> Attack | Certificate | Unknown:
    """Ask for the lemmas in order. The first without a certificate ends it, in an attack on the model if that is one."""
    solving = _Solving(model, checker)
    for lemma in checker.lemmas(model):
        outcome = ask(lemma, None if timeout is None else max(timeout - solving.seconds, 1e-3))
        solving.outcomes[lemma.name] = outcome
        if not isinstance(outcome, Certificate):
            attack = solving.attack(outcome)
            return solving.unknown(lemma, outcome) if attack is None else attack
    return solving.certificate()


@dataclass
class _Solving:
    model: Network
    checker: Composed
    begin: float = field(default_factory=time.monotonic)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def certificate(self) -> Certificate:
        found = {name: outcome for name, outcome in self.outcomes.items() if isinstance(outcome, Certificate)}
        proofs = {name: outcome.certificate for name, outcome in found.items()}
        assert len(found) == len(self.outcomes) and all(isinstance(proof, Proof) for proof in proofs.values())
        last = list(found.values())[-1]
        level = EXACT if all(outcome.level == EXACT for outcome in found.values()) else ROUNDED
        return Certificate(
            certificate=ChainProof(proofs), margin=last.margin, level=level,  # type: ignore[arg-type]
            **self._common(Bracket(last.bracket.lower, np.inf)),
        )  # fmt: skip

    def attack(self, outcome: Outcome) -> Attack | None:
        """What was found for a lemma, if it is a catastrophe of the model, too."""
        question = self.checker.checker
        x = getattr(outcome, "x", None)
        size = self.model.input_size
        hit = None if x is None or len(x) < size else Lifter(pose(self.model, question)).lift(x[:size], question.region)
        if hit is None:
            return None
        return Attack(
            x=hit.x, y=hit.y, margin=hit.margin, replay=hit.replay, **self._common(Bracket(-np.inf, hit.margin))
        )  # fmt: skip

    def unknown(self, lemma: Lemma, outcome: Outcome) -> Unknown:
        if isinstance(outcome, Unknown):
            reason, advice = outcome.reason, f"That was at lemma '{lemma.name}' of the chain. {outcome.advice}"
        else:
            reason = f"lemma '{lemma.name}' of the chain {'does not hold' if isinstance(outcome, Attack) else 'is not proved'}"
            advice = "Give another tolerance, a better model to trust, or ask of the model alone."
        return Unknown(reason=reason, advice=advice, **self._common(Bracket(-np.inf, np.inf)))

    def _common(self, bracket: Bracket) -> dict[str, Any]:
        statistics = {"lemmas": {name: outcome.statistics for name, outcome in self.outcomes.items()}}
        systems = dict.fromkeys(outcome.proof_system for outcome in self.outcomes.values())
        return {
            "bracket": bracket,
            "proof_system": ", ".join(systems),
            "statistics": {**statistics, "seconds": {"total": self.seconds}},
            "trace": (),
        }
