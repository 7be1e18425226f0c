"""Matrix products with a constant on one side."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError, UnsupportedError
from pydual.operators.positions import Tensor, gather_matrix, positions
from pydual.operators.primitives import GraphBuilder, Value


def matmul(graph: GraphBuilder, a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` as numpy defines it. Raises UnsupportedError if both depend on the input, InputError for wrong shapes."""
    if not a.shape or not b.shape or a.shape[-1] != b.shape[-2 if len(b.shape) > 1 else -1]:
        raise InputError(f"the shapes {a.shape} and {b.shape} do not fit a matrix product")
    if isinstance(a, Value) and isinstance(b, Value):
        raise UnsupportedError("the product of two values that depend on the input is not piecewise linear")
    if isinstance(a, Value):
        shape = _product_shape(a.shape, b.shape)
        return _contract(graph, a, _rows(positions(a)), _columns(b), shape)
    if isinstance(b, Value):
        shape = _product_shape(a.shape, b.shape)
        return _contract(graph, b, _columns(positions(b)), _rows(a), shape)
    return a @ b


def _contract(graph: GraphBuilder, x: Value, columns: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> Value:
    matrix = gather_matrix(columns, weights, x.size)
    return graph.affine([(x, matrix)], np.zeros(matrix.shape[0]), shape)


def _rows(a: np.ndarray) -> np.ndarray:
    """The rows of the left factor, with axes (..., row, 1, inner)."""
    return np.atleast_2d(a)[..., :, None, :]


def _columns(b: np.ndarray) -> np.ndarray:
    """The columns of the right factor, with axes (..., 1, column, inner)."""
    return np.swapaxes(b.reshape(-1, 1) if b.ndim == 1 else b, -1, -2)[..., None, :, :]


def _product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return (*np.broadcast_shapes(a[:-2], b[:-2]), *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
