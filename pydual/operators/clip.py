"""Clipping to an interval."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError
from pydual.operators.add import add, subtract
from pydual.operators.multiply import multiply
from pydual.operators.positions import Tensor
from pydual.operators.primitives import GraphBuilder
from pydual.operators.relu import relu
from pydual.operators.weighted_sum import weighted_sum


def clip(graph: GraphBuilder, x: Tensor, lower: float | None, upper: float | None) -> Tensor:
    """``min(max(x, lower), upper)``; None means no bound. Raises InputError if ``lower > upper``.

    Equal to ``lower + max(x - lower, 0) - max(x - upper, 0)``, since the two ReLUs start where the pieces meet.
    """
    if lower is not None and upper is not None and not lower <= upper:
        raise InputError(f"the interval [{lower}, {upper}] is empty")
    terms: list[tuple[Tensor, float]] = [(x, 1)]
    if lower is not None:
        terms = [(np.array(lower), 1), (_above(graph, x, lower), 1)]
    if upper is not None:
        terms.append((_above(graph, x, upper), -1))
    return weighted_sum(graph, terms)


def hard_sigmoid(graph: GraphBuilder, x: Tensor, slope: float, offset: float) -> Tensor:
    """``slope * x + offset``, clipped to [0, 1]."""
    return clip(graph, add(graph, multiply(graph, x, np.array(slope)), np.array(offset)), 0.0, 1.0)


def _above(graph: GraphBuilder, x: Tensor, bound: float) -> Tensor:
    return relu(graph, subtract(graph, x, np.array(bound)))
