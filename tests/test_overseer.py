"""Checkers that are networks: overseers, slow models that fast ones must agree with, and checkers of two runs."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import activation_patterns
import numpy as np
import pytest

import pydual
from pydual import Attack, Certificate, InputError, Network, Region, Y
from pydual.audit import EXACT, ROUNDED, audit
from pydual.query import pose

BOX = Region(np.full(2, -0.5), np.full(2, 0.5))
SYSTEMS = ("bab", "milp")


def network(seed: int, *sizes: int, scale: float = 1.0) -> Network:
    rng = np.random.default_rng(seed)
    pairs = zip(sizes, sizes[1:], strict=False)
    return Network.from_layers([(scale * rng.normal(size=(n, m)), 0.3 * rng.normal(size=n)) for m, n in pairs])


def decided(model: Network, checker: Any, system: str) -> bool:
    """Whether there is a catastrophe; the verdict agrees with enumeration, and what proves it is looked at."""
    query = pose(model, checker)
    truth = activation_patterns.true_minimum(query.network, query.checker)
    outcome = pydual.solve(model, checker, system, timeout=30)
    if isinstance(outcome, Attack):
        assert truth <= 1e-9
        return True
    assert isinstance(outcome, Certificate), (outcome, truth)
    assert truth >= outcome.margin - 1e-9
    for level in (EXACT, ROUNDED):
        assert audit(outcome, model, checker, level=level).margin > 0
    return False


# overseers


@pytest.mark.parametrize("reads", ["inputs and outputs", "outputs"])
def test_overseers_are_judged_as_enumeration_judges(reads: str) -> None:
    verdicts = []
    for seed, threshold in product(range(3), (-1.0, 0.5, 2.0, 6.0)):
        model, judge = network(seed, 2, 4, 3), network(seed + 10, 5 if "inputs" in reads else 3, 4, 1)
        check = pydual.overseer(judge, BOX, threshold)
        verdicts.append(decided(model, check, SYSTEMS[seed % 2]))
        outcome = pydual.solve(model, check, "bab")
        if isinstance(outcome, Attack):
            pair = np.concatenate([outcome.x, outcome.y]) if "inputs" in reads else outcome.y
            assert judge.evaluate(pair)[0] >= threshold - 1e-9 and outcome.y == pytest.approx(model.evaluate(outcome.x))
    assert 0 < sum(verdicts) < len(verdicts)


def test_an_overseer_may_be_a_classifier() -> None:
    model, judge = network(0, 2, 4, 3), network(1, 5, 4, 3)
    check = pydual.overseer(judge, BOX, catastrophe=(Y[2] >= Y[0]) & (Y[2] >= Y[1]))
    assert decided(model, check, "bab") == any(
        np.argmax(judge.evaluate(np.concatenate([x, model.evaluate(x)]))) == 2
        for x in np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 2))
    )


def test_an_overseer_that_computes_the_model_again_finds_it_guiltless() -> None:
    """judge(x, y) = |y - model(x)|, written with ReLUs."""
    model = network(3, 2, 3, 1)
    (w, b), (v, c) = [(p.terms[0][1], p.bias) for p in model.primitives if hasattr(p, "terms")]
    first = np.vstack([np.hstack([w, np.zeros((3, 1))]), [[0, 0, 1.0]], [[0, 0, -1.0]]])
    second = np.vstack([np.hstack([-v, [[1.0, -1.0]]]), np.hstack([v, [[-1.0, 1.0]]])])
    judge = Network.from_layers([(first, [*b, 0, 0]), (second, np.array([-c[0], c[0]])), (np.ones((1, 2)), np.zeros(1))])
    assert not decided(model, pydual.overseer(judge, BOX, 0.01), "bab")
    assert decided(network(4, 2, 3, 1), pydual.overseer(judge, BOX, 0.01), "bab")


def test_bad_overseers_are_refused() -> None:
    model = network(0, 2, 3)
    with pytest.raises(InputError, match="takes 4 values; the model has 2 inputs and 3 outputs: it must take 3 or 5"):
        pydual.solve(model, pydual.overseer(network(0, 4, 1), BOX, 0))
    with pytest.raises(InputError, match="either the threshold"):
        pydual.overseer(network(0, 5, 1), BOX)
    with pytest.raises(InputError, match="The judge is a str"):
        pydual.overseer("judge.onnx", BOX, 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="uses Y"):
        pydual.solve(model, pydual.overseer(network(0, 5, 1), BOX, catastrophe=Y[1] >= 0))


# a slow model as the specification


def perturbed(model: Network, by: float) -> Network:
    """The model with a constant added to output 0."""
    pairs = [(p.terms[0][1], p.bias) for p in model.primitives if hasattr(p, "terms")]
    w, b = pairs[-1]
    return Network.from_layers([*pairs[:-1], (w, b + by * np.eye(len(b))[0])])


@pytest.mark.parametrize("seed", range(3))
def test_a_known_difference_is_within_the_tolerance_or_not(seed: int) -> None:
    slow = network(seed, 2, 5, 5, 2)
    assert not decided(perturbed(slow, 0.125), pydual.equivalence(slow, BOX, "0.126"), "bab")
    assert decided(perturbed(slow, 0.125), pydual.equivalence(slow, BOX, 0.125), "bab"), "as far as the tolerance is too far"
    assert decided(perturbed(slow, -0.125), pydual.equivalence(slow, BOX, "0.124"), "bab")


def test_different_models_agree_as_enumeration_says() -> None:
    verdicts = []
    for seed, tolerance in product(range(3), (0.5, 3.0, 8.0)):
        slow, fast = network(seed, 2, 4, 2), network(seed + 5, 2, 3, 2)
        verdicts.append(decided(fast, pydual.equivalence(slow, BOX, tolerance), SYSTEMS[seed % 2]))
    assert 0 < sum(verdicts) < len(verdicts)


def test_bounds_see_the_difference_and_not_two_ranges() -> None:
    """A network against itself with other weights in one place: intervals of the two outputs would differ by their widths."""
    slow = network(1, 2, 6, 6, 1)
    outcome = pydual.solve(perturbed(slow, 0.01), pydual.equivalence(slow, BOX, 0.02), "bab")
    assert isinstance(outcome, Certificate)
    low, high = (f(slow.evaluate(np.random.default_rng(0).uniform(-0.5, 0.5, (500, 2)))) for f in (np.min, np.max))
    assert high - low > 1


def test_bad_equivalences_are_refused() -> None:
    with pytest.raises(InputError, match="tolerance is 0"):
        pydual.equivalence(network(0, 2, 1), BOX, 0)
    with pytest.raises(InputError, match="2 inputs and 1 outputs, the model 2 and 2"):
        pydual.solve(network(0, 2, 2), pydual.equivalence(network(0, 2, 1), BOX, 1))


# two runs


def rising(seed: int) -> Network:
    """Nonnegative weights: every output rises with every input."""
    rng = np.random.default_rng(seed)
    return Network.from_layers([(rng.random((4, 2)), rng.normal(size=4)), (rng.random((1, 4)), rng.normal(size=1))])


@pytest.mark.parametrize("seed", range(3))
def test_networks_with_nonnegative_weights_are_monotone(seed: int) -> None:
    model = rising(seed)
    for check in (pydual.monotone(BOX, [0]), pydual.monotone(BOX, [0, 1], tolerance=0.01)):
        outcome = pydual.solve(model, check, "bab", timeout=30)
        assert isinstance(outcome, Certificate) and audit(outcome, model, check).margin > 0
    falling = pydual.monotone(BOX, decreasing=[1])
    outcome = pydual.solve(model, falling, "bab", timeout=30)
    assert isinstance(outcome, Attack)
    x, x2 = np.split(outcome.x, 2)
    assert x[0] == x2[0] and x2[1] <= x[1] and BOX.contains(x) and BOX.contains(x2)
    assert model.evaluate(x)[0] - model.evaluate(x2)[0] >= 1e-3
    np.testing.assert_allclose(outcome.y, [*model.evaluate(x), *model.evaluate(x2)])


def test_monotone_is_what_enumeration_says() -> None:
    checks = [pydual.monotone(BOX, [seed % 2], tolerance="0.05") for seed in range(8)]
    verdicts = [decided(network(seed, 2, 3, 1), check, "bab") for seed, check in enumerate(checks)]
    assert 0 < sum(verdicts) < len(verdicts)


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_lipschitz_constants_of_linear_maps_are_known(norm: str) -> None:
    """|A d|_inf <= L |d|: L is the largest row sum for linf, the largest entry for l1."""
    matrix = np.array([[1.0, -2.0], [0.5, 0.25]])
    model = Network.from_layers([(matrix, np.zeros(2))])
    constant = 3.0 if norm == "linf" else 2.0
    proved = pydual.solve(model, pydual.lipschitz(BOX, constant * 1.05, norm, distance=0.1), "bab", timeout=30)
    assert isinstance(proved, Certificate)
    attacked = pydual.solve(model, pydual.lipschitz(BOX, constant * 0.95, norm, distance=0.1), "bab", timeout=30)
    assert isinstance(attacked, Attack)
    x, x2 = np.split(attacked.x, 2)
    apart = np.linalg.norm(x2 - x, np.inf if norm == "linf" else 1)
    assert apart >= 0.1 - 1e-12 and np.abs(matrix @ (x2 - x)).max() > constant * 0.95 * apart - 1e-9


def test_lipschitz_of_a_kinked_network() -> None:
    """y = relu(2 x0) - relu(-x1): slopes are 0, 2 and 0, 1, so 3 for linf."""
    model = Network.from_layers([(np.array([[2.0, 0.0], [0.0, -1.0]]), np.zeros(2)), (np.array([[1.0, -1.0]]), np.zeros(1))])
    assert isinstance(pydual.solve(model, pydual.lipschitz(BOX, "3.3", distance=0.1), "bab", timeout=60), Certificate)
    assert isinstance(pydual.solve(model, pydual.lipschitz(BOX, "2.9", distance=0.1), "bab", timeout=60), Attack)


def test_bad_comparisons_of_runs_are_refused() -> None:
    with pytest.raises(InputError, match=r"inputs \[2\] must be different ones from 0 to 1"):
        pydual.monotone(BOX, [2])
    with pytest.raises(InputError, match="The tolerance is 0"):
        pydual.monotone(BOX, [0], tolerance=0)
    with pytest.raises(InputError, match="'linf' or 'l1'"):
        pydual.lipschitz(BOX, 1, "l2")
    with pytest.raises(InputError, match="box of the model's 3 inputs; got 2"):
        pydual.solve(network(0, 3, 1), pydual.monotone(BOX, [0]))


def test_a_run_at_a_time_is_replayed_in_the_model_s_own_type(tmp_path: Any) -> None:
    """Fractions that no float32 has: both inputs are rounded, and only then judged."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    w = numpy_helper.from_array(np.array([[-1.0], [0.5]], np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])], [w],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    model = pydual.load(tmp_path / "m.onnx")
    outcome = pydual.solve(model, pydual.monotone(Region([0.1, 0.1], [0.7, 0.3]), [0]), "bab")
    assert isinstance(outcome, Attack) and outcome.replay == "onnxruntime"
    assert (outcome.x.astype(np.float32) == outcome.x).all()
    assert Fraction(float(outcome.y[0])) - Fraction(float(outcome.y[1])) >= Fraction(1e-3)
