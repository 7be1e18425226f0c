"""Slices with constant bounds, and splits into consecutive slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydual.errors import InputError
from pydual.operators.positions import Tensor, rearrange
from pydual.operators.primitives import GraphBuilder


def strided_slice(
    graph: GraphBuilder,
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> Tensor:
    """``x[start:end:step]`` on each of ``axes`` (the leading ones if None); bounds outside the tensor are clamped."""
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    cut = [slice(None)] * len(x.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[axis] = slice(int(start), int(end), int(step))
    return rearrange(graph, x, lambda p: p[tuple(cut)])


def split(graph: GraphBuilder, x: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:
    """Consecutive pieces of the given sizes along ``axis``. Raises InputError if they do not add up."""
    if sum(sizes) != x.shape[axis] or min(sizes, default=0) < 0:
        raise InputError(f"the sizes {list(sizes)} do not split axis {axis} of shape {x.shape}")
    ends = np.cumsum(sizes).tolist()
    return [strided_slice(graph, x, [end - size], [end], [axis]) for end, size in zip(ends, sizes, strict=True)]
