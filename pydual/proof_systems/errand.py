"""An errand: what a worker is sent out with, what it does there, and what it reports."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pydual.attack.search import Adversary, Effort, Find, may_polish
from pydual.certificate import ProofTree
from pydual.checker import Atom
from pydual.network import Network
from pydual.problem import Problem
from pydual.proof_systems.base import ProofSystem, State, no_candidates
from pydual.region import Region
from pydual.relax.engine import one_thread, single_threaded_blas

POLISH = Effort(8, 15)
CANDIDATES = 16


@dataclass(frozen=True, eq=False)
class Errand:
    """Problems of one network, each as (region, margins, index), for a proof system to work at for about ``seconds``.

    ``network`` is pickled: bytes are cheap to send and to compare, so that a worker unpickles and compiles a network once.
    An ``eager`` errand ends at the first input that looks like an attack. ``number`` keeps executors that take equal
    calls for one from giving the answer of an earlier try.
    """

    network: bytes
    system: ProofSystem
    questions: tuple[tuple[Region, tuple[Atom, ...], int], ...]
    seconds: float
    eager: bool
    number: int


@dataclass(frozen=True, eq=False)
class Report:
    """What became of an errand; keys are the indices of problems. ``finished``: in time, so that what has no tree has none.

    ``plays`` are those of the state, without the problem: x, value, y, z, spread. ``hit``: the first candidate looks like
    an attack.
    """

    finished: bool
    hit: bool
    trees: dict[int, ProofTree]
    lower: dict[int, float]
    plays: dict[int, tuple[np.ndarray, float, np.ndarray, np.ndarray, np.ndarray | None]]
    candidates: np.ndarray
    claim: str
    obstacle: str


def packed(network: Network) -> bytes:
    """The network as an errand carries it: without the model file, which only a replay needs."""
    return pickle.dumps(replace(network, onnx=None))


@lru_cache(maxsize=4)
def _unpacked(network: bytes) -> Network:
    return pickle.loads(network)


def run(errand: Errand) -> Report:
    """Go on the errand, in a worker, with one thread."""
    network = _unpacked(errand.network)
    problems = tuple(Problem(network, *question) for question in errand.questions)
    with single_threaded_blas(), one_thread():
        return search(errand.system, problems, errand.seconds, errand.eager)


def search(system: ProofSystem, problems: tuple[Problem, ...], seconds: float, eager: bool) -> Report:
    """Step until the proof system is finished or the time is up, with an eye on attacks. The clock is the worker's own."""
    begin = time.monotonic()

    def left() -> float:
        return seconds - (time.monotonic() - begin)

    adversary = Adversary(problems, 0, left)
    state, finds, looking = system.init(problems), list[Find](), 0.0
    while not state.finished and left() > 0 and not (eager and _hit(finds)):
        state = system.step(state, left())
        before = left()
        finds += _finds(adversary, state.candidates, polish=may_polish(looking, seconds - before))
        finds = sorted(finds, key=lambda find: find.margin)[:CANDIDATES]
        looking += before - left()
    return _report(state, finds, in_time=left() > 0)


def _hit(finds: list[Find]) -> bool:
    return bool(finds) and finds[0].margin <= 0


def _finds(adversary: Adversary, points: np.ndarray, polish: bool) -> list[Find]:
    if len(points) == 0:
        return []
    return adversary.evaluate(points) + (adversary.polish(points[:8], POLISH) if polish else [])


def _report(state: State, finds: list[Find], in_time: bool) -> Report:
    finds = [find for find in finds if find.problem.index not in state.trees]
    return Report(
        finished=state.proved or (state.finished and in_time),
        hit=_hit(finds),
        trees=state.trees,
        lower=state.lower,
        plays={index: (play.x, play.value, play.y, play.z, play.spread) for index, play in state.plays.items()},
        candidates=np.array([find.x for find in finds]) if finds else no_candidates(state.problems),
        claim=state.claim,
        obstacle=state.obstacle,
    )
