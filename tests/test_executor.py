"""Searches handed to executors: process pools, threads, Dask; workers that die; and proofs grafted from parts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import activation_patterns
import numpy as np
import pytest
from test_solve import LINE, confirm, layers

import pydual
from pydual import Attack, Certificate, Checker, InputError, Network, Region, RelaxedAttack, Unknown, X, Y
from pydual.audit.query import query_digest
from pydual.certificate import INPUT_SPLIT, Proof, ProofTree
from pydual.operators.primitives import GraphBuilder
from pydual.problem import normalize
from pydual.proof_systems import BranchAndBound, Crown, ProofSystem
from pydual.proof_systems.base import Snapshot
from pydual.proof_systems.grafting import Part, graft
from pydual.proof_systems.subtrees import Subtrees
from pydual.relax.engine import one_thread, single_threaded_blas, threads

SPAWN = multiprocessing.get_context("spawn")  # as on every platform; threads of the core and a fork do not mix
CUBE = Region(-np.ones(3), np.ones(3))


@dataclass(frozen=True)
class Wrapper:
    """A proof system that does something odd before a step of another one."""

    inner: ProofSystem = BranchAndBound()

    name = "bab"
    complete = True

    def init(self, problems: Any) -> Any:
        return self.inner.init(problems)

    def step(self, state: Any, seconds: float) -> Any:
        return state if self.refuses(state, seconds) else self.inner.step(state, seconds)

    def refuses(self, state: Any, seconds: float) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class OnlySmall(Wrapper):
    """Does not even begin with a cell of more than ``volume``, so that an executor has to cut it."""

    volume: float = 1.0

    def refuses(self, state: Any, seconds: float) -> bool:
        region = state.problems[0].region
        large = bool(np.prod(region.upper - region.lower) > self.volume)
        time.sleep(0.002 * large)
        return large


@dataclass(frozen=True)
class OnlyPatient(Wrapper):
    """Does nothing with less than so many seconds."""

    seconds: float = 0.1

    def refuses(self, state: Any, seconds: float) -> bool:
        if hurried := seconds < self.seconds:
            time.sleep(seconds)
        return hurried


@dataclass(frozen=True)
class Deadly(OnlySmall):
    """Kills the first process that comes to the inside of a search, unless it is the one that made this object."""

    grave: str = ""
    home: int = 0

    def refuses(self, state: Any, seconds: float) -> bool:
        if super().refuses(state, seconds):
            return True
        if os.getpid() != self.home and not os.path.exists(self.grave):
            Path(self.grave).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return False


class Raising(Executor):
    """No submission works."""

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("cannot schedule new futures after shutdown")


class Losing(Executor):
    """Every worker dies, or is called off."""

    def __init__(self, cancelled: bool) -> None:
        self.cancelled = cancelled

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        future: Future[Any] = Future()
        if self.cancelled:
            future.cancel()
        else:
            future.set_exception(OSError("the worker is gone"))
        return future


@cache
def question(gap: float, seed: int = 7) -> tuple[Network, Checker]:
    """A small random network, and a bound on its output that is ``gap`` away from the truth by enumeration."""
    network = layers(seed, 3, 7, 6, 1)
    greatest = 10 - activation_patterns.true_minimum(network, Checker(CUBE, Y[0] >= 10))
    return network, Checker(CUBE, Y[0] >= greatest + gap)


def spike(where: np.ndarray, width: float) -> Network:
    """``relu(1 - |x - where|_1 / width)``: nothing leads a search by gradients to it."""
    size = len(where)
    eye = np.eye(size)
    first = (np.vstack([eye, -eye]) / width, np.concatenate([-where, where]) / width)
    return Network.from_layers([first, (-np.ones((1, 2 * size)), [1.0]), ([[1.0]], [0.0])])


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=SPAWN) as executor:
        yield executor


def grafted(outcome: Any, network: Network, checker: Checker) -> Certificate:
    """A certificate, accepted by both audits, whose tree begins with a cut of the driver."""
    assert isinstance(outcome, Certificate), outcome
    confirm(outcome, network, checker)
    assert outcome.certificate.trees[0].kind[0] == INPUT_SPLIT
    return outcome


# verdicts


@pytest.mark.parametrize("seed", [7, 8])
def test_parts_from_a_process_pool_make_one_certificate(pool: Executor, seed: int) -> None:
    network, checker = question(0.02, seed)
    assert isinstance(pydual.solve(network, checker), Certificate)
    outcome = pydual.solve(network, checker, Subtrees(OnlySmall(), pool, seconds=0.02))
    grafted(outcome, network, checker)
    assert outcome.statistics["bab"]["tasks"] >= 9  # a volume of 8 in cells of at most 1, and the whole before
    assert outcome.statistics["bab"]["lost"] == 0


def test_an_executor_as_argument(pool: Executor) -> None:
    network, checker = question(0.02)
    outcome = pydual.solve(network, checker, executor=pool)
    assert isinstance(outcome, Certificate) and outcome.proof_system == "auto"
    assert outcome.statistics["auto"]["tasks"] >= 1
    confirm(outcome, network, checker)


@pytest.mark.parametrize("system", [BranchAndBound(), OnlySmall(volume=0.5)], ids=["whole", "cut"])
def test_a_worker_finds_an_attack(pool: Executor, system: ProofSystem) -> None:
    network = spike(np.array([0.3, -0.7, 0.4]), 0.01)
    checker = Checker(CUBE, Y[0] >= 0.5)
    outcome = pydual.solve(network, checker, Subtrees(system, pool, seconds=0.02))
    assert isinstance(outcome, Attack)
    confirm(outcome, network, checker)
    assert outcome.statistics["bab"]["tasks"] >= 1  # the search before it found nothing


def test_every_problem_is_a_task(pool: Executor) -> None:
    network, checker = question(0.02)
    bound = checker.catastrophe
    several = Checker(CUBE, ((X[0] <= 0) & bound) | ((X[0] >= 0) & bound) | (Y[0] >= 50))
    outcome = pydual.solve(network, several, executor=pool)
    assert isinstance(outcome, Certificate) and len(outcome.certificate.trees) == 3
    assert outcome.statistics["auto"]["tasks"] >= 3
    confirm(outcome, network, several)


def test_more_problems_than_tasks_are_dealt_out(pool: Executor) -> None:
    network, checker = question(0.02)
    condition = checker.catastrophe
    for k in range(9):
        condition = condition | (Y[0] >= 20 + k)
    several = Checker(CUBE, condition)
    outcome = pydual.solve(network, several, Subtrees(OnlyPatient(seconds=0.06), pool, width=2, seconds=0.02))
    assert isinstance(outcome, Certificate) and len(outcome.certificate.trees) == 10
    confirm(outcome, network, several)


def test_many_inputs_get_more_time_instead_of_cuts(pool: Executor) -> None:
    network, checker = question(0.02)
    outcome = pydual.solve(network, checker, Subtrees(OnlyPatient(), pool, seconds=0.03, few_inputs=2))
    assert isinstance(outcome, Certificate)
    assert outcome.statistics["bab"]["tasks"] >= 2  # 0.03 s are not enough
    confirm(outcome, network, checker)


def test_an_incomplete_proof_system_answers_as_without(pool: Executor) -> None:
    network, checker = question(0.02)
    alone, outcome = pydual.solve(network, checker, "crown"), pydual.solve(network, checker, "crown", executor=pool)
    assert isinstance(alone, RelaxedAttack) and isinstance(outcome, RelaxedAttack)
    assert outcome.value == pytest.approx(alone.value, rel=1e-9) and outcome.cheats
    confirm(outcome, network, checker)


def test_a_margin_of_zero_ends_without_a_verdict() -> None:
    """|x| < 0 nowhere, but no bound is positive: every part is given up."""
    network = Network.from_layers([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])])
    with ThreadPoolExecutor(2) as executor:
        outcome = pydual.solve(network, Checker(LINE, Y[0] < 0), BranchAndBound(split="input"), executor=executor)
    assert isinstance(outcome, Unknown) and outcome.reason != "timeout"


def test_the_timeout_counts(pool: Executor) -> None:
    network, checker = question(0.02)
    outcome = pydual.solve(network, checker, Subtrees(OnlyPatient(seconds=1e9), pool, seconds=0.02), timeout=0.5)
    assert isinstance(outcome, Unknown) and outcome.reason == "timeout"


def test_a_checkpoint_keeps_proved_problems_and_open_shares_are_those_of_parts() -> None:
    network, checker = question(0.02)
    several = Checker(CUBE, checker.catastrophe | (Y[0] >= 50))
    problems = normalize(network, several)
    with ThreadPoolExecutor(1) as executor:
        system = Subtrees(OnlySmall(), executor, seconds=0.02)
        state, shares = system.init(problems), []
        while not state.finished:
            state = system.step(state, np.inf)
            shares.append(state.open_fraction)
        assert shares == sorted(shares, reverse=True) and shares[-1] == 0 and any(0 < share < 0.5 for share in shares)
        resumed = system.resume(problems, system.snapshot(state))
        assert resumed.finished and resumed.proved and not resumed.tasks
        half = Snapshot({0: state.trees[0]})
        assert [part.problem.index for task in system.resume(problems, half).tasks for part in task.parts] == [1]


def test_threads() -> None:
    network, checker = question(0.02)
    with ThreadPoolExecutor(2) as executor:
        outcome = pydual.solve(network, checker, Subtrees(OnlySmall(), executor, seconds=0.02))
    grafted(outcome, network, checker)


# workers that are lost


def test_a_killed_worker_breaks_the_pool_but_not_the_proof(tmp_path: Path) -> None:
    network, checker = question(0.02)
    system = Deadly(grave=str(tmp_path / "grave"), home=os.getpid())
    with ProcessPoolExecutor(2, mp_context=SPAWN) as executor:
        outcome = pydual.solve(network, checker, Subtrees(system, executor, seconds=0.02))
    assert (tmp_path / "grave").exists()
    grafted(outcome, network, checker)
    assert outcome.statistics["bab"]["lost"] >= 1 and outcome.statistics["bab"]["inline"] >= 1


@pytest.mark.parametrize("executor", [Raising(), Losing(False), Losing(True)], ids=["raises", "loses", "cancels"])
def test_without_any_worker_the_work_is_done_here(executor: Executor) -> None:
    network, checker = question(0.02)
    outcome = pydual.solve(network, checker, Subtrees(OnlySmall(), executor, seconds=0.02))
    grafted(outcome, network, checker)
    assert outcome.statistics["bab"]["inline"] == outcome.statistics["bab"]["tasks"] >= 9


def test_what_cannot_be_pickled_is_done_here(pool: Executor) -> None:
    @dataclass(frozen=True)
    class Local(OnlySmall):
        pass

    network, checker = question(0.02)
    grafted(pydual.solve(network, checker, Subtrees(Local(), pool, seconds=0.02)), network, checker)


def test_dask_with_a_killed_worker(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    network, checker = question(0.02)
    system = Deadly(grave=str(tmp_path / "grave"), home=os.getpid())
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(tmp_path)
    )
    with cluster, distributed.Client(cluster) as client:
        workers = set(client.run(os.getpid).values())
        assert len(workers) == 2 and os.getpid() not in workers
        outcome = pydual.solve(network, checker, Subtrees(system, client.get_executor(), seconds=0.02))
        assert int((tmp_path / "grave").read_text()) in workers
    grafted(outcome, network, checker)
    assert outcome.statistics["bab"]["inline"] == 0  # another worker did it


# what is not usable


def test_an_input_error_of_a_worker_is_ours(pool: Executor) -> None:
    graph = GraphBuilder((1,))
    network = Network.from_graph(graph, graph.curve(graph.input, "sigmoid"))
    with pytest.raises(InputError, match="sdp"):
        pydual.solve(network, Checker(LINE, Y[0] >= 2), "sdp", executor=pool)


def test_the_executor_must_be_one() -> None:
    with pytest.raises(InputError, match="executor"):
        pydual.solve(*question(0.02), executor=2)  # type: ignore[arg-type]


# grafting


def proved(part: Part, system: ProofSystem) -> None:
    state = system.init((part.problem,))
    while not state.finished:
        state = system.step(state, np.inf)
    part.tree = state.trees[part.problem.index]


@pytest.mark.parametrize("seed", range(6))
def test_trees_of_different_kinds_become_one(seed: int) -> None:
    """Slopes in units of 1/128, in single precision, and by rule; each tree lists neurons of its own."""
    network, checker = question(0.05, seed)
    root = Part(normalize(network, checker)[0])
    left, right = root.cut(seed % 3, 0.125)
    systems = (BranchAndBound(split="input"), BranchAndBound(split="neuron"), BranchAndBound(bound=Crown(), split="input"))
    third, fourth = left.cut((seed + 1) % 3, -0.25)
    for part, system in zip((third, right, fourth), systems, strict=True):
        proved(part, system)
    proof = Proof.of(network.digest, query_digest(checker), (graft(root),))
    for level in ("exact", "rounded"):
        assert pydual.audit(proof, network, checker, level=level).margin > 0


def test_a_missing_part_is_no_proof() -> None:
    """What grafting makes is audited like every proof: a half proved by the other half's tree is rejected."""
    network, checker = question(0.02)
    root = Part(normalize(network, checker)[0])
    left, right = root.cut(0, 0.5)
    proved(right, BranchAndBound())
    left.tree = right.tree
    with pytest.raises(pydual.CertificateError):
        pydual.audit(Proof.of(network.digest, query_digest(checker), (graft(root),)), network, checker, level="exact")


