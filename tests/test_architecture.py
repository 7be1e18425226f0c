"""The shape of the code: ceilings, the direction of imports, what is loaded when."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "pydual").rglob("*.py"))
}
CORE = sorted(path for path in (ROOT / "cpp").rglob("*") if path.suffix in (".cpp", ".hpp", ".h"))

# ARCHITECTURE.md: a module imports from its own layer and those above it in this list
LAYERS = (
    ("pydual.errors", "pydual.whole_file"),
    ("pydual.operators",),
    ("pydual.network", "pydual.region", "pydual.checker"),
    ("pydual.problem", "pydual.query", "pydual.certificate", "pydual.chain_file", "pydual.outcome"),
    ("pydual.audit", "pydual.relax", "pydual.attack", "pydual.optimize", "pydual._core"),
    ("pydual.proof_systems",),
    ("pydual.checkers", "pydual.sampling"),
    ("pydual.solve", "pydual.composed", "pydual.game", "pydual.progress", "pydual.checkpoint", "pydual.budget"),
    ("pydual.io", "pydual.cli", "pydual.demo", "pydual.__main__", "pydual"),
)
PROVERS = (
    "pydual.relax", "pydual.attack", "pydual.optimize", "pydual._core", "pydual.proof_systems", "pydual.solve", "pydual.game",
)  # fmt: skip
STANDARD_LIBRARY_ONLY = [m for m in MODULES if m.startswith("pydual.audit.exact") or m == "pydual.audit.query"]
LATE = ("cvxpy", "numba", "onnx", "onnxruntime", "torch", "matplotlib", "sklearn", "scipy.optimize", "rich", "highspy")


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def layer(module: str) -> int:
    homes = [(len(name), number) for number, names in enumerate(LAYERS) for name in names if within(module, name)]
    return max(homes)[1]


def imports(module: str, *, at_load: bool = False) -> set[str]:
    """The modules that a module imports, by full name; with ``at_load`` only those that run when it is loaded."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in _statements(tree) if at_load else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import; write the full name"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {name for name in names if name in MODULES or name == "pydual._core"}
            found |= submodules
            if submodules != names:
                found.add(str(node.module))
    return found


def _statements(tree: ast.Module) -> list[ast.AST]:
    """The nodes outside functions and outside ``if TYPE_CHECKING``."""
    found: list[ast.AST] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        found.append(node)
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        pending.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_functions_have_at_most_60_lines_and_files_400(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_files_have_at_most_500_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_one_way(module: str) -> None:
    if module == "pydual":
        return  # the table of public names points everywhere
    for other in imports(module):
        if within(other, "pydual"):
            assert layer(other) <= layer(module), f"{module} imports {other}"


def test_modules_import_each_other_without_cycles() -> None:
    graph = {m: {o for o in imports(m, at_load=True) if o in MODULES and o != m} for m in MODULES if m != "pydual"}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "pydual.audit")])
def test_the_audit_knows_no_prover(module: str) -> None:
    assert not {other for other in imports(module) for prover in PROVERS if within(other, prover)}


@pytest.mark.parametrize("module", STANDARD_LIBRARY_ONLY)
def test_the_exact_audit_needs_only_the_standard_library(module: str) -> None:
    allowed = {"pydual.errors", *STANDARD_LIBRARY_ONLY}
    for other in imports(module) - allowed:
        beside = {("pydual.audit.exact_network", "flint"), ("pydual.audit.exact_program", "pydual.whole_file")}
        assert (module, other) in beside or other.split(".")[0] in sys.stdlib_module_names, f"{module} imports {other}"


@pytest.mark.parametrize("module", [m for m in MODULES if not within(m, "pydual.operators")])
def test_only_importers_know_operators_beyond_affine_and_relu(module: str) -> None:
    beyond = {o for o in imports(module) if within(o, "pydual.operators") and o != "pydual.operators.primitives"}
    assert not beyond or within(module, "pydual.io") or within(module, "pydual.checkers")


