"""Permutations of the axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydual.operators.positions import Tensor, rearrange
from pydual.operators.primitives import GraphBuilder


def transpose(graph: GraphBuilder, x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """``x`` with its axes in the order ``axes``; reversed if None."""
    return rearrange(graph, x, lambda p: np.transpose(p, axes))
