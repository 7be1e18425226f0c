"""Frames: the problems of one region, with the intervals of every unit over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pydual import certificate
from pydual.certificate import Refinement
from pydual.network import Network, curve_ends
from pydual.operators.primitives import Affine, Curve, Relu
from pydual.problem import Problem
from pydual.region import Region
from pydual.relax.engine import _core, threads
from pydual.relax.program import AffineMap, Program, compile_network, core_form, core_region
from pydual.relax.surroundings import Surroundings, surroundings


@dataclass(frozen=True, eq=False)
class Group:
    """Problems that share network and region. ``allowed[p, m]`` is 1 where margin m of the stack belongs to problem p."""

    problems: tuple[Problem, ...]
    program: Program
    region: Region
    margins: AffineMap
    allowed: np.ndarray

    @cached_property
    def core_margins(self) -> _core.Form:
        return core_form(self.margins, (self.region.size, *self.program.sizes))

    @cached_property
    def core_region(self) -> _core.Region:
        return core_region(self.region)

    @property
    def has_ball_leaves(self) -> bool:
        """Whether these may prove its problems: over an l2 ball, in real arithmetic."""
        return self.region.ball is not None and self.region.ball.norm == "l2" and self.problems[0].real

    @cached_property
    def surroundings(self) -> Surroundings | None:
        """What is known of distances from the values at the ball's center, where ball leaves may use it."""
        if self.region.ball is None or not self.has_ball_leaves:
            return None
        return surroundings(self.problems[0].network, self.region.ball)

    def columns(self, problem: int) -> np.ndarray:
        """Which margins of the stack are those of the group's problem number ``problem``."""
        return np.flatnonzero(self.allowed[problem])

    def margins_at(self, points: np.ndarray) -> np.ndarray:
        """All margins of the real network, in float64, at the rows of ``points``: shape (points, margins). Infinite where
        values overflow, so that nothing is known."""
        found = self.program.core.margins_at(self.core_margins, np.ascontiguousarray(points), threads=threads())
        return np.where(np.isnan(found), np.inf, found)

    def worst(self, margins: np.ndarray) -> np.ndarray:
        """For each row of margins the least, over problems, of the worst (largest) margin of the problem."""
        return np.min([margins[:, self.columns(p)].max(axis=1) for p in range(len(self.problems))], axis=0)

    def lowest(self, points: np.ndarray, number: int) -> np.ndarray:
        """So many of the points at which the worst margin is least."""
        if len(points) <= number:
            return points
        return points[np.argsort(self.worst(self.margins_at(points)))[:number]]

    def only(self, problem: int) -> Group:
        """The group of one of the problems."""
        chosen = self.problems[problem]
        margins = self.program.margins(chosen.margins)
        allowed = np.ones((1, len(chosen.margins)), dtype=np.int8)
        return Group((chosen,), self.program, self.region, margins, allowed)

    def within(self, region: Region) -> Group:
        """The same problems over another region."""
        return replace(self, region=region)


def group(problems: Sequence[Problem]) -> list[Group]:
    """Problems by region, in order of first appearance."""
    by_region: dict[tuple[bytes, bytes, int], list[Problem]] = {}
    for problem in problems:
        key = (problem.region.lower.tobytes(), problem.region.upper.tobytes(), id(problem.region.ball))
        by_region.setdefault(key, []).append(problem)
    return [_make_group(tuple(members)) for members in by_region.values()]


def _make_group(problems: tuple[Problem, ...]) -> Group:
    program = compile_network(problems[0].network)
    atoms = [atom for problem in problems for atom in problem.margins]
    allowed = np.zeros((len(problems), len(atoms)), dtype=np.int8)
    begin = 0
    for p, problem in enumerate(problems):
        allowed[p, begin : begin + len(problem.margins)] = 1
        begin += len(problem.margins)
    return Group(problems, program, problems[0].region, program.margins(atoms), allowed)


@dataclass(frozen=True, eq=False)
class Frame:
    """A group with pre-activation intervals ``lower``, ``upper`` (units,), derived as the anchor code says.

    ``possible`` is False if an interval came out empty: then no point of the region satisfies the phases. ``refinement`` has
    the lines of the intervals' ends where the anchor code is REFINED.
    """

    group: Group
    anchor: int
    lower: np.ndarray
    upper: np.ndarray
    possible: bool
    refinement: Refinement | None = None

    @cached_property
    def unstable(self) -> np.ndarray:
        """The units of the neurons whose sign the intervals leave open."""
        return np.flatnonzero(self.group.program.is_neuron & (self.lower < 0) & (self.upper > 0))

    @cached_property
    def unstable_neurons(self) -> np.ndarray:
        """Their numbers as neurons."""
        return self.group.program.neuron_numbers[self.unstable]


def make_frame(group: Group, anchor: int, phase: np.ndarray | None = None) -> Frame:
    """Intervals over the group's region, with neurons fixed by ``phase`` (units,): 1 active, -1 inactive, 0 free."""
    core = group.program.core
    if anchor == certificate.INTERVAL:
        lower, upper = _interval_arithmetic(group.problems[0].network, group.region)
        return Frame(group, anchor, lower, upper, True)
    fixed = np.zeros(group.program.units, dtype=np.int8) if phase is None else phase
    possible, lower, upper = core.linear_bounds(group.core_region, anchor == certificate.PARALLEL, fixed, threads())
    return Frame(group, anchor, lower, upper, possible)


def _interval_arithmetic(network: Network, region: Region) -> tuple[np.ndarray, np.ndarray]:
    """The intervals of the units primitive by primitive, as the audit derives them.

    The core's program has consecutive affine maps multiplied out: its intervals are narrower, too narrow for an audit.
    """
    values = [(region.lower, region.upper)]
    units: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(0), np.zeros(0))]
    for primitive in network.primitives:
        if not isinstance(primitive, Affine):
            low, high = values[primitive.source]
            units.append((low, high))
            values.append(_image(primitive, low, high))
            continue
        lower, upper = primitive.bias, primitive.bias
        for source, matrix in primitive.terms:
            low, high = values[source]
            center, radius = matrix @ (low + high) / 2, abs(matrix) @ (high - low) / 2
            lower, upper = lower + center - radius, upper + center + radius
        values.append((lower, upper))
    return np.concatenate([low for low, _ in units]), np.concatenate([high for _, high in units])


def _image(primitive: Relu | Curve, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval of the output."""
    if isinstance(primitive, Relu):
        return np.maximum(low, 0.0), np.maximum(high, 0.0)
    return curve_ends(primitive.kind, low, high)
