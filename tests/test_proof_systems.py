"""Every proof system on a list of problems: bounds in order and below the truth; audits of the trees that they emit.

The truth is enumerated (activation_patterns), or built here as a cvxpy model; nothing comes from another prover.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import activation_patterns
import cvxpy
import numpy as np
import pytest
import random_instances as instances
import scipy.sparse as sparse
from cases import Case

from pydual import certificate
from pydual.audit import EXACT, ROUNDED, audit
from pydual.audit.query import query_digest
from pydual.certificate import Proof
from pydual.checker import Atom, Checker, X, Y, robustness
from pydual.errors import InputError
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder, Relu
from pydual.problem import Problem, normalize
from pydual.proof_systems import (
    BY_NAME,
    MILP,
    AlphaCrown,
    BranchAndBound,
    Crown,
    Interval,
    ProofSystem,
    TriangleLP,
    by_name,
)
from pydual.proof_systems.base import State
from pydual.region import Ball, Region
from pydual.relax.frame import group, make_frame

OF_BOXES = [name for name in BY_NAME if name != "enumeration"]  # which needs finite regions
SECONDS = 5.0  # for a step: z3 does not end on every ball
NOISE = 1e-7


# problems


def layers(seed: int, *sizes: int) -> Network:
    rng = np.random.default_rng(seed)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return Network.from_layers([(rng.normal(size=(n, m)) / np.sqrt(m), 0.3 * rng.normal(size=n)) for m, n in pairs])


def residual(seed: int) -> Network:
    """x -> relu -> (relu + skip) -> relu, with a CSR matrix on the skip."""
    rng = np.random.default_rng(seed)
    graph = GraphBuilder((3,))
    first = graph.relu(graph.affine([(graph.input, rng.normal(size=(4, 3)) / 2)], 0.2 * rng.normal(size=4), (4,)))
    inner = graph.relu(graph.affine([(first, rng.normal(size=(4, 4)) / 2)], 0.2 * rng.normal(size=4), (4,)))
    skip = sparse.csr_array(np.diag(rng.normal(size=4)))
    block = graph.affine([(inner, rng.normal(size=(4, 4)) / 2), (first, skip)], 0.2 * rng.normal(size=4), (4,))
    last = graph.relu(block)
    terms = [(last, rng.normal(size=(2, 4)) / 2), (graph.input, rng.normal(size=(2, 3)) / 4)]
    return Network.from_graph(graph, graph.affine(terms, 0.2 * rng.normal(size=2), (2,)))


def box(size: int, radius: float = 1.0) -> Region:
    return Region(-radius * np.ones(size), radius * np.ones(size))


def ball(size: int, norm: str) -> Region:
    """The unit ball around 0.1, as far as it lies in the cube around 0."""
    return Region(-np.ones(size), np.ones(size), Ball(np.full(size, 0.1), 1.0, norm))


def random_case(seed: int, inputs: int) -> Case:
    """The first seed from here on whose network, region and condition have a finite true minimum."""
    for attempt in range(seed * 1000, seed * 1000 + 100):
        rng = np.random.default_rng(attempt)
        network = instances.random_network(rng, inputs, width=4)
        region = instances.random_region(rng, inputs)
        region = Region(region.lower, region.upper, region.ball if rng.random() < 0.5 and is_l1(region) else None)
        case = Case(network, instances.random_checker(rng, network, region))
        if np.isfinite(activation_patterns.true_minimum(case.network, case.checker)):
            return case
    raise AssertionError("no finite case among 100 seeds")


def is_l1(region: Region) -> bool:
    return region.ball is not None and region.ball.norm == "l1"


BOTH = (Y[0] - Y[1] <= 0) & (Y[0] + Y[1] <= Fraction(1, 10))
CASES: dict[str, Callable[[], Case]] = {
    "one layer, no ReLU": lambda: Case(layers(1, 3, 2), Checker(box(3), Y[0] <= Y[1])),
    "one neuron": lambda: Case(layers(2, 1, 1, 1), Checker(box(1), Y[0] <= 0)),
    "2-6-2": lambda: Case(layers(3, 2, 6, 2), Checker(box(2), Y[0] <= Y[1])),
    "3-5-5-2": lambda: Case(layers(4, 3, 5, 5, 2), Checker(box(3, 0.7), Y[0] <= Y[1])),
    "2-4-4-4-2": lambda: Case(layers(5, 2, 4, 4, 4, 2), Checker(box(2), Y[0] <= Y[1])),
    "14-8-3, many inputs": lambda: Case(layers(6, 14, 8, 3), Checker(box(14, 0.3), Y[0] <= Y[2])),
    "two margins": lambda: Case(layers(7, 3, 6, 4, 2), Checker(box(3), BOTH)),
    "three margins": lambda: Case(layers(8, 2, 6, 3), Checker(box(2), (Y[0] <= 0) & (Y[1] <= 0) & (Y[2] <= Y[0]))),
    "a disjunction": lambda: Case(layers(9, 3, 5, 5, 3), Checker(box(3, 0.5), (Y[0] <= Y[1]) | (Y[0] <= Y[2]))),
    "a disjunction of conjunctions": lambda: Case(
        layers(10, 3, 6, 2), Checker(box(3), BOTH | (Y[1] <= -1) & (Y[0] <= 1))
    ),
    "inputs and outputs mixed": lambda: Case(
        layers(11, 3, 5, 4, 2), Checker(box(3), Y[0] - 2 * X[1] + X[2] <= Y[1] / 3)
    ),
    "a constraint on inputs": lambda: Case(
        layers(12, 3, 6, 2), Checker(box(3), (X[0] + X[1] <= X[2]) & (Y[0] <= Y[1]))
    ),
    "boxes that differ": lambda: Case(
        layers(13, 2, 6, 2), Checker(box(2), (X[0] <= 0) & (Y[0] <= Y[1]) | (X[0] >= Fraction(1, 2)) & (Y[1] <= Y[0]))
    ),
    "residual": lambda: Case(residual(14), Checker(box(3, 0.8), Y[0] <= Y[1])),
    "residual, two margins": lambda: Case(residual(15), Checker(box(3, 0.8), BOTH)),
    "a point": lambda: Case(layers(16, 2, 4, 2), Checker(Region([0.5, -0.5], [0.5, -0.5]), Y[0] <= Y[1])),
    "an l1 ball": lambda: Case(layers(17, 3, 6, 2), robustness([0.1, 0.5, 0.9], 0, 0.6, "l1", (0.0, 1.0), classes=2)),
    "an l1 ball cut by its condition": lambda: Case(
        layers(18, 3, 6, 2), Checker(ball(3, "l1"), (X[0] >= "0.2") & BOTH)
    ),
    **{f"random {seed}": lambda seed=seed: random_case(seed, 1 + seed % 3) for seed in range(1, 13)},
}
CASES_L2: dict[str, Callable[[], Case]] = {
    "an l2 ball": lambda: Case(layers(21, 3, 6, 2), robustness([0.1, 0.5, 0.9], 0, 0.5, "l2", (0.0, 1.0), classes=2)),
    "an l2 ball, many inputs": lambda: Case(
        layers(22, 15, 8, 3), robustness(np.full(15, 0.4), 1, 0.4, "l2", classes=3)
    ),
    "an l2 ball, two margins": lambda: Case(residual(23), Checker(ball(3, "l2"), BOTH)),
}


@cache
def case(name: str) -> Case:
    return {**CASES, **CASES_L2}[name]()


@cache
def truth(name: str) -> float:
    return activation_patterns.true_minimum(case(name).network, case(name).checker)


def run(system: ProofSystem, problems: tuple[Problem, ...], steps: int = 100_000) -> State:
    """Steps until the state is finished; a search that needs more than ``steps`` fails the test."""
    state = system.init(problems)
    while not state.finished:
        assert steps > 0, "the search does not end"
        state = system.step(state, np.inf)
        steps -= 1
    return state


def audited(case: Case, state: State) -> list[float]:
    """The margins that the exact and the rounded audit prove."""
    trees = tuple(state.trees[problem.index] for problem in state.problems)
    proof = Proof.of(case.network.digest, query_digest(case.checker), trees)
    return [audit(proof, case.network, case.checker, level=level).margin for level in (EXACT, ROUNDED)]


def sampled_margins(case: Case, number: int = 300) -> list[float]:
    """For each problem the least worst margin of random points of its region, evaluated by numpy."""
    found = []
    rng = np.random.default_rng(0)
    for problem in case.problems:
        points = points_of(problem.region, rng, number)
        outputs = case.network.evaluate(points) if len(points) else np.zeros((0, case.network.output_size))
        values = [[float_margin(atom, x, y) for atom in problem.margins] for x, y in zip(points, outputs, strict=True)]
        found.append(min((max(row) for row in values), default=np.inf))
    return found


def float_margin(atom: Atom, x: np.ndarray, y: np.ndarray) -> float:
    margin = atom.margin
    total = float(margin.constant) + sum(float(c) * x[i] for i, c in margin.x.items())
    return total + sum(float(c) * y[j] for j, c in margin.y.items())


def points_of(region: Region, rng: np.random.Generator, number: int) -> np.ndarray:
    """Corners, points on the sides and inner points, drawn into the ball where there is one."""
    share = np.clip(rng.normal(0.5, rng.choice([0.3, 1.0, 10.0], (number, 1)), (number, region.size)), 0.0, 1.0)
    points = region.lower + share * (region.upper - region.lower)
    if region.ball is not None:
        step = points - region.ball.center
        norm = np.linalg.norm(step, 1 if region.ball.norm == "l1" else 2, axis=1, keepdims=True)
        radius = (1 - 1e-12) * region.ball.radius
        points = region.ball.center + step * np.minimum(1.0, radius / np.maximum(norm, 1e-300))
        points = points[((points >= region.lower) & (points <= region.upper)).all(axis=1)]
    return points


# bounds

NEVER = np.inf  # as a target: the ascent does not end early
ROOT_BOUNDS: dict[str, ProofSystem] = {
    "interval": Interval(),
    "crown": Crown(),
    "alpha-crown": AlphaCrown(target=NEVER),
    "lp": TriangleLP(),
}


@pytest.mark.parametrize("name", CASES)
def test_bounds_are_ordered_and_below_the_truth(name: str) -> None:
    problems = case(name).problems
    bound = {key: run(system, problems).lower for key, system in ROOT_BOUNDS.items()}
    for problem in problems:
        i = problem.index
        true = activation_patterns.least_margin(problem.network, problem.region, problem.margins)
        noise = NOISE * (1 + abs(bound["interval"][i]))
        assert bound["interval"][i] <= bound["crown"][i] + noise
        assert bound["crown"][i] <= bound["lp"][i] + noise
        assert bound["lp"][i] <= true + noise
        assert bound["crown"][i] <= bound["alpha-crown"][i] + noise
        assert bound["alpha-crown"][i] <= true + noise
        if problem.region.ball is None:
            assert bound["alpha-crown"][i] <= bound["lp"][i] + noise


@pytest.mark.parametrize("system", OF_BOXES)
@pytest.mark.parametrize("name", [*CASES, *CASES_L2])
def test_points_never_beat_a_bound(name: str, system: str) -> None:
    state = by_name(system).init(case(name).problems)
    sampled = sampled_margins(case(name))
    for _ in range(3):
        if not state.finished:
            state = by_name(system).step(state, SECONDS)
        for problem, least in zip(case(name).problems, sampled, strict=True):
            if problem.index in state.lower and problem.index not in state.trees:
                assert state.lower[problem.index] <= least + NOISE * (1 + abs(least))


@pytest.mark.parametrize("name", [*CASES, *CASES_L2])
@pytest.mark.parametrize("system", ROOT_BOUNDS)
def test_the_audits_confirm_the_claimed_bound(name: str, system: str) -> None:
    bounded = run(ROOT_BOUNDS[system], case(name).problems)
    harder = case(name).raised(0.5 - bounded.bound)
    state = run(ROOT_BOUNDS[system], harder.problems)
    assert state.proved, "raised above its own bound, every problem is proved"
    for margin in audited(harder, state):
        assert margin >= state.bound - 1e-6 * (1 + abs(bounded.bound))


@pytest.mark.parametrize("hidden", [(8,), (8, 6)], ids=["one hidden layer", "two hidden layers"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_crown_reaches_the_linear_program(seed: int, hidden: tuple[int, ...]) -> None:
    problems = normalize(layers(100 + seed, 4, *hidden, 2), Checker(box(4, 0.8), Y[0] <= Y[1]))
    lp = run(TriangleLP(), problems).bound
    assert run(AlphaCrown(steps=1000, rate=0.3, target=NEVER), problems).bound == pytest.approx(lp, abs=1e-3)


# the linear program against cvxpy


def triangle_optimum(problem: Problem) -> float:
    """The triangle LP as a cvxpy model, from the network's primitives and the intervals of the frame."""
    frame = make_frame(group([problem])[0], certificate.ADAPTIVE)
    x = cvxpy.Variable(problem.region.size)
    constraints = [x >= problem.region.lower, x <= problem.region.upper]
    if problem.region.ball is not None:
        norm = {"l1": cvxpy.norm1, "l2": cvxpy.norm2}[problem.region.ball.norm]
        constraints.append(norm(x - problem.region.ball.center) <= problem.region.ball.radius)
    values, begin = [x], 0
    for primitive in problem.network.primitives:
        if isinstance(primitive, Relu):
            part = slice(begin, begin := begin + primitive.size)
            values.append(z := cvxpy.Variable(primitive.size))
            constraints += triangle(values[primitive.source], z, frame.lower[part], frame.upper[part])
        else:
            values.append(sum((m @ values[s] for s, m in primitive.terms), primitive.bias))
    y = values[problem.network.output]
    t = cvxpy.Variable()
    for atom in problem.margins:
        margin = float(atom.margin.constant) + sum(float(c) * x[i] for i, c in atom.margin.x.items())
        constraints.append(t >= margin + sum(float(c) * y[j] for j, c in atom.margin.y.items()))
    model = cvxpy.Problem(cvxpy.Minimize(t), constraints)
    return float(model.solve(solver=cvxpy.CLARABEL))


