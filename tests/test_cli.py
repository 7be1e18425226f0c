"""The command line: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pydual
from pydual.cli import main
from pydual.outcome import Bracket, Cheat, RelaxedAttack, Unknown

ROOT = Path(__file__).parents[1]

# the network is y = |x| = relu(x) + relu(-x), so every answer below is known
SAT = "(assert (>= Y_0 0.5))"
UNSAT = "(assert (>= Y_0 1.5))"


@pytest.fixture()
def network(tmp_path: Path) -> Path:
    from onnx import TensorProto, helper, numpy_helper, save

    weights = {"A": [[1.0, -1.0]], "B": [[1.0], [1.0]]}
    initializers = [numpy_helper.from_array(np.array(w, dtype=np.float32), name) for name, w in weights.items()]
    nodes = [
        helper.make_node("MatMul", ["X", "A"], ["z"]),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("MatMul", ["h", "B"], ["Y"]),
    ]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1])] for name in ("X", "Y")]
    graph = helper.make_graph(nodes, "absolute value", *ends, initializers)
    path = tmp_path / "abs.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def spec(folder: Path, catastrophe: str) -> Path:
    """A property of the network on the interval [-1, 1]."""
    text = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(assert (>= X_0 -1.0))\n(assert (<= X_0 1.0))\n"
    path = folder / "spec.vnnlib"
    path.write_text(text + catastrophe + "\n", encoding="utf-8")
    return path


def verify(network: Path, property: Path, *options: str) -> int:
    return main(["verify", str(property), "--network", str(network), *options])


def test_sat_prints_the_verdict_and_a_witness(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(network, spec(tmp_path, SAT)) == 0
    out, err = capsys.readouterr()
    verdict, *witness = out.splitlines()
    assert verdict == "sat"
    text = " ".join(witness).replace("(", " ").replace(")", " ").split()
    values = dict(zip(text[::2], map(float, text[1::2]), strict=True))
    assert list(values) == ["X_0", "Y_0"]
    assert -1 <= values["X_0"] <= 1 and values["Y_0"] == abs(values["X_0"]) >= 0.5
    assert "attack" in err and "bracket" in err


def test_unsat_prints_the_verdict_alone_and_saves_a_certificate(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, query = tmp_path / "out.certificate", spec(tmp_path, UNSAT)
    assert verify(network, query, "--certificate", str(saved)) == 0
    out, err = capsys.readouterr()
    assert out == "unsat\n"
    assert "proven margin" in err and f"{saved.stat().st_size} bytes" in err
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    for options in ([], ["--exact"]):
        assert main(["audit", str(saved), "--network", str(network), "--query", str(query), *options]) == 0
        out, err = capsys.readouterr()
        margin = float(out.split("margin ")[1].split(",")[0])
        assert 0 < margin <= 0.5 and err == ""  # the true worst margin is 1.5 - 1
    assert "exact" in out


def test_audit_rejects_a_certificate_of_another_query(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "out.certificate"
    verify(network, spec(tmp_path, UNSAT), "--certificate", str(saved))
    capsys.readouterr()
    other = spec(tmp_path, SAT)
    assert main(["audit", str(saved), "--network", str(network), "--query", str(other)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("pydual: rejected: ") and err.count("\n") == 1


def test_audit_rejects_a_truncated_certificate(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, query = tmp_path / "out.certificate", spec(tmp_path, UNSAT)
    verify(network, query, "--certificate", str(saved))
    capsys.readouterr()
    saved.write_bytes(saved.read_bytes()[:-3])
    assert main(["audit", str(saved), "--network", str(network), "--query", str(query)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1


BRACKET = {"bracket": Bracket(-1.0, 2.0), "proof_system": "crown", "statistics": {}, "trace": ()}
RELAXED = RelaxedAttack(x=np.zeros(1), value=-1.0, lifted=2.0, cheats=(Cheat("relu 0", 0.0, 0.5),), **BRACKET)


@pytest.mark.parametrize(
    ("outcome", "verdict", "comment"),
    [
        (Unknown(reason="timeout", advice="more time", **BRACKET), "timeout", "more time"),
        (Unknown(reason="stalled", advice="try bab", **BRACKET), "unknown", "stalled: try bab"),
        (RELAXED, "unknown", RELAXED.explain()),
    ],
)
def test_what_is_not_decided_is_explained_on_stderr(
    outcome: object,
    verdict: str,
    comment: str,
    network: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {}

    def solve(_network: object, _checker: object, proof_system: str, **options: object) -> object:
        asked.update(options, proof_system=proof_system)
        return outcome

    monkeypatch.setattr(pydual, "solve", solve)
    options = ["--proof-system", "lp", "--timeout", "2.5", "--seed", "3", "--progress"]
    assert verify(network, spec(tmp_path, SAT), *options) == 0
    out, err = capsys.readouterr()
    assert out == verdict + "\n"
    assert comment in err and "crown: bracket [-1, 2]" in err
    given = {"proof_system": "lp", "arithmetic": "real", "timeout": 2.5, "seed": 3, "progress": True}
    assert asked == {**given, "memory_limit": None, "checkpoint": None}


BAD_INPUTS = {
    "no such model": "verify {query} --network {folder}/none.onnx",
    "no such property": "verify {folder}/none.vnnlib --network {network}",
    "truncated model": "verify {query} --network {truncated}",
    "truncated property": "verify {broken} --network {network}",
    "unknown proof system": "verify {query} --network {network} --proof-system magic",
    "no such certificate": "audit {folder}/none --network {network} --query {query}",
    "certificate into a missing folder": "verify {query} --network {network} --certificate {folder}/missing/c",
    "certificate onto a folder": "verify {query} --network {network} --certificate {folder}",
    "demo into a file": "demo --output {query}",
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_sentence_and_exit_code_2(
    case: str, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncated, broken = tmp_path / "truncated.onnx", tmp_path / "broken.vnnlib"
    truncated.write_bytes(network.read_bytes()[:-20])
    broken.write_text("(assert (<= X_0", encoding="utf-8")
    places = {"query": spec(tmp_path, UNSAT), "network": network, "folder": tmp_path}
    places |= {"truncated": truncated, "broken": broken}
    assert main([word.format(**places) for word in BAD_INPUTS[case].split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pydual: ") and err.count("\n") == 1


@pytest.mark.parametrize("case", [case for case in BAD_INPUTS if case.startswith("certificate")])
def test_where_the_certificate_goes_is_checked_before_the_solve(
    case: str, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pydual, "solve", lambda *_, **__: pytest.fail("solve was called"))
    places = {"query": spec(tmp_path, UNSAT), "network": network, "folder": tmp_path}
    assert main([word.format(**places) for word in BAD_INPUTS[case].split()]) == 2


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_timeout_is_a_positive_number(
    seconds: str, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        verify(network, spec(tmp_path, UNSAT), "--timeout", seconds)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == "" and "positive number of seconds" in err


def test_ctrl_c_is_clean(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def solve(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pydual, "solve", solve)
    assert verify(network, spec(tmp_path, UNSAT)) == 130
    assert capsys.readouterr() == ("", "pydual: interrupted\n")


def test_a_reader_that_leaves_is_no_traceback(network: Path, tmp_path: Path) -> None:
    query = spec(tmp_path, SAT)
    command = [sys.executable, "-m", "pydual", "verify", str(query), "--network", str(network)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141
    assert "Traceback" not in err and "BrokenPipe" not in err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for option, expected in (("--version", f"pydual {pydual.__version__}\n"), ("--help", "verify")):
        with pytest.raises(SystemExit) as stopped:
            main([option])
        assert stopped.value.code == 0 and expected in capsys.readouterr().out


CHECKERS = """
import pydual

