"""The proof system sdp: bounds between linear ones and the truth, certificates, attacks by rounding, its place in trees.

The truth is enumerated (activation_patterns) or comes from points; nothing from another prover.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path as File
from typing import Any

import activation_patterns
import numpy as np
import pytest
import random_instances as instances
from cases import Case
from interrupting import Stopping
from test_gram_dual import ball, box, convolution, layers, points, residual
from test_solve import confirm

import pydual
from pydual import Attack, Certificate, Checker, Network, Region, RelaxedAttack, Unknown, UnsupportedError, X, Y
from pydual.attack.search import QUICK, Adversary
from pydual.audit import EXACT, ROUNDED, audit
from pydual.audit.query import query_digest
from pydual.certificate import GRAM_LEAF, INPUT_SPLIT, NEURON_SPLIT, Proof, load_proof
from pydual.operators.primitives import GraphBuilder
from pydual.problem import normalize
from pydual.proof_systems import SDP, AlphaCrown, BranchAndBound
from pydual.proof_systems.base import ProofSystem, State
from pydual.proof_systems.climb import Path
from pydual.proof_systems.grafting import Part, graft
from pydual.region import Ball
from pydual.relax.engine import single_threaded_blas

NOISE = 1e-7
NEARER = SDP(path=Path(last=1e-4))
IN_TREES = BranchAndBound(bound=SDP(), split="neuron")
BOTH = (Y[0] - Y[1] <= 0) & (Y[0] + Y[1] <= Fraction(1, 10))
L1_BALL = Region(-np.ones(3), np.ones(3), Ball(np.full(3, 0.1), 1.0, "l1"))

CASES = {
    "one layer": lambda: Case(layers(1, 3, 8, 2), Checker(box(3), Y[0] <= Y[1])),
    "two layers": lambda: Case(layers(2, 4, 6, 5, 2), Checker(box(4), Y[0] <= Y[1])),
    "four layers": lambda: Case(layers(3, 3, 4, 4, 4, 4, 2), Checker(box(3, 0.8), Y[0] <= Y[1])),
    "many inputs": lambda: Case(layers(4, 9, 6, 2), Checker(box(9, 0.5), Y[0] <= Y[1])),
    "residual": lambda: Case(residual(5), Checker(box(3), Y[0] <= Y[1])),
    "conjunction": lambda: Case(layers(7, 3, 6, 4, 2), Checker(box(3), BOTH)),
    "conjunction, residual": lambda: Case(residual(8), Checker(box(3), BOTH)),
    "disjunction": lambda: Case(layers(9, 3, 6, 4, 3), Checker(box(3, 0.7), (Y[0] <= Y[1]) | (Y[0] <= Y[2]))),
    "inputs and outputs": lambda: Case(layers(10, 3, 7, 2), Checker(box(3), Y[0] - 2 * X[1] + X[2] <= Y[1] / 3)),
    "an input that is fixed": lambda: Case(
        layers(11, 4, 6, 2), Checker(Region([-1, 0.5, -1, -1], [1, 0.5, 1, 1]), Y[0] <= Y[1])
    ),
    "l1 ball": lambda: Case(layers(12, 3, 7, 2), Checker(L1_BALL, Y[0] <= Y[1])),
}  # fmt: skip
SAMPLED = {  # no enumeration, as of balls, or too slow a one
    "convolution": lambda: Case(convolution(6), Checker(box(8, 0.2), Y[0] <= Y[1])),
    "l2 ball": lambda: Case(layers(21, 5, 8, 4, 2), Checker(ball(5, 0.9), Y[0] <= Y[1])),
    "l2 ball, two margins": lambda: Case(residual(22), Checker(ball(3, 0.7), BOTH)),
    "l2 ball, convolution": lambda: Case(convolution(23), Checker(ball(8, 0.8), Y[0] <= Y[1])),
}


@cache
def case(name: str) -> Case:
    return {**CASES, **SAMPLED}[name]()


@cache
def bounds(name: str, system: ProofSystem) -> dict[int, float]:
    """Of each problem alone: the first that stays open ends the game of all."""
    return {problem.index: run(system, (problem,)).lower[problem.index] for problem in case(name).problems}


def run(system: ProofSystem, problems: Any) -> State:
    state = system.init(problems)
    for _ in range(1000):
        if state.finished:
            return state
        state = system.step(state, np.inf)
    raise AssertionError("the search does not end")


def sampled(case: Case) -> float:
    """The least, over problems and points, of the worst margin."""
    least = np.inf
    for problem in case.problems:
        x = points(problem.region, np.random.default_rng(0), 20_000)
        y = case.network.evaluate(x)
        values = [
            float(a.margin.constant) + sum(float(c) * x[:, i] for i, c in a.margin.x.items())
            + sum(float(c) * y[:, j] for j, c in a.margin.y.items())
            for a in problem.margins
        ]  # fmt: skip
        least = min(least, float(np.max(values, axis=0).min()))
    return least


def has_kind(proof: Proof, kind: int) -> bool:
    return any((tree.kind == kind).any() for tree in proof.trees)


# bounds


@pytest.mark.parametrize("name", CASES)
def test_the_bound_lies_between_the_linear_one_and_the_truth(name: str) -> None:
    linear, climbed = bounds(name, AlphaCrown(steps=60, rate=0.1)), bounds(name, SDP(refine_steps=0))
    for problem in case(name).problems:
        true = activation_patterns.least_margin(problem.network, problem.region, problem.margins)
        assert linear[problem.index] - NOISE <= climbed[problem.index] <= true + NOISE


@pytest.mark.parametrize("name", SAMPLED)
def test_where_nothing_is_enumerated_it_lies_between_the_linear_one_and_the_network(name: str) -> None:
    linear, climbed = bounds(name, AlphaCrown(steps=60, rate=0.1)), bounds(name, SDP(refine_steps=0))
    for index, bound in climbed.items():
        assert linear[index] - NOISE <= bound
    assert min(climbed.values()) <= sampled(case(name)) + NOISE


def test_it_is_better_than_linear_bounds_in_most_cases() -> None:
    names = [*CASES, *SAMPLED]
    better = [min(bounds(n, SDP()).values()) > min(bounds(n, AlphaCrown()).values()) + 1e-3 for n in names]
    assert sum(better) >= 0.6 * len(names)


def test_in_deep_networks_intervals_by_cases_bring_it_nearer_to_the_truth() -> None:
    """Five layers: a third of the way to the least value at points, at least, and proofs hold."""
    shares = []
    for seed in range(4):
        of = Case(layers(50 + seed, 6, 12, 12, 12, 12, 12, 1), Checker(box(6, 0.3), Y[0] <= 0))
        true = sampled(of)
        (wide,), (narrow,) = (run(system, of.problems).lower.values() for system in (SDP(cases=1), SDP(few=0)))
        assert narrow <= true + NOISE
        shares.append((narrow - wide) / (true - wide))
        harder = of.raised(0.02 - narrow)
        proof = Proof.of(of.network.digest, query_digest(harder.checker), (run(SDP(few=0), harder.problems).trees[0],))
        assert audit(proof, of.network, harder.checker, level=ROUNDED).margin > 0
    assert float(np.mean(shares)) > 1 / 3


# certificates


def test_what_it_claims_with_nearly_singular_matrices_is_audited() -> None:
    """One neuron is positive by 0.001 at most, so multipliers become huge; thresholds about the best that can be proved."""
    rng = np.random.default_rng([18, 2, 4, 4])
    shape = (2, 4, 4, 1)
    pairs = zip(shape, shape[1:], strict=False)
    network = Network.from_layers([(rng.normal(size=(n, m)) * np.sqrt(2 / m), 0.3 * rng.normal(size=n)) for m, n in pairs])
    system, proved = SDP(path=Path(last=1e-4, flatness=1e-4, cuts=4, rounds=4)), 0
    for threshold in np.linspace(-0.5011, -0.4951, 13):
        checker = Checker(Region(-np.ones(2), np.ones(2)), Y[0] <= Fraction(threshold))
        problems = normalize(network, checker)
        state = system.init(problems)
        with single_threaded_blas():
            while not state.finished:
                state = system.step(state, np.inf)
        if state.proved:
            proof = Proof.of(network.digest, query_digest(checker), tuple(state.trees[p.index] for p in problems))
            assert audit(proof, network, checker, level=EXACT).margin >= 0
            proved += 1
    assert proved


@pytest.mark.parametrize("name", [*CASES, *SAMPLED])
def test_audits_accept_what_it_proves_and_its_margin(name: str, tmp_path: File) -> None:
    """Raised so that the bound just is positive, and linear bounds are not."""
    least = min(bounds(name, SDP()).values())
    harder = case(name).raised(0.02 - least)
    state = run(SDP(), harder.problems)
    assert state.proved
    proof = Proof.of(harder.network.digest, query_digest(harder.checker), tuple(state.trees[p.index] for p in harder.problems))
    assert has_kind(proof, GRAM_LEAF) == (state.statistics["climbs"] > 0)
    proof.save(tmp_path / "proof")
    loaded = load_proof(tmp_path / "proof")
    true = activation_patterns.true_minimum(harder.network, harder.checker) if name in CASES else sampled(harder)
    margins = [audit(p, harder.network, harder.checker, level=a).margin for p in (proof, loaded) for a in (EXACT, ROUNDED)]
    assert margins[0] == margins[2] and margins[1] == margins[3]
    for margin in margins:
        assert 0 < margin <= true + NOISE
        assert margin >= 0.99 * state.bound - 1e-9


def test_a_certificate_of_solve_is_saved_and_audited(tmp_path: File) -> None:
    harder = case("two layers").raised(0.05 - bounds("two layers", SDP())[0])
    outcome = pydual.solve(harder.network, harder.checker, "sdp")
    assert isinstance(outcome, Certificate) and outcome.proof_system == "sdp" and outcome.statistics["sdp"]["climbs"] == 1
    confirm(outcome, harder.network, harder.checker)
    outcome.save(tmp_path / "proof")
    assert pydual.audit(tmp_path / "proof", harder.network, harder.checker).margin == outcome.margin


def test_float32() -> None:
    real = layers(2, 4, 6, 5, 2)
    network = Network(real.primitives, real.output, real.input_shape, real.output_shape, "float32")
    harder = Case(network, case("two layers").checker).raised(0.05 - bounds("two layers", SDP())[0])
    outcome = pydual.solve(network, harder.checker, "sdp", arithmetic="float32")
    assert isinstance(outcome, Certificate) and outcome.arithmetic == "float32"
    assert has_kind(outcome.certificate, GRAM_LEAF)
    for level in (EXACT, ROUNDED):
        assert 0 < pydual.audit(outcome, network, harder.checker, level=level).margin <= sampled(harder)


@pytest.mark.parametrize("system", [SDP(), IN_TREES], ids=["sdp", "bab"])
def test_curves_are_refused(system: ProofSystem) -> None:
    graph = GraphBuilder((2,))
    network = Network.from_graph(graph, graph.curve(graph.input, "sigmoid"))
    with pytest.raises(UnsupportedError, match="sdp.*ReLU"):
        pydual.solve(network, Checker(box(2), Y[0] >= 2), system)


# in trees


def random_question(rng: np.random.Generator) -> tuple[Network, Checker]:
    """Of several shapes; over boxes and l1 balls, as only these are enumerated."""
    network = instances.random_network(rng, int(rng.integers(2, 4)), width=5)
    region = instances.random_region(rng, network.input_size)
    if region.ball is not None and region.ball.norm == "l2":
        region = Region(region.lower, region.upper)
    return network, instances.random_checker(rng, network, region)


def test_branch_and_bound_over_it_decides_as_enumeration_does() -> None:
    leaves = 0
    for seed in range(60):
        rng = np.random.default_rng(70_000 + seed)
        network, checker = random_question(rng) if seed % 3 else (layers(seed, 3, 5, 4, 2), Checker(box(3, 0.7), Y[0] <= Y[1]))
        true = activation_patterns.true_minimum(network, checker)
        if abs(true) < np.inf:  # nearer to zero: linear bounds prove little, and quick searches find few attacks
            checker = Case(network, checker).raised((0.02, -0.01)[seed % 2] - true).checker
            true = activation_patterns.true_minimum(network, checker)
        outcome = pydual.solve(network, checker, IN_TREES, timeout=60)
        confirm(outcome, network, checker)
        if abs(true) > 1e-3:
            assert isinstance(outcome, Certificate if true > 0 else Attack), (seed, true, outcome)
        leaves += isinstance(outcome, Certificate) and has_kind(outcome.certificate, GRAM_LEAF)
    assert leaves >= 3


def hard(seed: int, *sizes: int, gap: float) -> tuple[Network, Checker]:
    """Output 0 is at least ``gap`` times its spread above what the threshold is, at 20,000 points."""
    network = layers(seed, *sizes)
    values = network.evaluate(np.random.default_rng(0).uniform(-1, 1, (20_000, sizes[0])))[:, 0]
    return network, Checker(box(sizes[0]), Y[0] <= float(values.min() - gap * np.ptp(values)))


def test_a_tree_with_gram_leaves_goes_through_a_checkpoint(tmp_path: File) -> None:
    network, checker = hard(3, 6, 10, 10, 2, gap=0.02)
    system = replace(IN_TREES, batch=2)
    fresh = pydual.solve(network, checker, system)
    assert isinstance(fresh, Certificate) and has_kind(fresh.certificate, GRAM_LEAF)
    stopped = pydual.solve(network, checker, Stopping(system, 5), checkpoint=tmp_path / "c")
    assert isinstance(stopped, Unknown) and stopped.open_fraction is not None and stopped.open_fraction < 1
    resumed = pydual.solve(network, checker, system, checkpoint=tmp_path / "c")
    assert isinstance(resumed, Certificate)
    confirm(resumed, network, checker)
    assert has_kind(resumed.certificate, GRAM_LEAF) and has_kind(resumed.certificate, NEURON_SPLIT)
    assert resumed.statistics["resumed"]["closed_leaves"] > 0
    assert resumed.statistics["bab"]["nodes"] < fresh.statistics["bab"]["nodes"]


# executors


def parts(of: Case) -> tuple[Part, Part, Part, Part]:
    """The whole, and three cells."""
    root = Part(of.problems[0])
    left, right = root.cut(1, 0.25)
    return root, *left.cut(0, -0.5), right


def test_parts_proved_by_gram_leaves_become_one_tree() -> None:
    """The worst of three cells has only just a Gram leaf."""
    systems = (SDP(cases=1), replace(NEARER, cases=1), SDP(refine_steps=0))
    cells = parts(case("two layers"))[1:]
    least = min(run(system, (part.problem,)).bound for part, system in zip(cells, systems, strict=True))
    harder = case("two layers").raised(0.02 - least)
    root, *pieces = parts(harder)
    for part, system in zip(pieces, systems, strict=True):
        part.tree = run(system, (part.problem,)).trees[0]
    proof = Proof.of(harder.network.digest, query_digest(harder.checker), (graft(root),))
    assert has_kind(proof, GRAM_LEAF) and has_kind(proof, INPUT_SPLIT)
    for level in (EXACT, ROUNDED):
        assert audit(proof, harder.network, harder.checker, level=level).margin > 0


def test_an_executor_gives_the_same_verdicts() -> None:
    least = bounds("two layers", SDP())[0]
    safe, loose = case("two layers").raised(0.02 - least), case("two layers").raised(-0.02 - sampled(case("two layers")))
    with ThreadPoolExecutor(2) as executor:
        proved = pydual.solve(safe.network, safe.checker, "sdp", executor=executor)
        attacked = pydual.solve(loose.network, loose.checker, "sdp", executor=executor)
    assert isinstance(proved, Certificate) and isinstance(attacked, Attack)
    confirm(proved, safe.network, safe.checker)
    confirm(attacked, loose.network, loose.checker)


# the relaxed attack


def open_question(seed: int, above: float, *sizes: int) -> Case:
    """``above`` is what the network keeps, by enumeration."""
    network, region = layers(seed, *sizes), box(sizes[0], 0.7)
    true = activation_patterns.true_minimum(network, Checker(region, Y[0] <= Y[1]))
    return Case(network, Checker(region, Y[0] - Y[1] <= Fraction(true) - Fraction(above)))


def test_it_says_where_the_pseudo_distribution_cheats() -> None:
    question = open_question(0, 0.01, 3, 5, 4, 2)
    outcome = pydual.solve(question.network, question.checker, "sdp")
    assert isinstance(outcome, RelaxedAttack) and outcome.value < 0 < 0.0099 < outcome.lifted
    assert all(c.variance is not None and c.violation**2 == pytest.approx(c.error**2 + c.variance) for c in outcome.cheats)
    violations = [c.violation for c in outcome.cheats]
    assert violations == sorted(violations, reverse=True) and violations[0] > 0.1
    text = outcome.explain()
    assert "pseudo-standard deviation" in text and outcome.cheats[0].neuron in text
    assert "BranchAndBound(bound=SDP())" in text.splitlines()[-1]
    assert isinstance(pydual.solve(question.network, question.checker, IN_TREES), Certificate)


def test_linear_relaxations_have_no_variance_and_are_told_of_sdp() -> None:
    question = open_question(0, 0.01, 3, 5, 4, 2)
    outcome = pydual.solve(question.network, question.checker, "lp")
    assert isinstance(outcome, RelaxedAttack) and all(c.variance is None for c in outcome.cheats)
    assert "(sdp, bab)" in outcome.explain().splitlines()[-1]


@pytest.mark.parametrize("seed", [4, 10, 11, 12])
def test_where_the_moments_are_flat_the_optimum_is_extracted(seed: int) -> None:
    question = open_question(seed, 1e-6, 3, 5, 4, 2)
    outcome = pydual.solve(question.network, question.checker, NEARER)
    assert isinstance(outcome, RelaxedAttack) and "flat" in outcome.claim and outcome.claim in outcome.explain()
    at_mean = question.network.evaluate(outcome.x[None])[0]
    margin = float(question.checker.catastrophe.margin.constant) + at_mean[0] - at_mean[1]
    assert -1e-9 <= margin <= 5e-3, "the true minimum is 1e-6"
    assert -2e-3 <= outcome.value <= 1e-6


def test_far_from_flat_nothing_is_claimed() -> None:
    question = open_question(0, 1e-6, 3, 5, 4, 2)
    outcome = pydual.solve(question.network, question.checker, NEARER)
    assert isinstance(outcome, RelaxedAttack) and outcome.claim == ""


@pytest.mark.parametrize(("seed", "sizes"), [(0, (10, 12, 8, 2)), (22, (5, 16, 2)), (59, (20, 20, 2))])
def test_rounding_finds_attacks_that_a_quick_search_misses(seed: int, sizes: tuple[int, ...]) -> None:
    """The threshold is a tenth of the way up from the best of many starts to what the quick search reaches."""
    network, region = layers(seed, *sizes), box(sizes[0], 0.7)
    problems = normalize(network, Checker(region, Y[0] <= Y[1]))
    quick = Adversary(problems, 0).search(QUICK, goal=-np.inf)[0].margin
    best = Adversary(problems, 1).search(replace(QUICK, restarts=400, steps=60), goal=-np.inf)[0].margin
    assert best < quick - 0.01
    checker = Checker(region, Y[0] - Y[1] <= best + 0.1 * (quick - best))
    problems = normalize(network, checker)
    adversary = Adversary(problems, 0)
    assert adversary.search(QUICK)[0].margin > 0
    candidates = run(SDP(), problems).candidates
    assert 1 <= len(candidates) <= 8
    assert adversary.polish(candidates, replace(QUICK, restarts=8, steps=15))[0].margin <= 0
    outcome = pydual.solve(network, checker, "sdp")
    assert isinstance(outcome, Attack)
    confirm(outcome, network, checker)


def test_candidates_are_the_same_each_time() -> None:
    question = open_question(0, 0.01, 3, 5, 4, 2)
    first, second = (run(SDP(), question.problems).candidates for _ in range(2))
    assert len(first) == 8 and np.array_equal(first, second)


def test_rounding_with_cuts_uses_the_moments_of_the_tighter_relaxation() -> None:
    """Products that joined count: without them, the multipliers do not even have this pseudo-mean."""
    question = open_question(14, 1e-6, 3, 5, 4, 2)
    system = SDP(path=Path(cuts=4))
    state: Any = system.init(question.problems)
    while not state.finished:
        state = system.step(state, np.inf)
    climb = state.climbs[0]
    assert climb.ended and len(climb.extra) > 0
    moments = climb.moments()
    present = climb.cell.core_problem(climb.extra).moments(climb.ascent.present)
    assert moments.mean_inputs == pytest.approx(present["inputs"], abs=1e-3)
    assert moments.mean_kept == pytest.approx(present["kept"], abs=1e-3)
    assert moments.covariance_kept == pytest.approx(climb.ascent.weight * present["kept_kept"], abs=1e-3)
    assert state.relaxed_attack.spread[climb.cell.neurons] == pytest.approx(moments.deviations)
