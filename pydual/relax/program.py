"""A network multiplied out to one affine map between consecutive activations: what the C++ core runs on.

Products are rounded to float64. That is harmless: provers only produce hints, and the audits go back to the network's
own primitives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from pydual.checker import Atom
from pydual.network import Network, curve_ends
from pydual.operators.primitives import Affine, Curve, Matrix, is_sparse
from pydual.region import Region
from pydual.relax.engine import _core

DENSE_FROM = 0.25  # a sparse product with a larger share of nonzeros is stored dense


@dataclass(frozen=True, eq=False)
class AffineMap:
    """``sum matrix_s z_s + bias`` over the input ``z_0 = x`` and the layers ``z_1, z_2, ...``; None is the identity."""

    terms: dict[int, Matrix]
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Program:
    """The compiled network: ``core`` for the kernels, ``outputs`` as a function of the layers, names for people.

    ``kinds`` are the layers' activations ("relu", "sigmoid", "tanh"), ``sizes`` their lengths. *Units* are the components
    of all layers in order; those of ReLU layers are the neurons, which PROOFS.md numbers through by themselves.
    """

    core: _core.Program
    layers: tuple[AffineMap, ...]
    outputs: AffineMap
    sizes: tuple[int, ...]
    kinds: tuple[str, ...]
    names: tuple[str, ...]

    def core_below(self, layers: int) -> _core.Program:
        """The first ``layers`` layers for the kernels."""
        return _core_program(self.core.inputs, self.layers[:layers], self.kinds, self.sizes)

    @property
    def units(self) -> int:
        return sum(self.sizes)

    @property
    def neurons(self) -> int:
        return len(self.neuron_units)

    @cached_property
    def weights(self) -> int:
        """How many entries the matrices have that are stored, or 1 if there are none."""
        matrices = [matrix for layer in self.layers for matrix in layer.terms.values() if matrix is not None]
        return sum(int(matrix.nnz if is_sparse(matrix) else matrix.size) for matrix in matrices) or 1

    @cached_property
    def is_neuron(self) -> np.ndarray:
        """For each unit whether it is a ReLU."""
        return np.repeat(np.array([kind == "relu" for kind in self.kinds], dtype=bool), self.sizes)

    @cached_property
    def neuron_units(self) -> np.ndarray:
        """The unit of each neuron."""
        return np.flatnonzero(self.is_neuron)

    @cached_property
    def neuron_numbers(self) -> np.ndarray:
        """The neuron of each unit; -1 for the components of curves."""
        return np.where(self.is_neuron, np.cumsum(self.is_neuron) - 1, -1)

    @cached_property
    def curves(self) -> tuple[tuple[str, slice], ...]:
        """The layers of curves: kind and units."""
        ends = np.cumsum(self.sizes, dtype=int).tolist()
        layers = zip(self.kinds, self.sizes, ends, strict=True)
        return tuple((kind, slice(end - size, end)) for kind, size, end in layers if kind != "relu")

    def images(self, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The intervals (..., units) of the units' outputs for those of their inputs."""
        low, high = np.maximum(lower, 0.0), np.maximum(upper, 0.0)
        for kind, units in self.curves:
            low[..., units], high[..., units] = curve_ends(kind, lower[..., units], upper[..., units])
        return low, high

    def unit_name(self, unit: int) -> str:
        """Layer and component of a unit, as in "relu_3[17]"."""
        for name, size in zip(self.names, self.sizes, strict=True):
            if unit < size:
                return f"{name}[{unit}]"
            unit -= size
        raise IndexError(unit)

    def neuron_name(self, neuron: int) -> str:
        """The name of a neuron's unit."""
        return self.unit_name(int(self.neuron_units[neuron]))

    def margins(self, atoms: Sequence[Atom]) -> AffineMap:
        """The atoms' margins as one affine map of the layers."""
        outputs = len(self.outputs.bias)
        inputs = self.core.inputs
        y = np.zeros((len(atoms), outputs))
        x = np.zeros((len(atoms), inputs))
        constant = np.zeros(len(atoms))
        for row, atom in enumerate(atoms):
            constant[row] = float(atom.margin.constant)
            for j, c in atom.margin.y.items():
                y[row, j] = float(c)
            for i, c in atom.margin.x.items():
                x[row, i] = float(c)
        terms: dict[int, Matrix] = {s: y if m is None else y @ m for s, m in self.outputs.terms.items()}
        if x.any():
            terms[0] = x + terms.get(0, 0.0)
        return AffineMap(terms, y @ self.outputs.bias + constant)


