"""The exact audit's own readers of ONNX and VNN-LIB against the installed ones; damaged and adversarial files.

Digests bind a certificate to network and query, so two readers agree where their digests do.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
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
from pydual.audit import exact_vnnlib
from pydual.audit.exact_network import Network as IntegerNetwork
from pydual.audit.exact_onnx import read_input_file, read_network
from pydual.audit.exact_operators import OPERATORS
from pydual.audit.exact_vnnlib import read_checker
from pydual.audit.query import problems, query_digest
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
        with pytest.raises(UnsupportedError, match="no entries"):
            read_network(data)
        return False
    found = read_network(data)
    assert IntegerNetwork(found).digest == expected.digest
    assert (found.input_size, found.output_size) == (expected.input_size, expected.output_size)
    assert found.folded == bool(expected.folded)
    return True


# ---- operators


# PROOFS.md, "From ONNX to primitives": what the exact audit's own reader refuses, and pydual's loader reads
LEFT_OUT = {
    "ConstantOfShape", "Expand", "GlobalMaxPool", "HardSigmoid", "Neg", "PRelu", "Pad", "ReduceMax", "ReduceMean", "ReduceSum",
    "Split", "Sum",
}  # fmt: skip
NARROWER = {
    "conv auto_pad": ("Conv", (1, 1, 4, 4), ("x", np.ones((1, 1, 3, 3))), {"auto_pad": "SAME_UPPER"}),
    "ceil_mode": ("MaxPool", (1, 1, 5, 5), ("x",), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "storage_order": ("MaxPool", (1, 1, 4, 4), ("x",), {"kernel_shape": [2, 2], "storage_order": 1}),
    "a value as third factor": ("Gemm", (2, 2), ("x", np.eye(2), "x"), {}),
    "batches of constant matrices": ("MatMul", (2, 3, 5), ("x", np.ones((2, 5, 4))), {}),
    "a constant vector": ("MatMul", (3, 5), ("x", np.ones(5)), {}),
}


def test_both_readers_know_the_same_operators_but_those_left_out() -> None:
    assert set(OPERATORS) == set(installed.OPERATORS) - LEFT_OUT and set(installed.OPERATORS) >= LEFT_OUT


@pytest.mark.parametrize("op", sorted(LEFT_OUT))
def test_operators_left_out_are_refused_by_name(op: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"The node 'the_node' \({op}\): its operator is not supported\.$"):
        read_network(operators.one_node(op, (2, 3), "x").SerializeToString())


def refused(model: onnx.ModelProto) -> bool:
    """Whether the exact audit's reader refuses a model that pydual's loader reads, and says why."""
    try:
        IntegerNetwork(read_network(model.SerializeToString()))
    except InputError as error:
        assert str(error).startswith("The model: ") and "\n" not in str(error)
        return True
    return False


@pytest.mark.parametrize("name", NARROWER)
def test_forms_of_operators_left_out_are_refused(name: str, tmp_path: Path) -> None:
    op, shape, inputs, attributes = NARROWER[name]
    model = operators.one_node(op, shape, *inputs, **attributes)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert pydual.load(tmp_path / "m.onnx").digest and refused(model)


CASES_LEFT_OUT = {
    "matmul by a vector", "matmul vector left", "matmul batch", "matmul batch of weights", "matmul batch left",
}  # fmt: skip


def left_out(op: str, inputs: Any, attributes: dict[str, Any]) -> bool:
    """Whether a case of an operator has a form that is left out."""
    odd = attributes.get("ceil_mode") or attributes.get("storage_order") or "SAME" in str(attributes.get("auto_pad"))
    return op in LEFT_OUT or bool(odd) or (op == "Gemm" and any(isinstance(name, str) for name in inputs[2:]))


@pytest.mark.parametrize("dtype", operators.DTYPES)
@pytest.mark.parametrize("case", [name for name, case in operators.CASES.items() if case[0] not in LEFT_OUT])
def test_cases_of_operators(case: str, dtype: str, tmp_path: Path) -> None:
    model = operators.one_node(*operators.CASES[case], dtype=dtype)
    assert refused(model) if case in CASES_LEFT_OUT else same_network(model, tmp_path)


@pytest.mark.parametrize("op, shape, inputs, attributes", operators.OPTIONS)
def test_options_of_operators(op: str, shape: Any, inputs: Any, attributes: Any, tmp_path: Path) -> None:
    model = operators.one_node(op, shape, *inputs, **attributes)
    assert refused(model) if left_out(op, inputs, attributes) else same_network(model, tmp_path)


@pytest.mark.parametrize("op, shape, inputs, attributes, opset", [o for o in operators.OLD if o[0] not in LEFT_OUT])
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
    chosen = chosen if len(chosen) else np.array([rng.integers(len(shape))])
    return np.array([a - len(shape) if rng.random() < 0.3 else a for a in chosen], np.int64)


def elementwise(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    pair = ("x", fitting(rng, shape)) if rng.random() < 0.7 else (fitting(rng, shape), "x")
    return shape, pair if rng.random() < 0.8 else ("x", "x"), {}


def alone(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    return shape_of(rng), ("x",), {}


def several(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng)
    first = (fitting(rng, shape), "x") if rng.random() < 0.4 else ("x",)
    return shape, (*first, *("x" if rng.random() < 0.4 else fitting(rng, shape) for _ in range(rng.integers(4)))), {}


def windowed(rng: Generator, kernel: list[int]) -> dict[str, Any]:
    n = len(kernel)
    found: dict[str, Any] = {"strides": shape_of(rng, n, 3)}
    if rng.random() < 0.4:
        found["dilations"] = shape_of(rng, n, 2)
    form = rng.choice(["pads", "VALID", "none"])
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
    options = {"kernel_shape": kernel, **windowed(rng, kernel), "ceil_mode": 0}
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
    left = [k] if rng.random() < 0.2 else [*batch, m, k]
    right = [k] if rng.random() < 0.2 else [*batch, k, n]
    return (left, ("x", weights(rng, k, n)), {}) if rng.random() < 0.5 else (right, (weights(rng, m, k), "x"), {})


def batch_normalization(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng, int(rng.integers(2, 5)))
    parameters = weights(rng, 3, shape[1])
    options = {"epsilon": float(rng.random())} if rng.random() < 0.5 else {}
    return shape, ("x", *parameters, rng.random(shape[1])), options


def clip(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    low, high = (np.array(v) for v in sorted(rng.normal(size=2)))
    return shape_of(rng), [("x", low, high), ("x", low), ("x", "", high), ("x",), ("x", high, low)][rng.integers(5)], {}


def sliced(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng, most=6)
    axes = axes_of(rng, shape)
    starts, ends = rng.integers(-8, 3, len(axes)), rng.integers(1, 9, len(axes))
    steps = rng.choice([1, 1, 2, 3, -1, -2], len(axes))
    return shape, ("x", starts, ends, axes, steps), {}


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
    return (
        shape,
        ("x", ones) if len(ones) and rng.random() < 0.6 else ("x", axes_of(rng, shape)) if rng.random() < 0.5 else ("x",),
        {},
    )


def unsqueezed(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    shape = shape_of(rng, int(rng.integers(1, 3)))
    return shape, ("x", rng.permutation(len(shape) + 2)[:2] - (len(shape) + 2 if rng.random() < 0.5 else 0)), {}


def optional(options: Callable[[Generator, list[int]], dict[str, Any]]) -> Callable[[Generator], Any]:
    def draw(rng: Generator) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
        shape = shape_of(rng)
        return shape, ("x",), options(rng, shape) if rng.random() < 0.8 else {}

    return draw


DRAWS: dict[str, Callable[[Generator], Any]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), elementwise),
    **dict.fromkeys(("Relu", "Abs", "Identity", "Sigmoid", "Tanh", "Dropout"), alone),
    "Max": several,
    "GlobalAveragePool": lambda rng: (shape_of(rng, int(rng.integers(3, 6))), ("x",), {}),
    "MaxPool": pool,
    "AveragePool": average,
    "BatchNormalization": batch_normalization,
    "Clip": clip,
    "Concat": concatenated,
    "Conv": conv,
    "Flatten": optional(lambda rng, shape: {"axis": int(rng.integers(-len(shape), len(shape) + 1))}),
    "Gather": gathered,
    "Gemm": gemm,
    "LeakyRelu": optional(lambda rng, shape: {"alpha": float(rng.normal())}),
    "MatMul": matmul,
    "Reshape": reshaped,
    "Slice": sliced,
    "Squeeze": squeezed,
    "Transpose": optional(lambda rng, shape: {"perm": rng.permutation(len(shape)).tolist()}),
    "Unsqueeze": unsqueezed,
}


def test_every_operator_is_drawn() -> None:
    in_the_chains_below = {"Cast", "Constant", "Shape"}
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


# ---- whole models

Nodes = list[tuple[str, list[str], list[str], dict[str, Any]]]


def chain(nodes: Nodes, shape: list[Any], constants: dict[str, Any], element: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A model from x to y; its float constants have the element type of the input."""
    kind = np.float32 if element == TensorProto.FLOAT else np.float64
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, **options) for op, inputs, outputs, options in nodes],
        "g",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", element, None)],
        [numpy_helper.from_array(a.astype(kind) if a.dtype.kind == "f" else a, n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def image() -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    nodes: Nodes = [
        ("Conv", ["x", "w", "b"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"], {}),
        ("Relu", ["n"], ["r"], {}),
        ("Conv", ["r", "u"], ["d"], {"pads": [1, 1, 1, 1], "auto_pad": "NOTSET"}),
        ("Add", ["d", "x"], ["a"], {}),
        ("LeakyRelu", ["a"], ["l"], {"alpha": 0.1}),
        ("MaxPool", ["l"], ["p"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]}),
        ("AveragePool", ["p"], ["q"], {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}),
        ("Concat", ["q", "p"], ["s"], {"axis": 1}),
        ("GlobalAveragePool", ["s"], ["t"], {}),
        ("MaxPool", ["s"], ["o"], {"kernel_shape": [2, 2]}),
        ("Sub", ["t", "o"], ["f"], {}),
        ("Flatten", ["f"], ["h"], {}),
        ("Gemm", ["h", "k"], ["y"], {"transB": 1}),
    ]
    constants = {"w": weights(rng, 3, 2, 3, 3), "u": weights(rng, 2, 3, 3, 3), "k": weights(rng, 2, 4), "b": weights(rng, 3)}
    statistics = {"g": weights(rng, 3), "m": weights(rng, 3), "v": rng.random(3)}
    return chain(nodes, ["batch", 2, 4, 4], {**constants, **statistics})


def constants_moved() -> onnx.ModelProto:
    rng = np.random.default_rng(2)
    nodes: Nodes = [
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {}),
        ("Unsqueeze", ["n", "axes"], ["n1"], {}),
        ("Concat", ["n1", "rest"], ["shape"], {"axis": 0}),
        ("Reshape", ["x", "shape"], ["f"], {}),
        ("Div", ["f", "half"], ["f2"], {}),
        ("Mul", ["half", "f2"], ["f3"], {}),
        ("Transpose", ["w"], ["w4"], {}),
        ("MatMul", ["f3", "w4"], ["h"], {}),
        ("Constant", [], ["ones"], {"value": helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])}),
        ("Add", ["h", "ones"], ["i"], {}),
        ("Relu", ["i"], ["j"], {}),
        ("Cast", ["j"], ["k"], {"to": TensorProto.FLOAT}),
        ("Sub", ["k", "w5"], ["y"], {}),
    ]
    integers = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    return chain(nodes, ["n", 2, 3], {**integers, "half": np.array(0.3), "w": weights(rng, 2, 6), "w5": weights(rng, 2)})