def leaf_with_slopes(slopes: np.ndarray, neurons: list[int]) -> ProofTree:
    """A tree of one leaf with one row of slopes."""
    one = np.ones(1, dtype=np.uint8)
    numbers = np.array(neurons, dtype=np.int32)
    return ProofTree(0 * one, np.zeros(0, np.int32), np.zeros(0), one, np.zeros(1, np.int32), slopes[None, :], numbers,
                     np.ones((1, 1)), np.zeros(0))  # fmt: skip


def test_a_stable_neuron_keeps_its_slope_in_wider_rows() -> None:
    """A neuron that only the other half lists is stable: slope 1 if it is active in this half, else 0."""
    network = Network.from_layers([([[1.0], [1.0], [-1.0]], [0.0, -0.5, -0.5]), ([[1.0, 1.0, 1.0]], [0.0])])
    checker = Checker(LINE, Y[0] <= -1)
    root = Part(normalize(network, checker)[0])
    left, right = root.cut(0, 0.0)
    left.tree = leaf_with_slopes(np.array([32, 64], dtype=np.uint8), [0, 2])
    right.tree = leaf_with_slopes(np.array([0.75], dtype=np.float32), [1])
    whole = graft(root)
    assert whole.slope_neurons.tolist() == [0, 1, 2] and whole.slopes.dtype == np.float32
    assert whole.slopes.tolist() == [[0.25, 0.0, 0.5], [1.0, 0.75, 0.0]]
    assert whole.lines.tolist() == [0, 1] and whole.threshold.tolist() == [0.0]
    assert pydual.audit(Proof.of(network.digest, query_digest(checker), (whole,)), network, checker).margin > 0


# threads of the core


def test_one_thread_is_for_the_present_thread() -> None:
    found: list[int] = []
    with one_thread():
        assert threads() == 1
        other = threading.Thread(target=lambda: found.append(threads()))
        other.start()
        other.join()
    assert found == [threads()]


def test_the_limit_of_blas_is_lifted_by_the_last_who_leaves() -> None:
    from threadpoolctl import threadpool_info, threadpool_limits

    def limits() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(limits=2, user_api="blas"):
        before = limits()  # a library that was built for one thread stays at 1
        first, second = single_threaded_blas(), single_threaded_blas()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(limits()) == {1}
        second.__exit__(None, None, None)
        assert limits() == before
