"""Gram leaves in the exact audit: against points of their cells, a slow reading of the rules, and a hand-made proof."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import random_instances as instances
import scipy.sparse as sparse
from random_proofs import certify, judged, random_gram_case, single_leaf
from reference_audit import ZERO, GramLeaf, Polynomial, Reference, curve

from pydual.audit import exact, exact_gram, query
from pydual.audit.exact import audit_exact
from pydual.certificate import GRAM_LEAF, ProofTree
from pydual.checker import Checker, X, Y
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.operators.primitives import Relu
from pydual.region import Ball, Region

KINDS = ("dense", "sparse", "residual", "branches", "chain")
LEVEL = Fraction(2**20)
TINY = Fraction(1, 10**9)
Rng = np.random.Generator


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> list[Fraction]:
    """The bounds F of the Gram leaves that the exact audit looks at, in order."""
    found: list[Fraction] = []

    def recorded(*arguments: Any) -> Fraction:
        found.append(exact_gram.gram_bound(*arguments))
        return found[-1]

    monkeypatch.setattr(exact, "gram_bound", recorded)
    return found


def leaves_of(seed: int, kind: str, ball: str | None, arithmetic: str = "real", size: float = 1.0) -> tuple[Any, ...]:
    """A random case whose leaves all hold, audited, and its Gram leaves by the slow reading."""
    network, checker, trees = random_gram_case(seed, kind, "both", ball, LEVEL, size)
    assert judged(audit_exact, certify(network, checker, trees, arithmetic), network, checker) is not None
    readings = [Reference(network, p, t, arithmetic) for p, t in zip(query.problems(checker), trees, strict=True)]
    for reading in readings:
        reading.bounds()
    return network, checker, [leaf for reading in readings for leaf in reading.grams]


def values_at(network: Network, x: list[Fraction], float32: bool) -> list[list[Fraction]]:
    """All values at a point, computed in float32, or rational but for curves, which are right to many digits."""
    values = [x]
    for primitive in network.primitives:
        if isinstance(primitive, Relu):
            values.append([max(v, ZERO) for v in values[primitive.source]])
        elif hasattr(primitive, "kind"):
            exact_values = [curve(primitive.kind, v) for v in values[primitive.source]]
            values.append([Fraction(float(np.float32(float(v)))) for v in exact_values] if float32 else exact_values)
        else:
            number = (lambda v: np.float32(float(v))) if float32 else Fraction
            total = [number(b) for b in primitive.bias.tolist()]
            for source, matrix in primitive.terms:
                dense = matrix.toarray() if sparse.issparse(matrix) else matrix
                for i, row in enumerate(dense.tolist()):
                    for entry, v in zip(row, values[source], strict=True):
                        total[i] = total[i] + number(entry) * number(v)
            values.append([Fraction(float(v)) for v in total] if float32 else total)
    return values


def points_of(rng: Rng, leaf: GramLeaf, count: int, float32: bool) -> list[list[list[Fraction]]]:
    """The values of the network at points of a leaf's cell."""
    problem = replace(leaf.reference.problem, lower=[float(a) for a, _ in leaf.box], upper=[float(b) for _, b in leaf.box])
    found = []
    for x in instances.random_points(rng, problem, count):
        if float32:
            x = [Fraction(float(np.float32(float(v)))) for v in x]
            if not all(a <= v <= b for v, (a, b) in zip(x, leaf.box, strict=True)) or not instances.in_ball(problem, x):
                continue
        values = values_at(leaf.network, x, float32)
        read = {j: values[leaf.neurons[j][0]][leaf.neurons[j][1]] for j in leaf.phases}
        if all(p >= 0 if leaf.phases[j] else p <= 0 for j, p in read.items()):
            found.append(values)
    return found


def value(polynomial: Polynomial, shares: dict[tuple[str, int], Fraction], leaf: GramLeaf) -> Fraction:
    """At a point of the box of the variables, given as shares of their ranges."""
    total = ZERO
    for monomial, c in polynomial.items():
        product = c * leaf.greatest(monomial)
        for variable in monomial:
            product *= shares[variable]
        total += product
    return total