def vectors(element: int = TensorProto.DOUBLE) -> onnx.ModelProto:
    rng = np.random.default_rng(3)
    nodes: Nodes = [
        ("Slice", ["x", "zero", "two", "axis"], ["a"], {}),
        ("Slice", ["x", "two", "four", "axis"], ["b"], {}),
        ("Slice", ["x", "four", "six", "axis"], ["c"], {}),
        ("Sigmoid", ["a"], ["a1"], {}),
        ("Tanh", ["b"], ["b1"], {}),
        ("LeakyRelu", ["c"], ["c1"], {}),
        ("Max", ["a1", "b1", "c1"], ["d"], {}),
        ("Add", ["w", "d"], ["e0"], {}),
        ("Add", ["e0", "a"], ["e"], {}),
        ("Abs", ["e"], ["f"], {}),
        ("Clip", ["f", "low", "high"], ["g"], {}),
        ("LeakyRelu", ["g"], ["h"], {"alpha": 0.3}),
        ("Slice", ["h", "zero", "end", "axis"], ["j"], {}),
        ("Dropout", ["j"], ["k"], {}),
        ("Identity", ["k"], ["l"], {}),
        ("Unsqueeze", ["l", "axis"], ["m"], {}),
        ("Squeeze", ["m", "axis"], ["n"], {}),
        ("Concat", ["n", "n", "x"], ["y"], {"axis": -1}),
    ]
    integers = {"two": [2], "four": [4], "six": [6], "zero": [0], "end": [-1], "axis": [1]}
    reals = {"w": weights(rng, 2), "low": np.array(0.1), "high": np.array(2.5)}
    return chain(nodes, [1, 6], {**{name: np.array(v) for name, v in integers.items()}, **reals}, element)


