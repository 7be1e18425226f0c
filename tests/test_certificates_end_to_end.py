"""Certificates from solve to another reader: saved, loaded, audited again, moved where they do not belong; and public
benchmark instances with known truth, whose attacks are replayed here with onnxruntime once more."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
import test_solve

import pydual
from pydual import Attack, Certificate, Checker, Network, Region, Y
from pydual.proof_systems import BY_NAME


def box(radius: float) -> Region:
    return Region(-radius * np.ones(4), radius * np.ones(4))


@pytest.fixture(scope="module", params=["interval", "crown", "alpha-crown", "lp", "bab", "milp", "auto"])
def proved(request: pytest.FixtureRequest) -> tuple[Network, Checker, Certificate]:
    """A query with two problems, one of two margins, as hard as the proof system can take."""
    assert request.param in BY_NAME
    network = test_solve.layers(5, 4, 6, 5, 2)
    for shift in (0.05, 0.2, 0.5, 1, 2, 4, 8):
        checker = Checker(box(0.8), (Y[0] <= -shift) & (Y[0] <= Y[1]) | (Y[1] <= -shift))
        outcome = pydual.solve(network, checker, request.param)
        if isinstance(outcome, Certificate):
            return network, checker, outcome
    raise AssertionError("nothing was proved")


@pytest.mark.parametrize("level", ["exact", "rounded"])
def test_saved_loaded_and_audited_again(
    proved: tuple[Network, Checker, Certificate], level: str, tmp_path: Path
) -> None:
    network, checker, outcome = proved
    outcome.save(tmp_path / "proof")
    here, there = (pydual.audit(proof, network, checker, level=level) for proof in (outcome, tmp_path / "proof"))
    assert here == there and here.level == level
    assert 0 < here.margin <= outcome.margin + 1e-9 * (1 + abs(outcome.margin))
    proof = pydual.load_proof(tmp_path / "proof")
    assert (proof.network, proof.query) == (outcome.certificate.network, outcome.certificate.query)
    assert proof.leaves == outcome.certificate.leaves


@pytest.mark.parametrize("level", ["exact", "rounded"])
def test_moved_to_another_network_or_query(proved: tuple[Network, Checker, Certificate], level: str) -> None:
    network, checker, outcome = proved
    others = [
        (test_solve.layers(6, 4, 6, 5, 2), checker),
        (network, Checker(box(0.8 + 2**-50), checker.catastrophe)),
        (network, Checker(box(0.7), checker.catastrophe)),
        (network, Checker(checker.region, checker.catastrophe | (Y[0] <= -100))),
        (network, Checker(checker.region, Y[0] <= -100)),
    ]
    for other_network, other_checker in others:
        with pytest.raises(pydual.CertificateError):
            pydual.audit(outcome, other_network, other_checker, level=level)


def test_one_bit_of_a_weight_counts() -> None:
    weight = np.array([[1.0]])
    network = Network.from_layers([(weight, [0.0])])
    checker = Checker(Region([1.0], [2.0]), Y[0] <= "0.5")
    outcome = pydual.solve(network, checker)
    assert isinstance(outcome, Certificate)
    with pytest.raises(pydual.CertificateError):
        pydual.audit(outcome, Network.from_layers([(np.nextafter(weight, 2.0), [0.0])]), checker)


# public instances

INSTANCES = [
    *(f"acasxu_2023 onnx/ACASXU_run2a_{n}_batch_2000.onnx vnnlib/prop_3.vnnlib" for n in ("1_7", "2_4", "2_8", "3_7")),
    *(f"acasxu_2023 onnx/ACASXU_run2a_{n}_batch_2000.onnx vnnlib/prop_4.vnnlib" for n in ("1_7", "1_9", "2_2", "3_2")),
    *(f"acasxu_2023 onnx/ACASXU_run2a_{n}_batch_2000.onnx vnnlib/prop_3.vnnlib" for n in ("1_8", "1_9", "3_1", "3_9")),
    "acasxu_2023 onnx/ACASXU_run2a_2_2_batch_2000.onnx vnnlib/prop_2.vnnlib",
    *(f"cersyve onnx/{n}.onnx vnnlib/prop_pendulum.vnnlib" for n in ("pendulum_pretrain_con", "pendulum_finetune_con")),
    "collins_rul_cnn_2022 onnx/NN_rul_small_window_20.onnx vnnlib/if_then_9levels_w20.vnnlib",
    "collins_rul_cnn_2022 onnx/NN_rul_small_window_20.onnx vnnlib/monotonicity_CI_shift20_w20.vnnlib",
    "cora_2024 onnx/mnist-point.onnx vnnlib/mnist-img1.vnnlib",
    "cora_2024 onnx/mnist-set.onnx vnnlib/mnist-img10.vnnlib",
    "linearizenn_2024 onnx/AllInOne_10_10.onnx vnnlib/prop_10_10.vnnlib",
    "linearizenn_2024 onnx/AllInOne_10_10.onnx vnnlib/prop_10_10_0.vnnlib",
    "mnist_fc onnx/mnist-net_256x2.onnx vnnlib/prop_12_0.03.vnnlib",
    "mnist_fc onnx/mnist-net_256x2.onnx vnnlib/prop_11_0.03.vnnlib",
    "reach_prob_density onnx/vdp.onnx vnnlib/vdp_1.vnnlib",
    "rl_benchmarks onnx/cartpole.onnx vnnlib/cartpole_case_safe_99.vnnlib",
    "rl_benchmarks onnx/cartpole.onnx vnnlib/cartpole_case_safe_14.vnnlib",
    "safenlp_2024 onnx/medical/perturbations_0.onnx vnnlib/medical/hyperrectangle_337.vnnlib",
    "safenlp_2024 onnx/medical/perturbations_0.onnx vnnlib/medical/hyperrectangle_843.vnnlib",
    "sat_relu onnx/sat_v10_c26.onnx vnnlib/sat_v10_c26.vnnlib",
    "sat_relu onnx/unsat_v10_c26.onnx vnnlib/unsat_v10_c26.vnnlib",
    "sat_relu onnx/unsat_v16_c39.onnx vnnlib/unsat_v16_c39.vnnlib",
    "tllverifybench_2023 onnx/tllBench_n=2_N=M=8_m=1_instance_0_3.onnx vnnlib/property_N=8_3.vnnlib",
    "tllverifybench_2023 onnx/tllBench_n=2_N=M=8_m=1_instance_0_2.onnx vnnlib/property_N=8_2.vnnlib",
]


def known(bench: Path, family: str, onnx: str, vnnlib: str) -> str:
    """The truth of an instance: sat, unsat or unknown."""
    with open(bench / "truth.csv") as file:
        for row in csv.DictReader(file):
            if (row["benchmark"], row["onnx"], row["vnnlib"]) == (family, onnx, vnnlib):
                return row["truth"]
    raise AssertionError(f"truth.csv does not list {family} {onnx} {vnnlib}")


def replayed(model: Path, x: np.ndarray) -> np.ndarray:
    """The outputs by a fresh onnxruntime session."""
    import onnxruntime

    file = model.read_bytes() if model.exists() else gzip.decompress(Path(f"{model}.gz").read_bytes())
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in given.shape]
    single = x.astype(np.float32)
    assert (single.astype(np.float64) == x).all(), "an attack is in the model's element type"
    return session.run(None, {given.name: single.reshape(shape)})[0].ravel().astype(np.float64)


@pytest.mark.parametrize("instance", INSTANCES)
def test_no_contradiction_to_known_truth(bench: Path, instance: str, tmp_path: Path) -> None:
    """Undecided within the time is allowed on a slow machine; wrong is not."""
    family, onnx, vnnlib = instance.split()
    network = pydual.load(bench / family / onnx)
    checker = pydual.load_checker(bench / family / vnnlib)
    outcome = pydual.solve(network, checker, timeout=4)
    if isinstance(outcome, Attack):
        assert checker.is_catastrophe(outcome.x, replayed(bench / family / onnx, outcome.x))
        assert known(bench, family, onnx, vnnlib) == "sat"
    elif isinstance(outcome, Certificate):
        outcome.save(tmp_path / "proof")
        assert pydual.audit(tmp_path / "proof", network, checker, level="rounded").margin > 0
        assert known(bench, family, onnx, vnnlib) == "unsat"
    else:
        assert outcome.reason == "timeout"
