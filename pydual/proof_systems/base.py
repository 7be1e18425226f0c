"""What a proof system is: pure steps from a state to the next. The one loop, the one clock and the verdict are in solve.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from pydual.certificate import ProofTree
from pydual.errors import UnsupportedError
from pydual.problem import Problem
from pydual.proof_systems.partial_tree import PartialTree


@dataclass(frozen=True, eq=False)
class Play:
    """A relaxed attack on one problem: the input, its value in the relaxation, and what every neuron does.

    ``y`` and ``z`` (neurons,) are the relaxed inputs and outputs of the ReLUs; of a pseudo-distribution their means, and then
    ``spread`` (neurons,) are the pseudo-standard deviations of the outputs, 0 for neurons that are not variables of it.
    ``draw``, of a generator and a number, then gives inputs (number, inputs) and outputs of neurons (number, neurons) of it.
    """

    problem: Problem
    x: np.ndarray
    value: float
    y: np.ndarray
    z: np.ndarray
    spread: np.ndarray | None = None
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class State:
    """Where a proof system stands. Keys are the indices of problems.

    ``lower``: the best bound of each problem's worst margin, in floating point. ``trees``: finished proofs.
    ``plays``: the relaxed adversary's best play where a problem is open. ``candidates`` (points, inputs): inputs from
    the last step that may attack the real model. ``finished``: nothing is left to do. ``claim``: what an engine says that
    has no proof, for people to read. ``obstacle``: what could not be proved, if the proof system can name it.
    ``open_shares``: how much of each problem's region is open, from 0 to 1; 1 where nothing is said.
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
    open_shares: dict[int, float] = field(default_factory=dict)

    @property
    def proved(self) -> bool:
        """Whether every problem has a proof (not audited yet)."""
        return len(self.trees) == len(self.problems)

    @property
    def bound(self) -> float:
        """The prover's side of the bracket: the least bound over the problems."""
        return min(self.lower.values(), default=float("inf"))

    @property
    def open_fraction(self) -> float:
        """The mean over the problems of the share that is open, 0 for proved ones."""
        shares = [0.0 if p.index in self.trees else self.open_shares.get(p.index, 1.0) for p in self.problems]
        return min(1.0, max(0.0, sum(shares) / max(len(shares), 1)))

    @property
    def relaxed_attack(self) -> Play | None:
        """The relaxed adversary's best play over the open problems."""
        return min(self.plays.values(), key=lambda play: play.value, default=None)

    def counting(self, **amounts: float) -> dict[str, Any]:
        """The statistics with these amounts added."""
        return {**self.statistics, **{name: self.statistics.get(name, 0) + n for name, n in amounts.items()}}


S = TypeVar("S", bound=State)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a search has found, by index of the problem: finished proofs, unfinished ones, bounds, and the least share of the
    region that was open (a search that begins anew with better intervals gives up its tree, not what that proved). All are
    hints.

    ``place`` says, from the outside in, which of its parts a proof system was at.
    """

    trees: dict[int, ProofTree] = field(default_factory=dict)
    partial: dict[int, PartialTree] = field(default_factory=dict)
    lower: dict[int, float] = field(default_factory=dict)
    open_shares: dict[int, float] = field(default_factory=dict)
    place: tuple[int, ...] = ()


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


@runtime_checkable
class Resumable(Protocol):
    """What a proof system offers beside ``ProofSystem`` if its search can go on from a snapshot."""

    def snapshot(self, state: Any) -> Snapshot:
        """What ``state``, which stays as it is, holds; to be taken between two steps."""
        ...

    def resume(self, problems: tuple[Problem, ...], snapshot: Snapshot) -> State:
        """Like ``init``, but knowing ``snapshot``. A tree in it that does not fit is left out, and its problem starts anew."""
        ...


def take_snapshot(system: ProofSystem, state: State) -> Snapshot:
    """What can be resumed from ``state``: finished proofs at least."""
    if isinstance(system, Resumable):
        return system.snapshot(state)
    return Snapshot(state.trees, {}, state.lower, state.open_shares)


def resume(system: ProofSystem, problems: tuple[Problem, ...], snapshot: Snapshot) -> State:
    """The search for ``problems`` from ``snapshot`` on; from the start where the proof system cannot resume."""
    return system.resume(problems, snapshot) if isinstance(system, Resumable) else system.init(problems)


def refuse_lists(problems: Sequence[Problem], name: str) -> None:
    """Raises UnsupportedError where a region is a list of points."""
    if any(problem.region.points is not None for problem in problems):
        raise UnsupportedError(f"The proof system '{name}' knows no lists of points; use 'enumeration' or 'auto'.")


def no_candidates(problems: Sequence[Problem]) -> np.ndarray:
    return np.zeros((0, problems[0].network.input_size if problems else 0))


def start(problems: tuple[Problem, ...], snapshot: Snapshot | None = None) -> State:
    """Nothing known yet, or what ``snapshot`` holds of proofs and bounds."""
    known = snapshot or Snapshot()
    trees = {p.index: known.trees[p.index] for p in problems if p.index in known.trees}
    return State(
        problems=problems,
        lower={problem.index: known.lower.get(problem.index, -np.inf) for problem in problems},
        trees=trees,
        candidates=no_candidates(problems),
        finished=len(trees) == len(problems),
        open_shares={i: share for i, share in known.open_shares.items() if i not in trees},
    )


__all__ = [
    "Play", "ProofSystem", "Resumable", "S", "Snapshot", "State", "no_candidates", "refuse_lists", "replace", "resume",
    "start", "take_snapshot",
]  # fmt: skip
