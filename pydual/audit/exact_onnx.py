"""The exact audit's own reader of ONNX models: PROOFS.md, "From ONNX to primitives". Standard library only.

A file is a message, a sequence of fields: a key ``8 * number + wire type``, then a value that the wire type tells the length
of (0: varint, 1: eight bytes, 2: a length and so many bytes, 5: four bytes). What two readers might understand differently
is refused: a field of another wire type than its own, and a second value of a field that has one.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any

from pydual.audit.exact_operators import OPERATORS, Operators, Shape, Tensor, require
from pydual.errors import InputError, UnsupportedError

MAX_FILE_BYTES = 2**25  # after decompression
MAX_INTEGERS = 2**19  # in the messages of a file: keys, lengths and values

# of each message the fields that are read: number, name, and kind; with a star: repeated; "refused": it must not occur
MESSAGES = {
    "Model": "7 graph Graph, 8 opsets Opset*, 25 functions refused",
    "Opset": "1 domain text, 2 version int",
    "Graph": "1 nodes Node*, 5 initializers Tensor*, 11 inputs Value*, 12 outputs Value*, 15 sparse_initializer refused",
    "Node": "1 inputs text*, 2 outputs text*, 3 name text, 4 operator text, 5 attributes Attribute*, 7 domain text",
    "Attribute": "1 name text, 2 f float, 3 i int, 4 s text, 5 t Tensor, 7 floats float*, 8 ints int*, 20 type int, "
    "21 reference refused",
    "Tensor": "1 dims int*, 2 element int, 3 segment refused, 4 float_data float*, 5 int32_data int*, 7 int64_data int*, "
    "8 name text, 9 raw_data bytes, 10 double_data double*, 13 external_data refused, 14 location int",
    "Value": "1 name text, 2 type Type",
    "Type": "1 tensor TensorType, 4 sequence refused, 5 map refused, 7 opaque refused, 8 sparse refused, 9 optional refused",
    "TensorType": "1 element int, 2 shape Shape",
    "Shape": "1 dims Dimension*",
    "Dimension": "1 size size, 2 parameter text",
}
SCHEMAS = {
    message: {int(at): (field, kind) for at, field, kind in map(str.split, fields.split(", "))}
    for message, fields in MESSAGES.items()
}
WIRES = {"int": 0, "size": 0, "double": 1, "float": 5}  # of all other kinds: 2
DEFAULTS = {"int": 0, "size": -1, "float": 0.0, "text": "", "bytes": b""}
ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints"}  # of each type of attribute the field of its value


def read_input_file(path: str) -> bytes:
    """The bytes of a file, decompressed if gzipped. Raises InputError where that fails, or they are too many."""
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = (gzip.GzipFile(fileobj=file) if zipped else file).read(MAX_FILE_BYTES + 1)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); check the path, or compress it again.") from None
    require(len(data) <= MAX_FILE_BYTES, f"{path} has more than {MAX_FILE_BYTES} bytes; use the installed package for it")
    return data


def shown(text: object) -> str:
    """A few words of a file, on one line of ASCII, for a message."""
    return " ".join(str(text)[:60].split()).encode("ascii", "backslashreplace").decode()


@contextmanager
def named(what: str) -> Iterator[None]:
    """Errors of ours say where they come from, and others that a damaged file causes become ours."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{what}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise InputError(f"{what} is malformed, or has something that is not supported ({shown(error)}).") from None


def read_message(data: memoryview, message: str, budget: Iterator[int]) -> SimpleNamespace:
    """A message of ``SCHEMAS``, its fields by name; the budget counts the integers that are read."""
    found: dict[str, Any] = {name: [] for name, _ in SCHEMAS[message].values()}
    for number, wire, value in _fields(data, budget):
        name, kind = SCHEMAS[message].get(number, ("", ""))
        require(kind != "refused", f"a {message} with the field '{name}' is not supported", UnsupportedError)
        if name:
            found[name] += _values(value, wire, kind, budget)
    for name, kind in SCHEMAS[message].values():
        if not kind.endswith("*"):
            (found[name],) = found[name] or [DEFAULTS.get(kind)]
    return SimpleNamespace(**found)


def _fields(data: memoryview, budget: Iterator[int]) -> Iterator[tuple[int, int, Any]]:
    """The number, the wire type and the value of each field: an integer or bytes."""
    at = 0
    while at < len(data):
        value: Any
        key, at = _varint(data, at, budget)
        value, at = _varint(data, at, budget) if key & 7 in (0, 2) else ({1: 8, 5: 4}[key & 7], at)
        if key & 7:
            value, at = data[at : at + value], at + value
        require(7 < key < 1 << 32 and at <= len(data), "a field has no number or no end")  # some cut a key to 32 bits
        yield key >> 3, key & 7, value


