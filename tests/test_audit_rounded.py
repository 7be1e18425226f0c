"""The rounded audit against the rules, the exact audit, points, and rounding that would flip a naive verdict."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import random_instances as instances
from hypothesis import given
from hypothesis import strategies as st
from random_proofs import (
    Case,
    TreeMaker,
    certify,
    dyadic,
    judged,
    random_case,
    random_checker,
    random_network,
    shifted,
    single_leaf,
)
from reference_audit import Reference

from pydual.audit import enclosures, query, rounded, rounded_anchor
from pydual.audit.enclosures import Domain, Sum, difference, enclose
from pydual.audit.exact import audit_exact
from pydual.audit.rounded import TreeAudit, audit_rounded
from pydual.audit.rounded_network import AffineLayer, Layers
from pydual.certificate import ADAPTIVE, INTERVAL, PARALLEL, ProofTree
from pydual.checker import And, Atom, Checker, Linear, Or
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.region import Region


def leaf_bounds(network: Network, problem: query.Problem, tree: ProofTree) -> dict[int, float]:
    """The rounded audit's bound of F for each leaf, infinity for empty cells."""
    found: dict[int, float] = dict.fromkeys(range(tree.leaves), math.inf)
    with np.errstate(all="ignore"):
        audit = TreeAudit(Layers(network), problem, tree, {}, lambda: None)
        for leaves, bounds in audit.bounds():
            found |= {
                leaf.number: math.inf if audit._is_covered(leaf) else bound
                for leaf, bound in zip(leaves, bounds.tolist(), strict=True)
            }
    return found


KINDS = ("dense", "sparse", "residual", "branches")
CASES = [(kind, splits, ball) for kind in KINDS for splits in ("1", "2", "both") for ball in (None, "l1", "l2")]


# against a slow reading of the rules, and against the exact audit


@pytest.mark.parametrize(("kind", "splits", "ball"), [case for case in CASES if case[0] != "branches"])
def test_each_leaf_has_the_bound_of_the_rules(kind: str, splits: str, ball: str | None) -> None:
    for seed in range(6):
        network, checker, trees = random_case(seed, kind, splits, ball)
        for problem, tree in zip(query.problems(checker), trees, strict=True):
            found, weights = leaf_bounds(network, problem, tree), tree.multipliers.sum(axis=1, dtype=np.float64)
            for leaf, exact in enumerate(Reference(network, problem, tree).bounds()):
                if exact is None or found[leaf] > 1e100:  # disjoint box and ball: the reference's kappa is bounded
                    assert found[leaf] == math.inf or ball
                    continue
                assert found[leaf] <= exact + (1e-7 * weights[leaf] if ball else 0)
                assert found[leaf] >= exact - Fraction(1e-7 if ball else 1e-10) * (1 + abs(exact))


def margin_by_the_rules(network: Network, checker: Checker, trees: tuple[ProofTree, ...]) -> Fraction | None:
    """The least F / sum(lambda) of all leaves, or None if all cells are empty."""
    margins: list[Fraction] = []
    for problem, tree in zip(query.problems(checker), trees, strict=True):
        weights = [sum(map(Fraction, row)) for row in tree.multipliers.tolist()]
        bounds = Reference(network, problem, tree).bounds()
        margins += [bound / weight for bound, weight in zip(bounds, weights, strict=True) if bound is not None]
    return min(margins, default=None)


@pytest.mark.parametrize("splits", ["1", "2", "both"])
@pytest.mark.parametrize("kind", ["dense", "sparse", "residual"])
def test_nothing_is_accepted_that_the_rules_reject(kind: str, splits: str) -> None:
    verdicts = set()
    for seed in range(100, 106):
        network, checker, trees = random_case(seed, kind, splits, None)
        margin = margin_by_the_rules(network, checker, trees)
        for shift in (Fraction(0), *(sign * Fraction(1, 10**digits) for digits in (4, 9, 13, 17) for sign in (1, -1))):
            if margin is None:
                continue
            near = shifted(checker, shift - margin)
            found = judged(audit_rounded, certify(network, near, trees), network, near)
            verdicts.add(found is not None)
            assert found is None or (shift >= 0 and found <= shift)
            assert found is not None or shift <= Fraction(1, 10**8)
    assert verdicts == {True, False}


