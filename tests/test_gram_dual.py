"""The dual of the order-1 relaxation in the core, against the relaxation written down a second time (sdp_oracle).

What the multipliers mean is multiplied out and minimized by numpy; the optimum is that of a cvxpy model; points of the cell
are evaluated by the network itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse
import sdp_oracle

from pydual import certificate
from pydual.checker import Checker, Y
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder, Relu
from pydual.problem import Problem, normalize
from pydual.proof_systems.duals import Duals, Nodes, ascend
from pydual.region import Ball, Region
from pydual.relax.engine import _core
from pydual.relax.frame import Frame, group, make_frame
from pydual.relax.gram import GramCell
from pydual.relax.reduced import Rows, reduce

Multipliers = dict[str, np.ndarray]
NONNEGATIVE = ("mu", "sigma", "tau", "kappa_kept", "beta", "ball", "kappa_inputs")
WEIGHTS = np.array([0.7, 0.3])  # of the two margins
CHEAP = 300  # steps of L-BFGS
MARGINS = (Y[0] - Y[1] <= 0) & (Y[0] + 2 * Y[1] <= 1)


# networks and cells


def layers(seed: int, *sizes: int) -> Network:
    rng = np.random.default_rng(seed)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return Network.from_layers([(rng.normal(size=(n, m)) * np.sqrt(2 / m), 0.2 * rng.normal(size=n)) for m, n in pairs])


def residual(seed: int) -> Network:
    """A sum of a layer, a sparse map of the layer before, and the input; the input meets the output, too."""
    rng = np.random.default_rng(seed)
    graph = GraphBuilder((3,))
    first = graph.relu(graph.affine([(graph.input, rng.normal(size=(5, 3)))], 0.2 * rng.normal(size=5), (5,)))
    inner = graph.relu(graph.affine([(first, rng.normal(size=(4, 5)))], 0.2 * rng.normal(size=4), (4,)))
    skip = sparse.csr_array(np.diag(rng.normal(size=5))[:4])
    terms = [(inner, rng.normal(size=(4, 4))), (first, skip), (graph.input, rng.normal(size=(4, 3)))]
    last = graph.relu(graph.affine(terms, 0.2 * rng.normal(size=4), (4,)))
    terms = [(last, rng.normal(size=(2, 4))), (graph.input, rng.normal(size=(2, 3)))]
    return Network.from_graph(graph, graph.affine(terms, 0.2 * rng.normal(size=2), (2,)))


def convolution(seed: int) -> Network:
    """Two filters along a line, then one over both channels, as sparse matrices; then a dense layer."""
    rng = np.random.default_rng(seed)
    graph = GraphBuilder((8,))
    filters = sparse.vstack([sparse.diags_array(k, offsets=[0, 1, 2], shape=(6, 8)) for k in rng.normal(size=(2, 3))])
    first = graph.relu(graph.affine([(graph.input, sparse.csr_array(filters))], np.repeat([0.1, -0.2], 6), (12,)))
    halves = sparse.hstack([sparse.diags_array(k, offsets=[0, 1], shape=(5, 6)) for k in rng.normal(size=(2, 2))])
    second = graph.relu(graph.affine([(first, sparse.csr_array(halves))], np.full(5, 0.1), (5,)))
    return Network.from_graph(graph, graph.affine([(second, rng.normal(size=(2, 5)))], np.zeros(2), (2,)))


def box(size: int, radius: float = 1.0) -> Region:
    return Region(-radius * np.ones(size), radius * np.ones(size))


def ball(size: int, radius: float) -> Region:
    """Around a point away from the center of its box, which cuts it."""
    return Region(np.full(size, -1.0), np.full(size, 0.8), Ball(np.linspace(-0.3, 0.5, size), radius, "l2"))


def pinned(region: Region, *inputs: int) -> Region:
    """With inputs of width zero."""
    lower, upper = region.lower.copy(), region.upper.copy()
    lower[list(inputs)] = upper[list(inputs)] = 0.25
    return Region(lower, upper, region.ball)


@dataclass(frozen=True)
class Case:
    network: Callable[[], Network]
    region: Region
    splits: int = 0  # so many open neurons are fixed to the phases that they have at some point of the region


CASES = {
    "one layer": Case(lambda: layers(1, 3, 6, 2), box(3)),
    "two layers": Case(lambda: layers(2, 4, 6, 5, 2), box(4)),
    "four layers": Case(lambda: layers(3, 3, 4, 4, 4, 4, 2), box(3, 0.8)),
    "many inputs": Case(lambda: layers(4, 10, 6, 2), box(10, 0.5)),
    "residual": Case(lambda: residual(5), box(3)),
    "convolution": Case(lambda: convolution(6), box(8)),
    "no open neuron": Case(lambda: layers(7, 3, 5, 2), box(3, 1e-4)),
    "width zero": Case(lambda: layers(8, 6, 6, 4, 2), pinned(box(6), 0, 3, 4)),
    "splits": Case(lambda: layers(9, 4, 7, 6, 2), box(4), splits=3),
    "residual, splits": Case(lambda: residual(10), box(3), splits=2),
    "ball": Case(lambda: layers(11, 5, 6, 4, 2), ball(5, 0.9)),
    "small ball": Case(lambda: layers(12, 4, 8, 2), ball(4, 0.4)),
    "ball, width zero": Case(lambda: layers(13, 6, 6, 4, 2), pinned(ball(6, 1.0), 1, 5)),
    "ball, splits": Case(lambda: layers(14, 4, 6, 5, 2), ball(4, 0.9), splits=2),
    "ball, convolution": Case(lambda: convolution(15), ball(8, 0.8)),
}


@dataclass(frozen=True, eq=False)
class Instance:
    """``cell`` is pydual's, ``oracle`` the tests' own. ``phase`` (neurons,) has the splits."""

    problem: Problem
    frame: Frame
    phase: np.ndarray
    cell: GramCell
    oracle: sdp_oracle.Cell

    @property
    def core(self) -> _core.GramProblem:
        return self.cell.core_problem()

    def values(self, number: int = 4000) -> np.ndarray:
        """The weighted margins of the real network at random points of the cell."""
        x = points(self.problem.region, np.random.default_rng(0), number)
        y, before = self.problem.network.evaluate(x), pre_activations(self.problem.network, x)
        inside = (before * self.phase >= 0).all(axis=1)
        assert inside.any()
        margins = np.stack([y[:, 0] - y[:, 1], y[:, 0] + 2 * y[:, 1] - 1], axis=1)
        return (margins @ WEIGHTS)[inside]


def points(region: Region, rng: np.random.Generator, number: int) -> np.ndarray:
    """Corners, points on the sides and inner points, drawn into the ball."""
    share = np.clip(rng.normal(0.5, rng.choice([0.3, 1.0, 10.0], (number, 1)), (number, region.size)), 0.0, 1.0)
    x = region.lower + share * (region.upper - region.lower)
    if region.ball is None:
        return x
    feet = np.clip(region.ball.center, region.lower, region.upper)
    feet_distance, step = np.linalg.norm(feet - region.ball.center), x - feet
    reach = (1 - 1e-9) * region.ball.radius - feet_distance  # enough by the triangle inequality
    assert reach > 0
    return feet + step * np.minimum(1.0, reach / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-300))


def pre_activations(network: Network, x: np.ndarray) -> np.ndarray:
    """The inputs (points, neurons) of all neurons."""
    values, before = [x.T], []
    for primitive in network.primitives:
        if isinstance(primitive, Relu):
            before.append(values[primitive.source])
            values.append(np.maximum(before[-1], 0.0))
        else:
            values.append(sum((m @ values[s] for s, m in primitive.terms), primitive.bias[:, None]))
    return np.concatenate(before).T


@cache
def instance(name: str) -> Instance:
    case = CASES[name]
    network = case.network()
    (problem,) = normalize(network, Checker(case.region, MARGINS))
    (members,) = group([problem])
    frame = make_frame(members, certificate.ADAPTIVE)
    phase = np.zeros(len(frame.lower), dtype=np.int8)
    if case.splits:
        somewhere = pre_activations(network, points(case.region, np.random.default_rng(1), 1))[0]
        chosen = np.random.default_rng(2).permutation(frame.unstable)[: case.splits]
        assert len(chosen) == case.splits
        phase[chosen] = np.sign(somewhere[chosen])
        frame = make_frame(members, certificate.ADAPTIVE, phase)
        assert frame.possible
    return written(problem, frame, phase, WEIGHTS)


def written(problem: Problem, frame: Frame, phase: np.ndarray, weights: np.ndarray) -> Instance:
    members, splits = frame.group, {int(j): int(phase[j]) for j in np.flatnonzero(phase)}
    oracle = sdp_oracle.write_out(problem, weights, frame.lower, frame.upper, splits)
    reduced = reduce(members.program, members.region.size, frame.lower, frame.upper)
    x = np.zeros((len(oracle.cuts), members.region.size))
    x[:, oracle.moving] = oracle.cuts[:, 1 : oracle.first]
    cuts = Rows(x, oracle.cuts[:, oracle.first :], oracle.cuts[:, 0])
    function = reduced.write(members.margins).combined(weights)
    cell = GramCell(reduced, members.region, function, cuts, reduced.units, members.program.neurons)
    return Instance(problem, frame, phase, cell, oracle)


def random_multipliers(given: Instance, rng: np.random.Generator) -> Multipliers:
    """Of the right signs, with kappas that are large enough to prove a bound."""
    kept, inputs = len(given.oracle.kept), len(given.oracle.moving)
    sizes = {"mu": kept, "sigma": kept, "tau": kept, "beta": len(given.oracle.cuts), "kappa_inputs": inputs}
    sizes |= {"kappa_kept": kept, "ball": 0 if given.problem.region.ball is None else 1}
    result = {name: rng.exponential(size=size) * (rng.random(size) < 0.7) for name, size in sizes.items()}
    result["scaled_lambda"] = rng.normal(size=kept) * 0.5
    for name in ("kappa_kept", "kappa_inputs"):
        result[name] += 0.1
    while sdp_oracle.lowest(given.oracle, sdp_oracle.lagrangian(given.oracle, result))[0] == -np.inf:
        result["kappa_kept"] *= 1.5
        result["kappa_inputs"] *= 1.2
    return result


# the dual function


@pytest.mark.parametrize("name", CASES)
def test_a_bound_is_the_least_value_of_what_the_multipliers_mean(name: str) -> None:
    given, rng = instance(name), np.random.default_rng(3)
    for _ in range(20):
        multipliers = random_multipliers(given, rng)
        least, determinant = sdp_oracle.lowest(given.oracle, sdp_oracle.lagrangian(given.oracle, multipliers))
        assert given.core.bound(multipliers) == pytest.approx(least, rel=1e-9, abs=1e-9)
        smoothed, _ = given.core.differentiate(multipliers, 0.5)
        assert smoothed == pytest.approx(least + 0.5 * determinant, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_no_bound_is_above_the_network(name: str) -> None:
    given, rng = instance(name), np.random.default_rng(4)
    least = given.values().min()
    for _ in range(50):
        assert given.core.bound(random_multipliers(given, rng)) <= least + 1e-9


@pytest.mark.parametrize("name", ["two layers", "residual", "ball"])
def test_multipliers_whose_matrix_is_indefinite_prove_nothing(name: str) -> None:
    given, rng = instance(name), np.random.default_rng(5)
    for sign in (-1.0, 1.0):
        multipliers = random_multipliers(given, rng)
        multipliers["scaled_lambda"] = np.full(len(given.oracle.kept), sign * 1e6)
        assert sdp_oracle.lowest(given.oracle, sdp_oracle.lagrangian(given.oracle, multipliers))[0] == -np.inf
        assert given.core.bound(multipliers) == -np.inf


@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_finite_differences(name: str, weight: float) -> None:
    given, rng = instance(name), np.random.default_rng(6)
    at = random_multipliers(given, rng)
    _, gradient = given.core.differentiate(at, weight)
    for part, slopes in gradient.items():
        assert slopes.shape == at[part].shape
        for i, slope in enumerate(slopes):
            step = 1e-6 * (1 + abs(at[part][i]))

            def moved(by: float, part: str = part, i: int = i) -> Any:
                changed = {**at, part: at[part].copy()}
                changed[part][i] += by
                return given.core.differentiate(changed, weight)[0]

            assert slope == pytest.approx((moved(step) - moved(-step)) / (2 * step), rel=2e-5, abs=2e-6), (part, i)


def flat(multipliers: Multipliers) -> np.ndarray:
    return np.concatenate(list(multipliers.values()))


def newton_residual(problem: _core.GramProblem, at: Multipliers, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """The slopes of the smoothed dual, and what they change by along Newton's step, by finite differences."""
    names = [name for name in problem.differentiate(at, weight)[1] if at[name].size]
    step = problem.newton_step(at, weight)

    def slopes(length: float) -> np.ndarray:
        moved = at | {name: at[name] + length * step[name] for name in step}
        gradient = problem.differentiate(moved, weight)[1]
        return flat({k: gradient[k] + (0.0 if k == "scaled_lambda" else weight / moved[k]) for k in names})

    longest = max(float(np.abs(step[name] / (1e-3 + np.abs(at[name]))).max(initial=0.0)) for name in names)
    length = 1e-5 / longest
    return slopes(0.0), (slopes(length) - slopes(-length)) / (2 * length)


