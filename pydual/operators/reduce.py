"""Sums, means and maxima over constant axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from pydual.operators.max_pool import row_maxima
from pydual.operators.positions import gather_matrix, positions
from pydual.operators.primitives import GraphBuilder, Shape, Value


def reduce_sum(graph: GraphBuilder, x: Value, axes: Sequence[int] | None, keep_axes: bool) -> Value:
    """The sum over ``axes`` (all if None), which stay with size 1 if ``keep_axes``."""
    columns, shape = _rows(x, axes, keep_axes)
    return graph.affine([(x, gather_matrix(columns, 1.0, x.size))], np.zeros(len(columns)), shape)


def reduce_mean(graph: GraphBuilder, x: Value, axes: Sequence[int] | None, keep_axes: bool) -> Value:
    """The mean over ``axes``, likewise."""
    columns, shape = _rows(x, axes, keep_axes)
    matrix = gather_matrix(columns, 1.0 / columns.shape[1], x.size)
    return graph.affine([(x, matrix)], np.zeros(len(columns)), shape)


def reduce_max(graph: GraphBuilder, x: Value, axes: Sequence[int] | None, keep_axes: bool) -> Value:
    """The maximum over ``axes``, likewise."""
    columns, shape = _rows(x, axes, keep_axes)
    return row_maxima(graph, x, columns, shape)


def _rows(x: Value, axes: Sequence[int] | None, keep_axes: bool) -> tuple[np.ndarray, Shape]:
    """The places in ``x`` that each entry of the result is taken over, and the result's shape."""
    gone = set(range(len(x.shape)) if axes is None else (range(len(x.shape))[axis] for axis in axes))
    kept = [axis for axis in range(len(x.shape)) if axis not in gone]
    moved = np.transpose(positions(x), kept + sorted(gone))
    columns = moved.reshape(prod(x.shape[axis] for axis in kept), -1)
    sizes = ((1 if axis in gone else n) for axis, n in enumerate(x.shape) if keep_axes or axis not in gone)
    return columns, tuple(sizes)
