"""What a checker says of many real pairs of input and output at once."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from pydual.checker import And, Atom, Condition
from pydual.errors import InputError
from pydual.network import Network
from pydual.query import pose


@runtime_checkable
class Judging(Protocol):
    """A checker that judges pairs itself: a Python function, traced or not."""

    def judge(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which of the pairs (rows) are catastrophes: shape (pairs,), bool."""
        ...


def catastrophes(model: Network, checker: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs (points, outputs) at inputs (points, inputs), in float64, and which of the pairs are catastrophes."""
    if isinstance(checker, Judging):
        y = model.evaluate(x)
        return y, np.asarray(checker.judge(x, y), dtype=bool)
    return model.evaluate(x), scores(model, checker, x) <= 0


def scores(model: Network, checker: Any, x: np.ndarray) -> np.ndarray:
    """The margins (points,) in float64: at most 0 at a catastrophe. Raises InputError for a checker that has none."""
    query = pose(model, checker)
    if query.runs is not None:
        raise InputError("Checkers of two runs cannot be sampled; use a proof system such as 'bab'.")
    return margins(query.checker.catastrophe, x, query.network.evaluate(x))


def margins(condition: Condition, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The minimum over disjuncts of the maximum over their margins, for each row."""
    if not isinstance(condition, Atom):
        parts = [margins(part, x, y) for part in condition.parts]
        return np.max(parts, axis=0) if isinstance(condition, And) else np.min(parts, axis=0)
    margin = condition.margin
    total = np.full(len(x), float(margin.constant))
    for columns, terms in ((x, margin.x), (y, margin.y)):
        for i, c in terms.items():
            total += float(c) * columns[:, i]
    return total
