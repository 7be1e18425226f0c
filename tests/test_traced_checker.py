"""Checkers as Python functions: what is traced is what the function computes, and asks what a property file would ask."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import activation_patterns
import numpy as np
import pytest

import pydual
from pydual import Attack, Certificate, Checker, InputError, Network, Region, Y, robustness
from pydual.attack.replay import Replay
from pydual.audit import EXACT, ROUNDED, audit
from pydual.audit.query import query_digest
from pydual.checkers.traced import TracedChecker
from pydual.operators.primitives import Affine, Curve, Relu

CUBE = Region(-np.ones(3), np.ones(3))
SMALL = Region(np.full(3, 0.25), np.full(3, 0.375))


def network(seed: int, *sizes: int) -> Network:
    rng = np.random.default_rng(seed)
    sizes = sizes or (3, 5, 4)
    pairs = zip(sizes, sizes[1:], strict=False)
    return Network.from_layers([(rng.normal(size=(n, m)), 0.3 * rng.normal(size=n)) for m, n in pairs])


def traced(function: Callable[[Any, Any], Any], region: Region = CUBE) -> TracedChecker:
    return pydual.checker(region)(function)


WEIGHTS = np.array([[1.0, -0.5, 2.0, 0.25], [0.0, 1.5, -1.0, 1.0]])

LINEAR: dict[str, Callable[[Any, Any], Any]] = {
    "a comparison": lambda x, y: y[0] >= x[1],
    "arithmetic": lambda x, y: 2 * y[0] - y[1] / 4 + 1 > -x[2] * 3,
    "a matrix": lambda x, y: ((WEIGHTS @ y)[0] <= 0.5) & ((y @ WEIGHTS.T)[1] > x @ np.array([1, 2, 3])),
    "slices": lambda x, y: y[1:3].sum() < y[::-1][0] + y[[0, 2]].mean(),
    "chosen entries": lambda x, y: np.delete(y, 2).sum() + y[np.array([True, False, False, True])].sum() >= 0,
    "iteration": lambda x, y: sum(v for v in y) >= len(y) * 0.25,
    "any and all": lambda x, y: np.any(y >= 1.5) | np.all(x < 0) & (y <= 0).any(),
    "not": lambda x, y: ~((y[0] >= 0) & (y[1] < 0.5)),
    "a maximum": lambda x, y: np.max(y) >= 1.5,
    "a maximum of chosen entries": lambda x, y: np.delete(y, 1).max() >= y[1],
    "a minimum": lambda x, y: y.min() >= -1,
    "a maximum below": lambda x, y: np.maximum(y[0], 2 * y[1]) <= x[0],
    "an absolute value": lambda x, y: abs(y[0] - y[1]) <= 0.5,
    "an absolute value above": lambda x, y: np.abs(y[0]) - x[0] > 1,
    "the norm inf": lambda x, y: np.linalg.norm(y, np.inf) < 1,
    "equality": lambda x, y: (x[0] == x[0]) & (y[0] != y[1]),
    "rows": lambda x, y: (np.stack([y, 2 * y]).max(axis=1)[1] >= 2) & (y.reshape(2, 2).sum(axis=0)[1] >= 0),
    "nested maxima": lambda x, y: np.maximum(np.maximum(y[0], y[1]), y[2]) >= np.float32(0.5),
}
KINKED: dict[str, Callable[[Any, Any], Any]] = {
    "relus": lambda x, y: pydual.relu(y).sum() - pydual.relu(x[0] - y[1]) <= 1,
    "the norm 1": lambda x, y: np.linalg.norm(y - 0.25, 1) <= 2,
    "absolute values": lambda x, y: np.abs(y).sum() > 3,
    "two maxima": lambda x, y: np.max(y[:2]) - np.max(y[2:]) >= x[0],
    "a clipped output": lambda x, y: np.clip(y, -0.5, 0.5).sum() >= 1,
    "a maximum in a maximum": lambda x, y: np.maximum(abs(y[0]) - abs(y[1]), y[2]) <= -0.2,
    "decimals": lambda x, y: np.maximum(0.1 * y[0], 0.3 * x[0]) + np.maximum(y[1] / 3, 0) > 0.5,
    "relu": lambda x, y: np.maximum(y, 0) @ np.array([1.0, -1, 2, -2]) > 1,
}
CURVED: dict[str, Callable[[Any, Any], Any]] = {
    "a product": lambda x, y: y[0] * y[1] > 1,
    "a square": lambda x, y: (y[0] - x[1]) ** 2 < 0.3,
    "a cube": lambda x, y: y[0] ** 3 > x[0],
    "the norm 2": lambda x, y: np.linalg.norm(y - 0.5) <= 1.5,
    "the norm 2 above": lambda x, y: np.linalg.norm(x) > y[0],
    "a scalar product": lambda x, y: x @ y[:3] + np.square(y).sum() / 3 > 1,
    "kinks in products": lambda x, y: np.maximum(y[0], y[1]) * np.abs(y[2]) > 0.5,
}


@pytest.mark.parametrize("name", [*LINEAR, *KINKED, *CURVED])
def test_what_is_traced_is_what_the_function_computes(name: str) -> None:
    """At random pairs, with the network that was appended evaluated exactly."""
    check = traced({**LINEAR, **KINKED, **CURVED}[name])
    rng = np.random.default_rng(1)
    verdicts = []
    for seed in range(3):
        model = network(seed)
        query = check.query(model)
        for x in rng.uniform(-1, 1, (60, 3)):
            y = model.evaluate(x)
            values = Replay(query.network).exact_outputs(x)
            verdicts.append(query.checker.catastrophe.holds([Fraction(v) for v in x.tolist()], values))
            assert verdicts[-1] == bool(check(x, y)), (name, x, y)
    assert name == "equality" or 0 < sum(verdicts) < len(verdicts), "the points must tell the difference"


@pytest.mark.parametrize("name", LINEAR)
def test_conditions_without_kinks_append_nothing(name: str) -> None:
    model = network(0)
    query = traced(LINEAR[name]).query(model)
    assert query.network is model and query.judge is None


@pytest.mark.parametrize(("name", "kinds"), [(n, {Relu}) for n in KINKED] + [(n, {Relu, Curve}) for n in CURVED])
def test_the_rest_is_appended(name: str, kinds: set[type]) -> None:
    query = traced({**KINKED, **CURVED}[name]).query(network(0))
    assert query.judge is not None
    found = {type(p) for p in query.judge.primitives} - {Affine}
    assert found and found <= kinds


def test_the_appended_network_computes_the_model_then_the_checker() -> None:
    model, check = network(4), traced(KINKED["a clipped output"])
    query = check.query(model)
    assert query is check.query(model) and query.judge is not None
    for x in np.random.default_rng(0).uniform(-1, 1, (20, 3)):
        y = Replay(model).exact_outputs(x)
        # the judge in float64 on the model's outputs
        judged = query.judge.evaluate(np.concatenate([x, model.evaluate(x)]))
        whole = Replay(query.network).exact_outputs(x)
        assert whole[:4] == y
        np.testing.assert_allclose([float(v) for v in whole[4:]], judged, atol=1e-12)


# the same question, however it is written


def rivals(x: Any, y: Any) -> Any:
    return (y[0] >= y[1]) | (y[2] >= y[1]) | (y[3] >= y[1])


@pytest.mark.parametrize(
    "function",
    [rivals, lambda x, y: np.max(np.delete(y, 1)) >= y[1], lambda x, y: np.any(np.delete(y, 1) >= y[1]),
     lambda x, y: ~np.all(y[[0, 2, 3]] < y[1]), lambda x, y: y[1] - np.max(y[[0, 2, 3]]) <= 0],
)  # fmt: skip
def test_a_robustness_query_is_the_same_query(function: Callable[[Any, Any], Any]) -> None:
    model, ball = network(2), robustness(np.zeros(3), 1, 0.125, classes=4)
    check = traced(function, ball.region)
    query = check.query(model)
    assert query.network.digest == model.digest and query_digest(query.checker) == query_digest(ball)


def property_file(path: Path, label: int, radius: str) -> Checker:
    """The robustness of a label of four around 0, in VNN-LIB."""
    lines = [f"(declare-const X_{i} Real)" for i in range(3)] + [f"(declare-const Y_{j} Real)" for j in range(4)]
    lines += [f"(assert (>= X_{i} -{radius}))\n(assert (<= X_{i} {radius}))" for i in range(3)]
    lines.append(f"(assert (or {' '.join(f'(>= Y_{j} Y_{label})' for j in range(4) if j != label)}))")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return pydual.load_checker(path)


def test_bounds_and_certificates_are_the_same(tmp_path: Path) -> None:
    """A robustness query as a function, by ``robustness()`` and as a property file: 2^-10 is a decimal and a float."""
    for seed in range(4):
        model = network(seed, 3, 8, 8, 4)
        label = int(np.argmax(model.evaluate(np.zeros(3))))
        ball = robustness(np.zeros(3), label, 2.0**-10, classes=4)
        check = traced(lambda x, y, k=label: np.max(np.delete(y, k)) >= y[k], ball.region)
        stated = property_file(tmp_path / "robust.vnnlib", label, "0.0009765625")
        for system in ("crown", "bab", "sdp"):
            outcomes, files = [pydual.solve(model, c, system) for c in (check, ball, stated)], []
            for number, outcome in enumerate(outcomes):
                assert isinstance(outcome, Certificate)
                assert outcome.bracket == outcomes[0].bracket and outcome.margin == outcomes[0].margin  # type: ignore[union-attr]
                outcome.save(tmp_path / f"{number}.cert")
                files.append((tmp_path / f"{number}.cert").read_bytes())
            assert files[0] == files[1] == files[2]


# what does not trace


def branches(x: Any, y: Any) -> Any:
    if y[0] > 0:
        return y[1] > 0
    return y[2] > 0


def chained(x: Any, y: Any) -> Any:
    return 0 <= y[0] <= 1


def rounds(x: Any, y: Any) -> Any:
    return float(y[0]) > 0


def chooses(x: Any, y: Any) -> Any:
    return np.argmax(y) == 1


def divides(x: Any, y: Any) -> Any:
    return y[0] / y[1] > 1


def returns_many(x: Any, y: Any) -> Any:
    return y > 0


def returns_numbers(x: Any, y: Any) -> Any:
    return y[0]


def fails(x: Any, y: Any) -> Any:
    return y[17] > 0


def roots(x: Any, y: Any) -> Any:
    return np.sqrt(y[0]) > 1


def adds_norms(x: Any, y: Any) -> Any:
    return np.linalg.norm(x) + np.linalg.norm(y) > 1


UNTRACEABLE = {
    branches: r"test_traced_checker.py:\d+, 'if y\[0\] > 0:'.*& and \|",
    chained: r"'return 0 <= y\[0\] <= 1'.*& and \|",
    rounds: r"'return float\(y\[0\]\) > 0'.*no float",
    chooses: r"numpy.argmax does not trace",
    divides: r"'return y\[0\] / y\[1\] > 1'.*multiply both sides",
    returns_many: r"4 comparisons; join them",
    returns_numbers: "no comparison",
    fails: r"'return y\[17\] > 0'.*IndexError",
    roots: "numpy.sqrt does not trace",
    adds_norms: "several Euclidean norms",
}


@pytest.mark.parametrize("function", UNTRACEABLE, ids=lambda f: f.__name__)
def test_what_does_not_trace_says_where_and_what_is_allowed(function: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(InputError, match=UNTRACEABLE[function]) as caught:
        pydual.solve(network(0), traced(function))
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and not sentence.endswith("..")


def test_constants_that_do_not_fit_are_refused() -> None:
    check = traced(lambda x, y: abs(y[0] * Fraction(1, 3) + y[1] * Fraction(2**80 + 1, 2**80)) + abs(y[2]) > 1)
    with pytest.raises(InputError, match="53 bits"):
        check.query(network(0))


def test_regions_must_fit() -> None:
    with pytest.raises(InputError, match="region has 3 inputs, the network 2"):
        traced(rivals).query(network(0, 2, 4))
    with pytest.raises(InputError, match=r"write @pydual.checker\(region\)"):
        pydual.checker(rivals)  # type: ignore[arg-type]


# verdicts


def test_verdicts_are_those_of_enumeration() -> None:
    """Thresholds below and above the least value of a kinked function, which enumeration of activation patterns finds."""
    attacked = proved = 0
    for seed, (name, function) in enumerate(KINKED.items()):
        model = network(seed, 3, 4, 4)
        for system, region in (("bab", CUBE), ("milp", CUBE), ("bab", SMALL), ("milp", SMALL)):
            query = traced(function, region).query(model)
            truth = activation_patterns.true_minimum(query.network, query.checker)
            outcome = pydual.solve(model, traced(function, region), system, timeout=20)
            if isinstance(outcome, Attack):
                attacked += 1
                assert truth <= 1e-9 and bool(function(outcome.x, outcome.y)) and len(outcome.y) == 4, name
            else:
                assert isinstance(outcome, Certificate), (name, system, truth)
                proved += 1
                assert truth >= outcome.margin - 1e-9
                for level in (EXACT, ROUNDED):
                    assert audit(outcome, model, traced(function, region), level=level).margin > 0
    assert attacked and proved


def test_a_certificate_is_about_its_own_function() -> None:
    model, region = network(0), Region(np.full(3, 0.125), np.full(3, 0.25))
    most = max(np.abs(model.evaluate(x)).sum() for x in np.random.default_rng(0).uniform(0.125, 0.25, (2000, 3)))
    outcome = pydual.solve(model, traced(lambda x, y: np.abs(y).sum() > most + 1, region))
    assert isinstance(outcome, Certificate)
    with pytest.raises(pydual.CertificateError):
        audit(outcome, model, traced(lambda x, y: np.abs(y).sum() > most + 0.5, region))
    with pytest.raises(pydual.CertificateError):
        audit(outcome, network(1), traced(lambda x, y: np.abs(y).sum() > most + 1, region))


def test_the_function_judges_many_pairs() -> None:
    model, check = network(0), traced(KINKED["absolute values"])
    x = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    y = model.evaluate(x)
    assert check.judge(x, y).tolist() == [bool(np.abs(row).sum() > 3) for row in y]


def test_an_ordinary_checker_stays_what_it_is() -> None:
    from pydual.query import pose

    model, plain = network(0), Checker(CUBE, Y[0] <= 0)
    assert pose(model, plain).checker is plain and pose(model, plain).network is model
