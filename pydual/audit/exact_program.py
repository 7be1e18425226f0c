"""The exact audit as a program in one file: the modules that ``exact_main`` imports, in order, then itself.

Imports of own modules go, those of the standard library are merged at the top. All modules share one scope then, so a name
that two of them define is an error.
"""

from __future__ import annotations

import ast
import builtins
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pydual.whole_file import write_whole

PACKAGE, MAIN = "pydual", "pydual.audit.exact_main"


def write_program(path: str | os.PathLike[str]) -> None:
    """Write the program; the file appears whole or not at all. Raises InputError where it cannot be written."""
    write_whole(path, program().encode(), "program")


def program() -> str:
    """The text of the program. Raises AssertionError where the modules do not fit into one scope."""
    sources: dict[str, str] = {}
    _collect(MAIN, sources)
    trees = {name: ast.parse(source) for name, source in sources.items()}
    imports = {pair for tree in trees.values() for node in tree.body for pair in _standard_imports(node)}
    owners = dict.fromkeys(dir(builtins), "Python")
    for name, tree in trees.items():
        for bound in _bound(tree.body):
            _claim(owners, bound, name)
    for module, name in imports:
        _claim(owners, name, module)
    head = f'#!/usr/bin/env python3\n"""{ast.get_docstring(trees[MAIN])}\n"""\n\nfrom __future__ import annotations\n'
    sections = [_section(name, source, trees[name]) for name, source in sources.items()]
    return "\n\n\n".join(["\n".join([head, *_import_lines(imports)]), *sections]) + "\n"


def _import_lines(imports: set[tuple[str, str]]) -> Iterator[str]:
    yield from sorted(f"import {name}" for module, name in imports if not module)
    for module in sorted({module for module, _ in imports if module}):
        yield f"from {module} import {', '.join(sorted(name for m, name in imports if m == module))}"


def _collect(name: str, sources: dict[str, str]) -> None:
    """The sources of a module and of all that it imports, those first."""
    if name in sources:
        return
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None, f"there is no module {name}"
    source = Path(spec.origin).read_text(encoding="utf-8")
    tree = ast.parse(source)
    inner = [module for node in ast.walk(tree) for module in _own_imports(node)]
    assert len(inner) == sum(len(list(_own_imports(node))) for node in tree.body), f"{name} imports inside of a block"
    for module in inner:
        _collect(module, sources)
    sources[name] = source


def _own_imports(node: ast.AST) -> Iterator[str]:
    """The module of an import from this package, which must be 'from module import name'."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom):
        names = [str(node.module)]
    for name in names:
        if name.split(".")[0] == PACKAGE:
            plain = isinstance(node, ast.ImportFrom) and not any(alias.asname for alias in node.names)
            assert plain, f"{name} must be imported by 'from', under its own names"
            yield name


def _standard_imports(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """The pairs (module, name) that a statement imports from the standard library; ("", name) for a module itself."""
    if not isinstance(node, (ast.Import, ast.ImportFrom)) or list(_own_imports(node)):
        return
    for alias in node.names:
        assert alias.asname is None and "." not in alias.name, f"import {alias.name} under its own name"
        module = str(node.module) if isinstance(node, ast.ImportFrom) else ""
        if module != "__future__":
            yield module, alias.name


def _bound(statements: list[ast.stmt]) -> Iterator[str]:
    """The names that statements bind in the scope of their module, without imports at the top."""
    for node in statements:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Try, ast.For, ast.While, ast.With)):
            stored = (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            yield from dict.fromkeys(stored)


def _claim(owners: dict[str, str], name: str, owner: str) -> None:
    other = owners.setdefault(name, owner)
    assert other == owner, f"'{name}' is a name of both '{other}' and '{owner}'; rename one"


def _section(name: str, source: str, tree: ast.Module) -> str:
    """A module without its imports, its docstring as a comment."""
    lines = source.splitlines()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) or node is tree.body[0]:
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    text = ast.get_docstring(tree)
    assert text is not None, f"{name} has no docstring"
    comment = "" if name == MAIN else "".join(f"# {line}".rstrip() + "\n" for line in ["", *text.splitlines()])
    body = re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines).strip())
    return f"# {'-' * 20} {name}\n{comment}\n\n{body}"
