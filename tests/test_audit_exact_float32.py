"""The exact audit in float32: executions in numpy's binary32, in many orders, stay within what the audit allows."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import random_instances as instances
import scipy.sparse as sparse
from random_proofs import certify, judged, random_case, single_leaf

from pydual.audit import query
from pydual.audit.exact import audit_exact
from pydual.audit.exact_bounds import Relaxation, derive
from pydual.audit.exact_network import Network as ExactNetwork
from pydual.audit.exact_region import Region as ExactRegion
from pydual.checker import Checker, X, Y
from pydual.network import CURVES, Network
from pydual.operators.primitives import Affine, Curve, GraphBuilder, Relu
from pydual.region import Region

Rng = np.random.Generator
F32 = np.float32


# y = (x + 2^25) - 2^25


def absorbing(*, with_relu: bool) -> Network:
    graph = GraphBuilder((1,))
    one = sparse.csr_array(np.ones((1, 1)))
    moved = graph.affine([(graph.input, one)], np.array([2.0**25]), (1,))
    moved = graph.relu(moved) if with_relu else moved
    return Network.from_graph(graph, graph.affine([(moved, one)], np.array([-(2.0**25)]), (1,)))


@pytest.mark.parametrize("with_relu", [False, True])
def test_a_real_proof_proves_nothing_about_float32(with_relu: bool) -> None:
    """y = x is never 1/4 below x in real arithmetic; in binary32, x = 3/4 gives y = 0."""
    network = absorbing(with_relu=with_relu)
    checker = Checker(Region([0.0], [1.0]), X[0] - Y[0] >= "1/4")
    real, float32 = (certify(network, checker, (single_leaf(1),), arithmetic) for arithmetic in ("real", "float32"))
    assert audit_exact(real, network, checker) == Fraction(1, 4)
    assert judged(audit_exact, float32, network, checker) is None
    x = np.array([0.75])
    y = (F32(x) + F32(2**25)) - F32(2**25)
    assert checker.is_catastrophe(x, y) and not checker.is_catastrophe(x, network.evaluate(x))
    far = Checker(Region([0.0], [1.0]), X[0] - Y[0] >= 1000)
    found = judged(audit_exact, certify(network, far, (single_leaf(1),), "float32"), network, far)
    assert found is not None and 900 < found < 996  # u 2^25 is 2, and N is 5 or 10


def test_other_arithmetic_is_refused() -> None:
    network = absorbing(with_relu=True)
    checker = Checker(Region([0.0], [1.0]), X[0] - Y[0] >= 1000)
    for arithmetic in ("float64", "Real", "", None, 32, "float32 ", ["real"]):
        proof = certify(network, checker, (single_leaf(1),), arithmetic)  # type: ignore[arg-type]
        assert judged(audit_exact, proof, network, checker) is None


# executions


class Machine:
    """Executes networks in binary32; each sum in another random order and grouping, with or without fused steps."""

    def __init__(self, rng: Rng) -> None:
        self.rng, self.flush = rng, bool(rng.random() < 0.5)
        self.style = str(rng.choice(["tree", "left", "right", "fused", "dot"]))

    def rounded(self, value: float) -> np.float32:
        with np.errstate(under="ignore"):
            result = F32(value)
        return F32(0) if self.flush and abs(result) < 2.0**-126 else result

    def inner(self, a: np.ndarray, v: np.ndarray, bias: np.float32) -> np.float32:
        order = self.rng.permutation(len(a))
        a, v = a[order], v[order]
        if self.style == "dot":
            return self.rounded(float(np.dot(a, v) + bias))
        if self.style == "fused":
            total = bias
            for x, y in zip(a.tolist(), v.tolist(), strict=True):
                total = self.rounded(x * y + float(total))  # a product of binary32 numbers is a float64
            return total
        items = [self.rounded(float(x) * float(y)) for x, y in zip(a, v, strict=True)]
        items.insert(int(self.rng.integers(len(items) + 1)), bias)
        while len(items) > 1:
            at = {"tree": int(self.rng.integers(len(items) - 1)), "left": 0, "right": len(items) - 2}[self.style]
            items[at : at + 2] = [self.rounded(float(items[at]) + float(items[at + 1]))]
        return items[0]

    def affine(self, primitive: Affine, values: list[np.ndarray]) -> np.ndarray:
        rows = np.hstack([dense(matrix) for _, matrix in primitive.terms])
        source = np.concatenate([values[s] for s, _ in primitive.terms])
        weights = np.array([[self.rounded(m) for m in row] for row in rows.tolist()], F32).reshape(rows.shape)
        biases = [self.rounded(b) for b in primitive.bias.tolist()]
        picks = [np.flatnonzero(row) for row in rows]
        return np.array([self.inner(w[p], source[p], b) for w, p, b in zip(weights, picks, biases, strict=True)], F32)

    def values(self, network: Network, x: np.ndarray) -> list[np.ndarray]:
        values = [np.asarray(x, F32)]
        for primitive in network.primitives:
            if isinstance(primitive, Relu):
                values.append(np.maximum(values[primitive.source], F32(0)))
            elif isinstance(primitive, Curve):
                exact = CURVES[primitive.kind](values[primitive.source].astype(np.float64))
                values.append(F32(exact + self.rng.uniform(-0.9, 0.9, exact.shape) * 2.0**-20))
            else:
                values.append(self.affine(primitive, values))
        return values


def dense(matrix: object) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)  # type: ignore[attr-defined]


def float32_points(rng: Rng, lower: np.ndarray, upper: np.ndarray, number: int) -> Iterator[np.ndarray]:
    """Points of the box whose coordinates are binary32 numbers."""
    for _ in range(number):
        x = F32(np.clip(lower + rng.random(len(lower)) * (upper - lower), lower, upper))
        if (x >= lower).all() and (x <= upper).all():
            yield x


def derived(network: Network, lower: np.ndarray, upper: np.ndarray, anchor: int) -> Relaxation:
    region = ExactRegion(lower.tolist(), upper.tolist(), None)
    bounds = derive(ExactNetwork(network), region, (), anchor, None, True, lambda: None)
    assert bounds is not None
    return bounds


def exact_affine(primitive: Affine, values: list[np.ndarray]) -> list[Fraction]:
    """``sum M v + b`` in rationals, of computed values."""
    result = []
    for r, b in enumerate(primitive.bias.tolist()):
        terms = [zip(dense(m)[r].tolist(), values[s].tolist(), strict=True) for s, m in primitive.terms]
        result.append(Fraction(b) + sum(Fraction(m) * Fraction(v) for pairs in terms for m, v in pairs))
    return result


def wide_network(rng: Rng, scale: float) -> Network:
    """Layers of 20 neurons with weights that are no binary32 numbers, a chain of affine maps, curves, a residual sum."""
    graph = GraphBuilder((12,))

    def affine(*sources):  # type: ignore[no-untyped-def]
        return graph.affine([(v, rng.normal(size=(20, v.size)) * scale) for v in sources], rng.normal(size=20) * scale, (20,))

    hidden = affine(affine(graph.input))
    joined = affine(graph.relu(hidden), hidden, graph.curve(hidden, "tanh"))
    return Network.from_graph(graph, affine(graph.curve(joined, "sigmoid"), graph.relu(joined), graph.input))


@pytest.mark.parametrize("scale", [1.0, 300.0, 2.0**-60, 2.0**-70])
def test_executions_stay_within_the_error(scale: float) -> None:
    compared = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        network = wide_network(rng, scale)
        center = rng.normal(size=12)
        lower, upper = center - 0.01, center + 0.01
        bounds = derived(network, lower, upper, (1, 2, 3)[seed % 3])
        for x in float32_points(rng, lower, upper, 5):
            values = Machine(rng).values(network, x)
            for k, primitive in enumerate(network.primitives, 1):
                if isinstance(primitive, Affine):
                    errors, e = bounds.errors[k]
                    for found, exact, error in zip(values[k].tolist(), exact_affine(primitive, values), errors, strict=True):
                        compared += 1
                        assert abs(Fraction(found) - exact) <= error * Fraction(2) ** e
            for value, (low, high, e) in bounds.intervals.items():
                for v, a, b in zip(values[value].tolist(), low, high, strict=True):
                    assert a * Fraction(2) ** e <= Fraction(v) <= b * Fraction(2) ** e
    assert compared > 1000


def one_row(weights: list[float], bias: float = 0.0) -> Network:
    return Network.from_layers([(np.array([weights]), np.array([bias]))])


def test_the_worst_order_is_covered_but_barely() -> None:
    """1 + 200 times a number just below half a unit of 1, from the left: every summand is lost."""
    small = 2.0**-24 * (1 - 2.0**-20)
    network = one_row([1.0] + [small] * 200)
    errors, e = derived(network, np.ones(201), np.ones(201), 1).errors[1]
    total = F32(1)
    for _ in range(200):
        total = F32(total + F32(small))
    lost = 1 + 200 * Fraction(small) - Fraction(float(total))
    assert total == 1 and lost <= errors[0] * Fraction(2) ** e <= lost * Fraction(11, 10)


def test_flushed_products_are_covered() -> None:
    """Products below 2^-126 may vanish: 50 of them, each nearly that large; and a weight that is subnormal."""
    for weight, x in ((2.0**-100, 2.0**-27), (2.0**-127, 2.0**20), (2.0**-130, 1.0)):
        network = one_row([weight] * 50)
        errors, e = derived(network, np.full(50, x), np.full(50, x), 1).errors[1]
        assert 50 * Fraction(weight) * Fraction(x) <= errors[0] * Fraction(2) ** e


def test_merged_dense_maps_are_covered() -> None:
    """W2 (W1 x + b1) + b2 with W2 W1 and W2 b1 + b2 multiplied out in binary32 beforehand."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        w1, w2, b1, b2 = rng.normal(size=(9, 7)), rng.normal(size=(5, 9)), rng.normal(size=9), rng.normal(size=5)
        graph = GraphBuilder((7,))
        value = graph.affine([(graph.affine([(graph.input, w1)], b1, (9,)), w2)], b2, (5,))
        network = Network.from_graph(graph, value)
        x = F32(rng.normal(size=7))
        errors, e = derived(network, x.astype(float), x.astype(float), 1).errors[2]
        computed = (F32(w2) @ F32(w1)) @ x + (F32(w2) @ F32(b1) + F32(b2))
        truth = instances.exact_values(network, [Fraction(v) for v in x.tolist()])[2]
        for found, exact, error in zip(computed.tolist(), truth, errors, strict=True):
            assert abs(Fraction(found) - exact) <= error * Fraction(2) ** e


@pytest.mark.parametrize("kind", ["dense", "sparse", "residual", "branches", "chain", "tanh", "curves"])
def test_executions_never_beat_a_float32_margin(kind: str) -> None:
    executed = 0
    for seed in range(15):
        network, checker, trees = random_case(seed, kind, "both", None, Fraction(2**20))
        margin = judged(audit_exact, certify(network, checker, trees, "float32"), network, checker)
        assert margin is not None
        rng = np.random.default_rng(seed)
        for problem in query.problems(checker):
            for x in float32_points(rng, np.array(problem.lower), np.array(problem.upper), 4):
                y = Machine(rng).values(network, x)[network.output].tolist()
                executed += 1
                values = [
                    m.constant
                    + sum(c * Fraction(float(x[i])) for i, c in m.x.items())
                    + sum(c * Fraction(y[j]) for j, c in m.y.items())
                    for m in problem.margins
                ]
                assert margin <= max(values)
    assert executed > 30
