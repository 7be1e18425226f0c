"""Replay: the model evaluated once more, outside the search, before anything is called an attack."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from pydual.certificate import FLOAT32, REAL
from pydual.errors import InputError
from pydual.network import Network
from pydual.operators.primitives import Affine, Matrix, Primitive, Relu, nonzeros


class Replay:
    """Evaluates a network independently of the search: with onnxruntime where it came from ONNX, else exactly.

    ``name`` is "onnxruntime" or "exact". A model that onnxruntime refuses to load (such as one whose weights and inputs
    differ in type) is evaluated exactly; with sigmoid or tanh, whose values are irrational, by numpy in "float64". Where the
    question is about execution in ``arithmetic`` "float32", numpy in float32 stands in for onnxruntime.
    """

    def __init__(self, network: Network, arithmetic: str = REAL) -> None:
        self.network = network
        self._arithmetic = arithmetic

    @property
    def name(self) -> str:
        if self._session is not None:
            return "onnxruntime"
        if self._arithmetic == FLOAT32:
            return FLOAT32
        return "exact" if self.network.rational else "float64"

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """The outputs (outputs,) in float64 at an input (inputs,); onnxruntime gets it rounded to the element type.

        Exact outputs are rounded to the nearest float64. Raises InputError for a wrong length, NaN or infinity.
        """
        x = self._checked(x)
        if self.name == "float64":
            return self.network.evaluate(x)
        if self.name == FLOAT32:
            return self.network.values(x[:, None], np.float32)[self.network.output][:, 0].astype(np.float64)
        if self._session is None:
            return np.array([_nearest(y) for y in self.exact_outputs(x.tolist())])
        tensor = x.astype(self.network.element_type).reshape(self.network.input_shape)
        try:
            (y,) = self._session.run(None, {self._session.get_inputs()[0].name: tensor})
        except Exception as error:
            raise InputError(f"onnxruntime cannot evaluate the model ({error}); export it again.") from None
        return np.asarray(y, dtype=np.float64).ravel()

    def exact_outputs(self, x: Sequence[float | Fraction]) -> list[Fraction]:
        """The outputs of a network without sigmoid and tanh as rationals, in integer arithmetic on its weights."""
        values = [_dyadic(x)]
        for primitive in self.network.primitives:
            values.append(_apply(primitive, values))
        numbers, shift = values[self.network.output]
        return [Fraction(n, 1 << shift) for n in numbers]

    def _checked(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64).ravel()
        if x.size != self.network.input_size or not np.isfinite(x).all():
            raise InputError(f"The network takes {self.network.input_size} finite inputs; got {x.size} numbers: {x}.")
        return x

    @cached_property
    def _session(self) -> Any:
        """The onnxruntime session on one thread, or None."""
        if self.network.onnx is None:
            return None
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(self.network.onnx, options, providers=["CPUExecutionProvider"])
        except Exception:
            return None


# A dyadic vector is a pair (numbers, shift) of integers that stands for numbers / 2**shift.
Dyadic = tuple[list[int], int]


def _dyadic(floats: Sequence[float | Fraction]) -> Dyadic:
    """The exact values of floats, or of rationals that are sums of floats, over their common denominator."""
    ratios = [number.as_integer_ratio() for number in floats]
    shift = max((q.bit_length() - 1 for _, q in ratios), default=0)
    return [p << (shift - q.bit_length() + 1) for p, q in ratios], shift


def _apply(primitive: Primitive, values: list[Dyadic]) -> Dyadic:
    if isinstance(primitive, Affine):
        return _affine(primitive, values)
    numbers, shift = values[primitive.source]
    if isinstance(primitive, Relu):
        return [max(n, 0) for n in numbers], shift
    if primitive.kind == "square":
        return [n * n for n in numbers], 2 * shift
    raise InputError("A network with sigmoid or tanh has no exact outputs; use Network.evaluate.")


def _affine(primitive: Affine, values: list[Dyadic]) -> Dyadic:
    parts = [_dyadic(primitive.bias.tolist())]
    for source, matrix in primitive.terms:
        parts.append(_product(matrix, values[source]))
    shift = max(s for _, s in parts)
    aligned = [[n << (shift - s) for n in numbers] for numbers, s in parts]
    return [sum(column) for column in zip(*aligned, strict=True)], shift


def _product(matrix: Matrix, vector: Dyadic) -> Dyadic:
    numbers, shift = vector
    starts, columns, entries = (array.tolist() for array in nonzeros(matrix))
    weights, scale = _dyadic(entries)
    spans = pairwise(starts)
    return [sum(weights[t] * numbers[columns[t]] for t in range(*span)) for span in spans], shift + scale


def _nearest(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
