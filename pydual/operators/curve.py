"""The smooth activations."""

from __future__ import annotations

import numpy as np

from pydual.operators.positions import Tensor
from pydual.operators.primitives import GraphBuilder, Value, logistic


def sigmoid(graph: GraphBuilder, x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    if isinstance(x, Value):
        return graph.curve(x, "sigmoid")
    graph.fold()
    return logistic(x)


def tanh(graph: GraphBuilder, x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    if isinstance(x, Value):
        return graph.curve(x, "tanh")
    graph.fold()
    return np.tanh(x)
