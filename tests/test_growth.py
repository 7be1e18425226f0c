"""Trees that the core grows below nodes: their cases cover the node's cell, and their bounds hold in them."""

from __future__ import annotations

import numpy as np
import pytest
from activation_patterns import true_minimum
from test_proof_systems import box, layers

import pydual
from pydual.audit import EXACT, ROUNDED, audit
from pydual.checker import Checker, Y
from pydual.network import Network
from pydual.operators.primitives import Relu
from pydual.problem import normalize
from pydual.proof_systems import growth, neuron_splitting
from pydual.proof_systems.alpha_crown import AlphaCrown
from pydual.proof_systems.duals import Duals, root_nodes
from pydual.proof_systems.growth import Grown, grow
from pydual.proof_systems.neuron_search import Batch
from pydual.proof_systems.neuron_splitting import NeuronSplitting
from pydual.relax.frame import Frame, group, make_frame

CHECKER = Checker(box(3), Y[0] <= Y[1])


def bounded(network: Network, phases: tuple[int, ...] = ()) -> tuple[Frame, Batch, Duals]:
    """A node whose first unstable neurons have these phases, and its bound."""
    (g,) = group(normalize(network, CHECKER))
    frame = make_frame(g, AlphaCrown().anchor)
    path = tuple(frame.unstable[: len(phases)].tolist())
    nodes = root_nodes(frame)
    nodes.phase[0, list(path)] = phases
    return frame, Batch(nodes, [0], [path], [phases]), AlphaCrown(steps=10).evaluate(frame, nodes, np.inf)


def cells(tree: Grown, batch: Batch) -> list[dict[int, int]]:
    """The phases of each case."""
    found, pending = [], [dict(zip(batch.paths[0], batch.phases[0], strict=True))]
    for unit in tree.splits:
        cell = pending.pop()
        if unit < 0:
            found.append(cell)
            continue
        assert unit not in cell
        pending += [{**cell, unit: 1}, {**cell, unit: -1}]
    assert not pending
    return found


def inside(cell: dict[int, int], units: np.ndarray) -> np.ndarray:
    """Which points, columns of units, have these phases."""
    return np.all([phase * units[unit] > 0 for unit, phase in cell.items()], axis=0)


@pytest.mark.parametrize("phases", [(1,), (-1, 1), (1, -1)])
@pytest.mark.parametrize("seed", range(6))
def test_cases_cover_the_cell_and_their_bounds_hold(seed: int, phases: tuple[int, ...]) -> None:
    network = layers(seed, 3, 8, 8, 2)
    frame, batch, duals = bounded(network, phases)
    (tree,) = grow(frame, batch, duals, [0], most=12, seconds=np.inf)
    found = cells(tree, batch)
    assert len(found) == len(tree.bounds) <= 12
    assert len(tree.multipliers) == sum(map(len, found))
    assert len(found) == 12 or min(tree.bounds) > -1e-6
    points = np.random.default_rng(seed).uniform(-1, 1, (20000, 3))
    values = network.values(points.T)
    units = np.concatenate([values[p.source] for p in network.primitives if isinstance(p, Relu)])
    margins = frame.group.margins_at(points)[:, 0]
    seen = np.zeros(len(points), dtype=int)
    for cell, bound in zip(found, tree.bounds, strict=True):
        here = inside(cell, units)
        seen += here
        assert margins[here].min(initial=np.inf) >= bound - 1e-9
    np.testing.assert_array_equal(seen, inside(cells(Grown([-1], tree.multipliers, [0.0], tree.slopes), batch)[0], units))


def test_cases_prove_no_more_than_is_true_and_more_than_lines_alone() -> None:
    gained = []
    for seed in range(8):
        network = layers(seed, 3, 6, 6, 2)
        frame, batch, duals = bounded(network)
        (alone,), (tree,) = (grow(frame, batch, duals, [0], most, np.inf) for most in (1, 16))
        truth = true_minimum(network, CHECKER)
        assert alone.splits == [-1]
        assert alone.bounds[0] >= duals.bound[0] - 1e-6
        assert max(alone.bounds[0], min(tree.bounds)) <= truth + 1e-9
        if alone.bounds[0] < min(truth, 0.0):
            known = max(min(*tree.bounds, 0.0), alone.bounds[0])  # as open nodes are queued
            gained.append((known - alone.bounds[0]) / (min(truth, 0.0) - alone.bounds[0]))
    assert len(gained) >= 4
    assert np.mean(gained) > 0.3


def test_calls_for_a_few_rows_grow_the_same_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    network = layers(3, 3, 8, 8, 2)
    (g,) = group(normalize(network, Checker(box(3), (Y[0] <= Y[1]) | (Y[1] <= Y[0] - 0.1) | (Y[0] <= -0.1))))
    frame = make_frame(g, AlphaCrown().anchor)
    nodes = root_nodes(frame)
    batch, duals = Batch(nodes, [0] * 3, [()] * 3, [()] * 3), AlphaCrown(steps=10).evaluate(frame, nodes, np.inf)
    together = grow(frame, batch, duals, [0, 1, 2], most=8, seconds=np.inf)
    singly = [grow(frame, batch, duals, [row], 8, np.inf)[0] for row in range(3)]
    monkeypatch.setattr(growth, "WORK", 0.0)
    apart = grow(frame, batch, duals, [0, 1, 2], most=8, seconds=np.inf)
    assert [(tree.splits, tree.bounds) for tree in apart] == [(tree.splits, tree.bounds) for tree in singly]
    assert len(together) == len(apart) == 3
    assert max(len(tree.splits) for tree in together) > 1


def provable(seed: int) -> tuple[Network, Checker]:
    """A property that holds by 1 % of what lines at the root lack of it."""
    network = layers(seed, 3, 6, 6, 2)
    least, at_root = true_minimum(network, CHECKER), float(bounded(network)[2].bound[0])
    return network, Checker(box(3), Y[0] - Y[1] <= least - 0.01 * (least - at_root))


@pytest.mark.parametrize("seed", (0, 2, 3))
def test_leaves_of_a_tree_share_their_lines(seed: int) -> None:
    network, checker = provable(seed)
    outcome = pydual.solve(network, checker, NeuronSplitting(grown=64, few=0, refine_steps=0))
    assert isinstance(outcome, pydual.Certificate)
    (tree,) = outcome.certificate.trees
    named = tree.lines[tree.lines >= 0]
    assert sorted(set(named.tolist())) == list(range(len(tree.slopes)))
    assert len(tree.slopes) < len(named)
    for level in (EXACT, ROUNDED):
        audit(outcome.certificate, network, checker, level=level)


@pytest.mark.parametrize("seed", (0, 2, 3))
def test_a_search_goes_on_where_trees_have_no_time_to_grow(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron_splitting, "grow", lambda *of, seconds: grow(*of, seconds=0.0))
    outcome = pydual.solve(*provable(seed), NeuronSplitting(few=0, refine_steps=0))
    assert isinstance(outcome, pydual.Certificate)
    assert outcome.statistics["bab"]["nodes"] > 4
