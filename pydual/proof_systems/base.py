"""What a proof system is: pure steps from a state to the next. The one loop, the one clock and the verdict are in solve.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from pydual.certificate import ProofTree
from pydual.problem import Problem


@dataclass(frozen=True, eq=False)
class Play:
    """A relaxed attack on one problem: the input, its value in the relaxation, and what every neuron does.

    ``y`` and ``z`` (neurons,) are the relaxed inputs and outputs of the ReLUs.
    """

    problem: Problem
    x: np.ndarray
    value: float
    y: np.ndarray
    z: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class State:
    """Where a proof system stands. Keys are the indices of problems.

    ``lower``: the best bound of each problem's worst margin, in floating point. ``trees``: finished proofs.
    ``plays``: the relaxed adversary's best play where a problem is open. ``candidates`` (points, inputs): inputs from
    the last step that may attack the real model. ``finished``: nothing is left to do. ``claim``: what an engine says that
    has no proof, for people to read. ``obstacle``: what could not be proved, if the proof system can name it.
    """

    problems: tuple[Problem, ...]
    lower: dict[int, float]
    trees: dict[int, ProofTree] = field(default_factory=dict)
    plays: dict[int, Play] = field(default_factory=dict)
    candidates: np.ndarray
    finished: bool = False
    statistics: dict[str, Any] = field(default_factory=dict)
    claim: str = ""
    obstacle: str = ""

    @property
    def proved(self) -> bool:
        """Whether every problem has a proof (not audited yet)."""
        return len(self.trees) == len(self.problems)

    @property
    def bound(self) -> float:
        """The prover's side of the bracket: the least bound over the problems."""
        return min(self.lower.values(), default=float("inf"))

    @property
    def relaxed_attack(self) -> Play | None:
        """The relaxed adversary's best play over the open problems."""
        return min(self.plays.values(), key=lambda play: play.value, default=None)

    def counting(self, **amounts: float) -> dict[str, Any]:
        """The statistics with these amounts added."""
        return {**self.statistics, **{name: self.statistics.get(name, 0) + n for name, n in amounts.items()}}


S = TypeVar("S", bound=State)


class ProofSystem(Protocol):
    """Options are frozen fields of the object; ``name`` is what outcomes report."""

    @property
    def name(self) -> str: ...

    @property
    def complete(self) -> bool:
        """Whether, given time, it decides: a play of it that is left over at the end is then not a verdict."""
        ...

    def init(self, problems: tuple[Problem, ...]) -> State: ...

    def step(self, state: Any, seconds: float) -> State:
        """A bounded amount of work; engines that can be given a time limit get ``seconds``. The old state is used up."""
        ...


def no_candidates(problems: Sequence[Problem]) -> np.ndarray:
    return np.zeros((0, problems[0].network.input_size if problems else 0))


def start(problems: tuple[Problem, ...]) -> State:
    """Nothing known yet."""
    return State(
        problems=problems,
        lower={problem.index: -np.inf for problem in problems},
        candidates=no_candidates(problems),
        finished=not problems,
    )


__all__ = ["Play", "ProofSystem", "State", "no_candidates", "replace", "start"]
