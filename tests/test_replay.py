"""Replay: exact evaluation against rational arithmetic done here, and onnxruntime where there is an ONNX model."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from pydual.attack.replay import Replay
from pydual.errors import InputError
from pydual.io.onnx import load
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder

FLOATS = st.floats(-1e3, 1e3, allow_subnormal=True)


def rational_layers(layers, x):
    """W_n relu(... relu(W_1 x + b_1) ...) + b_n in Fractions, straight from the formula."""
    values = [Fraction(v) for v in x.tolist()]
    for number, (w, b) in enumerate(layers):
        values = [max(v, Fraction(0)) for v in values] if number else values
        values = [
            sum((Fraction(e) * v for e, v in zip(row, values, strict=True)), Fraction(c))
            for row, c in zip(w.tolist(), b.tolist(), strict=True)
        ]
    return values


def random_layers(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((m, n)), rng.standard_normal(m)) for n, m in zip(sizes, sizes[1:], strict=False)]


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.float64, (3, 2), elements=FLOATS),
    hnp.arrays(np.float64, 3, elements=FLOATS),
    hnp.arrays(np.float64, (2, 3), elements=FLOATS),
    hnp.arrays(np.float64, 2, elements=FLOATS),
)
def test_exact_outputs_are_the_rational_ones(w, b, v, x):
    layers = [(w, b), (v, np.zeros(2))]
    replay = Replay(Network.from_layers(layers))
    assert replay.name == "exact"
    expected = rational_layers(layers, x)
    assert replay.exact_outputs(x) == expected
    assert replay.outputs(x).tolist() == [float(y) for y in expected]


def test_exact_outputs_of_deep_networks_agree_with_evaluate():
    network = Network.from_layers(random_layers(4, 16, 16, 16, 3))
    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal(4)
        np.testing.assert_allclose(Replay(network).outputs(x), network.evaluate(x), rtol=1e-12)


def test_exact_outputs_of_a_graph_with_several_terms_and_sparse_weights():
    graph = GraphBuilder((2,))
    hidden = graph.relu(graph.affine([(graph.input, np.array([[0.1, -3.0], [1e-300, 7.0]]))], [0.5, -0.25], (2,)))
    mixed = sparse.csr_array(np.array([[0.0, 0.3], [0.0, 0.0]]))
    network = Network.from_graph(graph, graph.affine([(hidden, np.eye(2)), (graph.input, mixed)], [1.0, 2.0], (2,)))
    x = np.array([0.7, -0.1])
    a, b = Fraction(0.7), Fraction(-0.1)
    first = max(Fraction(0.1) * a - 3 * b + Fraction(1, 2), Fraction(0)) + Fraction(0.3) * b + 1
    second = max(Fraction(1e-300) * a + 7 * b - Fraction(1, 4), Fraction(0)) + 2
    assert Replay(network).exact_outputs(x) == [first, second]


def test_cancellation_that_float64_loses():
    network = Network.from_layers([(np.array([[1.0, 1.0, 1.0]]), np.array([0.0]))])
    x = np.array([1e17, 1.0, -1e17])
    assert network.evaluate(x)[0] != 1.0
    assert Replay(network).outputs(x).tolist() == [1.0]


def test_outputs_beyond_float64_are_infinite():
    network = Network.from_layers([(np.array([[1e200], [-1e200]]), np.zeros(2))])
    assert Replay(network).outputs(np.array([1e200])).tolist() == [np.inf, -np.inf]


def gemm_model(dtype, weight, element, shape=(1, 1, 3)) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["in"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("in", element, list(shape))],
        [helper.make_tensor_value_info("y", element, None)],
        [numpy_helper.from_array(weight.astype(dtype), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("dtype, element", [(np.float32, TensorProto.FLOAT), (np.float64, TensorProto.DOUBLE)])
def test_onnxruntime_evaluates_models_from_onnx(dtype, element, tmp_path):
    model = gemm_model(dtype, np.random.default_rng(0).standard_normal((3, 2)), element, ("batch", 1, 3))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    replay = Replay(load(tmp_path / "m.onnx"))
    assert replay.name == "onnxruntime"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([0.1, 0.2, 0.3])
    expected = session.run(None, {"in": x.astype(dtype).reshape(1, 1, 3)})[0]
    result = replay.outputs(x)
    assert result.dtype == np.float64 and result.shape == (2,)
    assert np.array_equal(result, expected.ravel().astype(np.float64))
    exact = [float(y) for y in replay.exact_outputs(x.astype(dtype))]
    np.testing.assert_allclose(result, exact, rtol=1e-5 if dtype == np.float32 else 1e-14)


def test_a_model_that_onnxruntime_refuses_is_evaluated_exactly(tmp_path):
    """float64 input, float32 weights: ill-typed for onnxruntime, unambiguous as a real function."""
    model = gemm_model(np.float32, np.array([[0.1], [0.2], [-0.3]]), TensorProto.DOUBLE)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    replay = Replay(load(tmp_path / "m.onnx"))
    assert replay.name == "exact"
    (y,) = replay.exact_outputs(np.array([1.0, 2.0, 3.0]))
    weights = [Fraction(float(np.float32(w))) for w in (0.1, 0.2, -0.3)]
    assert y == weights[0] + 2 * weights[1] + 3 * weights[2]


@pytest.mark.parametrize("x", [np.zeros(2), np.array([0.0, np.nan, 0.0]), np.array([0.0, np.inf, 0.0])])
def test_inputs_that_cannot_be_replayed_are_refused(x):
    with pytest.raises(InputError, match="takes 3 finite inputs"):
        Replay(Network.from_layers(random_layers(3, 2))).outputs(x)


def test_benchmark_network_replays(bench):
    network = load(bench / "acasxu_2023" / "onnx" / "ACASXU_run2a_1_1_batch_2000.onnx")
    replay = Replay(network)
    assert replay.name == "onnxruntime"
    x = np.array([0.6, 0.1, -0.2, 0.45, -0.45]).astype(np.float32).astype(np.float64)
    exact = np.array([float(y) for y in replay.exact_outputs(x)])
    np.testing.assert_allclose(network.evaluate(x), exact, rtol=1e-12)
    np.testing.assert_allclose(replay.outputs(x), exact, rtol=1e-4, atol=1e-6)
