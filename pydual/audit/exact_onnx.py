"""The exact audit's own reader of ONNX models: PROOFS.md, "From ONNX to primitives". Standard library only.

``read_network`` gives a network in the form that ``exact_network`` reads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from math import isfinite, prod
from types import SimpleNamespace
from typing import Any

from pydual.audit.exact_operators import OPERATORS
from pydual.audit.exact_protobuf import Message, shown
from pydual.audit.exact_tensors import Graph, Operand, Shape, ranked
from pydual.errors import InputError, UnsupportedError

ELEMENT_TYPES = {  # number of a TensorProto.DataType: its struct code, and the field of its numbers
    **{1: ("f", 4), 11: ("d", 10), 7: ("q", 7), 12: ("I", 11), 13: ("Q", 11)},
    **{6: ("i", 5), 5: ("h", 5), 4: ("H", 5), 3: ("b", 5), 2: ("B", 5), 9: ("B", 5), 10: ("e", 5), 16: ("H", 5)},
}


class OnnxNode:
    """A node with its inputs, and the attributes that its translation has not asked for yet."""

    def __init__(self, message: Message) -> None:
        self.operator, self.domain, self.message = message.text(4), message.text(7), message
        self.sources, self.results = message.texts(1), message.texts(2)
        self.where = f"The node '{shown(message.text(3) or next(iter(self.results), ''))}' ({shown(self.operator)})"
        self.inputs: list[Operand | None] = []
        self.attributes: dict[str, Any] = {}

    def read_attributes(self) -> None:
        kinds: dict[int, Callable[[Message], Any]] = {
            1: lambda a: a.float32(2),
            2: lambda a: a.integer(3),
            3: lambda a: a.text(4),
            4: lambda a: read_tensor(a.message(5)),
            6: lambda a: a.floats(7),
            7: lambda a: a.integers(8),
        }
        for message in self.message.messages(5):
            name, kind = message.text(1), message.integer(20)
            if kind not in kinds or message.has(21):
                raise UnsupportedError(f"the attribute {shown(name)} is not supported")
            if name in self.attributes:
                raise InputError(f"the attribute {shown(name)} is given twice")
            self.attributes[name] = kinds[kind](message)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default; floats are float32 numbers."""
        value = self.attributes.pop(name, default)
        return struct.unpack("<f", struct.pack("<f", value))[0] if isinstance(value, float) else value

    def required(self, name: str) -> Any:
        if name not in self.attributes:
            raise InputError(f"the attribute {name} is missing")
        return self.attribute(name)

    def flag(self, name: str, default: int = 0) -> bool:
        value = self.attribute(name, default)
        if value not in (0, 1):
            raise InputError(f"the attribute {name} is {value}, neither 0 nor 1")
        return bool(value)

    def tensor(self, i: int) -> Operand:
        found = self.inputs[i] if i < len(self.inputs) else None
        if found is None:
            raise InputError(f"input {i} is missing")
        return found

    def value(self, i: int) -> Operand:
        if self.tensor(i).value is None:
            raise UnsupportedError(f"input {i} is constant")
        return self.tensor(i)

    def constant(self, i: int) -> Operand:
        if self.tensor(i).value is not None:
            raise UnsupportedError(f"input {i} depends on the network's input; it must be constant")
        return self.tensor(i)

    def optional(self, i: int) -> Operand | None:
        return self.constant(i) if i < len(self.inputs) and self.inputs[i] is not None else None

    def integers(self, i: int, name: str) -> list[int] | None:
        """Integers that newer versions of an operator take as input ``i`` and older ones as an attribute."""
        given = self.attribute(name)
        if given is None:
            found = self.optional(i)
            given = None if found is None else list(found.entries)
        if given is not None and not (isinstance(given, list) and all(type(v) is int for v in given)):
            raise InputError(f"'{name}' is no list of integers")
        return given

    def scalar(self, i: int, name: str) -> float | None:
        given = self.attribute(name)
        if given is None:
            found = self.optional(i)
            if found is None:
                return None
            (given,) = found.entries
        return float(given)


def read_tensor(message: Message) -> Operand:
    """A constant of a TensorProto: floats as the numbers they are, everything else as integers."""
    shape, kind, raw = ranked(message.integers(1)), message.integer(2), message.data(9)
    if message.integer(14) or message.has(13) or message.has(3):
        raise UnsupportedError("a tensor lies outside the file, or in segments; save the model in one file")
    if kind not in ELEMENT_TYPES:
        raise UnsupportedError(f"a constant has the element type {kind}, neither float nor integer")
    code, field = ELEMENT_TYPES[kind]
    entries: Any
    if raw is not None:
        if len(raw) % struct.calcsize(code):
            raise InputError("a tensor's data do not fit its type")
        entries = struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)
    elif field in (4, 10):
        entries = message.floats(field, code)
    else:
        entries = [v & (2**64 - 1) for v in message.integers(field)] if field == 11 else message.integers(field)
        entries = struct.unpack(f"<{len(entries)}{code}", struct.pack(f"<{len(entries)}{code.replace('e', 'H')}", *entries))
    if kind == 16:  # bfloat16: the first half of a float32
        entries = struct.unpack(f"<{len(entries)}f", b"".join(struct.pack("<HH", 0, v) for v in entries))
    if kind == 9 and any(v > 1 for v in entries) or kind == 13 and any(v >> 63 for v in entries):
        raise InputError("a boolean is neither 0 nor 1, or an integer does not fit 64 bits")
    if not all(map(isfinite, entries)):
        raise InputError("a constant contains NaN or infinity")
    return Operand((len(entries),), entries).reshaped(shape)


