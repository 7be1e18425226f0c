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


@dataclass(frozen=True)
class Part:
    """The components ``columns`` of a value."""

    value: Value
    columns: slice

    @property
    def size(self) -> int:
        return self.columns.stop - self.columns.start


def append(model: Network, judge: Network, copies: int = 1) -> Network:
    """``x -> (y, judge(x, y))``, where ``y`` are the outputs of ``copies`` of the model, on as many inputs.

    The judge reads ``copies`` inputs, then as many outputs. Raises InputError where it takes another number of values.
    """
    inputs, outputs = model.input_size, model.output_size
    if judge.input_size != (values := copies * (inputs + outputs)):
        raise InputError(
            f"The judge takes {judge.input_size} values, but inputs and outputs of the model are {values}; "
            "use the judge that belongs to this model."
        )
    graph = GraphBuilder((copies * inputs,) if copies > 1 else model.input_shape)
    whole = Value(0, (copies * inputs,))
    results = [embed(graph, model, [Part(whole, slice(k * inputs, (k + 1) * inputs))]) for k in range(copies)]
    parts = [Part(y, slice(0, outputs)) for y in results]
    judged = embed(graph, judge, [Part(whole, slice(0, copies * inputs)), *parts])
    output = joined(graph, [*parts, Part(judged, slice(0, judged.size))])
    folded = tuple(dict.fromkeys((*model.folded, *judge.folded)))
    return replace(Network.from_graph(graph, output, model.element_type), folded=folded)


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
