"""The rounded audit against the exact audit, points, executions in float32, and rounding that would flip a naive verdict."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import random_instances as instances
import scipy.sparse as sparse
from random_proofs import Case, TreeMaker, certify, dyadic, judged, random_case, shifted, single_leaf
from reference_audit import CURVE_ERROR, Reference, curve

from pydual.audit import _rounded, query
from pydual.audit.exact import audit_exact
from pydual.audit.rounded import audit_rounded
from pydual.certificate import ADAPTIVE, COLUMNS, INTERVAL, PARALLEL, ProofTree
from pydual.checker import And, Atom, Checker, Linear, Or
from pydual.errors import CertificateError
from pydual.network import CURVES, Network
from pydual.operators.primitives import Affine, Curve, GraphBuilder, Relu
from pydual.region import Ball, Region

LINEAR = ("dense", "sparse", "residual", "branches", "chain")
KINDS = (*LINEAR, "sigmoid", "tanh", "curves")
LEVEL = 2**20  # added to every margin: all leaves hold
HIGH = 2**60  # the same for squares of squares


# never accepts what the exact audit rejects, and accepts the rest


@pytest.mark.parametrize("arithmetic", ["real", "float32"])
@pytest.mark.parametrize("ball", [None, "l1", "l2"])
@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_turn_where_those_of_the_exact_audit_turn(kind: str, ball: str | None, arithmetic: str) -> None:
    """Queries whose exact margin is 0, next to 0, and comfortably above; 15 cases each, 10 verdicts a case."""
    # curves and l2 balls leave a choice (slopes, kappa) that each audit makes for itself, as good up to rounding
    slack = Fraction(0) if kind in LINEAR and ball != "l2" else Fraction(1, 10**6)
    tried = 0
    for seed in range(1000, 1016):
        network, checker, trees = met_case(seed, kind, ball)
        margin = judged(audit_exact, certify(network, checker, trees, arithmetic), network, checker)
        if not isinstance(margin, Fraction):  # all cells are empty
            continue
        tried += 1
        for exact in (Fraction(0), *(side * Fraction(1, 10**digits) for digits in (6, 13, 16, 25) for side in (1, -1))):
            near = shifted(checker, exact - margin)
            found = judged(audit_rounded, certify(network, near, trees, arithmetic), network, near)
            assert found is None or (found <= exact + slack and exact + slack >= 0), (seed, exact)
        near = shifted(checker, 1 - margin)
        found = judged(audit_rounded, certify(network, near, trees, arithmetic), network, near)
        # the rounded audit may widen: cuts by phases do not reach curves of the same value, nor do balls what relus cut
        loose = kind == "curves" or (kind == "residual" and ball is not None)
        assert loose or (found is not None and 1 - Fraction(1, 10**6) * (1 + abs(margin - LEVEL)) <= found)
    assert tried >= 5


@pytest.mark.parametrize("ball", [None, "l1", "l2"])
@pytest.mark.parametrize("kind", ["square", "squares"])
def test_squares_turn_where_those_of_the_exact_audit_turn(kind: str, ball: str | None) -> None:
    """Squares of squares are large, so what rounding may cost is relative; ten steps of it decide."""
    proved = tried = 0
    for seed in range(1000, 1016):
        network, checker, trees = met_case(seed, kind, ball, HIGH)
        margin = judged(audit_exact, certify(network, checker, trees), network, checker)
        if not isinstance(margin, Fraction):
            continue
        tried += 1
        step = Fraction(1, 10**9) * (1 + abs(margin - HIGH))
        for exact in (-10**6 * step, -10 * step, Fraction(0), 10 * step, 10**6 * step):
            near = shifted(checker, exact - margin)
            found = judged(audit_rounded, certify(network, near, trees), network, near)
            assert found is None or found <= exact + 10 * step, (seed, exact)
            assert found is None or exact >= -10 * step
            proved += exact == 10**6 * step and found is not None
    assert tried >= 5 and 3 * proved >= 2 * tried


def test_squares_have_no_float32() -> None:
    network, checker, trees = random_case(3, "squares", "both", None, Fraction(HIGH))
    with pytest.raises(CertificateError, match="squares, of which nothing is known in float32"):
        audit_rounded(certify(network, checker, trees, "float32"), network, checker)


def met_case(seed: int, kind: str, ball: str | None, level: int = LEVEL) -> Case:
    """A case in which no cell lies outside of the ball: the bound there is as large as an audit likes."""
    for other in range(seed, seed + 10**6, 10**4):
        splits = ("1", "2", "both")[seed % 3] if ball is None else "2"
        network, checker, trees = random_case(other, kind, splits, ball, Fraction(level))
        if all(instances.in_ball(problem, nearest(problem)) for problem in query.problems(checker)):
            return network, checker, trees
    raise AssertionError("All boxes are outside of their balls.")


def nearest(problem: query.Problem) -> list[Fraction]:
    """The point of the box that is nearest to the center of the ball."""
    center = problem.lower if problem.ball is None else problem.ball.center
    return [Fraction(min(max(c, low), high)) for c, low, high in zip(center, problem.lower, problem.upper, strict=True)]


@pytest.mark.parametrize("kind", LINEAR)
def test_the_exact_audit_itself_agrees_next_to_the_threshold(kind: str) -> None:
    verdicts = set()
    for seed in range(2000, 2020):
        network, checker, trees = met_case(seed, kind, (None, "l1")[seed % 2])
        margin = judged(audit_exact, certify(network, checker, trees), network, checker)
        if not isinstance(margin, Fraction):
            continue
        for shift in (0, Fraction(2) ** -60, -(Fraction(2) ** -60), Fraction(1, 10**13), Fraction(1, 10**7)):
            near = shifted(checker, shift - margin)
            proof = certify(network, near, trees)
            exact, found = (judged(audit, proof, network, near) for audit in (audit_exact, audit_rounded))
            assert found is None or (exact is not None and found <= exact)
            verdicts.add((exact is None, found is None))
    assert {(True, True), (False, False)} <= verdicts


def test_random_proofs_are_judged_as_by_the_exact_audit() -> None:
    verdicts, tight = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        network = instances.random_network(rng, int(rng.integers(1, 4)))
        checker = instances.random_checker(rng, network, instances.random_region(rng, network.input_size))
        proof = instances.random_proof(rng, network, checker)
        exact, found = (judged(audit, proof, network, checker) for audit in (audit_exact, audit_rounded))
        assert (exact is None) == (found is None)
        verdicts.append(found is not None)
        if exact is not None and found is not None and exact != found and not checker.region.ball:
            assert found <= exact
            tight.append(exact * (1 - Fraction(1e-9)) <= found + Fraction(1e-9))
    assert set(verdicts) == {True, False} and sum(tight) >= 0.9 * len(tight)


def mutated(rng: np.random.Generator, tree: ProofTree) -> ProofTree:
    """One number of one column is another one; often still a proof, often none."""
    columns = {name: getattr(tree, name).copy() for name in COLUMNS}
    name = str(rng.choice([name for name, array in columns.items() if array.size]))
    flat = columns[name].reshape(-1)
    at = int(rng.integers(len(flat)))
    if flat.dtype.kind == "f":
        flat[at] = rng.choice([0.0, -flat[at], flat[at] * 2, flat[at] + 1, 1e300, 5e-324, 2.0**-1022])
    else:
        flat[at] = rng.choice([0, 1, 2, 3, int(flat[at]) ^ 1])
    return ProofTree(**columns, refinements=tree.refinements)


def test_mutated_proofs_are_never_accepted_by_the_rounded_audit_alone() -> None:
    accepted = rejected = 0
    with np.errstate(over="ignore"):  # 1e300 as a float32
        for seed in range(3000, 3300):
            rng = np.random.default_rng(seed)
            kind, arithmetic = LINEAR[seed % 5], ("real", "float32")[seed % 2]
            network, checker, trees = random_case(seed, kind, "both", (None, "l1")[seed % 3 == 0], Fraction(6))
            trees = tuple(mutated(rng, tree) for tree in trees)
            proof = certify(network, checker, trees, arithmetic)
            found = judged(audit_rounded, proof, network, checker)
            accepted, rejected = accepted + (found is not None), rejected + (found is None)
            if found is not None:
                exact = judged(audit_exact, proof, network, checker)
                assert exact is not None and (found <= exact or found > 2**40), seed
    assert accepted > 50 and rejected > 50


# the bound holds on points, and on executions


def values_at(network: Network, x: list[Fraction]) -> list[list[Fraction]]:
    """All values at a rational point: relus and affine maps exactly, curves to 40 digits."""
    values = [x]
    for p in network.primitives:
        if isinstance(p, Relu):
            values.append([max(v, Fraction(0)) for v in values[p.source]])
        elif isinstance(p, Curve):
            values.append([curve(p.kind, v) for v in values[p.source]])
        else:
            total = [Fraction(b) for b in p.bias.tolist()]
            for source, matrix in p.terms:
                for i, row in enumerate(to_dense(matrix).tolist()):
                    total[i] += sum(Fraction(m) * v for m, v in zip(row, values[source], strict=True) if m)
            values.append(total)
    return values


def to_dense(matrix: object) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def margins(problem: query.Problem, x: list[Fraction], y: list[Fraction]) -> list[Fraction]:
    rows = ((m.constant, m.x.items(), m.y.items()) for m in problem.margins)
    return [d + sum(c * x[i] for i, c in a) + sum(c * y[j] for j, c in b) for d, a, b in rows]


def as_fractions(x: np.ndarray) -> list[Fraction]:
    return [Fraction(v) for v in x.tolist()]


def worst_points(rng: np.random.Generator, network: Network, problem: query.Problem) -> list[list[Fraction]]:
    """Random points of the region, and the worst of them, moved toward where the greatest margin falls."""
    points = list(instances.random_points(rng, problem, 12))
    if problem.ball is not None or not points:
        return points

    def margin(x: np.ndarray) -> float:
        return float(max(margins(problem, as_fractions(x), as_fractions(network.evaluate(x)))))

    best = min((np.array([float(v) for v in x]) for x in points), key=margin)
    lower, upper = np.array(problem.lower), np.array(problem.upper)
    for step in 0.5 ** np.arange(12):
        tries = [np.clip(best + step * (upper - lower) * rng.normal(size=len(best)), lower, upper) for _ in range(4)]
        best = min([best, *tries], key=margin)
    return [*points, [Fraction(v) for v in best.tolist()]]


def test_points_never_beat_the_margin() -> None:
    gaps = []
    for seed in range(200, 264):
        kind, ball = KINDS[seed % 8], (None, "l1", "l2")[seed % 3]
        network, checker, trees = random_case(seed, kind, "both", ball, Fraction(LEVEL))
        margin = judged(audit_rounded, certify(network, checker, trees), network, checker)
        assert margin is not None
        for problem in query.problems(checker):
            for x in worst_points(np.random.default_rng(seed), network, problem):
                gap = max(margins(problem, x, values_at(network, x)[network.output])) - margin
                assert gap >= 0
                gaps.append(float(gap))
    assert len(gaps) > 300 and min(gaps) < 0.1  # of margins that move by several units


def executed(rng: np.random.Generator, network: Network, x: np.ndarray) -> list[Fraction]:
    """The outputs in binary32: sums in a random order and grouping, sometimes by fused multiply-add."""
    values = [x.astype(np.float32)]
    for p in network.primitives:
        if isinstance(p, Affine):
            rows = np.hstack([to_dense(m) for _, m in p.terms]).astype(np.float32)
            given = np.concatenate([values[s] for s, _ in p.terms])
            values.append(
                np.array([summed(rng, row, given, b) for row, b in zip(rows, p.bias.astype(np.float32), strict=True)])
            )
        elif isinstance(p, Relu):
            values.append(np.maximum(values[p.source], np.float32(0)))
        else:
            exact = CURVES[p.kind](values[p.source].astype(np.float64))
            values.append((exact + rng.uniform(-0.9, 0.9, exact.shape) * 2.0**-20).astype(np.float32))
    return [Fraction(float(v)) for v in values[network.output]]


def summed(rng: np.random.Generator, row: np.ndarray, given: np.ndarray, bias: np.float32) -> np.float32:
    if rng.random() < 0.3:  # fused: the product of two binary32 numbers is exact in binary64
        total = np.float64(bias)
        for i in rng.permutation(len(row)):
            total = np.float64(np.float32(np.float64(row[i]) * np.float64(given[i]) + total))
        return np.float32(total)
    parts = [bias, *(row * given)]
    while len(parts) > 1:
        i, j = rng.choice(len(parts), 2, replace=False)
        parts[i] = parts[i] + parts[j]
        del parts[j]
    return np.float32(parts[0])


def with_rounding(rng: np.random.Generator, network: Network) -> Network:
    """The network with weights that are no binary32 numbers, and with a detour that cancels."""
    graph = GraphBuilder(network.input_shape)
    made = [graph.input]
    for p in network.primitives:
        if isinstance(p, Affine):
            big = rng.normal(size=p.size) * 1e3
            terms = [(made[s], to_dense(m) / 3) for s, m in p.terms]
            there = graph.affine(terms, p.bias + big, (p.size,))
            made.append(graph.affine([(there, np.eye(p.size))], -big, (p.size,)))
        else:
            made.append(graph.relu(made[p.source]) if isinstance(p, Relu) else graph.curve(made[p.source], p.kind))
    return Network.from_graph(graph, made[network.output])


def test_executions_in_float32_never_beat_the_margin() -> None:
    """Over points (boxes of no width), so that rounding is all that there is; real proofs fail on some of them."""
    beaten = runs = 0
    for seed in range(400, 440):
        rng = np.random.default_rng(seed)
        network, checker, _ = random_case(seed, KINDS[seed % 8], "both", None, Fraction(LEVEL))
        network = with_rounding(rng, network)
        x = rng.normal(size=network.input_size).astype(np.float32).astype(np.float64)
        atom = Atom(Linear({}, {0: Fraction(1), 1: Fraction(-1, 3)}, Fraction(LEVEL)))
        checker = Checker(Region(x, x), atom)
        proofs = [certify(network, checker, (single_leaf(1),), arithmetic) for arithmetic in ("float32", "real")]
        margin, real = (judged(audit_rounded, proof, network, checker) for proof in proofs)
        assert margin is not None and real is not None and margin < real
        (problem,) = query.problems(checker)
        for _ in range(8):
            (value,) = margins(problem, [Fraction(v) for v in x.tolist()], executed(rng, network, x))
            runs += 1
            beaten += value < real
            assert value >= margin
    assert runs / 5 < beaten < runs


def test_a_real_proof_is_none_for_float32() -> None:
    """y = (x + 2^25) - 2^25 on [1, 1]: in binary32 it is 0."""
    network = Network.from_layers([([[1.0]], [2.0**25]), ([[1.0]], [-(2.0**25)])])
    checker = Checker(Region([1.0], [1.0]), Atom(Linear({}, {0: Fraction(1)}, -Fraction(1, 2))))
    for arithmetic, holds in (("real", True), ("float32", False)):
        proof = certify(network, checker, (single_leaf(1),), arithmetic)
        assert (judged(audit_rounded, proof, network, checker) is not None) == holds


@pytest.mark.parametrize(("weight", "reach"), [(2.0**100, 2.0**27), (2.0**127, 2.0**-300), (2.0**127, 0.0)])
def test_what_overflows_float32_is_rejected(weight: float, reach: float) -> None:
    network = Network.from_layers([([[weight]], [0.0]), ([[2.0**-100]], [0.0])])
    checker = Checker(Region([0.0], [reach]), Atom(Linear({}, {0: Fraction(1)}, Fraction(1))))
    for arithmetic, holds in (("real", True), ("float32", False)):
        proof = certify(network, checker, (single_leaf(1),), arithmetic)
        for audit in (audit_exact, audit_rounded):
            assert (judged(audit, proof, network, checker) is not None) == holds


def test_the_error_of_curves_is_charged_by_lines_and_by_intervals() -> None:
    network_of = {kind: one_curve(kind) for kind in CURVES}
    for kind, network in network_of.items():
        for lines in (-1, -2, -3):
            for sign in (1, -1):
                value = sign * curve(kind, Fraction(3, 4))
                atom = Atom(Linear({}, {0: Fraction(sign)}, CURVE_ERROR * Fraction(99, 100) - value))
                checker = Checker(Region([0.75], [0.75]), atom)
                proofs = [certify(network, checker, (single_leaf(1, ADAPTIVE, lines),), a) for a in ("real", "float32")]
                verdicts = [judged(audit_rounded, proof, network, checker) is not None for proof in proofs]
                assert verdicts == [True, False]


def one_curve(kind: str) -> Network:
    graph = GraphBuilder((1,))
    return Network.from_graph(graph, graph.curve(graph.input, kind))


# rounding


def margin_by_the_rules(network: Network, checker: Checker, trees: tuple[ProofTree, ...]) -> Fraction | None:
    """The least F / sum(lambda) of all leaves, or None if all cells are empty."""
    margins: list[Fraction] = []
    for problem, tree in zip(query.problems(checker), trees, strict=True):
        weights = [sum(map(Fraction, row)) for row in tree.multipliers.tolist()]
        bounds = Reference(network, problem, tree).bounds()
        margins += [bound / weight for bound, weight in zip(bounds, weights, strict=True) if bound is not None]
    return min(margins, default=None)


@pytest.mark.parametrize("scale", [2.0**-30, 1.0, 1e8 + 1])
def test_margins_below_rounding_are_not_accepted(scale: float) -> None:
    """Margins of -10^-12 and -10^-16 times the scale after cancellation: float evaluation would accept some."""
    naive = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        network, checker, trees = cancelling_case(rng, scale)
        margin = margin_by_the_rules(network, checker, trees)
        if margin is None:
            continue
        for gap in (Fraction(1, 10**12), Fraction(1, 10**16)):
            near = shifted(checker, -margin - gap * Fraction(scale))
            assert judged(audit_rounded, certify(network, near, trees), network, near) is None
        (problem,) = query.problems(shifted(checker, -margin))
        x = np.array(problem.lower)
        true = margins(problem, as_fractions(x), values_at(network, as_fractions(x))[-1])
        naive += float(problem.margins[0].constant) + network.evaluate(x)[0] > true[0]
    assert naive > 5  # in plain float64 the same values come out too large


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


@pytest.mark.parametrize("norm", [None, "l1", "l2"])
@pytest.mark.parametrize("kind", ["dense", "residual", "chain", "curves"])
def test_huge_numbers_prove_nothing(kind: str, norm: str | None) -> None:
    """Multipliers, weights and regions up to the largest double: what is accepted, the exact audit accepts."""
    for seed in range(500, 512):
        rng = np.random.default_rng(seed)
        network, checker, trees = random_case(seed, kind, "both", norm, Fraction(2 if seed % 2 else -2))
        trees = tuple(scaled(tree, rng) for tree in trees)
        proof = certify(network, checker, trees)
        found = judged(audit_rounded, proof, network, checker)
        assert found is None or judged(audit_exact, proof, network, checker) is not None


def scaled(tree: ProofTree, rng: np.random.Generator) -> ProofTree:
    multipliers, betas = tree.multipliers.astype(float), tree.split_multipliers.astype(float)
    huge = rng.choice([1e308, 1e300, np.finfo(float).max, 5e-324], multipliers.shape)
    betas = betas * rng.choice([1.0, 1e300, 1e308 / 10], betas.shape)
    return ProofTree(**{**vars(tree), "multipliers": huge, "split_multipliers": betas})


def test_underflow_is_charged() -> None:
    """y = 2^-540 * -2^-540 x + 2^-1073 at x = 1024 is below 0, though the product of the weights vanishes."""
    network, checker = underflow_case()
    for anchor in (INTERVAL, PARALLEL, ADAPTIVE):
        tree = single_leaf(1, anchor)
        assert Reference(network, query.problems(checker)[0], tree).bounds() < [Fraction(0)]
        assert judged(audit_rounded, certify(network, checker, (tree,)), network, checker) is None


def underflow_case() -> tuple[Network, Checker]:
    weight = np.array([[2.0**-540]])
    network = Network.from_layers([(weight, np.zeros(1)), (-weight, np.array([2.0**-1073]))])
    return network, Checker(Region(np.full(1, 1024.0), np.full(1, 1024.0)), Atom(Linear({}, {0: Fraction(1)})))


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
        margin = Linear({}, {0: Fraction(1)}, -product - Fraction(1, 10**12))
        checker = Checker(Region(np.ones(1), np.ones(1)), Atom(margin))
        assert judged(audit_rounded, certify(network, checker, (single_leaf(1),)), network, checker) is None
        naive += float((second @ first)[0, 0]) + float(margin.constant) > 0
    assert naive > 0


def test_strict_margins_need_only_zero_when_nothing_is_rounded() -> None:
    """Zero is where floating point stops: a strict margin of 0 may be rejected."""
    network = Network.from_layers([(np.ones((1, 1)), np.zeros(1))])
    checker = Checker(Region(np.zeros(1), np.ones(1)), Or((And((Atom(Linear({}, {0: Fraction(1)}), strict=True),)),)))
    proof = certify(network, checker, (single_leaf(1),))
    assert judged(audit_exact, proof, network, checker) == 0
    assert judged(audit_rounded, proof, network, checker) in (None, 0)


# regions


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
        net = _rounded.Network(n, [("affine", np.zeros(1), [(0, w[None])]), ("tanh", 1)], 1)
        found = _rounded.Root(_rounded.Refinements([], net), net, low, high, norm, center, radius, False, ADAPTIVE, 1).shift(
            1
        )[0]
        assert found == pytest.approx(truth, rel=1e-6, abs=1e-5 * np.abs(w).max())


def test_a_box_outside_the_ball_is_empty() -> None:
    """Nothing is a catastrophe there, and something is as soon as they meet; also where no coefficient is left."""
    for weight in (1.0, 0.0):
        network = Network.from_layers([(np.full((1, 2), weight), np.zeros(1))])
        for norm, reach in (("l1", 1.0), ("l2", math.sqrt(0.5))):
            for radius, empty in ((reach * (1 - 1e-9), True), (reach * (1 + 1e-9), False)):
                region = Region([0.5, 0.5], [2.0, 2.0], Ball(np.zeros(2), radius, norm))
                checker = Checker(region, Atom(Linear({}, {0: Fraction(1)}, Fraction(-99))))
                proof = certify(network, checker, (single_leaf(1),))
                for audit in (audit_exact, audit_rounded):
                    assert (judged(audit, proof, network, checker) is not None) == empty
