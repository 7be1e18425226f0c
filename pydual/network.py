"""The network: affine maps, ReLUs and curves in topological order, with the exact weights of the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from pydual.errors import InputError
from pydual.operators.primitives import (
    Affine,
    Curve,
    GraphBuilder,
    Primitive,
    Relu,
    Shape,
    Value,
    is_sparse,
    logistic,
    nonzeros,
)

CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sigmoid": logistic, "tanh": np.tanh, "square": np.square}


def curve_ends(kind: str, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval of a curve on ``[low, high]``, elementwise: all but the square rise."""
    ends = CURVES[kind](low), CURVES[kind](high)
    if kind != "square":
        return ends
    return np.where((low <= 0) & (high >= 0), 0.0, np.minimum(*ends)), np.maximum(*ends)


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A feed-forward network over real numbers.

    ``primitives`` define the values ``v_1 ... v_K`` (``pydual.operators.primitives``), ``output`` is the index of the
    output value. ``input_shape`` and ``output_shape`` are the tensor shapes of the model, read row-major.
    ``element_type`` is the type that the model computes in ("float32" or "float64"); attacks are rounded to it.
    ``onnx`` holds the bytes of the ONNX file that the network came from, for replay, or None. ``folded`` names the nodes
    of the model whose constants were folded with rounding when it was loaded (a batch normalization, a sum of constants).
    The arrays of weights become read-only: digest and certificates are about the network as it was built.
    """

    primitives: tuple[Primitive, ...]
    output: int
    input_shape: Shape
    output_shape: Shape
    element_type: str = "float64"
    onnx: bytes | None = None
    folded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for primitive in self.primitives:
            for array in _weights(primitive):
                if not np.isfinite(array).all():
                    where = f" of node '{primitive.name}'" if primitive.name else ""
                    raise InputError(f"The weights{where} contain NaN or infinity; repair or re-export the model.")
                array.setflags(write=False)

    def __repr__(self) -> str:
        shapes = " -> ".join("x".join(map(str, shape)) or "1" for shape in (self.input_shape, self.output_shape))
        return f"<network {shapes}, {self.neurons} neurons, {len(self.primitives)} primitives, {self.element_type}>"

    @classmethod
    def from_layers(cls, layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> Network:
        """A fully connected network ``x -> W_n relu(... relu(W_1 x + b_1) ...) + b_n``.

        Each layer is a pair (W, b) with W of shape (outputs, inputs) and b of shape (outputs,); there is a ReLU
        between layers and none after the last. Raises InputError where shapes do not fit or a weight is not finite.
        """
        if not layers:
            raise InputError("A network needs at least one layer; got an empty list of (W, b) pairs.")
        pairs = [_pair(number, layer) for number, layer in enumerate(layers)]
        graph = GraphBuilder((pairs[0][0].shape[-1],))
        value = graph.input
        for number, (weight, bias) in enumerate(pairs):
            graph.name = f"layer {number}"
            if weight.ndim != 2 or not weight.size or bias.shape != weight.shape[:1] or weight.shape[1] != value.size:
                raise InputError(
                    f"Layer {number} has W of shape {weight.shape} and b of shape {bias.shape}; "
                    f"expected (m, {value.size}) and (m,): transpose W or check the order of the layers."
                )
            if number:
                value = graph.relu(value)
            value = graph.affine([(value, weight)], bias, (len(bias),))
        return cls.from_graph(graph, value)

    @classmethod
    def from_graph(
        cls, graph: GraphBuilder, output: Value, element_type: str = "float64", onnx: bytes | None = None
    ) -> Network:
        """The network of a finished builder whose result is ``output``."""
        folded = tuple(dict.fromkeys(graph.folded))
        return cls(tuple(graph.primitives), output.id, graph.input_shape, output.shape, element_type, onnx, folded)

    @property
    def input_size(self) -> int:
        return prod(self.input_shape)

    @property
    def output_size(self) -> int:
        return prod(self.output_shape)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The length of each value ``v_0 ... v_K``."""
        return (self.input_size, *(primitive.size for primitive in self.primitives))

    @cached_property
    def neurons(self) -> int:
        """The number of ReLU neurons; neurons are numbered through all ReLU primitives in order."""
        return sum(p.size for p in self.primitives if isinstance(p, Relu))

    @cached_property
    def piecewise_linear(self) -> bool:
        """Whether there are no curves."""
        return not any(isinstance(p, Curve) for p in self.primitives)

    @cached_property
    def rational(self) -> bool:
        """Whether outputs at rational inputs are rational: all curves are squares."""
        return all(p.kind == "square" for p in self.primitives if isinstance(p, Curve))

    @cached_property
    def connections(self) -> int:
        """The number of matrix entries that are not zero: what one forward or backward pass multiplies."""
        affine = [p for p in self.primitives if isinstance(p, Affine)]
        return sum(m.nnz if is_sparse(m) else int(np.count_nonzero(m)) for p in affine for _, m in p.terms)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """The outputs in float64, flat: shape (outputs,) for one input, (batch, outputs) for shape (batch, inputs).

        Raises InputError for another number of inputs, and for inputs that are not finite numbers.
        """
        try:
            x = np.asarray(x, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"The input of a network is an array of numbers; got a {type(x).__name__}.") from None
        if not np.isfinite(x).all():
            raise InputError("The input contains NaN or infinity; give finite numbers.")
        batched = x.ndim == 2 and x.shape[1] == self.input_size and x.shape != self.input_shape
        if not batched and x.size != self.input_size:
            raise InputError(f"The network takes {self.input_size} inputs, shape {self.input_shape}; got {x.shape}.")
        columns = x.T if batched else x.reshape(-1, 1)
        result = self.values(columns)[self.output].T
        return result if batched else result[0]

    def values(self, columns: np.ndarray, kind: type[np.floating] = np.float64) -> list[np.ndarray]:
        """All values ``v_0 ... v_K``, computed in ``kind``, for inputs given as the columns of a matrix (inputs, batch)."""
        values = [columns.astype(kind, copy=False)]
        for primitive in self.primitives:
            if isinstance(primitive, Relu):
                values.append(np.maximum(values[primitive.source], 0.0))
            elif isinstance(primitive, Curve):
                values.append(CURVES[primitive.kind](values[primitive.source]))
            else:
                total = primitive.bias[:, None].astype(kind, copy=False)
                for source, matrix in primitive.terms:
                    total = total + matrix.astype(kind, copy=False) @ values[source]
                values.append(np.broadcast_to(total, (primitive.size, columns.shape[1])))
        return values

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form (PROOFS.md, section "Digests"), as hexadecimal digits."""
        state = hashlib.sha256()
        state.update(f"network {self.input_size} {len(self.primitives)} {self.output}\n".encode())
        for primitive in self.primitives:
            if not isinstance(primitive, Affine):
                kind = primitive.kind if isinstance(primitive, Curve) else "relu"
                state.update(f"{kind} {primitive.source}\n".encode())
                continue
            state.update(f"affine {primitive.size} {len(primitive.terms)}\n".encode())
            state.update(primitive.bias.astype("<f8").tobytes())
            for source, matrix in primitive.terms:
                indptr, indices, data = nonzeros(matrix)
                state.update(f"term {source} {matrix.shape[0]} {matrix.shape[1]} {len(data)}\n".encode())
                for array, kind in ((indptr, "<i8"), (indices, "<i8"), (data, "<f8")):
                    state.update(array.astype(kind).tobytes())
        return state.hexdigest()


def _weights(primitive: Primitive) -> list[np.ndarray]:
    if not isinstance(primitive, Affine):
        return []
    return [primitive.bias, *(m.data if is_sparse(m) else m for _, m in primitive.terms)]


def _pair(number: int, layer: object) -> tuple[np.ndarray, np.ndarray]:
    """A layer (W, b) as float64 arrays; InputError for what is none."""
    try:
        weight, bias = (np.asarray(part) for part in layer)  # type: ignore[attr-defined]
        if weight.dtype.kind not in "biuf" or bias.dtype.kind not in "biuf":
            raise TypeError
        return weight.astype(np.float64), bias.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"Layer {number} is no pair (W, b) of arrays of real numbers; give one pair a layer.") from None
