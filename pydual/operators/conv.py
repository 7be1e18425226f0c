"""Convolution."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError
from pydual.operators.positions import check_entries, gather_matrix
from pydual.operators.primitives import GraphBuilder, Value
from pydual.operators.windows import Window


def conv(
    graph: GraphBuilder, x: Value, weight: np.ndarray, bias: np.ndarray | None, *, window: Window, group: int = 1
) -> Value:
    """Cross-correlation of ``x`` (batch, channels, *spatial) with ``weight`` (filters, channels / group, *kernel).

    ``bias`` has shape (filters,) or is None. Raises InputError where shapes do not fit.
    """
    filters, depth, *kernel = weight.shape
    fits = len(x.shape) > 2 and window.kernel == tuple(kernel) and group > 0
    if not fits or x.shape[1] != depth * group or filters % group:
        raise InputError(f"weights of shape {weight.shape} in {group} groups do not fit an input of shape {x.shape}")
    if bias is not None and bias.shape != (filters,):
        raise InputError(f"a bias of shape {bias.shape} does not fit {filters} filters")
    batch, area = x.shape[0], x.size // (x.shape[0] * x.shape[1])
    shape, index = window.places(x.shape[2:])
    places, entries = index.shape
    check_entries((batch, filters, places, depth, entries))
    channel = np.arange(batch * group * depth, dtype=np.int32).reshape(batch, group, 1, 1, depth, 1) * area
    columns = np.where(index[:, None, :] < 0, -1, channel + index[:, None, :])
    matrix = gather_matrix(
        columns.reshape(batch, group, 1, places, depth * entries),
        weight.reshape(group, filters // group, 1, depth * entries),
        x.size,
    )
    offset = np.zeros(filters) if bias is None else bias
    return graph.affine([(x, matrix)], np.tile(np.repeat(offset, places), batch), (batch, filters, *shape))