MODELS = {"image": image, "constants moved": constants_moved, "vectors": vectors}


def test_the_models_use_every_operator() -> None:
    assert {node.op_type for make in MODELS.values() for node in make().graph.node} == set(OPERATORS)


@pytest.mark.parametrize("name", MODELS)
def test_whole_models(name: str, tmp_path: Path) -> None:
    assert same_network(MODELS[name](), tmp_path)


ON_CONSTANTS: Nodes = [
    *[(op, ["v"], ["c"], {}) for op in ("Tanh", "Sigmoid", "Relu", "Abs", "LeakyRelu", "Clip")],
    *[(op, ["v", "v"], ["c"], {}) for op in ("Add", "Sub", "Mul", "Div", "Max")],
    ("MatMul", ["m", "m"], ["c"], {}),
    ("Gemm", ["m", "m"], ["c"], {}),
]


@pytest.mark.parametrize("node", ON_CONSTANTS, ids=lambda node: node[0])
def test_arithmetic_on_constants_is_refused(node: Any) -> None:
    model = chain([node, ("Add", ["x", "c"], ["y"], {})], [1, 3], {"v": np.array([0.1, 0.2, 0.3]), "m": np.eye(3)})
    assert refused(model)


def test_what_the_program_does_not_read_is_refused() -> None:
    assert refused(chain([("Sin", ["x"], ["y"], {})], [1, 3], {}))