def read_network(data: bytes) -> Any:
    """The network of an ONNX model: ``input_size``, ``output``, ``output_size``, ``primitives``, and ``folded``.

    Raises InputError where the bytes are no model, UnsupportedError where it uses what is not covered here.
    """
    model = Message(memoryview(data))
    graph_message = model.message(7)
    versions = [opset.integer(2) for opset in model.messages(8) if opset.text(1) in ("", "ai.onnx")]
    if max(versions, default=1) < 7 or model.has(25):
        raise UnsupportedError("The model has an opset below 7, or functions of its own; export it again.")
    tensors: dict[str, Any] = {}
    for message in graph_message.messages(5):
        _define(tensors, message.text(8), message)
    source, shape = _input(graph_message, tensors)
    targets = [output.text(1) for output in graph_message.messages(12)]
    if len(targets) != 1:
        raise UnsupportedError(f"The model has {len(targets)} outputs; export it with the one that matters.")
    graph = Graph(shape)
    _define(tensors, source, graph.input)
    for node in _needed([OnnxNode(message) for message in graph_message.messages(1)], targets[0]):
        if node.operator not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise UnsupportedError(f"{node.where} has an operator that is not supported.")
        for name, result in _translated(graph, node, tensors):
            _define(tensors, name, result)
    output = tensors.get(targets[0])
    if not isinstance(output, Operand) or output.value is None:
        raise InputError("The output of the model does not depend on its input; there is nothing to verify.")
    return SimpleNamespace(
        input_size=prod(shape),
        output=output.value,
        output_size=prod(output.shape),
        primitives=graph.primitives,
        folded=graph.folded,
    )


def _define(tensors: dict[str, Any], name: str, tensor: Any) -> None:
    if name in tensors:
        raise InputError(f"The name '{shown(name)}' is defined twice; export the model again.")
    tensors[name] = tensor


def _input(graph: Message, initializers: dict[str, Any]) -> tuple[str, Shape]:
    """The name and shape of the model's only input that is no constant; a batch of unknown size is 1."""
    inputs = [value for value in graph.messages(11) if value.text(1) not in initializers]
    if len(inputs) != 1:
        raise UnsupportedError(f"The model has {len(inputs)} inputs; it must have one.")
    kind = inputs[0].message(2).message(1)
    if kind.integer(1) not in (1, 11) or any(inputs[0].message(2).has(other) for other in (4, 5, 7, 8, 9)):
        raise UnsupportedError("The model's input is not a float32 or float64 tensor; export it as one.")
    dimensions = kind.message(2).messages(1)
    if any(size.has(1) and size.has(2) for size in dimensions):
        raise InputError("A dimension of the model's input has both a size and a name; export the model again.")
    sizes = [size.integer(1) if size.has(1) else -1 for size in dimensions]
    if len(sizes) > 1 and sizes[0] < 0:
        sizes[0] = 1
    if not sizes or min(sizes) < 1:
        raise UnsupportedError("The model's input has an unknown or empty shape; only the batch may be unknown.")
    return inputs[0].text(1), ranked(sizes)


def _needed(nodes: list[OnnxNode], target: str) -> list[OnnxNode]:
    """The nodes that the output depends on, in the model's order."""
    names, found = {target}, []
    for node in reversed(nodes):
        if not names.isdisjoint(node.results):
            found.append(node)
            names.update(node.sources)
    return found[::-1]


def _translated(graph: Graph, node: OnnxNode, tensors: dict[str, Any]) -> Iterator[tuple[str, Operand]]:
    """The names and tensors that a node defines."""
    try:
        node.read_attributes()
        node.inputs = [_resolved(tensors, name) for name in node.sources]
        result = OPERATORS[node.operator](graph, node)
        if node.attributes:
            raise UnsupportedError(f"the attributes {shown(sorted(node.attributes))} are not supported")
    except InputError as error:
        raise type(error)(f"{node.where}: {error}.") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise InputError(f"{node.where} is malformed ({shown(error)}).") from None
    results = result if isinstance(result, list) else [result]
    return ((name, tensor) for name, tensor in zip(node.results, results, strict=False) if name)


def _resolved(tensors: dict[str, Any], name: str) -> Operand | None:
    if name and name not in tensors:
        raise InputError(f"nothing before it defines its input '{shown(name)}'")
    if isinstance(tensors.get(name), Message):
        tensors[name] = read_tensor(tensors[name])
    return tensors[name] if name else None
