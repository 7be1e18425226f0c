"""Checkers that compare two runs of the model: outputs that rise with an input, and Lipschitz constants.

The second input is ``x + d``: the network's input is ``(x, d)`` with ``d`` for the inputs that may differ only, so that bounds
see what the two runs have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from pydual.checker import Checker, Linear, Number, positive
from pydual.checkers.appended import append
from pydual.checkers.expression import Tape
from pydual.checkers.judge_network import judge_network
from pydual.checkers.traced import inputs, outputs, symbols, trace
from pydual.errors import InputError
from pydual.network import Network
from pydual.query import PosedOnce, Query, Runs
from pydual.region import Region


def monotone(
    region: Region,
    increasing: Sequence[int] = (),
    decreasing: Sequence[int] = (),
    *,
    output: int = 0,
    tolerance: Number = 1e-3,
) -> PairChecker:
    """Catastrophe: two inputs of ``region``, one at least the other in ``increasing``, at most in ``decreasing``, equal in all
    other inputs, between which the ``output`` falls by ``tolerance`` or more.

    Without tolerance, two equal inputs would do. Raises InputError for inputs that the region does not have, that are named
    twice, or for a tolerance that is not positive.
    """
    allowed, up = positive(tolerance, "The tolerance"), set(increasing)

    def falls(x: Any, x2: Any, y: Any, y2: Any) -> Any:
        return y.ravel()[output] - y2.ravel()[output] >= allowed

    width = region.upper - region.lower
    free = sorted([*increasing, *decreasing])
    if not free or len(set(free)) < len(free) or not 0 <= free[0] <= free[-1] < region.size:
        raise InputError(f"The inputs {free} must be different ones from 0 to {region.size - 1}, at least one.")
    low = np.array([0.0 if i in up else -width[i] for i in free])
    high = np.array([width[i] if i in up else 0.0 for i in free])
    return PairChecker(region, falls, tuple(free), low, high)


def lipschitz(region: Region, constant: Number, norm: str = "linf", *, distance: Number = 1e-3) -> PairChecker:
    """Catastrophe: two inputs of ``region`` at a distance of at least ``distance`` in the norm "linf" or "l1", between which
    some output moves by more than ``constant`` times their distance.

    Without the least distance, two equal inputs would nearly do. Raises InputError for another norm, or numbers that are not
    positive.
    """
    rate, least = positive(constant, "The constant"), positive(distance, "The distance")
    if norm not in ("linf", "l1"):
        raise InputError(f"The norm is {norm!r}; use 'linf' or 'l1'.")
    order = np.inf if norm == "linf" else 1

    def moves(x: Any, x2: Any, y: Any, y2: Any) -> Any:
        apart: Any = np.linalg.norm((x2 - x).ravel(), order)
        return (apart >= least) & np.any(np.abs(y2 - y).ravel() > rate * apart)

    width = region.upper - region.lower
    return PairChecker(region, moves, tuple(range(region.size)), -width, width)


@dataclass(frozen=True, eq=False)
class PairChecker(PosedOnce):
    """A traced function ``(x, x2, y, y2) -> bool`` of two inputs in ``region`` and their outputs as catastrophe checker.

    ``x2 - x`` is between ``least`` and ``most`` in the inputs ``free``, and 0 in all others. An attack's ``x`` are both
    inputs, one after the other, and its ``y`` both outputs.
    """

    region: Region
    function: Callable[[Any, Any, Any, Any], Any]
    free: tuple[int, ...]
    least: np.ndarray
    most: np.ndarray

    def _posed(self, model: Network) -> Query:
        size, count = model.input_size, len(self.free)
        if self.region.size != size or self.region.ball is not None or self.region.points is not None:
            kind = "a ball" if self.region.ball is not None else "a list of points"
            got = f"{self.region.size} inputs" if self.region.size != size else kind
            raise InputError(f"Two runs are compared over a box of the model's {size} inputs; got {got}.")
        tape = Tape(2 * model.output_size)
        u = inputs(size + count)
        second = [x + u[size + self.free.index(i)] if i in self.free else x for i, x in enumerate(u[:size])]
        x, x2 = (symbols(tape, variables, model.input_shape) for variables in (u[:size], second))
        y, y2 = (symbols(tape, outputs(model.output_size, k * model.output_size), model.output_shape) for k in (0, 1))
        found, units = trace(self.function, tape, (x, x2, y, y2))
        box = self._box()
        for i in self.free:  # the second input lies in the region, too
            found = found & self._inside(second[i], i)
        runs, judge = self._runs(), judge_network(units, size + count, 2 * model.output_size) if units else None
        return Query(append(model, judge, runs), Checker(box, found), model, judge, runs)

    def _box(self) -> Region:
        """Of the first input and the steps to the second; steps between integers are integers."""
        integers = self.region.integers
        mask = None if integers is None else np.concatenate([integers, integers[list(self.free)]])
        lower, upper = (np.concatenate(parts) for parts in ((self.region.lower, self.least), (self.region.upper, self.most)))
        return Region(lower, upper, integers=mask)

    def _inside(self, x: Linear, i: int) -> Any:
        return (x <= Fraction(float(self.region.upper[i]))) & (x >= Fraction(float(self.region.lower[i])))

    def _runs(self) -> Runs:
        size, count = self.region.size, len(self.free)
        step = np.zeros((size, count))
        step[list(self.free), range(count)] = 1.0
        first, second = np.hstack([np.eye(size), np.zeros((size, count))]), np.hstack([np.eye(size), step])
        found = np.vstack([np.hstack([np.eye(size), np.zeros((size, size))]), np.hstack([-step.T, step.T])])
        return Runs((first, second), found, self.region)
