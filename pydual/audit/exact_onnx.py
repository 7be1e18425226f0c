"""The exact audit's own reader of ONNX models: PROOFS.md, "From ONNX to primitives". Standard library only.

``read_network`` gives a network in the form that ``exact_network`` reads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import isfinite
from types import SimpleNamespace
from typing import Any

from pydual.audit.exact_operators import OPERATORS
from pydual.audit.exact_protobuf import Message, shown
from pydual.audit.exact_tensors import Graph, Operand, Shape, ranked, require
from pydual.errors import InputError, UnsupportedError

ELEMENT_TYPES = {  # number of a TensorProto.DataType: its struct code, and the field of its numbers
    **{1: ("f", 4), 11: ("d", 10), 7: ("q", 7), 12: ("I", 11), 13: ("Q", 11)},
    **{6: ("i", 5), 5: ("h", 5), 4: ("H", 5), 3: ("b", 5), 2: ("B", 5), 9: ("B", 5), 10: ("e", 5), 16: ("H", 5)},
}
ATTRIBUTES: dict[int, Callable[[Message], Any]] = {  # number of an AttributeProto.AttributeType: how to read its value
    1: lambda a: a.one(2, "float", 0.0),
    2: lambda a: a.one(3, "int", 0),
    3: lambda a: a.one(4, "text", ""),
    4: lambda a: read_tensor(a.one(5, "message")),
    6: lambda a: tuple(a.all(7, "float")),
    7: lambda a: tuple(a.all(8, "int")),
}


class Node:
    """A node of the graph; its attributes are read when it is translated."""

    def __init__(self, message: Message) -> None:
        self.operator, self.domain = message.one(4, "text", ""), message.one(7, "text", "")
        self.sources, self.results = message.all(1, "text"), message.all(2, "text")
        self.message = message
        self.where = f"The node '{shown(message.one(3, 'text') or ''.join(self.results[:1]))}' ({shown(self.operator)})"

    def attributes(self, defaults: dict[str, Any]) -> dict[str, Any]:
        """The attributes, or their defaults; floats are float32 numbers. Those that are None are left out."""
        found = dict(defaults)
        names = set()
        for message in self.message.all(5, "message"):
            name, kind = message.one(1, "text", ""), message.one(20, "int", 0)
            known = name in defaults and name not in names and kind in ATTRIBUTES and not message.has(21)
            require(known, f"the attribute {shown(name)} is not supported, or given twice", UnsupportedError)
            value, default = ATTRIBUTES[kind](message), defaults[name]
            if type(default) is bool and type(value) is int and value in (0, 1):
                value = bool(value)
            fits = default is None or type(value) is type(default)
            require(fits, f"the attribute {name} has a value of another kind")
            names.add(name)
            found[name] = value
        return {name: float32(v) if type(v) is float else v for name, v in found.items() if v is not None}


def float32(number: float) -> float:
    return struct.unpack("<f", struct.pack("<f", number))[0]


def read_tensor(message: Message) -> Operand:
    """A constant of a TensorProto: floats as the numbers they are, everything else as integers."""
    shape, kind, raw = ranked(message.all(1, "int")), message.one(2, "int", 0), message.one(9, "bytes")
    inside = not (message.one(14, "int") or message.has(13) or message.has(3))
    require(inside, "a tensor lies outside the file, or in segments; save the model in one file", UnsupportedError)
    require(kind in ELEMENT_TYPES, f"a constant has the element type {kind}, neither float nor integer", UnsupportedError)
    code, field = ELEMENT_TYPES[kind]
    entries: Any
    if raw is None and field in (4, 10):
        entries = message.all(field, "float" if field == 4 else "double")
    else:
        if raw is None:
            integers = [v & (2**64 - 1) for v in message.all(11, "int")] if field == 11 else message.all(field, "int")
            raw = struct.pack(f"<{len(integers)}{code.replace('e', 'H')}", *integers)
        entries = struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)
    if kind == 16:  # bfloat16: the first half of a float32
        entries = struct.unpack(f"<{len(entries)}f", b"".join(struct.pack("<HH", 0, v) for v in entries))
    require(kind != 9 or max(entries, default=0) <= 1, "a boolean is neither 0 nor 1")
    require(kind != 13 or max(entries, default=0) < 2**63, "an integer does not fit 64 bits")
    require(all(map(isfinite, entries)), "a constant contains NaN or infinity")
    return Operand((len(entries),), entries).reshaped(shape)


def read_network(data: bytes) -> Any:
    """The network of an ONNX model: ``input_size``, ``output``, ``output_size``, ``primitives``, and ``folded``.

    Raises InputError where the bytes are no model, UnsupportedError where it uses what is not covered here.
    """
    model = Message(memoryview(data))
    versions = [opset.one(2, "int", 0) for opset in model.all(8, "message") if opset.one(1, "text", "") in ("", "ai.onnx")]
    if max(versions, default=1) < 7 or model.has(25):
        raise UnsupportedError("The model has an opset below 7, or functions of its own; export it again.")
    message = model.one(7, "message")
    tensors: dict[str, Any] = {}
    for initializer in message.all(5, "message"):
        _define(tensors, initializer.one(8, "text", ""), initializer)
    inputs = [value for value in message.all(11, "message") if value.one(1, "text", "") not in tensors]
    targets = [output.one(1, "text", "") for output in message.all(12, "message")]
    if len(inputs) != 1 or len(targets) != 1:
        raise UnsupportedError(f"The model has {len(inputs)} inputs and {len(targets)} outputs; it must have one of each.")
    graph = Graph(_shape_of(inputs[0]))
    _define(tensors, inputs[0].one(1, "text", ""), graph.input)
    for node in _needed([Node(part) for part in message.all(1, "message")], targets[0]):
        _define(tensors, node.results[0], _translated(graph, node, tensors))
    output = tensors.get(targets[0])
    if not isinstance(output, Operand) or output.value is None:
        raise InputError("The output of the model does not depend on its input; there is nothing to verify.")
    return SimpleNamespace(
        input_size=len(graph.input.entries),
        output=output.value,
        output_size=len(output.entries),
        primitives=graph.primitives,
        folded=graph.folded,
    )


def _define(tensors: dict[str, Any], name: str, tensor: Any) -> None:
    if name in tensors:
        raise InputError(f"The name '{shown(name)}' is defined twice; export the model again.")
    tensors[name] = tensor


def _shape_of(value: Message) -> Shape:
    """The shape of the model's input; a batch of unknown size is 1."""
    kind = value.one(2, "message")
    tensor = kind.one(1, "message")
    if tensor.one(1, "int") not in (1, 11) or any(kind.has(other) for other in (4, 5, 7, 8, 9)):
        raise UnsupportedError("The model's input is not a float32 or float64 tensor; export it as one.")
    dimensions = tensor.one(2, "message").all(1, "message")
    if any(size.has(1) and size.has(2) for size in dimensions):
        raise InputError("A dimension of the model's input has both a size and a name; export the model again.")
    sizes = [size.one(1, "int", -1) for size in dimensions]
    if len(sizes) > 1 and sizes[0] < 0:
        sizes[0] = 1
    if not sizes or min(sizes) < 1:
        raise UnsupportedError("The model's input has an unknown or empty shape; only the batch may be unknown.")
    return ranked(sizes)


