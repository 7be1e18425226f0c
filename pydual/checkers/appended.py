"""A judge appended to the model that it judges: one network, so that both are relaxed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy.sparse as sparse

from pydual.errors import InputError
from pydual.network import Network
from pydual.operators.primitives import Affine, GraphBuilder, Matrix, Value, selection
from pydual.query import Runs


@dataclass(frozen=True)
class Part:
    """The components ``columns`` of a value."""

    value: Value
    columns: slice

    @property
    def size(self) -> int:
        return self.columns.stop - self.columns.start


def append(model: Network, judge: Network | None, runs: Runs | None = None) -> Network:
    """``u -> (y, judge(u, y))``, where ``y`` are the outputs of all runs of the model; without ``runs``, of one at ``u``.

    The judge reads ``u``, then ``y``; without one, nothing is computed of them. Raises InputError where it takes another
    number of values.
    """
    inputs = model.input_size if runs is None else runs.inputs[0].shape[1]
    graph = GraphBuilder(model.input_shape if runs is None else (inputs,))
    whole = Part(Value(0, (inputs,)), slice(0, inputs))
    results = [embed(graph, model, [part]) for part in _inputs(graph, whole, runs)]
    parts = [Part(y, slice(0, y.size)) for y in results]
    folded = model.folded
    if judge is not None:
        if judge.input_size != (values := inputs + sum(part.size for part in parts)):
            raise InputError(
                f"The judge takes {judge.input_size} values, but inputs and outputs of the model are {values}; "
                "use the judge that belongs to this model."
            )
        judged = embed(graph, judge, [whole, *parts])
        parts, folded = [*parts, Part(judged, slice(0, judged.size))], (*folded, *judge.folded)
    output, folded = joined(graph, parts), tuple(dict.fromkeys(folded))
    return replace(Network.from_graph(graph, output, model.element_type), folded=folded)


def _inputs(graph: GraphBuilder, whole: Part, runs: Runs | None) -> list[Part]:
    if runs is None:
        return [whole]
    values = [graph.affine([(whole.value, sparse.csr_array(m))], np.zeros(len(m)), (len(m),)) for m in runs.inputs]
    return [Part(value, slice(0, value.size)) for value in values]


def embed(graph: GraphBuilder, network: Network, inputs: Sequence[Part]) -> Value:
    """The output of ``network`` at the input that the parts make, one after the other, as a value of ``graph``."""
    (first,) = inputs if len(inputs) == 1 else (None,)
    values: list[Value | None] = [first.value if first and first.size == first.value.size else None]

    def at(source: int) -> Value:
        found = values[source]
        if found is None:  # only the input is not there from the beginning: what reads it otherwise than by an affine map
            found = values[0] = joined(graph, inputs)
        return found

    for primitive in network.primitives:
        graph.name = primitive.name
        if isinstance(primitive, Affine):
            terms: list[tuple[Value, Matrix]] = []
            for source, matrix in primitive.terms:
                terms += _split(matrix, inputs) if source == 0 and values[0] is None else [(at(source), matrix)]
            values.append(graph.affine(terms, primitive.bias, (primitive.size,)))
        else:
            values.append(graph.activation(replace(primitive, source=at(primitive.source).id)))
    return at(network.output)


def joined(graph: GraphBuilder, parts: Sequence[Part]) -> Value:
    """The parts one after the other."""
    size, place, terms = sum(part.size for part in parts), 0, []
    for part in parts:
        rows = np.arange(part.size)
        matrix = selection(rows + part.columns.start, part.value.size)
        lift = sparse.csr_array((np.ones(part.size), (rows + place, rows)), shape=(size, part.size))
        terms.append((part.value, lift @ matrix))
        place += part.size
    return graph.affine(terms, np.zeros(size), (size,))


def _split(matrix: Matrix, parts: Sequence[Part]) -> list[tuple[Value, Matrix]]:
    """The term ``matrix @ (parts one after the other)`` as terms on the parts' values; parts without entries are left out."""
    terms = []
    csr = sparse.csr_array(matrix).tocsc()
    ends = np.cumsum([0, *(part.size for part in parts)])
    for part, (begin, end) in zip(parts, pairwise(ends.tolist()), strict=True):
        columns = csr[:, begin:end]
        if columns.nnz:
            place = sparse.csr_array(selection(np.arange(part.columns.start, part.columns.stop), part.value.size))
            terms.append((part.value, sparse.csr_array(columns @ place)))
    return terms
