"""The box around a condition: bounds of inputs that hold wherever the condition does."""

from __future__ import annotations

from collections.abc import Iterable

from pydual.checker import Atom, Condition, Or
from pydual.region import Rational

Box = tuple[dict[int, Rational], dict[int, Rational]]  # lower and upper bounds, of some inputs


def is_bound(condition: Condition) -> bool:
    """Whether a condition is a closed bound of one input: a region of boxes says that exactly."""
    if not isinstance(condition, Atom) or condition.strict:
        return False
    return len(condition.margin.x) == 1 and not condition.margin.y


def hull(condition: Condition) -> Box | None:
    """Bounds of inputs wherever the condition holds; None if its bounds let it hold nowhere."""
    if isinstance(condition, Atom):
        margin = condition.margin
        if margin.y or len(margin.x) != 1:
            return {}, {}
        ((i, a),) = margin.x.items()
        bound: dict[int, Rational] = {i: -margin.constant / a}
        return ({}, bound) if a > 0 else (bound, {})
    boxes = [hull(part) for part in condition.parts]
    found = [box for box in boxes if box is not None]
    if isinstance(condition, Or):
        return _union(found) if found else None
    if len(found) < len(boxes):
        return None
    lower, upper = intersection(found)
    return None if any(lower[i] > upper[i] for i in lower.keys() & upper.keys()) else (lower, upper)


def intersection(boxes: Iterable[Box]) -> Box:
    lower: dict[int, Rational] = {}
    upper: dict[int, Rational] = {}
    for low, high in boxes:
        for i, value in low.items():
            lower[i] = max(value, lower.get(i, value))
        for i, value in high.items():
            upper[i] = min(value, upper.get(i, value))
    return lower, upper


def _union(boxes: list[Box]) -> Box:
    lowers, uppers = zip(*boxes, strict=True)
    return (
        {i: min(box[i] for box in lowers) for i in set(lowers[0]).intersection(*lowers)},
        {i: max(box[i] for box in uppers) for i in set(uppers[0]).intersection(*uppers)},
    )
