"""ONNX files: whole models against onnxruntime, the benchmark networks, and files that must be refused."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pydual.errors import InputError, PydualError, UnsupportedError
from pydual.io.onnx import load
from pydual.network import Network
from pydual.operators.primitives import Relu

ROOT = Path(__file__).parents[1].parent / "shared" / "bench"
NETWORKS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("**/*.onnx*"))
NONLINEAR = {
    "lsnc/onnx/quadrotor2d_state.onnx": ("/Sin", "Sin"),
    "nln_2020/onnx/logsig_200_50_onnx.onnx": ("softmax_3", "Softmax"),
    "nln_2020/onnx/tansig_200_50_onnx.onnx": ("softmax_3", "Softmax"),
}


def model(nodes, shape, weights=(), dtype=TensorProto.FLOAT, outputs=("y",), inputs=("x",), opset=18):
    graph = helper.make_graph(
        [helper.make_node(op, i, o, name=f"node {n}", **kw) for n, (op, i, o, kw) in enumerate(nodes)],
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name in inputs],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(weights).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(proto: onnx.ModelProto, folder: Path, name: str = "m.onnx") -> Path:
    (folder / name).write_bytes(proto.SerializeToString())
    return folder / name


def agree(network: Network, tolerance: float = 1e-4, seeds: int = 3) -> None:
    """Compare with onnxruntime on the network's own bytes, at random inputs."""
    assert network.onnx is not None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(network.onnx, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for seed in range(seeds):
        x = np.random.default_rng(seed).random(network.input_shape).astype(network.element_type)
        (expected,) = session.run(None, {name: x})
        assert expected.shape == network.output_shape
        scale = np.abs(expected).max()
        result = network.evaluate(x.ravel().astype(np.float64))
        np.testing.assert_allclose(result, expected.ravel(), rtol=0, atol=tolerance * scale)


def random(*shape: int, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape).astype(dtype)


def small_net() -> onnx.ModelProto:
    return model(
        [("Gemm", ["x", "w", "b"], ["h"], {}), ("Relu", ["h"], ["r"], {}), ("MatMul", ["r", "v"], ["y"], {})],
        [1, 3],
        {"w": random(3, 4), "b": random(4), "v": random(4, 2)},
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_benchmark_networks_agree_with_onnxruntime(name):
    if name in NONLINEAR:
        node, operator = NONLINEAR[name]
        with pytest.raises(UnsupportedError, match=rf"'{node}' uses the operator {operator}, .* are Abs, Add,"):
            load(ROOT / name)
        return
    network = load(ROOT / name)
    if name.startswith("drones"):  # onnxruntime refuses them: float64 inputs, float32 weights
        network = replace(network, onnx=_widened(network))
    agree(network, 1e-5)


def _widened(network: Network) -> bytes:
    proto = onnx.load_model_from_string(network.onnx)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    return proto.SerializeToString()


def test_the_benchmark_networks_are_found(bench):
    assert len(NETWORKS) > 100 and set(NONLINEAR) < set(NETWORKS)


def test_residual_graph_with_shared_values(tmp_path):
    nodes = [
        ("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("BatchNormalization", ["c", "g", "b", "m", "s"], ["n"], {}),
        ("Relu", ["n"], ["r"], {}),
        ("Conv", ["r", "u"], ["d"], {"pads": [1, 1, 1, 1]}),
        ("Add", ["d", "x"], ["a"], {}),
        ("LeakyRelu", ["a"], ["l"], {"alpha": 0.1}),
        ("MaxPool", ["l"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Concat", ["p", "p"], ["q"], {"axis": 1}),
        ("GlobalAveragePool", ["q"], ["z"], {}),
        ("Flatten", ["z"], ["y"], {}),
    ]
    w = {"w": random(3, 2, 3, 3), "u": random(2, 3, 3, 3), "g": random(3), "b": -random(3), "m": random(3)}
    agree(load(saved(model(nodes, ["batch", 2, 6, 6], {**w, "s": random(3) ** 2}), tmp_path)))


def test_constants_are_folded(tmp_path):
    """View through the input's shape, and weights that are computed from constants."""
    nodes = [
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {}),
        ("Unsqueeze", ["n", "axes"], ["n1"], {}),
        ("Concat", ["n1", "rest"], ["shape"], {"axis": 0}),
        ("Reshape", ["x", "shape"], ["f"], {}),
        ("Constant", [], ["half"], {"value_float": 0.5}),
        ("Mul", ["w", "half"], ["w2"], {}),
        ("Neg", ["w2"], ["w3"], {}),
        ("Transpose", ["w3"], ["w4"], {}),
        ("MatMul", ["f", "w4"], ["h"], {}),
        ("ConstantOfShape", ["two"], ["ones"], {"value": helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])}),
        ("Add", ["h", "ones"], ["y"], {}),
    ]
    integers = {"zero": 0, "axes": [0], "rest": [-1], "two": [2]}
    constants = {**{name: np.array(n) for name, n in integers.items()}, "w": random(2, 6)}
    network = load(saved(model(nodes, ["n", 2, 3], constants), tmp_path))
    assert len(network.primitives) == 2
    assert network.folded == ("node 6",)  # the product; a change of sign rounds nothing
    agree(network)


@pytest.mark.parametrize(
    "nodes, folded",
    [
        ([("BatchNormalization", ["x", "v", "v", "v", "v"], ["y"], {})], ("node 0",)),
        (
            [("Add", ["v", "v"], ["c"], {}), ("Sub", ["v", "c"], ["d"], {}), ("Mul", ["x", "d"], ["y"], {})],
            ("node 0", "node 1"),
        ),
        ([("Div", ["v", "v"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})], ("node 0",)),
        ([("MatMul", ["w", "w"], ["c"], {}), ("MatMul", ["x", "c"], ["y"], {})], ("node 0",)),
        ([("Tanh", ["v"], ["c"], {}), ("Sum", ["x", "c"], ["y"], {})], ("node 0",)),
        ([("Sum", ["x", "v", "v"], ["y"], {})], ("node 0",)),
        ([("Gemm", ["x", "w", "v"], ["y"], {"alpha": 0.5})], ("node 0",)),
        ([("Gemm", ["x", "w", "v"], ["y"], {"beta": 3.0})], ("node 0",)),
        ([("Gemm", ["x", "w", "v"], ["g"], {}), ("LeakyRelu", ["g"], ["l"], {}), ("Div", ["l", "v"], ["y"], {})], ()),
        (
            [
                ("Relu", ["v"], ["c"], {}),
                ("Neg", ["c"], ["d"], {}),
                ("Sub", ["x", "d"], ["s"], {}),
                ("Clip", ["s"], ["y"], {}),
            ],
            (),
        ),
        ([("Sigmoid", ["x"], ["s"], {}), ("HardSigmoid", ["s"], ["y"], {})], ()),
    ],
)
def test_rounded_constants_are_noted(nodes, folded, tmp_path):
    """Products and sums of floats; not what is exact, nor what is one rounding of a stored number."""
    network = load(saved(model(nodes, [1, 3], {"v": np.abs(random(3)) + 1, "w": random(3, 3)}), tmp_path))
    assert network.folded == folded
    assert replace(network, folded=("other",)).digest == network.digest


def test_integer_constants_divide_as_integers(tmp_path):
    """49 times the rounded 1/49 is less than 1."""
    nodes = [
        ("Shape", ["x"], ["s"], {}),
        ("Div", ["s", "c"], ["d"], {}),
        ("Cast", ["d"], ["i"], {"to": TensorProto.INT64}),
        ("Reshape", ["x", "i"], ["y"], {}),
    ]
    network = load(saved(model(nodes, [49, 7], {"c": np.array([49, -7])}), tmp_path))
    assert network.output_shape == (1, 343)


def test_split_and_cast(tmp_path):
    nodes = [
        ("Split", ["x", "sizes"], ["a", "b"], {"axis": 1}),
        ("Split", ["b"], ["c", "d"], {"axis": -1, "num_outputs": 2}),
        ("Concat", ["d", "a", "c"], ["e"], {"axis": 1}),
        ("Cast", ["e"], ["y"], {"to": TensorProto.FLOAT}),
    ]
    network = load(saved(model(nodes, [1, 6], {"sizes": np.array([1, 5])}), tmp_path))
    agree(network)
    assert network.evaluate(np.arange(6.0)).tolist() == [4, 5, 0, 1, 2, 3]


def test_only_what_the_output_needs_is_translated(tmp_path):
    nodes = [("Relu", ["x"], ["unused"], {}), ("Softmax", ["x"], ["neither"], {}), ("Neg", ["x"], ["y"], {})]
    network = load(saved(model(nodes, [2]), tmp_path))
    assert network.neurons == 0 and len(network.primitives) == 1


def test_initializers_among_the_inputs_are_weights(tmp_path):
    proto = small_net()
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    agree(load(saved(proto, tmp_path)))


def test_gzip_is_recognized_by_content(tmp_path):
    data = small_net().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    (tmp_path / "n.onnx").write_bytes(gzip.compress(data))
    plain, packed = load(tmp_path / "m.onnx"), load(str(tmp_path / "n.onnx"))
    assert plain.digest == packed.digest
    assert packed.onnx == data


def test_neurons_carry_the_name_of_their_node(tmp_path):
    (name,) = [p.name for p in load(saved(small_net(), tmp_path)).primitives if isinstance(p, Relu)]
    assert name == "node 1"


def test_nan_weights_are_refused(tmp_path):
    proto = small_net()
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((3, 4), np.nan, np.float32), "w"))
    with pytest.raises(InputError, match="node 0.*NaN"):
        load(saved(proto, tmp_path))


