"""The exact audit against truth: bounds by hand, enumeration with one input, sampled points, a slow reading."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import random_instances as instances
import scipy.sparse as sparse
from reference_audit import Reference

from pydual.audit import query
from pydual.audit.exact import audit_exact
from pydual.audit.exact_network import LONG, Matrix
from pydual.certificate import Proof, ProofTree
from pydual.checker import And, Atom, Checker, Linear, Or, X, Y
from pydual.errors import CertificateError, InputError
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.problem import normalize
from pydual.region import Ball, Region


def tree(**columns: Any) -> ProofTree:
    """A tree of one adaptive leaf at an adaptive anchor, with other columns where given."""
    types = {"kind": np.uint8, "anchor": np.uint8, "index": np.int32, "lines": np.int32, "slope_neurons": np.int32}
    default: dict[str, Any] = {
        "kind": [0],
        "index": [],
        "threshold": [],
        "anchor": [3],
        "lines": [-3],
        "slopes": np.zeros((0, 0)),
        "slope_neurons": [],
        "multipliers": [[1.0]],
        "split_multipliers": [],
    }
    return ProofTree(**{name: np.asarray(columns.get(name, d), types.get(name)) for name, d in default.items()})


def prove(network: Network, checker: Checker, *trees: ProofTree) -> Fraction | float:
    return audit_exact(Proof(network.digest, query.query_digest(checker), trees), network, checker)


# hand-computed: y = relu(x) on [-1, 2], where the line above is (2/3) (x + 1)


@pytest.fixture
def ramp() -> Network:
    return Network.from_layers([([[1.0]], [0.0]), ([[1.0]], [0.0])])


INTERVAL = Region([-1.0], [2.0])


def ramp_margin(network: Network, output: str, **columns: Any) -> Fraction | float:
    """The proven margin of ``output + 10 > 0`` minus 10, for output y, -y or y - x."""
    margin = {"y": Y[0], "-y": -Y[0], "y-x": Y[0] - X[0]}[output]
    return prove(network, Checker(INTERVAL, margin + 10 <= 0), tree(**columns)) - 10


@pytest.mark.parametrize(
    ("output", "columns", "expected"),
    [
        ("y", {"lines": [-1]}, 0),  # max(l, 0)
        ("-y", {"lines": [-1]}, -2),  # -max(u, 0)
        ("y", {"lines": [-3]}, 0),  # the line y >= x gives -1, the stage before it max(l, 0)
        ("y-x", {"lines": [0], "slopes": [[0.0]], "slope_neurons": [0]}, -2),
        ("y-x", {"lines": [0], "slopes": [[0.25]], "slope_neurons": [0]}, Fraction(-3, 2)),
        ("y-x", {"lines": [1], "slopes": np.array([[0], [64]], np.uint8), "slope_neurons": [0]}, -1),
        ("y-x", {"lines": [0], "slopes": np.zeros((1, 0)), "slope_neurons": []}, 0),  # not listed: adaptive
        ("-y", {"lines": [-3]}, -2),  # the chord at x = 2
        ("y-x", {"lines": [-3]}, 0),
        ("y-x", {"lines": [-1]}, -2),
        ("y-x", {"lines": [-2]}, Fraction(-2, 3)),  # the line y >= (2/3) x
        ("y-x", {"lines": [-2], "multipliers": [[0.125]]}, Fraction(-2, 3)),
    ],
)
def test_bounds_by_hand(ramp: Network, output: str, columns: dict[str, Any], expected: Fraction) -> None:
    found = ramp_margin(ramp, output, **columns)
    assert expected - Fraction(1, 2**50) <= found <= expected


def test_neuron_split_by_hand(ramp: Network) -> None:
    """y - x + 1/4 > 0 is true by 1/4; with parallel lines a split at the neuron proves it."""
    checker = Checker(INTERVAL, Y[0] - X[0] + "1/4" <= 0)
    with pytest.raises(CertificateError, match="F = -0.41"):
        prove(ramp, checker, tree(lines=[-2]))
    split: dict[str, Any] = {"kind": [2, 0, 0], "index": [0], "anchor": [3, 0, 0], "multipliers": [[1.0], [1.0]]}
    with pytest.raises(CertificateError, match="node 1: the leaf's bound F = -1.75"):
        prove(ramp, checker, tree(**split, lines=[-2, -2], split_multipliers=[0.0, 0.0]))
    # inactive, with beta: y - x + beta x >= 0 - x + x
    assert prove(ramp, checker, tree(**split, lines=[-2, -2], split_multipliers=[1.0, 0.0])) == Fraction(1, 4)
    with pytest.raises(CertificateError, match="node 2"):  # active: y - x - beta x = -x / 2 is -1 at x = 2
        prove(ramp, checker, tree(**split, lines=[-2, -2], split_multipliers=[1.0, 0.5]))


def test_input_split_by_hand(ramp: Network) -> None:
    """-y + 3/2 > 0 fails at 2; on y - x + 1/4 a cut of the input at 0 makes the neuron stable on both sides."""
    split: dict[str, Any] = {"kind": [1, 0, 0], "index": [0], "threshold": [0.0], "multipliers": [[1.0], [1.0]]}
    checker = Checker(INTERVAL, Y[0] - X[0] + "1/4" <= 0)
    assert prove(ramp, checker, tree(**split, anchor=[0, 3, 3], lines=[-3, -3])) == Fraction(1, 4)
    with pytest.raises(CertificateError, match="node 2"):
        prove(ramp, Checker(INTERVAL, -Y[0] + "3/2" <= 0), tree(**split, anchor=[0, 3, 3], lines=[-3, -3]))


def test_a_threshold_outside_leaves_an_empty_cell(ramp: Network) -> None:
    checker = Checker(INTERVAL, Y[0] + 5 <= 0)
    columns: dict[str, Any] = {"kind": [1, 0, 0], "index": [0], "threshold": [7.0], "anchor": [3, 0, 0]}
    assert prove(ramp, checker, tree(**columns, lines=[-1, -1], multipliers=[[1.0], [0.0]])) == 5
    with pytest.raises(CertificateError, match="node 1"):
        prove(ramp, checker, tree(**columns, lines=[-1, -1], multipliers=[[0.0], [1.0]]))


def test_a_phase_against_the_interval_leaves_an_empty_cell() -> None:
    network = Network.from_layers([([[1.0]], [5.0]), ([[1.0]], [0.0])])
    columns: dict[str, Any] = {"kind": [2, 0, 0], "index": [0], "anchor": [1, 0, 0], "lines": [-3, -3]}
    proof = tree(**columns, multipliers=[[0.0], [1.0]], split_multipliers=[0.0, 0.0])
    assert prove(network, Checker(INTERVAL, Y[0] <= 0), proof) == 4  # y = x + 5 >= 4, and never inactive


def test_strict_margins_hold_at_zero(ramp: Network) -> None:
    assert prove(ramp, Checker(INTERVAL, Y[0] < 0), tree(lines=[-1])) == 0
    with pytest.raises(CertificateError, match="F = 0 is not positive"):
        prove(ramp, Checker(INTERVAL, Y[0] <= 0), tree(lines=[-1]))
    both = Checker(INTERVAL, (Y[0] <= 0) & (Y[0] - X[0] < 0))
    with pytest.raises(CertificateError, match="F = 0 is not positive"):  # no weight on the strict one
        prove(ramp, both, tree(lines=[-1], multipliers=[[1.0, 0.0]]))


def test_a_query_without_problems_needs_no_tree(ramp: Network) -> None:
    checker = Checker(INTERVAL, X[0] >= 3)
    assert query.problems(checker) == [] and prove(ramp, checker) == math.inf


def test_disjoint_box_and_ball_are_proven_without_margins(ramp: Network) -> None:
    for norm, radius in (("l1", 1.5), ("l2", 1.5), ("l2", 0.0)):
        region = Region([-1.0], [2.0], Ball(np.array([4.0]), radius, norm))
        empty = Checker(region, X[0] <= 2)
        assert prove(ramp, empty, tree(multipliers=np.ones((1, 0)))) == math.inf
        near = Checker(Region([-1.0], [2.0], Ball(np.array([4.0]), 2.0, norm)), X[0] <= 2)
        with pytest.raises(CertificateError):  # they meet in x = 2
            prove(ramp, near, tree(multipliers=np.ones((1, 0))))


# balls, against a closed form and a conic solver


def linear_network(w: np.ndarray) -> Network:
    return Network.from_layers([(w[None, :], np.zeros(1))])


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_ball_inside_the_box(norm: str, size: int) -> None:
    rng = np.random.default_rng(size)
    w, center, radius = rng.normal(size=size), rng.normal(size=size), 0.7
    region = Region(center - 1, center + 1, Ball(center, radius, norm))
    truth = w @ center - radius * (np.abs(w).max() if norm == "l1" else np.linalg.norm(w))
    found = float(prove(linear_network(w), Checker(region, Y[0] + 1000 <= 0), tree())) - 1000
    assert truth - 1e-6 * abs(truth) - 1e-9 <= found <= truth + 1e-9


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("seed", range(6))
def test_box_and_ball_against_a_conic_solver(norm: str, seed: int) -> None:
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    w, center, radius = rng.normal(size=8), rng.normal(size=8), 1.0
    lower, upper = center - rng.random(8) * 0.6 + 0.1, center + rng.random(8) * 0.6 + 0.1
    x = cvxpy.Variable(8)
    inside = cvxpy.norm(x - center, 1 if norm == "l1" else 2) <= radius
    truth = cvxpy.Problem(cvxpy.Minimize(w @ x), [x >= lower, x <= upper, inside]).solve()
    checker = Checker(Region(lower, upper, Ball(center, radius, norm)), Y[0] + 100 <= 0)
    found = float(prove(linear_network(w), checker, tree())) - 100
    assert truth - 1e-5 <= found <= truth + 1e-6


# random proofs


def outcomes(
    inputs: int, seeds: range, arithmetic: str = "real"
) -> Iterator[tuple[np.random.Generator, Network, Checker, Proof, Any]]:
    """Random questions with random proofs, and the proven margin or the CertificateError."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        network = instances.random_network(rng, inputs)
        checker = instances.random_checker(rng, network, instances.random_region(rng, inputs))
        for _ in range(3):
            proof = replace(instances.random_proof(rng, network, checker), arithmetic=arithmetic)
            try:
                yield rng, network, checker, proof, audit_exact(proof, network, checker)
            except CertificateError as error:
                yield rng, network, checker, proof, error


