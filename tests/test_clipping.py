"""Cells clipped to where their lines leave room for a catastrophe: what is cut off, the proof of it, and what it decides."""

from __future__ import annotations

from itertools import product
from typing import Any

import activation_patterns
import numpy as np
import pytest

import pydual
from pydual import Attack, Certificate, Checker, Network
from pydual.audit import EXACT, ROUNDED, audit
from pydual.audit.query import query_digest
from pydual.certificate import INPUT_SPLIT, LEAF, Proof, ProofTree
from pydual.checker import Y
from pydual.problem import normalize
from pydual.proof_systems.base import resume, take_snapshot
from pydual.proof_systems.branch_and_bound import BranchAndBound
from pydual.proof_systems.input_splitting import InputSplitting
from pydual.proof_systems.neuron_splitting import NeuronSplitting
from pydual.region import Region
from pydual.relax.frame import group

# two margins, which are seldom low at once


def instance(seed: int, *hidden: int, above: float) -> tuple[Network, Checker]:
    """A random network on [-1, 1]^3 and two margins, which are lowered until the least of their greatest is ``above`` zero."""
    rng = np.random.default_rng(seed)
    sizes = (3, *hidden, 2)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    layers = [(rng.normal(size=(n, m)), 0.5 * rng.normal(size=n)) for m, n in pairs]
    network, region = Network.from_layers(layers), Region(-np.ones(3), np.ones(3))
    least = activation_patterns.true_minimum(network, Checker(region, (Y[0] <= 0) & (Y[1] <= 0)))
    layers[-1] = layers[-1][0], layers[-1][1] - least + above
    return Network.from_layers(layers), Checker(region, (Y[0] <= 0) & (Y[1] <= 0))