RELU = [("Relu", ["x"], ["y"], {})]


@pytest.mark.parametrize(
    "proto, message",
    [
        (model(RELU, [1, 3], inputs=("x", "z")), "2 inputs .*'z'"),
        (model([*RELU, ("Neg", ["x"], ["z"], {})], [1, 3], outputs=("y", "z")), "2 outputs .*'z'"),
        (model(RELU, [1, 3], dtype=TensorProto.INT64), "not a float32 or float64"),
        (model(RELU, ["n", "m"]), r"'x' has the shape \['\?', '\?'\]|only the batch"),
        (model(RELU, ["n"]), "only the batch"),
        (model(RELU, None), "only the batch"),
        (model(RELU, [1, 3], opset=6), "opset 6"),
        (model([("Reshape", ["x", "x"], ["y"], {})], [1, 3]), "node 0.*depends on the network's input"),
        (model([("Einsum", ["x"], ["y"], {"equation": "ij->i"})], [1, 3]), "'node 0' uses the operator Einsum"),
    ],
)
def test_unsupported_models(proto, message, tmp_path):
    with pytest.raises(UnsupportedError, match=message):
        load(saved(proto, tmp_path))


@pytest.mark.parametrize(
    "proto, message",
    [
        (model(RELU, [1, 3], outputs=("z",)), "does not depend on the input"),
        (model([("Identity", ["w"], ["y"], {})], [1, 3], {"w": random(3)}), "does not depend on the input"),
        (model([*RELU, ("Neg", ["x"], ["y"], {})], [1, 3]), "'y' is defined twice"),
        (model([("Relu", ["h"], ["y"], {}), ("Neg", ["x"], ["h"], {})], [1, 3]), "nothing before it defines"),
    ],
)
def test_malformed_models(proto, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load(saved(proto, tmp_path))


def test_foreign_domains_are_refused(tmp_path):
    proto = model(RELU, [1, 3])
    proto.graph.node[0].domain = "com.example"
    with pytest.raises(UnsupportedError, match=r"com\.example\.Relu"):
        load(saved(proto, tmp_path))


def test_files_that_are_no_model(tmp_path):
    data = small_net().SerializeToString()
    cases = {"empty": b"", "text": b"; a comment\n", "cut": data[:-20], "cut.gz": gzip.compress(data)[:-20]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            load(tmp_path / name)
    for missing in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(InputError, match="Cannot read the model"):
            load(missing)


def external(folder: Path, location: str) -> Path:
    """A model whose first weight is said to lie in another file."""
    proto = small_net()
    tensor = proto.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(len(data)))
    (folder / "w.bin").write_bytes(data)
    return saved(proto, folder)


def test_external_data_beside_the_model(tmp_path):
    (tmp_path / "model").mkdir()
    network = load(external(tmp_path / "model", "w.bin"))
    assert network.digest == load(saved(small_net(), tmp_path)).digest
    (tmp_path / "model" / "w.bin").unlink()
    agree(network)  # its bytes stand for themselves


@pytest.mark.parametrize("location", ["../w.bin", "sub/../../w.bin", "link.bin", "linked/w.bin", "", "."])
def test_external_data_elsewhere_is_refused(location, tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    path = external(folder, location)
    (folder / "w.bin").rename(tmp_path / "w.bin")
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(InputError, match="'w'"):
        load(path)


def test_external_data_at_an_absolute_path_is_refused(tmp_path):
    with pytest.raises(InputError, match="outside the model's folder"):
        load(external(tmp_path, str(tmp_path / "w.bin")))


@pytest.mark.parametrize("content", [None, b"too short"])
def test_external_data_missing_or_short(content, tmp_path):
    path = external(tmp_path, "w.bin")
    (tmp_path / "w.bin").unlink()
    if content:
        (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(InputError):
        load(path)


DATA = small_net().SerializeToString()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, len(DATA)),
    edits=st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), max_size=4),
)
@example(cut=0, edits=[])
def test_damaged_files_give_a_network_or_an_error_of_our_own(cut, edits, tmp_path):
    data = bytearray(DATA)
    for place, byte in edits:
        data[place] = byte
    (tmp_path / "m.onnx").write_bytes(bytes(data[:cut] if cut % 2 else data))
    try:
        network = load(tmp_path / "m.onnx")
    except PydualError:
        return
    assert network.evaluate(np.zeros(network.input_size)).shape == (network.output_size,)
