"""Elementwise sums of weighted tensors, with numpy's broadcasting: the form of all linear elementwise operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydual.operators.positions import Tensor, check_entries, gather_matrix, positions
from pydual.operators.primitives import GraphBuilder, Value

Weight = np.ndarray | float


def weighted_sum(graph: GraphBuilder, terms: Sequence[tuple[Tensor, Weight]]) -> Tensor:
    """``sum weight * tensor``, elementwise; a constant if all tensors are."""
    values = [(x, w) for x, w in terms if isinstance(x, Value)]
    constants = [x * w for x, w in terms if not isinstance(x, Value)]
    if rounds(terms):
        graph.fold()
    if not values:
        return sum(constants[1:], start=constants[0])
    shape = np.broadcast_shapes(*(s for x, w in values for s in (x.shape, np.shape(w))), *map(np.shape, constants))
    check_entries(shape)
    bias = np.zeros(shape)
    for constant in constants:
        bias = bias + constant
    return graph.affine([(x, _spread(x, w, shape)) for x, w in values], bias, shape)


def rounds(terms: Sequence[tuple[Tensor, Weight]]) -> bool:
    """Whether the constants among the terms are folded with rounding: products or sums of floats."""
    constants = [(x, w) for x, w in terms if not isinstance(x, Value)]
    products = any(np.asarray(x).dtype.kind == "f" and not np.isin(w, (-1, 1)).all() for x, w in constants)
    return products or (len(constants) > 1 and any(np.asarray(x).dtype.kind == "f" for x, _ in constants))


def _spread(x: Value, weight: Weight, shape: tuple[int, ...]):
    columns = np.broadcast_to(positions(x), shape)
    return gather_matrix(columns[..., None], np.broadcast_to(weight, shape)[..., None], x.size)
