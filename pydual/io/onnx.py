"""ONNX models as networks: one table from operators to their translation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pydual.errors import InputError, PydualError, UnsupportedError
from pydual.io.onnx_file import read_model
from pydual.io.onnx_node import Node, constant_array, node_name
from pydual.network import Network
from pydual.operators.add import add, subtract
from pydual.operators.average_pool import average_pool
from pydual.operators.batch_normalization import batch_normalization
from pydual.operators.clip import clip, hard_sigmoid
from pydual.operators.concat import concat
from pydual.operators.conv import conv
from pydual.operators.curve import sigmoid, tanh
from pydual.operators.expand import expand
from pydual.operators.gather import gather
from pydual.operators.gemm import gemm
from pydual.operators.matmul import matmul
from pydual.operators.max_pool import max_pool, maximum
from pydual.operators.multiply import divide, multiply, negate
from pydual.operators.pad import pad
from pydual.operators.positions import Tensor, check_entries
from pydual.operators.primitives import GraphBuilder, Value
from pydual.operators.reduce import reduce_max, reduce_mean, reduce_sum
from pydual.operators.relu import absolute, leaky_relu, relu
from pydual.operators.reshape import flatten, reshape, squeeze, unsqueeze
from pydual.operators.slice import split, strided_slice
from pydual.operators.transpose import transpose
from pydual.operators.weighted_sum import weighted_sum
from pydual.operators.windows import Window

OLDEST_OPSET = 7  # the first one with numpy's broadcasting
ELEMENT_TYPES = {1: "float32", 11: "float64"}  # onnx.TensorProto.FLOAT and DOUBLE


def load(path: str | os.PathLike[str]) -> Network:
    """The network in an ONNX file, ``.onnx`` or gzipped.

    The model must have one float32 or float64 input and one output; a first dimension of unknown size is the batch and
    is taken as 1. Weights are exact, arithmetic is real; Dropout and BatchNormalization act as at inference.
    Raises InputError where the file cannot be read or is malformed, UnsupportedError where it uses anything outside
    ``OPERATORS``.
    """
    model, data = read_model(path)
    try:
        return _network(model, data)
    except PydualError as error:
        raise type(error)(f"{path}: {error}") from None
    except Exception as error:  # a damaged file may break any step
        raise InputError(f"{path} is malformed ({_describe(error)}); export or download it again.") from None


Handler = Callable[[GraphBuilder, Node], "Tensor | list[Tensor]"]


def _network(model: Any, data: bytes) -> Network:
    graph_proto = model.graph
    _check_opset(model)
    tensors: dict[str, Any] = {}
    for initializer in graph_proto.initializer:
        _define(tensors, initializer.name, initializer)
    source, shape, element_type = _input(graph_proto, tensors)
    if len(graph_proto.output) != 1:
        names = [output.name for output in graph_proto.output]
        raise UnsupportedError(f"The model has {len(names)} outputs {names}; export it with the one that matters.")
    target = graph_proto.output[0].name
    graph = GraphBuilder(shape)
    _define(tensors, source, graph.input)
    nodes = _needed(graph_proto.node, target)
    _check_operators(nodes)
    for proto in nodes:
        _translate(graph, proto, tensors)
    output = tensors.get(target)
    if not isinstance(output, Value):
        raise InputError(f"The output '{target}' does not depend on the input; there is nothing to verify.")
    return Network.from_graph(graph, output, element_type, data)


def _check_opset(model: Any) -> None:
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    if version < OLDEST_OPSET:
        raise UnsupportedError(f"The model uses opset {version}; export it with opset {OLDEST_OPSET} or later.")
    if model.functions:
        raise UnsupportedError("The model defines functions of its own; export it with functions inlined.")
    if model.graph.sparse_initializer:
        raise UnsupportedError("The model has sparse initializers; export it with dense ones.")


def _define(tensors: dict[str, Any], name: str, tensor: Any) -> None:
    if name in tensors:
        raise InputError(f"The name '{name}' is defined twice; export the model again.")
    tensors[name] = tensor


def _input(graph: Any, initializers: dict[str, Any]) -> tuple[str, tuple[int, ...], str]:
    inputs = [value for value in graph.input if value.name not in initializers]
    if len(inputs) != 1:
        raise UnsupportedError(f"The model has {len(inputs)} inputs {[v.name for v in inputs]}; it must have one.")
    (value,) = inputs
    kind = value.type.tensor_type
    if kind.elem_type not in ELEMENT_TYPES:
        raise UnsupportedError(f"The input '{value.name}' is not a float32 or float64 tensor; export it as one.")
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    if len(sizes) > 1 and (sizes[0] is None or sizes[0] < 0):
        sizes[0] = 1
    if not sizes or any(n is None or n < 1 for n in sizes):
        shown = ["?" if n is None else n for n in sizes]
        raise UnsupportedError(f"The input '{value.name}' has the shape {shown}; only the batch may be unknown.")
    shape = tuple(n for n in sizes if n is not None)
    check_entries(shape)
    return value.name, shape, ELEMENT_TYPES[kind.elem_type]


def _needed(protos: Sequence[Any], target: str) -> list[Any]:
    """The nodes that the output depends on, in the model's order."""
    names, nodes = {target}, []
    for proto in reversed(protos):
        if names.intersection(proto.output):
            nodes.append(proto)
            names.update(proto.input)
    return nodes[::-1]


