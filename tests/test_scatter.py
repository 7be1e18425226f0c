"""The random search of the primal player, on catastrophes planted where descents do not lead."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import pydual
from pydual.attack.scatter import MOST_INPUTS, Scatter, best_points, is_low_dimensional, random_points, scatter
from pydual.attack.search import QUICK, THOROUGH, Adversary
from pydual.checker import Checker, Y
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.problem import normalize
from pydual.region import Ball, Region
from pydual.relax.frame import Group, group

NEEDLE, DECOY, RADIUS = np.array([0.6, -0.5, 0.45]), np.array([-0.7, 0.6, -0.8]), 0.15
CUBE = Region(-np.ones(3), np.ones(3))


def trap() -> Network:
    """``min(|x - needle| / radius - 1, 1/2 + |x - decoy| / 10)`` in the 1-norm: below zero near the needle only, and nearly
    everywhere descending to the decoy."""
    graph = GraphBuilder((3,))
    both = np.vstack([np.eye(3), -np.eye(3)])
    parts = [graph.relu(graph.affine([(graph.input, both)], -both @ point, (6,))) for point in (NEEDLE, DECOY)]
    weights = [np.full((1, 6), 1 / RADIUS), np.full((1, 6), 0.1)]
    needle, decoy = (graph.affine([(p, w)], np.array([b]), (1,)) for p, w, b in zip(parts, weights, (-1.0, 0.5), strict=True))
    one = np.ones((1, 1))
    excess = graph.relu(graph.affine([(needle, one), (decoy, -one)], np.zeros(1), (1,)))
    return Network.from_graph(graph, graph.affine([(needle, one), (excess, -one)], np.zeros(1), (1,)))


def value(x: np.ndarray) -> float:
    return min(np.abs(x - NEEDLE).sum() / RADIUS - 1, 0.5 + np.abs(x - DECOY).sum() / 10)


@pytest.mark.parametrize("seed", range(5))
def test_a_needle_beside_a_decoy(seed: int) -> None:
    network = trap()
    problems = normalize(network, Checker(CUBE, Y[0] <= 0))
    (g,) = group(problems)
    (found,) = scatter(g, 4096, np.random.default_rng(seed), 0.0, frozenset())
    assert found.margin <= 0
    assert found.margin == pytest.approx(value(found.x))
    steps = Adversary(problems, seed).polish(np.array([[-0.5, 0.3, 0.1]]), THOROUGH)
    assert steps[0].margin > 0  # a descent goes to the decoy


@pytest.mark.parametrize("seed", range(3))
def test_walks_end_where_the_least_value_is(seed: int) -> None:
    (g,) = group(normalize(trap(), Checker(CUBE, Y[0] <= 0)))
    (found,) = scatter(g, 4096, np.random.default_rng(seed), -np.inf, frozenset())
    assert found.margin == pytest.approx(-1.0, abs=0.02)  # at the needle
    np.testing.assert_allclose(found.x, NEEDLE, atol=0.01)


REGIONS = {
    "box": Region([0.5, -0.7, 0.2], [0.55, 0.0, 1.0]),
    "a fixed input": Region([0.6, -0.5, -1.0], [0.6, 0.5, 1.0]),
    "ball": Region(-np.ones(3), np.ones(3), Ball(NEEDLE, 0.2, "l2")),
    "integers": Region(-np.ones(3), np.ones(3), None, np.array([True, False, False])),
}


@pytest.mark.parametrize("which", REGIONS)
def test_finds_lie_in_the_region(which: str) -> None:
    region = REGIONS[which]
    (g,) = group(normalize(trap(), Checker(region, Y[0] <= 0)))
    (found,) = scatter(g, 500, np.random.default_rng(0), -np.inf, frozenset())
    assert (region.lower <= found.x).all() and (found.x <= region.upper).all()
    if region.ball is not None:
        assert np.linalg.norm(found.x - region.ball.center) <= region.ball.radius * (1 + 1e-12)
    if region.integers is not None:
        assert (np.rint(found.x) == found.x)[region.integers].all()
    assert found.margin == pytest.approx(value(found.x))


def test_each_problem_has_a_find_of_its_own() -> None:
    catastrophe = (Y[0] <= 0) | (Y[0] >= Fraction(9, 10)) | (Y[0] >= 100)
    (g,) = group(normalize(trap(), Checker(CUBE, catastrophe)))
    found = {find.problem.index: find for find in scatter(g, 4096, np.random.default_rng(0), 0.0, frozenset())}
    assert found[0].margin <= 0 and found[1].margin <= 0 < found[2].margin
    assert value(found[1].x) >= 0.9
    assert {f.problem.index for f in scatter(g, 100, np.random.default_rng(0), 0.0, frozenset({0, 2}))} == {1}
    random = np.random.default_rng(0)
    assert not list(scatter(g, 100, random, 0.0, frozenset({0, 1, 2})))
    assert random.random() == np.random.default_rng(0).random()  # nothing was drawn


def test_searches_are_twice_as_long_each_time_and_take_a_share_of_the_time() -> None:
    network = Network.from_layers([(np.eye(2), np.ones(2)), (np.ones((1, 2)), np.ones(1))])  # at least 1
    problems = normalize(network, Checker(Region(-np.ones(2), np.ones(2)), Y[0] <= 0))
    player = Scatter(problems, 0)
    assert player.search(0.0) == []
    assert Scatter(problems, 0, lambda: 0.0).search(1e9) == []  # no time is left
    sizes = []
    for _ in range(4):
        (find,) = player.search(1e9)
        assert find.margin >= 1
        sizes.append(player.samples)
        assert player.search(0.0) == []
    assert sizes == [sizes[0] * 2**k for k in range(4)]


def test_points_are_drawn_in_blocks_that_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of all blocks are the best of all points."""
    (g,) = group(normalize(trap(), Checker(CUBE, Y[0] <= 0)))
    at_once, drawn, whole = best_points(g, [0], 3000, np.random.default_rng(0))[0], [], Group.margins_at
    monkeypatch.setattr("pydual.attack.scatter.HELD", 400)  # a hundred points of three inputs and a margin
    monkeypatch.setattr(Group, "margins_at", lambda self, x: drawn.append(len(x)) or whole(self, x))
    points, values = best_points(g, [0], 3000, np.random.default_rng(0))[0]
    assert drawn == [100] * 30
    np.testing.assert_array_equal(np.sort(values), np.sort(at_once[1]))
    np.testing.assert_allclose(values, [value(x) for x in points])


