"""Tables from torch's modules, functions and methods to translations with torch's own signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pydual.errors import UnsupportedError
from pydual.operators.average_pool import average_pool
from pydual.operators.batch_normalization import batch_normalization
from pydual.operators.clip import clip
from pydual.operators.concat import concat
from pydual.operators.conv import conv
from pydual.operators.curve import sigmoid, tanh
from pydual.operators.matmul import matmul
from pydual.operators.max_pool import max_pool, maximum
from pydual.operators.multiply import divide, multiply, negate
from pydual.operators.positions import Tensor, rearrange
from pydual.operators.primitives import GraphBuilder, Value
from pydual.operators.reduce import reduce_mean, reduce_sum
from pydual.operators.relu import absolute, leaky_relu, relu
from pydual.operators.reshape import reshape, squeeze, unsqueeze
from pydual.operators.transpose import transpose
from pydual.operators.weighted_sum import weighted_sum
from pydual.operators.windows import Window

Numbers = int | Sequence[int]


def _tuple(numbers: Numbers, axes: int) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    return (numbers,) * axes if isinstance(numbers, int) else tuple(numbers)


def _linear(graph: GraphBuilder, x: Value, weight: np.ndarray, bias: np.ndarray | None = None) -> Tensor:
    return matmul(graph, x, weight.T, 0.0 if bias is None else bias)


def _conv(
    graph: GraphBuilder,
    x: Value,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    if padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode='{padding_mode}' is not supported; use 'zeros'")
    kernel = weight.shape[2:]
    n = len(kernel)
    if isinstance(padding, str):
        window = Window.of(kernel, _tuple(stride, n), _tuple(dilation, n))
        window = window.padded_same(x.shape[2:], extra_after=True) if padding == "same" else window
    else:
        window = Window.of(kernel, _tuple(stride, n), _tuple(dilation, n), 2 * _tuple(padding, n))
    return conv(graph, x, weight, bias, window=window, group=groups)


def _batch_norm(
    graph: GraphBuilder,
    x: Value,
    running_mean: np.ndarray | None,
    running_var: np.ndarray | None,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None:
        raise UnsupportedError("batch statistics are not supported; use running statistics in eval mode")
    gamma = np.ones_like(running_var) if weight is None else weight
    beta = np.zeros_like(running_mean) if bias is None else bias
    return batch_normalization(graph, x, gamma, beta, running_mean, running_var, eps)


def _max_pool(
    graph: GraphBuilder,
    x: Value,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    padding: Numbers = 0,
    dilation: Numbers = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if return_indices:
        raise UnsupportedError("return_indices=True is not supported")
    return max_pool(graph, x, window=_pool_window(x, kernel_size, stride, padding, dilation, ceil_mode))


def _average_pool(
    graph: GraphBuilder,
    x: Value,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    padding: Numbers = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    if divisor_override is not None:
        raise UnsupportedError("divisor_override is not supported")
    window = _pool_window(x, kernel_size, stride, padding, 1, ceil_mode)
    return average_pool(graph, x, window=window, count_padding=count_include_pad)


def _pool_window(
    x: Value, kernel: Numbers, stride: Numbers | None, padding: Numbers, dilation: Numbers, ceil_mode: bool
) -> Window:
    n = len(x.shape) - 2
    strides = _tuple(kernel if stride is None else stride, n)
    return Window.of(_tuple(kernel, n), strides, _tuple(dilation, n), 2 * _tuple(padding, n), ceil_mode)


def _adaptive_average_pool(graph: GraphBuilder, x: Value, output_size: Numbers) -> Tensor:
    axes = len(x.shape) - 2
    if _tuple(output_size, axes) != (1,) * axes:
        raise UnsupportedError(f"the output size {output_size} is not supported; use 1, or AvgPool2d")
    return reduce_mean(graph, x, range(2, len(x.shape)), keep_axes=True)


def _dropout(graph: GraphBuilder, x: Value, p: float = 0.5, training: bool = True) -> Tensor:
    if training:
        raise UnsupportedError("dropout with training=True is random; pass training=self.training")
    return x


def _flatten(graph: GraphBuilder, x: Value, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    axes = range(len(x.shape))
    start, end = axes[start_dim], axes[end_dim]
    return reshape(graph, x, (*x.shape[:start], -1, *x.shape[end + 1 :]))


def _reshape(graph: GraphBuilder, x: Value, *shape: Any) -> Tensor:
    return reshape(graph, x, _unpacked(shape))


def _permute(graph: GraphBuilder, x: Value, *dims: Any) -> Tensor:
    return transpose(graph, x, _unpacked(dims))


def _unpacked(numbers: Sequence[Any]) -> Sequence[int]:
    """The numbers of ``view(1, 2)`` as well as of ``view((1, 2))``."""
    return numbers[0] if len(numbers) == 1 and isinstance(numbers[0], list | tuple) else numbers


def _unflatten(graph: GraphBuilder, x: Value, dim: int, unflattened_size: Sequence[int]) -> Tensor:
    axis = range(len(x.shape))[dim]
    return reshape(graph, x, (*x.shape[:axis], *unflattened_size, *x.shape[axis + 1 :]))


def _transpose(graph: GraphBuilder, x: Value, dim0: int, dim1: int) -> Tensor:
    return rearrange(graph, x, lambda p: np.swapaxes(p, dim0, dim1))


def _squeeze(graph: GraphBuilder, x: Value, dim: Numbers | None = None) -> Tensor:
    axes = range(len(x.shape)) if dim is None else _tuple(dim, 1)
    return squeeze(graph, x, [axis for axis in axes if x.shape[axis] == 1])


def _cat(graph: GraphBuilder, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return concat(graph, tensors, dim)


def _unsqueeze(graph: GraphBuilder, x: Value, dim: int) -> Tensor:
    return unsqueeze(graph, x, (dim,))


def _add(graph: GraphBuilder, x: Any, other: Any, alpha: float = 1) -> Tensor:
    return weighted_sum(graph, [(_operand(x), 1), (_operand(other), alpha)])


def _subtract(graph: GraphBuilder, x: Any, other: Any, alpha: float = 1) -> Tensor:
    return weighted_sum(graph, [(_operand(x), 1), (_operand(other), -alpha)])


def _operand(x: Any) -> Tensor:
    return x if isinstance(x, Value) else np.asarray(x)


def _multiply(graph: GraphBuilder, x: Any, other: Any) -> Tensor:
    return multiply(graph, _operand(x), _operand(other))


def _divide(graph: GraphBuilder, x: Any, other: Any) -> Tensor:
    return divide(graph, _operand(x), _operand(other))


def _maximum(graph: GraphBuilder, x: Any, other: Any) -> Tensor:
    return maximum(graph, _operand(x), _operand(other))


def _leaky_relu(graph: GraphBuilder, x: Value, negative_slope: float = 0.01) -> Tensor:
    return leaky_relu(graph, x, negative_slope)


def _prelu(graph: GraphBuilder, x: Value, weight: np.ndarray) -> Tensor:
    return leaky_relu(graph, x, weight.reshape((-1,) + (1,) * (len(x.shape) - 2)))


def _clamp(graph: GraphBuilder, x: Value, min: float | None = None, max: float | None = None) -> Tensor:
    return clip(graph, x, min, max)


def _hardtanh(graph: GraphBuilder, x: Value, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return clip(graph, x, min_val, max_val)


def _relu6(graph: GraphBuilder, x: Value) -> Tensor:
    return clip(graph, x, 0.0, 6.0)


def _mean(graph: GraphBuilder, x: Value, dim: Numbers | None = None, keepdim: bool = False) -> Tensor:
    return reduce_mean(graph, x, None if dim is None else _tuple(dim, 1), keepdim)


def _sum(graph: GraphBuilder, x: Value, dim: Numbers | None = None, keepdim: bool = False) -> Tensor:
    return reduce_sum(graph, x, None if dim is None else _tuple(dim, 1), keepdim)


def _matmul(graph: GraphBuilder, x: Tensor, other: Tensor) -> Tensor:
    return matmul(graph, x, other)


def _getitem(graph: GraphBuilder, x: Value, index: Any) -> Tensor:
    return rearrange(graph, x, lambda p: p[index])


def _getattr(graph: GraphBuilder, x: Value, name: str) -> Any:
    if name != "shape":
        raise UnsupportedError(f"the attribute {name} of a tensor is not supported")
    return x.shape


def _size(graph: GraphBuilder, x: Value, dim: int | None = None) -> Any:
    return x.shape if dim is None else x.shape[dim]


def _same(graph: GraphBuilder, x: Value) -> Tensor:
    return x


Handler = Callable[..., Any]

# functions of torch, torch.nn.functional and operator, which share names only where they mean the same
FUNCTIONS: dict[str, Handler] = {
    "abs": absolute,
    "adaptive_avg_pool1d": _adaptive_average_pool,
    "adaptive_avg_pool2d": _adaptive_average_pool,
    "add": _add,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "batch_norm": _batch_norm,
    "cat": _cat,
    "clamp": _clamp,
    "concat": _cat,
    "conv1d": _conv,
    "conv2d": _conv,
    "div": _divide,
    "dropout": _dropout,
    "flatten": _flatten,
    "getitem": _getitem,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "matmul": _matmul,
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "maximum": _maximum,
    "mean": _mean,
    "mul": _multiply,
    "neg": negate,
    "permute": _permute,
    "relu": relu,
    "relu6": _relu6,
    "reshape": _reshape,
    "sigmoid": sigmoid,
    "squeeze": _squeeze,
    "sub": _subtract,
    "sum": _sum,
    "tanh": tanh,
    "transpose": _transpose,
    "truediv": _divide,
    "unsqueeze": _unsqueeze,
}

METHODS: dict[str, Handler] = {
    "abs": absolute,
    "add": _add,
    "clamp": _clamp,
    "contiguous": _same,
    "div": _divide,
    "flatten": _flatten,
    "getattr": _getattr,
    "matmul": _matmul,
    "mean": _mean,
    "mul": _multiply,
    "neg": negate,
    "permute": _permute,
    "relu": relu,
    "reshape": _reshape,
    "sigmoid": sigmoid,
    "size": _size,
    "squeeze": _squeeze,
    "sub": _subtract,
    "sum": _sum,
    "tanh": tanh,
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
    "view": _reshape,
}

_CONV = ("weight", "bias", "stride", "padding", "dilation", "groups", "padding_mode")
_BATCH_NORM = ("running_mean", "running_var", "weight", "bias", "eps")
_MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGE_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

# classes of torch.nn, with the attributes that the handler takes by their names
MODULES: dict[str, tuple[Handler, tuple[str, ...]]] = {
    "AdaptiveAvgPool1d": (_adaptive_average_pool, ("output_size",)),
    "AdaptiveAvgPool2d": (_adaptive_average_pool, ("output_size",)),
    "AvgPool1d": (_average_pool, _AVERAGE_POOL),
    "AvgPool2d": (_average_pool, (*_AVERAGE_POOL, "divisor_override")),
    "BatchNorm1d": (_batch_norm, _BATCH_NORM),
    "BatchNorm2d": (_batch_norm, _BATCH_NORM),
    "Conv1d": (_conv, _CONV),
    "Conv2d": (_conv, _CONV),
    "Dropout": (_same, ()),
    "Dropout1d": (_same, ()),
    "Dropout2d": (_same, ()),
    "Flatten": (_flatten, ("start_dim", "end_dim")),
    "Hardtanh": (_hardtanh, ("min_val", "max_val")),
    "Identity": (_same, ()),
    "LeakyReLU": (_leaky_relu, ("negative_slope",)),
    "Linear": (_linear, ("weight", "bias")),
    "MaxPool1d": (_max_pool, _MAX_POOL),
    "MaxPool2d": (_max_pool, _MAX_POOL),
    "PReLU": (_prelu, ("weight",)),
    "ReLU": (relu, ()),
    "ReLU6": (_relu6, ()),
    "Sigmoid": (sigmoid, ()),
    "Tanh": (tanh, ()),
    "Unflatten": (_unflatten, ("dim", "unflattened_size")),
}
