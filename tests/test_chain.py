"""Chains of trusted models: what they prove is so, they prove it exactly up to their tolerances, and nothing else passes.

The truth is that of all points of a grid of integers, in rational arithmetic.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pydual
from pydual import Attack, Ball, Certificate, CertificateError, Checker, InputError, Network, Region, Unknown, X, Y
from pydual.attack.replay import Replay
from pydual.chain_file import ChainProof, open_lemmas
from pydual.checker import margin_at
from pydual.cli import main
from pydual.query import pose

GRID = Region([-2.0, -2.0], [2.0, 2.0], integers=np.array([True, True]))
SQUARE = Region([-1.0, -1.0], [1.0, 1.0])


def pair(seed: int, hidden: int = 6) -> tuple[Network, Network]:
    """A fast network and a slow one near it: weights are quarters, so that ties happen."""
    rng = np.random.default_rng(seed)
    a, b, c = (rng.integers(-6, 7, size) / 4 for size in ((hidden, 2), hidden, (2, hidden)))
    fast = Network.from_layers([(a, b), (c, np.zeros(2))])
    slow = Network.from_layers([(a, b + rng.integers(-1, 2, hidden) / 8), (c, rng.integers(-1, 2, 2) / 8)])
    return fast, slow


def values(network: Network, region: Region = GRID) -> Iterator[tuple[list[Fraction], list[Fraction]]]:
    """All integer points of a box, with the exact outputs."""
    replay = Replay(network)
    axes = (range(int(low), int(high) + 1) for low, high in zip(region.lower, region.upper, strict=True))
    for point in product(*axes):
        x = [Fraction(c) for c in point]
        yield x, replay.exact_outputs(x)


def distance(first: Network, second: Network) -> Fraction:
    pairs = zip(values(first), values(second), strict=True)
    return max(abs(a - b) for (_, y), (_, z) in pairs for a, b in zip(y, z, strict=True))


def worst(network: Network, checker: Checker) -> Fraction:
    return min(margin_at(checker.catastrophe, x, y) for x, y in values(network))


# what is proved is so, and as far as tolerances allow, what is so is proved


@pytest.mark.parametrize("seed", range(12))
def test_a_chain_is_accepted_up_to_its_tolerance_and_margin(seed: int) -> None:
    """The margin Y0 - 2 Y1 + c falls by 3 tolerances: just above, at, and just below what the grid allows."""
    fast, slow = pair(seed)
    apart, tiny = distance(fast, slow), Fraction(1, 64)
    condition = Y[0] - 2 * Y[1] <= 0
    lowest = worst(slow, Checker(GRID, condition))
    for tolerance, spare in ((apart + tiny, tiny), (apart + tiny, Fraction(0)), (apart, tiny)):
        checker = Checker(GRID, Y[0] - 2 * Y[1] <= lowest - 3 * tolerance - spare)
        outcome = pydual.solve(fast, pydual.chain(checker, (slow, tolerance)))
        if tolerance > apart and spare > 0:
            assert isinstance(outcome, Certificate) and 0 < outcome.margin <= spare <= worst(fast, checker)
        else:
            assert isinstance(outcome, Unknown) and "does not hold" in outcome.reason


def test_random_thresholds_agree_with_the_grid() -> None:
    """Conditions with "or" and "and", inputs and constants; a certificate is never wrong, an attack is one."""
    rng, names = np.random.default_rng(100), list[str]()
    for k in range(72):
        fast, slow = pair(k // 6)
        a, b, c = (Fraction(int(n), 4) for n in rng.integers([10, -60, 10], [60, -10, 60]))
        condition = (Y[0] + X[0] >= a) & (Y[1] < b) | (Y[1] - Y[0] > c) & (X[1] <= 1)
        checker = Checker(GRID, condition)
        outcome = pydual.solve(fast, pydual.chain(checker, (slow, distance(fast, slow) + Fraction(1, 100))))
        truth = worst(fast, checker)
        names.append(type(outcome).__name__)
        if isinstance(outcome, Certificate):
            assert truth > 0
        if isinstance(outcome, Attack):
            assert truth <= 0 and checker.is_catastrophe(outcome.x.tolist(), outcome.y.tolist())
    assert names.count("Certificate") >= 10 and names.count("Attack") >= 10, names


def test_chains_find_attacks_and_proofs() -> None:
    fast, slow = pair(0)
    tolerance = distance(fast, slow) + Fraction(1, 100)
    lowest = worst(fast, Checker(GRID, Y[0] <= 0))
    unsafe = pydual.solve(fast, pydual.chain(Checker(GRID, Y[0] <= lowest), (slow, tolerance)))
    assert isinstance(unsafe, Attack) and unsafe.y[0] == lowest
    safe = pydual.solve(fast, pydual.chain(Checker(GRID, Y[0] <= lowest - 3 * tolerance), (slow, tolerance)))
    assert isinstance(safe, Certificate) and set(safe.statistics["lemmas"]) == {"near-1", "safe"}


def test_tolerances_of_a_longer_chain_add_up() -> None:
    """y, y + 1/8, y + 1/4: the margin of the last falls by 1/4 and the two tiny numbers."""
    models = [Network.from_layers([(np.eye(2), np.full(2, k / 8))]) for k in range(3)]
    links = [(model, Fraction(9, 64)) for model in models[1:]]
    least = Fraction(-2) + Fraction(1, 4)  # of the last model's outputs
    for limit, proved in ((least - Fraction(19, 64), True), (least - Fraction(18, 64), False)):
        outcome = pydual.solve(models[0], pydual.chain(Checker(GRID, Y[0] <= limit), *links))
        assert isinstance(outcome, Certificate) == proved
    exact = pydual.chain(Checker(GRID, Y[0] <= -4), (models[1], "0.126"), (models[2], 0.126))
    assert [lemma.name for lemma in exact.lemmas(models[0])] == ["near-1", "near-2", "safe"]
    assert exact.trusted[0][1] == Fraction("0.126") and exact.trusted[1][1] == Fraction(0.126) != Fraction("0.126")


@pytest.mark.parametrize("seed", range(8))
def test_what_a_checker_computes_is_judged_near_the_trusted_model(seed: int) -> None:
    """max(y0 y1, |y0 - x0|) >= c: enumerated for the fast model; the slow one is asked about everything near it."""
    fast, slow = pair(seed, hidden=3)
    tolerance = distance(fast, slow) + Fraction(1, 64)

    def score(x: Any, y: Any) -> Any:
        return max(y[0] * y[1], abs(y[0] - x[0]))

    highest = max(score(x, y) for x, y in values(fast))
    around = max(
        score(x, (y[0] + s * tolerance, y[1] + t * tolerance)) for x, y in values(slow) for s in (-1, 1) for t in (-1, 1)
    )  # the score is convex along each output, so corners have the greatest value
    for limit, proved in ((around + Fraction(1, 8), True), (around - Fraction(1, 8), False), (highest, False)):

        @pydual.checker(GRID)
        def catastrophe(x: Any, y: Any, limit: Fraction = limit) -> Any:
            return np.maximum(y[0] * y[1], np.abs(y[0] - x[0])) >= limit

        outcome = pydual.solve(fast, pydual.chain(catastrophe, (slow, tolerance)), timeout=60)
        assert isinstance(outcome, Certificate) == proved, outcome
        if isinstance(outcome, Certificate):
            assert 0 < outcome.margin <= limit - highest
            assert pydual.audit(outcome, fast, pydual.chain(catastrophe, (slow, tolerance))).level == "exact"


def test_an_overseer_judges_what_is_near_the_trusted_model() -> None:
    fast, slow = pair(1)
    judge = Network.from_layers([([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])])  # |y0 - y1|
    tolerance = distance(fast, slow) + Fraction(1, 64)
    limit = max(abs(y[0] - y[1]) for _, y in values(slow)) + 2 * tolerance
    for spare, proved in ((Fraction(1, 64), True), (Fraction(0), False)):
        checker = pydual.chain(pydual.overseer(judge, GRID, limit + spare), (slow, tolerance))
        assert isinstance(pydual.solve(fast, checker), Certificate) == proved


def test_the_catastrophe_is_that_of_the_model_that_is_asked_about() -> None:
    """A traced function sees shapes: the trusted model's may be others, and must not change the question."""
    fast, flat = pair(2)
    layered = replace(flat, output_shape=(2, 1))

    @pydual.checker(GRID)
    def catastrophe(x: Any, y: Any) -> Any:
        return y[0] >= 100 if y.ndim == 1 else y[0][0] >= -100

    chained = pydual.chain(catastrophe, (layered, 10))
    assert pose(fast, catastrophe).checker.catastrophe != pose(layered, catastrophe).checker.catastrophe
    safe = chained.lemmas(fast)[-1].checker
    assert isinstance(safe, Checker) and safe.catastrophe == (Y[0] >= 90)