STORED = [
    (TensorProto.FLOAT, [1.5, -0.1]),
    (TensorProto.DOUBLE, [1.5, -0.1]),
    (TensorProto.FLOAT16, [1.5, -0.1]),
    (TensorProto.BFLOAT16, [1.5, -0.25]),
    (TensorProto.INT64, [2**40, -3]),
    (TensorProto.INT32, [2**30, -3]),
    (TensorProto.INT16, [300, -3]),
    (TensorProto.INT8, [100, -3]),
    (TensorProto.UINT8, [200, 3]),
    (TensorProto.UINT16, [60000, 3]),
    (TensorProto.UINT32, [2**31, 3]),
    (TensorProto.UINT64, [2**40, 3]),
    (TensorProto.BOOL, [1, 0]),
]


READ = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("element, numbers", STORED)
def test_tensors_are_read_from_every_field(element: int, numbers: list[float], raw: bool, tmp_path: Path) -> None:
    proto = chain([("Add", ["x", "c"], ["y"], {})], [1, 2], {})
    tensor = helper.make_tensor("c", element, [2], numbers)
    if raw:
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor), "c")
        assert tensor.raw_data
    proto.graph.initializer.append(tensor)
    if element in READ:
        assert same_network(proto, tmp_path)
    else:
        with pytest.raises(UnsupportedError, match="is not float32, float64, int32 or int64"):
            read_network(proto.SerializeToString())


