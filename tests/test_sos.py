"""Sums of squares of higher degree: bounds in order and below the truth, exact where flat, audited; what Sos leaves mean.

The truth is enumerated (activation_patterns); the relaxation of degree 2 is written down a second time (sdp_oracle).
``PYDUAL_NIGHTLY`` looks at two hundred small networks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import combinations_with_replacement
from math import comb, prod
from pathlib import Path
from typing import Any

import activation_patterns
import numpy as np
import pytest
from cases import Case

import pydual
from pydual.audit import EXACT, ROUNDED, audit, exact, exact_sos
from pydual.audit.query import query_digest
from pydual.certificate import ADAPTIVE, SOS_LEAF, Proof, ProofTree, load_proof
from pydual.checker import Checker, Y, robustness
from pydual.errors import CertificateError, InputError, UnsupportedError
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder, Relu
from pydual.outcome import Certificate, RelaxedAttack
from pydual.proof_systems import SOS, ProofSystem, by_name
from pydual.proof_systems.base import State
from pydual.region import Ball, Region

NIGHTLY = bool(os.environ.get("PYDUAL_NIGHTLY"))
NOISE, EXACTLY, LEVEL = 1e-6, 1e-3, 64
SHAPES = {"2-4-4": (2, 4, 4), "2-4-4-4": (2, 4, 4, 4), "3-5": (3, 5)}
LADDER: dict[str, Callable[[], ProofSystem]] = {
    "interval": lambda: by_name("interval"),
    "crown": lambda: by_name("crown"),
    "lp": lambda: by_name("lp"),
    "degree 2": lambda: SOS(degree=2),
    "degree 4": lambda: SOS(degree=4, dense=6),
}


def game(seed: int, *sizes: int) -> Case:
    """The least value of a random function of a random network's outputs over a box."""
    rng = np.random.default_rng(seed)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    layers = [(1.4 * rng.normal(size=(n, m)) / np.sqrt(m), 0.3 * rng.normal(size=n)) for m, n in pairs]
    network = Network.from_layers([*layers, (rng.normal(size=(1, sizes[-1])), np.zeros(1))])
    box = Region(-np.ones(sizes[0]), np.ones(sizes[0]))
    return Case(network, Checker(box, Y[0] <= LEVEL))  # far above: no bound is positive


def truth_of(case: Case) -> float:
    return activation_patterns.true_minimum(case.network, case.checker)


def run(system: ProofSystem, case: Case) -> State:
    state = system.init(case.problems)
    while not state.finished:
        state = system.step(state, np.inf)
    return state


def proof_of(case: Case, state: State) -> Proof:
    trees = tuple(state.trees[problem.index] for problem in state.problems)
    return Proof.of(case.network.digest, query_digest(case.checker), trees)


def climb(case: Case) -> tuple[dict[str, float], State]:
    """The bounds of the ladder, each of which an audit agrees to, and the last state."""
    truth, bounds = truth_of(case), {}
    for name, system in LADDER.items():
        state = run(system(), case)
        bounds[name] = state.bound
        assert state.bound <= truth + NOISE
        above = case.raised(0.125 - state.bound)
        proven = audit(proof_of(above, run(system(), above)), above.network, above.checker).margin
        assert proven <= 0.125 + truth - state.bound + NOISE
        assert proven >= 0.125 - 1e-4 * max(1.0, abs(state.bound))
    return {**bounds, "truth": truth}, state


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_ladder(shape: str, seed: int) -> None:
    bounds = list(climb(game(seed, *SHAPES[shape]))[0].values())
    assert all(low <= high + 1e-4 for low, high in zip(bounds, bounds[1:], strict=False)), bounds


def test_degree_4_is_exact_in_nearly_all_small_networks() -> None:
    count, system = (200, SOS()) if NIGHTLY else (12, SOS(dense=6))
    cases = [game(seed, 2, 4, 4) for seed in range(count)]
    gaps = [truth_of(case) - run(system, case).bound for case in cases]
    assert min(gaps) >= -NOISE
    assert sum(gap < EXACTLY for gap in gaps) >= (0.95 if NIGHTLY else 0.9) * count, gaps


