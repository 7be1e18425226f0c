"""Intervals from lines of their own: for each end of each open neuron the slopes below the neurons before it are optimized,
and it may be the least over cases (cases.py).

These are the intermediate bounds of alpha-CROWN (Xu et al. 2021, section 3.2). The audits derive them anew from the slopes,
rounded to multiples of 1/128 (PROOFS.md, section 5).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sparse

from pydual.certificate import ADAPTIVE, ADAPTIVE_LINES, MOST_CASE_SPLITS, REFINED, Refinement
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
    trees: list[cases.Trees] = field(default_factory=list)
    tree_numbers: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.tree_numbers = np.full((2, len(self.lower)), -1, dtype=np.int32)


def refine(group: Group, steps: int, rate: float, deadline: float = np.inf, most_cases: int = 1) -> Frame:
    """The frame whose intervals come from optimized lines: ``steps`` of ascent for each end that leaves a sign open, and up
    to ``most_cases`` cases.

    After the ``deadline`` (time.monotonic), the lines of the rest are adaptive. So are all lines where there are sigmoids,
    tanh or squares.
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
            _refine_layer(group, k, units, draft, (steps, rate), deadline)
            if most_cases > 1:
                _split_layer(group, k, units, draft, most_cases, deadline)
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
    trees = cases.read(refinement.case_splits, refinement.case_multipliers, program.neurons)
    trees = trees.with_splits(np.where(trees.splits >= 0, program.neuron_units[np.maximum(trees.splits, 0)], -1))
    neurons = program.neuron_numbers[units]
    for side, sign, ends in ((0, 1.0, draft.lower), (1, -1.0, draft.upper)):
        numbers = np.where(neurons >= 0, refinement.case_trees[side, neurons], -1)
        chosen = np.flatnonzero(numbers >= 0)
        rows = np.maximum(refinement.lines[side, neurons[chosen]], -1)
        found = below.bound_by(chosen, sign, slopes[rows, : units.start], trees.take(numbers[chosen]))
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


def _refine_layer(group: Group, k: int, units: slice, draft: _Draft, ascent: tuple[int, float], deadline: float) -> None:
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
            if time.monotonic() > deadline:
                return
            slopes, bound = below.optimized(chosen, sign, *ascent)
            found.append((side, sign, ends, chosen, slopes, bound))
    width = upper - lower
    for side, sign, ends, chosen, slopes, bound in found:
        better = bound > sign * ends[chosen] + 1e-3 * width[chosen]
        draft.lines[side, units.start + chosen[better]] = len(draft.slopes) + np.arange(better.sum())
        draft.slopes.extend(slopes[better])
        ends[chosen[better]] = sign * bound[better]


def _split_layer(group: Group, k: int, units: slice, draft: _Draft, most: int, deadline: float) -> None:
    """The ends of the neurons of a layer that are still open, by cases."""
    lower, upper = draft.lower[units], draft.upper[units]
    below = _Below(group, k, draft)
    open_ = np.flatnonzero((lower < 0) & (upper > 0))
    if below.is_first or not open_.size:
        return
    component, side = np.repeat(open_, 2), np.tile([0, 1], len(open_))
    sign = np.where(side == 0, 1.0, -1.0)
    slopes = np.array([np.full(len(draft.lines[0]), FREE), *(row / UNIT for row in draft.slopes)])
    alpha = slopes[np.maximum(draft.lines[side, units.start + component], -1) + 1, : units.start]
    bound, trees = below.split(component, sign, alpha, most, deadline)
    ends = np.where(side == 0, lower[component], -upper[component])
    better = (np.diff(trees.starts) > 1) & (bound > ends + cases.GAIN * (upper - lower)[component])
    draft.tree_numbers[side[better], units.start + component[better]] = sum(map(len, draft.trees)) + np.arange(better.sum())
    draft.trees.append(trees.take(np.flatnonzero(better)))
    lower[component[better & (side == 0)]] = bound[better & (side == 0)]
    upper[component[better & (side == 1)]] = -bound[better & (side == 1)]


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
        return self.bound_by(chosen, sign, free if alpha is None else alpha, cases.single_cases(len(chosen)))

    def bound_by(self, chosen: np.ndarray, sign: float, alpha: np.ndarray, trees: cases.Trees) -> np.ndarray:
        """The same by a tree of cases each: as audits bound, at the best stage."""
        return self._core.bound_ends(
            self._form(chosen, sign), self._group.core_region, self.lower, self.upper, alpha, trees.splits, trees.multipliers,
            deepest=MOST_CASE_SPLITS, threads=threads(),
        )  # fmt: skip

    def split(
        self, chosen: np.ndarray, sign: np.ndarray, alpha: np.ndarray, most: int, deadline: float
    ) -> tuple[np.ndarray, cases.Trees]:
        """Bounds by up to ``most`` cases each, and these; both ends of each component, one after the other."""
        found = self._core.split_ends(
            self._form(chosen, sign), self._group.core_region, self.lower, self.upper, alpha,
            most=most, deepest=MOST_CASE_SPLITS, steps=cases.STEPS, rate=cases.RATE, seconds=deadline - time.monotonic(),
            threads=threads(),
        )  # fmt: skip
        columns = (found[key] for key in ("splits", "multipliers", "split_counts", "multiplier_counts"))
        return found["bound"], cases.trees_of_counts(*columns)

    def optimized(self, chosen: np.ndarray, sign: float, steps: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
        """Slopes as integers, of all units of the network, and the bounds that they prove."""
        count = len(chosen)
        free = np.full((count, self._count), FREE)
        found = self._core.ascend(
            self._form(chosen, sign), self._group.core_region, self.lower, self.upper, np.zeros(free.shape, dtype=np.int8),
            np.eye(count, dtype=np.int8), free, np.zeros(free.shape), np.eye(count), steps=steps, alpha_rate=rate,
            beta_rate=0.0, weight_rate=0.0, decay=0.98, target=0.0, threads=threads(),
        )  # fmt: skip
        slopes = np.rint(np.clip(found["alpha"], 0.0, 1.0) * UNIT)
        bound = self.bound(chosen, sign, slopes / UNIT)
        wide = np.zeros((len(chosen), self._total), dtype=np.uint8)
        wide[:, : self._count] = slopes
        return wide, bound

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
    splits, multipliers = cases.joined(draft.trees)
    splits = np.where(splits >= 0, program.neuron_numbers[np.maximum(splits, 0)], -1).astype(np.int32)
    trees = draft.tree_numbers[:, units] if any(map(len, draft.trees)) else np.zeros((2, 0), np.int32)
    named = unstable.astype(np.int32)
    return Refinement(draft.lines[:, units], slopes[:, units[unstable]], named, trees, splits, multipliers)