def test_the_trusted_base_is_listed_with_its_line_counts() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## The trusted base")[2]
    rows = re.findall(r"^\| ((?:`[^`]+` ?)+) \| (\d+) \|", text, re.MULTILINE)
    listed = {name: int(lines) for names, lines in rows for name in [names]}
    files = {name for names in listed for name in re.findall(r"`([^`]+)`", names)}
    audits = [*(ROOT / "pydual/audit").glob("*.py"), *(ROOT / "cpp/audit").iterdir()]
    kept_apart = {"pydual/audit/__init__.py", "pydual/audit/exact_program.py"}
    assert files == {path.relative_to(ROOT).as_posix() for path in audits} - kept_apart
    for names, lines in listed.items():
        found = sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in re.findall(r"`([^`]+)`", names))
        assert abs(found - lines) <= max(5, lines // 20), f"{names} has {found} lines; ARCHITECTURE.md says {lines}"


def test_the_exact_audit_with_its_readers_has_at_most_2100_lines_of_code() -> None:
    """Without blank lines, comments and docstrings; ``exact_program`` only puts the files together."""
    files = {*(ROOT / "pydual/audit").glob("exact*.py"), ROOT / "pydual/audit/query.py"}
    counts = {path.name: lines_of_code(path) for path in files if path.stem != "exact_program"}
    said = re.search(r"([\d,]+) lines of code", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert sum(counts.values()) <= 2100, counts
    assert said and abs(int(said[1].replace(",", "")) - sum(counts.values())) <= 20, counts


def lines_of_code(path: Path) -> int:
    """How many lines have a token that is neither a comment nor part of a docstring."""
    text = path.read_text(encoding="utf-8")
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in layout]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_no_module_is_called_utils() -> None:
    names = {path.stem.lower() for path in [*MODULES.values(), *CORE]}
    assert not names & {"util", "utils", "helper", "helpers", "misc", "common"}


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running ``code``."""
    script = f"{code}\nimport sys\nprint('loaded:', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_the_measure_sees_what_is_loaded() -> None:
    assert "scipy.optimize" in loaded_after("import scipy.optimize")


def test_import_loads_nothing_heavy() -> None:
    assert not loaded_after("import pydual") & {*LATE, "numpy", "scipy"}


def test_public_names_load_nothing_heavy() -> None:
    touch = "import pydual\nfor name in pydual.__all__: getattr(pydual, name)"
    assert not loaded_after(touch) & set(LATE)


def test_help_loads_nothing_heavy() -> None:
    code = "from pydual.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_after(code) & {*LATE, "numpy", "scipy"}


def fully_connected(path: Path, width: int) -> None:
    """A network of four inputs, two layers of ReLUs and one output, with products and sums as nodes of their own."""
    from onnx import TensorProto, helper, numpy_helper, save

    random, sizes = np.random.default_rng(0), (4, width, width, 1)
    nodes, initializers = [], []
    for k, shape in enumerate(zip(sizes, sizes[1:], strict=False)):
        weights = {f"W{k}": random.normal(size=shape) / np.sqrt(shape[0]), f"b{k}": random.normal(size=shape[1])}
        initializers += [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
        nodes += [
            helper.make_node("MatMul", [f"h{k - 1}", f"W{k}"], [f"z{k}"]),
            helper.make_node("Add", [f"z{k}", f"b{k}"], [f"y{k}"]),
            helper.make_node("Relu", [f"y{k}"], [f"h{k}"]),
        ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n])] for name, n in (("h-1", 4), (f"y{k}", 1))
    ]
    graph = helper.make_graph(nodes[:-1], "fully connected", *ends, initializers)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.parametrize("threshold", [-2.0, 3.0])
@pytest.mark.parametrize("system", ["auto", "bab"])
def test_verify_of_a_small_fully_connected_network_loads_no_scipy(tmp_path: Path, system: str, threshold: float) -> None:
    fully_connected(tmp_path / "model.onnx", 20)
    names = ["X_0", "X_1", "X_2", "X_3"]
    lines = [f"(declare-const {name} Real)" for name in (*names, "Y_0")]
    lines += [f"(assert (and (>= {name} -1) (<= {name} 1)))" for name in names]
    (tmp_path / "spec.vnnlib").write_text("\n".join([*lines, f"(assert (>= Y_0 {threshold}))"]), encoding="utf-8")
    arguments = ["verify", str(tmp_path / "spec.vnnlib"), "--network", str(tmp_path / "model.onnx"), "--proof-system", system]
    loaded = loaded_after(f"from pydual.cli import main\nassert main({arguments}) == 0")
    assert "onnx" in loaded and not {name for name in loaded if within(name, "scipy")}
    unused = {"checkers", "composed", "relax.pseudo_moments", "sampling.counting"}
    unused |= {f"proof_systems.{name}" for name in ("neuron_splitting", "sdp", "subtrees")}
    assert not {name for name in loaded for other in unused if within(name, f"pydual.{other}")}


def test_blas_has_one_thread_though_scipy_is_loaded_late() -> None:
    code = """
import os
os.environ["OPENBLAS_NUM_THREADS"] = "2"
import numpy as np, pydual
from pydual.relax.engine import single_threaded_blas
from pydual.relax.program import compile_network
from threadpoolctl import threadpool_info

def limits():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

before = limits()
with single_threaded_blas():
    assert "scipy" not in sys.modules
    compile_network(pydual.Network.from_layers([(np.ones((65, 64)), np.zeros(65)), (np.ones((1, 65)), np.zeros(1))]))
    assert limits() == {1}
assert limits() == before
"""
    assert "scipy.linalg" in loaded_after(f"import sys\n{code}")