def test_a_flat_moment_matrix_gives_the_minimizer() -> None:
    flat = 0
    for seed in range(6):
        case = game(seed, 2, 4, 4)
        state = run(SOS(dense=6), case)
        if state.statistics.get("flat"):
            flat += 1
            assert "flat" in state.claim
            assert case.network.evaluate(state.candidates).min() - LEVEL == pytest.approx(truth_of(case), abs=1e-4)
    assert flat >= 3


def test_two_minimizers_are_told_apart() -> None:
    """-|x - y/4| is least at two corners, where it is -5/4."""
    network = Network.from_layers([([[1.0, -0.25], [-1.0, 0.25]], [0.0, 0.0]), ([[-1.0, -1.0]], [0.0])])
    state = run(SOS(), Case(network, Checker(Region([-1.0, -1.0], [1.0, 1.0]), Y[0] <= -2)))
    assert state.proved and state.bound == pytest.approx(0.75, abs=1e-5)
    assert state.statistics["flat"] == 1
    for corner in ([1.0, -1.0], [-1.0, 1.0]):
        assert np.abs(state.candidates - corner).max(axis=1).min() < 1e-3


def test_degree_2_is_the_relaxation_of_sdp() -> None:
    for seed in range(5):
        case = game(seed, 3, 5, 4)
        assert run(SOS(degree=2), case).bound >= run(by_name("sdp"), case).bound - 1e-4


def test_a_higher_degree_is_no_worse() -> None:
    cases = [game(seed, 2, 3) for seed in range(4)]
    bounds = np.array([[run(SOS(degree=degree), case).bound for case in cases] for degree in (2, 4, 6)])
    assert (np.diff(bounds, axis=0) >= -1e-4).all() and (bounds[1] > bounds[0] + 1e-3).any()
    assert (bounds <= np.array([truth_of(case) for case in cases]) + NOISE).all()


def test_products_join_variables_of_different_cliques() -> None:
    """A network whose cliques are too large for degree 4: degree 2 and products of facts nearly reach the truth."""
    rng, shape = np.random.default_rng([24, 2, 4, 4, 4]), (2, 4, 4, 4, 1)
    pairs = zip(shape[:-1], shape[1:], strict=True)
    layers = [(rng.normal(size=(n, m)) * np.sqrt(2 / m), 0.3 * rng.normal(size=n)) for m, n in pairs]
    case = Case(Network.from_layers(layers), Checker(Region(-np.ones(2), np.ones(2)), Y[0] <= -LEVEL))
    truth, without, state = truth_of(case), run(SOS(products=0), case), run(SOS(), case)
    assert without.statistics["degree"] == state.statistics["degree"] == 2
    assert without.bound < truth - 0.03 and truth - 0.002 < state.bound <= truth + NOISE
    near = case.raised(0.01 - truth)
    proven = audit(proof_of(near, run(SOS(), near)), near.network, near.checker).margin
    assert 0.005 < proven <= 0.01 + NOISE


# ---- outcomes


def test_what_lines_leave_open_is_proved_in_one_leaf(tmp_path: Path) -> None:
    case = game(4, 2, 4, 4)
    case = case.raised(0.01 - truth_of(case))
    assert isinstance(pydual.solve(case.network, case.checker, "lp"), RelaxedAttack)
    outcome = pydual.solve(case.network, case.checker, "sos")
    assert isinstance(outcome, Certificate) and outcome.level == EXACT
    assert 0.009 < outcome.margin <= 0.01 + NOISE
    assert outcome.certificate.trees[0].kind.tolist() == [SOS_LEAF]
    outcome.certificate.save(tmp_path / "proof")
    assert audit(tmp_path / "proof", case.network, case.checker).margin == outcome.margin
    assert audit(load_proof(tmp_path / "proof"), case.network, case.checker).margin == outcome.margin
    with pytest.raises(CertificateError, match="exact audit alone"):
        audit(tmp_path / "proof", case.network, case.checker, level=ROUNDED)