@pytest.mark.parametrize("name", CASES)
def test_newtons_step_is_that_of_finite_differences(name: str) -> None:
    """Along it, the slopes fall to zero at the rate of the slopes."""
    given, rng = instance(name), np.random.default_rng(8)
    at = {key: part if key == "scaled_lambda" else part + 0.05 for key, part in random_multipliers(given, rng).items()}
    before, change = newton_residual(given.core, at, 0.3)
    assert np.abs(before + change).max() <= 1e-5 * np.abs(before).max()


def test_shapes_that_do_not_fit_are_refused() -> None:
    given = instance("two layers")
    multipliers = random_multipliers(given, np.random.default_rng(7))
    with pytest.raises(ValueError, match="mu"):
        given.core.bound({**multipliers, "mu": multipliers["mu"][1:]})
    with pytest.raises(KeyError):
        given.core.bound({name: part for name, part in multipliers.items() if name != "tau"})


# the ascent


def adaptive(given: Instance) -> np.ndarray:
    return (given.cell.reduced.upper > -given.cell.reduced.lower).astype(float)


def ascent(
    given: Instance,
    *,
    alpha: np.ndarray | None = None,
    last_weight: float = 1e-7,
    flatness: float = 1e-6,
    cheap: int = CHEAP,
) -> _core.GramAscent:
    start, scale = given.cell.start(adaptive(given) if alpha is None else alpha, np.zeros(len(given.oracle.cuts)))
    path = {"first_weight": 2e-3, "last_weight": last_weight, "decay": 0.2, "steps_per_weight": 20_000, "cheap_steps": cheap}
    return _core.GramAscent(given.core, start, scale, flatness=flatness, **path)