def mutated(data: bytes, edits: list[tuple[int, int, int]]) -> bytes:
    """Bytes with edits (place, kind, byte): replaced, removed, inserted, or cut off."""
    for place, kind, byte in edits:
        at = place % (len(data) + 1)
        piece = {0: bytes([byte]), 1: b"", 2: data[at : at + 1] + bytes([byte]), 3: data[at : at + 9] * 2}[kind]
        data = data[:at] + piece + data[at + (9 if kind == 3 else 1) :]
    return data


kinds = st.sampled_from([0, 0, 0, 0, 1, 2, 3])
edits = st.lists(st.tuples(st.integers(0, 2**20), kinds, st.integers(0, 255)), min_size=1, max_size=3)
SMALL = [make().SerializeToString() for make in MODELS.values()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(SMALL), edits)
def test_mutated_models(folder: Path, data: bytes, changes: list[tuple[int, int, int]]) -> None:
    """A network or an error of ours; and what both readers take is the same network."""
    data = mutated(data, changes)
    (folder / "m.onnx").write_bytes(data)
    try:
        found = IntegerNetwork(read_network(data))
        expected = pydual.load(folder / "m.onnx")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert found.digest == expected.digest


@pytest.mark.parametrize(
    "nodes",
    [
        [("Reshape", ["x", "huge"], ["y"], {})],
        [("Reshape", ["x", "long"], ["y"], {})],
        [("Concat", ["x"] * 20_000, ["y"], {"axis": 1})],
        [("AveragePool", ["x"], ["y"], {"kernel_shape": [1], "pads": [2**30, 2**30]})],
        [("Gather", ["x", "many"], ["y"], {})],
        [("MaxPool", ["x"], ["y"], {"kernel_shape": [10**9], "pads": [10**9, 10**9]})],
        [("MatMul", ["left", "right"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})],
        [*[("Add", ["c" * n, "c" * n], ["c" * (n + 1)], {}) for n in range(1, 1000)], ("Add", ["x", "c" * 1000], ["y"], {})],
    ],
)
def test_models_that_grow_are_refused(nodes: Nodes) -> None:
    big = 2**30
    constants = {"huge": [big, big], "long": [big] * 100_000, "c": np.ones(100_000)}
    constants["many"] = np.zeros(2**22, np.uint8)
    factors = {"left": np.ones((3000, 1)), "right": np.ones((1, 3000))}
    model = chain(nodes, [1, 1, 3], {**{n: np.array(v) for n, v in constants.items()}, **factors})
    with pytest.raises(InputError):
        read_network(model.SerializeToString())


def test_a_list_of_very_many_integers_is_refused() -> None:
    model = chain([("Add", ["x", "c"], ["y"], {})], [1], {})
    tensor = model.graph.initializer.add(name="c", data_type=TensorProto.INT64, dims=[2**21])
    tensor.int64_data.extend([1] * 2**21)
    with pytest.raises(InputError, match="more than"):
        read_network(model.SerializeToString())


def test_files_of_very_many_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(2**27), 1))
    with pytest.raises(InputError, match="more than"):
        read_input_file(str(tmp_path / "bomb"))


