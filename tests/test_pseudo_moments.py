"""Pseudo-moments from the dual's multipliers, against the relaxation written down a second time (sdp_oracle)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import sdp_oracle
from test_gram_dual import CASES, Instance, advance, ascent, instance, optimum, random_multipliers

from pydual.errors import InputError
from pydual.relax import pseudo_moments as module
from pydual.relax.pseudo_moments import PseudoMoments, pseudo_moments

OPEN = [name for name in CASES if name != "no open neuron"]
NEARLY = 0.1  # the best multipliers lie near the central path, not on it, and its weight is not zero


def inverse_of_squares(given: Instance, products: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The minimizer of what the products mean, and the inverse of the matrix of its squares, in t; by the oracle."""
    cell, matrix = given.oracle, sdp_oracle.symmetric(np.eye(given.oracle.size)[0], given.oracle.function)
    pairs, rho, betas = products
    names = ["scaled_lambda", "mu", "sigma", "tau", "kappa_kept", "kappa_inputs"] + ["ball"] * (cell.region.ball is not None)
    sizes = [len(cell.kept)] * 5 + [len(cell.moving)] + [1] * (cell.region.ball is not None)
    assert sum(sizes) == len(rho)
    parts = dict(zip(names, np.split(rho.astype(float), np.cumsum(sizes)[:-1]), strict=True))
    parts["scaled_lambda"] = -parts["scaled_lambda"] * cell.upper / 2
    radius = (cell.region.upper - cell.region.lower)[cell.moving] / 2
    parts["kappa_kept"], parts["kappa_inputs"] = (
        parts["kappa_kept"] * (cell.upper / 2) ** 2, parts["kappa_inputs"] * radius**2,
    )  # fmt: skip
    change = sdp_oracle.scaling(cell)
    matrix = change.T @ sdp_oracle.lagrangian(cell, {**parts, "beta": betas}) @ change
    inverse = np.linalg.inv(matrix[1:, 1:])
    return -inverse @ matrix[1:, 0], inverse


@pytest.mark.parametrize("name", CASES)
def test_moments_are_those_of_what_the_multipliers_mean(name: str) -> None:
    given, rng = instance(name), np.random.default_rng(1)
    for _ in range(5):
        products = given.cell.products(random_multipliers(given, rng))
        moments = pseudo_moments(given.cell, products, 0.5)
        mean, inverse = inverse_of_squares(given, products)
        inputs = len(given.oracle.moving)
        assert moments.mean_inputs == pytest.approx(mean[:inputs], rel=1e-6, abs=1e-6)
        assert moments.mean_kept == pytest.approx(mean[inputs:], rel=1e-6, abs=1e-6)
        assert moments.covariance_kept == pytest.approx(0.5 * inverse[inputs:, inputs:], rel=1e-6, abs=1e-6)
        assert moments.variances_of_inputs == pytest.approx(0.5 * np.diag(inverse)[:inputs], rel=1e-6, abs=1e-6)
        across = -moments.pull @ moments.covariance_kept
        assert across == pytest.approx(0.5 * inverse[:inputs, inputs:], rel=1e-6, abs=1e-6)
        assert moments.deviations == pytest.approx(given.oracle.upper / 2 * np.sqrt(0.5 * np.diag(inverse)[inputs:]), rel=1e-6)


@cache
def at_the_end(name: str) -> tuple[PseudoMoments, np.ndarray]:
    """The moments at the end of an ascent, and the whole moment matrix of v. Newton's method ends on the central path, where
    L-BFGS may stall beside it, as rounding has it."""
    given = instance(name)
    running = ascent(given, last_weight=2e-5, flatness=1e-7, cheap=50)
    advance(running, goal=optimum(name) + 1e-6)
    products = given.cell.products(running.present)
    moments, (mean, inverse) = pseudo_moments(given.cell, products, running.weight), inverse_of_squares(given, products)
    one = np.concatenate([[1.0], mean])
    matrix = np.outer(one, one)
    matrix[1:, 1:] += running.weight * inverse
    change = sdp_oracle.scaling(given.oracle)
    return moments, change @ matrix @ change.T


