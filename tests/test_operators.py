"""Every operator against onnxruntime, in float32 and float64, on models with random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented

from pydual.errors import InputError, PydualError, UnsupportedError
from pydual.io.onnx import OPERATORS, load
from pydual.network import Network
from pydual.operators.primitives import Affine

DTYPES = {"float32": (np.float32, TensorProto.FLOAT, 1e-4), "float64": (np.float64, TensorProto.DOUBLE, 1e-12)}


def one_node(
    op: str, shape: Sequence[int], *inputs: Any, opset: int = 18, dtype: str = "float64", **attributes: Any
) -> onnx.ModelProto:
    """A model of one node; among ``inputs``, "x" is the model's input of the given shape, arrays are constants."""
    kind, element, _ = DTYPES[dtype]
    names, initializers = [], []
    for i, value in enumerate(inputs):
        if isinstance(value, str):
            names.append(value)
            continue
        array = np.asarray(value)
        array = array.astype(kind) if array.dtype.kind == "f" else array
        names.append(f"c{i}")
        initializers.append(numpy_helper.from_array(array, f"c{i}"))
    node = helper.make_node(op, names, ["y0"], name="the_node", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", element, list(shape))],
        [helper.make_tensor_value_info("y0", element, None)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def oracle(model: onnx.ModelProto) -> Callable[[np.ndarray], np.ndarray]:
    """onnxruntime, or the reference implementation of ONNX where onnxruntime has no float64 kernel."""
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except NotImplemented:
        session = ReferenceEvaluator(model)
    return lambda x: session.run(None, {"x": x})[0]


def compare(model: onnx.ModelProto, path, dtype: str = "float64", seeds: int = 3) -> Network:
    """Load the model, and compare it with onnxruntime at random inputs, shape and values."""
    kind, _, tolerance = DTYPES[dtype]
    file = path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    network = load(file)
    run = oracle(model)
    for seed in range(seeds):
        x = np.random.default_rng(seed).standard_normal(network.input_shape).astype(kind)
        expected = run(x)
        assert network.output_shape == expected.shape
        assert network.element_type == dtype
        result = network.evaluate(x.astype(np.float64).ravel())
        np.testing.assert_allclose(result, expected.ravel(), rtol=tolerance, atol=tolerance)
    return network


RNG = np.random.default_rng(7)


def weights(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


IMAGE = (1, 3, 7, 6)
CASES = {
    "matmul": ("MatMul", (1, 5), "x", weights(5, 4)),
    "matmul left constant": ("MatMul", (5, 1), weights(3, 5), "x"),
    "matmul left constant wide": ("MatMul", (5, 2), weights(3, 5), "x"),
    "matmul vector": ("MatMul", (5,), "x", weights(5, 2)),
    "matmul by a vector": ("MatMul", (3, 5), "x", weights(5)),
    "matmul vector left": ("MatMul", (2, 5, 3), weights(5), "x"),
    "matmul batch": ("MatMul", (2, 3, 5), "x", weights(2, 5, 4)),
    "matmul batch of weights": ("MatMul", (3, 5), "x", weights(2, 5, 4)),
    "matmul batch left": ("MatMul", (2, 5, 3), weights(4, 1, 2, 5), "x"),
    "matmul scalar": ("MatMul", (1,), "x", weights(1, 1)),
    "gemm": ("Gemm", (1, 5), "x", weights(5, 4), weights(4)),
    "gemm no bias": ("Gemm", (2, 5), "x", weights(5, 4)),
    "gemm left": ("Gemm", (5, 3), weights(2, 5), "x", weights(2, 1)),
    "add": ("Add", (2, 3), "x", weights(2, 3)),
    "add grows": ("Add", (1, 3), "x", weights(4, 1, 1)),
    "add same": ("Add", (2, 3), "x", "x"),
    "sub": ("Sub", (2, 3), "x", weights(3)),
    "sub reversed": ("Sub", (2, 3), weights(2, 1), "x"),
    "sub same": ("Sub", (2, 3), "x", "x"),
    "mul": ("Mul", (2, 3), "x", weights(3)),
    "mul reversed grows": ("Mul", (3,), weights(2, 3), "x"),
    "div": ("Div", (2, 3), "x", weights(2, 1)),
    "neg": ("Neg", (2, 3), "x"),
    "sum": ("Sum", (2, 3), "x", weights(3), "x"),
    "max": ("Max", (2, 3), "x", weights(3), weights(2, 1)),
    "max of one": ("Max", (2, 3), "x"),
    "relu": ("Relu", (2, 3), "x"),
    "abs": ("Abs", (2, 3), "x"),
    "sigmoid": ("Sigmoid", (2, 30), "x"),
    "tanh": ("Tanh", (2, 30), "x"),
    "hard sigmoid": ("HardSigmoid", (2, 30), "x"),
    "prelu": ("PRelu", (2, 3, 2), "x", weights(3, 1)),
    "identity": ("Identity", (2, 3), "x"),
    "dropout": ("Dropout", (2, 3), "x"),
    "dropout with ratio": ("Dropout", (2, 3), "x", np.array(0.25)),
    "conv": ("Conv", IMAGE, "x", weights(4, 3, 3, 2), weights(4)),
    "conv no bias": ("Conv", (2, *IMAGE[1:]), "x", weights(4, 3, 3, 2)),
    "conv 1d": ("Conv", (1, 3, 9), "x", weights(2, 3, 4), weights(2)),
    "conv 3d": ("Conv", (1, 2, 4, 3, 5), "x", weights(2, 2, 2, 1, 3), weights(2)),
    "conv whole image": ("Conv", (1, 1, 1, 6), "x", weights(4, 1, 1, 6), weights(4)),
    "batch normalization": ("BatchNormalization", IMAGE, "x", *weights(3, 3), np.abs(weights(3))),
    "batch normalization 2d": ("BatchNormalization", (1, 3), "x", *weights(3, 3), np.abs(weights(3))),
    "reshape": ("Reshape", (2, 6), "x", np.array([3, -1])),
    "reshape copies": ("Reshape", (2, 6, 2), "x", np.array([0, -1])),
    "squeeze": ("Squeeze", (1, 3, 1), "x", np.array([0])),
    "squeeze all": ("Squeeze", (1, 3, 1), "x"),
    "unsqueeze": ("Unsqueeze", (2, 3), "x", np.array([0, -1])),
    "transpose reversed": ("Transpose", (2, 3, 4), "x"),
    "expand": ("Expand", (2, 1), "x", np.array([3, 1, 2])),
    "slice": ("Slice", (4, 6), "x", np.array([1, -5]), np.array([2**62, -1]), np.array([0, 1]), np.array([2, 3])),
    "slice backward": ("Slice", (4, 6), "x", np.array([-1]), np.array([-(2**62)]), np.array([1]), np.array([-2])),
    "slice leading": ("Slice", (4, 6), "x", np.array([1]), np.array([3])),
    "pad": ("Pad", (2, 3), "x", np.array([1, 0, 2, -1]), np.array(0.5)),
    "pad axes": ("Pad", (2, 3), "x", np.array([1, 2]), "", np.array([1])),
    "reduce sum": ("ReduceSum", (2, 3, 4), "x", np.array([-1, 0])),
    "reduce sum all": ("ReduceSum", (2, 3), "x"),
    "global average pool": ("GlobalAveragePool", IMAGE, "x"),
    "global max pool": ("GlobalMaxPool", IMAGE, "x"),
    "clip": ("Clip", (2, 30), "x", np.array(-0.5), np.array(0.7)),
    "clip below": ("Clip", (2, 30), "x", np.array(-0.5)),
    "clip above": ("Clip", (2, 30), "x", "", np.array(0.5)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_onnxruntime(case, dtype, tmp_path):
    compare(one_node(*CASES[case], dtype=dtype), tmp_path, dtype)


OPTIONS = [
    ("Gemm", (5, 1), ("x", weights(3, 5), weights(1, 3)), {"alpha": 0.5, "beta": 2.0, "transA": 1, "transB": 1}),
    ("Gemm", (3, 5), (weights(5, 2), "x", weights(3)), {"alpha": 0.3, "beta": -0.7, "transA": 1, "transB": 1}),
    ("Gemm", (2, 2), ("x", weights(2, 2), "x"), {"beta": 0.3}),
    ("HardSigmoid", (2, 30), ("x",), {"alpha": 0.7, "beta": 0.3}),
    ("LeakyRelu", (2, 30), ("x",), {}),
    ("LeakyRelu", (2, 30), ("x",), {"alpha": 0.25}),
    ("LeakyRelu", (2, 30), ("x",), {"alpha": 1.5}),
    ("Conv", IMAGE, ("x", weights(2, 3, 3, 2)), {"strides": [2, 1], "pads": [1, 0, 2, 1]}),
    ("Conv", IMAGE, ("x", weights(2, 3, 2, 3)), {"dilations": [2, 1], "pads": [2, 2, 2, 2], "strides": [1, 3]}),
    ("Conv", (2, 4, 5, 5), ("x", weights(6, 2, 3, 3), weights(6)), {"group": 2, "pads": [1, 1, 1, 1]}),
    ("Conv", (1, 4, 8), ("x", weights(4, 1, 3)), {"group": 4, "strides": [2], "kernel_shape": [3]}),
    ("Conv", IMAGE, ("x", weights(2, 3, 3, 2)), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", IMAGE, ("x", weights(2, 3, 2, 4)), {"auto_pad": "SAME_LOWER", "strides": [1, 3]}),
    ("Conv", IMAGE, ("x", weights(2, 3, 2, 4)), {"auto_pad": "VALID", "strides": [1, 2]}),
    ("BatchNormalization", IMAGE, ("x", *weights(3, 3), np.abs(weights(3))), {"epsilon": 0.1}),
    ("Flatten", (2, 3, 4), ("x",), {"axis": 0}),
    ("Flatten", (2, 3, 4), ("x",), {}),
    ("Flatten", (2, 3, 4), ("x",), {"axis": -1}),
    ("Flatten", (2, 3, 4), ("x",), {"axis": 3}),
    ("Transpose", (2, 3, 4), ("x",), {"perm": [1, 2, 0]}),
    ("Concat", (2, 3), ("x", weights(2, 1), "x"), {"axis": 1}),
    ("Concat", (2, 3), (weights(1, 3), "x"), {"axis": -2}),
    ("Gather", (3, 4), ("x", np.array([[2, 0], [-1, 1]])), {"axis": 1}),
    ("Gather", (3, 4), ("x", np.array(1)), {}),
    ("ReduceMean", (2, 3, 4), ("x", np.array([1])), {"keepdims": 0}),
    ("ReduceMean", (2, 3, 4), ("x",), {"noop_with_empty_axes": 1, "keepdims": 0}),
    ("ReduceMean", (2, 3, 4), ("x", np.array([2, 1])), {"noop_with_empty_axes": 1, "keepdims": 1}),
    ("ReduceSum", (2, 3, 4), ("x", np.array([], dtype=np.int64)), {"noop_with_empty_axes": 0}),
    ("Reshape", (2, 3, 4), ("x", np.array([0, -1])), {"allowzero": 0}),
    ("ReduceMax", (2, 3, 4), ("x", np.array([0, 2])), {"keepdims": 0}),
    ("AveragePool", IMAGE, ("x",), {"kernel_shape": [3, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", IMAGE, ("x",), {"kernel_shape": [3, 2], "pads": [1, 1, 1, 1], "strides": [2, 3]}),
    ("AveragePool", IMAGE, ("x",), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("AveragePool", IMAGE, ("x",), {"kernel_shape": [2, 4], "ceil_mode": 1, "strides": [2, 3]}),
    ("AveragePool", (1, 2, 9), ("x",), {"kernel_shape": [4], "pads": [2, 1], "ceil_mode": 1, "strides": [3]}),
    ("MaxPool", IMAGE, ("x",), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("MaxPool", IMAGE, ("x",), {"kernel_shape": [1, 1], "strides": [2, 2]}),
    ("MaxPool", IMAGE, ("x",), {"kernel_shape": [3, 2], "pads": [1, 1, 1, 1], "storage_order": 1}),
    ("MaxPool", (2, 2, 7, 7), ("x",), {"kernel_shape": [3, 3], "dilations": [2, 1], "pads": [1, 0, 1, 2]}),
    ("MaxPool", IMAGE, ("x",), {"kernel_shape": [2, 4], "ceil_mode": 1, "strides": [2, 3]}),
    ("MaxPool", (1, 2, 9), ("x",), {"kernel_shape": [4], "pads": [2, 2], "ceil_mode": 1, "strides": [4]}),
    ("MaxPool", IMAGE, ("x",), {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op, shape, inputs, attributes", OPTIONS)
def test_options_agree_with_onnxruntime(op, shape, inputs, attributes, dtype, tmp_path):
    compare(one_node(op, shape, *inputs, dtype=dtype, **attributes), tmp_path, dtype)


OLD = [
    ("Squeeze", (1, 3, 1), ("x",), {"axes": [2]}, 11),
    ("Unsqueeze", (2, 3), ("x",), {"axes": [1]}, 11),
    ("Slice", (4, 6), ("x",), {"starts": [1, 0], "ends": [3, -1]}, 9),
    ("Pad", (2, 3), ("x",), {"pads": [0, 1, 1, 0], "value": 2.0}, 10),
    ("Clip", (2, 30), ("x",), {"min": -0.5, "max": 0.25}, 10),
    ("ReduceSum", (2, 3), ("x",), {"axes": [1], "keepdims": 0}, 11),
    ("ReduceMean", (2, 3), ("x",), {"axes": [-1]}, 13),
    ("Dropout", (2, 3), ("x",), {"ratio": 0.5}, 10),
]


@pytest.mark.parametrize("op, shape, inputs, attributes, opset", OLD)
def test_older_opsets_agree_with_onnxruntime(op, shape, inputs, attributes, opset, tmp_path):
    compare(one_node(op, shape, *inputs, opset=opset, dtype="float32", **attributes), tmp_path, "float32")


@pytest.mark.parametrize("include", [0, 1])
def test_average_pool_with_ceil_mode_counts_no_place_beyond_the_padding(include, tmp_path):
    torch = pytest.importorskip("torch")
    options = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    model = one_node("AveragePool", (1, 2, 6, 8), "x", opset=19, count_include_pad=include, **options)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    x = weights(1, 2, 6, 8)
    expected = torch.nn.functional.avg_pool2d(torch.from_numpy(x), 3, 2, 1, True, bool(include)).numpy()
    network = load(tmp_path / "m.onnx")
    assert network.output_shape == expected.shape
    np.testing.assert_allclose(network.evaluate(x.ravel()), expected.ravel(), atol=1e-14)


def test_batch_normalization_with_the_outputs_of_training_is_refused(tmp_path):
    model = one_node("BatchNormalization", (1, 3), "x", *weights(3, 3), np.abs(weights(3)), opset=9)
    model.graph.node[0].output.extend(["mean", "variance", "saved mean", "saved variance"])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="training mode"):
        load(tmp_path / "m.onnx")


def test_every_operator_has_a_test():
    tested = {case[0] for case in CASES.values()} | {case[0] for case in OPTIONS}
    structural = {"Cast", "Constant", "ConstantOfShape", "Shape", "Split"}  # in test_onnx.py
    assert tested | structural == set(OPERATORS)


@pytest.mark.parametrize(
    "op, shape, inputs",
    [
        ("Reshape", (2, 6), ("x", np.array([4, 3]))),
        ("Flatten", (1, 6), ("x",)),
        ("Identity", (2, 3), ("x",)),
        ("Squeeze", (1, 3), ("x",)),
        ("Transpose", (1, 3), ("x",)),
    ],
)
def test_a_change_of_shape_costs_no_primitive(op, shape, inputs, tmp_path):
    assert compare(one_node(op, shape, *inputs), tmp_path).primitives == ()


def test_weights_are_the_exact_values_of_the_float32_model(tmp_path):
    w, b = weights(5, 4).astype(np.float32), weights(4).astype(np.float32)
    network = compare(one_node("Gemm", (1, 5), "x", w, b, dtype="float32"), tmp_path, "float32")
    (primitive,) = network.primitives
    assert isinstance(primitive, Affine)
    ((_, matrix),) = primitive.terms
    assert isinstance(matrix, np.ndarray)  # dense layers stay dense
    assert np.array_equal(matrix, w.T.astype(np.float64)) and np.array_equal(primitive.bias, b.astype(np.float64))


def test_a_convolution_keeps_its_weights(tmp_path):
    w = weights(2, 3, 3, 2)
    (primitive,) = compare(one_node("Conv", IMAGE, "x", w, pads=[1, 1, 1, 1]), tmp_path).primitives
    assert isinstance(primitive, Affine)
    assert set(primitive.terms[0][1].data) == set(w.ravel())


@pytest.mark.parametrize(
    "op, shape, inputs, attributes",
    [
        ("Mul", (2, 3), ("x", "x"), {}),
        ("Div", (2, 3), (1.0, "x"), {}),
        ("MatMul", (3, 3), ("x", "x"), {}),
        ("Pad", (2, 3), ("x", np.array([1, 0, 0, 0])), {"mode": "reflect"}),
        ("BatchNormalization", (1, 3), ("x", *weights(3, 3), np.abs(weights(3))), {"training_mode": 1}),
        ("Dropout", (2, 3), ("x", np.array(0.5), np.array(True)), {}),
        ("Cast", (2, 3), ("x",), {"to": TensorProto.INT64}),
        ("Relu", (2, 3), ("x",), {"unheard_of": 1}),
        ("Expand", (2, 1), ("x", np.array([10**6, 1, 10**6])), {}),
    ],
)
def test_what_is_not_supported_is_refused_by_name(op, shape, inputs, attributes, tmp_path):
    (tmp_path / "m.onnx").write_bytes(one_node(op, shape, *inputs, **attributes).SerializeToString())
    with pytest.raises(UnsupportedError, match=rf"'the_node' \({op}\)"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "op, shape, inputs, attributes",
    [
        ("MatMul", (2, 3), ("x", weights(2, 3)), {}),
        ("Add", (2, 3), ("x", weights(2)), {}),
        ("Conv", IMAGE, ("x", weights(2, 4, 3, 3)), {}),
        ("Conv", IMAGE, ("x", weights(2, 3, 9, 9)), {}),
        ("Conv", IMAGE, ("x", weights(2, 3, 3, 3)), {"strides": [0, 1]}),
        ("Reshape", (2, 3), ("x", np.array([4, 2])), {}),
        ("Gather", (2, 3), ("x", np.array([5])), {}),
        ("Concat", (2, 3), ("x", weights(3, 1)), {"axis": 1}),
        ("Concat", (2, 3), ("x", "x"), {}),
        ("Clip", (2, 3), ("x", np.array(1.0), np.array(0.0)), {}),
        ("Transpose", (2, 3), ("x",), {"perm": [0, 0]}),
        ("Relu", (2, 3), ("nowhere",), {}),
        ("MaxPool", IMAGE, ("x",), {"kernel_shape": [2, 2], "ceil_mode": 2}),
        ("PRelu", (2, 3), ("x", weights(4, 2, 3)), {}),
        ("BatchNormalization", (1, 1), ("x", *weights(3, 3), np.abs(weights(3))), {}),
        ("Div", (2, 3), ("x", np.array(0.0)), {}),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, shape, inputs, attributes, tmp_path):
    (tmp_path / "m.onnx").write_bytes(one_node(op, shape, *inputs, **attributes).SerializeToString())
    with pytest.raises(PydualError, match="'the_node'") as caught:
        load(tmp_path / "m.onnx")
    assert caught.type is InputError