def test_one_input_never_better_than_the_truth() -> None:
    accepted = rejected = 0
    for _, network, checker, _, result in outcomes(1, range(150)):
        if isinstance(result, CertificateError):
            rejected += 1
            continue
        accepted += 1
        truth = instances.truth(network, checker)
        assert result <= truth.margin and not truth.catastrophe
    assert accepted > 100 and rejected > 100


def test_several_inputs_never_better_than_a_point() -> None:
    accepted = rejected = points = 0
    for rng, network, checker, _, result in outcomes(3, range(150)):
        if isinstance(result, CertificateError):
            rejected += 1
            continue
        accepted += 1
        for problem in query.problems(checker):
            for x in instances.random_points(rng, problem, 10):
                values = instances.margins_at(problem, network, x)
                points += 1
                assert max(values) >= result and not instances.is_catastrophe(problem, values)
    assert accepted > 100 and rejected > 100 and points > 1000


@pytest.mark.parametrize("arithmetic", ["real", "float32"])
def test_agrees_with_a_slow_reading(arithmetic: str) -> None:
    """Not only sound but as tight as the specification."""
    compared = Counter[bool]()
    for inputs in (1, 2, 5):
        for _, network, checker, proof, result in outcomes(inputs, range(25), arithmetic):
            if checker.region.ball is not None:
                continue
            trees = [replace(tree, refinements=proof.refinements) for tree in proof.trees]
            bounds = [
                (bound, sum(map(Fraction, weights)))
                for tree, problem in zip(trees, query.problems(checker), strict=True)
                for bound, weights in zip(
                    Reference(network, problem, tree, arithmetic).bounds(), tree.multipliers.tolist(), strict=True
                )
                if bound is not None
            ]
            accepted = not isinstance(result, CertificateError)
            compared[accepted] += 1
            if accepted:
                margins = [float(f / total) for f, total in bounds if total]
                assert float(result) == pytest.approx(min(margins, default=math.inf), rel=1e-12, abs=1e-12)
            else:
                assert min(f for f, _ in bounds) < 1e-12
    assert min(compared.values()) > 25