def test_a_relaxed_attack_says_who_cheats() -> None:
    case = game(4, 2, 4, 4)
    case = case.raised(0.1 - truth_of(case))
    outcome = pydual.solve(case.network, case.checker, SOS(degree=2))
    assert isinstance(outcome, RelaxedAttack)
    assert outcome.value < 0 < outcome.lifted and outcome.cheats


def residual() -> Network:
    graph = GraphBuilder((2,))
    rng = np.random.default_rng(3)
    first = graph.relu(graph.affine([(graph.input, rng.normal(size=(3, 2)))], 0.2 * rng.normal(size=3), (3,)))
    terms = [(first, rng.normal(size=(3, 3))), (graph.input, rng.normal(size=(3, 2)))]
    second = graph.relu(graph.affine(terms, 0.2 * rng.normal(size=3), (3,)))
    out = [(second, rng.normal(size=(2, 3))), (first, rng.normal(size=(2, 3)))]
    return Network.from_graph(graph, graph.affine(out, rng.normal(size=2), (2,)))


def squared(rng: np.random.Generator) -> Network:
    """Squares of inputs, ReLUs that read them, and squares of these."""
    graph = GraphBuilder((2,))
    first = graph.curve(graph.affine([(graph.input, rng.normal(size=(2, 2)))], rng.normal(size=2), (2,)), "square")
    terms = [(first, rng.normal(size=(3, 2))), (graph.input, rng.normal(size=(3, 2)))]
    relu = graph.relu(graph.affine(terms, rng.normal(size=3), (3,)))
    last = graph.curve(graph.affine([(relu, rng.normal(size=(1, 3)))], rng.normal(size=1), (1,)), "square")
    out = [(last, rng.normal(size=(1, 1))), (relu, rng.normal(size=(1, 3))), (first, rng.normal(size=(1, 2)))]
    return Network.from_graph(graph, graph.affine(out, rng.normal(size=1), (1,)))


def networks_and_checkers() -> Iterator[tuple[str, Network, Checker]]:
    network, box = residual(), Region(-np.ones(2), np.ones(2))
    yield "two margins", network, Checker(box, (Y[0] <= Y[1]) & (Y[0] + Y[1] <= Fraction(1, 10)))
    yield "a disjunction", network, Checker(box, (Y[0] <= -1) | (Y[1] <= Y[0]))
    yield "an input that stands still", network, Checker(Region([-1.0, 0.5], [1.0, 0.5]), Y[0] <= Y[1])
    yield "an l1 ball", network, robustness([0.1, 0.2], 0, 0.5, "l1", classes=2)
    yield "a point", network, Checker(Region([0.25, 0.5], [0.25, 0.5]), Y[0] <= Y[1])


@pytest.mark.parametrize(("network", "checker"), [pytest.param(n, c, id=name) for name, n, c in networks_and_checkers()])
def test_every_kind_of_question(network: Network, checker: Checker) -> None:
    case = Case(network, checker)
    truth, state = truth_of(case), run(SOS(dense=6), case)
    assert run(by_name("lp"), case).bound - 1e-6 <= state.bound <= truth + NOISE
    above = case.raised(0.5 - state.bound)
    proven = audit(proof_of(above, run(SOS(dense=6), above)), above.network, above.checker).margin
    assert 0.5 - 1e-4 <= proven <= 0.5 + truth - state.bound + NOISE


