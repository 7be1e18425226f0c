"""Concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydual.operators.positions import Tensor, gather_matrix, positions
from pydual.operators.primitives import GraphBuilder, Value


def concat(graph: GraphBuilder, parts: Sequence[Tensor], axis: int) -> Tensor:
    """The parts, values or constants, joined along ``axis``."""
    constants = [np.zeros(part.shape) if isinstance(part, Value) else part for part in parts]
    bias = np.concatenate(constants, axis)
    if not any(isinstance(part, Value) for part in parts):
        return bias
    terms = []
    for number, part in enumerate(parts):
        if isinstance(part, Value):
            places = [positions(part) if i == number else np.full(p.shape, -1) for i, p in enumerate(parts)]
            terms.append((part, gather_matrix(np.concatenate(places, axis)[..., None], 1.0, part.size)))
    return graph.affine(terms, bias, bias.shape)