def _values(value: Any, wire: int, kind: str, budget: Iterator[int]) -> list[Any]:
    """The values in a field; repeated numbers also come packed, several in one field."""
    one = kind.rstrip("*")
    fits = wire == WIRES.get(one, 2) or (wire == 2 and one != kind)
    require(fits, f"a field of the kind {one} has the wire type {wire}")
    if one in SCHEMAS:
        return [read_message(value, one, budget)]
    if one in ("float", "double"):
        return [number for (number,) in struct.iter_unpack(f"<{one[0]}", value)]
    if one in ("int", "size"):
        numbers, at = [value] if wire == 0 else [], 0
        while wire == 2 and at < len(value):
            number, at = _varint(value, at, budget)
            numbers.append(number)
        return [number - (1 << 64) if number >> 63 else number for number in numbers]
    return [bytes(value).decode() if one == "text" else value]


def _varint(data: memoryview, at: int, budget: Iterator[int]) -> tuple[int, int]:
    """An unsigned 64-bit integer, seven bits a byte, the least first; and where it ends."""
    require(next(budget) < MAX_INTEGERS, f"there are more than {MAX_INTEGERS} integers")
    result = 0
    for shift, byte in enumerate(data[at : at + 10]):
        result |= (byte & 127) << (7 * shift)
        if byte < 128 and result < 1 << 64:
            return result, at + shift + 1
    raise InputError("An integer has no end.")


@named("The model")
def read_network(data: bytes) -> Any:
    """The network of an ONNX model, in the form that ``exact_network`` reads. Raises InputError."""
    model = read_message(memoryview(data), "Model", count())
    version = max([opset.version for opset in model.opsets if opset.domain in ("", "ai.onnx")], default=1)
    require(version >= 7, "its opset is below 7; export it again", UnsupportedError)
    constants = {initializer.name for initializer in model.graph.initializers}
    inputs = [value for value in model.graph.inputs if value.name not in constants]
    one = len(inputs) == len(model.graph.outputs) == 1
    require(one, "it has not one input and one output; export it with those that matter", UnsupportedError)
    graph, target = Operators(_shape_of(inputs[0].type.tensor)), model.graph.outputs[0].name
    tensors: dict[str, Any] = {inputs[0].name: graph.input}
    for initializer in model.graph.initializers:
        _define(tensors, initializer.name, graph.constant(initializer))
    for node in _needed(model.graph.nodes, target):
        _define(tensors, node.outputs[0], _translated(graph, node, tensors))
    output = tensors[target]
    require(output.value is not None, "its output does not depend on its input")
    graph.output, graph.output_size = output.value, len(output.entries)
    return graph


def _define(tensors: dict[str, Tensor], name: str, tensor: Tensor) -> None:
    require(name != "" and name not in tensors, f"the name '{shown(name)}' is empty, or defined twice; export it again")
    tensors[name] = tensor


def _shape_of(tensor: Any) -> Shape:
    """The shape of the model's input; a batch of unknown size is 1."""
    sizes = [0 if size.parameter and size.size != -1 else size.size for size in tensor.shape.dims]
    if len(sizes) > 1 and sizes[0] < 0:
        sizes[0] = 1
    known = tensor.element in (1, 11) and len(sizes) <= 32 and min(sizes, default=0) > 0
    require(known, "its input is no float32 or float64 tensor whose sizes are known but for the batch", UnsupportedError)
    return tuple(sizes)


def _needed(nodes: list[Any], target: str) -> list[Any]:
    """The nodes that the output depends on, in the model's order."""
    names, found = {target}, []
    for node in reversed(nodes):
        if not names.isdisjoint(node.outputs):
            found.append(node)
            names.update(node.inputs)
    return found[::-1]


def _translated(graph: Operators, node: Any, tensors: dict[str, Tensor]) -> Tensor:
    """The tensor that a node defines."""
    with named(f"The node '{shown(node.name or ''.join(node.outputs[:1]))}' ({shown(node.operator)})"):
        known = node.operator in OPERATORS and node.domain in ("", "ai.onnx")
        require(known, "its operator is not supported", UnsupportedError)
        require(not any(node.outputs[1:]), "a second result, as in training, is not supported", UnsupportedError)
        inputs = [tensors[name] if name else None for name in node.inputs]
        return OPERATORS[node.operator](graph, *inputs, **_attributes(node))


def _attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node, of the same types as their defaults."""
    values = [getattr(attribute, ATTRIBUTES[attribute.type]) for attribute in node.attributes]
    found = {a.name: tuple(v) if isinstance(v, list) else v for a, v in zip(node.attributes, values, strict=True)}
    require(len(found) == len(values) and () not in found.values(), "an attribute is an empty list, or given twice")
    for name, default in (OPERATORS[node.operator].__kwdefaults__ or {}).items():
        value = found.get(name, default)
        flag = type(default) is bool and type(value) is int and value in (0, 1)
        fits = flag or default is None or type(value) is type(default)
        require(fits, f"the attribute {name} has a value of another kind")
    return found
