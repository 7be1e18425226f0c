"""Checkers as networks: an overseer that scores inputs and outputs, and a slow model that a fast one must agree with."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pydual.checker import And, Checker, Condition, Linear, Or, Y, positive
from pydual.checkers.appended import Part, append, embed
from pydual.errors import InputError
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.query import PosedOnce, Query
from pydual.region import Region


def overseer(
    judge: Network, region: Region, threshold: float | str | Fraction | None = None, *, catastrophe: Condition | None = None
) -> Overseer:
    """Catastrophe: in ``region``, the network ``judge`` scores input and output of the model at ``threshold`` or above.

    The judge reads the model's inputs, then its outputs, as one flat vector, or the outputs alone; which of the two, its
    number of inputs says. Give the ``threshold`` of its first output, or as ``catastrophe`` a condition on its outputs,
    ``Y[0]`` and so on. Raises InputError for anything else.
    """
    if not isinstance(judge, Network):
        raise InputError(f"The judge is a {type(judge).__name__}; load it with pydual.load, from_torch or from_sklearn.")
    if not isinstance(region, Region):
        raise InputError(f"An overseer needs a Region; got {type(region).__name__}.")
    if (threshold is None) == (catastrophe is None):
        raise InputError("Give either the threshold of the judge's score or a condition on its outputs.")
    return Overseer(judge, Checker(region, catastrophe if threshold is None else Y[0] >= threshold))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Overseer(PosedOnce):
    """A network as catastrophe checker, see ``overseer``; ``verdict`` is the condition on its outputs."""

    network: Network
    verdict: Checker

    @property
    def region(self) -> Region:
        return self.verdict.region

    def _posed(self, model: Network) -> Query:
        judge = self._reading_all(model)
        found = shifted(self.verdict.catastrophe, model.output_size)
        return Query(append(model, judge), Checker(self.region, found), model, judge)

    def _reading_all(self, model: Network) -> Network:
        """The judge as a function of inputs and outputs."""
        inputs, outputs, reads = model.input_size, model.output_size, self.network.input_size
        if reads == inputs + outputs:
            return self.network
        if reads != outputs:
            raise InputError(
                f"The judge takes {reads} values; the model has {inputs} inputs and {outputs} outputs: "
                f"it must take {outputs} or {inputs + outputs}."
            )
        graph = GraphBuilder((inputs + outputs,))
        whole = Part(graph.input, slice(inputs, inputs + outputs))
        return Network.from_graph(graph, embed(graph, self.network, [whole]))


def shifted(condition: Condition, outputs: int) -> Condition:
    """The condition on a judge's outputs as one on those of the appended network, where they follow ``outputs`` others."""
    if isinstance(condition, (And, Or)):
        return type(condition)(tuple(shifted(part, outputs) for part in condition.parts))
    margin = condition.margin
    moved = Linear(margin.x, {j + outputs: c for j, c in margin.y.items()}, margin.constant)
    return type(condition)(moved, condition.strict)


def equivalence(slow: Network, region: Region, tolerance: float | str | Fraction) -> Equivalence:
    """Catastrophe: in ``region``, some output of the model differs from that of the network ``slow`` by ``tolerance`` or more.

    Both read the same input, in one network, so bounds see the difference and not two ranges. Raises InputError for a
    tolerance that is not positive.
    """
    if not isinstance(slow, Network):
        raise InputError(f"The slow model is a {type(slow).__name__}; load it with pydual.load, from_torch or from_sklearn.")
    if not isinstance(region, Region):
        raise InputError(f"An equivalence needs a Region; got {type(region).__name__}.")
    return Equivalence(slow, region, positive(tolerance, "The tolerance"))


@dataclass(frozen=True, eq=False)
class Equivalence(PosedOnce):
    """A slow trusted model as the specification of a fast one, see ``equivalence``."""

    slow: Network
    region: Region
    tolerance: Fraction

    def _posed(self, model: Network) -> Query:
        inputs, outputs = model.input_size, model.output_size
        if (self.slow.input_size, self.slow.output_size) != (inputs, outputs):
            sizes = f"{self.slow.input_size} inputs and {self.slow.output_size} outputs, the model {inputs} and {outputs}"
            raise InputError(f"The slow model has {sizes}; only models of one shape can agree.")
        judge = _difference(self.slow, inputs, outputs)
        parts = [side for j in range(outputs, 2 * outputs) for side in (Y[j] >= self.tolerance, Y[j] <= -self.tolerance)]
        return Query(append(model, judge), Checker(self.region, Or(tuple(parts))), model, judge)


def _difference(slow: Network, inputs: int, outputs: int) -> Network:
    """``(x, y) -> y - slow(x)``."""
    graph = GraphBuilder((inputs + outputs,))
    other = embed(graph, slow, [Part(graph.input, slice(0, inputs))])
    keep = np.eye(outputs, inputs + outputs, inputs)
    difference = graph.affine([(graph.input, keep), (other, -np.eye(outputs))], np.zeros(outputs), (outputs,))
    return Network.from_graph(graph, difference)
