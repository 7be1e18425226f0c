"""Pseudo-moments given the phase of a neuron: the reweighting of Barak, Raghavendra and Steurer (FOCS 2011).

With ``q = z`` of an active neuron, ``q = z - y`` of an inactive one, ``E'[p] = E[q^2 p] / E[q^2]`` is a pseudo-expectation of
a degree lower by 2, and for a distribution over real inputs one over those with that phase. Where it is not flat, the
adversary's pseudo-mean mixes inputs of several linear pieces; a phase tells some of them apart, like a split of branch and
bound.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pydual.relax.moments import MomentProblem
from pydual.relax.polynomials import Monomial, Polynomial, plus, times

RARE = 1e-6  # a pseudo-probability, times the square of a scaled output: phases below it are not played


def conditioned_means(problem: MomentProblem, moments: dict[Monomial, float]) -> np.ndarray:
    """The means (phases, moving inputs), in the scaled variables, of the inputs given each phase of each neuron that is a
    variable; phases that are not played, or whose moments ``problem`` does not have, are left out."""
    inputs = len(problem.cell.moving)
    found = []
    for square in _squares_of_phases(problem):
        weight = _mean(problem, square, moments)
        values = [_mean(problem, times(square, {(v,): 1.0}), moments) for v in range(inputs)]
        if weight is not None and weight > RARE and None not in values:
            found.append(np.array(values, dtype=float) / weight)
    return np.array(found).reshape(len(found), inputs)


def _squares_of_phases(problem: MomentProblem) -> Iterator[Polynomial]:
    for v, source in problem.cell.sources.items():
        output: Polynomial = {(v,): float(problem.cell.scale[v])}
        for q in (output, plus(output, source, -1.0)):
            yield times(q, q)


def _mean(problem: MomentProblem, polynomial: Polynomial, moments: dict[Monomial, float]) -> float | None:
    """None where a moment is missing."""
    reduced = problem.ring.reduce(polynomial)
    if any(m not in moments for m in reduced):
        return None
    return sum(c * moments[m] for m, c in reduced.items())
