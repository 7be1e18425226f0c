"""Broadcasting to a shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydual.operators.positions import Tensor, check_entries, rearrange
from pydual.operators.primitives import GraphBuilder


def expand(graph: GraphBuilder, x: Tensor, shape: Sequence[int]) -> Tensor:
    """``x`` broadcast against ``shape``, as numpy broadcasts two arrays."""
    target = np.broadcast_shapes(x.shape, tuple(shape))
    check_entries(target)
    return rearrange(graph, x, lambda p: np.broadcast_to(p, target))
