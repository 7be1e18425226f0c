"""Gram leaves in the rounded audit: against the exact audit, points of cells, threads, large leaves and hostile numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from random_proofs import Case, certify, judged, random_gram_case, shifted
from reference_audit import Reference
from test_audit_gram import ALLOWED, CORNERS, FORMS, GOOD, KINDS, NUMBERS, RAMP, SQUARE, gram_tree, points_of

from pydual.audit import query, rounded
from pydual.audit.exact import audit_exact
from pydual.audit.rounded import audit_rounded
from pydual.certificate import ProofTree
from pydual.checker import Checker, X, Y
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.region import Ball, Region

LEVEL = Fraction(2**20)


@pytest.mark.parametrize("arithmetic", ["real", "float32"])
@pytest.mark.parametrize(("kind", "ball"), [*((k, b) for k in KINDS for b in (None, "l1", "l2")), ("curves", None)])
def test_margins_are_those_of_the_exact_audit(kind: str, ball: str | None, arithmetic: str) -> None:
    """Nearly: over balls and for curves, and in which cells are empty, each audit has choices of its own."""
    near = seen = 0
    for seed in range(10):
        network, checker, trees = random_gram_case(seed, kind, "1", ball, LEVEL)
        proof = certify(network, checker, trees, arithmetic)
        exact, found = (judged(audit, proof, network, checker) for audit in (audit_exact, audit_rounded))
        assert exact is not None and found is not None
        if isinstance(exact, Fraction) and isinstance(found, Fraction):
            seen += 1
            near += abs(found - exact) < exact / (10**9 if ball is None and kind != "curves" else 10**7)
    assert seen >= 5 and near >= (seen if ball is None else 0.8 * seen)


@pytest.mark.parametrize("arithmetic", ["real", "float32"])
@pytest.mark.parametrize(("kind", "ball"), [*((k, b) for k in KINDS for b in (None, "l2")), ("dense", "l1"), ("curves", None)])
def test_no_point_of_a_cell_is_below_the_margin(kind: str, ball: str | None, arithmetic: str) -> None:
    """Q over the sum of multipliers is at least the margin in every Gram leaf's cell."""
    seen = 0
    for seed in range(40, 50):
        case = random_gram_case(seed, kind, "both", ball, LEVEL)
        seen += check_points(case, arithmetic, Fraction(1, 10**6))
    assert seen > 50


def check_points(case: Case, arithmetic: str, slack: Fraction) -> int:
    """How many points of cells are at least at the margin: all of them, if the certificate is accepted."""
    network, checker, trees = case
    margin = judged(audit_rounded, certify(network, checker, trees, arithmetic), network, checker)
    if not isinstance(margin, Fraction):
        return 0
    seen, rng = 0, np.random.default_rng(0)
    for problem, tree in zip(query.problems(checker), trees, strict=True):
        reading = Reference(network, problem, tree, arithmetic)
        bounds = reading.bounds()
        gram = np.array([k == 3 for k in tree.kind.tolist() if k in (0, 3)])
        weights = [sum(map(Fraction, row)) for row in tree.multipliers.tolist()]
        kept = [w for w, g, bound in zip(weights, gram, bounds, strict=True) if g and bound is not None]
        for weight, leaf in zip(kept, reading.grams, strict=True):
            for values in points_of(rng, leaf, 6, arithmetic == "float32"):
                assert leaf.at(values) >= weight * margin - slack
                seen += 1
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_at_a_point_the_margin_is_at_most_that_of_the_point(kind: str) -> None:
    """All numbers but the multipliers have few bits, so that intervals are points and Q at the point is known exactly."""
    close = tried = 0
    for seed in range(60, 80):
        network, checker, trees = random_gram_case(seed, kind, "2", None, LEVEL)
        region = Region(checker.region.lower, checker.region.lower)
        case = network, Checker(region, checker.catastrophe), tuple(replace(t, anchor=t.anchor & 1) for t in trees)
        if not all(tree.anchor[0] for tree in trees):
            continue
        tried += check_points(case, "real", Fraction(0))
        exact, found = (judged(audit, certify(*case), *case[:2]) for audit in (audit_exact, audit_rounded))
        assert exact is None or found is None or found <= exact + Fraction(1, 10**20)
        close += exact is not None and found is not None and exact - found < Fraction(1, 10**7)
    assert tried > 5 and close > 5


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_accepted_next_to_zero_holds_at_all_points(kind: str) -> None:
    """Constants that put the margin just above or below 0."""
    for seed in range(60, 70):
        network, checker, trees = random_gram_case(seed, kind, "1", None, LEVEL)
        found = judged(audit_rounded, certify(network, checker, trees), network, checker)
        if not isinstance(found, Fraction):
            continue
        for gap, holds in ((Fraction(1, 10**6), True), (-Fraction(1, 10**6), False)):
            near = shifted(checker, gap - found)
            assert (judged(audit_rounded, certify(network, near, trees), network, near) is not None) == holds
            check_points((network, near, trees), "real", Fraction(1, 10**9))


