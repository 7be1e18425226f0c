"""The ONNX operators over windows and axes, for the exact audit: convolutions, pooling, reductions. Standard library only.

All of them are lists of rows: the places in a tensor that an entry of the result is computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from pydual.audit.exact_tensors import Graph, Operand, Shape, offsets, require, split_up
from pydual.errors import UnsupportedError

PADDING, BEYOND = -1, -2  # places of a window in the padding, and beyond it (only with ceil_mode)

Places = list[list[int]]


def _windows(graph: Graph, x: Operand, kernel: Shape, ceil_mode: bool, window: dict[str, Any]) -> tuple[Shape, Places]:
    """The shape of the windows on the spatial axes, and for each of them the places of its entries in one channel."""
    n, auto_pad = len(kernel), window["auto_pad"]
    strides, dilations = window["strides"] or (1,) * n, window["dilations"] or (1,) * n
    pads = window["pads"] or (0,) * 2 * n
    fits = n > 0 and n == len(x.shape) - 2 == len(strides) == len(dilations) == len(pads) / 2
    require(fits, f"kernel, strides, dilations and pads do not fit an input of shape {x.shape}")
    require(min(*kernel, *strides, *dilations) > 0 <= min(pads), "a size of the window is below 1, or a pad below 0")
    known = auto_pad in ("NOTSET", "SAME_UPPER", "SAME_LOWER") or (auto_pad == "VALID" and not any(pads))
    require(known, f"the padding mode {auto_pad} is not supported with the pads {pads}", UnsupportedError)
    shape: Shape = ()
    rows = [[0]]
    sizes = zip(x.shape[2:], kernel, strides, dilations, pads[:n], pads[n:], strict=True)
    for size, k, stride, dilation, before, after in sizes:
        reach = (k - 1) * dilation + 1
        if auto_pad.startswith("SAME"):
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            before = (total + (auto_pad == "SAME_LOWER")) // 2
            after = total - before
        room = size + before + after - reach
        require(room >= 0, "the window is larger than the padded input")
        count = (-(-room // stride) if ceil_mode else room // stride) + 1
        if ceil_mode and (count - 1) * stride >= size + before:
            count -= 1
        graph.spend(count * k * len(rows) * len(rows[0]))
        starts = range(-before, count * stride - before, stride)
        steps = [_inside(range(start, start + k * dilation, dilation), size, after) for start in starts]
        rows = [[a * size + b if a >= 0 <= b else min(a, b) for a in row for b in step] for row in rows for step in steps]
        shape += (count,)
    return shape, rows


def _inside(places: range, size: int, after: int) -> list[int]:
    return [p if 0 <= p < size else BEYOND if p >= size + after else PADDING for p in places]


def _in_channels(graph: Graph, x: Operand, rows: Places, depth: int) -> Iterator[Places]:
    """For each group of ``depth`` channels, the places of windows in the tensor."""
    area = prod(x.shape[2:])
    for start in range(0, len(x.entries), depth * area):
        graph.spend(depth * len(rows) * len(rows[0]))
        channels = range(start, start + depth * area, area)
        yield [[c + p if p >= 0 else p for c in channels for p in row] for row in rows]


def _convolution(
    graph: Graph, x: Operand, w: Operand, bias: Operand | None = None, *, group: int, kernel_shape: Shape, **window: Any
) -> Operand:
    fits = len(x.shape) == len(w.shape) >= 3 and group > 0 and x.shape[1] == w.shape[1] * group
    fits = fits and w.shape[0] > 0 and w.shape[0] % group == 0 and kernel_shape in ((), w.shape[2:])
    require(fits, f"weights of shape {w.shape} in {group} groups do not fit an input of shape {x.shape}")
    filters, depth, *kernel = w.shape
    bias = graph.constant((filters,), [0.0] * filters) if bias is None else bias
    require(bias.shape == (filters,), "the bias does not fit the weights")
    shape, rows = _windows(graph, x, w.shape[2:], False, window)
    groups = split_up(split_up(w.numbers, depth * prod(kernel)), filters // group) * x.shape[0]
    parts = zip(_in_channels(graph, x, rows, depth), groups, strict=True)
    matrix = ((row, entries) for places, part in parts for entries in part for row in places)
    offset = [b for _ in range(x.shape[0]) for b in bias.numbers for _ in rows]
    return graph.affine([(x, matrix)], offset, (x.shape[0], filters, *shape))


def _pool(graph: Graph, x: Operand, kernel: Shape, ceil_mode: bool, window: dict[str, Any]) -> tuple[Places, Shape]:
    """For each entry of a pooling's result the places of its window, and the result's shape."""
    shape, rows = _windows(graph, x, kernel, ceil_mode, window)
    return [row for places in _in_channels(graph, x, rows, 1) for row in places], (*x.shape[:2], *shape)


def _average_pool(
    graph: Graph, x: Operand, *, kernel_shape: Shape, ceil_mode: bool, count_include_pad: bool, **window: Any
) -> Operand:
    rows, shape = _pool(graph, x, kernel_shape, ceil_mode, window)
    least = PADDING if count_include_pad else 0
    return _row_sums(graph, x, rows, shape, lambda row: 1.0 / sum(p >= least for p in row))


def _max_pool(graph: Graph, x: Operand, *, kernel_shape: Shape, ceil_mode: bool, storage_order: int, **window: Any) -> Operand:
    rows, shape = _pool(graph, x, kernel_shape, ceil_mode, window)
    return _row_maxima(graph, x, [[p for p in row if p >= 0] for row in rows], shape)


def _row_maxima(graph: Graph, x: Operand, rows: Places, shape: Shape) -> Operand:
    """The maximum of the entries of each row, as a tournament: neighbors play in pairs, an odd last one passes on."""
    require(all(rows), "a maximum over no entries at all: a window lies entirely in the padding")
    while max(map(len, rows)) > 1:
        pairs = [pair for row in rows for pair in split_up(row, 2)]
        games = [pair for pair in pairs if len(pair) == 2]
        gain = graph.relu(graph.affine([(x, ((g, (1.0, -1.0)) for g in games))], [0.0] * len(games), (len(games),)))
        numbers, winners = iter(range(len(games))), iter(range(len(pairs)))
        gains = ([next(numbers) if len(pair) == 2 else PADDING] for pair in pairs)
        terms = [(x, ((pair[-1:], (1.0,)) for pair in pairs)), (gain, ((g, (1.0,)) for g in gains))]
        x = graph.affine(terms, [0.0] * len(pairs), (len(pairs),))
        rows = [[next(winners) for _ in range(0, len(row), 2)] for row in rows]
    return graph.move(x, [row[0] for row in rows], shape)


def _row_sums(
    graph: Graph, x: Operand, rows: Places, shape: Shape, weight: Callable[[list[int]], float] = lambda row: 1.0
) -> Operand:
    return graph.affine([(x, ((row, [weight(row)] * len(row)) for row in rows))], [0.0] * len(rows), shape)


def _row_means(graph: Graph, x: Operand, rows: Places, shape: Shape) -> Operand:
    return _row_sums(graph, x, rows, shape, lambda row: 1.0 / len(row))


def integers(given: Any) -> list[int]:
    """What newer versions of an operator take as a constant input, older ones as an attribute."""
    numbers = list(given.numbers if isinstance(given, Operand) else given)
    require(all(type(v) is int for v in numbers), "an argument is no list of integers")
    return numbers


def distinct_axes(given: Any, rank: int) -> list[int]:
    """Different axes of a tensor, counted from 0."""
    axes = [range(rank)[axis] for axis in integers(given)]
    require(len(set(axes)) == len(axes), "an axis is given twice")
    return axes


def _over_axes(graph: Graph, combine: Callable[..., Operand], x: Operand, gone: set[int], keep: bool) -> Operand:
    """``combine`` applied to the entries along the axes ``gone``."""
    axes, stay = offsets(x.shape), [i for i in range(len(x.shape)) if i not in gone]
    places = graph.outer([axes[i] for i in (*stay, *sorted(gone))])
    shape = tuple(1 if i in gone else n for i, n in enumerate(x.shape) if keep or i not in gone)
    return combine(graph, x, split_up(places, prod(x.shape[i] for i in gone)), shape)


def _reduced(combine: Callable[..., Operand]) -> Callable[..., Operand]:
    def handle(graph: Graph, x: Operand, axes: Any = (), *, keepdims: bool, noop_with_empty_axes: bool) -> Operand:
        gone = distinct_axes(axes or (), len(x.shape))
        if noop_with_empty_axes and not gone:
            return x
        return _over_axes(graph, combine, x, set(gone or range(len(x.shape))), keepdims)

    return handle


def _over_space(combine: Callable[..., Operand]) -> Callable[..., Operand]:
    return lambda graph, x: _over_axes(graph, combine, x, set(range(2, len(x.shape))), True)


WINDOW: dict[str, Any] = {"kernel_shape": (), "strides": (), "dilations": (), "pads": (), "auto_pad": "NOTSET"}
POOL = {**WINDOW, "ceil_mode": False}
REDUCED = {"axes": None, "keepdims": True, "noop_with_empty_axes": False}

# of each operator the handler, and its attributes with their defaults (None: no default, and of any type)
OVER_WINDOWS: dict[str, tuple[Callable[..., Operand], dict[str, Any]]] = {
    "AveragePool": (_average_pool, {**POOL, "count_include_pad": False}),
    "Conv": (_convolution, {**WINDOW, "group": 1}),
    "GlobalAveragePool": (_over_space(_row_means), {}),
    "GlobalMaxPool": (_over_space(_row_maxima), {}),
    "MaxPool": (_max_pool, {**POOL, "storage_order": 0}),
    "ReduceMax": (_reduced(_row_maxima), REDUCED),
    "ReduceMean": (_reduced(_row_means), REDUCED),
    "ReduceSum": (_reduced(_row_sums), REDUCED),
}
