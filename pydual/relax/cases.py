"""Intervals by cases: an end's bound is the least over the phases of neurons before it (PROOFS.md, section 5).

Deep networks whose neurons all look unstable have few that are: each end is a small problem of its own, and a few splits of
neurons below it, best first, with the multipliers of beta-CROWN (Wang et al. 2021, equation 8), decide most signs. The lines
are those of the end in all of its cases, so that a case costs its multipliers only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pydual.certificate import MOST_CASE_SPLITS

STEPS, RATE = 6, 0.2  # of the ascent of a case
BATCH = 512  # cases that are bounded in one call
GAIN = 1e-3  # of an interval: less is not worth writing down
TIE = 0.1  # what a neuron's intercept counts beside the gap of its relaxation

Path = tuple[tuple[int, int], ...]  # units with their phases, -1 or 1, from the root down
Leaves = list[tuple[Path, np.ndarray]]  # of a tree in preorder, each with its multipliers


class Below(Protocol):
    """The layers below some layer: their intervals, and bounds of its components in cells given by phases."""

    lower: np.ndarray
    upper: np.ndarray

    def ascend(
        self, chosen: np.ndarray, sign: np.ndarray, phase: np.ndarray, alpha: np.ndarray, beta: np.ndarray, steps: int
    ) -> dict[str, np.ndarray]: ...

    def bound_cases(
        self, chosen: np.ndarray, sign: np.ndarray, phase: np.ndarray, alpha: np.ndarray, beta: np.ndarray
    ) -> np.ndarray: ...


@dataclass(eq=False)
class End:
    """One end of a component: the bound is that of ``sign`` times it. ``alpha`` are the slopes of all units below."""

    component: int
    sign: float
    alpha: np.ndarray
    cases: list[Case] = field(default_factory=list)

    @property
    def bound(self) -> float:
        return min(case.bound for case in self.cases)

    @property
    def worst(self) -> int:
        return min(range(len(self.cases)), key=lambda c: self.cases[c].bound)


@dataclass(frozen=True, eq=False)
class Case:
    """The case of a path, in the order of its phases; ``split`` is the unit to split next, -1 for none."""

    path: Path
    multipliers: np.ndarray
    bound: float
    split: int = -1


def split_ends(below: Below, ends: Sequence[End], most: int, in_time: Callable[[], bool]) -> None:
    """Split each end's worst case until its sign, or that of the other end, is decided, or it has ``most`` cases."""
    _settle(below, [(end, ()) for end in ends], [np.zeros(0)] * len(ends))
    others = {(end.component, end.sign): end for end in ends}
    for _ in range(most - 1):
        chosen = []
        for end in ends:
            other = others.get((end.component, -end.sign))
            decided = end.bound > 0 or (other is not None and other.bound > 0)
            if not decided and end.cases[end.worst].split >= 0:
                chosen.append(end)
        if not chosen or not in_time():
            return
        places, starts = [], []
        for end in chosen:
            case = end.cases.pop(end.worst)
            places += [(end, (*case.path, (case.split, phase))) for phase in (-1, 1)]
            starts += [np.append(case.multipliers, 0.0)] * 2
        _settle(below, places, starts)


def bounds_of(below: Below, ends: Sequence[End], leaves: Sequence[Leaves]) -> list[float]:
    """What the cases prove of each end, with these multipliers, as audits bound them."""
    places = [(end, path) for end, tree in zip(ends, leaves, strict=True) for path, _ in tree]
    starts = [multipliers for tree in leaves for _, multipliers in tree]
    parts = (slice(begin, begin + BATCH) for begin in range(0, len(places), BATCH))
    bounds = [bound for part in parts for bound in below.bound_cases(*_rows(below, places[part], starts[part])).tolist()]
    ends_at = np.cumsum([len(tree) for tree in leaves], dtype=int)
    return [float(min(part)) for part in np.split(np.array(bounds), ends_at[:-1])] if leaves else []