def test_exactly_the_allowed_products_are_allowed() -> None:
    """Of the facts of two inputs, two neurons and an l2 ball, with multipliers of either sign."""
    ball = Checker(Region([-1.0, -1.0], [1.0, 1.0], Ball([0.0, 0.0], 1.0, "l2")), Y[0] >= 100)
    for pair in NUMBERS:
        for rho in (0.5, 0.0, -0.5):
            allowed = pair in ALLOWED and (rho >= 0 or pair in ((5, 6), (9, 10)))
            found = judged(audit_rounded, certify(CORNERS, ball, (gram_tree({pair: rho}),)), CORNERS, ball)
            assert (found is not None) == allowed, (pair, rho)
    for shape in (None, Ball([0.0, 0.0], 1.0, "l1")):
        checker = Checker(Region([-1.0, -1.0], [1.0, 1.0], shape), Y[0] >= 100)
        with pytest.raises(CertificateError, match="names a fact that does not exist"):
            prove(CORNERS, checker, gram_tree({(0, 13): 0.5}))


@pytest.mark.parametrize("forgery", [name for name in FORMS if name != "a fifth kind"])
def test_forged_columns_are_rejected(forgery: str) -> None:
    checker = Checker(SQUARE, Y[0] >= 100)
    assert prove(CORNERS, checker, GOOD) > 0
    with pytest.raises(CertificateError):
        prove(CORNERS, checker, replace(GOOD, **FORMS[forgery]))


def prove(network: Network, checker: Checker, tree: ProofTree, arithmetic: str = "real") -> float:
    return audit_rounded(certify(network, checker, (tree,), arithmetic), network, checker)


def test_rules_of_form_hold_in_empty_cells() -> None:
    tree = replace(
        gram_tree({}), kind=np.array([1, 3, 3], np.uint8), index=np.zeros(1, np.int32), threshold=np.array([5.0]),
        anchor=np.array([3, 0, 0], np.uint8), lines=np.full(2, -3, np.int32), multipliers=np.ones((2, 1)),
        products=np.array([[0, 5]], np.int32), product_multipliers=np.array([0.5]), product_counts=np.array([0, 1], np.int32),
    )  # fmt: skip
    checker = Checker(SQUARE, Y[0] >= 100)
    assert prove(CORNERS, checker, tree) > 0
    for columns in ({"products": np.array([[2, 1]], np.int32)}, {"product_multipliers": np.array([-0.5])}):
        with pytest.raises(CertificateError, match="node 2: a product"):
            prove(CORNERS, checker, replace(tree, **columns))


# threads and large leaves


def corners(pairs: int, products_of: dict[str, float]) -> tuple[Network, ProofTree]:
    """The sum of relu(a + b) + relu(a - b) over pairs of inputs, and the products of test_audit_gram's first proof."""
    block = np.array([[1.0, 1.0], [1.0, -1.0]])
    network = Network.from_layers([(np.kron(np.eye(pairs), block), np.zeros(2 * pairs)), (np.ones((1, 2 * pairs)), [0.0])])
    neurons = 1 + 4 * pairs
    products = {(neurons + 4 * j, neurons + 4 * j + 1): -products_of["z"] for j in range(2 * pairs)}
    products |= {(1 + 2 * i, 2 + 2 * i): products_of["ba"[i % 2 == 0]] for i in range(2 * pairs)}
    return network, gram_tree(products)


def test_many_neurons_are_as_tight_as_two() -> None:
    """784 inputs and 784 kept neurons in 392 independent pairs; the bound is known in closed form (see test_audit_gram)."""
    r, pairs = 0.70703125, 392
    k = r * (1 + 2**0.5) / 2
    network, tree = corners(pairs, {"z": r, "a": k, "b": r / 2})
    best = Fraction(k) + Fraction(r / 2) + 1 / (4 * (Fraction(r) / 2 - Fraction(r) ** 2 / (4 * Fraction(k))))
    checker = Checker(Region(-np.ones(2 * pairs), np.ones(2 * pairs)), Y[0] >= 1000)
    found = Fraction(prove(network, checker, tree))
    assert 0 <= 1000 - pairs * best - found < Fraction(1, 10**8)


def test_a_dense_form_is_subtracted() -> None:
    """784 inputs, 100 neurons: the margin is positive by far, and no sampled point is below the bound."""
    rng = np.random.default_rng(0)
    inputs, width = 784, 100
    first, second = rng.normal(size=(width, inputs)) / 28, rng.normal(size=(1, width)) / 10
    network = Network.from_layers([(first, rng.normal(size=width) / 2), (second, [0.0])])
    region = Region(-np.full(inputs, 0.1), np.full(inputs, 0.1))
    start = 1 + 2 * inputs
    products = {(start + 4 * j, start + 4 * j + 1): -float(rng.uniform(0.05, 0.2)) for j in range(width)}
    products |= {(1 + 2 * i, 2 + 2 * i): 0.5 for i in range(inputs)}
    checker = Checker(region, Y[0] + 1000 <= 0)
    tree = gram_tree(products)
    margin = prove(network, checker, tree)
    (problem,) = query.problems(checker)
    assert margin > 900
    for _ in range(200):
        x = np.where(rng.random(inputs) < 0.5, -0.1, 0.1) * rng.choice([1.0, rng.random()])
        curved = sum(0.5 * (v - low) * (high - v) for v, low, high in zip(x, problem.lower, problem.upper, strict=True))
        assert network.evaluate(x)[0] + 1000 - curved >= margin  # z (z - p) is 0 there


