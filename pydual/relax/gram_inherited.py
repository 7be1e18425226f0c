"""What a cell's Gram dual takes over from that of the cell it was split from (a warm start).

Let the child fix the phase of a kept neuron u. Substituted into the parent's polynomial, ``z_u = 0`` or ``z_u = y_u`` leaves
a polynomial without ``z_u`` that is still nonnegative plus the same bound. The products of u's facts become:

    z_u = 0 >= y_u:   sigma_u (z_u - y_u) = sigma_u (-y_u), and ``-y_u >= 0`` is the child's new cut, so beta = sigma_u;
    z_u = y_u >= 0:   mu_u z_u = mu_u y_u, and ``y_u >= 0`` is the new cut, so beta = mu_u;

lambda_u's is 0 in both; those of tau_u and, in the second case, of kappa_u are no facts of the child, and what they held is
lost. All other multipliers mean the same in both cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydual.relax.engine import _core

OF_KEPT = ("scaled_lambda", "mu", "sigma", "tau", "kappa_kept")
OF_ALL = ("ball", "kappa_inputs")
SHARES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)  # of the child's own start


@dataclass(frozen=True, eq=False)
class Ended:
    """Where an ascent ended: the kept ``units`` (kept,), those ``split``, in the order of their betas, and its multipliers."""

    units: np.ndarray
    split: np.ndarray
    multipliers: dict[str, np.ndarray]


def inherited(ended: Ended, units: np.ndarray, split: np.ndarray, phase: np.ndarray) -> dict[str, np.ndarray]:
    """The parent's multipliers in a child with the kept ``units`` and the ``split`` ones, whose ``phase`` is 1 or -1."""
    kept = np.searchsorted(ended.units, units)
    known = dict(zip(ended.split.tolist(), ended.multipliers["beta"], strict=True))
    place = {unit: k for k, unit in enumerate(ended.units.tolist())}
    beta = [
        known[unit] if unit in known else ended.multipliers["mu" if sign > 0 else "sigma"][place[unit]]
        for unit, sign in zip(split.tolist(), phase.tolist(), strict=True)
    ]
    mine = {name: ended.multipliers[name][kept] for name in OF_KEPT} | {name: ended.multipliers[name] for name in OF_ALL}
    return {**mine, "beta": np.array(beta)}


def best_mixture(
    problem: _core.GramProblem, old: dict[str, np.ndarray], own: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], float]:
    """The mixture of two points with the best bound, and that; the bound is concave, and the second point has one.

    A small share of the second makes up for the curvature that the first has lost. Where the functions differ, as weights of
    margins do, the first may be of no use: then the second is taken as it is.
    """
    mixtures = [{name: (1 - share) * old[name] + share * own[name] for name in own} for share in SHARES]
    bounds = [problem.bound(mixture) for mixture in mixtures]
    best = int(np.argmax(bounds))
    return mixtures[best], bounds[best]
