"""From the relaxed adversary's pseudo-moments to real inputs, and what the real network makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pydual.attack.search import into_region
from pydual.errors import InputError
from pydual.proof_systems.base import Play
from pydual.proof_systems.climb import Climb
from pydual.relax.pseudo_moments import PseudoMoments
from pydual.relax.reduced import relaxed_values

DRAWS = 64
BEST = 8  # of the points, for the attack to begin at
FLAT = 0.01  # the second eigenvalue of the moment matrix, of the first
EXACT = 0.01  # what the real network loses against the bound, of the range of its margins at the points


@dataclass(frozen=True, eq=False)
class Rounding:
    """``points`` (points, inputs), the best first; ``value``, the worst margin of the real network at the first;
    ``claim``, what there is to say if the relaxation is exact."""

    play: Play
    points: np.ndarray
    value: float
    claim: str = ""


def rounded(climb: Climb) -> Rounding:
    """The pseudo-mean of an ascent under way; of one that has ended also samples and the leading eigenvector's point."""
    play = climb.play()
    points = play.x[None]
    moments = _moments(climb) if climb.ended else None
    if moments is not None:
        samples = moments.samples(np.random.default_rng(0), DRAWS)
        points = np.concatenate([points, moments.leading_point()[None], samples])
        play = replace(play, spread=_spread(climb, moments), draw=partial(_drawn, climb, moments))
    points = into_region(points, climb.frame.group.region)
    values = _values(climb, points)
    order = np.argsort(values, kind="stable")[:BEST]
    value = float(values[order[0]])
    claim = "" if moments is None else _claim(climb, moments, values)
    return Rounding(play, points[order], value, claim)


def _moments(climb: Climb) -> PseudoMoments | None:
    try:
        return climb.moments()
    except InputError:  # an ascent that ended where it began
        return None


def _spread(climb: Climb, moments: PseudoMoments) -> np.ndarray:
    spread = np.zeros(climb.cell.all_neurons)
    spread[climb.cell.neurons] = moments.deviations
    return spread


def _drawn(climb: Climb, moments: PseudoMoments, random: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of all neurons from the pseudo-distribution."""
    program, (inputs, kept) = climb.frame.group.program, moments.pairs(random, number)
    z = [relaxed_values(program, climb.cell.reduced, *pair)[1] for pair in zip(inputs, kept, strict=True)]
    return inputs, np.array(z)[:, program.neuron_units]


def _values(climb: Climb, points: np.ndarray) -> np.ndarray:
    """The worst margins of the climb's problem, of the real network at the points."""
    g = climb.frame.group
    return g.margins_at(points)[:, g.columns(climb.problem)].max(axis=1)


def _claim(climb: Climb, moments: PseudoMoments, values: np.ndarray) -> str:
    """Where one point has the moments and the network keeps what the relaxation promises there, it is the optimum."""
    real = float(values[0])
    if moments.flatness > FLAT or real - climb.bound > EXACT * np.ptp(values):
        return ""
    gap = f"{real:.6g}, is the relaxation's bound {climb.bound:.6g} up to {real - climb.bound:.1g}"
    flat = f"The moment matrix is flat (ratio of eigenvalues {moments.flatness:.1g})"
    return f"{flat}, and the real margin at the pseudo-mean, {gap}: so far, the optimum is extracted."
