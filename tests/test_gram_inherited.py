"""What a child's ascent takes over from its parent's: the parent's polynomial, with the split neuron substituted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sdp_oracle
from test_gram_dual import CASES, WEIGHTS, Instance, Multipliers, adaptive, instance, random_multipliers, written
from test_sdp import hard

import pydual
from pydual import Certificate
from pydual.proof_systems import SDP, BranchAndBound, climb
from pydual.relax.gram_inherited import Ended, best_mixture, inherited

SPLIT = [name for name in CASES if name != "no open neuron"]


def child_of(given: Instance, unit: int, phase: int) -> Instance:
    """The cell where one more neuron's phase is fixed, with the same intervals otherwise."""
    lower, upper, phases = given.frame.lower.copy(), given.frame.upper.copy(), given.phase.copy()
    (lower if phase > 0 else upper)[unit], phases[unit] = 0.0, phase
    return written(given.problem, replace(given.frame, lower=lower, upper=upper), phases, WEIGHTS)


def ended(given: Instance, multipliers: Multipliers) -> Ended:
    return Ended(given.cell.reduced.units, np.flatnonzero(given.phase), multipliers)


def hand_over(given: Instance, child: Instance, multipliers: Multipliers) -> Multipliers:
    split = np.flatnonzero(child.phase)
    return inherited(ended(given, multipliers), child.cell.reduced.units, split, child.phase[split])


def substituted(given: Instance, matrix: np.ndarray, place: int, phase: int) -> np.ndarray:
    """The polynomial with z = 0, or z = y, for the kept neuron in this place."""
    cell = given.oracle
    own = cell.first + place
    values = np.eye(cell.size)
    values[own] = cell.before[cell.kept[place]] if phase > 0 else 0.0
    values = np.delete(values, own, axis=1)
    return values.T @ matrix @ values


@pytest.mark.parametrize("phase", [1, -1])
@pytest.mark.parametrize("name", SPLIT)
def test_the_childs_bound_is_that_of_the_parents_polynomial_on_its_cell(name: str, phase: int) -> None:
    """Where the parent uses no fact that the child has not."""
    given, bounded = instance(name), 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        multipliers = random_multipliers(given, rng)
        place = int(rng.integers(len(given.oracle.kept)))
        multipliers["tau"][place] = 0.0
        if phase > 0:
            multipliers["kappa_kept"][place] = 0.0
        child = child_of(given, int(given.oracle.kept[place]), phase)
        assert len(child.oracle.kept) == len(given.oracle.kept) - 1
        matrix = substituted(given, sdp_oracle.lagrangian(given.oracle, multipliers), place, phase)
        least, _ = sdp_oracle.lowest(child.oracle, matrix)
        bound = child.core.bound(hand_over(given, child, multipliers))
        if least > -np.inf or bound > -np.inf:
            assert bound == pytest.approx(least, rel=1e-7, abs=1e-7)
            bounded += 1
    assert bounded >= 5


@pytest.mark.parametrize("name", SPLIT)
def test_a_mixture_is_at_least_as_good_as_the_childs_own_start(name: str) -> None:
    given = instance(name)
    multipliers = random_multipliers(given, np.random.default_rng(0))
    for phase in (1, -1):
        child = child_of(given, int(given.oracle.kept[0]), phase)
        own, _ = child.cell.start(adaptive(child), np.zeros(len(child.oracle.cuts)))
        mixture, bound = best_mixture(child.core, hand_over(given, child, multipliers), own)
        assert child.core.bound(mixture) == bound >= child.core.bound(own) > -np.inf


def test_trees_take_fewer_steps_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways end with a certificate; where nothing is handed over, every ascent begins at its own lines."""
    network, checker = hard(3, 6, 10, 10, 2, gap=0.05)
    advance, steps = climb.advance, [0, 0]

    def counting(climbs: list[climb.Climb]) -> None:
        before = sum(one.steps for one in climbs)
        advance(climbs)
        steps[way] += sum(one.steps for one in climbs) - before

    monkeypatch.setattr("pydual.proof_systems.sdp.advance", counting)
    system = BranchAndBound(bound=SDP(), split="neuron")
    for way in (0, 1):
        if way:
            monkeypatch.setattr(climb.Climb, "_inherit", lambda self, above, own: (own, self.cell.core_problem().bound(own)))
        outcome = pydual.solve(network, checker, system, timeout=60)
        assert isinstance(outcome, Certificate)
    assert 0 < steps[0] < steps[1]