def _needed(nodes: list[Node], target: str) -> list[Node]:
    """The nodes that the output depends on, in the model's order."""
    names, found = {target}, []
    for node in reversed(nodes):
        if not names.isdisjoint(node.results):
            found.append(node)
            names.update(node.sources)
    return found[::-1]


def _translated(graph: Graph, node: Node, tensors: dict[str, Any]) -> Operand:
    """The tensor that a node defines."""
    try:
        known = node.operator in OPERATORS and node.domain in ("", "ai.onnx")
        require(known, "its operator is not supported", UnsupportedError)
        require(not any(node.results[1:]), "a second result, as in training, is not supported", UnsupportedError)
        handler, defaults = OPERATORS[node.operator]
        inputs = [_resolved(tensors, name) for name in node.sources]
        return handler(graph, *inputs, **node.attributes(defaults))
    except InputError as error:
        raise type(error)(f"{node.where}: {error}.") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise InputError(f"{node.where} is malformed ({shown(error)}).") from None


def _resolved(tensors: dict[str, Any], name: str) -> Operand | None:
    require(not name or name in tensors, f"nothing before it defines its input '{shown(name)}'")
    if isinstance(tensors.get(name), Message):
        tensors[name] = read_tensor(tensors[name])
    return tensors[name] if name else None
