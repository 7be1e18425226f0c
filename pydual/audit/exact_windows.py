"""The ONNX operators over windows and axes, for the exact audit: convolutions, pooling, reductions. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from pydual.audit.exact_tensors import Graph, Operand, Shape, in_order, offsets, split_up
from pydual.errors import InputError, UnsupportedError

PADDING, BEYOND = -1, -2  # places of a window in the padding, and beyond it (only with ceil_mode)


def _windows(graph: Graph, node: Any, kernel: Sequence[int], ceil_mode: bool = False) -> tuple[Shape, list[list[int]]]:
    """The shape of a window's places, and for each place the positions of its entries in the spatial axes."""
    x = node.value(0)
    spatial, n = x.shape[2:], len(kernel)
    strides, dilations = node.attribute("strides") or [1] * n, node.attribute("dilations") or [1] * n
    pads, mode = node.attribute("pads") or [0] * 2 * n, node.attribute("auto_pad", "NOTSET")
    if not n == len(spatial) == len(strides) == len(dilations) == len(pads) / 2 or not n:
        raise InputError(f"kernel, strides, dilations and pads do not fit an input of shape {x.shape}")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise InputError("kernel, strides and dilations must be at least 1, pads at least 0")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER") or (mode == "VALID" and any(pads)):
        raise UnsupportedError(f"the padding mode {mode} is not supported with the pads {pads}")
    shape: Shape = ()
    index = [[0]]
    for size, k, stride, dilation, before, after in zip(spatial, kernel, strides, dilations, pads[:n], pads[n:], strict=True):
        reach = (k - 1) * dilation + 1
        if mode.startswith("SAME"):
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            before = total // 2 if mode == "SAME_UPPER" else total - total // 2
            after = total - before
        room = size + before + after - reach
        if room < 0:
            raise InputError("the window is larger than the padded input")
        count = (-(-room // stride) if ceil_mode else room // stride) + 1
        if ceil_mode and (count - 1) * stride >= size + before:
            count -= 1
        graph.spend(count * k * len(index) * len(index[0]))
        steps = [_window(start, k, dilation, size, after) for start in range(-before, count * stride - before, stride)]
        shape += (count,)
        index = [[a * size + b if a >= 0 <= b else min(a, b) for a in row for b in step] for row in index for step in steps]
    return shape, index


def _window(start: int, k: int, dilation: int, size: int, after: int) -> list[int]:
    places = range(start, start + k * dilation, dilation)
    return [p if 0 <= p < size else BEYOND if p >= size + after else PADDING for p in places]


def convolution(graph: Graph, node: Any) -> Operand:
    x, weight, bias, group = node.value(0), node.constant(1), node.optional(2), node.attribute("group", 1)
    if len(x.shape) < 3 or len(weight.shape) != len(x.shape) or group < 1:
        raise InputError(f"weights of shape {weight.shape} do not fit an input of shape {x.shape}")
    filters, depth, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    bias = graph.constant((filters,), [0.0] * filters) if bias is None else bias
    if tuple(node.attribute("kernel_shape", kernel)) != kernel or bias.shape != (filters,):
        raise InputError("kernel_shape or the bias does not fit the weights")
    if not filters or x.shape[1] != depth * group or filters % group:
        raise InputError(f"weights of shape {weight.shape} in {group} groups do not fit an input of shape {x.shape}")
    shape, index = _windows(graph, node, kernel)
    graph.spend(x.shape[0] * filters * len(index))
    batch, area, each = x.shape[0], prod(x.shape[2:]), filters // group
    weights = list(split_up(weight.entries, depth * prod(kernel)))

    def rows() -> Iterator[tuple[list[int], Sequence[float]]]:
        for part in range(batch * group):
            channels = range(part * depth * area, (part + 1) * depth * area, area)
            columns = [[c + p if p >= 0 else PADDING for c in channels for p in row] for row in index]
            for number in range(each):
                entries = weights[part % group * each + number]
                yield from ((row, entries) for row in columns)

    offset = [b for _ in range(batch) for b in bias.entries for _ in index]
    return graph.affine([(x, rows())], offset, (batch, filters, *shape))


def _pool(graph: Graph, node: Any) -> tuple[Shape, list[list[int]]]:
    """The shape of a pooling's result, and for each entry the places of its window."""
    x = node.value(0)
    shape, index = _windows(graph, node, node.required("kernel_shape"), node.flag("ceil_mode"))
    maps, area = prod(x.shape[:2]), prod(x.shape[2:])
    graph.spend(maps * len(index) * len(index[0]))
    rows = [[c + p if p >= 0 else p for p in row] for c in range(0, maps * area, area) for row in index]
    return (*x.shape[:2], *shape), rows


def average_pool(graph: Graph, node: Any) -> Operand:
    least = PADDING if node.flag("count_include_pad") else 0
    shape, rows = _pool(graph, node)
    averaged = ((row, [1.0 / sum(p >= least for p in row)] * len(row)) for row in rows)
    return graph.affine([(node.value(0), averaged)], [0.0] * len(rows), shape)


def max_pool(graph: Graph, node: Any) -> Operand:
    node.attribute("storage_order")
    shape, rows = _pool(graph, node)
    return row_maxima(graph, node.value(0), rows, shape)


def row_maxima(graph: Graph, x: Operand, rows: list[list[int]], shape: Shape) -> Operand:
    """The maximum of the entries of each row, as a tournament: neighbors play in pairs, an odd last one passes on."""
    rows = [[p for p in row if p >= 0] for row in rows]
    if not all(rows):
        raise InputError("a maximum over no entries at all: a window lies entirely in the padding")
    while max(map(len, rows)) > 1:
        pairs = [row[i : i + 2] for row in rows for i in range(0, len(row), 2)]
        games = [pair for pair in pairs if len(pair) == 2]
        gain = graph.relu(graph.affine([(x, ((g, (1.0, -1.0)) for g in games))], [0.0] * len(games), (len(games),)))
        numbers = iter(range(len(games)))
        gains = ([next(numbers) if len(pair) == 2 else PADDING] for pair in pairs)
        terms = [(x, ((pair[-1:], (1.0,)) for pair in pairs)), (gain, ((g, (1.0,)) for g in gains))]
        x = graph.affine(terms, [0.0] * len(pairs), (len(pairs),))
        winners = iter(range(len(pairs)))
        rows = [[next(winners) for _ in range(0, len(row), 2)] for row in rows]
    players = [row[0] for row in rows]
    return x.reshaped(shape) if in_order(players, x) else graph.select(x, players, shape)


def _places(graph: Graph, shape: Shape, gone: set[int], keep: bool) -> tuple[list[list[int]], Shape]:
    axes = offsets(shape)
    places = graph.outer([*(axes[i] for i in range(len(shape)) if i not in gone), *(axes[i] for i in sorted(gone))])
    kept = tuple(1 if i in gone else n for i, n in enumerate(shape) if keep or i not in gone)
    return list(split_up(places, prod(shape[i] for i in gone))), kept


def row_sums(graph: Graph, x: Operand, rows: list[list[int]], shape: Shape) -> Operand:
    return graph.affine([(x, ((row, [1.0] * len(row)) for row in rows))], [0.0] * len(rows), shape)


def row_means(graph: Graph, x: Operand, rows: list[list[int]], shape: Shape) -> Operand:
    return graph.affine([(x, ((row, [1.0 / len(row)] * len(row)) for row in rows))], [0.0] * len(rows), shape)


def reduction(combine: Callable[..., Operand]) -> Callable[[Graph, Any], Operand]:
    def handle(graph: Graph, node: Any) -> Operand:
        axes, keep = node.integers(1, "axes"), node.flag("keepdims", 1)
        if node.flag("noop_with_empty_axes") and not axes:
            return node.tensor(0)
        rank = range(len(node.value(0).shape))
        gone = {rank[axis] for axis in axes} if axes else set(rank)
        return combine(graph, node.value(0), *_places(graph, node.value(0).shape, gone, keep))

    return handle


def reduction_over_space(combine: Callable[..., Operand]) -> Callable[[Graph, Any], Operand]:
    def handle(graph: Graph, node: Any) -> Operand:
        x = node.value(0)
        return combine(graph, x, *_places(graph, x.shape, set(range(2, len(x.shape))), True))

    return handle
