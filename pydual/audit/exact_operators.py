"""The ONNX operators in primitives, for the exact audit: PROOFS.md, "From ONNX to primitives". Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod, sqrt
from typing import Any

from pydual.audit.exact_tensors import OUTSIDE, Graph, Shape, Tensor, offsets, ones, require, scalar, split_up
from pydual.errors import UnsupportedError

ALPHA, EPSILON = 0.009999999776482582, 9.999999747378752e-06  # 0.01 and 1e-5 as float32 numbers

Places = list[list[int]]  # of each row, places in a tensor


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


def one_number(given: Any) -> float:
    (value,) = given.numbers if isinstance(given, Tensor) else [given]
    return float(value)


class Operators(Graph):
    """A method for each operator, by its name: of the tensors that a node reads, to the tensor that it defines.

    What stands before a "/" is an input, what stands after a "*" an attribute, of the type of its default; the rest is either.
    """

    def Max(self, first: Tensor, /, *others: Tensor) -> Tensor:
        return reduce(lambda a, b: self.weighted_sum((b, 1), (self.relu((a, 1), (b, -1)), 1)), others, first)

    def Clip(self, x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
        terms: list[tuple[Tensor, float]] = [(x, 1)]
        if min is not None:
            lower = scalar(one_number(min))
            terms = [(lower, 1), (self.relu((x, 1), (lower, -1)), 1)]
        if max is not None:
            require(min is None or one_number(min) <= one_number(max), "the interval to clip to is empty")
            terms.append((self.relu((x, 1), (scalar(one_number(max)), -1)), -1))
        return self.weighted_sum(*terms)

    def BatchNormalization(
        self, x: Tensor, /, *parameters: Tensor, epsilon=EPSILON, momentum=0.9, training_mode=False
    ) -> Tensor:
        require(not training_mode, "training mode is not supported", UnsupportedError)
        require([p.shape for p in parameters] == [x.shape[1:2]] * 4, "the parameters do not fit the channels of the input")
        self.folded = True
        gamma, beta, mean, variance = (p.numbers for p in parameters)
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
        return self._means(x, rows, sizes, (*x.shape[:2], *counts))

    def GlobalAveragePool(self, x: Tensor, /) -> Tensor:
        require(len(x.shape) > 2, "the input has no spatial axes")
        return self.ReduceMean(x, range(2, len(x.shape)))

    def ReduceMean(self, x: Tensor, /, axes: Any = (), *, keepdims=True, noop_with_empty_axes=False) -> Tensor:
        require(not noop_with_empty_axes, "noop_with_empty_axes is not supported", UnsupportedError)
        steps, gone = offsets(x.shape), distinct_axes(axes, len(x.shape)) or [*range(len(x.shape))]
        stay, size = [i for i in range(len(x.shape)) if i not in gone], prod(x.shape[i] for i in gone)
        rows = split_up(self.outer([steps[i] for i in (*stay, *sorted(gone))]), size)
        shape = tuple(1 if i in gone else n for i, n in enumerate(x.shape) if keepdims or i not in gone)
        return self._means(x, rows, [size] * len(rows), shape)

    def _means(self, x: Tensor, rows: Places, sizes: list[int], shape: Shape) -> Tensor:
        """The sum of the entries in each row, divided by a size."""
        matrix = ((row, [1.0 / size] * len(row)) for row, size in zip(rows, sizes, strict=True))
        return self.affine([(x, matrix)], [0.0] * len(rows), shape)

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
        return self.move(x, [row[0] for row in rows], shape)

    def _windows(
        self, x: Tensor, kernel: Shape, groups: int, strides=(), dilations=(), pads=(), auto_pad="NOTSET", ceil_mode=0
    ) -> tuple[Shape, Places]:
        """The number of windows on each spatial axis; for each batch, group of channels and window, the places in it."""
        n = len(kernel)
        strides, dilations, pads = strides or (1,) * n, dilations or (1,) * n, pads or (0,) * 2 * n
        known = ceil_mode == 0 and (auto_pad == "NOTSET" or (auto_pad == "VALID" and not any(pads)))
        require(known, "ceil_mode and padding by auto_pad are not supported", UnsupportedError)
        fits = 0 < n == len(x.shape) - 2 == len(strides) == len(dilations) and min(*kernel, *strides, *dilations) > 0
        require(fits, f"kernel, strides and dilations do not fit an input of shape {x.shape}")
        places, shape = self._padded(x, (0, 0, *pads[:n], 0, 0, *pads[n:]))
        batch, channels, *axes = offsets(shape)
        depth, spans = len(channels) // groups, [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        starts = [axis[: max(len(axis) - span, 0) : s] for axis, span, s in zip(axes, spans, strides, strict=True)]
        inside = [axis[: span + 1 : d] for axis, span, d in zip(axes, spans, dilations, strict=True)]
        rows = self.outer([batch, channels[::depth], *starts, channels[:depth], *inside])
        return tuple(map(len, starts)), split_up([places[i] for i in rows], depth * prod(kernel))

    def _padded(self, x: Tensor, pads: Sequence[int]) -> tuple[list[int], Shape]:
        """The places of the entries of a padded tensor, and its shape."""
        rank = len(x.shape)
        require(len(pads) == 2 * rank and min(pads, default=0) >= 0, "the pads do not fit, or are negative", UnsupportedError)
        self.spend(sum(pads))
        sides = zip(pads[:rank], offsets(x.shape), pads[rank:], strict=True)
        axes = [[OUTSIDE] * before + [*axis] + [OUTSIDE] * after for before, axis, after in sides]
        return self.outer(axes), tuple(map(len, axes))

    def Pad(self, x: Tensor, /, pads: Any, value: Any = 0.0, *, mode="constant") -> Tensor:
        require(mode == "constant", f"the mode {mode} is not supported", UnsupportedError)
        return self.move(x, *self._padded(x, integers(pads)), one_number(value))

    def Transpose(self, x: Tensor, /, *, perm=()) -> Tensor:
        axes = offsets(x.shape)
        order = perm or range(len(axes))[::-1]
        require(sorted(order) == [*range(len(axes))], f"perm is no order of the axes of a tensor of shape {x.shape}")
        return self.pick(x, [axes[axis] for axis in order])

    def Slice(self, x: Tensor, /, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
        begin, end, cut = integers(starts), integers(ends), offsets(x.shape)
        numbers = distinct_axes(range(len(begin)) if axes is None else axes, len(x.shape))
        strides = [1] * len(begin) if steps is None else integers(steps)
        for first, last, axis, step in zip(begin, end, numbers, strides, strict=True):
            cut[axis] = cut[axis][first:last:step]
        return self.pick(x, cut)

    def Gather(self, x: Tensor, indices: Tensor, /, *, axis=0) -> Tensor:
        axes, axis = offsets(x.shape), range(len(x.shape))[axis]
        axes[axis] = [axes[axis][i] for i in indices.numbers]
        return self.pick(x, axes).reshaped((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

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
        require(abs(axis) <= len(x.shape), f"the axis {axis} is none of a tensor of shape {x.shape}")
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
