"""Chains of trusted models: a slow model is safe with a margin, the fast one stays near it, so the fast one is safe.

Let the outputs of neighbors in the chain differ by less than ``tau_1, tau_2, ...`` everywhere in the region, and ``T`` be the
sum. If the fast model has a catastrophe, ``a x + c y + d <= 0``, then the last one has ``a x + c y + d <= T sum |c_j|``: that
it has no such input is what has to be proved of it. What a judge computes of outputs it then has to compute of all that are
nearer than ``T`` to those of the last model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from pydual.checker import And, Checker, Condition, Number, Or
from pydual.checkers.appended import Part, append, embed, joined
from pydual.checkers.overseer import equivalence
from pydual.errors import InputError, UnsupportedError
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.query import Judge, Lemma, PosedOnce, Query, pose
from pydual.region import Region, rational_box


def chain(checker: Checker | Judge, *trusted: tuple[Network, Number]) -> Chain:
    """The question ``checker``, to be answered by way of models that are trusted more: pairs of a model and a tolerance.

    The outputs of each of these models must be nearer to those of the one before it than its tolerance (the first one's: to
    those of the model that ``solve`` is asked about), everywhere in the region; the last one must be safe, with what the
    tolerances add up to as margin. A tolerance is exact: 0.1 is the float64 next to one tenth, "0.1" one tenth.

    Raises InputError for anything else, and where no model is given.
    """
    if not isinstance(checker, (Checker, Judge)):
        raise InputError(f"A chain needs a checker; got {type(checker).__name__}.")
    if not trusted or any(not (isinstance(link, tuple) and len(link) == 2) for link in trusted):
        raise InputError("A chain needs pairs of a model and a tolerance; write chain(checker, (slow, 0.1)).")
    links = tuple(equivalence(model, checker.region, tolerance) for model, tolerance in trusted)
    return Chain(checker, tuple((link.slow, link.tolerance) for link in links))


@dataclass(frozen=True, eq=False)
class Chain:
    """See ``chain``; the lemmas are that each model is near the one before, and that the last is safe."""

    checker: Checker | Judge
    trusted: tuple[tuple[Network, Fraction], ...]

    @property
    def region(self) -> Region:
        return self.checker.region

    def lemmas(self, model: Network) -> tuple[Lemma, ...]:
        """That each model is near the one before, and that the last one is safe. Raises InputError where they do not fit."""
        query = pose(model, self.checker)  # what is a catastrophe, the model that is asked about says: by its shapes
        if query.runs is not None:
            raise InputError("A chain speaks of one run of the model; ask checkers of two runs of the model alone.")
        found = []
        for number, (slower, tolerance) in enumerate(self.trusted, 1):
            found.append(Lemma(f"near-{number}", model, equivalence(slower, self.region, tolerance)))
            model = slower
        room = sum((tolerance for _, tolerance in self.trusted), Fraction(0))
        if query.judge is not None:
            return (*found, Lemma("safe", model, Around(query.judge, query.checker, room)))
        return (*found, Lemma("safe", model, replace(query.checker, catastrophe=_within(query.checker.catastrophe, room))))


def _within(condition: Condition, room: Fraction) -> Condition:
    if isinstance(condition, (And, Or)):
        return type(condition)(tuple(_within(part, room) for part in condition.parts))
    margin = condition.margin
    most = room * sum((abs(c) for c in margin.y.values()), Fraction(0))
    return replace(condition, margin=replace(margin, constant=margin.constant - most))


@dataclass(frozen=True, eq=False)
class Around(PosedOnce):
    """What ``judge`` says of the model's outputs plus any vector between ``-room`` and ``room``, which is further inputs.

    ``verdict`` is the condition on inputs, outputs and what the judge computes, over the region of the inputs alone.
    """

    judge: Network
    verdict: Checker
    room: Fraction

    @property
    def region(self) -> Region:
        return self.verdict.region

    def _posed(self, model: Network) -> Query:
        if self.region.ball is not None or self.region.points is not None:
            raise UnsupportedError("In a chain, a checker that computes needs a box as region; give it one around the region.")
        moved, judge = _moved(model), _without_steps(self.judge, model)
        return Query(append(moved, judge), Checker(self._box(model), self.verdict.catastrophe), moved, judge)

    def _box(self, model: Network) -> Region:
        """Of inputs and steps."""
        region, count = self.region, model.output_size
        steps = rational_box([-self.room] * count, [self.room] * count)
        bounds = (
            np.concatenate([getattr(region, name), getattr(steps, name)])
            for name in ("lower", "upper", "inner_lower", "inner_upper")
        )
        lower, upper, inner_lower, inner_upper = bounds
        integers = None if region.integers is None else np.concatenate([region.integers, np.zeros(count, dtype=bool)])
        return Region(lower, upper, None, inner_lower, inner_upper, integers)


def _moved(model: Network) -> Network:
    """``(x, e) -> model(x) + e``."""
    inputs, outputs = model.input_size, model.output_size
    graph = GraphBuilder((inputs + outputs,))
    y = embed(graph, model, [Part(graph.input, slice(0, inputs))])
    steps = np.eye(outputs, inputs + outputs, inputs)
    return Network.from_graph(graph, graph.affine([(y, np.eye(outputs)), (graph.input, steps)], np.zeros(outputs), (outputs,)))


def _without_steps(judge: Network, model: Network) -> Network:
    """``(x, e, y) -> judge(x, y)``."""
    inputs, outputs = model.input_size, model.output_size
    graph = GraphBuilder((inputs + 2 * outputs,))
    pieces = [Part(graph.input, slice(0, inputs)), Part(graph.input, slice(inputs + outputs, inputs + 2 * outputs))]
    return Network.from_graph(graph, embed(graph, judge, [Part(joined(graph, pieces), slice(0, inputs + outputs))]))
