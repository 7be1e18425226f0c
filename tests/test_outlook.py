"""What a search expects of its trees, against trees whose sizes are known."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from pydual.proof_systems.outlook import HOPED, Outlook


def grow(roots: list[float], gain: float, most: int) -> tuple[Outlook, float, int]:
    """Best first, trees whose every level gains ``gain``: after up to ``most`` nodes the outlook, the worst open bound, and
    the nodes so far."""
    outlook = Outlook()
    outlook.seen_roots(np.array(roots))
    queue = [bound for bound in roots if bound <= 0]
    heapq.heapify(queue)
    while queue and outlook.nodes < most:
        bound = heapq.heappop(queue) + gain
        outlook.nodes += 2
        for _ in range(2):
            if bound <= 0:
                heapq.heappush(queue, bound)
    return outlook, queue[0] if queue else 0.0, outlook.nodes


@pytest.mark.parametrize("roots", [[-1.0], [-1.0, 0.5], [-1.0] * 5])
def test_the_expected_size_is_that_of_even_trees(roots: list[float]) -> None:
    early, worst, _ = grow(roots, 0.1, 400)
    whole = grow(roots, 0.1, 10**6)[2]
    early.before = early.root / 1e-9  # intervals that leave nothing to do save all
    assert whole / 4 < early.saved(worst) < 4 * whole


def test_intervals_that_did_not_help_save_nothing() -> None:
    outlook, worst, _ = grow([-1.0], 0.1, 100)
    for before in (-1.0, -0.5):
        outlook.before = before
        assert outlook.saved(worst) == 0.0


def test_half_of_the_way_is_hoped_for_at_first() -> None:
    outlook, worst, _ = grow([-1.0], 0.1, 100)
    hoped = outlook.saved(worst)
    outlook.before = outlook.root / HOPED
    assert hoped == outlook.saved(worst) > 0


def test_a_tree_that_gains_nothing_never_ends() -> None:
    outlook = Outlook()
    outlook.seen_roots(np.array([-1.0]))
    outlook.nodes = 100
    assert outlook.saved(-1.0) == np.inf


def test_a_few_nodes_tell_nothing_and_a_new_frame_begins_anew() -> None:
    outlook, worst, _ = grow([-1.0], 0.1, 9)
    assert outlook.saved(worst) == 0.0
    restarted = outlook.restarted()
    assert (restarted.before, restarted.nodes, restarted.trees) == (-1.0, 0, 0)
