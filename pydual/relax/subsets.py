"""Moments of degree 4 of a few sets of variables, of degree 2 of all others: a sublevel of the hierarchy.

Chen, Lasserre, Magron and Pauwels ("Semialgebraic optimization for Lipschitz constants of ReLU networks", NeurIPS 2020; "A
sublevel moment-SOS hierarchy for polynomial optimization", 2021) put matrices of the next degree on subsets ``I`` of the
variables, of a number and size of the user's choice; ours is a ``Subset``. It is inputs ``x`` and outputs ``z`` of neurons,
and what these read: ``p``, an affine function of inputs and earlier neurons, is a variable of its own where the subset has
not all of them. So the equation ``z (z - p) = 0`` holds within a subset without all that the neuron reads. In degree 2,
``p`` is written out, so that its moments are those of the rest; those of degree 3 and 4 are tied to nothing but each other,
across subsets. A square of a polynomial in these variables is, written out, one of a polynomial in inputs and neurons:
certificates know no ``p``.

Subsets share their inputs, and pay through them: on random networks from 2-6-6 to 5-6-6, each neuron with the inputs closes
nearly all of the gap of degree 2 with products, all pairs and triples of neurons without inputs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydual.relax.moments import Assembly, MomentProblem
from pydual.relax.polynomials import ONE, Monomial, Polynomial, monomials, times
from pydual.relax.ring import Ring
from pydual.relax.sos_cell import SosCell, Weight

DEGREE = 4


@dataclass(frozen=True)
class Subset:
    """Variables of a cell."""

    inputs: tuple[int, ...]
    neurons: tuple[int, ...]


class SublevelRing(Ring):
    """Polynomials in a cell's variables and, with the number ``cell.size + v``, in what the neurons ``v`` of subsets read,
    on the scale of ``v``; modulo their equations."""

    def __init__(self, cell: SosCell, subsets: Sequence[Subset]) -> None:
        super().__init__(cell, [tuple(range(cell.size))], 2)
        self._members = [{*s.inputs, *s.neurons, *(cell.size + v for v in s.neurons)} for s in subsets]
        self._products: dict[Monomial, Polynomial] = {(): ONE}

    def variables(self, subset: Subset) -> list[int]:
        """Those of a subset's matrix."""
        return [*subset.inputs, *subset.neurons, *(self.cell.size + v for v in _unwritten(self.cell, subset))]

    def normal(self, monomial: Monomial) -> Polynomial:
        if monomial not in self._normal:
            other = self._replaced(monomial)
            self._normal[monomial] = {monomial: 1.0} if other is None else self.reduce(other)
        return self._normal[monomial]

    def _replaced(self, monomial: Monomial) -> Polynomial | None:
        """``p`` is written out if there are moments of the outcome; in place of ``z^2`` there is ``z p``."""
        size = self.cell.size
        for w in sorted(set(monomial), reverse=True):
            rest = list(monomial)
            rest.remove(w)
            if w >= size and self._within({*rest, *self.cell.reads(w - size)}, len(monomial)):
                return times({tuple(rest): 1.0}, self._quotients[w - size])
            if self._more.get(w, 1) <= 0 and w in rest and self._within({*rest, size + w}, len(monomial)):
                return {tuple(sorted([*rest, size + w])): 1.0}
        return None

    def _within(self, variables: set[int], degree: int) -> bool:
        return degree <= 2 or any(variables <= members for members in self._members)

    def written(self, polynomial: Polynomial) -> Polynomial:
        total: Polynomial = {}
        for m, c in polynomial.items():
            plain = sum(v < self.cell.size for v in m)
            for n, e in times({m[:plain]: c}, self._product(m[plain:])).items():
                total[n] = total.get(n, 0.0) + e
        return total

    def _product(self, reads: Monomial) -> Polynomial:
        if reads not in self._products:
            self._products[reads] = times(self._product(reads[:-1]), self._quotients[reads[-1] - self.cell.size])
        return self._products[reads]

    def centered(self, variable: int) -> Polynomial:
        v = variable - self.cell.size
        if v < 0:
            return super().centered(variable)
        low, high = (end / float(self.cell.scale[v]) for end in self.cell.interval(v))
        return {(): -(low + high) / (high - low), (variable,): 2.0 / (high - low)}


