"""Sums and differences of two tensors."""

from __future__ import annotations

from pydual.operators.positions import Tensor
from pydual.operators.primitives import GraphBuilder
from pydual.operators.weighted_sum import weighted_sum


def add(graph: GraphBuilder, a: Tensor, b: Tensor) -> Tensor:
    """``a + b`` with numpy's broadcasting."""
    return weighted_sum(graph, [(a, 1), (b, 1)])


def subtract(graph: GraphBuilder, a: Tensor, b: Tensor) -> Tensor:
    """``a - b`` with numpy's broadcasting."""
    return weighted_sum(graph, [(a, 1), (b, -1)])
