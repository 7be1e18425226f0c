"""The primitives that every network is made of, and the builder that strings them together.

A network is a list of *values*, flat float64 vectors ``v_0, v_1, ..., v_K``: ``v_0`` is the input and primitive
``k`` defines ``v_{k+1}`` from earlier values. Piecewise linear operators (leaky ReLU, max pooling, ...) are exact
combinations of an affine map and a ReLU; smooth S-shaped activations are curves; squares are what checkers
compute (a product is the difference of two). Nothing else exists for proof systems, attacks and audits.
The weights are exactly those of the model: nothing is multiplied out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

Matrix = Any  # np.ndarray of shape (rows, columns), or scipy.sparse.csr_array, which small networks need not load
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Affine:
    """``v = sum_t matrix_t @ v[source_t] + bias``; ``terms`` lists the pairs (source, matrix)."""

    terms: tuple[tuple[int, Matrix], ...]
    bias: np.ndarray
    name: str = ""

    @property
    def size(self) -> int:
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class Relu:
    """``v = max(v[source], 0)``, elementwise."""

    source: int
    size: int
    name: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """``v = f(v[source])``, elementwise; ``kind`` is "sigmoid", ``f(p) = 1 / (1 + exp(-p))``, "tanh" or "square"."""

    source: int
    size: int
    kind: str
    name: str = ""


Activation = Relu | Curve
Primitive = Affine | Activation


@dataclass(frozen=True)
class Value:
    """A handle on a value of the graph under construction; ``shape`` is its tensor shape, row-major."""

    id: int
    shape: Shape

    @property
    def size(self) -> int:
        return prod(self.shape)

    def reshaped(self, shape: Shape) -> Value:
        """The same numbers under another shape of equal size."""
        return Value(self.id, shape)


@dataclass
class GraphBuilder:
    """Collects primitives in topological order; operators call ``affine``, ``relu`` and ``curve`` on it."""

    input_shape: Shape
    primitives: list[Primitive] = field(default_factory=list)
    name: str = ""  # the model's name for the node that is being translated
    activations: dict[tuple[str, int], Value] = field(default_factory=dict)
    folded: list[str] = field(default_factory=list)  # names of nodes whose constants were folded with rounding

    @property
    def input(self) -> Value:
        return Value(0, self.input_shape)

    def fold(self) -> None:
        """Note that the present node's constants are being folded with rounding."""
        self.folded.append(self.name)

    def affine(self, terms: Sequence[tuple[Value, Matrix]], bias: np.ndarray, shape: Shape) -> Value:
        """Append ``sum matrix @ value + bias`` and give the result the shape ``shape``."""
        packed = tuple((value.id, as_matrix(matrix)) for value, matrix in terms)
        return self._append(Affine(packed, np.asarray(bias, dtype=np.float64).ravel(), self.name), shape)

    def relu(self, value: Value) -> Value:
        """``max(value, 0)``; a value has one relu, so that a split of a neuron is one of every use."""
        return self.activation(Relu(value.id, value.size, self.name)).reshaped(value.shape)

    def curve(self, value: Value, kind: str) -> Value:
        """The curve ``kind`` ("sigmoid", "tanh" or "square") of a value."""
        return self.activation(Curve(value.id, value.size, kind, self.name)).reshaped(value.shape)

    def activation(self, new: Activation) -> Value:
        """Append an activation, as a flat vector; a value has one of a kind, so it may be there already."""
        key = getattr(new, "kind", "relu"), new.source
        if key not in self.activations:
            self.activations[key] = self._append(new, (new.size,))
        return self.activations[key]

    def _append(self, primitive: Primitive, shape: Shape) -> Value:
        self.primitives.append(primitive)
        return Value(len(self.primitives), tuple(shape))


def is_sparse(matrix: Matrix) -> bool:
    """Whether it is stored in compressed rows."""
    return not isinstance(matrix, np.ndarray)


def as_matrix(matrix: Matrix) -> Matrix:
    """A float64 matrix in one of the two stored forms: C-ordered dense, or canonical CSR."""
    if is_sparse(matrix):
        from scipy.sparse import csr_array

        csr = csr_array(matrix, dtype=np.float64)
        csr.sum_duplicates()
        csr.sort_indices()
        return csr
    return np.ascontiguousarray(matrix, dtype=np.float64)


def nonzeros(matrix: Matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR arrays (starts, columns, values) of the entries that are not zero, columns ascending in each row."""
    if is_sparse(matrix):
        csr = matrix.tocsr(copy=True)
        csr.eliminate_zeros()
        csr.sort_indices()
        return csr.indptr, csr.indices, csr.data
    rows, columns = np.nonzero(matrix)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(matrix)))])
    return starts, columns, matrix[rows, columns]


def selection(indices: np.ndarray, columns: int) -> Matrix:
    """The 0/1 matrix S with ``(S @ v)[i] = v[indices[i]]``; ``columns`` is the size of v."""
    from scipy.sparse import csr_array

    rows = len(indices)
    return csr_array((np.ones(rows), np.asarray(indices), np.arange(rows + 1)), shape=(rows, columns))


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), element by element."""
    from scipy.special import expit  # takes long to import, and most networks need none

    return np.asarray(expit(x))