def sublevel_problem(
    cell: SosCell,
    margins: list[Polynomial],
    cliques: list[tuple[int, ...]],
    products: Sequence[Weight],
    subsets: Sequence[Subset],
) -> MomentProblem:
    """The relaxation of degree 2 (``moment_problem``) with subsets of degree 4. A neuron's facts are about ``p``."""
    ring = SublevelRing(cell, subsets)
    assembly = Assembly(ring)
    assembly.add_cliques(margins, 2, cliques, products)
    for subset in subsets:
        variables = ring.variables(subset)
        weights = [weight for weight in cell.weights_of_inputs() if weight.support <= set(subset.inputs)]
        for v in subset.neurons:
            weights += cell.weights_of_neuron(v, {(cell.size + v,): float(cell.scale[v])})
        for weight in weights:
            basis = monomials(variables, (DEGREE - weight.degree) // 2)
            assembly.add(weight, [m for m in basis if not ring.has_square(m)])
    return assembly.finish(margins, 2, len(subsets))


def widest(cell: SosCell, most: int, size: int) -> list[Subset]:
    """At most so many subsets of at most ``size`` variables, with as many inputs as there is room for.

    First come neurons that read inputs alone, whose ``p`` needs no variable, then those whose triangles are deepest; one
    subset takes them as long as that leaves its inputs room.
    """
    low, high = (end.tolist() for end in cell.intervals)
    depths = {v: -a * b / (b - a) for v, a, b in zip(cell.sources, low, high, strict=True)}
    deep = {v: any(w >= len(cell.moving) for w in cell.reads(v)) for v in depths}
    found: list[Subset] = []
    for v in sorted(_affine(cell, depths), key=lambda v: (deep[v], -depths[v])):
        alone = with_inputs(cell, (v,), size)
        joined = with_inputs(cell, (*found[-1].neurons, v), size) if found else alone
        if found and len(joined.inputs) >= len(alone.inputs) and _width(cell, joined) <= size:
            found[-1] = joined
        else:
            found.append(alone)
    return found[:most]


def of_neurons(cell: SosCell, numbers: Sequence[Sequence[int]], size: int) -> list[Subset]:
    """Those that a user names, by numbers of PROOFS.md, at most ``size / 2`` together; stable ones are left out."""
    variables = {int(number): len(cell.moving) + k for k, number in enumerate(cell.neurons)}
    chosen = [_affine(cell, [variables[j] for j in dict.fromkeys(together) if j in variables]) for together in numbers]
    return [with_inputs(cell, neurons, size) for neurons in chosen if neurons]


def with_inputs(cell: SosCell, neurons: Sequence[int], size: int) -> Subset:
    """With as many inputs as fit, those first with which neurons' arguments change most."""
    change = np.zeros(len(cell.moving))
    for source in cell.sources.values():
        for m, c in source.items():
            if len(m) == 1 and m[0] < len(change):
                change[m[0]] += abs(c)
    inputs = np.argsort(-change, kind="stable").tolist()
    subset = Subset((), tuple(sorted(neurons)))
    for count in range(len(inputs), 0, -1):
        larger = Subset(tuple(sorted(inputs[:count])), subset.neurons)
        if _width(cell, larger) <= size:
            return larger
    return subset


def _affine(cell: SosCell, neurons: Sequence[int] | dict[int, float]) -> list[int]:
    """Without those that read squares, with which degrees would double."""
    return [v for v in neurons if max(map(len, cell.sources[v]), default=0) <= 1]


def _unwritten(cell: SosCell, subset: Subset) -> list[int]:
    """The neurons that read what the subset has not."""
    return [v for v in subset.neurons if not cell.reads(v) <= {*subset.inputs, *subset.neurons}]


def _width(cell: SosCell, subset: Subset) -> int:
    return len(subset.inputs) + len(subset.neurons) + len(_unwritten(cell, subset))
