"""Selection of slices by constant indices."""

from __future__ import annotations

import numpy as np

from pydual.operators.positions import Tensor, rearrange
from pydual.operators.primitives import GraphBuilder


def gather(graph: GraphBuilder, x: Tensor, indices: np.ndarray, axis: int = 0) -> Tensor:
    """``numpy.take(x, indices, axis)``: indices may be negative, and their shape replaces the axis."""
    return rearrange(graph, x, lambda p: np.take(p, indices, axis))