def test_more_walks_than_points_in_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydual.attack.scatter.HELD", 400)
    (g,) = group(normalize(trap(), Checker(CUBE, Y[0] <= 0)))
    points, values = best_points(g, [0], 60_050, np.random.default_rng(0))[0]  # blocks of a hundred, and a rest of fifty
    assert len(points) == 60_050 // 400
    drawn = random_points(CUBE, 60_050, np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(values), np.sort([value(x) for x in drawn])[: len(values)], atol=1e-12)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_points_of_a_ball_are_also_inside(norm: str) -> None:
    ball = Ball(0.1 * np.ones(16), 0.5, norm)
    points = random_points(Region(-np.ones(16), np.ones(16), ball), 1000, np.random.default_rng(0))
    distances = np.linalg.norm(points - ball.center, 1 if norm == "l1" else 2, axis=1)
    assert points.shape == (1000, 16)
    assert (distances <= 0.5 * (1 + 1e-12)).all()
    assert 400 <= (distances < 0.499).sum() <= 500


def test_wide_boxes_have_finite_points() -> None:
    """``relu(x) + relu(1 - x)`` is at least 1; the width of this box is no float64."""
    network = Network.from_layers([(np.array([[1.0], [-1.0]]), np.array([0.0, 1.0])), (np.ones((1, 2)), np.zeros(1))])
    problems = normalize(network, Checker(Region([-1e308], [1e308]), Y[0] <= Fraction(1, 2)))
    (g,) = group(problems)
    finds = [*scatter(g, 1000, np.random.default_rng(0), -np.inf, frozenset()), *Adversary(problems, 0).search(THOROUGH)]
    assert len(finds) == 2
    assert all(np.isfinite(find.x).all() and find.margin >= 0.5 for find in finds)


def test_nothing_is_known_where_values_overflow() -> None:
    """The output is 0 but for overflow, which makes it infinity minus infinity."""
    layers = [([[1e300], [1e300]], [0.0, 0.0]), ([[1e10, -1e10]], [0.0]), ([[1.0]], [0.0])]
    network = Network.from_layers([(np.array(weights), np.array(bias)) for weights, bias in layers])
    problems = normalize(network, Checker(Region([1.0], [2.0]), Y[0] <= -1))
    (g,) = group(problems)
    assert np.isinf(g.margins_at(np.array([[1.5]]))).all()
    assert all(find.margin == np.inf for find in Adversary(problems, 0).search(QUICK))
    assert all(find.margin == np.inf for find in scatter(g, 100, np.random.default_rng(0), 0.0, frozenset()))


def test_a_search_that_found_something_is_as_long_the_next_time() -> None:
    player = Scatter(normalize(trap(), Checker(CUBE, Y[0] <= 0)), 0)
    samples = player.samples
    assert player.search(1e9)[0].margin <= 0
    assert player.samples == samples


def test_many_inputs_are_not_searched_at_random() -> None:
    wide = Region(np.zeros(MOST_INPUTS + 1), np.ones(MOST_INPUTS + 1))
    network = Network.from_layers([(np.ones((1, wide.size)), np.zeros(1)), (np.ones((1, 1)), np.ones(1))])
    assert not is_low_dimensional(wide)
    assert Scatter(normalize(network, Checker(wide, Y[0] <= 0)), 0).search(1e9) == []
    fixed = Region(np.zeros(wide.size), np.eye(wide.size)[0])
    assert is_low_dimensional(fixed)


def test_solve_looks_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No descent, and no proof system that looks at inputs: only the random search can find the needle."""
    monkeypatch.setattr("pydual.game.Adversary", _Blind)
    monkeypatch.setattr("pydual.attack.scatter.SHARE", 1e3)
    outcome = pydual.solve(trap(), Checker(CUBE, Y[0] <= 0), "crown", timeout=60)
    assert isinstance(outcome, pydual.Attack)
    assert value(outcome.x) <= 1e-6


class _Blind(Adversary):
    def search(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def polish(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def evaluate(self, *_: Any, **__: Any) -> list[Any]:
        return []