def triangle(y: cvxpy.Expression, z: cvxpy.Variable, lower: np.ndarray, upper: np.ndarray) -> list[cvxpy.Constraint]:
    unstable = (lower < 0) & (upper > 0)
    slope = np.where(unstable, upper / np.where(unstable, upper - lower, 1.0), (lower >= 0).astype(float))
    offset = np.where(unstable, -slope * lower, 0.0)
    above = z <= cvxpy.multiply(slope, y) + offset
    return [y >= lower, y <= upper, z >= 0, z >= y, above]


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("a point", "an l1 ball cut by its condition")])
def test_lp_is_the_optimum_of_a_cvxpy_model(name: str) -> None:
    bounds = run(TriangleLP(), case(name).problems).lower
    for problem in case(name).problems:
        assert bounds[problem.index] == pytest.approx(triangle_optimum(problem), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_lp_is_the_optimum_of_a_cvxpy_model_on_wider_networks(seed: int) -> None:
    network = layers(200 + seed, 6, 20, 15, 10, 3)
    problems = normalize(network, Checker(box(6, 0.4), (Y[0] <= Y[1]) & (Y[0] <= Y[2])))
    assert run(TriangleLP(), problems).bound == pytest.approx(triangle_optimum(problems[0]), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", CASES_L2)
def test_lp_over_an_l2_ball_is_below_the_conic_optimum(name: str) -> None:
    bounds = run(TriangleLP(), case(name).problems).lower
    for problem in case(name).problems:
        assert bounds[problem.index] <= triangle_optimum(problem) + 1e-6


# complete proof systems

COMPLETE: dict[str, ProofSystem] = {
    "auto": by_name("auto"),
    "milp": MILP(),
    "bab": BranchAndBound(),
    "inputs": BranchAndBound(split="input"),
    "inputs, small steps": BranchAndBound(split="input", batch=3),
    "inputs over interval": BranchAndBound(bound=Interval(), split="input", batch=64),
    "inputs over crown": BranchAndBound(bound=Crown(), split="input", batch=64),
    "inputs over alpha-crown": BranchAndBound(bound=AlphaCrown(steps=5), split="input", batch=64),
    "inputs over lp": BranchAndBound(bound=TriangleLP(), split="input", batch=16),
    "neurons": BranchAndBound(split="neuron"),
    "neurons, small steps": BranchAndBound(split="neuron", batch=1),
    "neurons over interval": BranchAndBound(bound=Interval(), split="neuron"),
    "neurons over crown": BranchAndBound(bound=Crown(), split="neuron"),
    "neurons over alpha-crown": BranchAndBound(bound=AlphaCrown(steps=5), split="neuron"),
    "neurons over lp": BranchAndBound(bound=TriangleLP(), split="neuron"),
}
SMALL = [n for n in CASES if n not in ("14-8-3, many inputs", "2-4-4-4-2", "3-5-5-2", "a disjunction")]
SLOW = {("neurons over interval", "residual"), ("neurons over crown", "residual"), ("inputs over lp", "residual")}
DECIDED = [(s, n) for s in COMPLETE for n in SMALL if (s, n.split(",")[0]) not in SLOW]


def gap(name: str, system: str) -> float:
    """How far from the truth the question is: input splitting over intervals needs many cells for a close one."""
    return (0.3 if system.startswith("inputs") else 0.02) * (1 + abs(truth(name)))


@pytest.mark.parametrize(("system", "name"), DECIDED)
def test_complete_systems_prove_what_is_true(name: str, system: str) -> None:
    safe = case(name).raised(gap(name, system) - truth(name))
    state = run(COMPLETE[system], safe.problems, steps=3000)
    assert state.proved
    for margin in audited(safe, state):
        assert 0 < margin <= gap(name, system) + NOISE


@pytest.mark.parametrize(("system", "name"), DECIDED)
def test_complete_systems_prove_nothing_false(name: str, system: str) -> None:
    """There is a catastrophe, by little: never a proof, no bound above it, and candidates are points of the box."""
    unsafe = case(name).raised(-1e-3 * (1 + abs(truth(name))) - truth(name))
    state = COMPLETE[system].init(unsafe.problems)
    for _ in range(6):
        if state.finished:
            break
        state = COMPLETE[system].step(state, np.inf)
        assert not state.proved
        assert state.bound <= NOISE
        region = unsafe.checker.region
        assert ((state.candidates >= region.lower - NOISE) & (state.candidates <= region.upper + NOISE)).all()
    assert not state.proved


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="Unknown proof system 'crwon'; use one of interval, crown"):
        by_name("crwon")


def test_nothing_to_prove() -> None:
    """A query without problems is finished at once, with an empty proof that both audits accept."""
    empty = Case(layers(1, 3, 2), Checker(box(3), (X[0] >= 2) & (Y[0] <= Y[1])))
    for name in BY_NAME:
        state = by_name(name).init(empty.problems)
        assert state.finished and state.proved
        assert audited(empty, state) == [np.inf, np.inf]