@pytest.mark.parametrize("region", [SQUARE, Region([-1.0, -1.0], [1.0, 1.0], Ball(np.zeros(2), 0.5, "l2"))])
def test_boxes_and_balls(region: Region) -> None:
    fast, slow = pair(3)
    checker = Checker(region, Y[0] >= 40)
    outcome = pydual.solve(fast, pydual.chain(checker, (slow, 4)))
    assert isinstance(outcome, Certificate)
    if region.ball is not None:
        with pytest.raises(pydual.UnsupportedError, match="needs a box"):
            judge = pydual.overseer(Network.from_layers([([[1.0, 1.0]], [0.0])]), region, 40)
            pydual.solve(fast, pydual.chain(judge, (slow, 4)))


# files


@pytest.fixture(scope="module")
def proved() -> tuple[Network, Any, Certificate]:
    fast, slow = pair(4)
    question = pydual.chain(Checker(SQUARE, Y[0] >= 30), (slow, "1.5"), (fast, "1.5"))
    outcome = pydual.solve(fast, question, "bab")
    assert isinstance(outcome, Certificate)
    return fast, question, outcome


def test_one_file_is_audited_as_one(proved: tuple[Network, Any, Certificate], tmp_path: Path) -> None:
    fast, question, outcome = proved
    outcome.save(tmp_path / "a.cert")
    outcome.save(tmp_path / "b.cert")
    assert (tmp_path / "a.cert").read_bytes() == (tmp_path / "b.cert").read_bytes()
    for level in ("exact", "rounded"):
        accepted = pydual.audit(tmp_path / "a.cert", fast, question, level=level)
        assert accepted.margin == pytest.approx(outcome.margin) and (accepted.level, accepted.arithmetic) == (level, "real")
    assert pydual.audit(outcome, fast, question).margin == pydual.audit(outcome.certificate, fast, question).margin
    with zipfile.ZipFile(tmp_path / "a.cert") as archive:  # its parts are certificates by themselves
        archive.extract("safe.cert", tmp_path)
    safe = question.lemmas(fast)[-1]
    assert pydual.audit(tmp_path / "safe.cert", safe.model, safe.checker).margin > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cert", "b.cert", "safe.cert"]


