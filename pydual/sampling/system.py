"""What a statistical proof system is: an estimate in place of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pydual.attack.replay import Replay
from pydual.network import Network
from pydual.outcome import Attack, Bracket, Statistical, Unknown
from pydual.region import Region
from pydual.sampling.verdicts import catastrophes

BATCH = 4096


@dataclass(frozen=True, eq=False)
class Question:
    """``checker`` judges pairs of ``model``; ``left`` says how many seconds are left, ``lasts`` whether to go on."""

    model: Network
    checker: Any
    seed: int
    left: Callable[[], float]
    lasts: Callable[[], bool]
    elapsed: Callable[[], float]
    show: Callable[[float, float, float], None]

    @property
    def region(self) -> Region:
        return self.checker.region  # type: ignore[no-any-return]


@runtime_checkable
class StatisticalSystem(Protocol):
    """Beside the proof systems: what it says is never a proof."""

    @property
    def name(self) -> str: ...

    def estimate(self, question: Question) -> Statistical | Attack | Unknown: ...


def attack_at(question: Question, system: str, x: np.ndarray, samples: int) -> Attack | None:
    """A sampled catastrophe as an attack, if a replay of the model confirms it: a black box is asked once more."""
    if not question.region.contains(x):
        return None
    replay = Replay(question.model)
    y = replay.outputs(x)
    judge = getattr(question.checker, "judge", None)
    if judge is not None:
        happens = bool(np.asarray(judge(x[None, :], y[None, :]))[0])
    else:
        happens = bool(catastrophes(question.model, question.checker, x[None, :])[1][0])
    if not happens:
        return None
    statistics = {"samples": samples, "seconds": {"total": question.elapsed()}}
    return Attack(
        bracket=Bracket(-np.inf, 0.0), proof_system=system, statistics=statistics, trace=(),
        x=x, y=y, margin=0.0, replay=replay.name,
    )  # fmt: skip


def out_of_time(question: Question, system: str, reason: str, done: str) -> Unknown:
    return Unknown(
        bracket=Bracket(-np.inf, np.inf), proof_system=system, statistics={"seconds": {"total": question.elapsed()}}, trace=(),
        reason=reason, advice=f"{done} Give more time, or ask for less.",
    )  # fmt: skip