def _check_operators(protos: Sequence[Any]) -> None:
    for proto in protos:
        if proto.op_type not in OPERATORS or proto.domain not in ("", "ai.onnx"):
            operator = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
            raise UnsupportedError(
                f"The node '{node_name(proto)}' uses the operator {operator}, which is not supported; "
                f"supported are {', '.join(sorted(OPERATORS))}."
            )


def _translate(graph: GraphBuilder, proto: Any, tensors: dict[str, Any]) -> None:
    graph.name = node_name(proto)
    try:
        with np.errstate(all="ignore"):  # a network refuses weights that are not finite
            node = Node.of(proto, tensors)
            results = OPERATORS[proto.op_type](graph, node)
        if node.attributes:
            raise UnsupportedError(f"the attributes {sorted(node.attributes)} are not supported")
    except PydualError as error:
        raise type(error)(f"The node '{graph.name}' ({proto.op_type}): {error}.") from None
    except Exception as error:
        raise InputError(f"The node '{graph.name}' ({proto.op_type}) is malformed ({_describe(error)}).") from None
    results = results if isinstance(results, list) else [results]
    for name, result in zip(proto.output, results, strict=False):
        if name:
            _define(tensors, name, result if isinstance(result, Value) else np.asarray(result))


def _describe(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _window(node: Node, x: Value, kernel: Sequence[int], ceil_mode: bool = False) -> Window:
    window = Window.of(
        kernel, node.attribute("strides"), node.attribute("dilations"), node.attribute("pads"), ceil_mode=ceil_mode
    )
    mode = node.attribute("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return window.padded_same(x.shape[2:], extra_after=mode == "SAME_UPPER")
    if mode not in ("NOTSET", "VALID") or (mode == "VALID" and any(window.pads)):
        raise UnsupportedError(f"the padding mode {mode} is not supported with the pads {window.pads}")
    return window


def _conv(graph: GraphBuilder, node: Node) -> Tensor:
    x, weight = node.value(0), node.constant(1)
    if tuple(node.attribute("kernel_shape", weight.shape[2:])) != weight.shape[2:]:
        raise InputError(f"kernel_shape does not fit weights of shape {weight.shape}")
    window = _window(node, x, weight.shape[2:])
    return conv(graph, x, weight, node.optional(2), window=window, group=node.attribute("group", 1))


def _pool_window(node: Node, x: Value) -> Window:
    return _window(node, x, node.required("kernel_shape"), node.flag("ceil_mode"))


def _max_pool(graph: GraphBuilder, node: Node) -> Tensor:
    node.attribute("storage_order")  # speaks of the second output, the indices, which is not supported
    return max_pool(graph, node.value(0), window=_pool_window(node, node.value(0)))


def _average_pool(graph: GraphBuilder, node: Node) -> Tensor:
    count_padding = node.flag("count_include_pad")
    return average_pool(graph, node.value(0), window=_pool_window(node, node.value(0)), count_padding=count_padding)


def _gemm(graph: GraphBuilder, node: Node) -> Tensor:
    return gemm(
        graph,
        node.tensor(0),
        node.tensor(1),
        node.inputs[2] if len(node.inputs) > 2 else None,
        alpha=node.attribute("alpha", 1.0),
        beta=node.attribute("beta", 1.0),
        trans_a=node.flag("transA"),
        trans_b=node.flag("transB"),
    )


def _batch_normalization(graph: GraphBuilder, node: Node) -> Tensor:
    node.attribute("momentum")
    training = node.flag("training_mode") or len(node.proto.output) > 1  # before opset 14, more outputs say so
    if training or node.attribute("spatial", 1) != 1:
        raise UnsupportedError("training mode and spatial=0 are not supported; export the model for inference")
    gamma, beta, mean, variance = (node.constant(i) for i in (1, 2, 3, 4))
    return batch_normalization(graph, node.tensor(0), gamma, beta, mean, variance, node.attribute("epsilon", 1e-5))


def _dropout(graph: GraphBuilder, node: Node) -> Tensor:
    node.attribute("ratio"), node.attribute("seed")
    training = node.optional(2)
    if training is not None and training.any():
        raise UnsupportedError("training mode is not supported; export the model for inference")
    return node.tensor(0)


def _constant(graph: GraphBuilder, node: Node) -> Tensor:
    if len(node.attributes) == 1:
        for name, kind in (("value_float", float), ("value_floats", float), ("value_int", int), ("value_ints", int)):
            if name in node.attributes:
                return np.array(node.attribute(name), dtype=np.float64 if kind is float else np.int64)
        if "value" in node.attributes:
            return constant_array(node.attribute("value"))
    raise UnsupportedError("only tensors, numbers and lists of numbers are supported as constants")


def _constant_of_shape(graph: GraphBuilder, node: Node) -> Tensor:
    shape = tuple(node.constant(0).ravel().tolist())
    check_entries(shape)
    fill = node.attribute("value")
    return np.zeros(shape) if fill is None else np.broadcast_to(constant_array(fill).ravel(), shape)


def _cast(graph: GraphBuilder, node: Node) -> Tensor:
    x, kind = node.tensor(0), node.required("to")
    node.attribute("saturate")
    if kind in (1, 11):  # real arithmetic knows one kind of float
        return x if isinstance(x, Value) else x.astype(np.float64)
    if not isinstance(x, Value) and x.dtype.kind == "i" and kind == 7:
        return x
    raise UnsupportedError("only casts to float32 and float64 are supported, and those of integer constants to int64")


def _shape(graph: GraphBuilder, node: Node) -> Tensor:
    start, end = node.attribute("start", 0), node.attribute("end")
    return np.array(node.tensor(0).shape[start:end], dtype=np.int64)


def _reshape(graph: GraphBuilder, node: Node) -> Tensor:
    shape = node.constant(1).ravel().tolist()
    return reshape(graph, node.tensor(0), shape, copy_zeros=not node.flag("allowzero"))


def _slice(graph: GraphBuilder, node: Node) -> Tensor:
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    if starts is None or ends is None:
        raise InputError("starts or ends are missing")
    return strided_slice(graph, node.tensor(0), starts, ends, node.integers(3, "axes"), node.integers(4, "steps"))


def _gather(graph: GraphBuilder, node: Node) -> Tensor:
    return gather(graph, node.tensor(0), node.constant(1), node.attribute("axis", 0))


def _squeeze(graph: GraphBuilder, node: Node) -> Tensor:
    axes = node.integers(1, "axes")
    if axes == []:  # none for the reference implementation, all for onnxruntime
        raise UnsupportedError("the axes are an empty list; name them, or leave them out")
    return squeeze(graph, node.tensor(0), axes)


def _split(graph: GraphBuilder, node: Node) -> list[Tensor]:
    x, axis = node.tensor(0), node.attribute("axis", 0)
    pieces = node.attribute("num_outputs", len(node.proto.output))
    sizes = node.integers(1, "split")
    if sizes is None:
        n, chunk = x.shape[axis], -(-x.shape[axis] // pieces)
        sizes = [min(chunk, n - start) for start in range(0, n, chunk)]
    if len(sizes) != len(node.proto.output):
        raise InputError(f"the sizes {sizes} do not fit {len(node.proto.output)} outputs")
    return split(graph, x, sizes, axis)


def _pad(graph: GraphBuilder, node: Node) -> Tensor:
    x, pads = node.tensor(0), node.integers(1, "pads")
    fill, axes = node.scalar(2, "value"), node.integers(3, "axes")
    if pads is None or node.attribute("mode", "constant") != "constant":
        raise UnsupportedError("only constant pads in the mode 'constant' are supported")
    axes = list(range(len(x.shape))) if axes is None else axes
    widths = np.zeros((2, len(x.shape)), dtype=np.int64)
    widths[:, axes] = np.reshape(pads, (2, len(axes)))
    before, after = widths.tolist()
    return pad(graph, x, before, after, fill or 0.0)


def _reduce(operator: Callable[..., Value]) -> Handler:
    def handle(graph: GraphBuilder, node: Node) -> Tensor:
        axes, keep_axes = node.integers(1, "axes"), node.flag("keepdims", 1)
        if node.flag("noop_with_empty_axes") and not axes:
            return node.tensor(0)
        return operator(graph, node.value(0), axes or None, keep_axes)

    return handle


def _reduce_spatial(operator: Callable[..., Value]) -> Handler:
    return lambda graph, node: operator(graph, node.value(0), range(2, len(node.value(0).shape)), True)


def _unary(operator: Callable[[GraphBuilder, Tensor], Tensor]) -> Handler:
    return lambda graph, node: operator(graph, node.tensor(0))


def _binary(operator: Callable[[GraphBuilder, Tensor, Tensor], Tensor]) -> Handler:
    return lambda graph, node: operator(graph, node.tensor(0), node.tensor(1))


def _maximum(graph: GraphBuilder, node: Node) -> Tensor:
    result = node.tensor(0)
    for i in range(1, len(node.inputs)):
        result = maximum(graph, result, node.tensor(i))
    return result


OPERATORS: dict[str, Handler] = {
    "Abs": _unary(absolute),
    "Add": _binary(add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": lambda graph, node: clip(graph, node.tensor(0), node.scalar(1, "min"), node.scalar(2, "max")),
    "Concat": lambda graph, node: concat(graph, [node.tensor(i) for i in range(len(node.inputs))], node.required("axis")),
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Div": _binary(divide),
    "Dropout": _dropout,
    "Expand": lambda graph, node: expand(graph, node.tensor(0), node.constant(1).ravel().tolist()),
    "Flatten": lambda graph, node: flatten(graph, node.tensor(0), node.attribute("axis", 1)),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _reduce_spatial(reduce_mean),
    "GlobalMaxPool": _reduce_spatial(reduce_max),
    "HardSigmoid": lambda graph, node: hard_sigmoid(
        graph, node.tensor(0), node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    ),
    "Identity": lambda graph, node: node.tensor(0),
    "LeakyRelu": lambda graph, node: leaky_relu(graph, node.tensor(0), node.attribute("alpha", 0.01)),
    "MatMul": _binary(matmul),
    "Max": _maximum,
    "MaxPool": _max_pool,
    "Mul": _binary(multiply),
    "Neg": _unary(negate),
    "PRelu": lambda graph, node: leaky_relu(graph, node.tensor(0), node.constant(1)),
    "Pad": _pad,
    "ReduceMax": _reduce(reduce_max),
    "ReduceMean": _reduce(reduce_mean),
    "ReduceSum": _reduce(reduce_sum),
    "Relu": _unary(relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _unary(sigmoid),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _binary(subtract),
    "Sum": lambda graph, node: weighted_sum(graph, [(node.tensor(i), 1) for i in range(len(node.inputs))]),
    "Tanh": _unary(tanh),
    "Transpose": lambda graph, node: transpose(graph, node.tensor(0), node.attribute("perm")),
    "Unsqueeze": lambda graph, node: unsqueeze(graph, node.tensor(0), node.integers(1, "axes") or []),
}