Forgery = Callable[[Any], Any]
CHECKER = Checker(SQUARE, Y[0] >= 30)
QUESTIONS: dict[str, Callable[[Network, Network], Any]] = {
    "smaller tolerance": lambda fast, slow: pydual.chain(CHECKER, (slow, "1.49"), (fast, "1.5")),
    "greater tolerance": lambda fast, slow: pydual.chain(CHECKER, (slow, "1.5"), (fast, "1.51")),
    "tolerances exchanged": lambda fast, slow: pydual.chain(CHECKER, (slow, "1.4"), (fast, "1.6")),
    "models exchanged": lambda fast, slow: pydual.chain(CHECKER, (fast, "1.5"), (slow, "1.5")),
    "another model": lambda fast, slow: pydual.chain(CHECKER, (pair(5)[1], "1.5"), (fast, "1.5")),
    "another threshold": lambda fast, slow: pydual.chain(Checker(SQUARE, Y[0] >= 29.999), (slow, "1.5"), (fast, "1.5")),
    "strict": lambda fast, slow: pydual.chain(Checker(SQUARE, Y[0] > 30), (slow, "1.5"), (fast, "1.5")),
    "a larger region": lambda fast, slow: pydual.chain(
        Checker(Region([-1.0, -1.0], [1.0, np.nextafter(1.0, 2.0)]), Y[0] >= 30), (slow, "1.5"), (fast, "1.5")
    ),
    "a shorter chain": lambda fast, slow: pydual.chain(CHECKER, (slow, "1.5")),
    "no chain": lambda fast, slow: CHECKER,
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_answers_no_other_question(question: str, proved: tuple[Network, Any, Certificate], tmp_path: Path) -> None:
    fast, asked, outcome = proved
    outcome.save(tmp_path / "chain.cert")
    other = QUESTIONS[question](fast, asked.trusted[0][0])
    with pytest.raises(CertificateError):
        pydual.audit(tmp_path / "chain.cert", fast, other)
    if question != "no chain":
        with pytest.raises(CertificateError):
            pydual.audit(outcome, fast, other)
    with pytest.raises(CertificateError):
        pydual.audit(tmp_path / "chain.cert", asked.trusted[0][0], asked)


def rewritten(source: Path, target: Path, change: Callable[[list[tuple[str, bytes]]], Any], **options: Any) -> None:
    with zipfile.ZipFile(source) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(target, "w", **options) as archive:
        archive.comment = b"pydual-chain-1"
        for name, data in change(members):
            archive.writestr(zipfile.ZipInfo(name), data, options.get("compression"))


FILES: dict[str, Callable[[list[tuple[str, bytes]]], Any]] = {
    "without a lemma": lambda members: members[1:],
    "without the last": lambda members: members[:-1],
    "empty": lambda members: [],
    "in another order": lambda members: members[::-1],
    "contents exchanged": lambda members: [(name, data) for (name, _), (_, data) in zip(members, members[::-1], strict=True)],
    "one proof for all": lambda members: [(name, members[0][1]) for name, _ in members],
    "an empty proof": lambda members: [(name, b"") for name, _ in members],
    "one more": lambda members: [*members, ("../escaped.cert", b"")],
    "another name": lambda members: [("../escaped.cert", members[0][1]), *members[1:]],
}


@pytest.mark.parametrize("change", FILES)
def test_forged_files_are_rejected(change: str, proved: tuple[Network, Any, Certificate], tmp_path: Path) -> None:
    fast, question, outcome = proved
    folder = tmp_path / "folder"
    folder.mkdir()
    outcome.save(folder / "good.cert")
    rewritten(folder / "good.cert", folder / "same.cert", list)
    pydual.audit(folder / "same.cert", fast, question)  # it is the change that is rejected
    rewritten(folder / "good.cert", folder / "bad.cert", FILES[change])
    with pytest.raises(CertificateError):
        pydual.audit(folder / "bad.cert", fast, question)
    assert not (tmp_path / "escaped.cert").exists() and not list(tmp_path.glob("*.cert"))


def test_files_that_are_none_are_rejected_in_a_sentence(proved: tuple[Network, Any, Certificate], tmp_path: Path) -> None:
    fast, question, outcome = proved
    good = tmp_path / "good.cert"
    outcome.save(good)
    rewritten(good, tmp_path / "small.cert", list, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CertificateError, match="compressed"):
        pydual.audit(tmp_path / "small.cert", fast, question)
    (tmp_path / "other.cert").write_bytes(good.read_bytes().replace(b"pydual-chain-1", b"pydual-chain-2"))
    with pytest.raises(CertificateError, match="format pydual-chain-1"):
        pydual.audit(tmp_path / "other.cert", fast, question)
    os.mkfifo(tmp_path / "pipe.cert")
    for name in ("missing.cert", ".", "pipe.cert", "\0.cert"):
        with pytest.raises(CertificateError, match="not a readable certificate of a chain"):
            pydual.audit(tmp_path / name, fast, question)
    with pytest.raises(CertificateError, match="does not prove a chain"):
        pydual.audit(outcome.certificate.lemmas["safe"], fast, question)  # type: ignore[union-attr]
    with pytest.raises(CertificateError, match="readable certificate"):
        pydual.load_proof(good)
    lemma = question.lemmas(fast)[-1]
    with pytest.raises(CertificateError, match="is the certificate of a chain; say which models"):
        pydual.audit(good, lemma.model, lemma.checker)


def test_damaged_files_are_rejected(proved: tuple[Network, Any, Certificate], tmp_path: Path) -> None:
    """Truncated anywhere, or with a changed byte: a CertificateError, or what is left is still a proof."""
    fast, question, outcome = proved
    outcome.save(tmp_path / "good.cert")
    data, bad = (tmp_path / "good.cert").read_bytes(), tmp_path / "bad.cert"
    rng, rejected = np.random.default_rng(0), 0
    for k in range(150):
        place = int(rng.integers(len(data)))
        changed = bytes([data[place] ^ int(rng.integers(1, 256))]) + data[place + 1 :]
        bad.write_bytes(data[:place] + (b"" if k % 3 == 0 else changed))
        try:
            assert pydual.audit(bad, fast, question).margin > 0
        except CertificateError:
            rejected += 1
    assert rejected > 100


def test_a_lemma_in_float32_proves_no_chain() -> None:
    """Of float32 models, a certificate for executions says nothing of differences of real numbers."""
    models = [replace(model, element_type="float32") for model in pair(6)]
    question = pydual.chain(CHECKER, (models[1], "1.5"))
    outcome = pydual.solve(models[0], question)
    assert isinstance(outcome, Certificate) and isinstance(outcome.certificate, ChainProof)
    safe = question.lemmas(models[0])[-1]
    executed = pydual.solve(safe.model, safe.checker, arithmetic="float32")
    assert isinstance(executed, Certificate)
    forged = ChainProof({**outcome.certificate.lemmas, "safe": executed.certificate})  # type: ignore[dict-item]
    with pytest.raises(CertificateError, match="float32"):
        pydual.audit(forged, models[0], question)
    with pytest.raises(InputError, match="real arithmetic"):
        pydual.solve(models[0], question, arithmetic="float32")


# the door


def test_what_makes_no_chain() -> None:
    fast, slow = pair(0)
    for arguments, message in (
        ((), "pairs of a model and a tolerance"),
        ((slow,), "pairs of a model and a tolerance"),
        (((slow, 0),), "tolerance is 0"),
        (((slow, -1),), "tolerance is -1"),
        (((slow, "wide"),), "tolerance is 'wide'"),
        (((slow, float("nan")),), "tolerance is nan"),
        (((slow, None),), "tolerance is None"),
        (((0.5, slow),), "slow model is a float"),
    ):
        with pytest.raises(InputError, match=message):
            pydual.chain(CHECKER, *arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs a checker"):
        pydual.chain(SQUARE, (slow, 1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one run of the model"):
        pydual.solve(fast, pydual.chain(pydual.monotone(SQUARE, [0]), (slow, 1)))
    with pytest.raises(InputError, match="only models of one shape"):
        pydual.solve(fast, pydual.chain(CHECKER, (Network.from_layers([(np.eye(3), np.zeros(3))]), 1)))
    with pytest.raises(InputError, match="A chain is proved"):
        pydual.solve(fast, pydual.chain(CHECKER, (slow, 1)), "statistical")
    with pytest.raises(CertificateError, match="has the lemmas safe; the question has near-1, safe"), open_lemmas(
        ChainProof({"safe": None}), ["near-1", "safe"]  # type: ignore[dict-item]
    ):
        pass


def test_time_that_is_up_and_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydual.checkpoint.INTERVAL", 0.0)
    fast, slow = pair(4)
    question = pydual.chain(CHECKER, (slow, "1.5"))
    short = pydual.solve(fast, question, timeout=1e-6)
    assert isinstance(short, Unknown) and short.reason == "timeout" and "near-1" in short.advice
    for _ in range(2):
        again = pydual.solve(fast, question, "bab", checkpoint=tmp_path / "search")
        assert isinstance(again, Certificate)
    assert {path.name for path in tmp_path.iterdir()} == {"search.near-1", "search.safe"}


def test_the_command_line(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("onnx")
    import onnx
    from onnx import helper, numpy_helper

    for name, shift in (("fast", 0.0), ("slow", 1 / 16)):
        nodes = [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1),
            helper.make_node("Relu", ["h"], ["y"]),
        ]
        x, y = (helper.make_tensor_value_info(v, onnx.TensorProto.FLOAT, [1, 2]) for v in ("x", "y"))
        arrays = {"w": np.array([[1.0, 2.0], [-1.0, 1.0]], np.float32), "b": np.full(2, shift, np.float32)}
        tensors = [numpy_helper.from_array(array, key) for key, array in arrays.items()]
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(helper.make_graph(nodes, name, [x], [y], tensors), opset_imports=opsets, ir_version=8)
        onnx.save(model, tmp_path / f"{name}.onnx")
    (tmp_path / "spec.vnnlib").write_text(
        "".join(f"(declare-const {v} Real)\n" for v in ("X_0", "X_1", "Y_0", "Y_1"))
        + "".join(f"(assert (<= X_{i} 1))\n(assert (>= X_{i} -1))\n" for i in range(2))
        + "(assert (>= Y_0 3.2))\n"
    )
    trusted = ["--trusted", str(tmp_path / "slow.onnx"), "0.07"]
    verify = ["verify", str(tmp_path / "spec.vnnlib"), "--network", str(tmp_path / "fast.onnx"), *trusted]
    assert main([*verify, "--certificate", str(tmp_path / "chain.cert")]) == 0
    assert capsys.readouterr().out == "unsat\n"
    audit = ["audit", str(tmp_path / "chain.cert"), "--network", str(tmp_path / "fast.onnx"),
             "--query", str(tmp_path / "spec.vnnlib")]  # fmt: skip
    assert main([*audit, *trusted]) == 0 and "accepted: proven margin 0.06" in capsys.readouterr().out
    assert main([*audit, *trusted[:2], "0.08"]) == 1 and "rejected" in capsys.readouterr().err
    assert main(audit) == 1
