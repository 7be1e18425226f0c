"""Nodes of an ONNX graph, with their inputs and attributes at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pydual.errors import InputError, UnsupportedError
from pydual.operators.positions import Tensor, check_entries
from pydual.operators.primitives import Value

FLOAT_KINDS = (1, 10, 11, 16)  # onnx.TensorProto.FLOAT, FLOAT16, DOUBLE, BFLOAT16


@dataclass
class Node:
    """A node with its inputs at hand. What of its attributes no handler asks for must not change its meaning."""

    proto: Any
    inputs: list[Tensor | None]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, proto: Any, tensors: dict[str, Any]) -> Node:
        """The node of a NodeProto, where ``tensors`` holds what is defined so far: initializers, constants, values."""
        import onnx

        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        return cls(proto, [_resolve(tensors, name) for name in proto.input], attributes)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default; floats are float32 numbers in either case, as ONNX has it."""
        value = self.attributes.pop(name, default)
        if isinstance(value, float):
            return float(np.float32(value))
        return value.decode() if isinstance(value, bytes) else value

    def required(self, name: str) -> Any:
        if name not in self.attributes:
            raise InputError(f"the attribute {name} is missing")
        return self.attribute(name)

    def flag(self, name: str, default: int = 0) -> bool:
        value = self.attribute(name, default)
        if value not in (0, 1):
            raise InputError(f"the attribute {name} is {value}, neither 0 nor 1")
        return bool(value)

    def tensor(self, i: int) -> Tensor:
        value = self.inputs[i] if i < len(self.inputs) else None
        if value is None:
            raise InputError(f"input {i} is missing")
        return value

    def value(self, i: int) -> Value:
        tensor = self.tensor(i)
        if not isinstance(tensor, Value):
            raise UnsupportedError(f"input {i} is constant; fold constants when exporting the model")
        return tensor

    def constant(self, i: int) -> np.ndarray:
        tensor = self.tensor(i)
        if isinstance(tensor, Value):
            raise UnsupportedError(f"input {i} depends on the network's input; it must be constant")
        return tensor

    def optional(self, i: int) -> np.ndarray | None:
        return self.constant(i) if i < len(self.inputs) and self.inputs[i] is not None else None

    def integers(self, i: int, attribute: str) -> list[int] | None:
        """A list of integers that newer opsets pass as input ``i`` and older ones as an attribute; None if absent."""
        given = self.attribute(attribute)
        array = self.optional(i) if given is None else np.asarray(given)
        return None if array is None else [int(n) for n in array.ravel()]

    def scalar(self, i: int, attribute: str) -> float | None:
        given = self.attribute(attribute)
        array = self.optional(i) if given is None else np.asarray(given)
        return None if array is None else float(array.reshape(()))


def _resolve(tensors: dict[str, Any], name: str) -> Tensor | None:
    if not name:
        return None
    if name not in tensors:
        raise InputError(f"nothing before it defines its input '{name}'")
    if not isinstance(tensors[name], Value | np.ndarray):
        tensors[name] = constant_array(tensors[name])
    return tensors[name]


def constant_array(proto: Any) -> np.ndarray:
    """A constant tensor: floats of any width as the float64 numbers they are, integers as int64."""
    import onnx

    check_entries(tuple(proto.dims))
    array = onnx.numpy_helper.to_array(proto)
    if proto.data_type in FLOAT_KINDS:
        return array.astype(np.float64)
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    raise UnsupportedError(f"the constant '{proto.name}' is neither a float nor an integer tensor")


def node_name(proto: Any) -> str:
    return proto.name or next(iter(proto.output), "")
