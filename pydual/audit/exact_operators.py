"""The ONNX operators in primitives, for the exact audit: PROOFS.md, "From ONNX to primitives". Standard library only.

Operators list places: which entries of a tensor an entry of the result is made of. Lists of places come from ``Graph.outer``.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import isfinite, prod, sqrt
from types import SimpleNamespace
from typing import Any

from pydual.errors import InputError, UnsupportedError

MAX_ENTRIES = 2**22  # of all tensors, matrices and lists of places that a model makes
OUTSIDE = -(2**62)  # a place in no tensor: negative, whatever is added
# of each TensorProto.DataType that is read: the format of a number, and the field of the numbers that are not raw
STORED = {1: ("f", "float_data"), 6: ("i", "int32_data"), 7: ("q", "int64_data"), 11: ("d", "double_data")}

ALPHA, EPSILON = 0.009999999776482582, 9.999999747378752e-06  # 0.01 and 1e-5 as float32 numbers

Shape = tuple[int, ...]
Rows = Iterable[tuple[Sequence[int], Sequence[float]]]  # of each row of a matrix: columns (negative: none), and entries


def require(fits: bool, complaint: str, error: type[InputError] = InputError) -> None:
    """Refuse a model or node unless it fits; the complaint is a sentence without its end."""
    if not fits:
        raise error(f"{complaint}.")


@dataclass(frozen=True)
class Tensor:
    """A tensor, row-major: the numbers of a constant, or the places 0, 1, ... in a value."""

    shape: Shape
    entries: Sequence[Any]
    value: int | None = None

    def __post_init__(self) -> None:
        fits = len(self.shape) <= 32 and min(self.shape, default=1) > 0 and prod(self.shape) == len(self.entries)
        require(fits, f"{len(self.entries)} entries are given an empty or unlike shape, or one of more than 32 axes")

    def reshaped(self, shape: Iterable[int]) -> Tensor:
        return Tensor(tuple(shape), self.entries, self.value)

    @property
    def numbers(self) -> Sequence[Any]:
        """The entries of what must be a constant."""
        require(self.value is None, "a tensor depends on the input where it must be constant", UnsupportedError)
        return self.entries


class Graph:
    """A network under construction, in the form that ``exact_network`` reads."""

    def __init__(self, shape: Shape) -> None:
        self.budget = MAX_ENTRIES
        self.primitives: list[Any] = []
        self.activations: dict[tuple[str, int | None], Tensor] = {}  # a value has one of a kind
        self.folded = False  # whether constants were computed in floats
        self.input_size, self.output, self.output_size = prod(shape), 0, 0
        self.spend(self.input_size)
        self.input = Tensor(shape, range(self.input_size), 0)

    def spend(self, entries: int) -> None:
        self.budget -= entries
        require(self.budget >= 0, f"the tensors and matrices have more than {MAX_ENTRIES} entries", UnsupportedError)

    def constant(self, message: Any) -> Tensor:
        """The tensor of a TensorProto."""
        known = message.element in STORED and not message.location
        require(known, "a constant is not float32, float64, int32 or int64, or not in the file", UnsupportedError)
        code, field = STORED[message.element]
        packed = message.raw_data or struct.pack(f"<{len(getattr(message, field))}{code}", *getattr(message, field))
        entries = [number for (number,) in struct.iter_unpack(f"<{code}", packed)]
        require(all(map(isfinite, entries)), "a constant contains NaN or infinity")
        self.spend(len(entries))
        return Tensor(tuple(message.dims), entries)

    def _new(self, shape: Shape, size: int, **primitive: Any) -> Tensor:
        self.spend(size)
        self.primitives.append(SimpleNamespace(size=size, **primitive))
        return Tensor(shape, range(size), len(self.primitives))

    def affine(self, terms: Iterable[tuple[Tensor, Rows]], bias: Iterable[float], shape: Shape) -> Tensor:
        """The affine map with a matrix for each of ``terms``, which must depend on the input."""
        matrices = [(x.value, self._matrix(x, rows)) for x, rows in terms]
        require(bool(matrices), "arithmetic on constants is not supported", UnsupportedError)
        numbers = array("d", bias)
        return self._new(shape, len(numbers), terms=matrices, bias=numbers)

    def _matrix(self, x: Tensor, rows: Rows) -> Any:
        require(x.value is not None, "an operator on constants alone is not supported", UnsupportedError)
        starts, indices, data = array("q", [0]), array("q"), array("d")
        for columns, entries in rows:
            self.spend(len(columns) + 1)
            kept = [(c, v) for c, v in zip(columns, entries, strict=True) if c >= 0]
            indices.extend(c for c, _ in kept)
            data.extend(v for _, v in kept)
            starts.append(len(indices))
        return SimpleNamespace(shape=(len(starts) - 1, len(x.entries)), indptr=starts, indices=indices, data=data)

    def activation(self, kind: str, x: Tensor) -> Tensor:
        require(x.value is not None, f"the {kind} of a constant is not supported", UnsupportedError)
        key = kind, x.value
        if key not in self.activations:
            self.activations[key] = self._new(x.shape, len(x.entries), kind=kind, source=x.value)
        return self.activations[key].reshaped(x.shape)

    def relu(self, *terms: tuple[Tensor, Tensor | float]) -> Tensor:
        """The relu of a weighted sum."""
        return self.activation("relu", self.weighted_sum(*terms))

    def outer(self, axes: Sequence[Sequence[int]]) -> list[int]:
        """The sums of one number from each axis, row-major."""
        require(all(axes), "a tensor has no entries", UnsupportedError)
        self.spend(prod(map(len, axes)))
        result = [0]
        for axis in axes:
            result = [a + b for a in result for b in axis]
        return result

    def move(self, x: Tensor, axes: Sequence[Sequence[int]]) -> Tensor:
        """The entries of ``x`` whose places are the sums of one number from each axis."""
        places, shape = self.outer(axes), tuple(map(len, axes))
        if x.value is None:
            return Tensor(shape, [x.entries[p] for p in places])
        if len(places) == len(x.entries) and places == [*x.entries]:
            return x.reshaped(shape)
        return self.affine([(x, ones((p,) for p in places))], [0.0] * len(places), shape)

    def spread(self, x: Tensor, shape: Shape) -> list[Any]:
        """The entries of ``x``, broadcast to a shape."""
        require(broadcast(x.shape, shape) == shape, f"the shape {x.shape} does not fit {shape}")
        axes = zip(offsets((1,) * (len(shape) - len(x.shape)) + x.shape), shape, strict=True)
        return [x.entries[i] for i in self.outer([axis if len(axis) == n else [0] * n for axis, n in axes])]

    def weighted_sum(self, *terms: tuple[Tensor, Tensor | float]) -> Tensor:
        """The sum of weighted tensors, entry by entry; a weight is a constant, or a number."""
        pairs = [(x, w if isinstance(w, Tensor) else scalar(w)) for x, w in terms]
        shape = broadcast(*(tensor.shape for pair in pairs for tensor in pair))
        bias, matrices = self.spread(scalar(0.0), shape), []
        for x, w in pairs:
            require(w.value is None, "a product of values that depend on the input is not supported", UnsupportedError)
            places, weights = self.spread(x, shape), self.spread(w, shape)
            if x.value is None:
                bias = [b + weight * entry for b, weight, entry in zip(bias, weights, places, strict=True)]
            else:
                matrices.append((x, zip(zip(places), zip(weights), strict=True)))
        return self.affine(matrices, bias, shape)


def scalar(number: float) -> Tensor:
    return Tensor((), [number])


def ones(places: Iterable[Sequence[int]]) -> Rows:
    return ((row, [1.0] * len(row)) for row in places)


def split_up(entries: Sequence[Any], width: int) -> list[Any]:
    return [entries[at : at + width] for at in range(0, len(entries), width)]


def offsets(shape: Shape) -> list[Sequence[int]]:
    """For each axis, what its indices add to the place of an entry."""
    steps = [prod(shape[i + 1 :]) for i in range(len(shape))]
    return [range(0, n * step, step) for n, step in zip(shape, steps, strict=True)]


def broadcast(*shapes: Shape) -> Shape:
    """The common shape: aligned at the last axis, where a size 1 or a missing axis fits every size."""
    rank = max(map(len, shapes))
    columns = list(zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True))
    require(all({*sizes} <= {1, max(sizes)} for sizes in columns), f"the shapes {shapes} do not fit each other")
    return tuple(map(max, columns))


def integers(given: Any) -> list[int]:
    """What newer versions of an operator take as a constant input, older ones as an attribute."""
    numbers = given.numbers if isinstance(given, Tensor) else given
    require(len(numbers) < 100 and all(type(v) is int for v in numbers), "an argument is no short list of integers")
    return list(numbers)


def distinct_axes(given: Any, rank: int) -> list[int]:
    """Different axes of a tensor, counted from 0."""
    axes = [range(rank)[axis] for axis in integers(given)]
    require(len({*axes}) == len(axes), "an axis is given twice")
    return axes


class Operators(Graph):
    """A method for each operator, by its name, from the tensors that a node reads to the tensor that it defines.

    What stands before a "/" is an input; what stands after a "*" an attribute, of its default's type; the rest may be either.
    """

    def Max(self, first: Tensor, /, *others: Tensor) -> Tensor:
        return reduce(lambda a, b: self.weighted_sum((b, 1), (self.relu((a, 1), (b, -1)), 1)), others, first)

    def Clip(self, x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
        lower, upper = (scalar(*t.numbers) if isinstance(t, Tensor) else scalar(t) for t in (min, max))
        terms: list[tuple[Tensor, float]] = [(x, 1)]
        if min is not None:
            terms = [(lower, 1), (self.relu((x, 1), (lower, -1)), 1)]
        if max is not None:
            require(min is None or lower.entries[0] <= upper.entries[0], "the interval to clip to is empty")
            terms.append((self.relu((x, 1), (upper, -1)), -1))
        return self.weighted_sum(*terms)

    def BatchNormalization(self, x: Tensor, /, *given: Tensor, epsilon=EPSILON, momentum=0.9, training_mode=False) -> Tensor:
        require(not training_mode, "training mode is not supported", UnsupportedError)
        require([p.shape for p in given] == [x.shape[1:2]] * 4, "the parameters do not fit the channels of the input")
        self.folded = True
        gamma, beta, mean, variance = (p.numbers for p in given)
        scale = [g / sqrt(v + epsilon) for g, v in zip(gamma, variance, strict=True)]
        shift = [b - m * s for b, m, s in zip(beta, mean, scale, strict=True)]
        shape = (len(scale), *(1 for _ in x.shape[2:]))
        return self.weighted_sum((x, Tensor(shape, scale)), (Tensor(shape, shift), 1))

    def Gemm(self, a: Tensor, b: Tensor, c: Any = None, /, *, alpha=1.0, beta=1.0, transA=False, transB=False) -> Tensor:
        a, b = self.Transpose(a) if transA else a, self.Transpose(b) if transB else b
        require(len(a.shape) == len(b.shape) == 2, "a factor is no matrix")
        self.folded |= alpha not in (-1, 1) or (c is not None and beta not in (-1, 0, 1))
        a, b = (t if t.value is not None else Tensor(t.shape, [v * alpha for v in t.entries]) for t in (a, b))
        return self.product(a, b, scalar(0.0) if c is None else Tensor(c.shape, [v * beta for v in c.numbers]))

    def product(self, a: Tensor, b: Tensor, offset: Tensor) -> Tensor:
        """``a @ b + offset``, where one of a, b is a constant matrix."""
        k, n = b.shape[-2:] if len(b.shape) > 1 else (*b.shape, 1)
        fits = [len(t.shape) for t in (a, b) if t.value is None] == [2] and a.shape[-1:] == (k,)
        require(fits, "it is no product of a constant matrix and a tensor that depends on the input", UnsupportedError)
        lines, blocks = split_up(a.entries, k), split_up(b.entries, k * n)
        pairs = ((line, block[j::n]) for block in blocks for line in lines for j in range(n))
        if a.value is not None:
            return self.affine([(a, pairs)], self.spread(offset, (*a.shape[:-1], n)), (*a.shape[:-1], n))
        shape = (*b.shape[:-2], len(lines), *b.shape[1:][-1:])
        return self.affine([(b, ((column, line) for line, column in pairs))], self.spread(offset, shape), shape)

    def Conv(self, x: Tensor, w: Tensor, bias: Any = None, /, *, group=1, kernel_shape=(), **window: Any) -> Tensor:
        filters, depth, *kernel = w.shape
        fits = x.shape[1] == depth * group and filters % group == 0 and kernel_shape in ((), (*kernel,))
        require(fits and (bias is None or bias.shape == (filters,)), f"{w.shape} weights, or a bias, do not fit the input")
        counts, places = self._windows(x, (*kernel,), group, **window)
        blocks = split_up(split_up(w.numbers, depth * prod(kernel)), filters // group) * x.shape[0]
        parts = zip(split_up(places, prod(counts)), blocks, strict=True)
        rows = ((row, entries) for part, block in parts for entries in block for row in part)
        numbers = [0.0] * filters if bias is None else bias.numbers
        offset = (b for _ in range(x.shape[0]) for b in numbers for _ in range(prod(counts)))
        return self.affine([(x, rows)], offset, (x.shape[0], filters, *counts))

    def AveragePool(self, x: Tensor, /, *, kernel_shape: Shape, count_include_pad=False, **window: Any) -> Tensor:
        counts, rows = self._windows(x, kernel_shape, x.shape[1], **window)
        sizes = [len(row) if count_include_pad else sum(p >= 0 for p in row) for row in rows]
        means = ((row, [1.0 / size] * len(row)) for row, size in zip(rows, sizes, strict=True))
        return self.affine([(x, means)], [0.0] * len(rows), (*x.shape[:2], *counts))

    def MaxPool(self, x: Tensor, /, *, kernel_shape: Shape, **window: Any) -> Tensor:
        """A tournament: neighbors in a window play in pairs, an odd last one passes on."""
        counts, windows = self._windows(x, kernel_shape, x.shape[1], **window)
        shape, rows = (*x.shape[:2], *counts), [[p for p in row if p >= 0] for row in windows]
        require(all(rows), "a window lies entirely in the padding")
        while max(map(len, rows)) > 1:
            pairs = [pair for row in rows for pair in split_up(row, 2)]
            games = [pair for pair in pairs if len(pair) == 2]
            margins = self.affine([(x, ((game, (1.0, -1.0)) for game in games))], [0.0] * len(games), (len(games),))
            played, winners = iter(range(len(games))), iter(range(len(pairs)))
            gains = ones([next(played) if len(pair) == 2 else OUTSIDE] for pair in pairs)
            terms = [(x, ones(pair[-1:] for pair in pairs)), (self.activation("relu", margins), gains)]
            x = self.affine(terms, [0.0] * len(pairs), (len(pairs),))
            rows = [[next(winners) for _ in range(0, len(row), 2)] for row in rows]
        return self.move(x, [[row[0] for row in rows]]).reshaped(shape)

    def _windows(
        self, x: Tensor, kernel: Shape, groups: int, strides=(), dilations=(), pads=(), auto_pad="NOTSET", ceil_mode=0
    ) -> tuple[Shape, list[list[int]]]:
        """The number of windows on each spatial axis; for each batch, group of channels and window, the places in it."""
        n = len(kernel)
        strides, dilations, pads = strides or (1,) * n, dilations or (1,) * n, pads or (0,) * 2 * n
        known = ceil_mode == 0 and (auto_pad == "NOTSET" or (auto_pad == "VALID" and not any(pads)))
        require(known, "ceil_mode and padding by auto_pad are not supported", UnsupportedError)
        fits = 0 < n == len(x.shape) - 2 == len(strides) == len(dilations) == len(pads) / 2
        require(fits and min(*kernel, *strides, *dilations) > 0 <= min(pads), "the window does not fit the input")
        self.spend(sum(pads))
        sides = zip((0, 0, *pads[:n]), offsets(x.shape), (0, 0, *pads[n:]), strict=True)
        padded = [[OUTSIDE] * before + [*axis] + [OUTSIDE] * after for before, axis, after in sides]
        places = self.outer(padded)
        batch, channels, *axes = offsets(tuple(map(len, padded)))
        depth, spans = len(channels) // groups, [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        starts = [axis[: max(len(axis) - span, 0) : s] for axis, span, s in zip(axes, spans, strides, strict=True)]
        inside = [axis[: span + 1 : d] for axis, span, d in zip(axes, spans, dilations, strict=True)]
        rows = self.outer([batch, channels[::depth], *starts, channels[:depth], *inside])
        return tuple(map(len, starts)), split_up([places[i] for i in rows], depth * prod(kernel))

    def Transpose(self, x: Tensor, /, *, perm=()) -> Tensor:
        axes = offsets(x.shape)
        order = perm or range(len(axes))[::-1]
        require(sorted(order) == [*range(len(axes))], f"perm is no order of the axes of a tensor of shape {x.shape}")
        return self.move(x, [axes[axis] for axis in order])

    def Slice(self, x: Tensor, /, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
        begin, end, cut = integers(starts), integers(ends), offsets(x.shape)
        numbers = distinct_axes(range(len(begin)) if axes is None else axes, len(x.shape))
        strides = [1] * len(begin) if steps is None else integers(steps)
        for first, last, axis, step in zip(begin, end, numbers, strides, strict=True):
            cut[axis] = cut[axis][first:last:step]
        return self.move(x, cut)

    def Gather(self, x: Tensor, indices: Tensor, /, *, axis=0) -> Tensor:
        axes, axis = offsets(x.shape), range(len(x.shape))[axis]
        axes[axis] = [axes[axis][i] for i in indices.numbers]
        return self.move(x, axes).reshaped((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def Concat(self, /, *parts: Tensor, axis: int) -> Tensor:
        axis = range(len(parts[0].shape))[axis]
        others = {(len(part.shape), part.shape[:axis], part.shape[axis + 1 :]) for part in parts}
        require(len(others) == 1, "the parts differ in shape on another axis than theirs")
        shape = (*parts[0].shape[:axis], sum(part.shape[axis] for part in parts), *parts[0].shape[axis + 1 :])
        self.spend(prod(shape) * len(parts))
        blocks = zip(*(split_up(part.entries, prod(part.shape[axis:])) for part in parts), strict=True)
        order = [(source, v) for row in blocks for source, block in enumerate(row) for v in block]
        bias = [v if parts[source].value is None else 0.0 for source, v in order]
        columns = [[(v if source == i else OUTSIDE,) for source, v in order] for i in range(len(parts))]
        terms = [(part, ones(places)) for part, places in zip(parts, columns, strict=True) if part.value is not None]
        return self.affine(terms, bias, shape) if terms else Tensor(shape, bias)

    def Flatten(self, x: Tensor, /, *, axis=1) -> Tensor:
        require(abs(axis) <= len(x.shape), f"there is no axis {axis}")
        return x.reshaped((prod(x.shape[:axis]), prod(x.shape[axis:])))

    def Reshape(self, x: Tensor, shape: Tensor, /, *, allowzero=False) -> Tensor:
        sizes = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(integers(shape))]
        if sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = len(x.entries) // prod(n for n in sizes if n != -1)
        return x.reshaped(sizes)

    def Squeeze(self, x: Tensor, /, axes: Any = None) -> Tensor:
        gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else distinct_axes(axes, len(x.shape))
        return x.reshaped(n for i, n in enumerate(x.shape) if i not in gone)

    def Unsqueeze(self, x: Tensor, /, axes: Any) -> Tensor:
        rank = len(x.shape) + len(integers(axes))
        new, sizes = distinct_axes(axes, rank), iter(x.shape)
        return x.reshaped(1 if i in new else next(sizes) for i in range(rank))


OPERATORS: dict[str, Callable[..., Tensor]] = {
    **{op: method for op, method in vars(Operators).items() if op[0].isupper()},
    "Abs": lambda graph, x, /: graph.weighted_sum((graph.activation("relu", x), 2), (x, -1)),
    "Add": lambda graph, a, b, /: graph.weighted_sum((a, 1), (b, 1)),
    "Cast": lambda graph, x, /, *, to: {1: x, 11: x}[to],
    "Constant": lambda graph, /, *, value: graph.constant(value),
    "Div": lambda graph, a, b, /: graph.weighted_sum((a, Tensor(b.shape, [1.0 / v for v in b.numbers]))),
    "Dropout": lambda graph, x, /, ratio=None, *, seed=0: x,
    "GlobalAveragePool": lambda graph, x, /: graph.AveragePool(x, kernel_shape=x.shape[2:]),
    "Identity": lambda graph, x, /: x,
    "LeakyRelu": lambda graph, x, /, *, alpha=ALPHA: graph.weighted_sum(
        (x, alpha), (graph.activation("relu", x), 1.0 - alpha)
    ),
    "MatMul": lambda graph, a, b, /: graph.product(a, b, scalar(0.0)),
    "Mul": lambda graph, a, b, /: graph.weighted_sum((a, b) if b.value is None else (b, a)),
    "Relu": lambda graph, x, /: graph.activation("relu", x),
    "Shape": lambda graph, x, /, *, start=0, end=None: Tensor((len(x.shape[start:end]),), x.shape[start:end]),
    "Sigmoid": lambda graph, x, /: graph.activation("sigmoid", x),
    "Sub": lambda graph, a, b, /: graph.weighted_sum((a, 1), (b, -1)),
    "Tanh": lambda graph, x, /: graph.activation("tanh", x),
}
