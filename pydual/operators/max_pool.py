"""Maxima as tournaments: ``max(a, b) = b + max(a - b, 0)``, round by round."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError
from pydual.operators.add import add, subtract
from pydual.operators.positions import Tensor, gather_matrix, select
from pydual.operators.primitives import GraphBuilder, Shape, Value
from pydual.operators.relu import relu
from pydual.operators.windows import Window, pooling_columns


def maximum(graph: GraphBuilder, a: Tensor, b: Tensor) -> Tensor:
    """``max(a, b)`` elementwise, with numpy's broadcasting."""
    return add(graph, b, relu(graph, subtract(graph, a, b)))


def max_pool(graph: GraphBuilder, x: Value, *, window: Window) -> Value:
    """The maximum over each window of a channel; the padding does not take part."""
    shape, columns = pooling_columns(x, window)
    return row_maxima(graph, x, columns.reshape(-1, columns.shape[-1]), shape)


def row_maxima(graph: GraphBuilder, x: Value, columns: np.ndarray, shape: Shape) -> Value:
    """For each row of ``columns``, the maximum of the entries of ``x`` there; negative columns are left out."""
    present = columns >= 0
    counts = present.sum(axis=1)
    if not counts.all():
        raise InputError("a maximum over no entries at all: a window lies entirely in the padding")
    players = columns[present]
    while counts.max(initial=0) > 1:
        x, players, counts = _round(graph, x, players, counts)
    if np.array_equal(players, np.arange(x.size)):
        return x.reshaped(shape)
    return select(graph, x, players).reshaped(shape)


def _round(graph: GraphBuilder, x: Value, players: np.ndarray, counts: np.ndarray) -> tuple[Value, np.ndarray, np.ndarray]:
    """Neighbors in a row play in pairs, an odd last one passes on. ``players`` lists the places in ``x`` row by row."""
    ends = np.cumsum(counts)
    rank = np.arange(len(players)) - np.repeat(ends - counts, counts)
    first = np.flatnonzero(rank % 2 == 0)
    paired = rank[first] + 1 < np.repeat(counts, counts)[first]
    pairs = np.stack([players[first[paired]], players[first[paired] + 1]], axis=1)
    difference = gather_matrix(pairs, np.array([1.0, -1.0]), x.size)
    gain = graph.relu(graph.affine([(x, difference)], np.zeros(len(pairs)), (len(pairs),)))
    kept = players[first + paired]
    place = np.where(paired, np.cumsum(paired) - 1, -1)
    terms = [(x, gather_matrix(kept[:, None], 1.0, x.size)), (gain, gather_matrix(place[:, None], 1.0, gain.size))]
    winners = graph.affine(terms, np.zeros(len(first)), (len(first),))
    return winners, np.arange(len(first)), (counts + 1) // 2
