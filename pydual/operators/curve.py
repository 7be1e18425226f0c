"""The smooth activations."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from pydual.operators.positions import Tensor
from pydual.operators.primitives import GraphBuilder, Value


def sigmoid(graph: GraphBuilder, x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    if isinstance(x, Value):
        return graph.curve(x, "sigmoid")
    graph.fold()
    return expit(x)


def tanh(graph: GraphBuilder, x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    if isinstance(x, Value):
        return graph.curve(x, "tanh")
    graph.fold()
    return np.tanh(x)