def test_attributes_of_another_type_are_refused() -> None:
    """Each attribute of each operator, as a number, a string, a list and a tensor."""
    names = {a.name for make in MODELS.values() for node in make().graph.node for a in node.attribute}
    names |= {
        "alpha",
        "beta",
        "group",
        "dilations",
        "ceil_mode",
        "perm",
        "keepdims",
        "to",
        "mode",
        "start",
        "end",
        "axes",
        "value",
    }
    values = [0.5, 7, "text", [1.5], [1, 2], helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])]
    refused = 0
    for make in MODELS.values():
        for i in range(len(make().graph.node)):
            for name in sorted(names):
                model = make()
                node = model.graph.node[i]
                kept = [a for a in node.attribute if a.name != name]
                del node.attribute[:]
                node.attribute.extend([*kept, helper.make_attribute(name, values[(i + len(name)) % len(values)])])
                try:
                    read_network(model.SerializeToString())
                except InputError:
                    refused += 1
    assert refused > 100


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


@pytest.mark.parametrize(
    "more",
    [
        b"\x3a\x00",  # a second graph, which others merge with the first
        b"\x38\x01",  # the graph as a number, which others skip
        b"\x3b",  # a group
        b"\x02\x00",  # field number 0
        b"\xba\x80\x80\x80\x10\x00",  # the graph's key plus 2**32, which others cut to 32 bits
        b"\x3a" + varint(2**40),
        b"\x80" * 11,
    ],
)
def test_bytes_that_others_may_read_otherwise_are_refused(more: bytes) -> None:
    assert read_network(SMALL[0])
    with pytest.raises(InputError):
        read_network(SMALL[0] + more)


def sparse_weights() -> onnx.ModelProto:
    """Weights that sparse ones of the same name replace, for onnxruntime."""
    model = chain([("Mul", ["x", "w"], ["y"], {})], [1, 2], {"w": np.ones(2)})
    places = numpy_helper.from_array(np.array([0, 1]), "places")
    values = numpy_helper.from_array(np.array([5.0, 7.0], np.float32), "w")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2]))
    return model


def squeezed_along_no_axis() -> onnx.ModelProto:
    """Axes of no number: all of size 1 for onnxruntime, none for the reference implementation."""
    nodes: Nodes = [("Squeeze", ["x"], ["s"], {"axes": [0]}), ("Gather", ["s", "first"], ["y"], {"axis": 0})]
    model = chain(nodes, [1, 2, 3], {"first": np.array([0])})
    model.opset_import[0].version = 11
    del model.graph.node[0].attribute[0].ints[:]
    return model


@pytest.mark.parametrize("make", [sparse_weights, squeezed_along_no_axis])
def test_models_that_others_read_otherwise_are_refused(make: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    assert not same_network(make(), tmp_path)


# ---- properties


def same_query(text: str, folder: Path) -> bool:
    """Whether both readers take a property; where they do, they must ask the same."""
    (folder / "p.vnnlib").write_text(text, encoding="utf-8")
    try:
        expected = pydual.load_checker(folder / "p.vnnlib")
    except InputError:
        with pytest.raises(InputError):
            read_checker(text.encode())
        return False
    found = read_checker(text.encode())
    assert found.outputs == expected.outputs and query_digest(found) == query_digest(expected)
    return True


@settings(max_examples=200, deadline=None)
@given(st.lists(properties.conditions, min_size=1, max_size=4))
def test_random_properties(folder: Path, asserts: list[str]) -> None:
    same_query(properties.HEAD + properties.BOX + "\n".join(f"(assert {c})" for c in asserts), folder)


BOUND = "(declare-const X_0 Real) (declare-const Y_0 Real) (assert (>= X_0 {})) (assert (<= X_0 {})) (assert (<= Y_0 0))"


@pytest.mark.parametrize(
    "text",
    [
        BOUND.format("-0.1", "0.1"),
        BOUND.format("-0.0", "1e-400"),
        BOUND.format("-1e-400", "-0.0"),
        BOUND.format("(/ -1 3)", "(/ 1 3)"),
        BOUND.format("0.1", "0.1"),
        BOUND.format("-1.7976931348623157e308", "1.7976931348623157e308"),
        BOUND.format("0.1", "0.2") + "(assert (or (<= X_0 0.15) (and (>= X_0 0.15) (< Y_0 X_0))))",
        BOUND.format("0.1", "0.2") + "(assert (or (< X_0 0.1) (< X_0 0.15)))",
        BOUND.format("0", "1") + "; a comment that ends with a carriage return (\r(assert (>= Y_0 -1))",
        "(set-info :source |a ( b|)(set-logic QF_LRA)" + BOUND.format("0", "1") + "; the end (",
    ],
)
def test_bounds_of_all_kinds(text: str, folder: Path) -> None:
    assert same_query(text, folder)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(properties.SEEDS), edits)
