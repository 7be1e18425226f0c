"""SDP-CROWN: what its ascent says is what an audit finds, never above a value of the ball, and near an independent optimum."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cases import Case
from scipy.optimize import minimize
from test_gram_dual import ball, convolution, layers, points, residual

import pydual
from pydual import Certificate, Checker, Network, Region, Y
from pydual.audit.query import query_digest
from pydual.certificate import BALL_LEAF, NEURON_SPLIT, Proof, load_proof
from pydual.checkpoint import Binding, Checkpoint, Keeper
from pydual.operators.primitives import GraphBuilder
from pydual.problem import normalize
from pydual.proof_systems import SDP, AlphaCrown, BranchAndBound, SDPCrown
from pydual.proof_systems.base import ProofSystem, State, resume, take_snapshot
from pydual.proof_systems.duals import Duals, ascend, leaf_proof, root_nodes, with_best_margins
from pydual.proof_systems.grafting import Part, graft
from pydual.proof_systems.neuron_splitting import NeuronSplitting
from pydual.region import Ball
from pydual.relax.frame import Frame, group, make_frame
from pydual.relax.slack import with_reserve

BOTH = (Y[0] - Y[1] <= 0) & (Y[0] + Y[1] <= Fraction(1, 10))
CASES = {
    "one layer": lambda: Case(layers(31, 5, 9, 2), Checker(ball(5, 0.9), Y[0] <= Y[1])),
    "two layers": lambda: Case(layers(32, 5, 8, 6, 2), Checker(ball(5, 0.7), Y[0] <= Y[1])),
    "residual, two margins": lambda: Case(residual(33), Checker(ball(3, 0.7), BOTH)),
    "convolution": lambda: Case(convolution(34), Checker(ball(8, 0.8), Y[0] <= Y[1])),
    "disjunction": lambda: Case(layers(35, 4, 8, 5, 3), Checker(ball(4, 0.8), (Y[0] <= Y[1]) | (Y[0] <= Y[2]))),
    "cut by the box": lambda: Case(
        layers(36, 4, 7, 5, 2), Checker(Region([-0.4, -1, -1, -1], [1, 0.3, 1, 1], Ball(np.zeros(4), 0.9, "l2")), Y[0] <= Y[1])
    ),
}  # fmt: skip


def bounded(case: Case, system: AlphaCrown | SDPCrown) -> tuple[Frame, Duals]:
    (g,) = group(normalize(case.network, case.checker))
    frame = make_frame(g, system.anchor)
    return frame, system.evaluate(frame, root_nodes(frame), np.inf)


def curved(case: Case, steps: int) -> tuple[Frame, Duals]:
    """The ascent with curvatures, also where lines alone are better."""
    (g,) = group(normalize(case.network, case.checker))
    frame = make_frame(g, SDPCrown.anchor)
    nodes = with_best_margins(frame, root_nodes(frame))
    return frame, ascend(frame, nodes, steps=steps, rate=0.1, target=np.inf, around=g.surroundings)


def isometric(seed: int, *sizes: int) -> Network:
    """Layers with orthonormal rows or columns: what they do to the ball is known best."""
    rng = np.random.default_rng(seed)
    found = []
    for m, n in zip(sizes[:-1], sizes[1:], strict=True):
        square = np.linalg.qr(rng.normal(size=(max(m, n), max(m, n))))[0]
        found.append((square[:n, :m], 0.05 * rng.normal(size=n)))
    return Network.from_layers(found)


def raised(case: Case, by: float) -> Case:
    """The same with every margin greater by a number."""
    from test_audit_ball import shifted

    return Case(case.network, shifted(case.checker, Fraction(by)))


@pytest.mark.parametrize("name", CASES)
def test_an_audit_finds_the_bound_of_the_ascent(name: str) -> None:
    """Of each problem; the margin is raised until the bound proves something."""
    case = raised(CASES[name](), 50.0)
    frame, duals = curved(case, 30)
    trees = tuple(leaf_proof(frame, row, duals, row) for row in range(len(duals.bound)))
    assert all(BALL_LEAF in tree.kind for tree in trees)
    proof = Proof.of(case.network.digest, query_digest(case.checker), trees)
    for level in ("rounded", "exact"):
        margin = pydual.audit(proof, case.network, case.checker, level=level).margin
        assert margin >= duals.bound.min() - 1e-7
        if name in ("one layer", "two layers", "disjunction"):  # elsewhere another stage may be better
            assert margin <= duals.bound.min() + 1e-7


@pytest.mark.parametrize("name", CASES)
def test_no_value_in_the_ball_is_below_the_bound(name: str) -> None:
    case = CASES[name]()
    frame, duals = bounded(case, SDPCrown(steps=200))
    _, lines = bounded(case, AlphaCrown(steps=200))
    _, ball_leaves = curved(case, 200)
    values = frame.group.margins_at(points(case.checker.region, np.random.default_rng(0), 4000))
    for row in range(len(duals.bound)):
        least = values[:, frame.group.columns(row)].max(axis=1).min()
        assert max(lines.bound[row], ball_leaves.bound[row]) <= least + 1e-9
        assert duals.bound[row] >= lines.bound[row]


@pytest.mark.parametrize("seed", range(4))
def test_the_ascent_comes_near_to_an_independent_optimum(seed: int) -> None:
    """One layer: slopes and curvature by a general minimizer, from several starts, of the bound written down in numpy."""
    rng = np.random.default_rng(seed)
    n, m, radius = 6, 5, 0.9
    weights, bias, c = rng.normal(size=(m, n)) / np.sqrt(n), 0.2 * rng.normal(size=m), rng.normal(size=m)
    network = Network.from_layers([(weights, bias), (c[None, :], np.zeros(1))])
    case = Case(network, Checker(Region(-np.full(n, 9.0), np.full(n, 9.0), Ball(np.zeros(n), radius, "l2")), Y[0] <= 0))
    reach = radius * np.linalg.norm(weights, axis=1)
    low, high, distance = bias - reach, bias + reach, radius * np.linalg.norm(weights, 2)
    is_open = (low < 0) & (high > 0)

    def bound(numbers: np.ndarray) -> float:
        slopes = np.where(is_open, np.clip(numbers[:m], 0.0, 1.0), (low >= 0).astype(float))
        curvature, g = np.exp(numbers[m]), c * slopes
        right = np.clip(bias - (c - g) / (2 * curvature), 0.0, np.maximum(high, 0.0))
        left = np.clip(bias + g / (2 * curvature), np.minimum(low, 0.0), 0.0)
        least = [w * p + curvature * (p - bias) ** 2 for w, p in ((c - g, right), (-g, left))]
        rest = np.where(is_open, np.minimum(*least), 0.0).sum() - curvature * distance**2
        return float(g @ bias + rest - radius * np.linalg.norm(g @ weights))

    starts = [np.append(rng.random(m), log) for log in (-4.0, -2.0, 0.0) for _ in range(4)]
    best = max(-minimize(lambda v: -bound(v), start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in starts)
    _, duals = bounded(case, SDPCrown(steps=600, rate=0.05, target=np.inf))
    _, lines = bounded(case, AlphaCrown(steps=600, rate=0.05, target=np.inf))
    assert duals.bound[0] >= max(best, lines.bound[0]) - 2e-3 * (1 + abs(best))


def test_a_layer_of_many_neurons_is_bounded_by_more_than_its_lines() -> None:
    """Of -|x|_1 in the ball, which is at least ``-sqrt(n) r``: by lines of 2n neurons, ``-n r``."""
    n, radius = 16, 1.0
    identity = np.eye(n)
    network = Network.from_layers(
        [(np.vstack([identity, -identity]), np.zeros(2 * n)), (-np.ones((1, 2 * n)), np.array([100.0]))]
    )
    case = Case(network, Checker(Region(-np.ones(n), np.ones(n), Ball(np.zeros(n), radius, "l2")), Y[0] <= 0))
    _, curved = bounded(case, SDPCrown(steps=300, target=np.inf))
    _, lines = bounded(case, AlphaCrown(steps=300, target=np.inf))
    assert lines.bound[0] == pytest.approx(100.0 - n * radius, abs=1e-3)
    assert 100.0 - 1.5 * np.sqrt(n) * radius <= curved.bound[0] <= 100.0 - np.sqrt(n) * radius + 1e-9


@pytest.mark.parametrize("region", ["box", "l1"])
def test_elsewhere_it_is_alpha_crown(region: str) -> None:
    shape = None if region == "box" else Ball(np.zeros(4), 0.8, "l1")
    case = Case(layers(37, 4, 8, 6, 2), Checker(Region(-0.5 * np.ones(4), 0.5 * np.ones(4), shape), Y[0] <= Y[1]))
    _, curved = bounded(case, SDPCrown(steps=20))
    _, lines = bounded(case, AlphaCrown(steps=20))
    assert np.array_equal(curved.bound, lines.bound) and curved.curvature.shape[1] == 0


def test_for_float32_it_is_alpha_crown() -> None:
    """As ball leaves say nothing about float32, a proof has none."""
    case = CASES["one layer"]()
    (g,) = group(with_reserve(normalize(case.network, case.checker), 2.0))
    assert g.surroundings is None and not g.has_ball_leaves
    _, duals = bounded(case, SDPCrown(steps=5))
    frame = make_frame(g, SDPCrown.anchor)
    lines = SDPCrown(steps=5).evaluate(frame, root_nodes(frame), np.inf)
    assert duals.curvature.shape[1] == 1 and lines.curvature.shape[1] == 0


TREE = NeuronSplitting(bound=SDPCrown(steps=5), root=SDPCrown(steps=5), batch=2, refine_steps=0)


def hard(seed: int = 39) -> Case:
    """A margin a little below its least value at points of the ball: a tree is needed."""
    case = Case(isometric(seed, 10, 16, 12, 2), Checker(ball(10, 1.0), Y[0] <= Y[1]))
    (g,) = group(normalize(case.network, case.checker))
    least = float(g.margins_at(points(case.checker.region, np.random.default_rng(0), 20000)).min())
    return raised(case, 0.15 - least)


def run(system: ProofSystem, case: Case, steps: int) -> tuple[tuple, State]:
    problems = normalize(case.network, case.checker)
    state = system.init(problems)
    while not state.finished and steps > 0:
        state, steps = system.step(state, np.inf), steps - 1
    return problems, state


def test_a_tree_over_a_ball_is_proved_by_ball_leaves(tmp_path: Path) -> None:
    case = hard()
    outcome = pydual.solve(case.network, case.checker, BranchAndBound(split="neuron"), timeout=60)
    assert isinstance(outcome, Certificate)
    outcome.save(tmp_path / "c")
    loaded = load_proof(tmp_path / "c")
    assert BALL_LEAF in loaded.trees[0].kind
    for level in ("rounded", "exact"):
        assert pydual.audit(tmp_path / "c", case.network, case.checker, level=level).margin > 0


def test_a_tree_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    case = hard()
    problems, state = run(TREE, case, 5)
    assert not state.finished
    snapshot = take_snapshot(TREE, state)
    keeper = Keeper(tmp_path / "c", Binding("n", "q", "real", "bab"))
    keeper.save(lambda: Checkpoint(snapshot, 0, np.zeros((1, 10)), 1.0), now=True)
    loaded = keeper.load()
    assert loaded is not None
    ((index, tree),) = loaded.snapshot.partial.items()
    assert tree.curvatures.shape == (len(tree.closed), 2) and (tree.curvatures >= 0).all(axis=1).any()
    for column in fields(tree):
        assert np.array_equal(getattr(tree, column.name), getattr(snapshot.partial[index], column.name))
    again = resume(TREE, problems, loaded.snapshot)
    while not again.finished:
        again = TREE.step(again, np.inf)
    kind = again.trees[index].kind
    assert BALL_LEAF in kind and NEURON_SPLIT in kind
    proof = Proof.of(case.network.digest, query_digest(case.checker), (again.trees[index],))
    for level in ("rounded", "exact"):
        assert pydual.audit(proof, case.network, case.checker, level=level).margin > 0


def test_parts_with_and_without_ball_leaves_become_one_proof() -> None:
    case = raised(CASES["two layers"](), 20.0)
    root = Part(normalize(case.network, case.checker)[0])
    left, right = root.cut(0, 0.05)
    third, fourth = right.cut(1, -0.1)
    for part, steps in ((left, 30), (third, 0), (fourth, 3)):
        (g,) = group((part.problem,))
        frame = make_frame(g, SDPCrown.anchor)
        nodes = with_best_margins(frame, root_nodes(frame))
        around = g.surroundings if steps else None
        duals = ascend(frame, nodes, steps=steps, rate=0.1, target=np.inf, around=around)
        part.tree = leaf_proof(frame, 0, duals, 0)
    tree = graft(root)
    assert np.count_nonzero(tree.kind == BALL_LEAF) == 2 == len(tree.curvatures)
    proof = Proof.of(case.network.digest, query_digest(case.checker), (tree,))
    for level in ("rounded", "exact"):
        assert pydual.audit(proof, case.network, case.checker, level=level).margin > 0


def test_the_root_of_sums_of_squares_is_never_below_it() -> None:
    case, system = hard(), SDP()
    _, state = run(system, case, 1)
    (g,) = group(normalize(case.network, case.checker))
    frame = system.frame(g)
    duals = SDPCrown(steps=60).evaluate(frame, root_nodes(frame), np.inf)
    assert duals.is_ball_leaf(0) and state.lower[0] >= duals.bound[0]


def mixed(seed: int, *kinds: str) -> Network:
    """Layers of these kinds, of 6 each."""
    rng, graph = np.random.default_rng(seed), GraphBuilder((5,))
    value = graph.input
    for kind in kinds:
        hidden = graph.affine([(value, rng.normal(size=(6, value.size)) / 2)], 0.2 * rng.normal(size=6), (6,))
        value = graph.relu(hidden) if kind == "relu" else graph.curve(hidden, kind)
    return Network.from_graph(graph, graph.affine([(value, rng.normal(size=(2, 6)))], np.zeros(2), (2,)))


@pytest.mark.parametrize("kinds", ["relu tanh", "relu square", "relu square relu", "tanh relu", "tanh"])
def test_beside_curves_it_proves_what_it_says(kinds: str) -> None:
    """Layers of curves have no curvature, and behind squares it is 0: nothing is known of distances there."""
    for seed in range(4):
        case = Case(mixed(seed, *kinds.split()), Checker(ball(5, 0.5), Y[0] <= Y[1]))
        _, ball_leaves = curved(case, 30)
        _, lines = bounded(case, AlphaCrown(steps=30))
        harder = raised(case, 0.01 - max(ball_leaves.bound[0], lines.bound[0]))
        for system in (SDPCrown(steps=30), BranchAndBound(split="neuron")):
            outcome = pydual.solve(harder.network, harder.checker, system, timeout=60)
            assert isinstance(outcome, Certificate), (seed, system, outcome)


def test_weights_whose_squares_overflow_and_layers_without_neurons() -> None:
    rng = np.random.default_rng(0)
    steep = [(1e160 * rng.normal(size=(8, 4)), np.zeros(8)), (1e-160 * rng.normal(size=(2, 8)), np.array([100.0, 0.0]))]
    graph = GraphBuilder((4,))
    nothing = graph.relu(graph.affine([(graph.input, np.zeros((0, 4)))], np.zeros(0), (0,)))
    terms = [(nothing, np.zeros((2, 0))), (graph.input, np.eye(2, 4))]
    empty = Network.from_graph(graph, graph.affine(terms, np.array([1.0, 0.0]), (2,)))
    for network in (Network.from_layers(steep), empty):
        for system in ("sdp-crown", "bab", "sdp"):
            outcome = pydual.solve(network, Checker(ball(4, 0.1), Y[0] <= Y[1]), system, timeout=60)
            assert isinstance(outcome, Certificate), (system, outcome)
