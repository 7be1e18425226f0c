"""The ONNX operators in primitives, for the exact audit: PROOFS.md, "From ONNX to primitives". Standard library only.

A handler takes the graph under construction and a node (``exact_onnx.OnnxNode``), and returns the tensor that the node
defines, or a list of them. A refusal is the middle of a sentence; whoever calls names the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod, sqrt
from operator import mul, truediv
from types import SimpleNamespace
from typing import Any

from pydual.audit.exact_tensors import Graph, Operand, broadcast, offsets, ranked, scalar, split_up, spread
from pydual.audit.exact_windows import (
    PADDING,
    average_pool,
    convolution,
    max_pool,
    reduction,
    reduction_over_space,
    row_maxima,
    row_means,
    row_sums,
)
from pydual.errors import InputError, UnsupportedError


def _maximum(graph: Graph, a: Operand, b: Operand) -> Operand:
    return graph.weighted_sum((b, 1), (graph.relu(graph.weighted_sum((a, 1), (b, -1))), 1))


def _max(graph: Graph, node: Any) -> Operand:
    result = node.tensor(0)
    for i in range(1, len(node.inputs)):
        result = _maximum(graph, result, node.tensor(i))
    return result


def _multiply(graph: Graph, node: Any) -> Operand:
    a, b = node.tensor(0), node.tensor(1)
    if b.value is not None:
        a, b = b, a
    if b.value is not None:
        raise UnsupportedError("the product of two values that depend on the input is not piecewise linear")
    return graph.weighted_sum((a, b))


def _divide(graph: Graph, node: Any) -> Operand:
    a, b = node.tensor(0), node.constant(1)
    if a.value is not None:
        return graph.weighted_sum((a, graph.constant(b.shape, [1.0 / v for v in b.entries])))
    whole = int in map(type, a.entries[:1]) and int in map(type, b.entries[:1])
    if whole and any(abs(v) > 2**53 for v in (*a.entries, *b.entries)):
        raise UnsupportedError("a quotient of integers above 2^53")
    graph.folded |= not whole
    return graph.fold((lambda p, q: int(p / q)) if whole else truediv, a, b)


def _leaky_relu(graph: Graph, x: Operand, slope: Operand) -> Operand:
    if broadcast(slope.shape, x.shape) != x.shape:
        raise InputError(f"slopes of shape {slope.shape} do not fit a tensor of shape {x.shape}")
    other = graph.constant(slope.shape, [1.0 - v for v in slope.entries])
    return graph.weighted_sum((x, slope), (graph.relu(x), other))


def _clip(graph: Graph, x: Operand, lower: float | None, upper: float | None) -> Operand:
    if lower is not None and upper is not None and lower > upper:
        raise InputError(f"the interval [{lower}, {upper}] is empty")
    terms = [(x, 1)]
    if lower is not None:
        terms = [(scalar(lower), 1), (graph.relu(graph.weighted_sum((x, 1), (scalar(lower), -1))), 1)]
    if upper is not None:
        terms.append((graph.relu(graph.weighted_sum((x, 1), (scalar(upper), -1))), -1))
    return graph.weighted_sum(*terms)


def _hard_sigmoid(graph: Graph, node: Any) -> Operand:
    slope, offset = scalar(node.attribute("alpha", 0.2)), scalar(node.attribute("beta", 0.5))
    return _clip(graph, graph.weighted_sum((graph.weighted_sum((node.tensor(0), slope)), 1), (offset, 1)), 0.0, 1.0)


def _batch_normalization(graph: Graph, node: Any) -> Operand:
    node.attribute("momentum")
    if node.flag("training_mode") or len(node.results) > 1 or node.attribute("spatial", 1) != 1:
        raise UnsupportedError("training mode and spatial=0 are not supported; export the model for inference")
    x, epsilon = node.tensor(0), node.attribute("epsilon", 1e-5)
    parameters = [node.constant(i) for i in (1, 2, 3, 4)]
    if len(x.shape) < 2 or any(p.shape != x.shape[1:2] for p in parameters):
        raise InputError(f"the parameters do not have one number for each channel of an input of shape {x.shape}")
    graph.folded = True
    shape = (-1, *(1 for _ in x.shape[2:]))
    gamma, beta, mean, variance = (p.entries for p in parameters)
    scale = [g / sqrt(v + epsilon) for g, v in zip(gamma, variance, strict=True)]
    shift = [b - m * s for b, m, s in zip(beta, mean, scale, strict=True)]
    shape = (len(scale), *shape[1:])
    return graph.weighted_sum((x, graph.constant(shape, scale)), (graph.constant(shape, shift), 1))


def _matmul(graph: Graph, a: Operand, b: Operand, offset: Operand) -> Operand:
    """``a @ b + offset`` with the broadcasting of numpy, where one of a, b is constant."""
    if (a.value is None) == (b.value is None):
        raise UnsupportedError("a matrix product needs one constant factor and one that depends on the input")
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if not a.shape or not b.shape or left[-1] != right[-2]:
        raise InputError(f"the shapes {a.shape} and {b.shape} do not fit a matrix product")
    batch, m, k, n = broadcast(left[:-2], right[:-2]), left[-2], left[-1], right[-1]
    a_axes, b_axes = spread(left, (*batch, m, k)), spread(right, (*batch, k, n))
    a_places = graph.outer([*a_axes[:-1], [0] * n, a_axes[-1]])
    b_places = graph.outer([*b_axes[:-2], [0] * m, b_axes[-1], b_axes[-2]])
    x, columns, w, places = (b, b_places, a, a_places) if a.value is None else (a, a_places, b, b_places)
    weights = [w.entries[i] for i in places]
    shape = (*batch, *a.shape[-2:-1], *(b.shape[-1:] if len(b.shape) > 1 else ()))
    spread(offset.shape, shape)  # refuses an offset that is larger
    return graph.affine(
        [(x, zip(split_up(columns, k), split_up(weights, k), strict=True))], graph.spread(offset, shape), shape
    )


def _gemm(graph: Graph, node: Any) -> Operand:
    a, b = (_transposed(graph, node.tensor(i)) if node.flag(f) else node.tensor(i) for i, f in enumerate(("transA", "transB")))
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if len(node.inputs) < 3 or node.inputs[2] is None:
        node.inputs[2:], beta = [scalar(0.0)], 1.0
    c = node.tensor(2)
    graph.folded |= alpha not in (-1, 1) or (c.value is None and beta not in (-1, 0, 1))
    if b.value is None:
        b = graph.fold(mul, b, scalar(alpha))
    elif a.value is None:
        a = graph.fold(mul, a, scalar(alpha))
    if c.value is not None:
        return graph.weighted_sum((_matmul(graph, a, b, scalar(0.0)), 1), (c, scalar(beta)))
    return _matmul(graph, a, b, graph.fold(mul, c, scalar(beta)))


def _transposed(graph: Graph, x: Operand, order: Sequence[int] | None = None) -> Operand:
    axes = offsets(x.shape)
    order = list(range(len(axes)))[::-1] if order is None else order
    if sorted(order) != list(range(len(axes))):
        raise InputError(f"{order} is no order of the axes of a tensor of shape {x.shape}")
    return graph.pick(x, [axes[axis] for axis in order])


def _concat(graph: Graph, node: Any) -> Operand:
    parts = [node.tensor(i) for i in range(len(node.inputs))]
    axis = _axis(parts[0], node.required("axis"))
    if len({(*part.shape[:axis], None, *part.shape[axis + 1 :]) for part in parts}) > 1:
        raise InputError("the parts differ in shape on another axis than theirs")
    shape = (*parts[0].shape[:axis], sum(part.shape[axis] for part in parts), *parts[0].shape[axis + 1 :])

    before, across = prod(shape[:axis]), prod(shape[axis:])
    widths = [prod(part.shape[axis:]) for part in parts]
    starts = [end - width for end, width in zip(accumulate(widths), widths, strict=True)]

    def put(number: int, target: list[Any]) -> list[Any]:
        """The entries of a part at their places in the result."""
        start, width = starts[number], widths[number]
        for i in range(before):
            entries = parts[number].entries[i * width : (i + 1) * width]
            target[i * across + start : i * across + start + width] = entries
        return target

    graph.spend(prod(shape))
    bias: list[Any] = [0.0] * prod(shape)
    terms = []
    for number, part in enumerate(parts):
        if part.value is None:
            bias = put(number, bias)
        else:
            graph.spend(prod(shape))
            columns = put(number, [PADDING] * prod(shape))
            terms.append((part, (((column,), (1.0,)) for column in columns)))
    return graph.affine(terms, bias, shape) if terms else graph.constant(shape, bias)


def _axis(x: Operand, axis: int) -> int:
    return range(len(x.shape))[axis]


def _constant(graph: Graph, node: Any) -> Operand:
    kinds = {"value_float", "value_floats", "value_int", "value_ints", "value"}
    if len(node.attributes) != 1 or not kinds.issuperset(node.attributes):
        raise UnsupportedError("only tensors, numbers and lists of numbers are supported as constants")
    value = node.attribute(*node.attributes)
    if isinstance(value, Operand):
        return value
    return graph.constant((len(value),), value) if isinstance(value, list) else graph.constant((), [value])


def _constant_of_shape(graph: Graph, node: Any) -> Operand:
    shape, fill = ranked(node.constant(0).entries), node.attribute("value")
    if fill is not None and len(fill.entries) != 1:
        raise InputError("the value is no single number")
    graph.spend(prod(shape))
    return graph.constant(shape, [0.0 if fill is None else fill.entries[0]] * prod(shape))


def _cast(graph: Graph, node: Any) -> Operand:
    x, kind = node.tensor(0), node.required("to")
    node.attribute("saturate")
    if kind in (1, 11):
        return x if x.value is not None else graph.constant(x.shape, list(map(float, x.entries)))
    if kind == 7 and x.value is None and float not in map(type, x.entries[:1]):
        return x
    raise UnsupportedError("only casts to float32 and float64 are supported, and those of integer constants to int64")


def _curve(kind: str) -> Callable[[Graph, Any], Operand]:
    def handle(graph: Graph, node: Any) -> Operand:
        x = node.value(0)
        return graph.new(x.shape, SimpleNamespace(kind=kind, source=x.value, size=prod(x.shape)))

    return handle


def _dropout(graph: Graph, node: Any) -> Operand:
    node.attribute("ratio"), node.attribute("seed")
    training = node.optional(2)
    if training is not None and any(training.entries):
        raise UnsupportedError("training mode is not supported; export the model for inference")
    return node.tensor(0)


def _expand(graph: Graph, node: Any) -> Operand:
    x = node.tensor(0)
    return graph.pick(x, spread(x.shape, broadcast(x.shape, ranked(node.constant(1).entries))))


def _flatten(graph: Graph, node: Any) -> Operand:
    x, axis = node.tensor(0), node.attribute("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    if not 0 <= axis <= len(x.shape):
        raise InputError(f"the axis {axis} is none of a tensor of shape {x.shape}")
    return x.reshaped((prod(x.shape[:axis]), prod(x.shape[axis:])))


def _gather(graph: Graph, node: Any) -> Operand:
    x, indices = node.tensor(0), node.constant(1)
    axes, axis = offsets(x.shape), _axis(x, node.attribute("axis", 0))
    axes[axis] = [axes[axis][i] for i in indices.entries]
    return graph.pick(x, axes).reshaped((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _reshape(graph: Graph, node: Any) -> Operand:
    x, keep = node.tensor(0), not node.flag("allowzero")
    sizes = [x.shape[i] if n == 0 and keep else n for i, n in enumerate(ranked(node.constant(1).entries))]
    if sizes.count(-1) == 1:
        known = prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = prod(x.shape) // known
    return x.reshaped(sizes)


def _shape(graph: Graph, node: Any) -> Operand:
    start, end = node.attribute("start", 0), node.attribute("end")
    sizes = node.tensor(0).shape[start:end]
    return graph.constant((len(sizes),), sizes)


def _slice(graph: Graph, node: Any) -> Operand:
    x, starts, ends = node.tensor(0), node.integers(1, "starts"), node.integers(2, "ends")
    if starts is None or ends is None:
        raise InputError("starts or ends are missing")
    axes, steps = node.integers(3, "axes"), node.integers(4, "steps")
    numbers = [_axis(x, axis) for axis in (range(len(starts)) if axes is None else axes)]
    if len(set(numbers)) < len(numbers):
        raise InputError("an axis is given twice")
    cut = offsets(x.shape)
    for start, end, axis, step in zip(starts, ends, numbers, steps or [1] * len(starts), strict=True):
        cut[axis] = cut[axis][start:end:step]
    return graph.pick(x, cut)


def _split(graph: Graph, node: Any) -> list[Operand]:
    x, count = node.tensor(0), len(node.results)
    axis = _axis(x, node.attribute("axis", 0))
    n, pieces, sizes = x.shape[axis], node.attribute("num_outputs", count), node.integers(1, "split")
    if sizes is None:
        chunk = -(-n // pieces)
        sizes = [min(chunk, n - start) for start in range(0, n, chunk)]
    if len(sizes) != count or sum(sizes) != n or min(sizes) < 0:
        raise InputError(f"the sizes {sizes} do not split an axis of size {n} into {count} outputs")
    axes = offsets(x.shape)
    cuts = [axes[axis][end - size : end] for end, size in zip(accumulate(sizes), sizes, strict=True)]
    return [graph.pick(x, [*axes[:axis], cut, *axes[axis + 1 :]]) for cut in cuts]


def _pad(graph: Graph, node: Any) -> Operand:
    x, pads = node.tensor(0), node.integers(1, "pads")
    fill, axes = node.scalar(2, "value") or 0.0, node.integers(3, "axes")
    if pads is None or node.attribute("mode", "constant") != "constant":
        raise UnsupportedError("only constant pads in the mode 'constant' are supported")
    numbers = list(range(len(x.shape))) if axes is None else [_axis(x, axis) for axis in axes]
    if len(pads) != 2 * len(numbers) or len(set(numbers)) < len(numbers):
        raise InputError("the pads do not fit the axes")
    graph.spend(sum(map(abs, pads)))
    cut = offsets(x.shape)
    for axis, before, after in zip(numbers, pads, pads[len(numbers) :], strict=False):
        kept = cut[axis][max(-before, 0) : max(len(cut[axis]) - max(-after, 0), 0)]
        cut[axis] = [PADDING] * before + list(kept) + [PADDING] * after
    places, shape = graph.outer(cut), tuple(map(len, cut))
    if x.value is not None:
        return graph.select(x, places, shape, fill)
    return graph.constant(shape, [fill if p < 0 else x.entries[p] for p in places])


def _squeeze(graph: Graph, node: Any) -> Operand:
    x, axes = node.tensor(0), node.integers(1, "axes")
    gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else [_axis(x, axis) for axis in axes]
    if any(x.shape[i] != 1 for i in gone) or len(set(gone)) < len(gone):
        raise InputError(f"the axes {axes} of a tensor of shape {x.shape} do not all have size 1, or repeat")
    return x.reshaped(n for i, n in enumerate(x.shape) if i not in gone)


def _unsqueeze(graph: Graph, node: Any) -> Operand:
    x, axes = node.tensor(0), node.integers(1, "axes") or []
    rank = range(len(x.shape) + len(axes))
    new = {rank[axis] for axis in axes}
    if len(new) < len(axes):
        raise InputError(f"the axes {axes} repeat")
    sizes = iter(x.shape)
    return x.reshaped(1 if i in new else next(sizes) for i in rank)


OPERATORS: dict[str, Callable[[Graph, Any], Operand | list[Operand]]] = {
    "Abs": lambda graph, node: graph.weighted_sum((graph.relu(node.tensor(0)), 2), (node.tensor(0), -1)),
    "Add": lambda graph, node: graph.weighted_sum((node.tensor(0), 1), (node.tensor(1), 1)),
    "AveragePool": average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": lambda graph, node: _clip(graph, node.tensor(0), node.scalar(1, "min"), node.scalar(2, "max")),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": convolution,
    "Div": _divide,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": reduction_over_space(row_means),
    "GlobalMaxPool": reduction_over_space(row_maxima),
    "HardSigmoid": _hard_sigmoid,
    "Identity": lambda graph, node: node.tensor(0),
    "LeakyRelu": lambda graph, node: _leaky_relu(graph, node.tensor(0), scalar(node.attribute("alpha", 0.01))),
    "MatMul": lambda graph, node: _matmul(graph, node.tensor(0), node.tensor(1), scalar(0.0)),
    "Max": _max,
    "MaxPool": max_pool,
    "Mul": _multiply,
    "Neg": lambda graph, node: graph.weighted_sum((node.tensor(0), -1)),
    "PRelu": lambda graph, node: _leaky_relu(graph, node.tensor(0), node.constant(1)),
    "Pad": _pad,
    "ReduceMax": reduction(row_maxima),
    "ReduceMean": reduction(row_means),
    "ReduceSum": reduction(row_sums),
    "Relu": lambda graph, node: graph.relu(node.tensor(0)),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _curve("sigmoid"),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": lambda graph, node: graph.weighted_sum((node.tensor(0), 1), (node.tensor(1), -1)),
    "Sum": lambda graph, node: graph.weighted_sum(*((node.tensor(i), 1) for i in range(len(node.inputs)))),
    "Tanh": _curve("tanh"),
    "Transpose": lambda graph, node: _transposed(graph, node.tensor(0), node.attribute("perm")),
    "Unsqueeze": _unsqueeze,
}
