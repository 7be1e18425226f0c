"""Products of two linear facts (Sherali and Adams, 1990) for a Gram dual, and which its relaxed adversary violates most.

The first fact is z or u - z of a kept neuron, so that the inputs are still eliminated (cpp/kernels/gram.hpp); the second any
linear fact of a kept neuron or of the box. The core has 1 + sign t for the first, half (1 + sign t), and the second over
half of its greatest value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

OUTPUT, SLACK, CHORD, ROOM, ABOVE_LOWER, BELOW_UPPER = range(6)  # z, z - y, s (y - l) - z, u - z; of an input
KINDS = 6


@dataclass(frozen=True, eq=False)
class Products:
    """``first`` (products,): kept neurons, and ``sign`` 1 for z, -1 for u - z; ``kind`` of the second fact, and ``second``,
    the kept neuron or the moving input that it is about."""

    first: np.ndarray
    sign: np.ndarray
    kind: np.ndarray
    second: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __add__(self, other: Products) -> Products:
        return Products(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


NOTHING = Products(*(np.zeros(0, dtype=np.int32) for _ in range(4)))


@dataclass(frozen=True, eq=False)
class Facts:
    """The second facts of a cell, from the kept neurons' ``lower``, ``upper`` and the moving inputs' ``radius``."""

    lower: np.ndarray
    upper: np.ndarray
    radius: np.ndarray

    @property
    def slope(self) -> np.ndarray:
        return self.upper / (self.upper - self.lower)

    def half(self, kind: int) -> np.ndarray:
        """Half the greatest values of the facts of this kind."""
        if kind >= ABOVE_LOWER:
            return self.radius
        return (self.upper, -self.lower, -self.slope * self.lower, self.upper)[kind] / 2

    def factors(self, kind: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of the slack row, the kept neuron's t and the input's t, and the constants, of the facts over ``half``."""
        size, half = self.half(kind), self.upper / 2
        none, one = np.zeros(len(size)), np.ones(len(size))
        if kind == SLACK:
            return one / size, none, none, none
        if kind == CHORD:
            output = (self.slope - 1) * half
            return -self.slope / size, output / size, none, (output - self.slope * self.lower) / size
        sign = one if kind in (OUTPUT, ABOVE_LOWER) else -one
        return (none, sign, none, one) if kind < ABOVE_LOWER else (none, none, sign, one)

    def core_products(self, products: Products) -> tuple[np.ndarray, np.ndarray]:
        """``places`` and ``numbers`` for the core."""
        inputs = products.kind >= ABOVE_LOWER
        other, moving = np.where(inputs, 0, products.second), np.where(inputs, products.second, 0)
        places = np.stack([products.first, other, other, moving], axis=1).astype(np.int32)
        numbers = np.zeros((len(products), 5))
        numbers[:, 0] = products.sign
        for kind in range(KINDS):
            mine = products.kind == kind
            for column, factor in enumerate(self.factors(kind), start=1):
                numbers[mine, column] = factor[products.second[mine]]
        return places, numbers

    def most_violated(self, moments: dict[str, np.ndarray], weight: float, most: int, present: Products) -> Products:
        """At most ``most`` products whose pseudo-expectation is negative, the most negative first."""
        values, keys = [], []
        for sign, kind, expected in self._expectations(moments, weight):
            second, first = np.nonzero(expected < 0)
            values.append(expected[second, first])
            keys.append(Products(first, np.full(len(first), sign), np.full(len(first), kind), second))
        found = NOTHING
        for part in keys:
            found = found + part
        expected = np.concatenate(values)
        shape = (len(self.lower), 2, KINDS, max(len(self.lower), len(self.radius)))
        old = np.isin(_code(found, shape), _code(present, shape))
        order = np.argsort(np.where(old, np.inf, expected), kind="stable")[: min(most, int((~old).sum()))]
        return Products(*(part[order].astype(np.int32) for part in vars(found).values()))

    def _expectations(self, moments: dict[str, np.ndarray], weight: float) -> Iterator[tuple[int, int, np.ndarray]]:
        """The sign, the kind, and (second facts, kept neurons) pseudo-expectations; infinite where there is nothing new."""
        kept = len(self.lower)
        upper_triangle = np.tri(kept, dtype=bool).T  # where second <= first
        for kind in range(KINDS):
            row, output, moving, constant = self.factors(kind)
            if kind < ABOVE_LOWER:
                mean = row * moments["rows"][:kept] + output * moments["kept"] + constant
                together = row[:, None] * moments["rows_kept"][:kept] + output[:, None] * moments["kept_kept"]
            else:
                mean = moving * moments["inputs"] + constant
                together = moving[:, None] * moments["inputs_kept"]
            for sign in (1, -1):
                expected = np.outer(mean, 1 + sign * moments["kept"]) + sign * weight * together
                if (kind, sign) in ((OUTPUT, 1), (ROOM, -1)):  # symmetric
                    expected[~upper_triangle] = np.inf
                if (kind, sign) == (OUTPUT, -1):  # as ROOM, 1
                    continue
                if kind < ABOVE_LOWER and (kind, sign) != (CHORD, -1):
                    np.fill_diagonal(expected, np.inf)
                yield sign, kind, expected


def _code(products: Products, shape: tuple[int, ...]) -> np.ndarray:
    places = products.first, (1 - products.sign) // 2, products.kind, products.second
    return np.ravel_multi_index(tuple(part.astype(np.int64) for part in places), shape)
