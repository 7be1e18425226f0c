"""Lower bounds by lines and derived intervals in exact arithmetic: PROOFS.md, sections 4 to 6. Standard library only.

Rounding happens where it is sound: intervals and errors outward, chords upward, coefficients of activations downward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import gt, mul

from pydual.audit.exact_curves import ONE, PLACES, UNIT, curve_lines, curve_range
from pydual.audit.exact_float32 import Magnitudes
from pydual.audit.exact_network import Activation, Affine, Network
from pydual.audit.exact_numbers import BITS, Interval, Number, Vector, bits, outward, plus, round_down, total
from pydual.audit.exact_region import Region

INTERVAL, PARALLEL, ADAPTIVE = 1, 2, 3  # anchors; the rules for lines are their negatives
CURVE_ERROR = UNIT >> 20  # of a curve in float32
Path = tuple[tuple[int, bool], ...]  # the neuron splits above a node, from the root: (neuron, active)
Line = tuple[int, int, int]  # slope, foot and value at the foot: ``slope (p - foot) + value``


@dataclass
class Lines:
    """For each component p of an activation's source a line below and one above ``f(p)`` on the interval of p.

    Slopes count 1 / ONE, values 1 / UNIT, feet ``2**places``. Rounding a coefficient ``w slope`` down is free: p is nowhere
    less than the foot, or else the line is one through 0 below a relu, and any slope from 0 to 1 is as valid.
    """

    ends: Interval  # of f(p)
    places: int
    below: list[Line]
    above: list[Line]

    def least(self, w: list[int], exponent: int) -> Number:
        """The minimum of ``w . f(p)`` over the interval."""
        low, high, places = self.ends
        return sum([c * (a if c >= 0 else b) for c, a, b in zip(w, low, high, strict=True)]), exponent + places

    def lower_bound(self, w: list[int], exponent: int) -> tuple[Vector, Number]:
        """Coefficients ``n`` and a constant with ``w . f(p) >= n . p + constant``."""
        shift, feet, values = bits(w) - BITS, 0, 0
        n = []
        for c, below, above in zip(w, self.below, self.above, strict=True):
            slope, foot, value = below if c >= 0 else above
            n.append(c * slope >> (BITS + shift))
            if foot:
                feet += n[-1] * foot
            if value:
                values += c * value
        return (n, exponent + shift), plus((-feet, exponent + shift + self.places), (values, exponent - PLACES))


def lines_of(activation: Activation, rule: int, interval: Interval, slopes: dict[int, int], float32: bool = False) -> Lines:
    """The lines of a rule; ``slopes`` has the rises of neurons that are not adaptive. Rule -1 needs none."""
    lower, upper, e = interval
    components = list(zip(lower, upper, strict=True))
    ends: Interval = [max(v, 0) for v in lower], [max(v, 0) for v in upper], e
    pairs: list[tuple[Line, Line]] = []
    if activation.kind != "relu":
        slack = CURVE_ERROR if float32 else 0
        ranges = [curve_range(activation.kind, low, high, e) for low, high in components]
        ends = [a - slack for a, _ in ranges], [b + slack for _, b in ranges], -PLACES
        if rule != -INTERVAL:
            pairs = [_lines_of_curve(activation.kind, low, high, e, rule, slack) for low, high in components]
    elif rule != -INTERVAL:
        rises = [slopes.get(neuron) for neuron in range(activation.first, activation.first + len(lower))]
        pairs = [_lines_of_relu(low, high, rule, rise) for (low, high), rise in zip(components, rises, strict=True)]
    return Lines(ends, e, [below for below, _ in pairs], [above for _, above in pairs])


def _lines_of_relu(low: int, high: int, rule: int, rise: int | None) -> tuple[Line, Line]:
    if low >= 0 or high <= 0:
        line = (ONE if low >= 0 else 0), 0, 0
        return line, line
    chord = -(-high * ONE // (high - low))
    if rule == -PARALLEL:
        rise = chord
    elif rise is None:
        rise = ONE if high > -low else 0
    return (rise, 0, 0), (chord, low, 0)


def _lines_of_curve(kind: str, low: int, high: int, e: int, rule: int, slack: int) -> tuple[Line, Line]:
    a, c, b, d = curve_lines(kind, low, high, e, rule == -PARALLEL)
    below = c - slack + round_down((a * low, e - BITS), -PLACES)
    above = d + slack - round_down((-b * low, e - BITS), -PLACES)
    return (a, low, below), (b, low, above)


@dataclass
class Relaxation:
    """What a bound is derived from: a region, the lines of the activations, and errors of affine values (float32).

    ``flat``: activations are replaced by the ends of their intervals (rule -1).
    """

    region: Region
    flat: bool
    lines: dict[int, Lines]
    errors: dict[int, Vector]

    def lower_bound(self, net: Network, pending: dict[int, Vector]) -> Number:
        """Section 4: a lower bound of ``sum_k pending[k] . v_k``, the best over the stages. Uses up ``pending``."""
        done: Number = (0, 0)
        stages: list[Number] = []
        while value := _next(net, pending):
            primitive = net.primitives[value - 1]
            if isinstance(primitive, Activation):
                stages.append(plus(done, self._least(pending)))
            w, exponent = pending.pop(value)
            if isinstance(primitive, Affine):
                rest = self._constant(value, primitive, w, exponent)
                for source, matrix in primitive.terms:
                    _accumulate(pending, source, (matrix.transposed_times(w), exponent + matrix.exponent))
            elif self.flat:
                rest = self.lines[value].least(w, exponent)
            else:
                coefficients, rest = self.lines[value].lower_bound(w, exponent)
                _accumulate(pending, primitive.source, coefficients)
            done = plus(done, rest)
        w, exponent = pending.get(0, ([0] * net.sizes[0], 0))
        return reduce(_greatest, stages, plus(done, self.region.minimum(w, exponent)))

    def _constant(self, value: int, affine: Affine, w: list[int], exponent: int) -> Number:
        """The constant that an affine map leaves: ``w . bias``, less what its error may take."""
        bias, places = affine.bias
        result = sum(map(mul, w, bias)), exponent + places
        if value not in self.errors:
            return result
        error, places = self.errors[value]
        return plus(result, (-sum(map(mul, map(abs, w), error)), exponent + places))

    def _least(self, pending: dict[int, Vector]) -> Number:
        """The stage: the minimum over the box of the input and the intervals of activations."""
        result: Number = (0, 0)
        for value, (w, exponent) in pending.items():
            least = self.lines[value].least if value else self.region.least_in_box
            result = plus(result, least(w, exponent))
        return result


def _next(net: Network, pending: dict[int, Vector]) -> int:
    """The value to replace next: the last affine one, else the last one; 0 if only the input is left."""
    affine = [v for v in pending if v and isinstance(net.primitives[v - 1], Affine)]
    return max(affine or pending, default=0)


def _greatest(a: Number, b: Number) -> Number:
    return b if plus(b, (-a[0], a[1]))[0] >= 0 else a


def _accumulate(pending: dict[int, Vector], value: int, more: Vector) -> None:
    pending[value] = total([pending[value], more]) if value in pending else more


@dataclass
class Bounds:
    """The intervals of all values that an activation reads, and the errors of affine values (float32)."""

    intervals: dict[int, Interval]
    errors: dict[int, Vector]


def derive(net: Network, region: Region, path: Path, anchor: int, float32: bool, poll: Callable[[], object]) -> Bounds | None:
    """Section 5: the bounds of an anchor, or None if an interval is empty."""
    values: list[Interval] = []  # by interval arithmetic
    read: dict[int, Interval] = {}  # what activations read, bounded by lines and cut by the phases too
    relaxation, magnitudes = Relaxation(region, anchor == INTERVAL, {}, {}), Magnitudes()
    sums: dict[int, Vector] = {}  # errors of affine values written out (float32)
    for value in range(len(net.sizes)):
        primitive = net.primitives[value - 1] if value else None
        if isinstance(primitive, Affine):
            if float32:
                relaxation.errors[value] = error = magnitudes.add_affine(primitive)
                sums[value] = total([error, *(matrix.magnitudes(sums[s]) for s, matrix in primitive.terms if s in sums)])
            written = net.written.get(value)
            errors = sums if written else relaxation.errors
            interval = _image(written or primitive, values, errors.get(value))
        elif primitive is None:
            interval = region.interval
        else:
            relaxation.lines[value] = lines_of(primitive, -anchor, read[primitive.source], {}, float32)
            interval = outward(*relaxation.lines[value].ends)
        values.append(interval)
        if float32 and not isinstance(primitive, Affine):
            magnitudes.add_interval(interval)
        if value in net.sources:
            if anchor != INTERVAL and not _is_exact(primitive, region):
                interval = _refine(net, value, interval, relaxation, poll)
            for neuron, active in path:
                source_value, component = net.neurons[neuron]
                if source_value == value:
                    interval = cut_interval(interval, component, active)
            if any(map(gt, interval[0], interval[1])):
                return None
            read[value] = interval
    return Bounds(read, relaxation.errors)


def _image(affine: Affine, values: list[Interval], error: Vector | None) -> Interval:
    """Interval arithmetic, without rounding before the end."""
    lows, highs = [affine.bias], [affine.bias]
    for source, matrix in affine.terms:
        low, high, places = values[source]
        doubled_low, doubled_high = matrix.image(low, high)
        lows.append((doubled_low, matrix.exponent + places - 1))
        highs.append((doubled_high, matrix.exponent + places - 1))
    if error is not None:
        lows.append(([-v for v in error[0]], error[1]))
        highs.append(error)
    (lower, e), (upper, _) = total(lows), total(highs)
    return outward(lower, upper, e)


def _is_exact(primitive: Affine | Activation | None, region: Region) -> bool:
    """Whether interval arithmetic is already best: over a box, for one matrix times the input."""
    one = primitive is None or (isinstance(primitive, Affine) and [s for s, _ in primitive.terms] == [0])
    return region.ball is None and one


def _refine(net: Network, value: int, interval: Interval, relaxation: Relaxation, poll: Callable[[], object]) -> Interval:
    """The intersection with the bounds by lines, where a curve reads the value or the interval leaves the sign open."""
    spare = max(0, BITS - bits(interval[0]), BITS - bits(interval[1]))
    lower, upper, e = [v << spare for v in interval[0]], [v << spare for v in interval[1]], interval[2] - spare
    for i in range(len(lower)):
        if lower[i] == upper[i] or (value not in net.curved and not lower[i] < 0 < upper[i]):
            continue
        poll()
        unit = [0] * len(lower)
        unit[i] = 1
        lower[i] = max(lower[i], round_down(relaxation.lower_bound(net, {value: (unit, 0)}), e))
        unit = [-v for v in unit]
        upper[i] = min(upper[i], -round_down(relaxation.lower_bound(net, {value: (unit, 0)}), e))
    return lower, upper, e


def cut_interval(interval: Interval, component: int, active: bool) -> Interval:
    """The interval where the component is ``>= 0`` (active) or ``<= 0``."""
    lower, upper, e = list(interval[0]), list(interval[1]), interval[2]
    if active:
        lower[component] = max(lower[component], 0)
    else:
        upper[component] = min(upper[component], 0)
    return lower, upper, e
