"""Lifting: from a point of the search to an input of the model's own type inside the region, replayed outside the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pydual.attack.replay import Replay
from pydual.attack.search import nearest_listed
from pydual.certificate import REAL
from pydual.checker import margin_at
from pydual.query import Query, Runs
from pydual.region import Ball, Region

SHRINKS = 40


@dataclass(frozen=True, eq=False)
class Hit:
    """A replayed catastrophe: input, output, exact margin rounded to float64, and what replayed it."""

    x: np.ndarray
    y: np.ndarray
    margin: float
    replay: str


class Lifter:
    """Replays candidates of one query; only a catastrophe at zero tolerance is a hit.

    The model is replayed by itself, and what a judge computes is computed of the outputs of that replay.
    """

    def __init__(self, query: Query, arithmetic: str = REAL) -> None:
        self._query = query
        self._replay = Replay(query.model, arithmetic)
        self._judge = None if query.judge is None else Replay(query.judge)

    def lift(self, x: np.ndarray, region: Region) -> Hit | None:
        """The hit at ``x`` after rounding into ``region``, or None."""
        if self._query.runs is not None:
            return self._lift_runs(x, self._query.runs)
        rounded = round_into(x, region, self._query.model.element_type)
        if rounded is None or not self._query.checker.region.contains(rounded):
            return None
        return self._judge_at(_rational(rounded), [rounded])

    def _lift_runs(self, u: np.ndarray, runs: Runs) -> Hit | None:
        """Each run's input is rounded by itself; what they say of ``u`` is exact."""
        parts = [round_into(matrix @ u, runs.region, self._query.model.element_type) for matrix in runs.inputs]
        if any(part is None or not runs.region.contains(part) for part in parts):
            return None
        inputs = _rational(np.concatenate(parts))  # type: ignore[arg-type]
        exact = [sum((int(c) * v for c, v in zip(row, inputs, strict=True) if c), Fraction(0)) for row in runs.found.tolist()]
        box = self._query.checker.region
        if not all(low <= v <= high for low, v, high in zip(box.lower.tolist(), exact, box.upper.tolist(), strict=True)):
            return None
        return self._judge_at(exact, parts)  # type: ignore[arg-type]

    def _judge_at(self, u: list[Fraction], inputs: list[np.ndarray]) -> Hit | None:
        """The model replayed at the inputs, and the checker's word on that."""
        y = np.concatenate([self._replay.outputs(x) for x in inputs])
        if not np.isfinite(y).all():
            return None
        values = [*_rational(y), *self._judged(u, y)]
        if not (self._holds(u, values) and self._holds_exactly(u, inputs)):
            return None
        margin = float(margin_at(self._query.checker.catastrophe, u, values))
        return Hit(np.concatenate(inputs), y, margin, self._replay.name)

    def _judged(self, u: list[Fraction], y: np.ndarray) -> list[Fraction]:
        """What the judge computes of inputs and outputs."""
        if self._judge is None:
            return []
        if self._judge.name == "exact":
            return self._judge.exact_outputs([*u, *_rational(y)])
        return _rational(self._judge.outputs(np.array([*map(float, u), *y.tolist()])))

    def _holds(self, x: list[Fraction], values: list[Fraction]) -> bool:
        return self._query.checker.catastrophe.holds(x, values)

    def _holds_exactly(self, u: list[Fraction], inputs: list[np.ndarray]) -> bool:
        """Whether the catastrophe survives at outputs that are not rounded to float64; onnxruntime has no others."""
        if self._replay.name != "exact" or (self._judge is not None and self._judge.name != "exact"):
            return True
        y = [value for x in inputs for value in self._replay.exact_outputs(_rational(x))]
        judged = [] if self._judge is None else self._judge.exact_outputs([*u, *y])
        return self._holds(u, [*y, *judged])


def _rational(values: np.ndarray) -> list[Fraction]:
    return [Fraction(value) for value in values.tolist()]


def round_into(x: np.ndarray, region: Region, element_type: str) -> np.ndarray | None:
    """The point of the region as asked for nearest to ``x`` in the element type (as float64); None if there is none.

    An input whose interval has no number of that type, such as one fixed to a float64 of a float32 model, stays a
    float64 of its interval; the replay casts it, as whoever runs the model does. So do points of a list.
    """
    kind = np.dtype(element_type).type
    low, high = _at_least(region.inner_lower, kind), _at_most(region.inner_upper, kind)
    typed = low <= high

    def rounded(point: np.ndarray) -> np.ndarray:
        if region.integers is not None:
            point = np.where(region.integers, np.rint(point), point)
        inside = np.clip(point, region.inner_lower, region.inner_upper)
        return np.where(typed, np.clip(point.astype(kind), low, high).astype(np.float64), inside)

    if (region.inner_lower > region.inner_upper).any():
        return None
    if region.points is not None:
        return nearest_listed(x, region)
    return rounded(x) if region.ball is None else _into_ball(x, region, region.ball, rounded)


def _into_ball(x: np.ndarray, region: Region, ball: Ball, rounded: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
    """Shrink toward the center, by more each time, until the rounded point lies in the ball."""
    shrink = 0.0
    for k in range(SHRINKS):
        point = rounded(ball.center + (1.0 - shrink) * (x - ball.center))
        if region.contains(point):
            return point
        shrink = 2.0**-30 * 2.0**k if k < 30 else 1.0
    return None


def _at_least(bound: np.ndarray, kind: type) -> np.ndarray:
    """The smallest numbers of the type that are not below ``bound``."""
    nearest: np.ndarray = bound.astype(kind)
    return np.where(nearest.astype(np.float64) < bound, np.nextafter(nearest, kind(np.inf)), nearest)


def _at_most(bound: np.ndarray, kind: type) -> np.ndarray:
    return -_at_least(-bound, kind)
