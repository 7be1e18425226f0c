"""What polynomials are about: a cell's inputs and unstable neurons as variables, and the facts that hold for them.

Variables are scaled: ``x = lower + scale s`` and ``z = scale s``; squares of affine functions are written out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np

from pydual.region import Region
from pydual.relax.polynomials import ONE, Polynomial, plus, times
from pydual.relax.reduced import Reduced, Rows

STEEP = 0.1  # a neuron is scaled by at least this share of the depth of its interval


@dataclass(frozen=True, eq=False)
class Weight:
    """A product of two facts of PROOFS.md as a polynomial, which is >= 0 in the cell."""

    facts: tuple[int, int]
    polynomial: Polynomial

    @property
    def degree(self) -> int:
        return max(map(len, self.polynomial))

    @property
    def support(self) -> set[int]:
        return {v for m in self.polynomial for v in m}


@dataclass(frozen=True, eq=False)
class SosCell:
    """What polynomials are about: a cell, its inputs of positive width, then its kept neurons. ``numbers`` (kept,) are the
    numbers of these in PROOFS.md, -1 for squares; ``all_neurons`` is how many neurons the network has."""

    reduced: Reduced
    region: Region
    numbers: np.ndarray
    all_neurons: int

    @cached_property
    def neurons(self) -> np.ndarray:
        """The numbers in PROOFS.md of the neurons that are variables."""
        return self.numbers[self.numbers >= 0]

    @cached_property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of what the neurons that are variables read."""
        return self.reduced.lower[self.numbers >= 0], self.reduced.upper[self.numbers >= 0]

    def interval(self, variable: int) -> tuple[float, float]:
        """That of what a neuron reads."""
        k = variable - len(self.moving)
        return float(self.intervals[0][k]), float(self.intervals[1][k])

    @cached_property
    def moving(self) -> np.ndarray:
        return np.flatnonzero(self.region.upper > self.region.lower)

    @property
    def size(self) -> int:
        return len(self.moving) + len(self.neurons)

    @cached_property
    def upper(self) -> np.ndarray:
        """The greatest values of x - lower and z."""
        width = (self.region.upper - self.region.lower)[self.moving]
        return np.concatenate([width, np.maximum(self.intervals[1], 0.0)])

    @cached_property
    def scale(self) -> np.ndarray:
        depth = np.concatenate([np.zeros(len(self.moving)), np.abs(self.intervals[0])])
        return np.maximum(self.upper, STEEP * depth)

    def written(self, rows: Rows) -> list[Polynomial]:
        """Affine functions of inputs and kept neurons as polynomials in the scaled variables."""
        constants, steps = rows.constant + rows.x @ self.region.lower, rows.x[:, self.moving] * self.scale[: len(self.moving)]
        found = []
        for constant, row, z in zip(constants, steps, rows.z, strict=True):
            total: Polynomial = {(): float(constant), **{(v,): float(c) for v, c in enumerate(row) if c}}
            for k in np.flatnonzero(z).tolist():
                total = plus(total, self.value(k), float(z[k]))
            found.append(total)
        return found

    def value(self, k: int) -> Polynomial:
        """The output of what is kept: a variable, or the square of what it reads."""
        if k not in self._values:
            if self.numbers[k] < 0:
                (read,) = self.written(self.reduced.inputs[k : k + 1])
                self._values[k] = times(read, read)
            else:
                v = len(self.moving) + int(np.count_nonzero(self.numbers[:k] >= 0))
                self._values[k] = {(v,): float(self.scale[v])}
        return self._values[k]

    @cached_property
    def _values(self) -> dict[int, Polynomial]:
        return {}

    @cached_property
    def sources(self) -> dict[int, Polynomial]:
        """Of each kept neuron, by variable, what it reads."""
        return dict(enumerate(self.written(self.reduced.inputs[self.numbers >= 0]), len(self.moving)))

    def reads(self, neuron: int) -> set[int]:
        """The variables that a neuron's argument has."""
        return {w for m in self.sources[neuron] for w in m}

    def cliques(self, dense: int, margins: Sequence[Polynomial]) -> list[tuple[int, ...]]:
        """All variables if they are no more than ``dense``; else those of each layer, with all that it reads, and those whose
        products a margin has."""
        if self.size <= dense:
            return [tuple(range(self.size))]
        found: dict[tuple[int, ...], set[int]] = {}
        for v in self.sources:
            reads = self.reads(v)
            found.setdefault(tuple(sorted(reads)), set(reads)).add(v)
        sets = [frozenset(clique) for clique in found.values()]
        sets += [multiplied for margin in margins if (multiplied := _multiplied(margin))]
        largest = [a for k, a in enumerate(sets) if not any(a < b or (a == b and j < k) for j, b in enumerate(sets))]
        return [tuple(sorted(clique)) for clique in largest]

    def weights(self, pairs: Iterable[tuple[int, int]]) -> list[Weight]:
        """The facts 1, z, z - p, those of the triangles, the products of both bounds of each variable, the ball's, and the
        products of the bounds of two (McCormick 1976) for ``pairs`` of variables."""
        found = self.weights_of_inputs()
        for v, source in self.sources.items():
            found += self.weights_of_neuron(v, source)
        for v, w in pairs:
            ends = product(self._ends(v), self._ends(w))
            found += [Weight((f, g), times(a, b)) for (f, a), (g, b) in ends]
        return found

    def weights_of_inputs(self) -> list[Weight]:
        """1, the products of both bounds of each input, and the ball's."""
        found = [Weight((0, 0), ONE)]
        for v, i in enumerate(self.moving.tolist()):
            bounds = plus({(v,): self.upper[v] * self.scale[v]}, {(v, v): -(self.scale[v] ** 2)})
            found.append(Weight((1 + 2 * i, 2 + 2 * i), bounds))
        if self.region.ball is not None and self.region.ball.norm == "l2":
            found.append(Weight((0, 1 + 2 * self.region.size + 4 * self.all_neurons), self._in_ball()))
        return found

    def weights_of_neuron(self, variable: int, read: Polynomial) -> list[Weight]:
        """z, z - p, z (u - z) and the triangle's, where ``read`` stands for p."""
        number, (low, high) = self.facts_of_square(variable)[0], self.interval(variable)
        z: Polynomial = {(variable,): float(self.scale[variable])}
        room = plus({(): self.upper[variable]}, z, -1.0)
        found = [Weight((0, number), z), Weight((0, number + 1), plus(z, read, -1.0))]
        found.append(Weight((number, number + 3), times(z, room)))
        if low < 0 < high:
            slope = high / (high - low)
            chord = plus({(): -slope * low}, read, slope)
            found.append(Weight((0, number + 2), plus(chord, z, -1.0)))
        return found

    def products(self) -> list[Weight]:
        """The products of two facts, but for those about the ball."""
        linear = [(w.facts[1], w.polynomial) for w in self.weights([]) if w.facts[0] == 0 < w.facts[1] and w.degree == 1]
        for v in range(self.size):
            linear += [end for end in self._ends(v) if end[0] not in {number for number, _ in linear}]
        equations = {self.facts_of_square(v) for v in self.sources}
        return [Weight((f, g), times(a, b)) for (f, a), (g, b) in combinations(sorted(linear), 2) if (f, g) not in equations]

    def _ends(self, variable: int) -> tuple[tuple[int, Polynomial], tuple[int, Polynomial]]:
        """The facts that a variable is at least its least and at most its greatest value."""
        up: Polynomial = {(variable,): float(self.scale[variable])}
        down = plus({(): float(self.upper[variable])}, up, -1.0)
        if variable < len(self.moving):
            number = 1 + 2 * int(self.moving[variable])
            return (number, up), (number + 1, down)
        number, _ = self.facts_of_square(variable)
        return (number, up), (number + 3, down)

    def facts_of_square(self, variable: int) -> tuple[int, int]:
        """The facts z and z - p of a kept neuron."""
        number = 1 + 2 * self.region.size + 4 * int(self.neurons[variable - len(self.moving)])
        return number, number + 1

    def _in_ball(self) -> Polynomial:
        ball = self.region.ball
        assert ball is not None
        total: Polynomial = {(): float(ball.radius**2)}
        for i, (low, center) in enumerate(zip(self.region.lower.tolist(), ball.center.tolist(), strict=True)):
            step: Polynomial = {(): low - center}
            if i in self.moving:
                v = int(np.searchsorted(self.moving, i))
                step = plus(step, {(v,): float(self.scale[v])})
            total = plus(total, times(step, step), -1.0)
        return total


def _multiplied(polynomial: Polynomial) -> frozenset[int]:
    """The variables of its monomials of degree 2 and above."""
    return frozenset(v for m in polynomial if len(m) > 1 for v in m)