def advance(*ascents: _core.GramAscent, goal: float, steps: int = 100_000, threads: int = 1) -> None:
    _core.advance_grams(list(ascents), steps=steps, goal=goal, threads=threads)


@cache
def optimum(name: str) -> float:
    return sdp_oracle.optimum(instance(name).oracle)


def linear_duals(given: Instance, steps: int) -> Duals:
    """The bound of adaptive lines, or what so many steps make of them."""
    alpha = np.zeros(len(given.frame.lower))
    alpha[given.cell.reduced.units] = adaptive(given)
    betas, no_curvature = np.zeros((1, len(alpha))), np.zeros((1, 0))
    nodes = Nodes(np.zeros(1, dtype=int), given.phase[None], alpha[None], betas, WEIGHTS[None], no_curvature)
    return ascend(given.frame, nodes, steps=steps, rate=0.1, target=np.inf)


def linear_bound(given: Instance) -> float:
    return float(linear_duals(given, 0).bound[0])


@pytest.mark.parametrize("name", CASES)
def test_the_start_proves_nearly_what_the_lines_do(name: str) -> None:
    """Less what every kappa is raised by; over a ball its multiplier is one of a series."""
    given = instance(name)
    start, _ = given.cell.start(adaptive(given), np.zeros(len(given.oracle.cuts)))
    bound, linear = given.core.bound(start), linear_bound(given)
    raised = start["kappa_kept"].max(initial=1e-4) * (given.oracle.size - 1)
    series = 0.0 if given.problem.region.ball is None else 0.01 * (1 + abs(linear))
    assert linear - raised - series - 1e-9 <= bound <= linear + 1e-9


