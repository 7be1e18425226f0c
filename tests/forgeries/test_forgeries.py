"""Every other file in this folder is a trick to forge a certificate: each audit rejects it, in one line, soon.

A trick has a docstring that says why it must fail, ``FORGERIES``, functions that make forged certificates of a true one
(``forging.Forge``), and ``REASON``, which the rejections match. ``QUESTION`` is the question whose true certificate is forged,
by default ``forging.SPLITS``; ``AGAINST`` the one that the forgery claims to answer, by default the same. ``REFUSED_BY`` names
the audits that refuse the true certificate, too, and the forged ones for whatever reason.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from forging import SPLITS, Question, file_of, tree
from sandbox import Sandbox

from pydual.audit.exact import audit_exact
from pydual.audit.exact_file import open_proof
from pydual.audit.exact_program import program
from pydual.audit.rounded import audit_rounded
from pydual.certificate import Proof
from pydual.errors import CertificateError
from pydual.io.onnx import load
from pydual.io.vnnlib import load_checker

Audit = Callable[[Path, Path, Path], tuple[int, str]]  # of the files: the exit code, and what was printed


def trick(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"trick_{path.stem}", path)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


TRICKS = {p.stem: trick(p) for p in sorted(Path(__file__).parent.glob("*.py")) if not p.name.startswith("test_")}
VARIANTS = [pytest.param(t, name, id=f"{key}-{name}") for key, t in TRICKS.items() for name in t.FORGERIES]


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Audit]]:
    """The audits of files: the exact and the rounded one as installed, and the single-file program."""
    path = tmp_path_factory.mktemp("program") / "pydual_audit.py"
    path.write_text(program(), encoding="utf-8")
    installed, alone = Sandbox(), Sandbox(path)
    yield {
        "exact": lambda *files: installed.run("exact", *files),
        "rounded": lambda *files: installed.run("rounded", *files),
        "program": alone.run,
    }
    installed.close()
    alone.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Question], tuple[Path, Path]]:
    """Model and property of a question, as files."""
    written: dict[tuple[bytes, str], tuple[Path, Path]] = {}

    def write(question: Question) -> tuple[Path, Path]:
        key = question.model, question.spec
        if key not in written:
            folder = tmp_path_factory.mktemp("question")
            written[key] = folder / "model.onnx", folder / "property.vnnlib"
            written[key][0].write_bytes(question.model)
            written[key][1].write_text(question.spec, encoding="utf-8")
        return written[key]

    return write


Files = Callable[[Question], tuple[Path, Path]]


def question_of(module: ModuleType) -> Question:
    return getattr(module, "QUESTION", SPLITS)


@pytest.mark.parametrize("key", TRICKS)
def test_the_true_certificate_is_accepted(key: str, audits: dict[str, Audit], files: Files, tmp_path: Path) -> None:
    question = question_of(TRICKS[key])
    (tmp_path / "c").write_bytes(question.file)
    for name, audit in audits.items():
        code, printed = audit(tmp_path / "c", *files(question))
        if name in getattr(TRICKS[key], "REFUSED_BY", ()):
            assert code == 1 and "exact audit alone" in printed
            continue
        assert code == 0 and printed.startswith("accepted: proven margin "), (name, printed)


@pytest.mark.parametrize("key", TRICKS)
def test_a_trick_is_one_sentence(key: str) -> None:
    sentence = " ".join((TRICKS[key].__doc__ or "").split())
    assert re.fullmatch(r"[A-Z0-9][^.]*\.", sentence), sentence


@pytest.mark.parametrize("module, variant", VARIANTS)
def test_forgery(module: ModuleType, variant: str, audits: dict[str, Audit], files: Files, tmp_path: Path) -> None:
    true = question_of(module)
    against = getattr(module, "AGAINST", true)
    if against is not true:
        true = replace(against, trees=true.trees, arithmetic=true.arithmetic)
    forged = module.FORGERIES[variant](true)
    forged, against = forged if isinstance(forged, tuple) else (forged, against)
    if isinstance(forged, Proof):
        rejected_in_memory(forged, against, module.REASON, files)
        return
    place = tmp_path / "certificate"
    if callable(forged):
        forged(place)
    else:
        assert forged != true.file or against is not true
        place.write_bytes(forged)
    for name, audit in audits.items():
        code, printed = audit(place, *files(against))
        refusal = "rejected: " if code == 1 else "pydual_audit: "
        assert code == 1 or (callable(forged) and code == 2), (name, code, printed)
        assert printed.startswith(refusal) and printed.endswith("\n") and printed.count("\n") == 1, (name, printed)
        if name not in getattr(module, "REFUSED_BY", ()):
            assert re.search(module.REASON, printed), (name, printed)


def rejected_in_memory(forged: Proof, against: Question, reason: str, files: Files) -> None:
    model, spec = files(against)
    for audit in (audit_exact, audit_rounded):
        with pytest.raises(CertificateError, match=reason) as caught:
            audit(forged, load(model), load_checker(spec))
        assert "\n" not in str(caught.value)


# ---- what is no proof at all, and files that change while they are read


def test_something_that_is_no_proof(files: Files) -> None:
    model, spec = files(SPLITS)
    for thing in (None, 1, "real", object(), SPLITS.trees):
        with pytest.raises(CertificateError):
            audit_exact(thing, load(model), load_checker(spec))


# a tree of so many leaves that its columns are read in several pieces: input 0 is split outside of its interval
LONG = replace(
    SPLITS,
    trees=(
        *SPLITS.trees[:1],
        tree(
            kind=[1, 0] * 20_000 + [0], index=[0] * 20_000, threshold=[-2.0] * 20_000, anchor=[3] + [0] * 40_000,
            lines=[-3] * 20_001, multipliers=[[1.0, 0.0]] * 20_001,
        ),
    ),
)  # fmt: skip


@pytest.mark.parametrize("size", [0, 100, len(LONG.file) - 1])
def test_a_file_that_shrinks_during_the_audit_is_rejected(size: int, files: Files, tmp_path: Path) -> None:
    """By the exact audit, which reads: behind the rounded one, which maps files, nobody may write."""
    model, spec = files(SPLITS)
    path = tmp_path / "certificate"
    path.write_bytes(LONG.file)
    with open_proof(path) as proof, pytest.raises(CertificateError, match="was cut or closed"):
        audit_exact(proof, load(model), load_checker(spec), lambda: os.truncate(path, size))


def test_numbers_that_change_during_the_audit_are_checked_when_they_are_used(files: Files, tmp_path: Path) -> None:
    """All multipliers become negative after the file was opened: the exact audit rejects what it reads."""
    model, spec = files(SPLITS)
    path = tmp_path / "certificate"
    path.write_bytes(LONG.file)
    negative = file_of(replace(LONG.proof, trees=tuple(replace(t, multipliers=-t.multipliers) for t in LONG.trees)))
    with open_proof(path) as proof, pytest.raises(CertificateError, match="'multipliers'"):
        path.write_bytes(negative)
        audit_exact(proof, load(model), load_checker(spec))
