"""The exact audit as one file, run by an interpreter that has nothing installed: honest certificates and forged ones."""

from __future__ import annotations

import ast
import csv
import gzip
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_audit_readers as readers
from onnx import TensorProto

import pydual
from pydual.audit import exact_program
from pydual.certificate import Proof
from pydual.cli import main


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "pydual_audit.py"
    assert main(["audit-program", str(path)]) == 0
    return path


def run(program: Path, *arguments: object) -> tuple[int, str]:
    """The exit code, and the only line that was written."""
    command = [sys.executable, "-I", "-S", str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=program.parent)
    (line,) = (done.stdout + done.stderr).splitlines()
    assert bool(done.stdout) == (done.returncode < 2)
    return done.returncode, line


# ---- the file


def test_the_file_is_whole_and_needs_only_the_standard_library_of_python_3_10(program: Path) -> None:
    text = program.read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 10))
    assert "The theorem." in (ast.get_docstring(tree) or "")
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "flint"}
    assert "except ImportError:\n    long = int" in text  # flint may be missing
    assert text == exact_program.program()


def code(text: str) -> list[str]:
    """The statements of a module, without its docstring and imports."""
    return [ast.dump(node) for node in ast.parse(text).body[1:] if not isinstance(node, (ast.Import, ast.ImportFrom))]


def test_the_file_is_all_modules_and_nothing_else(program: Path) -> None:
    sources: dict[str, str] = {}
    exact_program._collect(exact_program.MAIN, sources)
    assert {"pydual.errors", "pydual.audit.exact", "pydual.audit.exact_file", "pydual.audit.query"} < set(sources)
    assert code(program.read_text(encoding="utf-8")) == [node for source in sources.values() for node in code(source)]