@pytest.mark.parametrize("name", CASES)
def test_the_best_bound_never_falls_and_its_multipliers_prove_it(name: str) -> None:
    given = instance(name)
    running, least = ascent(given, last_weight=1e-4), given.values().min()
    best = -np.inf
    for _ in range(40):
        advance(running, goal=least + 1.0, steps=10)
        assert best <= running.bound <= least + 1e-9
        best = running.bound
        multipliers = running.multipliers
        assert all((multipliers[part] >= 0).all() for part in NONNEGATIVE)
        assert given.core.bound(multipliers) == pytest.approx(best, rel=1e-12, abs=1e-12)
    assert best > linear_bound(given) or name == "no open neuron"


@pytest.mark.parametrize("name", CASES)
def test_the_ascent_reaches_the_optimum_of_a_cvxpy_model(name: str) -> None:
    given, best = instance(name), optimum(name)
    running = ascent(given)
    advance(running, goal=best + 1e-6)
    assert best - 1e-4 * (1 + abs(best)) <= running.bound <= best + 1e-6
    assert best <= given.values().min() + 1e-6, "the relaxation itself is below the network"


@pytest.mark.parametrize("name", CASES)
def test_the_ascent_reaches_the_optimum_from_optimized_lines(name: str) -> None:
    """Few inputs may have no coefficient at all in the best linear bound, so that nothing pulls at their boxes."""
    given, best = instance(name), optimum(name)
    alpha = np.clip(linear_duals(given, 500).alpha[0][given.cell.reduced.units], 0.0, 1.0)
    running = ascent(given, alpha=alpha)
    advance(running, goal=best + 1e-6)
    assert best - 1e-3 * (1 + abs(best)) <= running.bound <= best + 1e-6


