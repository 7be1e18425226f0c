"""A network multiplied out to one affine map between consecutive ReLUs: what the C++ core runs on.

Products are rounded to float64. That is harmless: provers only produce hints, and the audits go back to the network's
own primitives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sparse

from pydual.checker import Atom
from pydual.network import Network
from pydual.operators.primitives import Affine, Matrix, Relu
from pydual.region import Region
from pydual.relax.engine import _core

DENSE_FROM = 0.25  # a sparse product with a larger share of nonzeros is stored dense


@dataclass(frozen=True, eq=False)
class AffineMap:
    """``sum matrix_s z_s + bias`` over the input ``z_0 = x`` and the ReLU layers ``z_1, z_2, ...``; None is the identity."""

    terms: dict[int, Matrix]
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Program:
    """The compiled network: ``core`` for the kernels, ``outputs`` as a function of the layers, neuron names for people.

    ``sizes`` are the lengths of the layers; neurons are numbered as in PROOFS.md, through all layers in order.
    """

    core: _core.Program
    layers: tuple[AffineMap, ...]
    outputs: AffineMap
    sizes: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def neurons(self) -> int:
        return sum(self.sizes)

    def neuron_name(self, neuron: int) -> str:
        """Layer and component of a neuron, as in "relu_3[17]"."""
        for name, size in zip(self.names, self.sizes, strict=True):
            if neuron < size:
                return f"{name}[{neuron}]"
            neuron -= size
        raise IndexError(neuron)

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
    names: list[str] = []
    for primitive in network.primitives:
        if isinstance(primitive, Relu):
            layers.append(values[primitive.source])
            names.append(primitive.name or f"relu_{len(layers)}")
            values.append(AffineMap({len(layers): None}, np.zeros(primitive.size)))
        else:
            values.append(_compose(primitive, values))
    sizes = [network.input_size, *(len(layer.bias) for layer in layers)]
    packed = [(np.ascontiguousarray(y.bias), [(s, _packed(m, sizes[s])) for s, m in y.terms.items()]) for y in layers]
    core = _core.Program(network.input_size, packed)
    return Program(core, tuple(layers), values[network.output], tuple(sizes[1:]), tuple(names))


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
    if sparse.issparse(matrix) and matrix.nnz > DENSE_FROM * matrix.shape[0] * matrix.shape[1]:
        return np.ascontiguousarray(matrix.toarray())
    return matrix if sparse.issparse(matrix) else np.ascontiguousarray(matrix)


def _packed(matrix: Matrix | None, size: int) -> object:
    """What the core takes: a dense array, or (indptr, indices, data, columns)."""
    if matrix is None:
        matrix = sparse.csr_array(sparse.eye_array(size))
    if not sparse.issparse(matrix):
        return np.ascontiguousarray(matrix)
    csr = sparse.csr_array(matrix)
    return (csr.indptr.astype(np.int32), csr.indices.astype(np.int32), csr.data, csr.shape[1])