@pytest.mark.parametrize("name", OPEN)
def test_on_the_central_path_moments_are_feasible_and_nearly_optimal(name: str) -> None:
    cell, (_, matrix) = instance(name).oracle, at_the_end(name)
    mean = matrix[0]
    assert cell.function @ mean == pytest.approx(optimum(name), abs=NEARLY)
    for rows in (cell.slack, cell.under_chord, cell.cuts, np.eye(cell.size)[cell.first :]):
        assert (rows @ mean >= -NEARLY).all()
    for i in range(1, cell.size):
        assert np.trace(cell.box_product(i) @ matrix) >= -NEARLY
    for k, slack in enumerate(cell.slack):
        product = sdp_oracle.symmetric(np.eye(cell.size)[cell.first + k], slack)
        assert np.trace(product @ matrix) == pytest.approx(0.0, abs=NEARLY)
    if cell.region.ball is not None:
        assert np.trace(cell.ball_square @ matrix) >= -NEARLY


@pytest.mark.parametrize("name", [name for name in OPEN if "ball" not in name])
def test_second_moments_of_inputs_are_those_of_corners(name: str) -> None:
    """Where the dual is stationary in the multiplier of 1 - t_i^2, which has no barrier of its own."""
    moments, _ = at_the_end(name)
    assert moments.mean_inputs**2 + moments.variances_of_inputs == pytest.approx(1.0, abs=NEARLY)


@pytest.mark.parametrize("name", ["two layers", "width zero", "ball", "splits"])
def test_samples_have_these_moments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With deviations so small that nothing is clipped."""
    moments, _ = at_the_end(name)
    small = replace(moments, weight=1e-6 * moments.weight, mean_inputs=0.3 * np.tanh(moments.mean_inputs))
    monkeypatch.setattr(module, "SCALES", np.ones(1))
    cell, points = small.cell, small.samples(np.random.default_rng(2), 60_000)
    t = ((points - cell.center) / np.where(cell.radius > 0, cell.radius, 1.0))[:, cell.moving]
    deviations = np.sqrt(small.variances_of_inputs)
    assert np.abs(t.mean(axis=0) - small.mean_inputs).max() <= 0.03 * deviations.max()
    expected = small.pull @ small.covariance_kept @ small.pull.T + np.diag(small.weight / small.curvature)
    scale = np.outer(deviations, deviations)
    assert np.cov(t.T) / scale == pytest.approx(expected / scale, abs=0.03)


@pytest.mark.parametrize("name", ["two layers", "width zero", "residual", "ball"])
def test_points_lie_in_the_box_and_are_the_same_each_time(name: str) -> None:
    moments, _ = at_the_end(name)
    region = moments.cell.region
    first, second = (moments.samples(np.random.default_rng(3), 64) for _ in range(2))
    assert np.array_equal(first, second)
    assert len(np.unique(first, axis=0)) > 40
    for points in (first, moments.leading_point(), moments.mean[0]):
        assert (points >= region.lower - 1e-12).all() and (points <= region.upper + 1e-12).all()


@pytest.mark.parametrize("name", OPEN)
def test_without_deviations_the_moments_are_flat(name: str) -> None:
    moments, _ = at_the_end(name)
    point = replace(moments, weight=0.0, mean_kept=np.clip(moments.mean_kept, -1.0, 1.0))
    assert point.flatness <= 1e-12 < moments.flatness < 1
    assert point.leading_point() == pytest.approx(moments.mean[0], abs=1e-9)
    assert not point.deviations.any()


@pytest.mark.parametrize("name", ["two layers", "ball"])
def test_multipliers_that_prove_nothing_have_no_moments(name: str) -> None:
    given = instance(name)
    multipliers = random_multipliers(given, np.random.default_rng(5))
    for spoiled in (
        {"scaled_lambda": np.full(len(given.oracle.kept), 1e6)},
        {"kappa_inputs": -9 - multipliers["kappa_inputs"]},
    ):
        with pytest.raises(InputError, match="prove no bound"):
            pseudo_moments(given.cell, given.cell.products({**multipliers, **spoiled}), 1.0)
