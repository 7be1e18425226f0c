"""One node's ascent in the relaxation of degree 2: from its linear bound to a Gram leaf (PROOFS.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pydual.proof_systems.base import Play
from pydual.proof_systems.duals import ABOVE_ROUNDING, Duals, Nodes
from pydual.relax.engine import _core, threads
from pydual.relax.frame import Frame
from pydual.relax.gram import GramCell
from pydual.relax.gram_inherited import Ended, best_mixture, inherited
from pydual.relax.gram_products import NOTHING, Products
from pydual.relax.pseudo_moments import PseudoMoments, pseudo_moments
from pydual.relax.reduced import Reduced, Rows, reduce, relaxed_values

CHUNK = 100  # steps between two looks at the clock, fewer where they take more than
PRODUCTS = 3e9
PRICED = 0.05  # of what kept neurons are worth in the linear bound: inputs may contribute nothing to one that is optimized
AGAIN = 10.0  # the first weight of a round, times the number of barriers: of what is missing; smaller ones get stuck
BELOW = 0.3  # the first weight of an inherited ascent, likewise: on the central path, 1 would be its distance from the optimum
PATIENCE = 0.1  # of the flatness: ascents with new products begin slowly
SMALL = 1e-6  # the least multiplier that an ascent starts with
MOST = 3e7  # entries of the matrix of kept neurons by inputs, of which an ascent holds three


@dataclass(frozen=True)
class Path:
    """The weights of the barrier that an ascent follows (cpp/kernels/gram_ascent.hpp), each for at most ``steps`` steps.

    ``first`` and ``last``: times the number of barriers, as a share of what the inputs contribute to the linear bound.
    L-BFGS takes the first steps, ``cheap`` times the square of the number of multipliers, and Newton's method, of which a step
    costs the cube of that number, goes on.

    Where the path ends without a proof, ``cuts`` products of two linear facts for each kept neuron join the relaxation, those
    that the adversary violates most, and the path is followed again, from ten times what the bound is short of; at most
    ``rounds`` times.
    """

    first: float = 2.0
    last: float = 0.01
    decay: float = 0.4
    steps: int = 2500
    flatness: float = 1e-3
    cheap: float = 2e-3
    cuts: int = 0
    rounds: int = 3


@dataclass(eq=False)
class Climb:
    """The ascent of node ``row`` of ``nodes``, from the bound and the lines of ``duals``; ``units`` are those
    split above it."""

    frame: Frame
    nodes: Nodes
    duals: Duals
    row: int
    units: tuple[int, ...]
    reduced: Reduced
    margins: Rows
    path: Path
    extra: Products = field(default=NOTHING, init=False)
    _ascent: _core.GramAscent | None = field(default=None, init=False)
    _before: tuple[int, float] = field(default=(0, -np.inf), init=False)  # steps and bound of the rounds before
    _rounds: int = field(default=0, init=False)

    @property
    def problem(self) -> int:
        return int(self.nodes.problem[self.row])

    @cached_property
    def cell(self) -> GramCell:
        program = self.frame.group.program
        function = self.margins.combined(self.duals.weights[self.row])
        cuts = self.reduced.watched.scaled(self.nodes.phase[self.row, list(self.units)].astype(float))
        numbers = program.neuron_numbers[self.reduced.units]
        return GramCell(self.reduced, self.frame.group.region, function, cuts, numbers, program.neurons)

    @property
    def ascent(self) -> _core.GramAscent:
        if self._ascent is None:
            start, _ = self._start
            prices = (start["mu"] + start["sigma"] + start["tau"]) @ self.cell.half
            weight = max(float(start["kappa_inputs"].sum()), PRICED * float(prices)) / sum(map(len, start.values()))
            first, last = self.path.first * weight, self.path.last * weight
            if (above := self.nodes.ended.get(self.row)) is not None:
                start, bound = self._inherit(above, start)
                first = min(max(BELOW * _missing(bound, start), last), first)
            self._ascent = self._new_ascent(start, first, last, self.path.flatness)
        return self._ascent

    def _inherit(self, above: Ended, own: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
        """What to begin with, and its bound."""
        split = np.array(self.units, dtype=np.int64)
        old = inherited(above, self.reduced.units, split, self.nodes.phase[self.row, split])
        return best_mixture(self.cell.core_problem(), old, own)

    @property
    def end(self) -> Ended:
        """Where the ascent is, for the nodes that this one is split into."""
        return Ended(self.reduced.units, np.array(self.units, dtype=np.int64), self.ascent.present)

    @cached_property
    def _start(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        alpha = np.clip(self.duals.alpha[self.row, self.reduced.units], 0.0, 1.0)
        return self.cell.start(alpha, self.duals.beta[self.row, list(self.units)])

    def _new_ascent(
        self, start: dict[str, np.ndarray], first_weight: float, last_weight: float, flatness: float
    ) -> _core.GramAscent:
        path, (_, scale) = self.path, self._start
        cheap_steps = int(path.cheap * sum(map(len, start.values())) ** 2)
        return _core.GramAscent(
            self.cell.core_problem(self.extra), start, scale, first_weight=first_weight, last_weight=last_weight,
            decay=path.decay, steps_per_weight=path.steps, flatness=flatness, cheap_steps=cheap_steps,
        )  # fmt: skip

    def tighten(self) -> None:
        """Where the path has ended without a proof: the next round of products."""
        if self._rounds == self.path.rounds or self.path.cuts == 0 or self.proved or not self.ascent.ended:
            return
        self._rounds += 1
        start, weight = self.ascent.present, max(self.ascent.weight, SMALL)
        moments = self.cell.core_problem(self.extra).moments(start)
        if moments is None:
            return
        new = self.cell.facts.most_violated(moments, weight, self.path.cuts * len(self.reduced.units), self.extra)
        self._before = self.steps, self.bound
        self.extra = self.extra + new
        old = np.maximum(start.get("rho", np.zeros(0)), SMALL)
        problem = self.cell.core_problem(self.extra)
        for rho in np.geomspace(weight, SMALL, 8):  # the matrix is still positive definite where the new ones are small
            start["rho"] = np.concatenate([old, np.full(len(new), rho)])
            if problem.bound(start) > -np.inf:
                break
        missing = _missing(self.bound, start)
        first, last = max(AGAIN * missing, weight), min(missing * self.path.last, weight)
        self._ascent = self._new_ascent(start, first, last, PATIENCE * self.path.flatness)

    @property
    def steps(self) -> int:
        return self._before[0] + int(self.ascent.steps)

    @property
    def bound(self) -> float:
        reached = max(self._before[1], float(self.duals.bound[self.row]))
        return reached if self._ascent is None else max(reached, float(self._ascent.bound))

    @property
    def proved(self) -> bool:
        return self.bound > ABOVE_ROUNDING

    @property
    def ended(self) -> bool:
        """Whether no more steps are of use: proved, or at the end of the path."""
        return self.proved or (self._ascent is not None and self._ascent.ended)

    @property
    def steps_in_chunk(self) -> int:
        kept, inputs = self.reduced.inputs.x.shape
        products = float(kept) ** 2 * (2.0 * inputs + kept) + 1.0  # of one step, nearly
        if self.ascent.second_order:
            products += float(5 * kept + inputs + len(self.extra)) ** 3
        return int(min(CHUNK, max(1.0, PRODUCTS / products)))

    @property
    def is_possible(self) -> bool:
        """Whether there is anything to gain, and memory for it: without kept neurons the linear bound is exact."""
        return 0 < self.reduced.inputs.x.size <= MOST

    def products(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What proves the node: products of facts, their multipliers, and the betas of the split neurons."""
        return self.cell.products(self.ascent.multipliers, self.extra)

    def moments(self) -> PseudoMoments:
        """What the relaxed adversary plays where the ascent is. Raises InputError where it has proved no bound."""
        return pseudo_moments(self.cell, self.cell.products(self.ascent.present, self.extra), self.ascent.weight)

    def point(self) -> tuple[np.ndarray, np.ndarray]:
        """The pseudo-mean of the input, and of the outputs of the kept neurons."""
        cell, ascent = self.cell, self.ascent
        x = cell.center.copy()
        x[cell.moving] += cell.radius[cell.moving] * np.clip(ascent.inputs, -1.0, 1.0)
        return x, cell.half * (1.0 + np.clip(ascent.kept, -1.0, 1.0))

    def play(self) -> Play:
        """What the relaxed adversary plays: inputs and outputs of the neurons at the pseudo-mean."""
        g, (x, y, z) = self.frame.group, self.values()
        neurons = g.program.neuron_units
        return Play(g.problems[self.problem], x, self.bound, y[neurons], z[neurons])

    def values(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The input, and inputs and outputs of all units, at the pseudo-mean."""
        x, z = self.point()
        return (x, *relaxed_values(self.frame.group.program, self.reduced, x, z))


def _missing(bound: float, multipliers: dict[str, np.ndarray]) -> float:
    """What a bound is short of, for each multiplier."""
    return max(-bound, ABOVE_ROUNDING) / sum(map(len, multipliers.values()))


def start_climbs(
    frame: Frame, nodes: Nodes, duals: Duals, rows: list[int], units: list[tuple[int, ...]], path: Path
) -> list[Climb]:
    """The ascents of these rows of the nodes; nodes without split neurons share what is written out."""
    shared: dict[tuple[tuple[int, ...], bytes], tuple[Reduced, Rows]] = {}
    climbs = []
    for row, split in zip(rows, units, strict=True):
        phase = nodes.phase[row]
        key = split, phase.tobytes()
        if key not in shared:
            lower = np.where(phase > 0, np.maximum(frame.lower, 0.0), frame.lower)
            upper = np.where(phase < 0, np.minimum(frame.upper, 0.0), frame.upper)
            watched = np.array(split, dtype=np.int64)
            reduced = reduce(frame.group.program, frame.group.region.size, lower, upper, watched)
            shared[key] = reduced, reduced.write(frame.group.margins)
        climbs.append(Climb(frame, nodes, duals, row, split, *shared[key], path))
    return climbs


def closed(duals: Duals, climbs: list[Climb]) -> Duals:
    """The duals with what the climbs have found: leaves of those that proved their nodes, pseudo-means of the others."""
    bound, x, y, z, beta = (part.copy() for part in (duals.bound, duals.x, duals.y, duals.z, duals.beta))
    grams, ended = {}, {}
    for climb in climbs:
        row = climb.row
        bound[row] = climb.bound
        if climb.proved:
            products, multipliers, beta[row, list(climb.units)] = climb.products()
            grams[row] = products, multipliers
        else:
            x[row], y[row], z[row] = climb.values()
            ended[row] = climb.end
    return replace(duals, bound=bound, x=x, y=y, z=z, beta=beta, grams=grams, ended=ended)


def advance(climbs: list[Climb]) -> None:
    """A chunk of steps for each of the climbs, on all threads; those at the end of their paths begin the next round."""
    steps = min((climb.steps_in_chunk for climb in climbs), default=1)
    ascents = [climb.ascent for climb in climbs]
    _core.advance_grams(ascents, steps=steps, goal=2 * ABOVE_ROUNDING, threads=threads())
    for climb in climbs:
        climb.tighten()
