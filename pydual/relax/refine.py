"""Intervals from lines of their own: for each end of each open neuron the slopes below the neurons before it are optimized,
and it may be the least over cases (cases.py).

These are the intermediate bounds of alpha-CROWN (Xu et al. 2021, section 3.2). The audits derive them anew from the slopes,
rounded to multiples of 1/128 (PROOFS.md, section 5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sparse

from pydual.certificate import ADAPTIVE, ADAPTIVE_LINES, REFINED, Refinement
from pydual.relax import cases
from pydual.relax.engine import _core, threads
from pydual.relax.frame import Frame, Group, make_frame
from pydual.relax.program import AffineMap, Program, core_form

ROWS = 128  # ends that are bounded in one call
UNIT = 128  # slopes count 1 / UNIT
FREE = -1.0  # an alpha below zero asks for the adaptive slope


@dataclass(eq=False)
class _Draft:
    """The intervals so far, and the lines that they come from: rules, and rows of ``slopes`` for all units."""

    lower: np.ndarray
    upper: np.ndarray
    lines: np.ndarray
    slopes: list[np.ndarray] = field(default_factory=list)
    trees: list[cases.Leaves] = field(default_factory=list)
    tree_numbers: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.tree_numbers = np.full((2, len(self.lower)), -1, dtype=np.int32)


def refine(group: Group, steps: int, rate: float, in_time: Callable[[], bool], most_cases: int = 1) -> Frame:
    """The frame whose intervals come from optimized lines: ``steps`` of ascent for each end that leaves a sign open, and up
    to ``most_cases`` cases.

    Once ``in_time`` says no, the lines of the rest are adaptive. So are all lines where there are sigmoids, tanh or squares.
    """
    program = group.program
    if program.curves:
        return make_frame(group, ADAPTIVE)
    draft = _Draft(np.zeros(program.units), np.zeros(program.units), np.full((2, program.units), ADAPTIVE_LINES, np.int32))
    begin = 0
    for k, layer in enumerate(program.layers):
        units = slice(begin, begin + program.sizes[k])
        draft.lower[units], draft.upper[units] = _interval_arithmetic(group, layer, draft)
        if not _is_exact(group, layer):
            _refine_layer(group, k, units, draft, (steps, rate), in_time)
            if most_cases > 1:
                _split_layer(group, k, units, draft, most_cases, in_time)
        begin = units.stop
    possible = bool((draft.lower <= draft.upper).all())
    return Frame(group, REFINED, draft.lower, draft.upper, possible, _refinement(program, draft))


def ends_to_refine(frame: Frame) -> int:
    """How many ends ``refine`` would optimize lines for: both of each open neuron, not in layers that read the input alone."""
    program, ends, begin = frame.group.program, 0, 0
    if not frame.group.problems[0].network.piecewise_linear:
        return 0
    for layer, size in zip(program.layers, program.sizes, strict=True):
        units = slice(begin, begin + size)
        if set(layer.terms) != {0}:
            ends += 2 * int(((frame.lower[units] < 0) & (frame.upper[units] > 0)).sum())
        begin += size
    return ends


def rederive(group: Group, refinement: Refinement) -> Frame:
    """The frame that a refinement gives: what ``refine`` found, from its lines and cases.

    Raises ValueError if the cases do not fit the network.
    """
    program = group.program
    draft = _Draft(np.zeros(program.units), np.zeros(program.units), refinement.lines)
    begin = 0
    for k, layer in enumerate(program.layers):
        units = slice(begin, begin + program.sizes[k])
        draft.lower[units], draft.upper[units] = _interval_arithmetic(group, layer, draft)
        if not _is_exact(group, layer):
            _rederive_layer(group, k, units, draft, refinement)
        begin = units.stop
    return Frame(group, REFINED, draft.lower, draft.upper, bool((draft.lower <= draft.upper).all()), refinement)


def _is_exact(group: Group, layer: AffineMap) -> bool:
    """Whether interval arithmetic is already best."""
    return set(layer.terms) == {0} and group.region.ball is None


def _rederive_layer(group: Group, k: int, units: slice, draft: _Draft, refinement: Refinement) -> None:
    lower, upper = draft.lower[units], draft.upper[units]
    neurons = np.flatnonzero((lower < 0) & (upper > 0))
    below = _Below(group, k, draft)
    one = UNIT if refinement.slopes.dtype == np.uint8 else 1
    slopes = np.full((len(refinement.slopes) + 1, group.program.units), FREE)  # the last row is that of the rule
    slopes[:-1, group.program.neuron_units[refinement.neurons]] = refinement.slopes / one
    for lines, sign, ends in zip(refinement.lines, (1.0, -1.0), (lower, upper), strict=True):
        rows = np.maximum(lines[group.program.neuron_numbers[units.start + neurons]], -1)
        for part in _chunks(np.arange(len(neurons))):
            alpha = slopes[rows[part], : units.start]
            found = below.bound(neurons[part], sign, np.ascontiguousarray(alpha))
            ends[neurons[part]] = sign * np.maximum(sign * ends[neurons[part]], found)
    if refinement.case_trees.size:
        _rederive_cases(group, units, draft, refinement, below, slopes)


def _rederive_cases(
    group: Group, units: slice, draft: _Draft, refinement: Refinement, below: _Below, slopes: np.ndarray
) -> None:
    """The ends of a layer that are the least over cases."""
    program = group.program
    trees = cases.read(refinement.case_splits, refinement.case_multipliers, lambda j: int(program.neuron_units[j]))
    for side, sign, ends in ((0, 1.0, draft.lower), (1, -1.0, draft.upper)):
        neurons = program.neuron_numbers[units]
        numbers = np.where(neurons >= 0, refinement.case_trees[side, neurons], -1)
        chosen = np.flatnonzero(numbers >= 0)
        rows = np.maximum(refinement.lines[side, neurons[chosen]], -1)
        split = [cases.End(c, sign, slopes[row, : units.start]) for c, row in zip(chosen.tolist(), rows.tolist(), strict=True)]
        leaves = [trees[number] for number in numbers[chosen]]
        if any(unit >= units.start for tree in leaves for path, _ in tree for unit, _ in path):
            raise ValueError("a case splits a neuron that does not come before its end")
        found = cases.bounds_of(below, split, leaves)
        at = units.start + chosen
        ends[at] = sign * np.maximum(sign * ends[at], found)


def _chunks(chosen: np.ndarray) -> list[np.ndarray]:
    return np.array_split(chosen, -(-len(chosen) // ROWS)) if len(chosen) else []


def _interval_arithmetic(group: Group, layer: AffineMap, draft: _Draft) -> tuple[np.ndarray, np.ndarray]:
    low, high = layer.bias.copy(), layer.bias.copy()
    begins = np.cumsum([0, *group.program.sizes])
    for source, matrix in layer.terms.items():
        if source == 0:
            a, b = group.region.lower, group.region.upper
        else:
            part = slice(begins[source - 1], begins[source])
            a, b = np.maximum(draft.lower[part], 0.0), np.maximum(draft.upper[part], 0.0)
        if matrix is not None:
            center, radius = matrix @ (0.5 * (a + b)), abs(matrix) @ (0.5 * (b - a))
            a, b = center - radius, center + radius
        low, high = low + a, high + b
    return low, high


def _refine_layer(
    group: Group, k: int, units: slice, draft: _Draft, ascent: tuple[int, float], in_time: Callable[[], bool]
) -> None:
    """Both ends of the neurons of a layer that interval arithmetic leaves open: by adaptive lines, then by better ones."""
    lower, upper = draft.lower[units], draft.upper[units]
    neurons = np.flatnonzero((lower < 0) & (upper > 0))
    below = _Below(group, k, draft)
    for sign, ends in ((1.0, lower), (-1.0, upper)):
        for chosen in _chunks(neurons):
            bound = below.bound(chosen, sign, None)
            ends[chosen] = sign * np.maximum(sign * ends[chosen], bound)
    if below.is_first:
        return
    open_ = neurons[(lower[neurons] < 0) & (upper[neurons] > 0)]
    found = []
    for side, sign, ends in ((0, 1.0, lower), (1, -1.0, upper)):
        for chosen in _chunks(open_):
            if not in_time():
                return
            slopes, bound = below.optimized(chosen, sign, *ascent)
            found.append((side, sign, ends, chosen, slopes, bound))
    width = upper - lower
    for side, sign, ends, chosen, slopes, bound in found:
        better = bound > sign * ends[chosen] + 1e-3 * width[chosen]
        draft.lines[side, units.start + chosen[better]] = len(draft.slopes) + np.arange(better.sum())
        draft.slopes.extend(slopes[better])
        ends[chosen[better]] = sign * bound[better]


def _split_layer(group: Group, k: int, units: slice, draft: _Draft, most: int, in_time: Callable[[], bool]) -> None:
    """The ends of the neurons of a layer that are still open, by cases."""
    lower, upper = draft.lower[units], draft.upper[units]
    below = _Below(group, k, draft)
    open_ = np.flatnonzero((lower < 0) & (upper > 0))
    if below.is_first or not open_.size:
        return
    ends = []
    for side, sign in ((0, 1.0), (1, -1.0)):
        for component in open_.tolist():
            line = draft.lines[side, units.start + component]
            alpha = draft.slopes[line][: units.start] / UNIT if line >= 0 else np.full(units.start, FREE)
            ends.append(cases.End(component, sign, alpha))
    cases.split_ends(below, ends, most, in_time)
    split = [end for end in ends if len(end.cases) > 1]
    leaves = [cases.leaves_of(end) for end in split]
    for end, tree, bound in zip(split, leaves, cases.bounds_of(below, split, leaves), strict=True):
        side, of_layer = (0, lower) if end.sign > 0 else (1, upper)
        if bound > end.sign * of_layer[end.component] + cases.GAIN * (upper - lower)[end.component]:
            draft.tree_numbers[side, units.start + end.component] = len(draft.trees)
            draft.trees.append(tree)
            of_layer[end.component] = end.sign * bound


class _Below:
    """The layers below layer ``k``, and bounds of its components by their lines."""

    def __init__(self, group: Group, k: int, draft: _Draft) -> None:
        program = group.program
        self._group, self._layer, self._sizes = group, program.layers[k], (group.region.size, *program.sizes[:k])
        self._count = sum(program.sizes[:k])
        self._core = program.core_below(k)
        self.lower, self.upper = draft.lower[: self._count], draft.upper[: self._count]
        self._total = program.units
        self.is_first = set(self._layer.terms) == {0}  # then there are no lines to optimize

    def bound(self, chosen: np.ndarray, sign: float, alpha: np.ndarray | None) -> np.ndarray:
        """Lower bounds of ``sign`` times the components; the lines are adaptive without ``alpha``."""
        free = np.full((len(chosen), self._count), FREE)
        phase, beta = np.zeros(free.shape, dtype=np.int8), np.zeros(free.shape)
        return self.bound_cases(chosen, sign, phase, free if alpha is None else alpha, beta)

    def bound_cases(
        self, chosen: np.ndarray, sign: float | np.ndarray, phase: np.ndarray, alpha: np.ndarray, beta: np.ndarray
    ) -> np.ndarray:
        """The same where neurons have phases, with multipliers of these: as audits bound, at the best stage."""
        form, region = self._form(chosen, sign), self._group.core_region
        return self._core.bound_rows(form, region, self.lower, self.upper, phase, alpha, beta, threads=threads())

    def optimized(self, chosen: np.ndarray, sign: float, steps: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
        """Slopes as integers, of all units of the network, and the bounds that they prove."""
        free = np.full((len(chosen), self._count), FREE)
        phase, beta = np.zeros(free.shape, dtype=np.int8), np.zeros(free.shape)
        alpha = self._ascended(chosen, sign, phase, free, beta, steps, (rate, rate))["alpha"]
        slopes = np.rint(np.clip(alpha, 0.0, 1.0) * UNIT)
        bound = self.bound(chosen, sign, slopes / UNIT)
        wide = np.zeros((len(chosen), self._total), dtype=np.uint8)
        wide[:, : self._count] = slopes
        return wide, bound

    def ascend(
        self, chosen: np.ndarray, sign: np.ndarray, phase: np.ndarray, alpha: np.ndarray, beta: np.ndarray, steps: int
    ) -> dict[str, np.ndarray]:
        """``steps`` of ascent in ``beta``, and what the core tells of where it ends; ``alpha`` stays."""
        return self._ascended(chosen, sign, phase, alpha, beta, steps, (0.0, cases.RATE))

    def _ascended(
        self, chosen: np.ndarray, sign: float | np.ndarray, phase: np.ndarray, alpha: np.ndarray, beta: np.ndarray, steps: int,
        rates: tuple[float, float],
    ) -> dict[str, np.ndarray]:  # fmt: skip
        count = len(chosen)
        return self._core.ascend(
            self._form(chosen, sign), self._group.core_region, self.lower, self.upper, phase,
            np.eye(count, dtype=np.int8), alpha, beta, np.eye(count), steps=steps, alpha_rate=rates[0],
            beta_rate=rates[1], weight_rate=0.0, decay=0.98, target=0.0, threads=threads(),
        )  # fmt: skip

    def _form(self, chosen: np.ndarray, sign: float | np.ndarray) -> _core.Form:
        """``sign`` times the chosen components of the layer."""
        terms = {s: _rows(m, chosen, sign, self._sizes[s]) for s, m in self._layer.terms.items()}
        return core_form(AffineMap(terms, sign * self._layer.bias[chosen]), self._sizes)


def _rows(matrix: object, chosen: np.ndarray, sign: float | np.ndarray, size: int) -> object:
    rows = sparse.csr_array(sparse.eye_array(size))[chosen] if matrix is None else matrix[chosen]  # type: ignore[index]
    return sparse.diags_array(np.broadcast_to(sign, len(chosen))) @ rows


def _refinement(program: Program, draft: _Draft) -> Refinement:
    units = program.neuron_units
    unstable = np.flatnonzero(((draft.lower < 0) & (draft.upper > 0))[units])
    slopes = np.array(draft.slopes, dtype=np.uint8).reshape(len(draft.slopes), program.units)
    splits, multipliers = cases.written(draft.trees, lambda unit: int(program.neuron_numbers[unit]))
    trees = draft.tree_numbers[:, units] if draft.trees else np.zeros((2, 0), np.int32)
    named = unstable.astype(np.int32)
    return Refinement(draft.lines[:, units], slopes[:, units[unstable]], named, trees, splits, multipliers)