def test_an_l2_ball_is_more_than_its_box() -> None:
    """-|x0| - |x1| is least at the corners of the box, and at -0.8 sqrt(2) in the ball."""
    rows = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    network = Network.from_layers([(rows, [0.0] * 4), ([[-1.0] * 4], [0.0])])
    ball, corner = Ball(np.zeros(2), 0.8, "l2"), np.full(2, 0.8)
    in_box, in_ball = (Case(network, Checker(Region(-corner, corner, b), Y[0] <= -9)) for b in (None, ball))
    assert run(SOS(), in_box).bound == pytest.approx(9 - 1.6, abs=1e-4)
    state = run(SOS(), in_ball)
    assert state.bound == pytest.approx(9 - 0.8 * 2**0.5, abs=1e-4)
    proven = audit(proof_of(in_ball, state), network, in_ball.checker).margin
    assert state.bound - 1e-4 <= proven <= 9 - 0.8 * 2**0.5


def test_another_solver() -> None:
    case = game(1, 2, 4)
    bound = run(SOS(solver="SCS"), case).bound
    assert run(by_name("lp"), case).bound - NOISE <= bound <= truth_of(case) + NOISE


@pytest.mark.parametrize("degree", [0, 1, 3, -2, 10, 2.0, "4"])
def test_odd_degrees_are_refused(degree: Any) -> None:
    with pytest.raises(InputError, match="even number"):
        SOS(degree=degree)


def test_a_solver_that_is_not_installed() -> None:
    with pytest.raises(InputError, match="'NONE'.*CLARABEL"):
        SOS(solver="NONE").init(game(0, 2, 4).problems)


def test_networks_that_are_too_large() -> None:
    case = game(0, 6, 10, 8)
    state = run(SOS(products=0, subsets=0), case)
    assert state.statistics["degree"] == 2
    assert state.bound == pytest.approx(run(SOS(degree=2, dense=0), case).bound)
    with pytest.raises(UnsupportedError, match=r"a matrix of degree 2 has size \d+.*'sdp'"):
        run(SOS(), game(0, 10, 100, 100))


def test_curves_and_float32_have_no_sos_leaves() -> None:
    case = game(8, 2, 4, 4)
    case = case.raised(0.01 - truth_of(case))
    proof = proof_of(case, run(SOS(dense=6), case))
    with pytest.raises(CertificateError, match="float32"):
        audit(replace(proof, arithmetic="float32"), case.network, case.checker)
    graph = GraphBuilder((1,))
    network = Network.from_graph(graph, graph.curve(graph.input, "tanh"))
    with pytest.raises(UnsupportedError, match="ReLUs and squares only"):
        SOS().init(Case(network, Checker(Region([-1.0], [1.0]), Y[0] <= -2)).problems)


# ---- the leaf, against the rules at points of its cell


def random_leaf(rng: np.random.Generator, network: Network, ball: bool) -> dict[str, np.ndarray]:
    """A leaf with all neurons and inputs as variables, in any order, and any facts and polynomials."""
    inputs, neurons = network.input_size, network.neurons
    count = int(rng.integers(1, 6))
    facts = rng.integers(0, 1 + 2 * inputs + 4 * neurons + ball, (count, 2))
    equations = np.flatnonzero(rng.random(count) < 0.3)
    facts[equations, 0] = 1 + 2 * inputs + 4 * rng.integers(0, neurons, len(equations))
    facts[equations, 1] = facts[equations, 0] + 1
    degrees = rng.integers(0, 3, count)
    size = inputs + neurons
    return {
        "sos_sizes": np.array([[size, count]], np.int32),
        "sos_variables": rng.permutation(size).astype(np.int32),
        "sos_terms": np.column_stack([facts, degrees]).astype(np.int32),
        "sos_coefficients": rng.normal(size=sum(comb(size + d, d) for d in degrees)) * 2.0 ** rng.integers(-20, 3),
    }


