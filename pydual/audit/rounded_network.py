"""A network prepared for the rounded audit: transposed and absolute matrices, lengths of inner products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse

from pydual.audit.enclosures import LONGEST, UNDERFLOW, down, gamma, up
from pydual.errors import InputError
from pydual.network import Network
from pydual.operators.primitives import Affine

Interval = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Term:
    """``matrix @ v[source]``."""

    source: int
    matrix: Any
    transposed: Any
    absolute: Any


@dataclass(frozen=True, eq=False)
class AffineLayer:
    """``sum_t matrix_t v[source_t] + bias``; rows and columns have at most ``row`` and ``column`` nonzero entries."""

    terms: tuple[Term, ...]
    bias: np.ndarray
    row: int
    column: int

    def interval(self, values: list[Interval]) -> Interval:
        """Interval arithmetic: bounds (size, cells) from those of the sources."""
        g = gamma(self.row + len(self.terms) + 4)
        center = self.bias[:, None]
        spread = 4 * g * np.abs(center) + UNDERFLOW
        for term in self.terms:
            low, high = values[term.source]
            middle = 0.5 * low + 0.5 * high
            radius = np.maximum(high - middle, middle - low)
            center = center + term.matrix @ middle
            # the center's error is at most g (|M| |middle| + |b|); the spread's own is below g of itself, so that
            # (1 - g)(radius (1 + 4g) + 4g |middle|) >= (1 + g) radius + g |middle| covers both
            spread = spread + term.absolute @ (radius + 4 * g * (np.abs(middle) + radius))
        return down(center - spread), up(center + spread)

    def product_magnitude(self, magnitudes: list[np.ndarray]) -> np.ndarray:
        """``sum_t |M_t| |v_t| + |b|``: what rounding errors of ``M_t^T w`` and ``w.b`` are relative to."""
        result = np.abs(self.bias)
        for term in self.terms:
            result = result + term.absolute @ magnitudes[term.source]
        return result


@dataclass(frozen=True, eq=False)
class ReluLayer:
    """``max(v[source], 0)``; its neurons are ``first .. first + size - 1``, and it is the ``number``-th relu."""

    source: int
    size: int
    first: int
    number: int


class Layers:
    """The primitives of a network in order; ``layers[k]`` defines the value ``k + 1``."""

    def __init__(self, network: Network) -> None:
        self.inputs = network.input_size
        self.output = network.output
        self.sizes = [self.inputs]
        self.layers: list[AffineLayer | ReluLayer] = []
        self.relus: list[ReluLayer] = []
        neurons = 0
        for primitive in network.primitives:
            if isinstance(primitive, Affine):
                self.layers.append(self._affine(primitive))
            else:
                self._require(0 <= primitive.source < len(self.sizes) and primitive.size == self.sizes[primitive.source])
                layer = ReluLayer(primitive.source, primitive.size, neurons, len(self.relus))
                neurons += layer.size
                self.layers.append(layer)
                self.relus.append(layer)
            self.sizes.append(primitive.size)
        self._require(0 <= self.output < len(self.sizes) and max(self.sizes) < LONGEST // 8)
        self.neurons = neurons
        self.widest = max(self.sizes)
        # for each neuron, the value that it is applied to, and the component of that
        self.source_of = np.array([relu.source for relu in self.relus for _ in range(relu.size)], dtype=np.int64)
        self.component_of = np.array([i for relu in self.relus for i in range(relu.size)], dtype=np.int64)
        self.before_relu = self._leads_to_relu()

    def _affine(self, primitive: Affine) -> AffineLayer:
        terms, row, column = [], 0, 0
        for source, matrix in primitive.terms:
            self._require(0 <= source < len(self.sizes) and matrix.shape == (primitive.size, self.sizes[source]))
            if sparse.issparse(matrix):
                matrix = sparse.csr_array(matrix, dtype=np.float64)
                row += int(np.diff(matrix.indptr).max(initial=0))
                column = max(column, int(np.bincount(matrix.indices, minlength=1).max()))
                terms.append(Term(source, matrix, sparse.csr_array(matrix.T), abs(matrix)))
            else:
                matrix = np.asarray(matrix, dtype=np.float64)
                row, column = row + matrix.shape[1], max(column, matrix.shape[0])
                terms.append(Term(source, matrix, matrix.T, np.abs(matrix)))
        self._require(row < LONGEST // 8)
        return AffineLayer(tuple(terms), np.asarray(primitive.bias, dtype=np.float64), row, column)

    def _require(self, condition: bool) -> None:
        if not condition:
            raise InputError(f"Primitive {len(self.layers)} of the network does not fit its sources, or is too large.")

    def _leads_to_relu(self) -> list[bool]:
        """For each value, whether some relu depends on it."""
        needed = [False] * len(self.sizes)
        for k in reversed(range(len(self.layers))):
            layer = self.layers[k]
            if isinstance(layer, ReluLayer):
                needed[layer.source] = True
            elif needed[k + 1]:
                for term in layer.terms:
                    needed[term.source] = True
        # a relu's own output matters only if it is needed in turn; its source always does
        return needed
