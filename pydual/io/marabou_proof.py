"""Marabou's JSON proofs of unsatisfiability, as a tree of case distinctions.

Marabou writes ``proof.json`` with ``--prove-unsat`` where it was compiled with ``WRITE_JSON_PROOF``. As read from its
source (NeuralNetworkVerification/Marabou: src/proofs/JsonWriter.cpp, src/engine/ReluConstraint.cpp), and from what version
2.0.0 wrote::

    file       := {"tableau": [row*], "upperBounds": [...], "lowerBounds": [...], "constraints": [constraint*], "proof": node}
    row        := [{"var": v, "val": number}*]                          an equation: the sum is 0
    constraint := {"constraintType": 0, "vars": [b, f, aux, ...]}       a ReLU f = max(b, 0), aux = f - b; 0 means ReLU
    node       := {"split": [bound*], "lemmas": ..., "children": [node, node]}
                | {"split": [bound*], "lemmas": ..., "contradiction": ...} | {}     {} was not visited
    bound      := {"var": v, "val": number, "bound": "L" | "U"}

The root has no split. That of a child is ``b >= 0`` (with ``aux <= 0``) or ``b <= 0`` (with ``f <= 0``). Constraints that
preprocessing decided are missing, and variables that it fixed are renumbered; but the rows of the tableau begin with the
network's affine maps, one row a neuron in the order of the layers, whose last variables are the neuron's b and a slack of
the row. Lemmas and contradictions are not read: pydual derives bounds and multipliers of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydual.certificate import LEAF, NEURON_SPLIT
from pydual.errors import InputError, UnsupportedError
from pydual.network import Network
from pydual.proof_systems.case_tree import MAX_NODES, CaseTree

RELU = 0
MAX_INDEX = 10**9


def marabou_tree(name: str, text: str, network: Network) -> CaseTree:
    """The case distinctions of a JSON proof ``name`` for the network that it belongs to.

    A child that was not visited, or is not there, becomes a leaf "the missing case". Raises InputError for a text that is
    damaged, for splits that are none of a ReLU, and where the ReLUs of the proof cannot be told to be which of the network;
    UnsupportedError for other piecewise linear constraints.
    """
    document = _parsed(name, text)
    constraints = document.get("constraints")
    if not isinstance(document.get("proof"), dict) or not isinstance(constraints, list):
        raise InputError(f"{name} has no 'proof' and 'constraints'; it is not a proof of Marabou.")
    pairs = [_pair(name, constraint) for constraint in constraints]
    sources = {b: k for k, (b, _) in enumerate(pairs)}
    if len(sources) != len(pairs):
        raise InputError(f"{name} lists two ReLUs with the same input variable; the file is damaged.")
    writer = _Writer(name, sources, _neurons(name, pairs, document.get("tableau"), network))
    writer.write(document["proof"])
    return CaseTree(tuple(writer.kind), tuple(writer.index), (0.0,) * len(writer.kind), tuple(writer.names), name)


def _parsed(name: str, text: str) -> dict[str, Any]:
    """The document, without its lemmas; entries ``{"var": v, "val": c}`` of vectors are pairs (v, c)."""
    try:
        document = json.loads(text, object_pairs_hook=_slim, parse_float=_real, parse_int=_integer, parse_constant=_constant)
    except _Damage as damage:
        raise InputError(f"{name}: {damage}; the file is damaged.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{name}, line {error.lineno}: {error.msg}; the file is damaged or not JSON.") from None
    except RecursionError:
        raise InputError(f"{name} is nested too deep; split the property, or import only the verdict.") from None
    if not isinstance(document, dict):
        raise InputError(f"{name} is not a JSON object; it is not a proof of Marabou.")
    return document


class _Damage(Exception):
    pass


def _slim(pairs: list[tuple[str, Any]]) -> dict[str, Any] | tuple[Any, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise _Damage(f"an object has the key '{max(keys, key=keys.count)[:40]}' twice")
    if keys == ["var", "val"]:
        return pairs[0][1], pairs[1][1]
    return {key: value for key, value in pairs if key not in ("lemmas", "upperBounds", "lowerBounds", "contradiction")}


def _real(number: str) -> float:
    value = float(number)
    if value - value != 0:
        raise _Damage(f"the number {number[:40]} is not finite")
    return value


def _integer(number: str) -> int:
    if len(number) > 10 or abs(int(number)) > MAX_INDEX:
        raise _Damage(f"the number {number[:40]} is too large")
    return int(number)


def _constant(number: str) -> None:
    raise _Damage(f"the number {number} is not finite")


def _pair(name: str, constraint: Any) -> tuple[int, int]:
    """The variables b and f of a ReLU."""
    kind, variables = (constraint.get("constraintType"), constraint.get("vars")) if isinstance(constraint, dict) else (0, 0)
    if kind != RELU:
        raise UnsupportedError(f"{name} has a constraint of type {kind!r}; only ReLUs (type 0) can be imported.")
    if not isinstance(variables, list) or len(variables) < 2 or not all(_is_variable(v) for v in variables):
        raise InputError(f"{name} has a ReLU without its variables b and f; the file is damaged.")
    return variables[0], variables[1]


def _is_variable(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _neurons(name: str, pairs: list[tuple[int, int]], tableau: Any, network: Network) -> list[int]:
    """Which neuron each ReLU is: by the rows of the tableau that define them, else, if there are as many, in order."""
    rows = tableau if isinstance(tableau, list) else []
    defined = {_defined(row): neuron for neuron, row in enumerate(rows[: network.neurons])}
    if all(b in defined for b, _ in pairs):
        return [defined[b] for b, _ in pairs]
    if len(pairs) == network.neurons:
        order = sorted(range(len(pairs)), key=lambda k: pairs[k][0])
        places = {k: neuron for neuron, k in enumerate(order)}
        return [places[k] for k in range(len(pairs))]
    raise InputError(
        f"{name} has {len(pairs)} ReLUs and the network {network.neurons} neurons, and the tableau does not tell which is "
        "which; use the network that the proof belongs to, or import only the verdict."
    )


def _defined(row: Any) -> int:
    """The last variable of a row but for its slack, or -1."""
    entries = row if isinstance(row, list) else []
    variables = sorted(e[0] for e in entries if isinstance(e, tuple) and _is_variable(e[0]))
    return variables[-2] if len(variables) > 1 else -1


@dataclass
class _Writer:
    """Writes the nodes of the proof down in preorder, the inactive case first."""

    name: str
    sources: dict[int, int]
    neurons: list[int]

    def __post_init__(self) -> None:
        self.kind: list[int] = []
        self.index: list[int] = []
        self.names: list[str] = []

    def write(self, root: dict[str, Any]) -> None:
        pending: list[dict[str, Any] | None] = [root]
        while pending:
            node = pending.pop()
            children = self.children(node)
            if len(self.kind) > MAX_NODES:
                raise InputError(f"{self.name} has more than {MAX_NODES} nodes; split the property.")
            if children is None:
                self.names.append(f"leaf {len(self.names) + 1}" if node else "the missing case")
                self.add(LEAF, 0)
            else:
                neuron, inactive, active = children
                self.add(NEURON_SPLIT, neuron)
                pending += (active, inactive)

    def add(self, kind: int, index: int) -> None:
        self.kind.append(kind)
        self.index.append(index)

    def children(self, node: dict[str, Any] | None) -> tuple[int, dict | None, dict | None] | None:
        """The neuron that is split, the inactive and the active case; None at a leaf."""
        nodes = node.get("children") if node else None
        if not nodes:
            return None
        if not isinstance(nodes, list) or len(nodes) > 2 or not all(isinstance(child, dict) for child in nodes):
            raise InputError(f"{self.name} has a node whose children are not one or two nodes; the file is damaged.")
        cases: dict[int, dict[str, Any]] = {}
        found = set()
        for child in nodes:
            if child:
                neuron, phase = self.split(child)
                found.add(neuron)
                cases[phase] = child
        if not found:
            return None
        if len(found) > 1 or len(cases) < sum(bool(child) for child in nodes):
            raise InputError(f"{self.name} has a node whose children are not the two cases of one ReLU; the file is damaged.")
        return found.pop(), cases.get(-1), cases.get(1)

    def split(self, child: dict[str, Any]) -> tuple[int, int]:
        """The neuron, and its phase in this child."""
        bounds = child.get("split")
        for bound in bounds if isinstance(bounds, list) else ():
            if not isinstance(bound, dict) or not {"var", "val", "bound"} <= bound.keys():
                break
            variable = bound["var"]
            if _is_variable(variable) and variable in self.sources and bound["bound"] in ("L", "U"):
                if bound["val"] != 0:
                    break
                return self.neurons[self.sources[variable]], 1 if bound["bound"] == "L" else -1
        raise InputError(f"{self.name} has a split that is no case of a ReLU, b >= 0 or b <= 0; only these can be imported.")
