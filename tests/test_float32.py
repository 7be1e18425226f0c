"""solve(arithmetic="float32"): what is proved holds in every 32-bit execution; what only real arithmetic proves is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import random_instances as instances

import pydual
from pydual import Attack, Certificate, Checker, Network, Region, UnsupportedError, Y
from pydual.errors import CertificateError, InputError
from pydual.operators.primitives import Affine, GraphBuilder, Relu


def cancelling() -> Network:
    """``y = relu(x + 2^25) - 2^25``: x in real arithmetic, a multiple of 4 in float32."""
    graph = GraphBuilder((1,))
    large = graph.relu(graph.affine([(graph.input, np.eye(1))], np.array([2.0**25]), (1,)))
    output = graph.affine([(large, np.eye(1))], np.array([-(2.0**25)]), (1,))
    return Network.from_graph(graph, output, "float32")


REGION = Region(np.array([0.25]), np.array([0.5]))
SMALL = Checker(REGION, Y[0] <= "1/10")


def test_a_true_proof_in_real_arithmetic_does_not_hold_in_float32() -> None:
    network = cancelling()
    outcome = pydual.solve(network, SMALL)
    assert isinstance(outcome, Certificate) and outcome.arithmetic == "real" and outcome.margin == 0.15 - 0.0
    x = np.float32(0.25)
    assert np.float32(np.float32(x + np.float32(2.0**25)) - np.float32(2.0**25)) == 0  # the catastrophe
    claimed = replace(outcome.certificate, arithmetic="float32")
    for level in ("exact", "rounded"):
        with pytest.raises(CertificateError, match="not positive"):
            pydual.audit(claimed, network, SMALL, level=level)


def test_float32_finds_the_catastrophe_that_rounding_makes() -> None:
    outcome = pydual.solve(cancelling(), SMALL, arithmetic="float32", timeout=60)
    assert isinstance(outcome, Attack)
    assert outcome.replay == "float32" and outcome.y[0] == 0.0 and 0.25 <= outcome.x[0] <= 0.5


def executed(network: Network, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The outputs in float32, every sum taken in a random order."""
    values = [x.astype(np.float32)]
    for primitive in network.primitives:
        if isinstance(primitive, Relu):
            values.append(np.maximum(values[primitive.source], np.float32(0)))
            continue
        assert isinstance(primitive, Affine)
        rows = []
        for i, b in enumerate(primitive.bias.astype(np.float32)):
            terms = [b]
            for source, matrix in primitive.terms:
                row = matrix[[i]].toarray()[0] if hasattr(matrix, "indptr") else matrix[i]
                terms += list(row.astype(np.float32) * values[source])
            total = np.float32(0)
            for t in rng.permutation(len(terms)):
                total = np.float32(total + terms[t])
            rows.append(total)
        values.append(np.array(rows, dtype=np.float32))
    return values[network.output].astype(np.float64)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_proved_holds_in_every_order_of_the_sums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    real = instances.random_network(rng, 2)
    network = Network(real.primitives, real.output, real.input_shape, real.output_shape, "float32")
    region = Region(-np.ones(2), np.ones(2))
    points = rng.uniform(-1, 1, (300, 2)).astype(np.float32).astype(np.float64)
    least = min(executed(network, x, rng)[0] for x in points)
    checker = Checker(region, Y[0] <= Fraction(float(least)) - Fraction(1, 100))
    outcome = pydual.solve(network, checker, arithmetic="float32", timeout=60)
    if isinstance(outcome, Certificate):
        assert outcome.arithmetic == "float32"
        assert outcome.margin <= 0.01 + 1e-12  # the points were executed: no more can be true
        assert pydual.audit(outcome.certificate, network, checker).arithmetic == "float32"
    else:
        assert isinstance(outcome, Attack)


def test_some_of_these_are_proved() -> None:
    rng = np.random.default_rng(5)
    layers = [(rng.normal(size=(8, 2)), rng.normal(size=8)), (rng.normal(size=(1, 8)), np.zeros(1))]
    real = Network.from_layers(layers)
    network = Network(real.primitives, real.output, real.input_shape, real.output_shape, "float32")
    outcome = pydual.solve(network, Checker(Region(-np.ones(2), np.ones(2)), Y[0] <= -50), arithmetic="float32")
    assert isinstance(outcome, Certificate) and outcome.arithmetic == "float32"
    assert outcome.margin < pydual.solve(real, Checker(Region(-np.ones(2), np.ones(2)), Y[0] <= -50)).margin


def test_models_that_do_not_run_in_float32_are_refused() -> None:
    network = Network.from_layers([(np.eye(1), np.zeros(1))])
    with pytest.raises(InputError, match="float64"):
        pydual.solve(network, SMALL, arithmetic="float32")
    with pytest.raises(InputError, match="float16"):
        pydual.solve(cancelling(), SMALL, arithmetic="float16")


def test_folded_constants_are_refused() -> None:
    network = replace(cancelling(), folded=("bn_1",))
    with pytest.raises(UnsupportedError, match="bn_1"):
        pydual.solve(network, SMALL, arithmetic="float32")
    proof = pydual.solve(cancelling(), SMALL).certificate
    with pytest.raises(CertificateError, match="bn_1"):
        pydual.audit(replace(proof, arithmetic="float32"), network, SMALL)