@pytest.mark.parametrize("arithmetic", ["real", "float32"])
@pytest.mark.parametrize(("kind", "ball"), [*((k, b) for k in KINDS for b in (None, "l2")), ("dense", "l1"), ("curves", None)])
def test_no_point_of_the_cell_is_below_the_bound(kind: str, ball: str | None, arithmetic: str, bounds: list[Fraction]) -> None:
    """Every fact is >= 0 and Q is at least F, at points of the cell and in executions there."""
    seen: Counter[str] = Counter()
    float32, slack = arithmetic == "float32", TINY if kind == "curves" else ZERO
    for seed in range(8):
        bounds.clear()
        _, _, leaves = leaves_of(seed, kind, ball, arithmetic)
        assert len(bounds) == len(leaves)
        rng = np.random.default_rng(seed)
        for bound, leaf in zip(bounds, leaves, strict=True):
            seen["leaves"] += 1
            for values in points_of(rng, leaf, 12, float32):
                seen["points"] += 1
                for pair, _ in leaf.products:
                    assert all(leaf.fact_at(number, values) >= -slack for number in pair)
                assert leaf.at(values) >= bound - slack
                read = [values[leaf.neurons[j][0]][leaf.neurons[j][1]] for j in leaf.kept]
                seen["active"] += any(p > 0 for p in read)
                seen["inactive"] += any(p < 0 for p in read)
    assert seen["leaves"] > 10 and min(seen["points"], seen["active"], seen["inactive"]) > 50


@pytest.mark.parametrize(("kind", "ball"), [("dense", None), ("residual", "l2"), ("branches", None), ("curves", None)])
@pytest.mark.parametrize("arithmetic", ["real", "float32"])
def test_bounds_are_those_of_the_polynomial(kind: str, ball: str | None, arithmetic: str, bounds: list[Fraction]) -> None:
    """At most the polynomial of the slow reading, anywhere in the box of inputs and kept outputs; where squares leave nothing
    but a constant, at least this constant."""
    slack = TINY if ball is None else Fraction(1, 10**4)  # the reading searches for multipliers of balls
    total = same = 0
    for seed in range(30, 42):
        bounds.clear()
        _, _, leaves = leaves_of(seed, kind, ball, arithmetic)
        rng = np.random.default_rng(seed)
        for bound, leaf in zip(bounds, leaves, strict=True):
            polynomial = leaf.polynomial()
            variables = [("x", i) for i in range(leaf.inputs)] + [("z", j) for j in leaf.kept]
            for _ in range(60):
                shares = rng.random(len(variables)) if rng.random() < 0.3 else rng.integers(0, 2, len(variables))
                at = dict(zip(variables, (Fraction(float(s)) for s in shares), strict=True))
                assert value(polynomial, at, leaf) >= bound - slack
            plain = leaf.bound()
            assert leaf.rest or bound >= plain - slack
            same += abs(bound - plain) < slack
            total += 1
    assert total > 10 and same > 3


# by hand


CORNERS = Network.from_layers([([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])])
SQUARE = Region([-1.0, -1.0], [1.0, 1.0])
RAMP = Network.from_layers([([[1.0]], [0.0]), ([[1.0]], [0.0])])


def gram_tree(products: dict[tuple[int, int], float], tree: ProofTree | None = None, margins: int = 1) -> ProofTree:
    """One leaf, or those of a tree, all of them Gram leaves with the same products."""
    tree = tree or single_leaf(margins)
    count = len(tree.lines)
    return replace(
        tree,
        kind=np.where(tree.kind == 0, GRAM_LEAF, tree.kind).astype(np.uint8),
        products=np.array(list(products) * count, np.int32).reshape(-1, 2),
        product_multipliers=np.array(list(products.values()) * count, np.float64),
        product_counts=np.full(count, len(products), np.int32),
    )


def prove(network: Network, checker: Checker, tree: ProofTree, arithmetic: str = "real") -> Fraction | float:
    return audit_exact(certify(network, checker, (tree,), arithmetic), network, checker)