def fact(number: int, x: list[Fraction], ends: list[tuple[float, float]], neurons: list[Any], ball: Ball | None) -> Fraction:
    """A fact of PROOFS.md at a point; ``neurons`` has p, l and u of each."""
    first = 1 + 2 * len(x)
    if number == 0:
        return Fraction(1)
    if number < first:
        (low, high), v = ends[(number - 1) // 2], x[(number - 1) // 2]
        return v - Fraction(low) if number % 2 else Fraction(high) - v
    neuron, kind = divmod(number - first, 4)
    if neuron == len(neurons):
        assert ball is not None
        return Fraction(ball.radius) ** 2 - sum((v - Fraction(c)) ** 2 for v, c in zip(x, ball.center.tolist(), strict=True))
    p, low, high = neurons[neuron]
    z = max(p, Fraction(0))
    if kind == 2:
        return p - z if low >= 0 else -z if high <= 0 else high / (high - low) * (p - low) - z
    return (z, z - p, None, max(high, Fraction(0)) - z)[kind]


def polynomial(coefficients: list[float], degree: int, variables: list[Fraction]) -> Fraction:
    monomials = [m for d in range(degree + 1) for m in combinations_with_replacement(variables, d)]
    return sum((Fraction(c) * prod(m, start=Fraction(1)) for c, m in zip(coefficients, monomials, strict=True)), Fraction(0))


@pytest.mark.parametrize("with_ball", [False, True])
def test_no_point_is_below_the_bound_of_a_leaf(with_ball: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """F is at most the function less the terms, evaluated in fractions, for any facts and polynomials, also below splits."""
    found: list[tuple[Any, Fraction]] = []

    def recorded(relaxation: Any, *rest: Any) -> Fraction:
        found.append((relaxation, exact_sos.sos_bound(relaxation, *rest)))
        return Fraction(2**40)  # so that the audit goes on

    monkeypatch.setattr(exact, "sos_bound", recorded)
    points, active = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        network = (residual(), game(seed, 3, 3, 2).network, squared(rng))[seed % 3]
        region = Region(-rng.random(network.input_size), rng.random(network.input_size))
        ball = Ball((region.lower + region.upper) / 2, 0.4, "l2") if with_ball else None
        region = Region(region.lower, region.upper, ball)
        checker = Checker(region, Y[0] <= 0)
        leaves, split = [random_leaf(rng, network, with_ball) for _ in range(2)], int(rng.integers(0, network.neurons))
        tree = ProofTree(
            kind=np.array([2, 4, 4], np.uint8), index=np.array([split], np.int32), threshold=np.zeros(0),
            anchor=np.array([ADAPTIVE, 0, 0], np.uint8), lines=np.full(2, -3, np.int32), slopes=np.zeros((0, 0)),
            slope_neurons=np.zeros(0, np.int32), multipliers=np.ones((2, 1)), split_multipliers=np.array([0.5, 0.25]),
            **{name: np.concatenate([leaf[name] for leaf in leaves]) for name in leaves[0]},
        )  # fmt: skip
        found.clear()
        audit(Proof.of(network.digest, query_digest(checker), (tree,)), network, checker)
        ends = list(zip(region.lower.tolist(), region.upper.tolist(), strict=True))
        for _ in range(12):
            x = [Fraction(low) + Fraction(int(rng.integers(0, 9)), 8) * (Fraction(high) - Fraction(low)) for low, high in ends]
            values = evaluated(network, x)
            p = [values[p.source][i] for p in network.primitives if isinstance(p, Relu) for i in range(p.size)]
            if ball and fact(1 + 2 * len(x) + 4 * len(p), x, ends, p, ball) < 0:
                continue
            side = int(p[split] >= 0)
            if len(found) < 2:
                break  # one of the two cells is empty
            points, active = points + 1, active + side
            relaxation, bound = found[side]
            neurons = [(v, *interval_of(relaxation, k)) for k, v in enumerate(p)]
            left = values[network.output][0] + (Fraction(-1, 4) if side else Fraction(1, 2)) * p[split]
            left -= sum_of_terms(leaves[side], x, ends, neurons, ball)
            assert bound <= left + abs(left) / 10**9 + Fraction(1, 10**9)
    assert points > 100 and 20 < active < points - 20


def evaluated(network: Network, x: list[Fraction]) -> list[list[Fraction]]:
    """All values at a point."""
    values = [x]
    for primitive in network.primitives:
        if hasattr(primitive, "terms"):
            total = [Fraction(b) for b in primitive.bias.tolist()]
            for source, matrix in primitive.terms:
                rows = [[Fraction(c) for c in row] for row in np.asarray(matrix).tolist()]
                products = [sum((c * v for c, v in zip(row, values[source], strict=True)), Fraction(0)) for row in rows]
                total = [a + b for a, b in zip(total, products, strict=True)]
            values.append(total)
        elif isinstance(primitive, Relu):
            values.append([max(v, Fraction(0)) for v in values[primitive.source]])
        else:
            values.append([v * v for v in values[primitive.source]])
    return values


def interval_of(relaxation: Any, neuron: int) -> tuple[Fraction, Fraction]:
    value, component = relaxation.net.neurons[neuron]
    lower, upper, exponent = relaxation.intervals[value]
    return Fraction(lower[component]) * Fraction(2) ** exponent, Fraction(upper[component]) * Fraction(2) ** exponent


def sum_of_terms(
    leaf: dict[str, np.ndarray], x: list[Fraction], ends: list[tuple[float, float]], neurons: list[Any], ball: Ball | None
) -> Fraction:
    all_variables = [v - Fraction(low) for v, (low, _) in zip(x, ends, strict=True)]
    all_variables += [max(p, Fraction(0)) for p, *_ in neurons]
    variables = [all_variables[v] for v in leaf["sos_variables"].tolist()]
    first, total, begin = 1 + 2 * len(x), Fraction(0), 0
    for f, g, degree in leaf["sos_terms"].tolist():
        size = comb(len(variables) + degree, degree)
        q = polynomial(leaf["sos_coefficients"][begin : begin + size].tolist(), degree, variables)
        begin += size
        equation = first <= f < first + 4 * len(neurons) and (f - first) % 4 == 0 and g == f + 1
        values = [fact(number, x, ends, neurons, ball) for number in (f, g)]
        assert min(values) >= -Fraction(1, 10**9)
        total += values[0] * values[1] * (q if equation else q * q)
    return total


def test_terms_without_a_leaf_are_rejected() -> None:
    case = game(0, 2, 4, 4)
    proof = proof_of(case, run(by_name("crown"), raised_far(case)))
    tree = replace(proof.trees[0], sos_sizes=np.zeros((1, 2), dtype=np.int32))
    for level in (EXACT, ROUNDED):
        with pytest.raises(CertificateError):
            audit(replace(proof, trees=(tree,)), case.network, raised_far(case).checker, level=level)


def raised_far(case: Case) -> Case:
    """A question that intervals answer."""
    return replace(case, checker=Checker(case.checker.region, Y[0] <= -1000.0))


def test_terms_that_would_take_minutes_are_rejected() -> None:
    """The square of a fact of eight inputs, about the ball, times that of a polynomial of degree 4."""
    network = Network.from_layers([(np.ones((2, 8)), np.full(2, 99.0)), (np.ones((1, 2)), np.zeros(1))])
    checker = Checker(Region(-np.ones(8), np.ones(8), Ball(np.zeros(8), 1.0, "l2")), Y[0] <= -1000.0)
    count, ball = comb(8 + 4, 4), 1 + 2 * 8 + 4 * 2
    nothing = np.zeros(0, dtype=np.int32)
    tree = ProofTree(
        np.array([SOS_LEAF], np.uint8), nothing, np.zeros(0), np.array([ADAPTIVE], np.uint8), np.array([-3], np.int32),
        np.zeros((0, 0), np.uint8), nothing, np.ones((1, 1)), np.zeros(0), sos_sizes=np.array([[8, 1]], np.int32),
        sos_variables=np.arange(8, dtype=np.int32), sos_terms=np.array([[ball, ball, 4]], np.int32),
        sos_coefficients=np.ones(count),
    )  # fmt: skip
    with pytest.raises(CertificateError, match="too many monomials"):
        audit(Proof(network.digest, query_digest(checker), (tree,)), network, checker, level=EXACT)
