"""Pseudo-moments given a phase: those of distributions over real inputs are averages over the inputs with that phase."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from pydual.certificate import ADAPTIVE
from pydual.checker import Checker, Y
from pydual.network import Network
from pydual.problem import normalize
from pydual.proof_systems import SOS
from pydual.proof_systems.products import cell_of
from pydual.region import Region
from pydual.relax.conditioning import conditioned_means
from pydual.relax.frame import group, make_frame
from pydual.relax.moments import MomentProblem, moment_problem


def layers(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(4, 2)), 0.3 * rng.normal(size=4)), (rng.normal(size=(1, 4)), np.zeros(1))]


def relaxation(network: Network) -> MomentProblem:
    problems = normalize(network, Checker(Region(-np.ones(2), np.ones(2)), Y[0] <= 100.0))
    (members,) = group(list(problems))
    cell = cell_of(make_frame(members, ADAPTIVE))
    margins = cell.written(cell.reduced.write(members.margins)[members.columns(0)])
    return moment_problem(cell, margins, 4, cell.cliques(10, margins))


@pytest.mark.parametrize("seed", range(5))
def test_the_means_are_averages_weighted_with_squares(seed: int) -> None:
    (weights, bias), last = layers(seed)
    problem = relaxation(Network.from_layers([(weights, bias), last]))
    x = np.random.default_rng(seed).uniform(-1, 1, (7, 2))  # the atoms, all alike
    y = x @ weights.T + bias
    z = np.maximum(y, 0.0)
    kept = problem.cell.neurons
    scaled = np.hstack([x + 1.0, z[:, kept]]) / problem.cell.scale
    moments = {m: float(np.mean([prod(row[v] for v in m) for row in scaled])) for m in problem.moments}
    expected = []
    for j in kept:
        for q in (z[:, j], z[:, j] - y[:, j]):
            if np.mean(q**2) > 1e-5:
                expected.append(q**2 @ x / np.sum(q**2))
    found = conditioned_means(problem, moments) * problem.cell.scale[:2] - 1.0
    assert found == pytest.approx(np.array(expected), abs=1e-9)
    assert len(found) > 2


def test_phases_that_no_moment_tells_of_are_left_out() -> None:
    problem = relaxation(Network.from_layers(layers(0)))
    assert conditioned_means(problem, {(): 1.0}).shape == (0, 2)


def test_a_pseudo_mean_between_two_attacks_is_told_apart() -> None:
    """-max(|x| - 1/2, 0) is least at both ends; their mean is no attack, their means given a phase are.

    Each layer has its clique, so that atoms are not looked for.
    """
    layers = [([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [-0.5]), ([[-1.0]], [0.0])]
    network = Network.from_layers([(np.array(weights), np.array(bias)) for weights, bias in layers])
    system = SOS(degree=4, dense=0)
    state = system.init(normalize(network, Checker(Region(-np.ones(1), np.ones(1)), Y[0] <= -0.45)))
    points = []
    while not state.finished:
        state = system.step(state, np.inf)
        points += state.candidates[:, 0].tolist()
    assert min(points) == pytest.approx(-1.0, abs=1e-2)
    assert max(points) == pytest.approx(1.0, abs=1e-2)
