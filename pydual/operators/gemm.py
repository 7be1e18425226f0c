"""The general matrix product of ONNX, and the fully connected layer."""

from __future__ import annotations

import numpy as np

from pydual.operators.matmul import matmul
from pydual.operators.positions import Tensor, rearrange
from pydual.operators.primitives import GraphBuilder, Value
from pydual.operators.weighted_sum import weighted_sum


def gemm(
    graph: GraphBuilder,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
) -> Tensor:
    """``alpha * A @ B + beta * c`` with ``A = a`` or its transpose, ``B`` likewise; one of a, b must be constant."""
    left = rearrange(graph, a, np.transpose) if trans_a else a
    right = rearrange(graph, b, np.transpose) if trans_b else b
    if alpha not in (-1, 1) or (not isinstance(c, Value | None) and beta not in (-1, 0, 1)):
        graph.fold()
    if not isinstance(right, Value):
        right = right * alpha
    elif not isinstance(left, Value):
        left = left * alpha
    if isinstance(c, Value):
        return weighted_sum(graph, [(matmul(graph, left, right), 1), (c, beta)])
    return matmul(graph, left, right, 0.0 if c is None else c * beta)
