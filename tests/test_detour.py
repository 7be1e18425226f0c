"""Branch and bound with a detour: right whenever the detour begins, and wherever the search is saved."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from activation_patterns import true_minimum
from test_proof_systems import box, layers

import pydual
from pydual.audit import audit
from pydual.audit.query import query_digest
from pydual.certificate import GRAM_LEAF, Proof
from pydual.checker import Checker, Y
from pydual.network import Network
from pydual.problem import normalize
from pydual.proof_systems import SDP, BranchAndBound, detour
from pydual.proof_systems.base import State, resume, take_snapshot
from pydual.proof_systems.detour import AFTER, AWAY, BEFORE, Detour
from pydual.proof_systems.detour import OVER as OVER_PART

OVER = BranchAndBound(bound=SDP(), split="neuron", batch=2)
SYSTEM = Detour(BranchAndBound(split="neuron", batch=1), SDP, lambda: OVER)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests have small searches."""
    monkeypatch.setattr(detour, "SHORTEST", 0)
    monkeypatch.setattr(detour, "FEW_INPUTS", 0)


@cache
def difference(seed: int) -> tuple[Network, float]:
    """A network, and by how much its first output stays above the second (by enumeration)."""
    network = layers(seed, 3, 8, 8, 2)
    return network, true_minimum(network, Checker(box(3), Y[0] <= Y[1]))


def case(seed: int, margin: float) -> tuple[Network, Checker]:
    """A question whose worst margin is ``margin``."""
    network, least = difference(seed)
    return network, Checker(box(3), Y[0] <= Y[1] + least - margin)


def steps(state: State) -> list[State]:
    states = [state]
    while not states[-1].finished:
        states.append(SYSTEM.step(states[-1], 60.0))
    return states


@pytest.mark.parametrize("nodes", [1, 10, np.inf])
@pytest.mark.parametrize("seed", range(2))
def test_verdicts_are_right_whenever_the_detour_begins(seed: int, nodes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detour, "_nodes_worth_a_climb", lambda problems: nodes)
    network, checker = case(seed, 0.05)
    outcome = pydual.solve(network, checker, SYSTEM)
    assert isinstance(outcome, pydual.Certificate)
    assert 0 < outcome.margin <= 0.05 + 1e-9
    network, checker = case(seed, -0.05)
    assert isinstance(pydual.solve(network, checker, SYSTEM), pydual.Attack)


def test_a_detour_closes_what_it_proves(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a large margin the relaxation of degree 2 proves everything at the root, however many cells the search had."""
    monkeypatch.setattr(detour, "_nodes_worth_a_climb", lambda problems: 3)
    monkeypatch.setattr(BranchAndBound, "_neurons", lambda self, ball: Loose())
    network, checker = case(0, 20.0)
    states = steps(SYSTEM.init(normalize(network, checker)))
    assert states[-1].proved


class Loose:
    """A search that never ends and never proves anything."""

    name, complete = "loose", True

    def init(self, problems: tuple) -> State:
        return State(
            problems=problems, lower={p.index: -np.inf for p in problems}, candidates=np.zeros((0, 3)), statistics={"nodes": 0}
        )

    def step(self, state: State, seconds: float) -> State:
        return State(**{**vars(state), "statistics": {"nodes": state.statistics["nodes"] + 1}})


@pytest.mark.parametrize("seed", range(2))
def test_a_search_goes_on_from_every_step(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detour, "_nodes_worth_a_climb", lambda problems: 4)
    network, checker = case(seed, 0.02)
    problems = normalize(network, checker)
    states = [SYSTEM.init(problems)]
    parts, snapshots = set(), []
    while not states[-1].finished and len(snapshots) < 40:
        parts.add(states[-1].part)
        snapshots.append(take_snapshot(SYSTEM, states[-1]))
        states.append(SYSTEM.step(states[-1], 60.0))
    assert BEFORE in parts
    for snapshot in snapshots[:: max(1, len(snapshots) // 5)]:
        state = resume(SYSTEM, problems, snapshot)
        while not state.finished:
            state = SYSTEM.step(state, 60.0)
        assert state.proved
        trees = tuple(state.trees[p.index] for p in problems)
        proof = Proof.of(network.digest, query_digest(checker), trees)
        assert 0 < audit(proof, network, checker, level="rounded").margin <= 0.02 + 1e-9


@pytest.mark.parametrize(("nodes", "part"), [(1, OVER_PART), (30, AFTER)])
def test_the_better_search_goes_on(nodes: int, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A margin so small that the relaxation proves nothing at the root: early, its bound is the better one, and later not."""
    monkeypatch.setattr(detour, "_nodes_worth_a_climb", lambda problems: nodes)
    for seed in range(20):
        network, checker = case(seed, 1e-3)
        state = SYSTEM.init(normalize(network, checker))
        parts = [state.part]
        while not state.finished:
            state = SYSTEM.step(state, 60.0)
            parts.append(state.part)
        assert state.proved
        if part in parts:
            assert sorted(parts) == parts and AWAY in parts
            return
    pytest.fail("no detour ended like this")


def test_gram_leaves_are_in_the_proof() -> None:
    """Where the detour settles a problem, its proof is one Gram leaf."""
    for seed in range(20):
        network, checker = case(seed, 0.3)
        outcome = pydual.solve(network, checker, SDP())
        if isinstance(outcome, pydual.Certificate) and GRAM_LEAF in outcome.certificate.trees[0].kind:
            assert outcome.certificate.leaves == 1
            return
    pytest.fail("no certificate had a Gram leaf")