def leaves_of(end: End) -> Leaves:
    """The cases in preorder, inactive before active, with multipliers in single precision."""
    ordered = sorted(end.cases, key=lambda case: [phase for _, phase in case.path])
    return [(case.path, case.multipliers.astype(np.float32)) for case in ordered]


def _settle(below: Below, places: Sequence[tuple[End, Path]], starts: Sequence[np.ndarray]) -> None:
    """Bound the cases at these places from these multipliers on, and add them to their ends."""
    for begin in range(0, len(places), BATCH):
        part = slice(begin, begin + BATCH)
        _settle_part(below, places[part], starts[part])


def _settle_part(below: Below, places: Sequence[tuple[End, Path]], starts: Sequence[np.ndarray]) -> None:
    chosen, sign, phase, alpha, beta = _rows(below, places, starts)
    found = below.ascend(chosen, sign, phase, alpha, beta, STEPS)
    splits = _best_splits(below, phase, found)
    for row, (end, path) in enumerate(places):
        multipliers = found["beta"][row, [unit for unit, _ in path]]
        split = int(splits[row]) if len(path) < MOST_CASE_SPLITS else -1
        end.cases.append(Case(path, multipliers, float(found["bound"][row]), split))


def _rows(below: Below, places: Sequence[tuple[End, Path]], starts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """For each place the component and the sign of its end, phases, slopes and multipliers."""
    shape = len(places), len(below.lower)
    phase, beta = np.zeros(shape, dtype=np.int8), np.zeros(shape)
    for row, ((_, path), start) in enumerate(zip(places, starts, strict=True)):
        units = [unit for unit, _ in path]
        phase[row, units] = [active for _, active in path]
        beta[row, units] = start
    chosen, sign = (np.array(column) for column in zip(*((end.component, end.sign) for end, _ in places), strict=True))
    return chosen, sign, phase, np.array([end.alpha for end, _ in places]), beta


def _best_splits(below: Below, phase: np.ndarray, found: dict[str, np.ndarray]) -> np.ndarray:
    """The unit of each row whose relaxation costs most, -1 where all are decided."""
    open_ = (below.lower < 0) & (below.upper > 0)
    intercept = np.where(open_, -below.lower * below.upper / np.where(open_, below.upper - below.lower, 1.0), 0.0)
    gap = np.abs(found["z"] - np.maximum(found["y"], 0.0))
    score = np.where(open_ & (phase == 0), np.abs(found["price"]) * (gap + TIE * intercept), 0.0)
    return np.where(score.max(axis=1, initial=0.0) > 0, score.argmax(axis=1) if score.shape[1] else -1, -1)


def written(trees: Iterable[Leaves], number: Callable[[int], int]) -> tuple[np.ndarray, np.ndarray]:
    """Trees as columns: splits by the neuron's ``number`` or -1 for a case, and the multipliers."""
    splits: list[int] = []
    multipliers: list[np.ndarray] = [np.zeros(0, np.float32)]
    for tree in trees:
        before: Path = ()
        for path, betas in tree:
            shared = next((d for d, (old, new) in enumerate(zip(before, path, strict=False)) if old != new), -1)
            splits += [number(unit) for unit, _ in path[shared + 1 :]] + [-1]
            multipliers.append(betas)
            before = path
    return np.array(splits, dtype=np.int32), np.concatenate(multipliers)


def read(splits: np.ndarray, multipliers: np.ndarray, unit: Callable[[int], int]) -> list[Leaves]:
    """The trees that columns hold. Raises ValueError where they do not fit together."""
    trees: list[Leaves] = []
    pending: list[Path] = []
    used = 0
    for neuron in splits.tolist():
        if not pending:
            trees.append([])
            pending.append(())
        path = pending.pop()
        if neuron < 0:
            trees[-1].append((path, multipliers[used : used + len(path)]))
            used += len(path)
            continue
        if len(path) == MOST_CASE_SPLITS:
            raise ValueError("a case has too many splits above it")
        pending += [(*path, (unit(neuron), 1)), (*path, (unit(neuron), -1))]
    if pending or used != len(multipliers):
        raise ValueError("the columns of cases do not fit together")
    return trees
