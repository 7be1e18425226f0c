"""The exact audit's own reader of ONNX models: PROOFS.md, "From ONNX to primitives". Standard library only."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

from pydual.audit.exact_operators import OPERATORS, Operators
from pydual.audit.exact_protobuf import named, read_message, shown
from pydual.audit.exact_tensors import Shape, Tensor, require
from pydual.errors import InputError, UnsupportedError

ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints"}  # of each type of attribute the field of its value


@named("The model")
def read_network(data: bytes) -> Any:
    """The network of an ONNX model, in the form that ``exact_network`` reads; and ``output_size``, ``folded``.

    Raises InputError where the bytes are no model, UnsupportedError where it uses what is not covered here.
    """
    model = read_message(memoryview(data), "Model", count())
    version = max([opset.version for opset in model.opsets if opset.domain in ("", "ai.onnx")], default=1)
    require(version >= 7, "its opset is below 7; export it again", UnsupportedError)
    tensors: dict[str, Any] = {}
    for initializer in model.graph.initializers:
        _define(tensors, initializer.name, initializer)
    inputs = [value for value in model.graph.inputs if value.name not in tensors]
    one = len(inputs) == len(model.graph.outputs) == 1
    require(one, "it has not one input and one output; export it with those that matter", UnsupportedError)
    target = model.graph.outputs[0].name
    graph = Operators(_shape_of(inputs[0].type.tensor))
    _define(tensors, inputs[0].name, graph.input)
    for node in _needed(model.graph.nodes, target):
        _define(tensors, node.outputs[0], _translated(graph, node, tensors))
    output = tensors.get(target)
    if not isinstance(output, Tensor) or output.value is None:
        raise InputError("Its output does not depend on its input; there is nothing to verify.")
    graph.output, graph.output_size = output.value, len(output.entries)
    return graph


def _define(tensors: dict[str, Any], name: str, tensor: Any) -> None:
    require(name != "" and name not in tensors, f"the name '{shown(name)}' is empty, or defined twice; export it again")
    tensors[name] = tensor


def _shape_of(tensor: Any) -> Shape:
    """The shape of the model's input; a batch of unknown size is 1."""
    sizes = [dimension.size for dimension in tensor.shape.dims]
    ambiguous = any(dimension.parameter for dimension in tensor.shape.dims if dimension.size != -1)
    if len(sizes) > 1 and sizes[0] < 0:
        sizes[0] = 1
    known = tensor.element in (1, 11) and min(sizes, default=0) > 0 and not ambiguous
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


def _translated(graph: Operators, node: Any, tensors: dict[str, Any]) -> Tensor:
    """The tensor that a node defines."""
    with named(f"The node '{shown(node.name or ''.join(node.outputs[:1]))}' ({shown(node.operator)})"):
        known = node.operator in OPERATORS and node.domain in ("", "ai.onnx")
        require(known, "its operator is not supported", UnsupportedError)
        require(not any(node.outputs[1:]), "a second result, as in training, is not supported", UnsupportedError)
        inputs = [_resolved(graph, tensors, name) for name in node.inputs]
        return OPERATORS[node.operator](graph, *inputs, **_attributes(node))


def _resolved(graph: Operators, tensors: dict[str, Any], name: str) -> Tensor | None:
    require(not name or name in tensors, f"nothing before it defines its input '{shown(name)}'")
    if isinstance(tensors.get(name), SimpleNamespace):
        tensors[name] = graph.constant(tensors[name])
    return tensors.get(name)


def _attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node, of the same types as their defaults."""
    values = [getattr(attribute, ATTRIBUTES[attribute.type]) for attribute in node.attributes]
    found = {a.name: tuple(v) if isinstance(v, list) else v for a, v in zip(node.attributes, values, strict=True)}
    require(len(found) == len(values), "an attribute is given twice")
    for name, default in (OPERATORS[node.operator].__kwdefaults__ or {}).items():
        value = found.get(name, default)
        flag = type(default) is bool and type(value) is int and value in (0, 1)
        fits = flag or default is None or type(value) is type(default)
        require(fits, f"the attribute {name} has a value of another kind")
    return found
