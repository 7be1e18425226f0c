"""The points of a finite cell (PROOFS.md, section 3, enumeration leaves). Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from pydual.audit.exact_region import Region
from pydual.audit.query import Problem
from pydual.errors import CertificateError


def points_of(problem: Problem, region: Region) -> Iterable[list[float]]:
    """The listed points in the region's box, or all its points if every input is an integer or fixed."""
    if problem.points is not None:
        box = region.lower, region.upper
        return (x for x in problem.points if all(a <= v <= b for v, a, b in zip(x, *box, strict=True)))
    axes: list[Sequence[float]] = []
    for i, (low, high) in enumerate(zip(region.lower, region.upper, strict=True)):
        if i not in problem.integers and low < high:
            raise CertificateError(f"the cell of an enumeration leaf has infinitely many points, as input {i} varies.")
        axes.append(range(int(low), int(high) + 1) if i in problem.integers else [low])
    return (_combination(axes, number) for number in range(prod(map(len, axes))))


def _combination(axes: list[Sequence[float]], number: int) -> list[float]:
    """The values that the digits of a number choose, the last axis varying fastest."""
    values = []
    for axis in reversed(axes):
        number, digit = divmod(number, len(axis))
        values.append(axis[digit])
    return values[::-1]