region = pydual.Region([-1.0], [1.0])


@pydual.checker(region)
def large(x, y):
    return y[0] >= 1.5


@pydual.checker(region)
def one(x, y):
    return y[0] >= 0.5


unseen = pydual.black_box(region, lambda x, y: y[0] >= 1.5)
seen = pydual.black_box(region, lambda x, y: y[0] >= 0.5)
number = 5
"""


def test_checkers_of_a_python_file(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, proof = tmp_path / "checkers.py", tmp_path / "c.cert"
    path.write_text(CHECKERS, encoding="utf-8")
    ask = ["--network", str(network)]
    assert main(["verify", f"{path}:large", *ask, "--certificate", str(proof)]) == 0
    assert capsys.readouterr().out == "unsat\n"
    assert main(["audit", str(proof), *ask, "--query", f"{path}:large"]) == 0
    assert main(["audit", str(proof), *ask, "--query", f"{path}:one"]) == 1
    capsys.readouterr()
    assert main(["verify", f"{path}:one", *ask]) == 0
    assert capsys.readouterr().out.startswith("sat\n")


def test_statistics_are_no_verdict(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, proof = tmp_path / "checkers.py", tmp_path / "c.cert"
    path.write_text(CHECKERS, encoding="utf-8")
    for system in ("auto", "statistical"):
        options = ["--network", str(network), "--proof-system", system, "--certificate", str(proof)]
        assert main(["verify", f"{path}:unseen", *options]) == 0
        out, err = capsys.readouterr()
        assert out == "statistical\n" and "it is not a proof" in err and not proof.exists()
    assert main(["verify", f"{path}:seen", "--network", str(network)]) == 0
    assert capsys.readouterr().out.startswith("sat\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [("checkers.py:number", "'number' in .* is a int; decorate"), ("checkers.py:nothing", "defines no 'nothing'"),
     ("checkers.py", "does not say which checker"), ("other.py:large", "There is no file"),
     ("broken.py:large", "Running .* failed: ZeroDivisionError")],
)  # fmt: skip
def test_bad_checker_files(
    network: Path, tmp_path: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkers.py").write_text(CHECKERS, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    assert main(["verify", str(tmp_path / name), "--network", str(network)]) == 2
    out, err = capsys.readouterr()
    assert not out and re.search(message, err) and err.count("\n") == 1
