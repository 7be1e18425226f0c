"""The ONNX operators in primitives, for the exact audit: PROOFS.md, "From ONNX to primitives". Standard library only.

A handler takes the graph under construction, the inputs of a node, and its attributes by name; it returns the tensor that
the node defines. A refusal is the middle of a sentence; whoever calls names the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import prod, sqrt
from operator import mul, truediv
from typing import Any

from pydual.audit.exact_tensors import Graph, Operand, broadcast, offsets, ranked, require, scalar, split_up, spread_axes
from pydual.audit.exact_windows import OVER_WINDOWS, PADDING, distinct_axes, integers
from pydual.errors import UnsupportedError


def _number(given: Any) -> Operand | None:
    if given is None:
        return None
    (value,) = given.numbers if isinstance(given, Operand) else [given]
    require(type(value) in (int, float), "an argument is no number")
    return scalar(float(value))


def _multiply(graph: Graph, a: Operand, b: Operand) -> Operand:
    a, b = (b, a) if b.value is not None else (a, b)
    require(b.value is None, "the product of two values that depend on the input is not piecewise linear", UnsupportedError)
    return graph.weighted_sum((a, b))


def _divide(graph: Graph, a: Operand, b: Operand) -> Operand:
    if a.value is not None:
        return graph.weighted_sum((a, graph.constant(b.shape, [1.0 / v for v in b.numbers])))
    whole = int in map(type, a.entries[:1]) and int in map(type, b.numbers[:1])
    exact = not whole or all(abs(v) <= 2**53 for v in (*a.entries, *b.entries))
    require(exact, "a quotient of integers above 2^53 is not supported", UnsupportedError)
    graph.folded |= not whole
    return graph.fold((lambda p, q: int(p / q)) if whole else truediv, a, b)


def _maximum(graph: Graph, a: Operand, b: Operand) -> Operand:
    return graph.weighted_sum((b, 1), (graph.relu(graph.weighted_sum((a, 1), (b, -1))), 1))


def _leaky_relu(graph: Graph, x: Operand, slope: Operand) -> Operand:
    require(broadcast(slope.shape, x.shape) == x.shape, f"slopes of shape {slope.shape} do not fit shape {x.shape}")
    other = graph.constant(slope.shape, [1.0 - v for v in slope.numbers])
    return graph.weighted_sum((x, slope), (graph.relu(x), other))


def _clip(graph: Graph, x: Operand, lower: Operand | None, upper: Operand | None) -> Operand:
    empty = lower is not None and upper is not None and lower.entries[0] > upper.entries[0]
    require(not empty, "the interval to clip to is empty")
    terms: list[tuple[Operand, int]] = [(x, 1)]
    if lower is not None:
        terms = [(lower, 1), (graph.relu(graph.weighted_sum((x, 1), (lower, -1))), 1)]
    if upper is not None:
        terms.append((graph.relu(graph.weighted_sum((x, 1), (upper, -1))), -1))
    return graph.weighted_sum(*terms)


def _batch_normalization(
    graph: Graph, x: Operand, *parameters: Operand, epsilon: float, training_mode: bool, spatial: bool, momentum: float
) -> Operand:
    require(spatial and not training_mode, "training mode and spatial=0 are not supported", UnsupportedError)
    fits = len(x.shape) > 1 and [p.shape for p in parameters] == [x.shape[1:2]] * 4
    require(fits, f"the parameters do not have one number for each channel of an input of shape {x.shape}")
    graph.folded = True
    gamma, beta, mean, variance = (p.numbers for p in parameters)
    scale = [g / sqrt(v + epsilon) for g, v in zip(gamma, variance, strict=True)]
    shift = [b - m * s for b, m, s in zip(beta, mean, scale, strict=True)]
    shape = (len(scale), *(1 for _ in x.shape[2:]))
    return graph.weighted_sum((x, graph.constant(shape, scale)), (graph.constant(shape, shift), 1))


def _matmul(graph: Graph, a: Operand, b: Operand, offset: Operand) -> Operand:
    """``a @ b + offset`` with the broadcasting of numpy, where one of a, b is constant."""
    one = (a.value is None) != (b.value is None)
    require(one, "a matrix product needs one constant factor and one that depends on the input", UnsupportedError)
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    fits = a.shape and b.shape and left[-1] == right[-2]
    require(bool(fits), f"the shapes {a.shape} and {b.shape} do not fit a matrix product")
    batch, m, k, n = broadcast(left[:-2], right[:-2]), left[-2], left[-1], right[-1]
    a_axes, b_axes = spread_axes(left, (*batch, m, k)), spread_axes(right, (*batch, k, n))
    a_places = graph.outer([*a_axes[:-1], [0] * n, a_axes[-1]])
    b_places = graph.outer([*b_axes[:-2], [0] * m, b_axes[-1], b_axes[-2]])
    x, columns, w, places = (b, b_places, a, a_places) if a.value is None else (a, a_places, b, b_places)
    rows = zip(split_up(columns, k), split_up([w.entries[i] for i in places], k), strict=True)
    shape = (*batch, *a.shape[-2:-1], *(b.shape[-1:] if len(b.shape) > 1 else ()))
    return graph.affine([(x, rows)], graph.spread(offset, shape), shape)


def _gemm(
    graph: Graph, a: Operand, b: Operand, c: Operand | None = None, *, alpha: float, beta: float, transA: bool, transB: bool
) -> Operand:
    a, b = _transposed(graph, a) if transA else a, _transposed(graph, b) if transB else b
    c, beta = (scalar(0.0), 1.0) if c is None else (c, beta)
    graph.folded |= alpha not in (-1, 1) or (c.value is None and beta not in (-1, 0, 1))
    if b.value is None:
        b = graph.fold(mul, b, scalar(alpha))
    elif a.value is None:
        a = graph.fold(mul, a, scalar(alpha))
    if c.value is not None:
        return graph.weighted_sum((_matmul(graph, a, b, scalar(0.0)), 1), (c, scalar(beta)))
    return _matmul(graph, a, b, graph.fold(mul, c, scalar(beta)))


def _transposed(graph: Graph, x: Operand, perm: Sequence[int] = ()) -> Operand:
    order = list(perm) or list(range(len(x.shape)))[::-1]
    require(sorted(order) == list(range(len(x.shape))), f"{order} is no order of the axes of a tensor of shape {x.shape}")
    axes = offsets(x.shape)
    return graph.pick(x, [axes[axis] for axis in order])


def _concat(graph: Graph, *parts: Operand, axis: int) -> Operand:
    axis = range(len(parts[0].shape))[axis]
    others = {(*part.shape[:axis], None, *part.shape[axis + 1 :]) for part in parts}
    require(len(others) == 1, "the parts differ in shape on another axis than theirs")
    before, after = parts[0].shape[:axis], parts[0].shape[axis + 1 :]
    shape = (*before, sum(part.shape[axis] for part in parts), *after)
    graph.spend(prod(shape))
    widths = [part.shape[axis] * prod(after) for part in parts]
    order: list[tuple[int, Any]] = []  # of each entry of the result: the number of its part, and what stands there
    for i in range(prod(before)):
        for number, (part, width) in enumerate(zip(parts, widths, strict=True)):
            order += [(number, v) for v in part.entries[i * width : (i + 1) * width]]
    bias = [v if parts[number].value is None else 0.0 for number, v in order]
    terms = []
    for number, part in enumerate(parts):
        if part.value is not None:
            graph.spend(prod(shape))
            terms.append((part, [((v if n == number else PADDING,), (1.0,)) for n, v in order]))
    return graph.affine(terms, bias, shape) if terms else graph.constant(shape, bias)


def _constant(graph: Graph, **given: Any) -> Operand:
    (value,) = given.values()
    if isinstance(value, Operand):
        return value
    return graph.constant((len(value),), value) if isinstance(value, tuple) else graph.constant((), [value])


def _cast(graph: Graph, x: Operand, *, to: int, saturate: int) -> Operand:
    if to in (1, 11):
        return x if x.value is not None else graph.constant(x.shape, list(map(float, x.entries)))
    whole = to == 7 and x.value is None and float not in map(type, x.entries[:1])
    require(whole, "only casts to float32, float64, and of integer constants to int64 are supported", UnsupportedError)
    return x


def _dropout(graph: Graph, x: Operand, ratio: Any = None, training: Operand | None = None, *, seed: int) -> Operand:
    off = training is None or not any(training.numbers)
    require(off, "training mode is not supported; export the model for inference", UnsupportedError)
    return x


def _flatten(graph: Graph, x: Operand, *, axis: int) -> Operand:
    axis = axis + len(x.shape) if axis < 0 else axis
    require(0 <= axis <= len(x.shape), f"the axis {axis} is none of a tensor of shape {x.shape}")
    return x.reshaped((prod(x.shape[:axis]), prod(x.shape[axis:])))


def _gather(graph: Graph, x: Operand, indices: Operand, *, axis: int) -> Operand:
    axes, axis = offsets(x.shape), range(len(x.shape))[axis]
    axes[axis] = [axes[axis][i] for i in indices.numbers]
    return graph.pick(x, axes).reshaped((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _reshape(graph: Graph, x: Operand, shape: Operand, *, allowzero: bool) -> Operand:
    sizes = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(ranked(shape.numbers))]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = len(x.entries) // prod(n for n in sizes if n != -1)
    return x.reshaped(sizes)


def _slice(graph: Graph, x: Operand, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Operand:
    begin, end = integers(starts), integers(ends)
    numbers = distinct_axes(range(len(begin)) if axes is None else axes, len(x.shape))
    strides = [1] * len(begin) if steps is None else integers(steps)
    cut = offsets(x.shape)
    for first, last, axis, step in zip(begin, end, numbers, strides, strict=True):
        cut[axis] = cut[axis][first:last:step]
    return graph.pick(x, cut)


def _pad(graph: Graph, x: Operand, pads: Any, value: Any = None, axes: Any = None, *, mode: str) -> Operand:
    require(mode == "constant", f"pads in the mode {mode} are not supported", UnsupportedError)
    amounts, fill = integers(pads), _number(value) or scalar(0.0)
    numbers = distinct_axes(range(len(x.shape)) if axes is None else axes, len(x.shape))
    graph.spend(sum(map(abs, amounts)))
    cut = offsets(x.shape)
    n = len(numbers)
    for axis, before, after in zip(numbers, amounts[:n], amounts[n:], strict=True):
        kept = cut[axis][max(-before, 0) : max(len(cut[axis]) - max(-after, 0), 0)]
        cut[axis] = [PADDING] * before + list(kept) + [PADDING] * after
    return graph.move(x, graph.outer(cut), tuple(map(len, cut)), fill.entries[0] or 0.0)


def _squeeze(graph: Graph, x: Operand, axes: Any = None) -> Operand:
    gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else distinct_axes(axes, len(x.shape))
    require(all(x.shape[i] == 1 for i in gone), f"the axes {gone} of a tensor of shape {x.shape} do not all have size 1")
    return x.reshaped(n for i, n in enumerate(x.shape) if i not in gone)


def _unsqueeze(graph: Graph, x: Operand, axes: Any) -> Operand:
    rank = len(x.shape) + len(integers(axes))
    new, sizes = distinct_axes(axes, rank), iter(x.shape)
    return x.reshaped(1 if i in new else next(sizes) for i in range(rank))


def _shape(graph: Graph, x: Operand, *, start: int, end: int | None = None) -> Operand:
    return graph.constant((len(x.shape[start:end]),), x.shape[start:end])


NORMALIZED = {"epsilon": 1e-5, "momentum": 0.9, "training_mode": False, "spatial": True}
VALUES = dict.fromkeys(("value", "value_float", "value_floats", "value_int", "value_ints"))

# of each operator the handler, and its attributes with their defaults (None: no default, and of any type)
OPERATORS: dict[str, tuple[Callable[..., Operand], dict[str, Any]]] = {
    **OVER_WINDOWS,
    "Abs": (lambda graph, x: graph.weighted_sum((graph.relu(x), 2), (x, -1)), {}),
    "Add": (lambda graph, a, b: graph.weighted_sum((a, 1), (b, 1)), {}),
    "BatchNormalization": (_batch_normalization, NORMALIZED),
    "Cast": (_cast, {"to": 0, "saturate": 1}),
    "Clip": (lambda graph, x, min=None, max=None: _clip(graph, x, _number(min), _number(max)), {"min": None, "max": None}),
    "Concat": (_concat, {"axis": None}),
    "Constant": (_constant, VALUES),
    "Div": (_divide, {}),
    "Dropout": (_dropout, {"ratio": None, "seed": 0}),
    "Flatten": (_flatten, {"axis": 1}),
    "Gather": (_gather, {"axis": 0}),
    "Gemm": (_gemm, {"alpha": 1.0, "beta": 1.0, "transA": False, "transB": False}),
    "Identity": (lambda graph, x: x, {}),
    "LeakyRelu": (lambda graph, x, *, alpha: _leaky_relu(graph, x, scalar(alpha)), {"alpha": 0.01}),
    "MatMul": (lambda graph, a, b: _matmul(graph, a, b, scalar(0.0)), {}),
    "Max": (lambda graph, *parts: reduce(partial(_maximum, graph), parts), {}),
    "Mul": (_multiply, {}),
    "Neg": (lambda graph, x: graph.weighted_sum((x, -1)), {}),
    "PRelu": (_leaky_relu, {}),
    "Pad": (_pad, {"mode": "constant", "pads": None, "value": None}),
    "Relu": (Graph.relu, {}),
    "Reshape": (_reshape, {"allowzero": False}),
    "Shape": (_shape, {"start": 0, "end": None}),
    "Sigmoid": (lambda graph, x: graph.activation(x, "sigmoid"), {}),
    "Slice": (_slice, dict.fromkeys(("starts", "ends", "axes", "steps"))),
    "Squeeze": (_squeeze, {"axes": None}),
    "Sub": (lambda graph, a, b: graph.weighted_sum((a, 1), (b, -1)), {}),
    "Sum": (lambda graph, *parts: graph.weighted_sum(*((x, 1) for x in parts)), {}),
    "Tanh": (lambda graph, x: graph.activation(x, "tanh"), {}),
    "Transpose": (_transposed, {"perm": ()}),
    "Unsqueeze": (_unsqueeze, {"axes": None}),
}
