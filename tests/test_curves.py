"""Networks with sigmoid and tanh under every proof system: bounds below the truth, proofs that both audits accept.

The truth is the least margin on a dense grid of the one or two inputs: an upper bound of the true minimum, and close to it.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest
from cases import Case

from pydual import Attack, Certificate, Checker, X, Y, robustness, solve
from pydual.audit import EXACT, ROUNDED, audit
from pydual.audit.query import query_digest
from pydual.certificate import NEURON_SPLIT, Proof
from pydual.checker import Atom, Condition
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.problem import Problem
from pydual.proof_systems import AlphaCrown, BranchAndBound, Crown, Interval, ProofSystem, TriangleLP, by_name
from pydual.proof_systems.base import State
from pydual.region import Region

NOISE = 1e-7


def curved(seed: int, inputs: int, kinds: str, *, width: int = 5, skips: bool = False) -> Network:
    """Layers of the kinds "r", "s", "t" (ReLU, sigmoid, tanh) in order; with skips each reads two earlier values."""
    rng = np.random.default_rng(seed)
    graph = GraphBuilder((inputs,))
    values = [graph.input]
    for kind in kinds:
        sources = [values[-1], *([values[-2]] if skips and len(values) > 1 else [])]
        terms = [(v, 1.5 * rng.normal(size=(width, v.size)) / np.sqrt(v.size)) for v in sources]
        y = graph.affine(terms, 0.5 * rng.normal(size=width), (width,))
        values.append(graph.relu(y) if kind == "r" else graph.curve(y, {"s": "sigmoid", "t": "tanh"}[kind]))
    last = [(values[-1], rng.normal(size=(2, values[-1].size)))]
    return Network.from_graph(graph, graph.affine(last, 0.2 * rng.normal(size=2), (2,)))


def box(inputs: int, radius: float = 1.0) -> Region:
    return Region(-radius * np.ones(inputs), radius * np.ones(inputs))


CONDITIONS: dict[str, Condition] = {
    "one margin": Y[0] <= Y[1],
    "two margins": (Y[0] - Y[1] <= 0) & (Y[0] + Y[1] <= Fraction(1, 10)),
    "a disjunction": (Y[0] <= Y[1]) | (2 * Y[1] - X[0] <= -1),
}
KINDS = ("s", "t", "st", "rt", "tr", "rsr", "trst")
CASES = {
    f"{kinds}, {inputs} inputs, {what}": (number, kinds, inputs, what)
    for number, (kinds, inputs, what) in enumerate(product(KINDS, (1, 2), CONDITIONS))
}
FEW = list(CASES)[::4]


@cache
def case(name: str) -> Case:
    number, kinds, inputs, what = CASES[name]
    return Case(curved(number, inputs, kinds, skips=number % 3 == 0), Checker(box(inputs), CONDITIONS[what]))


@cache
def grid(inputs: int) -> np.ndarray:
    side = np.linspace(-1.0, 1.0, 20001 if inputs == 1 else 301)
    return np.stack(np.meshgrid(*[side] * inputs), axis=-1).reshape(-1, inputs)


def least_margins(case: Case, points: np.ndarray) -> list[float]:
    """For each problem the least worst margin of the points."""
    outputs = case.network.evaluate(points)
    return [float(np.max([margin(a, points, outputs) for a in p.margins], axis=0).min()) for p in case.problems]


def margin(atom: Atom, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    linear = atom.margin
    total = np.full(len(x), float(linear.constant))
    for coefficients, values in ((linear.x, x), (linear.y, y)):
        total += sum((float(c) * values[:, i] for i, c in coefficients.items()), np.zeros(len(x)))
    return total


@cache
def truth(name: str) -> float:
    return min(least_margins(case(name), grid(case(name).network.input_size)))


def run(system: ProofSystem, problems: tuple[Problem, ...], steps: int = 3000) -> State:
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


# bounds

ROOT_BOUNDS: dict[str, ProofSystem] = {
    "interval": Interval(),
    "crown": Crown(),
    "alpha-crown": AlphaCrown(target=np.inf),
    "lp": TriangleLP(),
}


@pytest.mark.parametrize("name", CASES)
def test_bounds_are_ordered_and_below_the_truth(name: str) -> None:
    problems = case(name).problems
    bound = {key: run(system, problems).lower for key, system in ROOT_BOUNDS.items()}
    least = least_margins(case(name), grid(case(name).network.input_size))
    for problem, true in zip(problems, least, strict=True):
        i = problem.index
        assert bound["interval"][i] <= bound["crown"][i] + NOISE <= bound["alpha-crown"][i] + 2 * NOISE
        assert bound["crown"][i] <= bound["lp"][i] + NOISE
        assert max(bound["alpha-crown"][i], bound["lp"][i]) <= true + NOISE
        assert bound["alpha-crown"][i] <= bound["lp"][i] + NOISE


@pytest.mark.parametrize("system", ROOT_BOUNDS)
@pytest.mark.parametrize("name", FEW)
def test_the_audits_confirm_the_claimed_bound(name: str, system: str) -> None:
    bounded = run(ROOT_BOUNDS[system], case(name).problems)
    harder = case(name).raised(0.5 - bounded.bound)
    state = run(ROOT_BOUNDS[system], harder.problems)
    assert state.proved, "raised above its own bound, every problem is proved"
    for proven in audited(harder, state):
        assert proven >= state.bound - 1e-6 * (1 + abs(bounded.bound))


def test_lines_on_small_boxes_are_nearly_exact() -> None:
    """The relaxation error of a curve is of second order in the width of its interval."""
    network = curved(50, 2, "sts")
    for center in np.random.default_rng(51).normal(size=(5, 2)):
        errors = []
        for radius in (1e-2, 1e-3):
            region = Region(center - radius, center + radius)
            small = Case(network, Checker(region, Y[0] <= Y[1]))
            corners = center + radius * np.array(list(product((-1, 1), repeat=2)))
            errors.append(least_margins(small, corners)[0] - run(Crown(), small.problems).bound)
        assert errors[1] <= errors[0] / 50 + 1e-12


# searches

SEARCHES: dict[str, ProofSystem] = {
    "auto": by_name("auto"),
    "inputs": BranchAndBound(split="input"),
    "inputs over crown": BranchAndBound(bound=Crown(), split="input", batch=64),
    "inputs over lp": BranchAndBound(bound=TriangleLP(), split="input", batch=16),
    "neurons, then inputs": BranchAndBound(few_inputs=0, batch=64),
}


@pytest.mark.parametrize("system", SEARCHES)
@pytest.mark.parametrize("name", FEW)
def test_searches_prove_what_is_true(name: str, system: str) -> None:
    gap = 0.1 * (1 + abs(truth(name)))
    safe = case(name).raised(gap - truth(name))
    state = run(SEARCHES[system], safe.problems)
    assert state.proved
    for proven in audited(safe, state):
        assert 0 < proven <= gap + NOISE


@pytest.mark.parametrize("system", SEARCHES)
@pytest.mark.parametrize("name", FEW)
def test_searches_prove_nothing_false(name: str, system: str) -> None:
    unsafe = case(name).raised(-1e-3 - truth(name))
    state = SEARCHES[system].init(unsafe.problems)
    for _ in range(8):
        if not state.finished:
            state = SEARCHES[system].step(state, np.inf)
            assert state.bound <= NOISE
        assert not state.proved


def test_splits_of_neurons_are_numbered_without_the_curves() -> None:
    """ReLUs between and behind curves: the audits number them as PROOFS.md does, so that a wrong number fails there."""
    splits = 0
    for seed in range(12):
        start = Case(curved(60 + seed, 2, "trsr", skips=seed % 2 == 0), Checker(box(2, 0.7), Y[0] <= Y[1]))
        system = BranchAndBound(split="neuron")
        for by in np.linspace(0.05, 1.0, 6):
            root = run(AlphaCrown(), start.problems).bound
            eased = start.raised(by * 0.3 - root - 0.15)
            state = run(system, eased.problems)
            if state.proved:
                assert min(audited(eased, state)) > 0
                splits += int((state.trees[0].kind == NEURON_SPLIT).sum())
    assert splits > 10


def test_splitting_neurons_alone_ends_where_curves_are_in_the_way() -> None:
    network = curved(70, 2, "rt")
    tight = Case(network, Checker(box(2, 3.0), Y[0] <= Y[1]))
    points = 3.0 * grid(2)
    tight = tight.raised(1e-4 - least_margins(tight, points)[0])
    state = run(BranchAndBound(split="neuron"), tight.problems)
    assert state.finished and not state.proved and state.bound <= 0


def test_many_inputs_are_split_where_no_neuron_is_left() -> None:
    """Sixty inputs of which two matter: CROWN is not enough, and there is no ReLU."""
    rng = np.random.default_rng(80)
    graph = GraphBuilder((60,))
    weights = 1e-4 * rng.normal(size=(4, 60))
    weights[:, [7, 33]] = 2 * rng.normal(size=(4, 2))
    hidden = graph.curve(graph.affine([(graph.input, weights)], rng.normal(size=4), (4,)), "tanh")
    network = Network.from_graph(graph, graph.affine([(hidden, rng.normal(size=(2, 4)))], np.zeros(2), (2,)))
    plain = Case(network, Checker(box(60), Y[0] <= Y[1]))
    points = np.zeros((len(grid(2)), 60))
    points[:, [7, 33]] = grid(2)
    crown = run(Crown(), plain.problems).bound
    least = least_margins(plain, points)[0]
    assert crown < least - 0.2
    safe = plain.raised(0.1 - least)
    state = run(BranchAndBound(), safe.problems)
    assert state.proved and min(audited(safe, state)) > 0


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_balls(norm: str) -> None:
    """The box around the ball has a catastrophe, the ball has none."""
    network = curved(90, 2, "ts")
    center, radius = np.array([0.2, -0.1]), 0.8
    checker = robustness(center, 0, radius, norm, classes=2)
    inside = [p for p in center + radius * grid(2) if np.linalg.norm(p - center, 1 if norm == "l1" else 2) <= radius]
    plain = Case(network, checker)
    least = least_margins(plain, np.array(inside))[0]
    around = least_margins(plain, center + radius * grid(2))[0]
    safe = plain.raised(0.3 * (least - around) - least)
    assert around + 0.3 * (least - around) - least < 0
    state = run(BranchAndBound(batch=32), safe.problems)
    assert state.proved and min(audited(safe, state)) > 0


def test_milp_leaves_curves_to_branch_and_bound() -> None:
    """What lines exclude, HiGHS claims; the rest is not its word, but decided all the same."""
    name = "s, 1 inputs, one margin"
    safe = case(name).raised(1e-4 - truth(name))
    assert not run(Crown(), safe.problems).proved
    outcome = solve(safe.network, safe.checker, "milp")
    assert isinstance(outcome, Certificate) and outcome.statistics["milp"]["claimed_safe"] < len(safe.problems)
    far = case(name).raised(5 - truth(name))
    outcome = solve(far.network, far.checker, "milp")
    assert isinstance(outcome, Certificate) and outcome.statistics["milp"]["claimed_safe"] == len(far.problems)
    unsafe = case(name).raised(-1e-3 - truth(name))
    assert isinstance(solve(unsafe.network, unsafe.checker, "milp"), Attack)


# end to end


@pytest.mark.parametrize("name", FEW)
def test_solve_decides(name: str) -> None:
    safe, unsafe = case(name).raised(0.2 - truth(name)), case(name).raised(-1e-3 - truth(name))
    certificate = solve(safe.network, safe.checker)
    assert isinstance(certificate, Certificate) and 0 < certificate.margin <= 0.2 + NOISE
    attack = solve(unsafe.network, unsafe.checker)
    assert isinstance(attack, Attack) and attack.replay == "float64"
    assert min(least_margins(unsafe, attack.x[None])) <= 0


@pytest.mark.filterwarnings("ignore::UserWarning")  # of training that ended early
def test_solve_certifies_a_classifier_of_scikit_learn() -> None:
    neural_network = pytest.importorskip("sklearn.neural_network")
    from pydual import from_sklearn

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    for activation in ("tanh", "logistic"):
        model = neural_network.MLPClassifier((8, 8), activation=activation, max_iter=400, random_state=0, tol=0)
        model.fit(x, (x[:, 0] * x[:, 1] > 0) + 2 * (x[:, 0] > 1))
        network = from_sklearn(model)
        for point in x[:4]:
            label = int(network.evaluate(point).argmax())
            outcome = solve(network, robustness(point, label, 0.05, "linf", classes=network.output_size))
            around = point + rng.uniform(-0.05, 0.05, (500, 2))
            if isinstance(outcome, Certificate):
                assert (network.evaluate(around).argmax(axis=1) == label).all()
                continue
            assert isinstance(outcome, Attack)
            others = np.delete(network.evaluate(outcome.x), label)
            assert network.evaluate(outcome.x)[label] <= others.max()
