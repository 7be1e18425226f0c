"""The exact audit's own readers against the installed ones, and the audit as a program in one file.

Digests bind a certificate to network and query, so two readers agree where their digests do.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import test_operators as operators
import test_vnnlib as properties
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import pydual
from pydual.audit.exact_network import Network as IntegerNetwork
from pydual.audit.exact_onnx import read_network
from pydual.audit.exact_operators import OPERATORS
from pydual.audit.exact_protobuf import read_input_file
from pydual.audit.exact_vnnlib import read_checker
from pydual.audit.query import query_digest
from pydual.errors import InputError, UnsupportedError
from pydual.io import onnx as installed

Generator = np.random.Generator


def same_network(proto: onnx.ModelProto, folder: Path) -> bool:
    """Whether both readers take a model; where they do, they must read the same network."""
    data = proto.SerializeToString()
    (folder / "m.onnx").write_bytes(data)
    try:
        expected = pydual.load(folder / "m.onnx")
    except InputError:
        with pytest.raises(InputError):
            IntegerNetwork(read_network(data))
        return False
    if not all(primitive.size for primitive in expected.primitives):
        with pytest.raises(UnsupportedError, match="is empty"):
            read_network(data)
        return False
    found = read_network(data)
    assert IntegerNetwork(found).digest == expected.digest
    assert (found.input_size, found.output_size) == (expected.input_size, expected.output_size)
    assert found.folded == bool(expected.folded)
    return True


# ---- operators


def test_both_readers_know_the_same_operators() -> None:
    assert set(OPERATORS) == set(installed.OPERATORS)


@pytest.mark.parametrize("dtype", operators.DTYPES)
@pytest.mark.parametrize("case", operators.CASES)
def test_cases_of_operators(case: str, dtype: str, tmp_path: Path) -> None:
    assert same_network(operators.one_node(*operators.CASES[case], dtype=dtype), tmp_path)


@pytest.mark.parametrize("op, shape, inputs, attributes", operators.OPTIONS)
def test_options_of_operators(op: str, shape: Any, inputs: Any, attributes: Any, tmp_path: Path) -> None:
    assert same_network(operators.one_node(op, shape, *inputs, **attributes), tmp_path)


@pytest.mark.parametrize("op, shape, inputs, attributes, opset", operators.OLD)
def test_older_opsets(op: str, shape: Any, inputs: Any, attributes: Any, opset: int, tmp_path: Path) -> None:
    assert same_network(operators.one_node(op, shape, *inputs, opset=opset, dtype="float32", **attributes), tmp_path)


def shape_of(rng: Generator, rank: int | None = None, most: int = 4) -> list[int]:
    return rng.integers(1, most + 1, rng.integers(1, 5) if rank is None else rank).tolist()


def weights(rng: Generator, *shape: int) -> np.ndarray:
    """Numbers with zeros, negative zeros and whole numbers among them."""
    numbers = rng.normal(size=shape)
    return np.where(rng.random(shape) < 0.3, rng.choice([0.0, -0.0, 1.0, -1.0, 2.0], shape), numbers)


def fitting(rng: Generator, shape: list[int]) -> np.ndarray:
    """A constant that broadcasts with a shape, from either side."""
    cut = shape[rng.integers(0, len(shape) + 1) :]
    more = shape_of(rng, rng.integers(0, 2)) if len(cut) == len(shape) else []
    return weights(rng, *more, *(1 if rng.random() < 0.3 else n for n in cut))


def axes_of(rng: Generator, shape: list[int]) -> np.ndarray:
    chosen = np.flatnonzero(rng.random(len(shape)) < 0.5)
    return np.array([a - len(shape) if rng.random() < 0.3 else a for a in chosen], np.int64)


def elementwise(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    pair = ("x", fitting(rng, shape)) if rng.random() < 0.7 else (fitting(rng, shape), "x")
    return shape, pair if rng.random() < 0.8 else ("x", "x"), {}


def alone(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    return shape_of(rng), ("x",), {}


def several(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    return shape, tuple("x" if rng.random() < 0.4 else fitting(rng, shape) for _ in range(rng.integers(1, 5))), {}


def windowed(rng: Generator, kernel: list[int]) -> dict[str, Any]:
    n = len(kernel)
    found: dict[str, Any] = {"strides": shape_of(rng, n, 3)}
    if rng.random() < 0.4:
        found["dilations"] = shape_of(rng, n, 2)
    form = rng.choice(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"])
    if form == "pads":
        found["pads"] = rng.integers(0, 3, 2 * n).tolist()
    elif form != "none":
        found["auto_pad"] = str(form)
    return found


def conv(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    group, n = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    depth, filters, kernel = int(rng.integers(1, 3)), group * int(rng.integers(1, 3)), shape_of(rng, n, 3)
    shape = [int(rng.integers(1, 3)), depth * group, *shape_of(rng, n, 6)]
    bias = (weights(rng, filters),) if rng.random() < 0.6 else ()
    options = {**windowed(rng, kernel), **({"group": group} if group > 1 else {})}
    return shape, ("x", weights(rng, filters, depth, *kernel), *bias), options


def pool(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    kernel = shape_of(rng, int(rng.integers(1, 4)), 3)
    options = {"kernel_shape": kernel, **windowed(rng, kernel), "ceil_mode": int(rng.integers(2))}
    return [*shape_of(rng, 2, 2), *shape_of(rng, len(kernel), 6)], ("x",), options


def average(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape, inputs, options = pool(rng)
    return shape, inputs, {**options, "count_include_pad": int(rng.integers(2))}


def gemm(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    m, k, n = shape_of(rng, 3)
    options = {"transA": int(rng.integers(2)), "transB": int(rng.integers(2))}
    a, b = [k, m] if options["transA"] else [m, k], [n, k] if options["transB"] else [k, n]
    third = [(), (weights(rng, n),), (weights(rng, m, 1),), (weights(rng, m, n),), (weights(rng),)][rng.integers(5)]
    if rng.random() < 0.5:
        options |= {"alpha": float(rng.normal()), "beta": float(rng.choice([0.0, -1.0, 0.3]))}
    if rng.random() < 0.6:
        return a, ("x", weights(rng, *b), *third), options
    return b, (weights(rng, *a), "x", *third), options


def matmul(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    m, k, n = shape_of(rng, 3)
    batch = shape_of(rng, int(rng.integers(0, 3)), 3)
    left = [k] if rng.random() < 0.2 else [*([1] * len(batch) if rng.random() < 0.3 else batch), m, k]
    right = [k] if rng.random() < 0.2 else [*batch[rng.integers(0, len(batch) + 1) :], k, n]
    return (left, ("x", weights(rng, *right)), {}) if rng.random() < 0.5 else (right, (weights(rng, *left), "x"), {})


def batch_normalization(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng, int(rng.integers(2, 5)))
    parameters = weights(rng, 3, shape[1])
    options = {"epsilon": float(rng.random())} if rng.random() < 0.5 else {}
    return shape, ("x", *parameters, rng.random(shape[1])), options


def clip(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    low, high = (np.array(v) for v in sorted(rng.normal(size=2)))
    return shape_of(rng), [("x", low, high), ("x", low), ("x", "", high), ("x",), ("x", high, low)][rng.integers(5)], {}


def reduced(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    inputs = ("x", axes_of(rng, shape)) if rng.random() < 0.8 else ("x",)
    return shape, inputs, {"keepdims": int(rng.integers(2)), "noop_with_empty_axes": int(rng.integers(2))}


def sliced(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng, most=6)
    axes = axes_of(rng, shape)
    starts, ends = rng.integers(-8, 8, (2, len(axes)))
    steps = rng.choice([1, 1, 2, 3, -1, -2], len(axes))
    return shape, ("x", starts, ends, axes, steps), {}


def padded(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    fill = np.array(rng.choice([0.0, 1.5, -2.0]))
    if rng.random() < 0.3:
        axes = axes_of(rng, shape)
        return shape, ("x", rng.integers(-1, 3, 2 * len(axes)), fill, axes), {}
    return shape, ("x", rng.integers(-1, 3, 2 * len(shape)), fill), {}


def gathered(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    axis = int(rng.integers(-len(shape), len(shape)))
    n = shape[axis]
    return shape, ("x", rng.integers(-n, n, shape_of(rng, int(rng.integers(0, 3)), 3))), {"axis": axis}


def concatenated(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    axis = int(rng.integers(-len(shape), len(shape)))
    parts: list[Any] = ["x"]
    for _ in range(rng.integers(0, 4)):
        other = list(shape)
        other[axis] = int(rng.integers(1, 4))
        parts.append("x" if rng.random() < 0.4 else weights(rng, *other))
    return shape, tuple(parts[i] for i in rng.permutation(len(parts))), {"axis": axis}


def reshaped(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    target = [shape, [-1], [0, -1], [int(np.prod(shape)), 1, -1], shape[::-1], [7, -1], [0] * len(shape)][rng.integers(7)]
    return shape, ("x", np.array(target, np.int64)), {}


def squeezed(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng, most=2)
    ones = np.flatnonzero(np.array(shape) == 1)
    return shape, ("x", ones) if rng.random() < 0.6 else ("x", axes_of(rng, shape)) if rng.random() < 0.5 else ("x",), {}


def unsqueezed(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng, int(rng.integers(1, 3)))
    return shape, ("x", rng.permutation(len(shape) + 2)[:2] - (len(shape) + 2 if rng.random() < 0.5 else 0)), {}


def optional(options: Callable[[Generator, list[int]], dict[str, Any]]) -> Callable[[Generator], Any]:
    def draw(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
        shape = shape_of(rng)
        return shape, ("x",), options(rng, shape) if rng.random() < 0.8 else {}

    return draw


def prelu(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    return shape, ("x", fitting(rng, shape)), {}


def expanded(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    return shape, ("x", np.array(fitting(rng, [n if n > 1 else 3 for n in shape]).shape, np.int64)), {}


DRAWS: dict[str, Callable[[Generator], Any]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), elementwise),
    **dict.fromkeys(("Relu", "Abs", "Neg", "Identity", "Sigmoid", "Tanh", "Dropout"), alone),
    **dict.fromkeys(("Sum", "Max"), several),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax"), reduced),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), lambda rng: (shape_of(rng, int(rng.integers(2, 5))), ("x",), {})),
    "MaxPool": pool,
    "AveragePool": average,
    "BatchNormalization": batch_normalization,
    "Clip": clip,
    "Concat": concatenated,
    "Conv": conv,
    "Expand": expanded,
    "Flatten": optional(lambda rng, shape: {"axis": int(rng.integers(-len(shape), len(shape) + 1))}),
    "Gather": gathered,
    "Gemm": gemm,
    "HardSigmoid": optional(lambda rng, shape: {"alpha": float(rng.random()), "beta": float(rng.random())}),
    "LeakyRelu": optional(lambda rng, shape: {"alpha": float(rng.normal())}),
    "MatMul": matmul,
    "PRelu": prelu,
    "Pad": padded,
    "Reshape": reshaped,
    "Slice": sliced,
    "Split": lambda rng: ([2, int(rng.integers(1, 6))], ("x",), {"axis": int(rng.choice([1, -1])), "num_outputs": 1}),
    "Squeeze": squeezed,
    "Transpose": optional(lambda rng, shape: {"perm": rng.permutation(len(shape)).tolist()}),
    "Unsqueeze": unsqueezed,
}


def test_every_operator_is_drawn() -> None:
    in_the_chains_below = {"Cast", "Constant", "ConstantOfShape", "Shape"}
    assert set(DRAWS) | in_the_chains_below == set(OPERATORS)


@pytest.mark.parametrize("op", DRAWS)
def test_random_attributes(op: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(op))
    taken = 0
    for _ in range(30):
        shape, inputs, options = DRAWS[op](rng)
        dtype = str(rng.choice(["float32", "float64"]))
        taken += same_network(operators.one_node(op, shape, *inputs, dtype=dtype, **options), tmp_path)
    assert taken >= 8
