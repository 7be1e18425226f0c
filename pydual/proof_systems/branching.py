"""Which neuron to split: a cheap score of all, then a look ahead at the few best (De Palma et al. 2021, filtered smart
branching)."""

from __future__ import annotations

import numpy as np

from pydual.proof_systems.duals import Duals, Nodes
from pydual.relax.engine import threads
from pydual.relax.frame import Frame

TIE = 1e-3  # the worse child counts so much beside the better one


def branching_scores(frame: Frame, nodes: Nodes, duals: Duals) -> np.ndarray:
    """What each neuron's relaxation costs the bound, -1 at curves and where the sign is decided: shape (nodes, units).

    |price| times the gap between the relaxed and the real output at the relaxed play, plus a share of the intercept
    price * s * l of the upper line (Bunel et al. 2020, BaBSR), which breaks ties.
    """
    scores = np.full(nodes.phase.shape, -1.0)
    scores[:, frame.unstable] = _scores(frame, nodes, duals)[0]
    return scores


def _scores(frame: Frame, nodes: Nodes, duals: Duals) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the unstable neurons, and the costs of their intercepts alone."""
    unstable = frame.unstable
    lower, upper, price = frame.lower[unstable], frame.upper[unstable], duals.price[:, unstable]
    intercept = -lower * (upper / (upper - lower))
    gap = np.abs(duals.z[:, unstable] - np.maximum(duals.y[:, unstable], 0.0))
    fixed = nodes.phase[:, unstable] != 0
    score = np.where(fixed, -1.0, np.abs(price) * (gap + 0.1 * intercept))
    return score, np.where(fixed, -1.0, np.maximum(-price, 0.0) * intercept)


def candidates(frame: Frame, nodes: Nodes, duals: Duals, count: int) -> np.ndarray:
    """At most ``2 count`` neurons of each node to look at, as units; the first is the best by score, -1 stands for none.

    Half of them are those with the best scores, half those whose upper lines' intercepts cost most.
    """
    unstable = frame.unstable
    if not unstable.size:
        return np.full((len(nodes.problem), 1), -1)
    score, paid = _scores(frame, nodes, duals)
    best = _largest(score, count)
    paid[np.arange(len(paid))[:, None], best] = -1.0
    second = _largest(paid, count)
    chosen = np.concatenate([best, second], axis=1)
    values = np.concatenate([np.take_along_axis(score, best, 1), np.take_along_axis(paid, second, 1)], axis=1)
    keep = values > 0
    keep[:, 0] = values[:, 0] >= 0
    return np.where(keep, unstable[chosen], -1)


def look_ahead(frame: Frame, nodes: Nodes, candidates: np.ndarray) -> np.ndarray:
    """Of each node's candidates the one whose better child has the best bound at the node's own duals, clipped at 0."""
    row, column = np.nonzero(candidates >= 0)
    g = frame.group
    unit = candidates[row, column].astype(np.int32)
    bounds = g.program.core.look_ahead(
        g.core_margins, g.core_region, frame.lower, frame.upper, nodes.phase, nodes.alpha, nodes.beta, nodes.weights,
        row.astype(np.int32), unit, threads=threads(),
    )  # fmt: skip
    bounds = np.minimum(bounds, 0.0)
    value = np.full(candidates.shape, -np.inf)
    value[row, column] = bounds.max(axis=1) + TIE * bounds.min(axis=1)
    return candidates[np.arange(len(candidates)), value.argmax(axis=1)]


def _largest(score: np.ndarray, count: int) -> np.ndarray:
    """The columns of the largest numbers of each row, the largest first."""
    count = min(count, score.shape[1])
    top = np.argpartition(-score, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(score, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)
