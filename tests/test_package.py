"""The package as users meet it: public names, types, what an installation contains."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import pydual
from pydual import proof_systems

ROOT = Path(__file__).parents[1]


def test_all_is_sorted_and_lists_every_lazy_name() -> None:
    assert pydual.__all__ == sorted(pydual.__all__)
    assert set(pydual.__all__) == {*pydual._HOME, "__version__"}


@pytest.mark.parametrize("name", pydual._HOME)
def test_every_public_name_is_the_one_of_its_module(name: str) -> None:
    assert getattr(pydual, name) is getattr(import_module(pydual._HOME[name]), name)


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        (pydual, pydual._HOME),
        (proof_systems, {name: f"pydual.proof_systems.{file}" for name, file in proof_systems._HOME.items()}),
    ],
)
def test_type_checkers_see_the_same_names_in_the_same_places(package: ModuleType, homes: dict[str, str]) -> None:
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in guarded.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name
            seen[alias.name] = node.module
    assert seen == homes


@pytest.mark.parametrize("name", ["solve", "audit"])
def test_importing_a_module_does_not_hide_the_function_of_its_name(name: str) -> None:
    code = f"import pydual.{name}, pydual; from pydual.{name} import {name}; assert pydual.{name} is {name}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'verify'"):
        pydual.verify  # noqa: B018


def test_dir_lists_the_public_names() -> None:
    assert set(pydual.__all__) <= set(dir(pydual))


def test_an_installation_contains_every_module_and_the_data(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    pytest.importorskip("pybind11")
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path / "lib")]
    egg = ["egg_info", "--egg-base", str(tmp_path)]
    subprocess.run([*command[:3], *egg, *command[3:]], cwd=ROOT, check=True, capture_output=True)
    installed = {path.relative_to(tmp_path / "lib").as_posix() for path in (tmp_path / "lib").rglob("*.*")}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pydual").rglob("*.py")}
    data = {"pydual/py.typed", "pydual/_core.pyi", "pydual/demo/digits.onnx", "pydual/demo/digits.npz"}
    assert modules | data <= installed


def test_the_python_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    safe, again, unsafe = capsys.readouterr().out.splitlines()
    assert safe.startswith("no catastrophe") and again.startswith("audited once more") and unsafe.startswith("attack")


def test_the_readme_lists_the_proof_systems_there_are() -> None:
    from pydual.proof_systems import BY_NAME

    listed = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(BY_NAME)
