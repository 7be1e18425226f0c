"""Intervals by cases: an end's bound is the least over the phases of neurons before it (PROOFS.md, section 5).

Deep networks whose neurons all look unstable have few that are: each end is a small problem of its own, and a few splits of
neurons below it, best first, with the multipliers of beta-CROWN (Wang et al. 2021, equation 8), decide most signs. The lines
are those of the end in all of its cases, so that a case costs its multipliers only. The core splits (cpp/kernels/cases.hpp),
with a look ahead as in branching.py; here is how its trees are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydual.certificate import MOST_CASE_SPLITS, Refinement
from pydual.relax.engine import _core

STEPS, RATE = 3, 0.4  # of the ascent of a case, in units of prices: phases count for more than multipliers
GAIN = 1e-3  # of an interval: less is not worth writing down


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees in preorder, one after the other, inactive before active: ``splits`` has what is split, or -1 for a case, and
    ``multipliers`` (float32) those of the splits above each case. ``starts`` and ``multiplier_starts`` (trees + 1,): where
    each begins."""

    splits: np.ndarray
    multipliers: np.ndarray
    starts: np.ndarray
    multiplier_starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, chosen: np.ndarray) -> Trees:
        """These trees, in this order."""
        splits = [self.splits[self.starts[t] : self.starts[t + 1]] for t in chosen.tolist()]
        multipliers = [self.multipliers[self.multiplier_starts[t] : self.multiplier_starts[t + 1]] for t in chosen.tolist()]
        counts = np.diff(self.starts)[chosen], np.diff(self.multiplier_starts)[chosen]
        return trees_of_counts(_joined(splits, np.int32), _joined(multipliers, np.float32), *counts)

    def with_splits(self, splits: np.ndarray) -> Trees:
        """The same with other names of what is split."""
        return Trees(splits, self.multipliers, self.starts, self.multiplier_starts)


def trees_of_counts(splits: np.ndarray, multipliers: np.ndarray, of_splits: np.ndarray, of_multipliers: np.ndarray) -> Trees:
    """Trees that have so many splits, cases included, and multipliers each."""
    starts = [np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]) for counts in (of_splits, of_multipliers)]
    return Trees(splits, multipliers, *starts)


def single_cases(count: int) -> Trees:
    """So many trees of one case."""
    none = np.zeros(0, np.float32)
    return trees_of_counts(np.full(count, -1, np.int32), none, np.ones(count, np.int32), np.zeros(count, np.int32))


def read(splits: np.ndarray, multipliers: np.ndarray, names: int) -> Trees:
    """The trees in columns; what is split is named by numbers below ``names``.

    Raises ValueError where the columns do not fit together.
    """
    multipliers = multipliers.astype(np.float32)
    return trees_of_counts(splits, multipliers, *_core.count_cases(splits, multipliers, names, deepest=MOST_CASE_SPLITS))


def cases_of(refinement: Refinement | None) -> int:
    """How many cases an end of these intervals has at most."""
    if refinement is None or not refinement.case_splits.size:
        return 1
    trees = read(refinement.case_splits, refinement.case_multipliers, refinement.lines.shape[1])
    return int((np.diff(trees.starts).max() + 1) // 2)  # a tree of n cases has n - 1 splits


def joined(trees: Sequence[Trees]) -> tuple[np.ndarray, np.ndarray]:
    """The splits and multipliers of all of them."""
    return _joined([t.splits for t in trees], np.int32), _joined([t.multipliers for t in trees], np.float32)


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
