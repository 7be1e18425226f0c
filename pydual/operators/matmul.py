"""Matrix products with a constant on one side."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError, UnsupportedError
from pydual.operators.positions import Tensor, gather_matrix, positions
from pydual.operators.primitives import GraphBuilder, Shape, Value


def matmul(graph: GraphBuilder, a: Tensor, b: Tensor, offset: np.ndarray | float = 0.0) -> Tensor:
    """``a @ b + offset`` as numpy defines it, with a constant offset.

    Raises UnsupportedError if both depend on the input, InputError where the shapes do not fit.
    """
    if not a.shape or not b.shape or a.shape[-1] != b.shape[-2 if len(b.shape) > 1 else -1]:
        raise InputError(f"the shapes {a.shape} and {b.shape} do not fit a matrix product")
    if isinstance(a, Value):
        if isinstance(b, Value):
            raise UnsupportedError("the product of two values that depend on the input is not piecewise linear")
        return _contract(graph, a, _rows(positions(a)), _columns(b), offset, _product_shape(a.shape, b.shape))
    if isinstance(b, Value):
        return _contract(graph, b, _columns(positions(b)), _rows(a), offset, _product_shape(a.shape, b.shape))
    if a.dtype.kind == "f" or b.dtype.kind == "f":
        graph.fold()
    return a @ b + offset


def _contract(
    graph: GraphBuilder, x: Value, columns: np.ndarray, weights: np.ndarray, offset: np.ndarray | float, shape: Shape
) -> Value:
    return graph.affine([(x, gather_matrix(columns, weights, x.size))], np.broadcast_to(offset, shape), shape)


def _rows(a: np.ndarray) -> np.ndarray:
    """The rows of the left factor, with axes (..., row, 1, inner)."""
    return np.atleast_2d(a)[..., :, None, :]


def _columns(b: np.ndarray) -> np.ndarray:
    """The columns of the right factor, with axes (..., 1, column, inner)."""
    return np.swapaxes(b.reshape(-1, 1) if b.ndim == 1 else b, -1, -2)[..., None, :, :]


def _product_shape(a: Shape, b: Shape) -> Shape:
    return (*np.broadcast_shapes(a[:-2], b[:-2]), *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