def test_names_that_clash_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources = {
        "one": "from __future__ import annotations\nfrom math import pi\n\n\nclass A:\n    pass\n",
        "two": "from pydual.one import A\nfrom math import pi\n\n\nB = (A, pi)\n",
        "three": "from pydual.two import B\n\n\ndef A():\n    return B\n",
        "four": "from pydual.two import B\nfrom cmath import pi\n",
        "five": "from pydual.two import B\n\n\ndef sum():\n    return B\n",
        "six": "def f():\n    from pydual.two import B\n",
        "seven": "from pydual.two import B as C\n",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(f'"""{name}."""\n\n{source}')
    monkeypatch.setattr(pydual, "__path__", [str(tmp_path)])
    monkeypatch.setattr(exact_program, "MAIN", "pydual.two")
    scope: dict[str, Any] = {}
    exec(exact_program.program(), scope)
    assert scope["B"] == (scope["A"], np.pi)
    for name in ("three", "four", "five", "six", "seven"):
        monkeypatch.setattr(exact_program, "MAIN", f"pydual.{name}")
        with pytest.raises(AssertionError, match="A|pi|sum|block|under its own"):
            exact_program.program()


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit-program", str(tmp_path / "none" / "p.py")]) == 2
    assert "cannot be written" in capsys.readouterr().err and not list(tmp_path.iterdir())


# ---- honest certificates


def property_of(network: pydual.Network, radius: float, shift: float) -> str:
    """In a box around a point, the first output is far below its value there, or the last far above the first."""
    x = np.random.default_rng(0).random(network.input_size)
    y = network.evaluate(x)
    head = [f"(declare-const X_{i} Real)" for i in range(len(x))] + [f"(declare-const Y_{j} Real)" for j in range(len(y))]
    bounds = [f"(assert (>= X_{i} {v - radius:.3f}))(assert (<= X_{i} {v + radius:.3f}))" for i, v in enumerate(x)]
    far = f"(or (<= Y_0 {y[0] - shift:.3f}) (> (- Y_{len(y) - 1} Y_0) {y[-1] - y[0] + shift:.3f}))"
    return "\n".join([*head, *bounds, f"(assert {far})"])


Files = tuple[Path, Path, Path]  # certificate, model, property


def proved(folder: Path, model: bytes, shift: float = 100.0, arithmetic: str = "real") -> Files:
    certificate, onnx, spec = folder / "c", folder / "m.onnx", folder / "p.vnnlib"
    onnx.write_bytes(model)
    network = pydual.load(onnx)
    spec.write_text(property_of(network, 0.05, shift))
    outcome = pydual.solve(network, pydual.load_checker(spec), "crown", arithmetic=arithmetic)
    assert isinstance(outcome, pydual.Certificate)
    outcome.save(certificate)
    return certificate, onnx, spec


def accepted(line: str, arithmetic: str = "real") -> float:
    found = re.fullmatch(rf"accepted: proven margin (\S+), arithmetic {arithmetic}", line)
    assert found, line
    return float(found[1])


@pytest.mark.parametrize("name", readers.MODELS)
def test_certificates_of_models_with_every_operator(name: str, program: Path, tmp_path: Path) -> None:
    certificate, model, spec = proved(tmp_path, readers.MODELS[name]().SerializeToString())
    status, line = run(program, certificate, model, spec)
    expected = pydual.audit(certificate, pydual.load(model), pydual.load_checker(spec), level="exact")
    assert status == 0 and 0 < accepted(line) <= expected.margin <= accepted(line) * (1 + 1e-5)


def test_certificates_about_float32(program: Path, tmp_path: Path) -> None:
    """They prove a little less than those about real arithmetic."""
    margins = []
    for arithmetic in ("float32", "real"):
        files = proved(tmp_path, readers.vectors(TensorProto.FLOAT).SerializeToString(), arithmetic=arithmetic)
        status, line = run(program, *files)
        assert status == 0
        margins.append(accepted(line, arithmetic))
    assert 0 < margins[0] < margins[1]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A network of three layers with a proof of two problems."""
    rng = np.random.default_rng(5)
    nodes: readers.Nodes = [
        ("Gemm", ["x", "a", "b"], ["h"], {}),
        ("Relu", ["h"], ["r"], {}),
        ("Gemm", ["r", "c", "b"], ["i"], {}),
        ("Relu", ["i"], ["s"], {}),
        ("MatMul", ["s", "d"], ["y"], {}),
    ]
    constants = {
        "a": rng.normal(size=(3, 5)),
        "b": rng.normal(size=5),
        "c": rng.normal(size=(5, 5)),
        "d": rng.normal(size=(5, 2)),
    }
    model = readers.chain(nodes, [1, 3], constants).SerializeToString()
    return proved(tmp_path_factory.mktemp("case"), model, 5.0)


def test_gzipped_files(case: Files, program: Path, tmp_path: Path) -> None:
    certificate, model, spec = case
    for path in (model, spec):
        (tmp_path / path.name).write_bytes(gzip.compress(path.read_bytes()))
    assert run(program, certificate, tmp_path / model.name, tmp_path / spec.name) == run(program, *case)


BENCHMARK = ["test", "rl_benchmarks", "safenlp_2024", "linearizenn_2024", "malbeware"]


@pytest.mark.parametrize("family", BENCHMARK)
def test_instances_of_the_benchmark(family: str, bench: Path, program: Path, tmp_path: Path) -> None:
    with open(bench / "truth.csv", newline="") as file:
        rows = [(row[1], row[2]) for row in csv.reader(file) if row[0] == family and row[4] != "sat"]
    for model, spec in rows[:8]:
        if not (bench / family / model).exists() or not (bench / family / spec).exists():
            continue
        network, checker = pydual.load(bench / family / model), pydual.load_checker(bench / family / spec)
        outcome = pydual.solve(network, checker, "crown")
        if isinstance(outcome, pydual.Certificate):
            outcome.save(tmp_path / "c")
            status, line = run(program, tmp_path / "c", bench / family / model, bench / family / spec)
            assert status == 0 and accepted(line) > 0
            return
    pytest.skip("none of the first instances is proved at once")


# ---- forged certificates and other files


def forged(case: Files, folder: Path, **changes: Any) -> Path:
    """The certificate with other members, or other columns of its first tree."""
    proof = pydual.load_proof(case[0])
    columns = {name: value for name, value in changes.items() if name not in Proof.__dataclass_fields__}
    trees = (replace(proof.trees[0], **columns), *proof.trees[1:])
    members = {name: value for name, value in changes.items() if name not in columns}
    replace(proof, **{"trees": trees, **members}).save(folder / "forged")
    return folder / "forged"


def test_forged_certificates_are_rejected(case: Files, program: Path, tmp_path: Path) -> None:
    tree = pydual.load_proof(case[0]).trees[0]
    forgeries: list[dict[str, Any]] = [
        {"network": "0" * 64},
        {"query": "0" * 64},
        {"arithmetic": "rounded"},
        {"trees": ()},
        {"multipliers": np.zeros_like(tree.multipliers)},
        {"multipliers": -tree.multipliers.astype(np.float64)},
        {"kind": np.array([2, *tree.kind[1:]], np.uint8)},
        {"anchor": np.zeros_like(tree.anchor)},
        {"slopes": np.array([[2.0]]), "slope_neurons": np.array([0], np.int32)},
        {"lines": tree.lines + 99},
    ]
    for forgery in forgeries:
        status, line = run(program, forged(case, tmp_path, **forgery), *case[1:])
        assert status == 1 and line.startswith("rejected: "), forgery


def test_a_certificate_of_another_question_is_rejected(case: Files, program: Path, tmp_path: Path) -> None:
    """Even where its digests are those of the question: here there is a catastrophe."""
    certificate, model, spec = case
    network = pydual.load(model)
    wide = tmp_path / "wide.vnnlib"
    wide.write_text(property_of(network, 0.05, -5.0))
    status, line = run(program, certificate, model, wide)
    assert status == 1 and "another query" in line
    from pydual.audit.query import query_digest

    certificate = forged(case, tmp_path, query=query_digest(pydual.load_checker(wide)))
    status, line = run(program, certificate, model, wide)
    assert status == 1 and line.startswith("rejected: Problem 0")


def test_float32_is_refused_where_constants_were_rounded(program: Path, tmp_path: Path) -> None:
    certificate, model, spec = proved(tmp_path, readers.image().SerializeToString())
    status, line = run(program, forged((certificate, model, spec), tmp_path, arithmetic="float32"), model, spec)
    assert status == 1 and "only real arithmetic" in line


def test_damaged_certificates_are_rejected(case: Files, program: Path, tmp_path: Path) -> None:
    data = case[0].read_bytes()
    for damaged in (b"", data[:20], data[:-1], data + b"\0", b"\xff" * 8 + data[8:]):
        (tmp_path / "c").write_bytes(damaged)
        status, line = run(program, tmp_path / "c", *case[1:])
        assert status == 1 and line.startswith("rejected: ")


def test_files_that_are_not_usable(case: Files, program: Path, tmp_path: Path) -> None:
    certificate, model, spec = case
    (tmp_path / "three").write_text(spec.read_text() + "(declare-const Y_2 Real)")
    (tmp_path / "cut").write_bytes(gzip.compress(model.read_bytes())[:-9])
    for arguments in (
        (certificate, model),
        (tmp_path / "none", model, spec),
        (certificate, tmp_path / "none", spec),
        (certificate, model, model),
        (certificate, spec, spec),
        (certificate, model, tmp_path / "three"),
        (certificate, tmp_path / "cut", spec),
    ):
        status, line = run(program, *arguments)
        assert status == 2 and line.startswith(("pydual_audit: ", "usage: "))
