"""Changes of shape that leave the row-major order of the entries: no primitive at all."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from pydual.operators.positions import Tensor, rearrange
from pydual.operators.primitives import GraphBuilder


def reshape(graph: GraphBuilder, x: Tensor, shape: Sequence[int], *, copy_zeros: bool = False) -> Tensor:
    """``x`` under another shape; one entry may be -1. With ``copy_zeros``, 0 stands for the size of ``x`` there."""
    sizes = [x.shape[i] if n == 0 and copy_zeros else int(n) for i, n in enumerate(shape)]
    return rearrange(graph, x, lambda p: p.reshape(sizes))


def flatten(graph: GraphBuilder, x: Tensor, axis: int = 1) -> Tensor:
    """``x`` as a matrix: the axes before ``axis`` give the rows, the others the columns."""
    axis = axis + len(x.shape) if axis < 0 else axis
    sizes = (prod(x.shape[:axis]), prod(x.shape[axis:]))
    return rearrange(graph, x, lambda p: p.reshape(sizes))


def squeeze(graph: GraphBuilder, x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """``x`` without the given axes, which must have size 1; without all axes of size 1 if None."""
    return rearrange(graph, x, lambda p: np.squeeze(p, None if axes is None else tuple(axes)))


def unsqueeze(graph: GraphBuilder, x: Tensor, axes: Sequence[int]) -> Tensor:
    """``x`` with axes of size 1 inserted, at positions counted in the result."""
    return rearrange(graph, x, lambda p: np.expand_dims(p, tuple(axes)))