# curves by hand


def curve_network(kind: str, weight: float = 1.0) -> Network:
    graph = GraphBuilder((1,))
    value = graph.affine([(graph.input, np.array([[weight]]))], np.zeros(1), (1,))
    return Network.from_graph(graph, graph.curve(value, kind))


SIGMOID_2 = 1 / (1 + math.exp(-2.0))
SLOPE_2 = SIGMOID_2 * (1 - SIGMOID_2)


@pytest.mark.parametrize(
    ("margin", "lines", "expected"),
    [
        (Y[0], -1, 1 - SIGMOID_2),
        (-Y[0], -1, -SIGMOID_2),
        # parallel: from (-2, 1 - S) and from (2, S) with the slope of both ends
        (Y[0] - X[0] / 4, -2, 1 - SIGMOID_2 + 2 * SLOPE_2 + 2 * (SLOPE_2 - 0.25)),
        (X[0] / 4 - Y[0], -2, -SIGMOID_2 + 2 * SLOPE_2 - 2 * (0.25 - SLOPE_2)),
        (X[0] / 10 - Y[0], -1, -0.2 - SIGMOID_2),
    ],
)
def test_sigmoid_by_hand(margin: Linear, lines: int, expected: float) -> None:
    found = prove(curve_network("sigmoid"), Checker(Region([-2.0], [2.0]), margin + 10 <= 0), tree(lines=[lines], anchor=[1]))
    assert float(found) - 10 == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weight", [1e-300, 1e-20, 1e20, 1e300])
