"""The ReLU, and the activations that are one ReLU and an affine map."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError
from pydual.operators.positions import Tensor
from pydual.operators.primitives import GraphBuilder, Value
from pydual.operators.weighted_sum import weighted_sum


def relu(graph: GraphBuilder, x: Tensor) -> Tensor:
    """``max(x, 0)``."""
    return graph.relu(x) if isinstance(x, Value) else np.maximum(x, 0)


def leaky_relu(graph: GraphBuilder, x: Tensor, slope: np.ndarray | float) -> Tensor:
    """``x`` where ``x >= 0``, else ``slope * x``; equal to ``slope * x + (1 - slope) * max(x, 0)``.

    ``slope`` broadcasts to the shape of ``x``; raises InputError where it does not.
    """
    if np.broadcast_shapes(np.shape(slope), x.shape) != x.shape:
        raise InputError(f"slopes of shape {np.shape(slope)} do not fit a tensor of shape {x.shape}")
    return weighted_sum(graph, [(x, slope), (relu(graph, x), 1.0 - slope)])


def absolute(graph: GraphBuilder, x: Tensor) -> Tensor:
    """``|x| = 2 max(x, 0) - x``."""
    return weighted_sum(graph, [(relu(graph, x), 2), (x, -1)])
