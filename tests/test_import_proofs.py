"""Other tools' proofs, end to end: a certificate of our own that the exact audit accepts, an attack, or the leaf's name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from foreign_proofs import Cell, all_patterns, aptp, cells_of, marabou, query, splits, text
from random_instances import random_tree

import pydual
from pydual import (
    Attack,
    BranchAndBound,
    CaseTree,
    Certificate,
    Checker,
    ImportedTree,
    InputError,
    Network,
    Region,
    Unknown,
    Y,
)
from pydual.audit.query import problems as query_problems
from pydual.cli import main
from pydual.problem import normalize
from pydual.proof_systems import Crown

SAFE, UNSAFE = 0.05, -0.05


def imported(folder: Path, content: str, network: Network) -> CaseTree:
    path = folder / "proof"
    path.write_text(content, encoding="utf-8")
    return pydual.load_case_tree(path, network)


def accept(outcome: object, network: Network, checker: Checker) -> Certificate:
    assert isinstance(outcome, Certificate), outcome
    assert pydual.audit(outcome.certificate, network, checker, level="exact").margin > 0
    return outcome


@pytest.mark.parametrize("seed", range(4))
def test_all_patterns_prove_a_true_property(seed: int, tmp_path: Path) -> None:
    network, checker = query(seed, SAFE)
    tree = imported(tmp_path, aptp(network, all_patterns(network.neurons)), network)
    assert tree.leaves == 2**network.neurons
    certificate = accept(pydual.certify(tree, network, checker), network, checker)
    assert certificate.certificate.leaves == tree.leaves and certificate.margin <= SAFE + 1e-6


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("split", ["neuron", "input"])
def test_our_own_trees_come_back_from_aptp(seed: int, split: str, tmp_path: Path) -> None:
    network, checker = query(seed, SAFE)
    outcome = pydual.solve(network, checker, BranchAndBound(bound=Crown(), split=split))
    assert isinstance(outcome, Certificate)
    (proof,) = outcome.certificate.trees
    cells = list(cells_of(proof))
    shuffled = [cells[k] for k in np.random.default_rng(seed).permutation(len(cells))]
    tree = imported(tmp_path, aptp(network, shuffled, digits=10), network)
    assert tree.leaves == len(cells)
    accept(pydual.certify(tree, network, checker), network, checker)


@pytest.mark.parametrize("seed", range(4))
def test_our_own_trees_come_back_from_marabou_s_schema(seed: int, tmp_path: Path) -> None:
    network, checker = query(seed, SAFE)
    outcome = pydual.solve(network, checker, BranchAndBound(bound=Crown(), split="neuron"))
    assert isinstance(outcome, Certificate)
    (proof,) = outcome.certificate.trees
    tree = imported(tmp_path, text(marabou(network, proof)), network)
    assert tree.kind == tuple(proof.kind.tolist())
    accept(pydual.certify(tree, network, checker), network, checker)


@pytest.mark.parametrize("seed", range(6))
def test_a_false_property_is_attacked_or_its_leaf_named_but_never_proved(seed: int, tmp_path: Path) -> None:
    network, checker = query(seed, UNSAFE)
    patterns = all_patterns(network.neurons)
    tree = imported(tmp_path, aptp(network, patterns[: len(patterns) // 2]), network)
    assert isinstance(pydual.certify(tree, network, checker), Attack)


def test_a_false_property_of_which_the_search_is_kept_in_the_dark_names_its_leaf() -> None:
    """Only the proof system plays, so that no attack can end the game first."""
    network, checker = query(1, UNSAFE)
    system = ImportedTree(CaseTree((2, 0, 0), (0, 0, 0), (0.0,) * 3, ("left", "right")))
    state = system.init(normalize(network, checker))
    while not state.finished:
        state = system.step(state, np.inf)
    assert not state.trees and re.search(r"(left|right) \(.*layer 1\[0\] (in)?active\): bound -", state.obstacle)


@pytest.mark.parametrize("seed", range(4))
def test_a_missing_case_is_proved_too(seed: int, tmp_path: Path) -> None:
    network, checker = query(seed, SAFE)
    tree = imported(tmp_path, aptp(network, all_patterns(network.neurons)[5:]), network)
    assert "the missing case" in tree.names
    accept(pydual.certify(tree, network, checker), network, checker)


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_that_is_not_fine_enough_is_refined(seed: int, tmp_path: Path) -> None:
    network, checker = query(seed, 1e-3)
    half = [Cell({2: phase}, {}, {}) for phase in (False, True)]
    tree = imported(tmp_path, aptp(network, half), network)
    assert tree.leaves == 2
    certificate = accept(pydual.certify(tree, network, checker), network, checker)
    assert certificate.certificate.trees[0].index[0] == 2


def test_neurons_and_inputs_may_be_split_on_one_path() -> None:
    """An input below a neuron and the other way round, on a box that one of the splits misses."""
    network, checker = query(3, SAFE)
    kind, index, threshold = (
        (2, 1, 0, 1, 0, 0, 1, 2, 0, 0, 0),
        (1, 0, 0, 1, 0, 0, 1, 5, 0, 0, 0),
        (0, 0.25, 0, 7, 0, 0, -0.5) + (0,) * 4,
    )
    tree = CaseTree(kind, index, tuple(map(float, threshold)), tuple("abcdef"))
    accept(pydual.certify(tree, network, checker), network, checker)


def test_float32_execution_is_proved_along_a_tree_too() -> None:
    network, checker = query(2, SAFE)
    network = replace(network, element_type="float32")
    tree = CaseTree((2, 0, 2, 0, 0), (0, 0, 4, 0, 0), (0.0,) * 5, ("a", "b", "c"))
    certificate = accept(pydual.certify(tree, network, checker, arithmetic="float32"), network, checker)
    assert certificate.certificate.arithmetic == "float32"


def sign_network() -> tuple[Network, Checker]:
    """y = relu(s) - relu(-s) - s + 0.1 = 0.1 with s = x0 + x1: true, but not for the relaxation of one of the two."""
    first = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [1.0, 1.0]]), np.array([0.0, 0.0, 8.0, 0.0])
    network = Network.from_layers([first, (np.array([[1.0, -1.0, -1.0, 0.0]]), np.array([8.1]))])
    return network, Checker(Region([-1.0, -1.0], [1.0, 1.0]), Y[0] <= 0)


def test_a_leaf_that_cannot_be_proved_is_named_with_its_neurons() -> None:
    network, checker = sign_network()
    tree = CaseTree((2, 0, 0), (3, 0, 0), (0.0,) * 3, ("leaf 8", "leaf 9"), "proof")
    outcome = pydual.solve(network, checker, ImportedTree(tree, refine=0))
    assert isinstance(outcome, Unknown)
    assert outcome.reason.startswith("Of the imported proof, 2 leaves could not be proved: leaf ")
    for name, phase in (("leaf 8", "inactive"), ("leaf 9", "active")):
        found = re.search(rf"{name} \(layer 1\[3\] {phase}\): bound (-?\d+\.?\d*)", outcome.reason)
        assert found and float(found[1]) < 0
    accept(pydual.solve(network, checker, ImportedTree(tree)), network, checker)


def test_a_proof_that_takes_too_long_says_where_it_was() -> None:
    network, checker = sign_network()
    system = ImportedTree(CaseTree((2, 0, 0), (3, 0, 0), (0.0,) * 3, ("leaf 8", "leaf 9")), batch=1)
    state = system.step(system.init(normalize(network, checker)), np.inf)
    assert not state.finished and state.claim == "The imported proof was at leaf 8."


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_tree_the_answer_is_true(seed: int) -> None:
    """Random splits of neurons and inputs, inside and outside of the box."""
    rng = np.random.default_rng(seed)
    safe = seed % 2 == 0
    network, checker = query(seed % 5, float(rng.choice([1e-3, 0.3])) * (1 if safe else -1))
    (problem,) = query_problems(checker)
    nodes = list(splits(random_tree(rng, network, problem)))
    leaves = [f"leaf {k}" for k in range(sum(kind == 0 for kind, _, _ in nodes))]
    kind, index, threshold = zip(*nodes, strict=True)
    outcome = pydual.certify(CaseTree(kind, index, threshold, tuple(leaves)), network, checker)
    if safe:
        accept(outcome, network, checker)
    else:
        assert isinstance(outcome, Attack)


def test_several_problems_each_get_the_tree() -> None:
    network, _ = query(2, SAFE, (2, 4, 3, 3))
    values = network.evaluate(np.random.default_rng(0).uniform(-1, 1, (2000, 2)))
    low = values.min(axis=0) - 1
    checker = Checker(Region([-1.0, -1.0], [1.0, 1.0]), (Y[0] <= low[0]) | (Y[1] <= low[1]) | (Y[2] <= low[2]))
    tree = CaseTree((2, 0, 2, 0, 0), (0, 0, 4, 0, 0), (0.0,) * 5, ("a", "b", "c"))
    certificate = accept(pydual.certify(tree, network, checker), network, checker)
    assert len(certificate.certificate.trees) == 3


def test_a_tree_of_another_network_is_refused(tmp_path: Path) -> None:
    network, checker = query(0, SAFE)
    larger, _ = query(0, SAFE, (2, 5, 4, 1))
    with pytest.raises(InputError, match="9"):
        imported(tmp_path, aptp(larger, all_patterns(9)), network)
    with pytest.raises(InputError, match="number 9 of the neurons, but the network has 7"):
        pydual.certify(CaseTree((2, 0, 0), (8, 0, 0), (0.0,) * 3, ("a", "b")), network, checker)


@pytest.mark.parametrize("verdict", ["unsat\n", "unsat 378 742 88", "holds", "UNSAT"])
def test_a_verdict_is_a_claim_that_pydual_proves_itself(verdict: str, tmp_path: Path) -> None:
    network, checker = query(0, SAFE)
    tree = imported(tmp_path, verdict, network)
    assert tree.leaves == 1
    accept(pydual.certify(tree, network, checker), network, checker)
    network, checker = query(0, UNSAFE)
    assert isinstance(pydual.certify(tree, network, checker), Attack)


@pytest.mark.parametrize("content", ["sat\n((X_0 0.5))", "timeout", "unknown", "violated", "", "unsatisfactory", "\x00\xff"])
def test_what_claims_no_proof_is_refused(content: str, tmp_path: Path) -> None:
    network, _ = query(0, SAFE)
    with pytest.raises(InputError) as caught:
        imported(tmp_path, content, network)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("piece", [" ", ";", "\n;", "\n", "(", "( ", "{", '{"a": ['])
def test_long_files_without_a_proof_are_refused_at_once(piece: str, tmp_path: Path) -> None:
    """Each repeated a hundred thousand times: patterns that backtrack would not end."""
    network, _ = query(0, SAFE)
    with pytest.raises(InputError):
        imported(tmp_path, piece * 100_000, network)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    network, checker = query(0, SAFE)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "binary"):
        with pytest.raises(InputError):
            pydual.load_case_tree(path, network)
    with pytest.raises(InputError, match="A path is needed"):
        pydual.load_case_tree(3, network)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="The model is a str"):
        pydual.load_case_tree(tmp_path, "model.onnx")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="The case tree is a str"):
        pydual.certify("proof.aptp", network, checker)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (((2, 0), (0, 0), (0.0, 0.0), ("a",)), "breaks off"),
        (((0, 0), (0, 0), (0.0, 0.0), ("a", "b")), "ends before its node 1"),
        (((), (), (), ()), "breaks off"),
        (((0,), (0,), (0.0,), ()), "1 leaves and 0 names"),
        (((2, 2, 0, 0, 0), (1, 1, 0, 0, 0), (0.0,) * 5, ("a", "b", "c")), "neuron 1 twice"),
        (((1, 0, 0), (0, 0, 0), (float("nan"), 0.0, 0.0), ("a", "b")), "NaN"),
        (((3, 0, 0), (0, 0, 0), (0.0,) * 3, ("a", "b")), "kind"),
        (((2, 0, 0), (-1, 0, 0), (0.0,) * 3, ("a", "b")), "kind"),
    ],
)
def test_what_is_no_case_tree_is_refused(columns: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CaseTree(*columns)


def test_a_long_proof_of_marabou_is_read_without_its_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has more bytes than may be kept, and its chunks end anywhere."""
    network, checker = query(1, SAFE)
    tree = CaseTree((2, 0, 2, 0, 0), (0, 0, 4, 0, 0), (0.0,) * 5, ("a", "b", "c"))
    document = marabou(network, tree)
    document["proof"]["children"][0]["contradiction"] = [{"var": k, "val": k / 8 - 1e-7} for k in range(3000)]
    content = text(document)
    for chunk in (50, 97, 1000):
        monkeypatch.setattr("pydual.io.proof_text.CHUNK", chunk)
        monkeypatch.setattr("pydual.io.proof_text.MAX_BYTES", 8000)
        assert len(content) > 80_000
        assert imported(tmp_path, content, network).index == tree.index
    monkeypatch.setattr("pydual.io.proof_text.MAX_BYTES", 500)
    with pytest.raises(InputError, match="more than 500 bytes"):
        imported(tmp_path, content, network)


# the command


@pytest.fixture
def small(bench: Path) -> list[str]:
    folder = bench / "test"
    return ["--network", str(folder / "test_small.onnx"), "--query", str(folder / "test_small.vnnlib")]


def test_the_command_proves_and_saves(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof, certificate = tmp_path / "result.txt", tmp_path / "our.cert"
    proof.write_text("unsat\n", encoding="utf-8")
    claimed = pydual.solve(pydual.load(small[1]), pydual.load_checker(small[3]))
    assert main(["import", str(proof), *small, "--certificate", str(certificate), "--timeout", "60"]) == 0
    answer = capsys.readouterr().out.split()[0]
    assert answer == ("unsat" if isinstance(claimed, Certificate) else "sat")
    if answer == "unsat":
        assert main(["audit", str(certificate), *small, "--exact"]) == 0


def test_the_command_refuses_what_is_no_proof(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = tmp_path / "proof.aptp"
    proof.write_text("(assert (or (and (< N_1 0", encoding="utf-8")
    assert main(["import", str(proof), *small]) == 2
    assert capsys.readouterr().err.startswith("pydual: ")
