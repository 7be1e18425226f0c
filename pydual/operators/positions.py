"""Tensors by the positions of their entries: what numpy does to positions, a sparse matrix does to the values."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from pydual.errors import UnsupportedError
from pydual.operators.primitives import GraphBuilder, Matrix, Shape, Value

Tensor = Value | np.ndarray  # a value of the graph, or a constant
MAX_ENTRIES = 2**26
SMALL = 64 * 64  # entries, up to which a matrix is not worth compressing


def positions(x: Value) -> np.ndarray:
    """The place of each entry of ``x`` in its flat vector, in the shape of ``x``."""
    return np.arange(x.size, dtype=np.int32).reshape(x.shape)


def gather_matrix(columns: np.ndarray, weights: np.ndarray | float, size: int) -> Matrix:
    """The matrix with a row for each leading index ``i``, with the entries ``weights[i, t]`` at ``columns[i, t]``.

    The two arrays broadcast against each other; a negative column means no entry; ``size`` is the number of columns.
    A matrix that is full or small is returned dense, any other as CSR. Raises UnsupportedError above ``MAX_ENTRIES``.
    """
    weights = np.asarray(weights, dtype=np.float64)
    shape = np.broadcast_shapes(columns.shape, weights.shape)
    check_entries(shape)
    rows, width = prod(shape[:-1]), shape[-1]
    if columns.shape[-1] == width == size and (columns == np.arange(size)).all():
        return np.broadcast_to(weights, shape).reshape(rows, width)
    if rows * size <= SMALL:
        return _scattered(np.broadcast_to(columns, shape).reshape(rows, width), np.broadcast_to(weights, shape), size)
    from scipy.sparse import csr_array

    present = columns >= 0
    if present.all():
        data, indices = np.broadcast_to(weights, shape).ravel(), np.broadcast_to(columns, shape).ravel()
        starts = np.arange(rows + 1) * width
    else:
        present = np.broadcast_to(present, shape)
        data, indices = np.broadcast_to(weights, shape)[present], np.broadcast_to(columns, shape)[present]
        starts = np.concatenate([[0], np.cumsum(present.reshape(rows, width).sum(axis=1))])
    return csr_array((data, indices, starts.astype(np.int32)), shape=(rows, size))


def _scattered(columns: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """The dense matrix with ``weights[i, t]`` added at ``columns[i, t]``; no entries go to a column more, which is cut off."""
    matrix = np.zeros((len(columns), size + 1))
    np.add.at(matrix, (np.arange(len(columns))[:, None], np.maximum(columns, -1)), weights.reshape(columns.shape))
    return matrix[:, :size]


def rearrange(graph: GraphBuilder, x: Tensor, move: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """``move`` applied to a tensor, for a numpy function that only copies entries; no primitive if the order stays."""
    if not isinstance(x, Value):
        return move(x)
    moved = move(positions(x))
    check_entries(moved.shape)
    if np.array_equal(moved.ravel(), np.arange(x.size)):
        return x.reshaped(moved.shape)
    return select(graph, x, moved)


def select(graph: GraphBuilder, x: Value, columns: np.ndarray, fill: float = 0.0) -> Value:
    """The entries of ``x`` at ``columns``, in that array's shape; ``fill`` where the column is -1."""
    bias = np.where(columns < 0, fill, 0.0)
    return graph.affine([(x, gather_matrix(columns[..., None], 1.0, x.size))], bias, columns.shape)


def check_entries(shape: Shape) -> None:
    """Raise UnsupportedError for tensors that are too large to be stored."""
    if prod(int(n) for n in shape) > MAX_ENTRIES:
        raise UnsupportedError(f"a tensor or matrix of shape {tuple(shape)} has more than {MAX_ENTRIES} entries")
