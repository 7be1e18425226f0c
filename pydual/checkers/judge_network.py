"""What a checker computes, as a network of inputs and outputs of the model."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import scipy.sparse as sparse

from pydual.checker import Linear
from pydual.checkers.lowering import Positive, Squared, Unit
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder, Value

Layer = tuple[Value, list[int]]  # a value, and the numbers of the units that are its components


def judge_network(units: list[Unit], inputs: int, outputs: int) -> Network:
    """The units, in order, as a function of inputs and outputs of the model, one after the other.

    Units of a kind that depend on nothing newer are computed by one primitive.
    """
    graph = GraphBuilder((inputs + outputs,))
    graph.name = "checker"
    values: list[Layer] = []
    for layer in _layers(units, outputs):
        y = _rows(graph, [units[k].p for k in layer], inputs, outputs, values)
        z = graph.relu(y) if isinstance(units[layer[0]], Positive) else graph.curve(y, "square")
        values.append((z, layer))
    every = [Linear({}, {outputs + k: Fraction(1)}) for k in range(len(units))]
    return Network.from_graph(graph, _rows(graph, every, inputs, outputs, values))


def _layers(units: list[Unit], outputs: int) -> list[list[int]]:
    """The units by depth and kind."""
    depth: list[int] = []
    groups: dict[tuple[int, bool], list[int]] = {}
    for k, unit in enumerate(units):
        reads = [j - outputs for j in unit.p.y if j >= outputs]
        depth.append(1 + max((depth[j] for j in reads), default=0))
        groups.setdefault((depth[k], isinstance(unit, Squared)), []).append(k)
    return [groups[key] for key in sorted(groups)]


def _rows(graph: GraphBuilder, functions: list[Linear], inputs: int, outputs: int, values: list[Layer]) -> Value:
    """Affine functions of inputs, outputs and units."""
    place = {outputs + k: (n, i) for n, (_, layer) in enumerate(values, start=1) for i, k in enumerate(layer)}
    entries: list[list[tuple[int, int, float]]] = [[] for _ in range(len(values) + 1)]
    for row, p in enumerate(functions):
        for i, c in p.x.items():
            entries[0].append((row, i, float(c)))
        for j, c in p.y.items():
            source, column = place[j] if j >= outputs else (0, inputs + j)
            entries[source].append((row, column, float(c)))
    terms = []
    for value, cells in zip([graph.input, *(value for value, _ in values)], entries, strict=True):
        if cells:
            rows, columns, data = zip(*cells, strict=True)
            terms.append((value, sparse.csr_array((data, (rows, columns)), shape=(len(functions), value.size))))
    return graph.affine(terms, np.array([float(p.constant) for p in functions]), (len(functions),))
