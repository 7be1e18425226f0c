"""Products, quotients and negatives that are linear: at most one factor is not constant."""

from __future__ import annotations

import numpy as np

from pydual.errors import UnsupportedError
from pydual.operators.positions import Tensor
from pydual.operators.primitives import GraphBuilder, Value
from pydual.operators.weighted_sum import weighted_sum


def multiply(graph: GraphBuilder, a: Tensor, b: Tensor) -> Tensor:
    """``a * b`` with numpy's broadcasting. Raises UnsupportedError if both depend on the input."""
    if not isinstance(b, Value):
        return weighted_sum(graph, [(a, b)])
    if not isinstance(a, Value):
        return weighted_sum(graph, [(b, a)])
    raise UnsupportedError("the product of two values that depend on the input is not piecewise linear")


def divide(graph: GraphBuilder, a: Tensor, b: Tensor) -> Tensor:
    """``a / b`` with numpy's broadcasting, as ``a`` times the rounded ``1 / b``; integers are divided toward zero.

    Raises UnsupportedError if ``b`` depends on the input.
    """
    if isinstance(b, Value):
        raise UnsupportedError("a quotient by a value that depends on the input is not piecewise linear")
    if isinstance(a, Value):
        return weighted_sum(graph, [(a, 1.0 / b)])
    if a.dtype.kind == b.dtype.kind == "i":
        return np.fix(a / b).astype(np.int64)
    graph.fold()
    return a / b


def negate(graph: GraphBuilder, x: Tensor) -> Tensor:
    """``-x``."""
    return weighted_sum(graph, [(x, -1)])
