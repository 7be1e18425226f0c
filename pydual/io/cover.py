"""Cells in any order, as a tree of case distinctions.

Proof formats that list the cells of a partition do not say how it came about. Any decision tree whose cells these are can
be found greedily: what its root tests is mentioned by every cell, and a test that every cell mentions leaves each cell
whole, on one side. Where no such test is left, the cells are no tree; the test that cuts fewest of them is taken, and
those it cuts belong to both sides. Where no cell is left, the partition has a gap, which becomes a leaf of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pydual.certificate import INPUT_SPLIT, LEAF, NEURON_SPLIT
from pydual.errors import InputError
from pydual.proof_systems.case_tree import MAX_NODES, CaseTree

SNAP = 2.0**-22  # thresholds closer than this share of an input's range are the same number, printed with few digits
MAX_WORK = 2**31  # entries looked at


@dataclass(frozen=True)
class Case:
    """One cell: ``phases`` of neurons (True: active), and bounds of inputs; what is not mentioned is free."""

    name: str
    phases: Mapping[int, bool]
    lower: Mapping[int, float]
    upper: Mapping[int, float]


def cover(cases: Sequence[Case], source: str, box: Mapping[int, tuple[float, float]] | None = None) -> CaseTree:
    """The tree of the cells, with a leaf "the missing case" wherever they leave a gap.

    ``box`` is the region that they are meant to cover; without it, a cell that reaches furthest in a direction is taken to
    have no end there. Raises InputError if the tree becomes too large, which only cells of no tree can make it.
    """
    return _Builder(cases, source, box or {}).build()


@dataclass
class _Builder:
    cases: Sequence[Case]
    source: str
    box: Mapping[int, tuple[float, float]]
    kind: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    work: int = 0

    def __post_init__(self) -> None:
        self.neurons = sorted({neuron for case in self.cases for neuron in case.phases})
        self.inputs = sorted({i for case in self.cases for i in (*case.lower, *case.upper)})
        if len(self.cases) * max(len(self.neurons), 16 * len(self.inputs)) > MAX_WORK // 8:
            raise InputError(f"{self.source}: there are too many cases with too many splits; split the property.")
        neuron_at = {neuron: at for at, neuron in enumerate(self.neurons)}
        input_at = {i: at for at, i in enumerate(self.inputs)}
        self.phase = np.zeros((len(self.cases), len(self.neurons)), dtype=np.int8)
        self.low = np.full((len(self.cases), len(self.inputs)), -np.inf)
        self.high = np.full((len(self.cases), len(self.inputs)), np.inf)
        for row, case in enumerate(self.cases):
            self.phase[row, [neuron_at[n] for n in case.phases]] = [1 if active else -1 for active in case.phases.values()]
            self.low[row, [input_at[i] for i in case.lower]] = list(case.lower.values())
            self.high[row, [input_at[i] for i in case.upper]] = list(case.upper.values())
        for at, i in enumerate(self.inputs):
            self.low[:, at], self.high[:, at] = _snapped(self.low[:, at], self.high[:, at], self.box.get(i))

    def build(self) -> CaseTree:
        everywhere = np.full(len(self.inputs), np.inf)
        pending = [(np.arange(len(self.cases)), np.arange(len(self.neurons)), -everywhere, everywhere)]
        while pending:
            rows, free, low, high = pending.pop()
            self.work += (len(rows) + 16) * (len(free) + 16 * len(low))
            if self.work > MAX_WORK or len(self.kind) + len(pending) >= min(4 * len(self.cases) + 1000, MAX_NODES):
                raise InputError(f"{self.source}: the cases overlap so much that they are no tree; check the proof.")
            pending += reversed(self._node(rows, free, low, high))
        return CaseTree(tuple(self.kind), tuple(self.index), tuple(self.threshold), tuple(self.names), self.source)

    def _node(self, rows: np.ndarray, free: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[tuple]:
        """Write the node of these cells, and say what its children are: inactive or below first."""
        phase = self.phase[np.ix_(rows, free)]
        whole = ~phase.any(axis=1) & (self.low[rows] <= low).all(axis=1) & (self.high[rows] >= high).all(axis=1)
        if whole.any():
            return self._write(LEAF, name=self.cases[int(rows[whole.argmax()])].name)
        neuron, neuron_score = _best_neuron(phase)
        at, t, input_score = _best_cut(self.low[rows], self.high[rows], low, high)
        if max(neuron_score, input_score) == NOTHING:
            return self._write(LEAF, name="the missing case")
        if neuron_score >= input_score:
            rest = np.delete(free, neuron)
            self._write(NEURON_SPLIT, self.neurons[int(free[neuron])])
            return [(rows[phase[:, neuron] <= 0], rest, low, high), (rows[phase[:, neuron] >= 0], rest, low, high)]
        self._write(INPUT_SPLIT, self.inputs[at], t)
        middle_high, middle_low = high.copy(), low.copy()
        middle_high[at] = middle_low[at] = t
        below, above = self.low[rows, at] < t, self.high[rows, at] > t
        return [(rows[below], free, low, middle_high), (rows[above], free, middle_low, high)]

    def _write(self, kind: int, index: int = 0, threshold: float = 0.0, name: str = "") -> list[tuple]:
        self.kind.append(kind)
        self.index.append(index)
        self.threshold.append(threshold)
        self.names += [name] if kind == LEAF else []
        return []


# of a test, the larger the better: minus the cells that it cuts, then whether no cell is on one side (it shows the whole of a
# gap), then the cells on the smaller side
Score = tuple[float, float]
NOTHING: Score = (-np.inf, -np.inf)


def _best_neuron(phase: np.ndarray) -> tuple[int, Score]:
    if not phase.any():
        return -1, NOTHING
    active, inactive = (phase > 0).sum(axis=0), (phase < 0).sum(axis=0)
    return _best(len(phase) - active - inactive, np.minimum(active, inactive))


def _best_cut(low: np.ndarray, high: np.ndarray, cell_low: np.ndarray, cell_high: np.ndarray) -> tuple[int, float, Score]:
    """The input (by its place), the threshold, and their score."""
    best = (-1, 0.0, NOTHING)
    for at in range(low.shape[1]):
        values = np.unique(np.concatenate([low[:, at], high[:, at]]))
        values = values[(values > cell_low[at]) & (values < cell_high[at])]
        if len(values) == 0:
            continue
        begun = np.searchsorted(np.sort(low[:, at]), values, side="left")  # cells with low < t
        ended = np.searchsorted(np.sort(high[:, at]), values, side="right")  # cells with high <= t
        chosen, score = _best(begun - ended, np.minimum(ended, len(low) - begun))
        if score > best[2]:
            best = (at, float(values[chosen]), score)
    return best


def _best(cut: np.ndarray, smaller: np.ndarray) -> tuple[int, Score]:
    smaller = np.where((cut == 0) & (smaller == 0), np.inf, smaller)
    chosen = int(np.lexsort((smaller, -cut))[-1])
    return chosen, (-float(cut[chosen]), float(smaller[chosen]))


def _snapped(low: np.ndarray, high: np.ndarray, ends: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of one input with nearly equal numbers made equal, and without those that are the ends of the region."""
    values = np.unique(np.concatenate([low[np.isfinite(low)], high[np.isfinite(high)], ends or ()]))
    apart = np.diff(values, prepend=-np.inf) > SNAP * (values[-1] - values[0])
    first = values[apart][np.cumsum(apart) - 1]
    with np.errstate(invalid="ignore"):
        low = np.where(np.isfinite(low), first[np.searchsorted(values, low).clip(max=len(values) - 1)], low)
        high = np.where(np.isfinite(high), first[np.searchsorted(values, high).clip(max=len(values) - 1)], high)
    lowest, highest = (low.min(), high.max()) if ends is None else first[np.searchsorted(values, ends)]
    return np.where(low <= lowest, -np.inf, low), np.where(high >= highest, np.inf, high)