def test_mutated_properties(folder: Path, text: str, changes: list[tuple[int, int, int]]) -> None:
    """A checker or an error of ours; and what both readers take is the same query."""
    data = mutated(text.encode(), changes)
    (folder / "p.vnnlib").write_bytes(data)
    try:
        found = query_digest(read_checker(data))
        expected = query_digest(pydual.load_checker(folder / "p.vnnlib"))
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert found == expected


def test_comments_end_with_their_line() -> None:
    text = BOUND.format("0", "1") + "(assert (or (<= Y_0 -1);\r(>= Y_0 -2)\r\n))"
    assert len(problems(read_checker(text.encode()))) == 2


@pytest.mark.parametrize(
    "assertion",
    [
        "(not " * 100_000,
        "(assert " + "(and " * 300 + "(<= Y_0 0)" + ")" * 301,
        "(assert (<= " + "(- " * 300 + "Y_0" + ")" * 300 + " 0))",
        "(assert (<= (* 1e9999 Y_0) 0))",
        "(assert (<= (+ Y_0 " + " ".join(f"(/ 1 {10**50 + k})" for k in range(2000)) + ") 0))",
        "(assert (or (<= Y_0 0) (<= Y_1 0)))" * 40,
        "(assert (<= Y_0 " + "1" * 100_000 + "))",
        '(assert (<= Y_0 "0"))',
        "(assert (<= Y_0 0)",
        "(assert (<= Y_0 0)))",
        "(declare-const X_99999999 Real)",
        "(push 1)",
    ],
)
def test_properties_that_grow_or_break_are_refused(assertion: str) -> None:
    with pytest.raises(InputError):
        problems(read_checker((properties.HEAD + properties.BOX + assertion).encode()))


def test_properties_of_very_many_words_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = BOUND.format("0", "1")
    assert read_checker(text.encode()).outputs == 1
    monkeypatch.setattr(exact_vnnlib, "MAX_TOKENS", 40)
    with pytest.raises(UnsupportedError, match="more than 40 words"):
        read_checker(text.encode())


# ---- the benchmark's files


def files(bench: Path, kind: str) -> dict[str, list[Path]]:
    """The files of one kind, by family."""
    found: dict[str, list[Path]] = {}
    for path in sorted(bench.glob(f"**/*.{kind}*")):
        found.setdefault(path.relative_to(bench).parts[0], []).append(path)
    return found


def test_models_of_the_benchmark(bench: Path) -> None:
    read = 0
    for family in files(bench, "onnx").values():
        path = min(family, key=lambda path: path.stat().st_size)
        if path.stat().st_size > 500_000:
            continue  # a second each
        try:
            expected = pydual.load(path)
        except UnsupportedError:
            continue
        assert IntegerNetwork(read_network(read_input_file(str(path)))).digest == expected.digest
        read += 1
    assert read >= 12


def test_properties_of_the_benchmark(bench: Path) -> None:
    for family in files(bench, "vnnlib").values():
        for path in {family[0], family[-1]}:
            found, expected = read_checker(read_input_file(str(path))), pydual.load_checker(path)
            assert (query_digest(found), found.outputs) == (query_digest(expected), expected.outputs)