_compiled: WeakKeyDictionary[Network, Program] = WeakKeyDictionary()


def compile_network(network: Network) -> Program:
    """The network's program; computed once for each network object."""
    if network not in _compiled:
        _compiled[network] = _compile(network)
    return _compiled[network]


def core_form(affine: AffineMap, sizes: Sequence[int]) -> _core.Form:
    """An affine map for the core; ``sizes`` are those of z_0, z_1, ..."""
    terms = [(s, _packed(m, sizes[s])) for s, m in affine.terms.items()]
    return _core.Form(np.ascontiguousarray(affine.bias), terms)


def core_region(region: Region) -> _core.Region:
    """The region for the core."""
    if region.ball is None:
        return _core.Region(region.lower, region.upper, "", np.zeros(0), 0.0)
    return _core.Region(region.lower, region.upper, region.ball.norm, region.ball.center, region.ball.radius)


def _compile(network: Network) -> Program:
    values = [AffineMap({0: None}, np.zeros(network.input_size))]
    layers: list[AffineMap] = []
    kinds: list[str] = []
    names: list[str] = []
    for primitive in network.primitives:
        if isinstance(primitive, Affine):
            values.append(_compose(primitive, values))
            continue
        layers.append(values[primitive.source])
        kinds.append(primitive.kind if isinstance(primitive, Curve) else "relu")
        names.append(primitive.name or f"{kinds[-1]}_{len(layers)}")
        values.append(AffineMap({len(layers): None}, np.zeros(primitive.size)))
    sizes = tuple(len(layer.bias) for layer in layers)
    core = _core_program(network.input_size, layers, kinds, sizes)
    return Program(core, tuple(layers), values[network.output], sizes, tuple(kinds), tuple(names))


def _core_program(inputs: int, layers: Sequence[AffineMap], kinds: Sequence[str], sizes: Sequence[int]) -> _core.Program:
    lengths = (inputs, *sizes)
    terms = [[(s, _packed(m, lengths[s])) for s, m in layer.terms.items()] for layer in layers]
    biases = [np.ascontiguousarray(layer.bias) for layer in layers]
    return _core.Program(inputs, list(zip(kinds, biases, terms, strict=False)))


def _compose(primitive: Affine, values: Sequence[AffineMap]) -> AffineMap:
    """``sum M_t v_t + b`` with every ``v_t`` written in terms of the layers."""
    bias = primitive.bias.copy()
    terms: dict[int, Matrix] = {}
    for source, matrix in primitive.terms:
        inner = values[source]
        bias += matrix @ inner.bias
        for s, m in inner.terms.items():
            product = matrix if m is None else _as_stored(matrix @ m)
            terms[s] = product if s not in terms else _as_stored(terms[s] + product)
    return AffineMap(terms, bias)


def _as_stored(matrix: Matrix) -> Matrix:
    if is_sparse(matrix) and matrix.nnz > DENSE_FROM * matrix.shape[0] * matrix.shape[1]:
        return np.ascontiguousarray(matrix.toarray())
    return matrix if is_sparse(matrix) else np.ascontiguousarray(matrix)


def _packed(matrix: Matrix | None, size: int) -> object:
    """What the core takes: a dense array, or (indptr, indices, data, columns).

    A product of sparse matrices is unsorted, and whatever sorts it in place later would move the data, which the core shares,
    but not the indices, of which it may have a copy. So it is sorted here.
    """
    if matrix is None:
        return np.arange(size + 1, dtype=np.int32), np.arange(size, dtype=np.int32), np.ones(size), size
    if not is_sparse(matrix):
        return np.ascontiguousarray(matrix)
    csr = matrix.tocsr()
    csr.sum_duplicates()
    return (csr.indptr.astype(np.int32), csr.indices.astype(np.int32), csr.data, csr.shape[1])
