"""Products of two linear facts in the Gram dual, against the relaxation with them written down a second time (sdp_oracle).

The truth of small networks is enumerated (activation_patterns); both audits check what the prover finds with products.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import activation_patterns
import cvxpy
import numpy as np
import pytest
import sdp_oracle
import test_gram_dual as dual

from pydual.audit import audit
from pydual.audit.query import query_digest
from pydual.certificate import Proof
from pydual.checker import Checker, Y
from pydual.network import Network
from pydual.problem import normalize
from pydual.proof_systems.climb import Path
from pydual.proof_systems.sdp import SDP, SDPState
from pydual.region import Region
from pydual.relax.gram_products import ABOVE_LOWER, BELOW_UPPER, CHORD, KINDS, NOTHING, SLACK, Products

CASES = [
    "one layer",
    "two layers",
    "many inputs",
    "residual",
    "convolution",
    "width zero",
    "splits",
    "ball",
    "ball, width zero",
]
WITH_PRODUCTS = Path(cuts=2, rounds=4)


def everything(given: dual.Instance) -> Products:
    """All products of two facts of the kinds that there are, the trivial and the implied ones, too."""
    kept, inputs = len(given.oracle.kept), len(given.oracle.moving)
    rows = [
        (first, sign, kind, second)
        for first in range(kept)
        for sign in (1, -1)
        for kind in range(KINDS)
        for second in range(inputs if kind >= ABOVE_LOWER else kept)
    ]
    return Products(*np.array(rows, dtype=np.int32).T)


def some(given: dual.Instance, rng: np.random.Generator, number: int = 40) -> Products:
    whole = everything(given)
    chosen = rng.permutation(len(whole))[:number]
    return Products(*(part[chosen] for part in vars(whole).values()))


def expressions(given: dual.Instance, products: Products) -> list[np.ndarray]:
    """The products as matrices over v, in the core's scale: facts over half of their greatest values."""
    cell = given.oracle
    one, unit = np.eye(cell.size)[0], np.eye(cell.size)
    result = []
    for first, sign, kind, second in zip(*(part.tolist() for part in vars(products).values()), strict=True):
        if kind >= ABOVE_LOWER:
            row, (low, high) = unit[1 + second], cell.box(1 + second)
            fact, most = (row - low * one, high - low) if kind == ABOVE_LOWER else (high * one - row, high - low)
        elif kind == SLACK:
            fact, most = cell.slack[second], -cell.lower[second]
        elif kind == CHORD:
            fact, most = cell.under_chord[second], -cell.slope[second] * cell.lower[second]
        else:
            row, most = unit[cell.first + second], cell.upper[second]
            fact = row if kind == 0 else most * one - row
        row, room = unit[cell.first + first], cell.upper[first]
        result.append(sdp_oracle.symmetric((row if sign > 0 else room * one - row) * 2 / room, fact * 2 / most))
    return result


def random_multipliers(given: dual.Instance, products: Products, rng: np.random.Generator) -> dual.Multipliers:
    rho = rng.exponential(size=len(products)) * 0.1 * (rng.random(len(products)) < 0.7)
    result = {**dual.random_multipliers(given, rng), "rho": rho}
    while sdp_oracle.lowest(given.oracle, meaning(given, products, result))[0] == -np.inf:
        for name in ("kappa_kept", "kappa_inputs"):
            result[name] *= 1.5
    return result


def meaning(given: dual.Instance, products: Products, multipliers: dual.Multipliers) -> np.ndarray:
    matrices = expressions(given, products)
    subtracted = sum((rho * m for rho, m in zip(multipliers["rho"], matrices, strict=True)), np.zeros_like(matrices[0]))
    return sdp_oracle.lagrangian(given.oracle, multipliers) - subtracted


# the dual function


@pytest.mark.parametrize("name", CASES)
def test_a_bound_with_products_is_the_least_value_of_what_the_multipliers_mean(name: str) -> None:
    given, rng = dual.instance(name), np.random.default_rng(3)
    for _ in range(5):
        products = some(given, rng)
        core, at = given.cell.core_problem(products), random_multipliers(given, products, rng)
        least, determinant = sdp_oracle.lowest(given.oracle, meaning(given, products, at))
        assert core.bound(at) == pytest.approx(least, rel=1e-9, abs=1e-9)
        assert core.differentiate(at, 0.5)[0] == pytest.approx(least + 0.5 * determinant, rel=1e-9, abs=1e-9)
        assert least <= given.values().min() + 1e-9


