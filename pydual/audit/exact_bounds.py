"""Lower bounds by lines and derived intervals in exact arithmetic: PROOFS.md, sections 4 and 5. Standard library only.

Rounding happens at three places, each where it is sound: intervals outward, chords upward, coefficients of ReLU outputs
downward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import gt, mul, sub

from pydual.audit import query
from pydual.audit.exact_network import (
    BITS,
    Affine,
    Interval,
    Network,
    Number,
    Relu,
    Vector,
    bits,
    dyadic,
    outward,
    plus,
    round_down,
)

INTERVAL, PARALLEL, ADAPTIVE = 1, 2, 3  # anchors; the rules for lines are their negatives
ONE = 1 << BITS  # slopes are multiples of 1 / ONE
Path = tuple[tuple[int, bool], ...]  # the neuron splits above a node, from the root: (neuron, active)


class Region:
    """A box of float bounds and perhaps a ball, as integers with one exponent."""

    def __init__(self, lower: list[float], upper: list[float], ball: query.Ball | None) -> None:
        self.lower, self.upper, self.ball = lower, upper, ball
        self.empty = any(low > high for low, high in zip(lower, upper, strict=True))
        extra = [] if ball is None else [*ball.center, ball.radius]
        numbers, self.exponent = dyadic([*lower, *upper, *extra])
        n = len(lower)
        self.low, self.high = numbers[:n], numbers[n : 2 * n]
        self.center, self.radius = numbers[2 * n : 3 * n], numbers[3 * n :]

    def cut(self, i: int, threshold: float) -> tuple[Region, Region]:
        """The parts with ``x_i <= threshold`` and with ``x_i >= threshold``."""
        upper, lower = list(self.upper), list(self.lower)
        upper[i], lower[i] = min(upper[i], threshold), max(lower[i], threshold)
        return Region(self.lower, upper, self.ball), Region(lower, self.upper, self.ball)

    def minimum(self, w: list[int], exponent: int) -> Number:
        """A lower bound of ``w . x``."""
        by_box = sum(c * (low if c >= 0 else high) for c, low, high in zip(w, self.low, self.high, strict=True))
        if self.ball is None:
            return by_box, exponent + self.exponent
        value, places = (self._l1 if self.ball.norm == "l1" else self._l2)(w)
        return max(by_box << places, value), exponent + self.exponent - places

    def _l1(self, w: list[int]) -> Number:
        """``max_k sum_i min_x (w_i x + k |x - c_i|) - k r``: where x leaves the center for the largest coefficients."""
        nearest = [min(max(c, low), high) for c, low, high in zip(self.center, self.low, self.high, strict=True)]
        budget = self.radius[0] - sum(abs(z - c) for z, c in zip(nearest, self.center, strict=True))
        k = 0 if budget >= 0 else (1 + max(map(abs, w))) << BITS  # beyond 0: box and ball are disjoint
        for i in sorted(range(len(w)), key=lambda i: -abs(w[i])) if budget >= 0 else ():
            farthest = self.low[i] if w[i] >= 0 else self.high[i]
            budget -= abs(farthest - self.center[i]) - abs(nearest[i] - self.center[i])
            if budget < 0:
                k = abs(w[i])
                break
        rows = zip(w, self.low, self.high, self.center, nearest, strict=True)
        least = sum(min(a * z + k * abs(z - c) for z in (low, high, near)) for a, low, high, c, near in rows)
        return least - k * self.radius[0], 0

    def _l2(self, w: list[int]) -> Number:
        """``sum_i min_x (w_i x + k (x - c_i)**2) - k r**2`` for a good ``k / 2**places``, times ``2**places``."""
        k, places = self._multiplier(w)
        total = -k * self.radius[0] ** 2
        for a, low, high, c in zip(w, self.low, self.high, self.center, strict=True):
            a <<= places
            if -a <= 2 * k * (low - c):
                total += a * low + k * (low - c) ** 2
            elif -a >= 2 * k * (high - c):
                total += a * high + k * (high - c) ** 2
            else:
                total += a * c + -(a * a) // (4 * k)  # at x = c - a / (2 k), rounded down
        return total, places

    def _multiplier(self, w: list[int]) -> Number:
        """About the best ``k > 0`` for ``_l2``, in floating point: any ``k`` gives a bound."""
        down = max(0, bits(w) - BITS)
        steps = [*map(sub, self.low, self.center), *map(sub, self.high, self.center), *self.radius]
        shrink = max(0, bits(steps) - BITS)
        slopes, n = [float(a >> down) for a in w], len(w)
        lows, highs, radius = steps[:n], steps[n : 2 * n], float(steps[-1] >> shrink)
        rows = [(a, float(b >> shrink), float(c >> shrink)) for a, b, c in zip(slopes, lows, highs, strict=True)]
        k = max(math.hypot(*slopes), 1.0) / (2.0 * max(radius, 1.0))

        def outside(k: float) -> bool:
            return math.fsum(min(max(-a / (2.0 * k), b), c) ** 2 for a, b, c in rows) > radius * radius

        factor = 2.0 if outside(k) else 0.5
        for _ in range(BITS):
            if outside(k * factor) != (factor > 1.0):
                break
            k *= factor
        low, high = sorted((k, k * factor))
        for _ in range(12):
            middle = (low + high) / 2.0
            low, high = (middle, high) if outside(middle) else (low, middle)
        mantissa, exponent = math.frexp(high)
        exponent += down - shrink - 30
        k = int(mantissa * 2**30)
        return (k << exponent, 0) if exponent >= 0 else (k, -exponent)


@dataclass
class Lines:
    """Lines of the neurons of one relu: ``max(p, 0) >= rise p``, and ``max(p, 0) <= chord (p - foot)``.

    Where ``flat``, instead ``floor <= max(p, 0) <= ceiling``. ``rise`` and ``chord`` are multiples of 1 / ONE.
    """

    rise: list[int]
    chord: list[int]
    foot: list[int]
    exponent: int
    flat: bool = False


def lines_of(rule: int, interval: Interval, first: int, slopes: dict[int, int]) -> Lines:
    """The lines of a rule; ``slopes`` has the rises of neurons (numbered from ``first``) that are not adaptive."""
    lower, upper, exponent = interval
    if rule == -INTERVAL:
        return Lines([max(v, 0) for v in lower], [max(v, 0) for v in upper], [], exponent, flat=True)
    lines = Lines([], [], [], exponent)
    for neuron, (low, high) in enumerate(zip(lower, upper, strict=True), first):
        if low >= 0 or high <= 0:
            rise = chord = ONE if low >= 0 else 0
        else:
            chord = -(-high * ONE // (high - low))
            rise = chord if rule == -PARALLEL else slopes.get(neuron, ONE if high > -low else 0)
        lines.rise.append(rise)
        lines.chord.append(chord)
        lines.foot.append(low if low < 0 < high else 0)
    return lines


def _below_relu(w: list[int], exponent: int, lines: Lines) -> tuple[Vector, Number]:
    """Coefficients ``n`` and a constant with ``w . max(p, 0) >= n . p + constant``.

    Rounding ``n`` down is free: with ``w >= 0`` any rise in [0, 1] is valid; with ``w < 0`` any steeper chord is, as
    ``p - foot >= 0``; on a stable neuron ``p >= 0``.
    """
    if lines.flat:
        floors = sum(c * (f if c >= 0 else g) for c, f, g in zip(w, lines.rise, lines.chord, strict=True))
        return ([0] * len(w), 0), (floors, exponent + lines.exponent)
    shift = bits(w) - BITS
    n = [c * (r if c >= 0 else s) >> (BITS + shift) for c, r, s in zip(w, lines.rise, lines.chord, strict=True)]
    constant = -sum(c * f for c, f in zip(n, lines.foot, strict=True) if c < 0)
    return (n, exponent + shift), (constant, exponent + shift + lines.exponent)


def lower_bound(net: Network, pending: dict[int, Vector], region: Region, lines: dict[int, Lines]) -> Number:
    """Section 4: a lower bound of ``sum_k pending[k] . v_k`` over the region; ``lines`` belong to the relu values."""
    total: Number = (0, 0)
    for value in range(max(pending, default=0), 0, -1):
        if value not in pending:
            continue
        w, exponent = pending.pop(value)
        primitive = net.primitives[value - 1]
        if isinstance(primitive, Relu):
            coefficients, constant = _below_relu(w, exponent, lines[value])
            total = plus(total, constant)
            _accumulate(pending, primitive.source, coefficients)
        else:
            bias, places = primitive.bias
            total = plus(total, (sum(map(mul, w, bias)), exponent + places))
            for source, matrix in primitive.terms:
                _accumulate(pending, source, (matrix.transposed_times(w), exponent + matrix.exponent))
    w, exponent = pending.get(0, ([0] * net.sizes[0], 0))
    return plus(total, region.minimum(w, exponent))


def _accumulate(pending: dict[int, Vector], value: int, more: Vector) -> None:
    if value not in pending:
        pending[value] = more
        return
    (a, p), (b, q) = pending[value], more
    e = min(p, q)
    pending[value] = [(x << (p - e)) + (y << (q - e)) for x, y in zip(a, b, strict=True)], e


def _image(net: Network, affine: Affine, values: list[Interval]) -> Interval:
    """Interval arithmetic, without rounding before the end."""
    parts = [(matrix.image(*values[s][:2]), matrix.exponent + values[s][2] - 1) for s, matrix in affine.terms]
    bias, places = affine.bias
    e = min([places, *(exponent for _, exponent in parts)])
    lower = upper = [b << (places - e) for b in bias]
    for (low, high), exponent in parts:
        lower = [a + (b << (exponent - e)) for a, b in zip(lower, low, strict=True)]
        upper = [a + (b << (exponent - e)) for a, b in zip(upper, high, strict=True)]
    return outward(lower, upper, e)


def derive_intervals(
    net: Network, region: Region, path: Path, anchor: int, poll: Callable[[], object]
) -> dict[int, Interval] | None:
    """Section 5: the intervals of all values that a relu reads, or None if one is empty."""
    values: list[Interval] = []
    lines: dict[int, Lines] = {}
    for value in range(len(net.sizes)):
        primitive = net.primitives[value - 1] if value else None
        if primitive is None:
            interval = outward(region.low, region.high, region.exponent)
        elif isinstance(primitive, Relu):
            low, high, e = source = values[primitive.source]
            lines[value] = lines_of(-anchor, source, primitive.first, {})
            interval = [max(v, 0) for v in low], [max(v, 0) for v in high], e
        else:
            interval = _image(net, primitive, values)
        if value in net.sources:
            if anchor != INTERVAL and not _is_exact(primitive, region):
                interval = _refine(net, value, interval, region, lines, poll)
            for neuron, active in path:
                source_value, component = net.neurons[neuron]
                if source_value == value:
                    interval = cut(interval, component, active)
            if any(map(gt, interval[0], interval[1])):
                return None
        values.append(interval)
    return {value: values[value] for value in net.sources}


def _is_exact(primitive: Affine | Relu | None, region: Region) -> bool:
    """Whether interval arithmetic is already best: over a box, for one matrix times the input."""
    one = primitive is None or (isinstance(primitive, Affine) and [s for s, _ in primitive.terms] == [0])
    return region.ball is None and one


def _refine(
    net: Network, value: int, interval: Interval, region: Region, lines: dict[int, Lines], poll: Callable[[], object]
) -> Interval:
    """The intersection of an interval with the bounds by lines below and above, where the interval leaves the sign open."""
    lower, upper, e = list(interval[0]), list(interval[1]), interval[2]
    for i in range(len(lower)):
        if lower[i] >= 0 or upper[i] <= 0:
            continue
        poll()
        unit = [0] * len(lower)
        unit[i] = 1
        lower[i] = max(lower[i], round_down(lower_bound(net, {value: (unit, 0)}, region, lines), e))
        unit = [-v for v in unit]
        upper[i] = min(upper[i], -round_down(lower_bound(net, {value: (unit, 0)}, region, lines), e))
    return lower, upper, e


def cut(interval: Interval, component: int, active: bool) -> Interval:
    """The interval where the component is ``>= 0`` (active) or ``<= 0``."""
    lower, upper, e = list(interval[0]), list(interval[1]), interval[2]
    if active:
        lower[component] = max(lower[component], 0)
    else:
        upper[component] = min(upper[component], 0)
    return lower, upper, e
