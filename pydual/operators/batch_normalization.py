"""Batch normalization at inference."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError
from pydual.operators.positions import Tensor
from pydual.operators.primitives import GraphBuilder
from pydual.operators.weighted_sum import weighted_sum


def batch_normalization(
    graph: GraphBuilder,
    x: Tensor,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
) -> Tensor:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta`` for each channel (axis 1), as ``scale * x + shift``.

    Raises InputError where the parameters are not one number a channel.
    """
    if {gamma.shape, beta.shape, mean.shape, variance.shape} != {x.shape[1:2]}:
        raise InputError(f"the parameters do not have one number for each channel of an input of shape {x.shape}")
    graph.fold()
    scale = gamma / np.sqrt(variance + epsilon)
    shift = beta - mean * scale
    along_channels = (-1,) + (1,) * (len(x.shape) - 2)
    return weighted_sum(graph, [(x, scale.reshape(along_channels)), (shift.reshape(along_channels), 1)])