def test_threads_do_not_change_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounded, "SMALL", 0)
    for seed in range(6):
        network, checker, trees = random_gram_case(seed, KINDS[seed % 5], "both", None, LEVEL)
        found = set()
        for threads in (1, 2, 5):
            monkeypatch.setattr(rounded.os, "sched_getaffinity", lambda _, n=threads: range(n), raising=False)
            found.add(audit_rounded(certify(network, checker, trees), network, checker))
        assert len(found) == 1


# hostile numbers


def with_multipliers(tree: ProofTree, numbers: np.ndarray) -> ProofTree:
    return replace(tree, product_multipliers=numbers)


@pytest.mark.parametrize("ball", [None, "l2"])
def test_hostile_multipliers_give_true_bounds_or_none(ball: str | None) -> None:
    accepted = 0
    for seed in range(24 if ball is None else 8):
        network, checker, trees = random_gram_case(seed, KINDS[seed % 5], "both", ball, LEVEL)
        rng = np.random.default_rng(seed)
        hostile, total = [], Fraction(0)
        for tree in trees:
            exponents = rng.choice([-1070, -500, -60, 0, 0, *([60, 500, 1020] if seed % 3 == 0 else [])], len(tree.products))
            numbers = np.ldexp(tree.product_multipliers.astype(float), exponents.astype(int))
            total += sum((abs(Fraction(v)) for v in numbers.tolist()), Fraction(0))
            hostile.append(with_multipliers(tree, numbers))
        slack = Fraction(1, 10**6) + total / 2**30  # the audit's chords are rounded
        accepted += check_points((network, checker, tuple(hostile)), "real", slack) > 0
    assert accepted > 2


@pytest.mark.parametrize("rho", [1e300, 1e308, np.finfo(float).max])
def test_overflow_is_a_rejection(rho: float) -> None:
    """The true bounds are far below 0, wherever the overflow happens; kept neurons and inputs of width 0 are no way out."""
    flat = Region([-1.0, 1.0], [1.0, 1.0])
    for region in (SQUARE, flat, Region([-1e150, -1e150], [1e150, 1e150])):
        checker = Checker(region, Y[0] >= 10)
        for pair in ((0, 5), (5, 5), (5, 9), (8, 7), (8, 8), (5, 1), (8, 2), (1, 2), (0, 0)):
            found = judged(audit_rounded, certify(CORNERS, checker, (gram_tree({pair: rho}),)), CORNERS, checker)
            exact = judged(audit_exact, certify(CORNERS, checker, (gram_tree({pair: rho}),)), CORNERS, checker)
            assert found is None or exact is not None
            assert found is None or region is flat, pair
        for pair in ((5, 6), (9, 10)):
            found = judged(audit_rounded, certify(CORNERS, checker, (gram_tree({pair: -rho, (1, 2): rho}),)), CORNERS, checker)
            exact = judged(audit_exact, certify(CORNERS, checker, (gram_tree({pair: -rho, (1, 2): rho}),)), CORNERS, checker)
            assert found is None or exact is not None


def test_stable_neurons_and_points_may_be_kept() -> None:
    """z = p where active, z = 0 where inactive, and a region of one point."""
    for low, high in ((1.0, 2.0), (-2.0, -1.0), (0.0, 0.0), (-0.0, 1.0), (-1.0, 0.0), (0.5, 0.5)):
        checker = Checker(Region([low], [high]), Y[0] - X[0] + Fraction(1, 8) <= 0)
        for pair in ((0, 3), (0, 4), (0, 5), (0, 6), (3, 4), (6, 6), (3, 5)):
            for lines in (-1, -2, -3):
                tree = replace(gram_tree({pair: 0.25}), lines=np.array([lines], np.int32))
                proof = certify(RAMP, checker, (tree,))
                exact, found = (judged(audit, proof, RAMP, checker) for audit in (audit_exact, audit_rounded))
                assert (exact is None) == (found is None)
                assert exact is None or found is None or abs(exact - found) < Fraction(1, 10**12)


def test_no_products_are_a_linear_leaf_without_stages() -> None:
    checker = Checker(SQUARE, Y[0] >= 5)
    assert math.isclose(prove(CORNERS, checker, gram_tree({})), 2.0)  # by triangles, the output is at most a + 2
