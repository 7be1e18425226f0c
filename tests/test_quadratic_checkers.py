"""Squares and products in checkers: verdicts around optima that are known by construction, and bounds against samples."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

import pydual
from pydual import Attack, Certificate, CertificateError, Network, Region, RelaxedAttack, UnsupportedError
from pydual._core import curve_lines
from pydual.attack.replay import Replay
from pydual.audit import EXACT, ROUNDED, audit
from pydual.operators.primitives import Curve, GraphBuilder, Relu
from pydual.problem import normalize
from pydual.proof_systems import SOS, TriangleLP, by_name
from pydual.proof_systems.root_bound import RootBound
from pydual.relax.engine import single_threaded_blas

CUBE = Region(-np.ones(3), np.ones(3))
IDENTITY = Network.from_layers([(np.eye(3), np.zeros(3))])
SYSTEMS = ("interval", "crown", "alpha-crown", "lp")


def bilinear(seed: int) -> tuple[np.ndarray, float]:
    """A form without squares of one variable, and its greatest value on the cube, which is at a corner."""
    rng = np.random.default_rng(seed)
    form = np.triu(rng.integers(-4, 5, (3, 3)) / 4.0, 1)
    return form, max(float(np.array(c) @ form @ np.array(c)) for c in product((-1, 1), repeat=3))


def decided(checker: Any, model: Network = IDENTITY, system: str = "auto") -> Attack | Certificate:
    outcome = pydual.solve(model, checker, system, timeout=60)
    assert isinstance(outcome, (Attack, Certificate)), outcome
    if isinstance(outcome, Certificate):
        for level in (EXACT, ROUNDED):
            assert audit(outcome, model, checker, level=level).margin > 0
    else:
        assert bool(checker(outcome.x, outcome.y))
    return outcome


@pytest.mark.parametrize("system", ["auto", "bab"])
@pytest.mark.parametrize("seed", range(5))
def test_bilinear_forms_reach_their_best_corner_and_no_more(seed: int, system: str) -> None:
    form, most = bilinear(seed)
    assert isinstance(decided(pydual.checker(CUBE)(lambda x, y: x @ form @ y > most + 0.01), system=system), Certificate)
    assert isinstance(decided(pydual.checker(CUBE)(lambda x, y: x @ form @ y > most - 0.01), system=system), Attack)


@pytest.mark.parametrize("center", [(0.5, 0.25, -0.75), (1.5, 0.0, 0.0), (2.0, -2.0, 0.0)])
def test_distances_to_the_cube_are_known(center: tuple[float, ...]) -> None:
    near = float(np.linalg.norm(np.maximum(np.abs(center) - np.ones(3), 0.0)))
    at = np.array(center)
    assert isinstance(decided(pydual.checker(CUBE)(lambda x, y: np.linalg.norm(y - at) <= near + 0.01)), Attack)
    if near:
        assert isinstance(decided(pydual.checker(CUBE)(lambda x, y: np.linalg.norm(y - at) <= near - 0.01)), Certificate)
    far = float(np.linalg.norm(np.abs(center) + np.ones(3)))
    assert isinstance(decided(pydual.checker(CUBE)(lambda x, y: np.linalg.norm(y - at) >= far + 0.01)), Certificate)
    assert isinstance(decided(pydual.checker(CUBE)(lambda x, y: np.linalg.norm(y - at) >= far - 0.01)), Attack)


def random_network(seed: int, *sizes: int) -> Network:
    rng = np.random.default_rng(seed)
    pairs = zip(sizes, sizes[1:], strict=False)
    return Network.from_layers([(rng.normal(size=(n, m)), 0.3 * rng.normal(size=n)) for m, n in pairs])


def test_bounds_are_in_order_and_below_all_samples() -> None:
    """interval <= crown <= alpha-crown, crown <= lp <= the least sampled margin."""
    for seed in range(12):
        model, box = random_network(seed, 3, 5, 3), Region(np.full(3, -0.25), np.full(3, 0.25))
        check = pydual.checker(box)(lambda x, y: y[0] * y[1] - (y[2] - x[0]) ** 2 + np.linalg.norm(x) ** 2 > 100)
        query = check.query(model)
        problems = normalize(query.network, query.checker)
        bounds = []
        with single_threaded_blas():
            for system in (pydual.proof_systems.by_name(name) for name in SYSTEMS):
                bounds.append(system.step(system.init(problems), np.inf).bound)
        samples = np.random.default_rng(seed).uniform(-0.25, 0.25, (2000, 3))
        least = min(float(query.checker.margin(x, y)) for x, y in zip(samples, query.network.evaluate(samples), strict=True))
        interval, crown, alpha, lp = bounds
        assert interval <= crown + 1e-9 and crown <= alpha + 1e-9 and crown <= lp + 1e-7 and max(bounds) <= least + 1e-9


def test_the_gap_of_a_square_shrinks_with_the_square_of_the_width() -> None:
    check, gaps = (lambda x, y: x[0] * x[1] > 10), []
    for width in (0.5, 0.25, 0.125):
        box = Region(np.full(3, 0.5 - width), np.full(3, 0.5 + width))
        query = pydual.checker(box)(check).query(IDENTITY)
        crown = pydual.proof_systems.by_name("crown")
        with single_threaded_blas():
            bound = crown.step(crown.init(normalize(query.network, query.checker)), np.inf).bound
        gaps.append(10 - (0.5 + width) ** 2 - bound)
    assert gaps[2] >= 0 and gaps[1] <= gaps[0] / 3.9 + 1e-12 and gaps[2] <= gaps[1] / 3.9 + 1e-12


def test_lines_of_the_kernels_hold() -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(size=200) * 10 ** rng.uniform(-3, 3, 200)
    high = low + rng.random(200) * 10 ** rng.uniform(-3, 3, 200)
    alpha, below, slope, offset = curve_lines("square", low, high, False)
    for share in np.linspace(0, 1, 21):
        p = low + share * (high - low)
        scale = 1e-12 * (1 + np.maximum(low**2, high**2))
        assert (alpha * p + below <= p * p + scale).all() and (p * p <= slope * p + offset + scale).all()


def test_replay_is_exact() -> None:
    graph = GraphBuilder((2,))
    z = graph.curve(graph.affine([(graph.input, np.array([[1.0, 1.0], [1.0, -1.0]]))], np.zeros(2), (2,)), "square")
    network = Network.from_graph(graph, graph.affine([(z, np.array([[0.25, -0.25]]))], np.zeros(1), (1,)))
    replay = Replay(network)
    assert replay.name == "exact"
    x = np.array([1 / 3, 3.0])
    assert replay.exact_outputs(x.tolist()) == [Fraction(float(x[0])) * 3]


# McCormick's inequalities, of linear programs


@pytest.mark.parametrize("seed", range(8))
def test_linear_programs_have_the_envelope_of_mccormick(seed: int) -> None:
    """The bound of `lp` is that of a program written down with scipy: four inequalities for each product of inputs."""
    rng = np.random.default_rng(seed)
    form, linear = np.triu(rng.integers(-4, 5, (3, 3)) / 4.0, 1), rng.normal(size=3).round(2)
    low, high = -rng.random(3).round(3), rng.random(3).round(3)
    pairs = [(i, j) for i in range(3) for j in range(i + 1, 3)]
    rows, least = [], []
    for k, (i, j) in enumerate(pairs):
        for a, b, sign in ((low, low, 1), (high, high, 1), (low, high, -1), (high, low, -1)):
            row = np.zeros(6)  # sign (xy - a_i y - b_j x + a_i b_j) >= 0
            row[3 + k], row[j], row[i] = sign, -sign * a[i], -sign * b[j]
            rows.append(row)
            least.append(-sign * a[i] * b[j])
    cost = np.concatenate([linear, [form[i, j] for i, j in pairs]])
    bounds = [*zip(low, high, strict=True), *[(None, None)] * 3]
    envelope = linprog(cost, -np.array(rows), -np.array(least), bounds=bounds)
    box = Region(low, high)
    check = pydual.checker(box)(lambda x, y: x @ form @ y + linear @ y <= envelope.fun)
    query = check.query(IDENTITY)
    problems = normalize(query.network, query.checker)
    assert bound_of(by_name("lp"), problems) == pytest.approx(0.0, abs=1e-6)
    assert bound_of(by_name("crown"), problems) <= 1e-6
    below = pydual.checker(box)(lambda x, y: x @ form @ y + linear @ y <= envelope.fun - 0.001)
    outcome = pydual.solve(IDENTITY, below, "lp")
    assert isinstance(outcome, Certificate) and 0 < outcome.margin <= 0.001 + 1e-9
    assert audit(outcome, IDENTITY, below).level == EXACT


@pytest.mark.parametrize("name", ["a product of outputs", "the greater of two", "squares and an absolute value"])
def test_mccormick_is_often_tighter_than_lines_and_never_wrong(name: str) -> None:
    score, box, better = SCORES[name], Region([-1.0, -1.0], [1.0, 1.0]), 0
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), axis=-1).reshape(-1, 2)
    for seed in range(5):
        model = random_network(seed, 2, 3, 2)
        most = float(np.max(score(grid.T, model.evaluate(grid).T)))
        check = pydual.checker(box)(lambda x, y, most=most: score(x, y) >= most)
        query = check.query(model)
        problems = normalize(query.network, query.checker)
        lines = RootBound.step(TriangleLP(), TriangleLP().init(problems), np.inf).bound
        bound = bound_of(TriangleLP(), problems)
        assert lines - 1e-9 <= bound <= 1e-6
        better += bound > lines + 1e-3
        above = pydual.checker(box)(lambda x, y, limit=most - bound + 0.01: score(x, y) >= limit)
        outcome = pydual.solve(model, above, "lp")
        assert isinstance(outcome, Certificate) and outcome.margin <= 0.01 - bound + 1e-6
    assert better >= 2


# the quadratic family, in which products are what they are


@pytest.mark.parametrize("system", ["sdp", "sos", "milp"])
@pytest.mark.parametrize("seed", range(5))
def test_every_system_decides_bilinear_forms(seed: int, system: str) -> None:
    """Products of two bounds prove the best corner of a form in three variables, or degree 4 does."""
    form, most = bilinear(seed)
    above = pydual.solve(IDENTITY, pydual.checker(CUBE)(lambda x, y: x @ form @ y > most + 0.01), system)
    assert isinstance(above, Certificate) and above.level == EXACT and above.margin <= 0.01 + 1e-9
    below = pydual.solve(IDENTITY, pydual.checker(CUBE)(lambda x, y: x @ form @ y > most - 0.01), system)
    assert isinstance(below, Attack)


SCORES: dict[str, Callable[[Any, Any], Any]] = {
    "a product of outputs": lambda x, y: y[0] * y[1] - x[0] * x[1],
    "the greater of two": lambda x, y: np.maximum(y[0] * y[1], x[0] - y[1]),
    "squares and an absolute value": lambda x, y: np.abs(y[0] * x[1]) + np.square(y[1] - x[0]),
}


@pytest.mark.parametrize("name", SCORES)
def test_products_of_outputs_are_exact_at_degree_4(name: str) -> None:
    """Bounds lie below the least value on a fine grid, those of degree 4 mostly at it, and above those of lines."""
    score, box, gaps = SCORES[name], Region([-1.0, -1.0], [1.0, 1.0]), []
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), axis=-1).reshape(-1, 2)
    for seed in range(5):
        model = random_network(seed, 2, 3, 2)
        check = pydual.checker(box)(lambda x, y: score(x, y) >= 100)
        query = check.query(model)
        problems = normalize(query.network, query.checker)
        truth = 100 - float(np.max(score(grid.T, model.evaluate(grid).T)))
        bounds = [bound_of(system, problems) for system in (by_name("lp"), by_name("sdp"), SOS())]
        assert all(a <= b + 1e-4 for a, b in pairwise(bounds)) and bounds[-1] <= truth + 1e-6
        gaps.append(truth - bounds[-1])
    assert sum(gap < 0.01 for gap in gaps) >= 4, gaps


def bound_of(system: Any, problems: tuple[Any, ...]) -> float:
    state = system.init(problems)
    while not state.finished:
        state = system.step(state, np.inf)
    return float(state.bound)


def test_a_certificate_with_products_is_one_leaf_that_an_exact_audit_reads(tmp_path: Path) -> None:
    model, box = random_network(2, 2, 3, 2), Region([-1.0, -1.0], [1.0, 1.0])
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), axis=-1).reshape(-1, 2)
    most = float(np.max(np.prod(model.evaluate(grid), axis=1)))
    check = pydual.checker(box)(lambda x, y: y[0] * y[1] >= most + 0.05)
    assert isinstance(pydual.solve(model, check, "lp"), RelaxedAttack)
    outcome = pydual.solve(model, check, SOS())
    assert isinstance(outcome, Certificate) and outcome.certificate.leaves == 1 and outcome.margin <= 0.05 + 1e-6
    outcome.save(tmp_path / "proof")
    assert audit(tmp_path / "proof", model, check).margin == outcome.margin
    nearer = pydual.checker(box)(lambda x, y: y[0] * y[1] >= most - 0.05)
    with pytest.raises(CertificateError):
        audit(tmp_path / "proof", model, nearer)
    (tree,) = outcome.certificate.trees
    for k in np.flatnonzero(np.abs(tree.sos_coefficients) > 1e-3)[:40]:  # another number: a smaller margin, or none
        forged = tree.sos_coefficients.copy()
        forged[k] += 0.5
        with suppress(CertificateError):
            proof = replace(outcome.certificate, trees=(replace(tree, sos_coefficients=forged),))
            assert audit(proof, model, check).margin <= 0.05 + 1e-6


def test_a_relu_that_reads_a_product() -> None:
    """Its equation z (z - p) = 0 has degree 3; the greatest value is that on a fine grid."""
    box, step = Region([-1.0, -1.0], [1.0, 1.0]), np.linspace(-1, 1, 401)
    x, y = np.meshgrid(step, step)
    model = Network.from_layers([(np.eye(2), np.zeros(2))])

    def score(x: Any, y: Any) -> Any:
        return (y[0] - 0.5) * np.maximum(x[0] * y[1] - 0.25, 0) - 0.3 * y[1]

    most = float(np.max(score((x, y), (x, y))))
    for spare, kind in ((0.02, Certificate), (-0.02, Attack)):
        limit = most + spare
        check = pydual.checker(box)(lambda x, y, limit=limit: score(x, y) >= limit)
        query = check.query(model)
        assert any(isinstance(p, Relu) for p in query.network.primitives)
        assert isinstance(pydual.solve(model, check, "sos"), kind)


def test_polynomials_of_a_higher_degree_say_which() -> None:
    check = pydual.checker(CUBE)(lambda x, y: (x[0] * y[1]) ** 2 >= 5)
    with pytest.raises(UnsupportedError, match=r"polynomials of degree 4; use SOS\(degree=4\)"):
        pydual.solve(IDENTITY, check, "sdp")
    assert isinstance(pydual.solve(IDENTITY, check, "sos"), Certificate)


def test_sigmoids_before_squares() -> None:
    graph = GraphBuilder((2,))
    model = Network.from_graph(graph, graph.curve(graph.input, "tanh"))
    check = pydual.checker(Region([-1.0, -1.0], [1.0, 1.0]))(lambda x, y: y[0] * y[1] >= 0.6)  # tanh(1)^2 < 0.581
    assert isinstance(pydual.solve(model, check, "milp"), Certificate)
    for system in ("sdp", "sos"):
        with pytest.raises(UnsupportedError, match="ReLUs and squares only"):
            pydual.solve(model, check, system)


def test_float32_is_refused_with_a_reason() -> None:
    graph = GraphBuilder((1,))
    network = Network.from_graph(graph, graph.curve(graph.input, "square"), element_type="float32")
    assert any(isinstance(p, Curve) for p in network.primitives)
    with pytest.raises(UnsupportedError, match="no float32 arithmetic"):
        pydual.solve(network, pydual.Checker(Region([0.0], [1.0]), pydual.Y[0] >= 2), arithmetic="float32")