def test_random_proofs_are_judged_as_by_the_exact_audit() -> None:
    verdicts = set()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        network = instances.random_network(rng, int(rng.integers(1, 4)))
        checker = instances.random_checker(rng, network, instances.random_region(rng, network.input_size))
        proof = instances.random_proof(rng, network, checker)
        exact, rounded = (judged(audit, proof, network, checker) for audit in (audit_exact, audit_rounded))
        assert (exact is None) == (rounded is None)
        verdicts.add(rounded is not None)
        if exact is not None and rounded is not None and exact != rounded and not checker.region.ball:
            assert exact * (1 - Fraction(1e-9)) <= rounded + Fraction(1e-9) and rounded <= exact
    assert verdicts == {True, False}


@pytest.mark.parametrize(("kind", "splits", "ball"), CASES)
def test_margins_agree_with_the_exact_audit(kind: str, splits: str, ball: str | None) -> None:
    for seed in range(120, 126):
        network, checker, trees = random_case(seed, kind, splits, ball, Fraction(2**10))
        proof = certify(network, checker, trees)
        exact, found = (judged(audit, proof, network, checker) for audit in (audit_exact, audit_rounded))
        if exact is None or found is None:
            assert exact is None and found is None
        elif max(exact, found) < 2**40:  # above: in disjoint box and ball each has its own kappa
            assert abs(float(found - exact)) <= float(exact + 2**10) * (1e-4 if ball == "l2" else 1e-9)


def test_points_never_beat_the_margin() -> None:
    for seed in range(200, 260):
        kind, ball = KINDS[seed % 4], (None, "l1", "l2")[seed % 3]
        network, checker, trees = random_case(seed, kind, "both", ball, Fraction(2**20))
        margin = judged(audit_rounded, certify(network, checker, trees), network, checker)
        assert margin is not None
        for problem in query.problems(checker):
            for x in instances.random_points(np.random.default_rng(seed), problem, 8):
                assert margin <= max(instances.margins_at(problem, network, x))