@pytest.mark.parametrize("arithmetic", ["real", "float32"])
def test_a_gram_leaf_proves_what_no_linear_leaf_proves(arithmetic: str) -> None:
    """relu(a + b) + relu(a - b) on the square: at most 2; 3 by triangles, 1 + sqrt 2 by products.

    With ``s = z1 + z2`` and ``d = z1 - z2``, ``s - 2 k - e + r (z1 (z1 - p1) + z2 (z2 - p2)) + ...`` is
    ``r/2 (d - b)^2 + r/2 s^2 - r s a + k a^2 - s`` and a constant, with k of a and r/2 of b.
    """
    r = 0.70703125
    k = r * (1 + 2**0.5) / 2
    products = {(5, 6): -r, (9, 10): -r, (1, 2): k, (3, 4): r / 2}
    # the least value of q s^2 - s is -1/4q
    best = Fraction(k) + Fraction(r / 2) + 1 / (4 * (Fraction(r) / 2 - Fraction(r) ** 2 / (4 * Fraction(k))))
    assert abs(float(best) - 1 - 2**0.5) < 1e-5
    checker = Checker(SQUARE, Y[0] >= "2.415")
    found = prove(CORNERS, checker, gram_tree(products), arithmetic)
    assert 0 <= Fraction("2.415") - best - found < (Fraction(1, 10**12) if arithmetic == "real" else Fraction(1, 10**5))
    for lines in (-1, -2, -3):  # a = 1, b = 0, z1 = z2 = 3/2 is in both triangles
        with pytest.raises(CertificateError, match="F = -0.585|F = -1.58"):
            prove(CORNERS, checker, single_leaf(1, 3, lines), arithmetic)
    with pytest.raises(CertificateError, match="not positive"):  # a true statement that these multipliers do not prove
        prove(CORNERS, Checker(SQUARE, Y[0] >= "2.4"), gram_tree(products), arithmetic)
    with pytest.raises(CertificateError, match="not positive"):  # a false one, whatever the multipliers
        prove(CORNERS, Checker(SQUARE, Y[0] >= 2), gram_tree({pair: 2 * rho for pair, rho in products.items()}), arithmetic)


def test_a_product_of_input_facts_is_about_the_box_of_the_cell(bounds: list[Fraction]) -> None:
    """x + 9 - rho (x - lower) (upper - x) is lower + 9 + x' (1 - rho R) + rho x'^2: least at x' = (rho R - 1) / 2 rho."""
    split = replace(
        single_leaf(1), kind=np.array([1, 0, 0], np.uint8), index=np.zeros(1, np.int32), threshold=np.array([1.0]),
        anchor=np.array([3, 0, 0], np.uint8), lines=np.full(2, -3, np.int32), multipliers=np.ones((2, 1)),
    )  # fmt: skip
    prove(CORNERS, Checker(Region([-1.0, 0.0], [4.0, 0.0]), X[0] + X[1] + 9 <= 0), gram_tree({(1, 2): 1.0}, split))
    wanted = [lower + 9 - Fraction(width - 1, 2) ** 2 for lower, width in ((-1, 2), (1, 3))]
    assert all(abs(bound - least) < Fraction(1, 10**20) for bound, least in zip(bounds, wanted, strict=True))


def test_facts_of_neurons_follow_the_phases(bounds: list[Fraction]) -> None:
    """x - z + 9 less the fact 2: x + 9 >= 8 where inactive, 9 where active, and x/3 - 2/3 + 9 >= 8 where neither."""
    split = replace(
        single_leaf(1), kind=np.array([2, 0, 0], np.uint8), index=np.zeros(1, np.int32),
        anchor=np.array([3, 0, 0], np.uint8), lines=np.full(2, -3, np.int32), multipliers=np.ones((2, 1)),
        split_multipliers=np.zeros(2),
    )  # fmt: skip
    checker = Checker(Region([-1.0], [2.0]), X[0] - Y[0] + 9 <= 0)
    for tree in (split, single_leaf(1)):
        prove(RAMP, checker, gram_tree({(0, 5): 1.0}, tree))
    assert bounds[:2] == [8, 9] and 8 - Fraction(1, 10**15) < bounds[2] <= 8


def test_the_ball_is_a_fact(bounds: list[Fraction]) -> None:
    """-a - b + 9 over the unit disk, by k (1 - a^2 - b^2): 9 - k - 1/2k, at best 9 - sqrt 2."""
    region = Region([-1.0, -1.0], [1.0, 1.0], Ball([0.0, 0.0], 1.0, "l2"))
    checker = Checker(region, 9 - X[0] - X[1] + 0 * Y[0] <= 0)
    k = Fraction(0.70703125)
    prove(CORNERS, checker, gram_tree({(0, 13): float(k)}))
    assert 0 <= 9 - k - 1 / (2 * k) - bounds[0] < Fraction(1, 10**12)


# the rules of form


ALLOWED = [
    *((0, g) for g in range(14)), (1, 2), (3, 4),
    *((f, g) for f in (5, 8, 9, 12) for g in range(13)),
]  # fmt: skip
NUMBERS = [(f, g) for f in range(14) for g in range(14)]


def test_exactly_the_allowed_products_are_allowed() -> None:
    """Of the facts of two inputs, two neurons and an l2 ball, with multipliers of either sign."""
    ball = Checker(Region([-1.0, -1.0], [1.0, 1.0], Ball([0.0, 0.0], 1.0, "l2")), Y[0] >= 100)
    for pair in NUMBERS:
        for rho in (0.5, 0.0, -0.5):
            allowed = pair in ALLOWED and (rho >= 0 or pair in ((5, 6), (9, 10)))
            found = judged(audit_exact, certify(CORNERS, ball, (gram_tree({pair: rho}),)), CORNERS, ball)
            assert (found is not None) == allowed, (pair, rho)


