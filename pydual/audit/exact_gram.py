"""Gram leaves in exact arithmetic: products of facts, and squares. PROOFS.md, sections 3 and 4. Standard library only.

The function Q of a leaf becomes a polynomial in shares ``0 <= t <= 1`` of ranges: an input is ``lower + R t``, the output
of a kept neuron ``max(u, 0) t``. As ``t >= 0``, its coefficients may be rounded down, to integers in one unit; whichever
squares are subtracted, what is left is at least the sum of its negative coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import chain
from math import isqrt, lcm
from operator import mul

from pydual.audit.exact_bounds import ADAPTIVE, Linear, Relaxation, relu_lines
from pydual.audit.exact_curves import ONE
from pydual.audit.exact_network import Activation, Network
from pydual.audit.exact_region import Vector, bits, dot, dyadic, scaled, total

DIGITS = 104  # bits of the greatest coefficient
PIVOT = 40  # bits by which a pivot may be smaller than the coefficient of its square
Products = dict[tuple[int, int], Fraction]  # the multipliers of pairs of facts


class Facts:
    """The numbers of facts: 0, two for each input, from ``first`` on four for each neuron, and ``ball`` for an l2 ball."""

    def __init__(self, net: Network, in_ball: bool) -> None:
        self.first = 1 + 2 * net.sizes[0]
        self.ball = self.first + 4 * len(net.neurons)
        self.count = self.ball + in_ball

    def allow(self, f: int, g: int, rho: float) -> bool:
        """Whether the product of two facts may have a multiplier."""
        if f < self.first:
            return rho >= 0 and (f == 0 or (f % 2 == 1 and g == f + 1))
        kind = (f - self.first) % 4
        return f < self.ball and g < self.ball and kind in (0, 3) and (rho >= 0 or (kind == 0 and g == f + 1))


def gram_bound(
    relaxation: Relaxation, facts: Facts, function: Linear, products: Products, poll: Callable[[], object]
) -> Fraction:
    """The bound F for ``function`` less the ``products``."""
    named = (n - facts.first for pair in products for n in pair if facts.first <= n < facts.ball)
    leaf, size = Leaf(relaxation, facts, sorted({n // 4 for n in named})), relaxation.net.sizes[0]
    factors, curvature = leaf.multiply(function, products)
    scale = lcm(function.scale(), *(factor.scale() for factor in factors))
    constant, linear = leaf.written_out(function, scale)
    constants, rows = [], []
    for factor, reach in zip(factors, leaf.ranges[size:], strict=True):
        poll()
        ahead, (row, exponent) = leaf.written_out(factor, scale)
        (times,), places = dyadic([reach])
        constants.append(ahead * reach)
        rows.append(([times * v for v in row], exponent + places))
    ranges, places = dyadic(leaf.ranges)
    rows = [(list(map(mul, row, ranges)), exponent + places) for row, exponent in [linear, *rows]]
    rows[0] = total([rows[0], dyadic([*[Fraction(0)] * size, *constants])])
    rows.append(dyadic(c * scale * reach * reach for c, reach in zip(curvature, leaf.ranges, strict=False)))
    unit = (max((bits(row) + exponent for row, exponent in rows if any(row)), default=0) - DIGITS) // 2 * 2
    slopes, *gram, squares = (_rounded_down(*row, unit) for row in rows)
    return (constant + scaled(_rest(slopes, squares, gram), unit)) / scale


class Leaf:
    """The kept neurons of a leaf (``places``: values and components of their outputs), and ranges of inputs and of these."""

    def __init__(self, relaxation: Relaxation, facts: Facts, kept: Sequence[int]) -> None:
        self.relaxation, self.facts, self.net = relaxation, facts, relaxation.net
        relus = [(k, v) for k, v in enumerate(self.net.values) if isinstance(v, Activation) and v.kind == "relu"]
        self.outputs = [(k, component) for k, _ in relus for component in range(self.net.sizes[k])]
        self.kept, self.places = kept, [self.outputs[neuron] for neuron in kept]
        low, high, exponent = relaxation.region.interval
        self.lower = low, exponent
        self.ranges = [scaled(b - a, exponent) for a, b in zip(low, high, strict=True)]
        self.ranges += [self._interval(neuron)[1] for neuron in self.kept]

    def _interval(self, neuron: int) -> tuple[Fraction, Fraction]:
        """What the neuron reads is at least the first, and its output at most the second number."""
        value, component = self.net.neurons[neuron]
        lower, upper, exponent = self.relaxation.intervals[value]
        return scaled(lower[component], exponent), scaled(max(upper[component], 0), exponent)

    def fact(self, number: int) -> Linear:
        """A fact as a linear function; the last one without its squares ``-(x - lower)^2``."""
        one, ball, region = Fraction(1), self.relaxation.region.ball, self.relaxation.region
        if number == 0:
            return Linear([], one)
        if number < self.facts.first:
            i, sign = (number - 1) // 2, one if number % 2 else -one
            return Linear([(0, i, sign)], -sign * Fraction((region.lower if number % 2 else region.upper)[i]))
        if number == self.facts.ball and ball:
            # (x - c)^2 = (x - lower)^2 + 2 (lower - c) x + c^2 - lower^2
            pairs = [(Fraction(low), Fraction(c)) for low, c in zip(region.lower, ball.center, strict=True)]
            terms = [(0, i, 2 * (c - low)) for i, (low, c) in enumerate(pairs)]
            return Linear(terms, Fraction(ball.radius) ** 2 - sum(c * c - low * low for low, c in pairs))
        neuron, kind = divmod(number - self.facts.first, 4)
        (value, component), z = self.net.neurons[neuron], self.outputs[neuron]
        lower, upper, exponent = self.relaxation.intervals[value]
        if kind in (0, 1):
            return Linear([(*z, one), *[(value, component, -one)] * kind], Fraction(0))
        if kind == 3:
            return Linear([(*z, -one)], self._interval(neuron)[1])
        chord, foot, _ = relu_lines(lower[component], upper[component], -ADAPTIVE, None)[1]
        slope = Fraction(chord, ONE)
        return Linear([(value, component, slope), (*z, -one)], -slope * scaled(foot, exponent))

    def multiply(self, function: Linear, products: Products) -> tuple[list[Linear], list[Fraction]]:
        """Subtracts the products from ``function``, but for what is returned.

        That is what each kept output is multiplied with, and the coefficients of the squares ``(x - lower)^2``.
        """
        factors = {neuron: Linear([], Fraction(0)) for neuron in self.kept}
        curvature = [Fraction(0)] * self.net.sizes[0]
        linear = {number: self.fact(number) for number in set(chain.from_iterable(products))}
        for (f, g), rho in products.items():
            neuron, kind = divmod(f - self.facts.first, 4)
            if 0 < f < self.facts.first:  # (x - lower) (upper - x) = R (x - lower) - (x - lower)^2
                curvature[f // 2] += rho
                function.add(-rho * self.ranges[f // 2], linear[f])
            elif f == 0:
                curvature = [c + rho for c in curvature] if g == self.facts.ball else curvature
                function.add(-rho, linear[g])
            elif kind == 0:
                factors[neuron].add(-rho, linear[g])
            else:
                factors[neuron].add(rho, linear[g])
                function.add(-rho * self._interval(neuron)[1], linear[g])
        return list(factors.values()), curvature

    def written_out(self, function: Linear, scale: int) -> tuple[Fraction, Vector]:
        """A lower bound of ``scale`` times a function: constant, and coefficients of ``x - lower`` and the kept outputs."""
        pending, size = function.integers(scale, self.net.sizes), self.net.sizes[0]
        constant = function.constant * scale + self.relaxation.write_out(pending, self.relaxation.errors)
        parts = []
        while last := max(pending, default=0):
            w, exponent = pending.pop(last)
            parts.append(([0] * size + [w[i] if value == last else 0 for value, i in self.places], exponent))
            for i in (i for value, i in self.places if value == last):
                w[i] = 0
            constant += self.relaxation.replace_activation(last, (w, exponent), pending)
        at_input, exponent = pending.get(0, ([0] * size, 0))
        parts.append((at_input + [0] * len(self.places), exponent))
        return constant + dot((at_input, exponent), self.lower), total(parts)


def _rounded_down(integers: list[int], exponent: int, unit: int) -> list[int]:
    shift = exponent - unit
    return [v << shift for v in integers] if shift >= 0 else [v >> -shift for v in integers]


def _rest(slopes: list[int], squares: list[int], gram: list[list[int]]) -> int:
    """A lower bound of a polynomial over ``0 <= t <= 1``: inputs, then kept outputs, for each of which ``gram`` has a row.

    A form is ``root[m] t_m + sum_j factor[j][m] t_j + shift``, j over the kept outputs after m. Divisions leave
    remainders ``>= 0``, which are free. An entry whose square is greater than the coefficient of ``t_j^2`` is left out.
    """
    size, rest, roots = len(squares), 0, list(map(isqrt, squares))
    factor: list[list[int]] = []
    for j, row in enumerate(gram):
        form: list[int] = []
        for m in range(size + j):
            left = row[m]
            if m >= size:
                left += gram[m - size][size + j] - 2 * sum(map(mul, form, factor[m - size]))
            entry = left // (2 * roots[m]) if roots[m] else 0
            form.append(entry if entry * entry <= row[size + j] else 0)
            rest += min(0, left - 2 * roots[m] * form[m])
        pivot = row[size + j] - sum(map(mul, form, form))
        roots.append(isqrt(pivot) if pivot > max(0, row[size + j] >> PIVOT) else 0)
        rest += min(0, pivot)
        factor.append([*form, roots[-1]])
    return rest + max(_rest_of_slopes(slopes, roots, factor, vanishing) for vanishing in (False, True))


def _rest_of_slopes(slopes: list[int], roots: list[int], factor: list[list[int]], vanishing: bool) -> int:
    """What shifts leave of the linear terms: nearly nothing, or they keep to where forms may vanish; that may be better."""
    size, rest, shifts = len(roots) - len(factor), 0, list[int]()
    for m, root in enumerate(roots):
        left = slopes[m] - (2 * sum(map(mul, factor[m - size], shifts)) if m >= size else 0)
        shift = left // (2 * root) if root else 0
        if vanishing:
            column = [root] * (m < size) + [form[m] for form in factor[max(0, m - size) :]]
            shift = min(max(shift, -sum(v for v in column if v > 0)), -sum(v for v in column if v < 0))
        shifts.append(shift)
        rest += min(0, left - 2 * root * shift) - shift**2
    return rest
