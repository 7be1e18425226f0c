"""Padding with a constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydual.operators.positions import Tensor, check_entries, positions, select
from pydual.operators.primitives import GraphBuilder, Value


def pad(graph: GraphBuilder, x: Tensor, before: Sequence[int], after: Sequence[int], fill: float = 0.0) -> Tensor:
    """``x`` with ``before[i]`` and ``after[i]`` entries ``fill`` around axis ``i``; negative numbers remove entries."""
    pairs = list(zip(before, after, strict=True))
    check_entries(tuple(n + max(b, 0) + max(a, 0) for n, (b, a) in zip(x.shape, pairs, strict=True)))
    kept = tuple(slice(max(-b, 0), max(n - max(-a, 0), 0)) for n, (b, a) in zip(x.shape, pairs, strict=True))
    widths = [(max(b, 0), max(a, 0)) for b, a in pairs]
    if not isinstance(x, Value):
        return np.pad(x[kept], widths, constant_values=fill)
    return select(graph, x, np.pad(positions(x)[kept], widths, constant_values=-1), fill)