@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_with_products_is_that_of_finite_differences(name: str, weight: float) -> None:
    given, rng = dual.instance(name), np.random.default_rng(6)
    products = some(given, rng, number=30)
    core, at = given.cell.core_problem(products), random_multipliers(given, products, rng)
    _, gradient = core.differentiate(at, weight)
    assert len(gradient["rho"]) == len(products)
    for part, slopes in gradient.items():
        for i, slope in enumerate(slopes):
            step = 1e-6 * (1 + abs(at[part][i]))

            def moved(by: float, part: str = part, i: int = i) -> Any:
                changed = {**at, part: at[part].copy()}
                changed[part][i] += by
                return core.differentiate(changed, weight)[0]

            assert slope == pytest.approx((moved(step) - moved(-step)) / (2 * step), rel=5e-5, abs=5e-6), (part, i)


@pytest.mark.parametrize("name", CASES)
def test_the_moments_are_the_mean_and_covariance_of_the_dual_matrix(name: str) -> None:
    given, rng = dual.instance(name), np.random.default_rng(8)
    products = some(given, rng)
    at, change = random_multipliers(given, products, rng), sdp_oracle.scaling(given.oracle)
    matrix = change.T @ meaning(given, products, at) @ change
    covariance = np.linalg.inv(matrix[1:, 1:])
    mean, inputs = -covariance @ matrix[1:, 0], len(given.oracle.moving)
    moments = given.cell.core_problem(products).moments(at)
    assert np.concatenate([moments["inputs"], moments["kept"]]) == pytest.approx(mean, rel=1e-8, abs=1e-8)
    assert moments["kept_kept"] == pytest.approx(covariance[inputs:, inputs:], rel=1e-8, abs=1e-8)
    assert moments["inputs_kept"] == pytest.approx(covariance[:inputs, inputs:], rel=1e-8, abs=1e-8)
    slack = given.oracle.slack @ change
    assert moments["rows"][: len(slack)] == pytest.approx(slack @ np.concatenate([[1.0], mean]), rel=1e-8, abs=1e-8)
    together = slack[:, 1:] @ covariance[:, inputs:]
    assert moments["rows_kept"][: len(slack)] == pytest.approx(together, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_the_most_violated_products_are_so_at_the_moments(name: str) -> None:
    given, rng, weight = dual.instance(name), np.random.default_rng(9), 0.2
    at, change = dual.random_multipliers(given, rng), sdp_oracle.scaling(given.oracle)
    matrix = change.T @ sdp_oracle.lagrangian(given.oracle, at) @ change
    covariance = np.linalg.inv(matrix[1:, 1:])
    v = change @ np.concatenate([[1.0], -covariance @ matrix[1:, 0]])
    moments = np.outer(v, v) + weight * change[:, 1:] @ covariance @ change[:, 1:].T
    found = given.cell.facts.most_violated(given.core.moments(at), weight, 10_000, NOTHING)
    values = [float(np.sum(m * moments)) for m in expressions(given, found)]
    assert values == sorted(values)
    assert all(value < 1e-12 for value in values)
    whole, names = everything(given), {tuple(row) for row in keys(found)}
    expected = [float(np.sum(m * moments)) for m in expressions(given, whole)]
    negative = {tuple(row) for row, value in zip(keys(whole), expected, strict=True) if value < -1e-9}
    assert {row for row in negative if not is_known(row)} <= names
    assert not any(is_known(row) for row in names)
    again = given.cell.facts.most_violated(given.core.moments(at), weight, 3, found)
    assert len(again) == 0


def keys(products: Products) -> list[list[int]]:
    return np.stack(list(vars(products).values()), axis=1).tolist()


def is_known(row: tuple[int, ...]) -> bool:
    """In the relaxation without products, implied there, or the same as another product."""
    first, sign, kind, second = row
    if kind >= ABOVE_LOWER:
        return False
    if first == second:
        return (kind, sign) != (CHORD, -1)
    if (kind, sign) == (0, -1):
        return True
    return (kind, sign) in ((0, 1), (3, -1)) and second > first


def test_products_out_of_range_are_refused() -> None:
    given = dual.instance("two layers")
    kept = len(given.oracle.kept)
    outside = Products(*(np.array([k], dtype=np.int32) for k in (kept, 1, BELOW_UPPER, 0)))
    with pytest.raises(ValueError, match="out of range"):
        given.cell.core_problem(outside)


@pytest.mark.parametrize("name", ["two layers", "convolution", "residual", "ball"])
def test_newtons_step_with_products_is_that_of_finite_differences(name: str) -> None:
    given, rng = dual.instance(name), np.random.default_rng(11)
    products = some(given, rng, number=60)
    at = {key: part if key == "scaled_lambda" else part + 0.05 for key, part in dual.random_multipliers(given, rng).items()}
    at["rho"] = np.full(len(products), 1e-3)
    before, change = dual.newton_residual(given.cell.core_problem(products), at, 0.3)
    assert np.abs(before + change).max() <= 1e-5 * np.abs(before).max()


# the optimum, and proofs


def optimum(given: dual.Instance, products: Products) -> float:
    cell, model = given.oracle, sdp_oracle.model(given.oracle)
    change, moments = sdp_oracle.scaling(cell), model.variables()[0]
    rows = [cvxpy.trace((change.T @ m @ change) @ moments) >= 0 for m in expressions(given, products)]
    return float(cvxpy.Problem(model.objective, [*model.constraints, *rows]).solve(solver="CLARABEL"))


@pytest.mark.parametrize("name", ["two layers", "convolution", "residual", "ball"])
def test_the_ascent_with_products_reaches_the_optimum_of_a_cvxpy_model(name: str) -> None:
    given, rng = dual.instance(name), np.random.default_rng(10)
    products = some(given, rng, number=150)
    best = optimum(given, products)
    start, scale = given.cell.start(dual.adaptive(given), np.zeros(len(given.oracle.cuts)))
    start["rho"] = np.full(len(products), 1e-6)
    path = {"first_weight": 2e-3, "last_weight": 1e-6, "decay": 0.2, "steps_per_weight": 20_000, "flatness": 1e-6}
    ascent = dual._core.GramAscent(given.cell.core_problem(products), start, scale, **path, cheap_steps=dual.CHEAP)
    dual.advance(ascent, goal=best + 1e-5)
    assert best - 1e-3 * (1 + abs(best)) <= ascent.bound <= best + 1e-5
    assert best > dual.optimum(name) + 1e-3, "the products tell something"
    assert best <= given.values().min() + 1e-6

    pairs, rho, betas = given.cell.products(ascent.multipliers, products)
    matrix = sdp_oracle.symmetric(np.eye(given.oracle.size)[0], given.oracle.function - betas @ given.oracle.cuts)
    whole = 1 + 2 * given.problem.region.size + 4 * len(given.frame.lower)
    for (f, g), multiplier in zip(pairs.tolist(), rho.tolist(), strict=True):
        square = given.oracle.ball_square if g == whole else None
        facts = square if square is not None else sdp_oracle.symmetric(dual.fact(given, f), dual.fact(given, g))
        matrix = matrix - multiplier * facts
    assert sdp_oracle.lowest(given.oracle, matrix)[0] == pytest.approx(ascent.bound, rel=1e-3, abs=1e-4)


SIZES = (2, 4, 4)


@cache
def network(seed: int) -> Network:
    rng = np.random.default_rng(seed)
    pairs = zip(SIZES[:-1], SIZES[1:], strict=True)
    layers = [(1.4 * rng.normal(size=(n, m)) / np.sqrt(m), 0.3 * rng.normal(size=n)) for m, n in pairs]
    return Network.from_layers([*layers, (rng.normal(size=(1, SIZES[-1])), np.zeros(1))])


def query(margin: float) -> Checker:
    return Checker(Region(-np.ones(2), np.ones(2)), Y[0] <= margin)


@cache
def truth(seed: int) -> float:
    return activation_patterns.true_minimum(network(seed), query(0.0))


def play(seed: int, margin: float, path: Path) -> SDPState:
    system = SDP(path=path)
    state = system.init(normalize(network(seed), query(margin)))
    while not state.finished:
        state = system.step(state, 10.0)
    return state


def reached(seed: int, path: Path) -> float:
    """How far below the truth, at a margin just out of reach."""
    return min(play(seed, truth(seed) + 1e-3, path).lower.values()) + 1e-3


def test_products_are_tighter_on_most_small_networks_and_never_above_the_truth() -> None:
    before, after = (np.array([reached(seed, path) for seed in range(10)]) for path in (Path(), WITH_PRODUCTS))
    assert (before <= after).all()
    assert (after <= 1e-9).all()
    assert (after >= before / 2).sum() >= 7, "less than half of the gap is left"


@pytest.mark.parametrize("level", ["exact", "rounded"])
@pytest.mark.parametrize("seed", range(6))
def test_both_audits_accept_proofs_with_products(seed: int, level: str) -> None:
    without, best = reached(seed, Path()), reached(seed, WITH_PRODUCTS)
    margin = truth(seed) + (without + 3 * best) / 4 if best - without > 1e-3 else truth(seed) + without - 1e-2
    checker, state = query(margin), play(seed, margin, WITH_PRODUCTS)
    trees = tuple(state.trees[p.index] for p in state.problems)
    proof = Proof.of(network(seed).digest, query_digest(checker), trees)
    audit(proof, network(seed), checker, level=level)
