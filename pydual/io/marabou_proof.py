"""Marabou's JSON proofs of unsatisfiability, as a tree of case distinctions.

Marabou writes ``proof.json`` with ``--prove-unsat`` where it was compiled with ``WRITE_JSON_PROOF``. As read from its
source (NeuralNetworkVerification/Marabou: src/proofs/JsonWriter.cpp, src/engine/ReluConstraint.cpp), and from what version
2.0.0 wrote::

    file       := {"tableau": ..., "upperBounds": [...], "lowerBounds": [...], "constraints": [constraint*], "proof": node}
    constraint := {"constraintType": 0, "vars": [b, f, aux, ...]}       a ReLU f = max(b, 0), aux = f - b; 0 means ReLU
    node       := {"split": [bound*], "lemmas": ..., "children": [node, node]}
                | {"split": [bound*], "lemmas": ..., "contradiction": ...} | {}     {} was not visited
    bound      := {"var": v, "val": number, "bound": "L" | "U"}

The root has no split. That of a child is ``b >= 0`` (with ``aux <= 0``) or ``b <= 0`` (with ``f <= 0``). Constraints that
preprocessing decided are missing, and variables that it fixed are renumbered. Lemmas and contradictions are not read:
pydual derives bounds and multipliers of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydual.certificate import LEAF, NEURON_SPLIT
from pydual.errors import InputError, UnsupportedError
from pydual.network import Network
from pydual.operators.primitives import Relu
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
    writer = _Writer(name, sources, _neurons(name, pairs, network))
    writer.write(document["proof"])
    return CaseTree(tuple(writer.kind), tuple(writer.index), (0.0,) * len(writer.kind), tuple(writer.names), name)


def _parsed(name: str, text: str) -> dict[str, Any]:
    """The document, without what fills it: of ``{"var": ..., "val": ...}`` nothing is kept, and of reals only the sign."""
    try:
        document = json.loads(text, object_pairs_hook=_slim, parse_float=_sign, parse_int=_integer, parse_constant=_constant)
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


def _slim(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise _Damage(f"an object has the key '{max(keys, key=keys.count)[:40]}' twice")
    if keys == ["var", "val"]:
        return None
    return {key: value for key, value in pairs if key not in ("tableau", "lemmas", "upperBounds", "lowerBounds")}


def _sign(number: str) -> int:
    value = float(number)
    if value - value != 0:
        raise _Damage(f"the number {number[:40]} is not finite")
    return (value > 0) - (value < 0)


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


def _neurons(name: str, pairs: list[tuple[int, int]], network: Network) -> list[int]:
    """Which neuron each ReLU is.

    With as many ReLUs as neurons: in order. Else by the numbers that Marabou's parsers give to the variables of plain
    layers: the inputs, then for each layer of n neurons n variables b and n variables f.
    """
    if len(pairs) == network.neurons:
        order = sorted(range(len(pairs)), key=lambda k: pairs[k][0])
        places = {k: neuron for neuron, k in enumerate(order)}
        return [places[k] for k in range(len(pairs))]
    neurons: dict[tuple[int, int], int] = {}
    base, first = network.input_size, 0
    for size in (p.size for p in network.primitives if isinstance(p, Relu)):
        neurons |= {(base + i, base + size + i): first + i for i in range(size)}
        base, first = base + 2 * size, first + size
    if not all(pair in neurons for pair in pairs):
        raise InputError(
            f"{name} has {len(pairs)} ReLUs and the network {network.neurons} neurons, and their variables do not tell which "
            "is which; let Marabou keep all ReLUs (no preprocessing), or import only the verdict."
        )
    return [neurons[pair] for pair in pairs]


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