@pytest.mark.parametrize("lines", [-1, -2, -3])
def test_extreme_arguments_of_curves(weight: float, lines: int) -> None:
    for kind, low in (("sigmoid", 0), ("tanh", -1)):
        network = curve_network(kind, weight)
        for reach in (1.0, 1e5):
            checker = Checker(Region([-reach], [reach]), Y[0] - low + 1 <= 0)
            margin = prove(network, checker, tree(lines=[lines], anchor=[-lines]))
            truth = float(network.evaluate(np.array([-reach]))[0]) - low + 1
            assert truth - 1e-9 <= float(margin) <= truth + 1e-15


# networks and queries


def test_network_digest_is_the_networks() -> None:
    checker_of = lambda network: Checker(Region([0.0] * network.input_size, [1.0] * network.input_size), Y[0] <= -1e9)  # noqa: E731
    for seed in range(30):
        network = instances.random_network(np.random.default_rng(seed), 3)
        prove(network, checker_of(network), tree())  # raises if the digests differ


def test_sparse_and_dense_are_the_same_network() -> None:
    matrix = np.array([[0.0, 2.0, -0.0], [0.5, 0.0, 1.0]])
    networks = []
    for stored in (matrix, sparse.csr_array(matrix)):
        graph = GraphBuilder((3,))
        networks.append(Network.from_graph(graph, graph.affine([(graph.input, stored)], np.zeros(2), (2,))))
    assert networks[0].digest == networks[1].digest
    checker = Checker(Region([0.0] * 3, [1.0] * 3), Y[0] + 1 <= 0)
    assert prove(networks[0], checker, tree()) == prove(networks[1], checker, tree()) == 1


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e150])
def test_extreme_weights_are_exact(scale: float) -> None:
    network = Network.from_layers([([[scale, 1.0]], [1.0]), ([[1.0], [scale]], [0.0, -scale])])
    checker = Checker(Region([0.0, 0.0], [1.0, 1.0]), Y[0] <= "1/2")
    assert prove(network, checker, tree()) == Fraction(1, 2)
    checker = Checker(Region([0.0, 0.0], [1.0, 1.0]), Y[1] <= -Fraction(scale))
    assert prove(network, checker, tree()) == Fraction(scale)