# two ways, one result


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ball", [None, "l1", "l2"])
def test_affine_forms_find_what_backward_passes_find(kind: str, ball: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(300, 310):
        rng = np.random.default_rng(seed)
        network = random_network(rng, kind)
        problem = query.problems(random_checker(rng, network, Fraction(0), ball))[0]
        share = rng.random((2, network.input_size, 5))
        low, high = np.array(problem.lower)[:, None], np.array(problem.upper)[:, None]
        box = low + share.min(axis=0) * (high - low), low + share.max(axis=0) * (high - low)
        phases = [(), (2 * int(rng.integers(network.neurons)) + 1,), (), (), ()]
        found = []
        for size in (rounded_anchor.FORM_BYTES, 0):
            with monkeypatch.context() as patch, np.errstate(all="ignore"):
                patch.setattr(rounded_anchor, "FORM_BYTES", size)
                found.append(rounded_anchor.Cells(Layers(network), PARALLEL, box, problem.ball, phases, lambda: None))
        forms, passes = found
        assert (forms.empty == passes.empty).all()
        for value, interval in forms.intervals.items():
            np.testing.assert_allclose(interval, passes.intervals[value], rtol=1e-9, atol=1e-9)


def test_batches_do_not_change_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(400, 406):
        rng = np.random.default_rng(seed)
        network = random_network(rng, "residual")
        checker = random_checker(rng, network, Fraction(2**20), None)
        trees = tuple(TreeMaker(rng, network, p, "both").tree(7) for p in query.problems(checker))
        proof = certify(network, checker, trees)
        whole = audit_rounded(proof, network, checker)
        with monkeypatch.context() as patch:
            for module in (rounded, rounded_anchor):
                patch.setattr(module, "COLUMN_ENTRIES", 1)
            patch.setattr(rounded, "FORM_ENTRIES", 1)
            assert audit_rounded(proof, network, checker) == pytest.approx(whole, rel=1e-12)


# rounding


@pytest.mark.parametrize("scale", [2.0**-30, 1.0, 1e8 + 1])
def test_margins_below_rounding_are_not_accepted(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Margins of +-1e-12 ... 1e-16 after cancellation: float evaluation alone accepts some that do not hold."""
    naive = wrong = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        network, checker, trees = cancelling_case(rng, scale)
        margin = margin_by_the_rules(network, checker, trees)
        if margin is None:
            continue
        for digits in (12, 16):
            near = shifted(checker, -margin - Fraction(1, 10**digits))
            proof = certify(network, near, trees)
            wrong += judged(audit_rounded, proof, network, near) is not None
            with monkeypatch.context() as patch:
                patch.setattr(enclosures, "SAFE", 0.0)
                naive += judged(audit_rounded, proof, network, near) is not None
    assert wrong == 0
    assert naive > 0


def cancelling_case(rng: np.random.Generator, scale: float) -> Case:
    """Hidden neurons in pairs whose large outputs cancel in the next layer, up to little."""
    w, b = rng.normal(size=(4, 2)) * scale, rng.normal(size=4) * scale
    big = rng.normal(size=(3, 4)) * scale
    layers = [(np.vstack([w, w]), np.concatenate([b, b])), (np.hstack([big, -big]) + dyadic(rng, (3, 8)), dyadic(rng, (3,)))]
    network = Network.from_layers([*layers, (rng.normal(size=(1, 3)), np.zeros(1))])
    lower = rng.normal(size=2)
    checker = Checker(Region(lower, lower + 0.1 * rng.random(2)), Or((And((Atom(Linear({}, {0: Fraction(1)})),)),)))
    return network, checker, (TreeMaker(rng, network, query.problems(checker)[0], "both").tree(2),)


@pytest.mark.parametrize("weight", [1e154, 1e200, 1e300])
def test_overflow_is_a_rejection(weight: float) -> None:
    network = Network.from_layers([(np.full((2, 1), weight), np.zeros(2)), (np.array([[weight, -weight]]), np.ones(1))])
    checker = Checker(Region(np.array([-1.0]), np.array([2.0])), Or((And((Atom(Linear({}, {0: Fraction(1)})),)),)))
    for code in (INTERVAL, PARALLEL, ADAPTIVE):
        for lines in (-1, -2, -3):
            tree = single_leaf(1, code, lines)
            assert judged(audit_rounded, certify(network, checker, (tree,)), network, checker) is None


def test_underflow_is_charged() -> None:
    """y = 2^-540 * -2^-540 x + 2^-1073 at x = 1024 is below 0, though the product of the weights vanishes."""
    weight = np.array([[2.0**-540]])
    network = Network.from_layers([(weight, np.zeros(1)), (-weight, np.array([2.0**-1073]))])
    checker = Checker(Region(np.full(1, 1024.0), np.full(1, 1024.0)), Atom(Linear({}, {0: Fraction(1)})))
    for anchor in (INTERVAL, PARALLEL, ADAPTIVE):
        tree = single_leaf(1, anchor)
        assert Reference(network, query.problems(checker)[0], tree).bounds() < [Fraction(0)]
        assert judged(audit_rounded, certify(network, checker, (tree,)), network, checker) is None


def test_rounded_coefficients_of_the_query_are_charged() -> None:
    """y0 / p - y1 / q - 10^-9 at y = (p K, q K) is below 0; with rounded coefficients it may be above."""
    for p, q in ((3, 7), (7, 11), (11, 13), (13, 17), (19, 23), (23, 29), (49, 51)):
        network = Network.from_layers([(np.zeros((2, 1)), np.array([p, q]) * 2.0**40)])
        margin = Linear({}, {0: Fraction(1, p), 1: Fraction(-1, q)}, -Fraction(1, 10**9))
        for atom in (Atom(margin), Atom(margin * -1 - Fraction(2, 10**9))):
            checker = Checker(Region(np.zeros(1), np.ones(1)), atom)
            assert judged(audit_rounded, certify(network, checker, (single_leaf(1),)), network, checker) is None


def test_products_of_matrices_are_charged() -> None:
    """Two affine maps in a row whose product all but cancels, with a constant that hides the sign."""
    naive = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = GraphBuilder((1,))
        first, second = rng.normal(size=(6, 1)) * 1e8, rng.normal(size=(1, 6))
        second[0, -1] = -(second[0, :-1] @ first[:-1, 0]) / first[-1, 0]
        value = graph.affine([(graph.affine([(graph.input, first)], np.zeros(6), (6,)), second)], np.zeros(1), (1,))
        network = Network.from_graph(graph, value)
        pairs = zip(second[0].tolist(), first[:, 0].tolist(), strict=True)
        product = sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))
        layer = Layers(network).layers[1]
        assert isinstance(layer, AffineLayer)
        low, high = layer.interval([(np.ones((1, 1)), np.ones((1, 1))), (first, first)])
        assert low[0, 0] <= product <= high[0, 0] <= low[0, 0] + 1e-4
        margin = Linear({}, {0: Fraction(1)}, -product - Fraction(1, 10**12))
        checker = Checker(Region(np.ones(1), np.ones(1)), Atom(margin))
        assert judged(audit_rounded, certify(network, checker, (single_leaf(1),)), network, checker) is None
        naive += float((second @ first)[0, 0]) + float(margin.constant) > 0
    assert naive > 0


@pytest.mark.parametrize("anchor", [INTERVAL, PARALLEL, ADAPTIVE])
@pytest.mark.parametrize("kind", ["dense", "sparse", "residual"])
def test_derived_intervals_enclose_those_of_the_rules(kind: str, anchor: int) -> None:
    for seed in range(500, 508):
        rng = np.random.default_rng(seed)
        network = random_network(rng, kind, scale=1 / 3)
        low = rng.normal(size=network.input_size)
        for width in (0.0, 0.3):
            checker = Checker(Region(low, low + width), Atom(Linear({}, {0: Fraction(1)})))
            problem = query.problems(checker)[0]
            box = [(Fraction(a), Fraction(b)) for a, b in zip(problem.lower, problem.upper, strict=True)]
            exact = Reference(network, problem, single_leaf(1, anchor))._derive(box, {}, anchor)
            columns = np.array(problem.lower)[:, None], np.array(problem.upper)[:, None]
            with np.errstate(all="ignore"):
                cells = rounded_anchor.Cells(Layers(network), anchor, columns, None, [()], lambda: None)
            for relu in cells.layers.relus:
                lower, upper = (bound[:, 0].tolist() for bound in cells.intervals[relu.source])
                for found, wanted in zip(zip(lower, upper, strict=True), exact[relu.first :], strict=False):
                    assert found[0] <= wanted[0] and wanted[1] <= found[1]
                    assert found == pytest.approx((float(wanted[0]), float(wanted[1])), rel=1e-11, abs=1e-11)


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_differences_are_enclosed(a: float, b: float) -> None:
    low, high = difference(np.array([a]), np.array([b]))
    exact = Fraction(a) - Fraction(b)
    assert Fraction(low[0]) <= exact <= Fraction(high[0])
    assert (low[0] == high[0]) == (Fraction(float(exact)) == exact)


@given(st.fractions())
def test_rationals_are_enclosed(value: Fraction) -> None:
    center, radius = enclose([value])
    assert abs(Fraction(center[0]) - value) <= Fraction(radius[0]) <= abs(value) / 2**50
    assert (radius[0] == 0) == (Fraction(center[0]) == value)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_least_values_over_box_and_ball(norm: str) -> None:
    """Against a conic solver, the box on all sides of the ball's center."""
    cvxpy = pytest.importorskip("cvxpy")
    for seed in range(25):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 5))
        center, low = rng.normal(size=n), rng.normal(size=n)
        low, high = center + 0.4 * low, center + 0.4 * low + rng.random(n)
        x, w = cvxpy.Variable(n), rng.normal(size=n) * 10.0 ** rng.integers(-3, 4)
        nearest = np.linalg.norm(np.clip(center, low, high) - center, 1 if norm == "l1" else 2)
        radius = float(nearest + rng.random() * n / 2)
        constraints = [x >= low, x <= high, cvxpy.norm(x - center, 1 if norm == "l1" else 2) <= radius]
        truth = cvxpy.Problem(cvxpy.Minimize(w @ x), constraints).solve(solver="CLARABEL")
        result = Sum(np.zeros(1), np.zeros(1))
        ball = query.Ball(norm, radius, center.tolist())
        with np.errstate(all="ignore"):
            Domain.of_box(low[:, None], high[:, None], ball).add_minimum(w[:, None], result)
        assert result.lower()[0] == pytest.approx(truth, rel=1e-6, abs=1e-5 * np.abs(w).max())


def test_a_box_outside_the_ball_is_empty() -> None:
    for norm, reach in (("l1", 1.0), ("l2", math.sqrt(0.5))):
        box = np.full((2, 1), 0.5), np.full((2, 1), 2.0)
        for radius, empty in ((reach * (1 - 1e-12), True), (reach * (1 + 1e-12), False)):
            domain = Domain.of_box(*box, query.Ball(norm, radius, [0.0, 0.0]))
            with np.errstate(all="ignore"):
                value, error = domain.least_displacement(np.ones((2, 1)))
            assert (value[0] - error[0] > 1e100) == empty


def test_strict_margins_need_only_zero_when_nothing_is_rounded() -> None:
    """No margins and an empty region aside, zero is where floating point stops: a strict margin of 0 may be rejected."""
    network = Network.from_layers([(np.ones((1, 1)), np.zeros(1))])
    checker = Checker(Region(np.zeros(1), np.ones(1)), Or((And((Atom(Linear({}, {0: Fraction(1)}), strict=True),)),)))
    proof = certify(network, checker, (single_leaf(1),))
    assert judged(audit_exact, proof, network, checker) == 0
    assert judged(audit_rounded, proof, network, checker) in (None, 0)