@pytest.mark.parametrize("shape", [None, Ball([0.0, 0.0], 1.0, "l1")])
def test_only_an_l2_ball_is_a_fact(shape: Ball | None) -> None:
    checker = Checker(Region([-1.0, -1.0], [1.0, 1.0], shape), Y[0] >= 100)
    assert prove(CORNERS, checker, gram_tree({(0, 12): 0.5}))
    with pytest.raises(CertificateError, match="'products' contains 13"):
        prove(CORNERS, checker, gram_tree({(0, 13): 0.5}))


GOOD = gram_tree({(5, 6): -1.0, (0, 5): 0.5})
FORMS: dict[str, dict[str, Any]] = {
    "an unknown fact": {"products": np.array([[0, 13], [0, 5]], np.int32)},
    "a negative fact": {"products": np.array([[0, -1], [0, 5]], np.int32)},
    "three facts": {"products": np.zeros((2, 3), np.int32)},
    "no pairs": {"products": np.zeros(4, np.int32)},
    "facts of another type": {"products": np.array([[5, 6], [0, 5]], np.int64)},
    "facts missing": {"products": None},
    "too few products": {"product_counts": np.array([3], np.int32)},
    "too many products": {"product_counts": np.array([1], np.int32)},
    "a negative count": {"product_counts": np.array([-1], np.int32)},
    "no count": {"product_counts": np.zeros(0, np.int32)},
    "two counts": {"product_counts": np.array([2, 0], np.int32)},
    "counts of another type": {"product_counts": np.array([2.0])},
    "NaN": {"product_multipliers": np.array([np.nan, 0.5])},
    "infinity": {"product_multipliers": np.array([-np.inf, 0.5])},
    "a negative multiplier": {"product_multipliers": np.array([-1.0, -0.5])},
    "too few multipliers": {"product_multipliers": np.array([-1.0])},
    "too many multipliers": {"product_multipliers": np.array([-1.0, 0.5, 0.5])},
    "multipliers of another type": {"product_multipliers": np.array([1, 1], np.int32)},
    "a linear leaf": {"kind": np.zeros(1, np.uint8)},
    "a fifth kind": {"kind": np.full(1, 4, np.uint8)},
    "no anchor": {"anchor": np.zeros(1, np.uint8)},
}


@pytest.mark.parametrize("forgery", FORMS)
def test_forged_columns_are_rejected(forgery: str) -> None:
    checker = Checker(SQUARE, Y[0] >= 100)
    assert prove(CORNERS, checker, GOOD) > 0
    with pytest.raises(CertificateError):
        prove(CORNERS, checker, replace(GOOD, **FORMS[forgery]))


def test_rules_of_form_hold_in_empty_cells() -> None:
    empty = replace(
        single_leaf(1), kind=np.array([1, 3, 3], np.uint8), index=np.zeros(1, np.int32), threshold=np.array([5.0]),
        anchor=np.array([3, 0, 0], np.uint8), lines=np.full(2, -3, np.int32), multipliers=np.ones((2, 1)),
        products=np.array([[0, 5]], np.int32), product_multipliers=np.array([0.5]), product_counts=np.array([0, 1], np.int32),
    )  # fmt: skip
    checker = Checker(SQUARE, Y[0] >= 100)
    assert prove(CORNERS, checker, empty) > 0
    for columns in ({"products": np.array([[2, 1]], np.int32)}, {"product_multipliers": np.array([-0.5])}):
        with pytest.raises(CertificateError, match="node 2: the facts"):
            prove(CORNERS, checker, replace(empty, **columns))


# hostile numbers


def test_hostile_multipliers_give_true_bounds_or_none(bounds: list[Fraction]) -> None:
    """Multipliers from 2^-1070 to 2^1023: no other error than CertificateError, and no bound above a point."""
    checked = 0
    for seed in range(20):
        bounds.clear()
        network, checker, trees = random_gram_case(seed, KINDS[seed % 5], "both", None, LEVEL)
        rng = np.random.default_rng(seed)
        hostile = []
        for tree in trees:
            exponents = rng.choice([-1070, -500, -60, 0, 0, 60, 500, 1020], len(tree.product_multipliers))
            numbers = np.ldexp(tree.product_multipliers.astype(float), exponents)
            hostile.append(replace(tree, product_multipliers=numbers))
        judged(audit_exact, certify(network, checker, tuple(hostile)), network, checker)
        for problem, tree in zip(query.problems(checker), hostile, strict=True):
            reading = Reference(network, problem, tree)
            reading.bounds()
            for leaf in reading.grams[: len(bounds)]:
                bound = bounds.pop(0)
                slack = sum(abs(rho) for _, rho in leaf.products) / 2**30  # the audit's chords are rounded
                for values in points_of(rng, leaf, 3, False):
                    checked += 1
                    assert leaf.at(values) >= bound - slack
    assert checked > 20


