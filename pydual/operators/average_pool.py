"""Average pooling."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError
from pydual.operators.positions import gather_matrix
from pydual.operators.primitives import GraphBuilder, Value
from pydual.operators.windows import BEYOND, Window, pooling_columns


def average_pool(graph: GraphBuilder, x: Value, *, window: Window, count_padding: bool) -> Value:
    """The mean over each window of a channel; the divisor counts entries in the padding if ``count_padding``."""
    shape, columns = pooling_columns(x, window)
    count = (columns > BEYOND if count_padding else columns >= 0).sum(axis=-1, keepdims=True)
    if not count.all():
        raise InputError(f"a window of {window} lies entirely in the padding")
    matrix = gather_matrix(columns, 1.0 / count, x.size)
    return graph.affine([(x, matrix)], np.zeros(matrix.shape[0]), shape)
