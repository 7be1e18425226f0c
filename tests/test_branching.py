"""The choice of the neuron to split, against bounds of the children one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_proof_systems import box, layers

from pydual.checker import Checker, Y
from pydual.problem import normalize
from pydual.proof_systems.branching import branching_scores, candidates, look_ahead
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.duals import Duals, Nodes, root_nodes
from pydual.relax.frame import Frame, group, make_frame


def rooted(seed: int) -> tuple[Frame, Nodes, Duals]:
    """A frame with two copies of its root, the second with some neurons fixed, and their bounds."""
    network = layers(seed, 3, 8, 8, 2)
    (g,) = group(normalize(network, Checker(box(3), Y[0] <= Y[1])))
    frame = make_frame(g, Crown().anchor)
    nodes = root_nodes(frame).take(np.zeros(2, dtype=int))
    nodes.phase[1, frame.unstable[::3]] = 1
    duals = Crown().evaluate(frame, nodes, np.inf)
    return frame, replace(nodes, alpha=duals.alpha, weights=duals.weights), duals


@pytest.mark.parametrize("seed", range(5))
def test_candidates_are_open_neurons_that_cost_most(seed: int) -> None:
    frame, nodes, duals = rooted(seed)
    scores = branching_scores(frame, nodes, duals)
    open_ = (nodes.phase == 0) & (frame.lower < 0) & (frame.upper > 0)
    np.testing.assert_array_equal(scores >= 0, open_)
    for row, found in enumerate(candidates(frame, nodes, duals, 3)):
        real = found[found >= 0]
        assert len(set(real.tolist())) == len(real) >= 1
        assert open_[row, real].all()
        assert scores[row, real[0]] == scores[row].max()
        best = np.sort(scores[row])[::-1][: min(3, len(real))]
        assert set(best[best > 0]) <= set(scores[row, real])


@pytest.mark.parametrize("seed", range(5))
def test_the_look_ahead_finds_the_best_child(seed: int) -> None:
    frame, nodes, duals = rooted(seed)
    pool = candidates(frame, nodes, duals, 4)
    chosen = look_ahead(frame, nodes, pool)
    for row, split in enumerate(chosen.tolist()):
        better = {}
        for unit in pool[row][pool[row] >= 0].tolist():
            child = nodes.take(np.array([row, row]))
            child.phase[:, unit] = (-1, 1)
            better[unit] = min(0.0, bounds_at(frame, child).max())
        assert better[split] == pytest.approx(max(better.values()), abs=2e-3 * abs(min(duals.bound[row], 0.0)) + 1e-9)


def bounds_at(frame: Frame, nodes: Nodes) -> np.ndarray:
    """By the ascent without steps."""
    g = frame.group
    return g.program.core.ascend(
        g.core_margins, g.core_region, frame.lower, frame.upper, nodes.phase, g.allowed[nodes.problem], nodes.alpha,
        nodes.beta, nodes.weights, steps=0, alpha_rate=0.0, beta_rate=0.0, weight_rate=0.0, decay=1.0, target=0.0,
        threads=1,
    )["bound"]  # fmt: skip


def test_a_node_without_open_neurons_has_no_candidates() -> None:
    frame, nodes, duals = rooted(0)
    nodes.phase[0, frame.unstable] = -1
    assert (candidates(frame, nodes, duals, 3)[0] < 0).all()
    assert (candidates(frame, nodes, duals, 3)[1] >= 0).any()