def test_the_least_excess_decides() -> None:
    network = linear_network(np.ones(1))
    tiny = Fraction(1, 2**1000)
    unit = Region([0.0], [1.0])
    assert prove(network, Checker(unit, Y[0] <= -tiny), tree()) == tiny
    for constant in (0, tiny):
        with pytest.raises(CertificateError, match="not positive"):
            prove(network, Checker(unit, Y[0] <= constant), tree())


def random_condition(rng: np.random.Generator, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.3:
        x = {int(i): Fraction(int(rng.integers(-3, 4)), 3) for i in rng.permutation(3)[: rng.integers(0, 3)]}
        y = {int(j): Fraction(int(rng.integers(-2, 3)), 7) for j in rng.permutation(2)[: rng.integers(0, 2)]}
        nonzero = [{i: c for i, c in terms.items() if c} for terms in (x, y)]
        constant = Fraction(int(rng.integers(-9, 10)), int(rng.integers(1, 9)))
        return Atom(Linear(nonzero[0], nonzero[1], constant), bool(rng.random() < 0.4))
    parts = tuple(random_condition(rng, depth - 1) for _ in range(rng.integers(1, 4)))
    return And(parts) if rng.random() < 0.5 else Or(parts)


def test_problems_are_those_of_normalize() -> None:
    network = Network.from_layers([(np.ones((2, 3)), np.zeros(2))])
    counts = Counter[int]()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        checker = Checker(Region([-1.0, 0.0, 0.1], [1.0, 0.0, 0.3]), random_condition(rng, 3))
        ours, theirs = query.problems(checker), normalize(network, checker)
        counts[len(ours)] += 1
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert (a.lower, a.upper) == (b.region.lower.tolist(), b.region.upper.tolist())
            assert [(m.x, m.y, m.constant, m.strict) for m in a.margins] == [
                (dict(m.margin.x), dict(m.margin.y), m.margin.constant, m.strict) for m in b.margins
            ]
    assert counts[0] > 10 and sum(number for size, number in counts.items() if size > 2) > 50


def test_query_digest_by_hand() -> None:
    region = Region([-1.0, -0.0], [0.1, 2.0], Ball(np.array([0.0, 1.5]), 0.25, "l2"))
    checker = Checker(region, (Y[2] * "1/3" + X[1] - 2 * Y[0] - 5 < 0) & (X[0] <= Fraction(1, 3)) & (X[1] <= 1))
    text = """problem 2 1
-0x1.0000000000000p+0 0x1.999999999999ap-4
0x0.0p+0 0x1.0000000000000p+0
ball l2 0x1.0000000000000p-2
0x0.0p+0
0x1.8000000000000p+0
margin < -5 x1:1 y0:-2 y2:1/3
"""
    import hashlib

    assert query.query_digest(checker) == hashlib.sha256(text.encode()).hexdigest()


def test_tightened_bounds_are_rounded_outward() -> None:
    (problem,) = query.problems(Checker(Region([-1.0], [1.0]), (X[0] <= "1/3") & (X[0] >= "1/10") & (Y[0] <= 0)))
    assert Fraction(problem.lower[0]) < Fraction(1, 10) < Fraction(math.nextafter(problem.lower[0], 1))
    assert Fraction(problem.upper[0]) > Fraction(1, 3) > Fraction(math.nextafter(problem.upper[0], 0))


def test_long_conditions_need_no_recursion() -> None:
    region = Region([-1.0], [1.0])
    chain: Any = Atom(Y[0])
    for _ in range(5000):
        chain = And((Or((chain,)), Atom(Y[0] + 1)))
    wide = Or(tuple(And((Atom(Y[0]), Atom(X[0] - 2))) for _ in range(5000)))
    checker = type("Checker", (), {"region": region, "catastrophe": And((chain, wide))})
    assert [len(p.margins) for p in query.problems(checker)] == [5002] * 5000


def test_coefficients_of_thousands_of_digits_are_an_input_error(ramp: Network) -> None:
    with pytest.raises(InputError, match="digits"):
        query.query_digest(Checker(INTERVAL, Y[0] <= Fraction(1, 10**5000)))


def test_a_checker_of_another_size_is_an_input_error(ramp: Network) -> None:
    for checker in (Checker(Region([0.0, 0.0], [1.0, 1.0]), Y[0] <= 0), Checker(INTERVAL, Y[1] <= 0)):
        with pytest.raises(InputError):
            prove(ramp, checker, tree())


def test_the_deadline_may_stop_the_audit(ramp: Network) -> None:
    checker = Checker(INTERVAL, Y[0] <= -1)

    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        audit_exact(Proof(ramp.digest, query.query_digest(checker), (tree(),)), ramp, checker, stop)


def test_long_integers_of_flint_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    flint = pytest.importorskip("flint", reason="python-flint is not installed")
    found = []
    for kind in (flint.fmpz, int):
        monkeypatch.setattr(import_module("pydual.audit.exact_network"), "long", kind)
        found.append([verdict(*random_question(np.random.default_rng(seed))) for seed in range(60)])
    assert found[0] == found[1]
    assert any(isinstance(v, Fraction) for v in found[0])


def random_question(rng: np.random.Generator) -> tuple[Proof, Network, Checker]:
    network = instances.random_network(rng, 3)
    checker = instances.random_checker(rng, network, instances.random_region(rng, 3))
    return instances.random_proof(rng, network, checker), network, checker


def verdict(proof: Proof, network: Network, checker: Checker) -> object:
    try:
        return audit_exact(proof, network, checker)
    except CertificateError as error:
        return str(error)


def test_products_by_packed_rows_are_those_of_the_definition() -> None:
    """Coefficients of all lengths in turn, also such at which every term of a field is as large as it can be."""
    rng = np.random.default_rng(4)
    for _ in range(30):
        height, width = (int(n) for n in rng.integers(3, 8, 2))
        entries = np.where(rng.random((height, width)) < 0.5, 255.0, -255.0) * (rng.random((height, width)) < 0.9)
        matrix = Matrix([[(c, v) for c, v in enumerate(row) if v] for row in entries.tolist()], width)
        scale = Fraction(2) ** -matrix.exponent
        for length in rng.permutation([1, 24, 52, 60, 61, 200, 2000]):
            largest = 2 ** int(length) - 1
            w = [largest * int(rng.choice([1, -1, -1])) // int(rng.choice([1, 1, 3])) for _ in range(height)]
            expected = [sum(c * Fraction(row[j]) * scale for c, row in zip(w, entries, strict=True)) for j in range(width)]
            assert matrix.transposed_times(w) == expected
        assert sum(row.bit_length() for row in matrix._packed) < 2 * LONG * height * width