def clipped(network: Network, checker: Checker, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    (g,) = group(normalize(network, checker))
    low, high = (end[None, :].copy() for end in (checker.region.lower, checker.region.upper))
    result = g.program.core.bound_cells(g.core_margins, low, high, 1, clip_rounds=8, clip_share=0.02, clip_cut=0.02, **options)
    return g, result


@pytest.mark.parametrize("hidden", [(5,), (4, 4), (3, 3, 3)])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_cut_off_has_no_catastrophe(seed: int, hidden: tuple[int, ...]) -> None:
    """Part by part, against enumeration of activation patterns; here catastrophes exist."""
    network, checker = instance(seed, *hidden, above=-0.2)
    g, result = clipped(network, checker)
    lower, upper = checker.region.lower.copy(), checker.region.upper.copy()
    clips = {name: column.tolist() for name, column in result["clips"].items()}
    for index, t, first in zip(clips["input"], clips["threshold"], clips["keeps_first"], strict=True):
        assert lower[index] < t < upper[index]
        outer_lower, outer_upper = lower.copy(), upper.copy()
        (outer_lower if first else outer_upper)[index] = t
        outer = Region(outer_lower, outer_upper)
        assert activation_patterns.least_margin(network, outer, g.problems[0].margins) > 0
        (upper if first else lower)[index] = t
    np.testing.assert_array_equal(result["low"][0], lower)
    np.testing.assert_array_equal(result["high"][0], upper)
    assert (result["x"][0] >= lower - 1e-12).all() and (result["x"][0] <= upper + 1e-12).all()


def test_most_of_these_cells_are_clipped() -> None:
    counts = [len(clipped(*instance(seed, 5, above=-0.2))[1]["clips"]["cell"]) for seed in range(8)]
    assert sum(count > 0 for count in counts) >= 4
    assert all(len(clipped(*instance(seed, 5, above=-0.2), finish_unstable=0)[1]["clips"]["cell"]) == c
               for seed, c in enumerate(counts))  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_without_rounds_cells_are_left_as_they_are(seed: int) -> None:
    network, checker = instance(seed, 5, above=-0.2)
    (g,) = group(normalize(network, checker))
    low, high = checker.region.lower[None, :], checker.region.upper[None, :]
    result = g.program.core.bound_cells(g.core_margins, low, high, 1)
    assert len(result["clips"]["cell"]) == 0
    np.testing.assert_array_equal(result["low"], low)
    np.testing.assert_array_equal(result["high"], high)


# proofs


EAGER = InputSplitting(finish_unstable=0, clip_share=0.02, clip_cut=0.02)


def clips_in(tree: ProofTree) -> int:
    """Anchors that are split by an input: only clipped cells are."""
    return int(np.count_nonzero((tree.kind == INPUT_SPLIT) & (tree.anchor > 0)))


def proof_of(network: Network, checker: Checker, tree: ProofTree) -> Proof:
    return Proof.of(network.digest, query_digest(checker), (tree,))


@pytest.mark.parametrize("hidden", [(5,), (4, 4), (4, 4, 3)])
@pytest.mark.parametrize("seed", [0, 2, 3])
def test_both_audits_accept_a_clipped_tree(seed: int, hidden: tuple[int, ...]) -> None:
    network, checker = instance(seed, *hidden, above=0.05)
    outcome = pydual.solve(network, checker, EAGER, timeout=60)
    assert isinstance(outcome, Certificate)
    (tree,) = outcome.certificate.trees
    assert clips_in(tree) > 0
    for level in (ROUNDED, EXACT):
        assert 0 < audit(outcome, network, checker, level=level).margin <= 0.05 + 1e-7


def test_an_anchor_below_a_clip_is_needed_no_more_than_the_audit_says() -> None:
    """A clip's leaf has no anchor of its own: with the anchor of its cell taken away, its lines are others or none."""
    network, checker = instance(0, 5, above=0.05)
    outcome = pydual.solve(network, checker, EAGER, timeout=60)
    assert isinstance(outcome, Certificate)
    (tree,) = outcome.certificate.trees
    anchor = tree.anchor.copy()
    anchor[np.flatnonzero((tree.kind == INPUT_SPLIT) & (anchor > 0))] = 0
    forged = proof_of(network, checker, ProofTree(**{**vars(tree), "anchor": anchor}))
    for level in (ROUNDED, EXACT):
        with pytest.raises(pydual.CertificateError):
            audit(forged, network, checker, level=level)


@pytest.mark.parametrize("steps", [3, 5, 9])
def test_a_clipped_search_goes_on_from_its_partial_tree(steps: int) -> None:
    network, checker = instance(5, 8, 8, above=0.002)
    system = InputSplitting(batch=2, finish_unstable=0, clip_rounds=1, clip_share=0.02, clip_cut=0.02)
    problems = normalize(network, checker)
    state = system.init(problems)
    for _ in range(steps):
        state = system.step(state, np.inf)
    assert not state.finished
    saved = take_snapshot(system, state)
    ((_, partial),) = saved.partial.items()
    partial.check()
    state = resume(system, problems, saved)
    assert state.open_shares[0] < 1 and len(partial.anchored) > 0
    while not state.finished:
        state = system.step(state, np.inf)
    assert clips_in(state.trees[0]) > 0
    assert audit(proof_of(network, checker, state.trees[0]), network, checker, level=ROUNDED).margin > 0


# satisfiability


def random_clauses(rng: np.random.Generator, variables: int, clauses: int) -> np.ndarray:
    """Rows of -1, 0, 1: each clause has three literals."""
    rows = np.zeros((clauses, variables), dtype=int)
    for row in rows:
        row[rng.choice(variables, 3, replace=False)] = rng.choice([-1, 1], 3)
    return rows


def satisfiable(clauses: np.ndarray) -> bool:
    points = np.array(list(product((-1, 1), repeat=clauses.shape[1])), dtype=np.int8)
    return bool(((points @ clauses.T.astype(np.int8)) > -3).all(axis=1).any())


def encoded(clauses: np.ndarray) -> tuple[Network, Checker]:
    """On [0, 1]^n: y_0 is the number of clauses that a vertex falsifies, y_1 is 0 at vertices and positive elsewhere.

    A clause is ``max(1 - (number of true literals), 0)``, and ``x - max(2 x - 1, 0)`` is 0 at 0 and at 1 alone.
    """
    count, n = clauses.shape
    one = np.eye(n)
    matrix = np.vstack([-clauses, one, 2 * one])
    bias = np.concatenate([1.0 - (clauses < 0).sum(axis=1), np.zeros(n), -np.ones(n)])
    out = np.zeros((2, count + 2 * n))
    out[0, :count], out[1, count : count + n], out[1, count + n :] = 1, 1, -1
    network = Network.from_layers([(matrix, bias), (out, np.zeros(2))])
    return network, Checker(Region(np.zeros(n), np.ones(n)), (Y[0] <= 0) & (Y[1] <= 0))


@pytest.mark.parametrize("variables, clauses", [(12, 62), (14, 66), (16, 68)])
@pytest.mark.parametrize("seed", range(4))
def test_satisfiability(seed: int, variables: int, clauses: int) -> None:
    rows = random_clauses(np.random.default_rng(100 * seed + variables), variables, clauses)
    network, checker = encoded(rows)
    outcome = pydual.solve(network, checker, InputSplitting(), timeout=120)
    if satisfiable(rows):
        assert isinstance(outcome, Attack)
        signs = np.where(np.asarray(outcome.x) > 0.5, 1, -1)
        assert ((rows @ signs) > -3).all()
    else:
        assert isinstance(outcome, Certificate)
        assert audit(outcome, network, checker, level=EXACT).margin > 0


def test_both_answers_occur_among_the_formulas() -> None:
    found = {
        satisfiable(random_clauses(np.random.default_rng(100 * seed + n), n, m))
        for n, m in [(12, 62), (14, 66), (16, 68)]
        for seed in range(4)
    }
    assert found == {False, True}


def test_clipping_is_unit_propagation() -> None:
    """x_0, and x_i implies x_{i+1}, and not x_last: no split is needed."""
    n = 20
    rows = np.zeros((n + 1, n), dtype=int)
    rows[0, 0], rows[n, n - 1] = 1, -1
    for i in range(1, n):
        rows[i, i - 1], rows[i, i] = -1, 1
    network, checker = encoded(rows)
    outcome = pydual.solve(network, checker, InputSplitting(finish_unstable=0, clip_rounds=n + 1), timeout=60)
    assert isinstance(outcome, Certificate)
    (tree,) = outcome.certificate.trees
    inner = np.flatnonzero(tree.kind == INPUT_SPLIT)
    leaves = np.flatnonzero(tree.kind == LEAF)
    assert outcome.statistics["bab"]["cells"] == 1 and len(leaves) == len(inner) + 1


# the choice


CHOICES = [((60, 90, 2), True), ((60, 30, 2), False), ((60, 90, 90, 2), False), ((30, 9, 9, 2), True), ((784, 800, 10), False)]


@pytest.mark.parametrize("sizes, inputs", CHOICES)
def test_what_is_split(sizes: tuple[int, ...], inputs: bool) -> None:
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    network = Network.from_layers([(np.ones((n, m)), np.zeros(n)) for m, n in pairs])
    checker = Checker(Region(-np.ones(sizes[0]), np.ones(sizes[0])), Y[0] <= -1)
    splitting = BranchAndBound()._splitting(normalize(network, checker))
    assert isinstance(splitting, InputSplitting if inputs else NeuronSplitting)