@pytest.mark.parametrize("name", [name for name in CASES if name != "no open neuron"])
def test_the_relaxed_adversary_plays_the_optimum(name: str) -> None:
    """The pseudo-mean keeps to the linear constraints, and the function there is the optimum."""
    given, best = instance(name), optimum(name)
    running = ascent(given)
    advance(running, goal=best + 1e-6)
    played = sdp_oracle.scaling(given.oracle) @ np.concatenate([[1.0], running.inputs, running.kept])
    assert given.oracle.function @ played == pytest.approx(best, rel=1e-2, abs=1e-2)
    rows = [given.oracle.slack, given.oracle.under_chord, given.oracle.cuts, np.eye(given.oracle.size)[given.oracle.first :]]
    assert (np.concatenate(rows) @ played >= -1e-2).all()
    assert (np.abs(running.inputs) <= 1 + 1e-2).all()


@pytest.mark.parametrize("name", CASES)
def test_an_ascent_ends_at_its_goal_or_where_there_is_no_hope(name: str) -> None:
    given, best = instance(name), optimum(name)
    easy, hopeless = ascent(given), ascent(given)
    advance(easy, goal=best - 2e-3)
    assert best - 2e-3 < easy.bound <= best + 1e-6
    advance(hopeless, goal=best + 0.5)
    assert hopeless.ended
    assert hopeless.bound <= best + 1e-6
    assert hopeless.weight > 1e-4


def test_neither_chunks_nor_threads_change_an_ascent() -> None:
    names = ["two layers", "residual", "ball", "splits"]
    whole, pieces = ([ascent(instance(name)) for name in names] for _ in range(2))
    advance(*whole, goal=10.0, steps=150)
    for _ in range(15):
        advance(*pieces, goal=10.0, steps=10, threads=3)
    for one, other in zip(whole, pieces, strict=True):
        assert (one.bound, one.steps, one.weight) == (other.bound, other.steps, other.weight)
        assert all((part == other.multipliers[key]).all() for key, part in one.multipliers.items())


# products of facts


def fact(given: Instance, number: int) -> np.ndarray:
    """The fact of that number (PROOFS.md, section 3) as a row over v; facts 1 and inputs, and those of open neurons."""
    cell, one = given.oracle, np.eye(given.oracle.size)[0]
    inputs = given.problem.region.size
    if number == 0:
        return one
    if number <= 2 * inputs:
        i, upper = divmod(number - 1, 2)
        row = np.eye(cell.size)[1 + np.searchsorted(cell.moving, i)]
        region = given.problem.region
        return region.upper[i] * one - row if upper else row - region.lower[i] * one
    j, kind = divmod(number - 1 - 2 * inputs, 4)
    k = int(np.searchsorted(cell.kept, j))
    assert cell.kept[k] == j
    output = np.eye(cell.size)[cell.first + k]
    return (output, cell.slack[k], cell.under_chord[k], cell.upper[k] * one - output)[kind]


@pytest.mark.parametrize("name", CASES)
def test_products_of_facts_mean_what_the_multipliers_do(name: str) -> None:
    given = instance(name)
    running = ascent(given, last_weight=1e-3)
    advance(running, goal=1e6, steps=200)
    pairs, rho, betas = given.cell.products(running.multipliers)
    cell, ball = given.oracle, 1 + 2 * given.problem.region.size + 4 * len(given.frame.lower)
    matrix = sdp_oracle.symmetric(np.eye(cell.size)[0], cell.function - betas @ cell.cuts)
    for (f, g), multiplier in zip(pairs.tolist(), rho.tolist(), strict=True):
        product = cell.ball_square if g == ball else sdp_oracle.symmetric(fact(given, f), fact(given, g))
        matrix = matrix - multiplier * product
    least, _ = sdp_oracle.lowest(cell, matrix)
    assert least == pytest.approx(running.bound, rel=1e-3, abs=1e-4)
    assert least <= optimum(name) + 1e-6