@pytest.mark.parametrize("inputs", [1, 30])
def test_coefficients_do_not_grow_from_neuron_to_neuron(inputs: int) -> None:
    """Random products of all pairs of 30 neurons: indefinite, with tiny squares beside large coefficients."""
    rng = np.random.default_rng(inputs)
    width = 30
    weights = rng.normal(size=(width, inputs))
    network = Network.from_layers([(weights, rng.normal(size=width)), (rng.normal(size=(1, width)), [0.0])])
    region = Region(-np.ones(inputs), np.ones(inputs))
    z = [1 + 2 * inputs + 4 * j for j in range(width)]
    products = {(f, g + 3): float(2.0 ** rng.integers(-300, 300)) for f in z for g in z}
    products |= {(1 + 2 * i, 2 + 2 * i): 2.0**-600 for i in range(inputs)}
    with pytest.raises(CertificateError, match="F = -.* is not positive"):
        prove(network, Checker(region, Y[0] >= 1000), gram_tree(products))


# rounding, on integers so small that it shows


def test_squares_of_small_integers_leave_a_lower_bound() -> None:
    rng = np.random.default_rng(0)
    squares_used = 0
    for _ in range(300):
        size, kept = int(rng.integers(0, 4)), int(rng.integers(0, 4))
        slopes, squares = rng.integers(-9, 10, size + kept).tolist(), rng.integers(0, 12, size).tolist()
        gram = rng.integers(-6, 7, (kept, size + kept))
        gram[:, size:] += 12 * np.eye(kept, dtype=int)
        bound = exact_gram._rest(slopes, squares, gram.tolist())
        squares_used += bound > sum(min(0, v) for v in [*slopes, *gram.flatten().tolist()])
        for _ in range(30):
            t = rng.random(size + kept) if rng.random() < 0.5 else rng.integers(0, 9, size + kept) / 8
            x = [Fraction(v) for v in t.tolist()]
            found = sum((a * v for a, v in zip(slopes, x, strict=True)), ZERO)
            found += sum(d * v * v for d, v in zip(squares, x, strict=False))
            found += sum(c * v * x[size + j] for j, row in enumerate(gram.tolist()) for c, v in zip(row, x, strict=True))
            assert found >= bound
    assert squares_used > 100


@pytest.mark.parametrize(("exponent", "unit"), [(-3, 0), (0, 0), (2, 1), (-2000, -3), (5000, 4999)])
def test_coefficients_are_rounded_down(exponent: int, unit: int) -> None:
    numbers = [-9, -8, -1, 0, 1, 7, 8]
    factor = Fraction(2) ** (exponent - unit)
    assert exact_gram._rounded_down(numbers, exponent, unit) == [(v * factor).__floor__() for v in numbers]


def test_what_is_left_of_a_convex_polynomial_is_never_below_its_least_value() -> None:
    """Over all real numbers, which is what provers count on, wherever in or around the box it is attained."""
    rng, tried = np.random.default_rng(0), 0
    for _ in range(600):
        n, k = int(rng.integers(0, 6)), int(rng.integers(1, 7))
        squares, mixed, root = rng.random(n) + 0.5, 0.3 * rng.normal(size=(n, k)), rng.normal(size=(k + 1, k))
        kept = mixed.T @ np.diag(1.0 / squares) @ mixed + root.T @ root
        whole = np.block([[np.diag(squares), mixed], [mixed.T, kept]])
        slopes = -2.0 * whole @ rng.uniform(-0.5, 1.5, n + k)
        least = -0.25 * slopes @ np.linalg.solve(whole, slopes)
        upper = np.triu(kept) + np.triu(kept, 1)
        rows = [[*(2.0 * mixed[:, j]), *upper[j]] for j in range(k)]
        unit = 2**80
        integers = [[int(v * unit) for v in numbers] for numbers in (slopes, squares, *rows)]
        found = Fraction(exact_gram._rest(integers[0], integers[1], integers[2:]), unit)
        assert found >= least - 1e-7 * (1 + abs(least))
        tried += found > least + 1e-3
    assert tried > 100
