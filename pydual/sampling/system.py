"""What a statistical proof system is: an estimate in place of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pydual.attack.lift import Hit, Lifter, round_into
from pydual.attack.replay import Replay
from pydual.checker import Checker
from pydual.errors import InputError
from pydual.network import Network
from pydual.outcome import Attack, Bracket, Statistical, Unknown
from pydual.query import Judge, Query, pose
from pydual.region import Region
from pydual.sampling.verdicts import Judging

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
    """A sampled catastrophe as an attack, if a replay of the model, rounded to its element type, confirms it.

    The condition is decided as in every attack; a black box, or a function that does not trace, is asked once more.
    """
    query = _posed(question)
    hit = _asked_again(question, x) if query is None else Lifter(query).lift(x, question.region)
    if hit is None:
        return None
    statistics = {"samples": samples, "seconds": {"total": question.elapsed()}}
    return Attack(
        bracket=Bracket(-np.inf, hit.margin), proof_system=system, statistics=statistics, trace=(),
        x=hit.x, y=hit.y, margin=hit.margin, replay=hit.replay,
    )  # fmt: skip


def _posed(question: Question) -> Query | None:
    if not isinstance(question.checker, (Checker, Judge)):
        return None
    try:
        return pose(question.model, question.checker)
    except InputError:
        if isinstance(question.checker, Judging):
            return None
        raise


def _asked_again(question: Question, x: np.ndarray) -> Hit | None:
    """What a black box, which has no margins, says of the replay."""
    rounded = round_into(x, question.region, question.model.element_type)
    if rounded is None or not question.region.contains(rounded):
        return None
    replay = Replay(question.model)
    y = replay.outputs(rounded)
    happens = bool(question.checker.judge(rounded[None, :], y[None, :])[0])
    return Hit(rounded, y, 0.0, replay.name) if happens else None


def out_of_time(question: Question, system: str, reason: str, done: str) -> Unknown:
    return Unknown(
        bracket=Bracket(-np.inf, np.inf), proof_system=system, statistics={"seconds": {"total": question.elapsed()}}, trace=(),
        reason=reason, advice=f"{done} Give more time, or ask for less.",
    )  # fmt: skip
