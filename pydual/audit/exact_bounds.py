"""Lower bounds by lines and derived intervals in exact arithmetic: PROOFS.md, sections 4 to 6. Standard library only.

Rounding happens where it is sound: intervals and errors outward, chords upward, coefficients of activations downward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import gt, mul

from pydual.audit.exact_curves import ONE, PLACES, UNIT, curve_lines, curve_range
from pydual.audit.exact_float32 import Magnitudes
from pydual.audit.exact_network import (
    BITS,
    Activation,
    Affine,
    Interval,
    Network,
    Number,
    Vector,
    bits,
    outward,
    plus,
    round_down,
    total,
)
from pydual.audit.exact_region import Region

INTERVAL, PARALLEL, ADAPTIVE = 1, 2, 3  # anchors; the rules for lines are their negatives
CURVE_ERROR = UNIT >> 20  # of a curve in float32
Path = tuple[tuple[int, bool], ...]  # the neuron splits above a node, from the root: (neuron, active)


@dataclass
class ReluLines:
    """Lines of the neurons of one relu: ``max(p, 0) >= rise p``, and ``max(p, 0) <= chord (p - foot)``.

    ``source`` is the interval of p; ``rise`` and ``chord`` are multiples of 1 / ONE.
    """

    source: Interval
    rise: list[int] = field(default_factory=list)
    chord: list[int] = field(default_factory=list)
    foot: list[int] = field(default_factory=list)

    def image(self) -> Interval:
        low, high, exponent = self.source
        return [max(v, 0) for v in low], [max(v, 0) for v in high], exponent

    def least(self, w: list[int], exponent: int) -> Number:
        """The minimum of ``w . v`` over the interval of the output v."""
        low, high, places = self.source
        ends = (c * (a if c >= 0 else b) for c, a, b in zip(w, low, high, strict=True) if (a if c >= 0 else b) > 0)
        return sum(ends), exponent + places

    def below(self, w: list[int], exponent: int) -> tuple[Vector, Number]:
        """Coefficients ``n`` and a constant with ``w . max(p, 0) >= n . p + constant``.

        Rounding ``n`` down is free: with ``w >= 0`` any rise in [0, 1] is valid; with ``w < 0`` any steeper chord is,
        as ``p - foot >= 0``; on a stable neuron ``p >= 0``.
        """
        shift = bits(w) - BITS
        n = [c * (r if c >= 0 else s) >> (BITS + shift) for c, r, s in zip(w, self.rise, self.chord, strict=True)]
        rest = -sum(c * f for c, f in zip(n, self.foot, strict=True) if c < 0)
        return (n, exponent + shift), (rest, exponent + shift + self.source[2])


@dataclass
class CurveLines:
    """Lines ``(a, c, A, C)`` of the components of one curve, as in ``curve_lines``, and the ``ends`` of its output."""

    source: Interval
    ends: list[tuple[int, int]]
    lines: list[tuple[int, int, int, int]]

    def image(self) -> Interval:
        return outward([low for low, _ in self.ends], [high for _, high in self.ends], -PLACES)

    def least(self, w: list[int], exponent: int) -> Number:
        """The minimum of ``w . v`` over the interval of the output v."""
        return sum(c * (a if c >= 0 else b) for c, (a, b) in zip(w, self.ends, strict=True)), exponent - PLACES

    def below(self, w: list[int], exponent: int) -> tuple[Vector, Number]:
        """Coefficients ``n`` and a constant with ``w . curve(p) >= n . p + constant``.

        With the slope s and the intercept t of the line, ``w (s p + t) >= n p + (w s - n) low + w t``, where ``n`` is
        ``w s`` rounded down.
        """
        low, _, places = self.source
        shift = bits(w) - BITS
        chosen = [(line[0], line[1]) if c >= 0 else (line[2], line[3]) for c, line in zip(w, self.lines, strict=True)]
        exact = [c * s for c, (s, _) in zip(w, chosen, strict=True)]
        n = [v >> (BITS + shift) for v in exact]
        lost = sum((v - (m << (BITS + shift))) * a for v, m, a in zip(exact, n, low, strict=True))
        rest = sum(c * t for c, (_, t) in zip(w, chosen, strict=True)), exponent - PLACES
        return (n, exponent + shift), plus((lost, exponent - BITS + places), rest)


Lines = ReluLines | CurveLines


def lines_of(activation: Activation, rule: int, interval: Interval, slopes: dict[int, int], float32: bool = False) -> Lines:
    """The lines of a rule; ``slopes`` has the rises of neurons that are not adaptive. Rule -1 needs none."""
    lower, upper, e = interval
    if activation.kind != "relu":
        parallel, slack = rule == -PARALLEL, CURVE_ERROR if float32 else 0
        keys = [(activation.kind, low, high, e) for low, high in zip(lower, upper, strict=True)]
        ends = [(a - slack, b + slack) for a, b in (curve_range(*key) for key in keys)]
        found = [] if rule == -INTERVAL else [curve_lines(*key, parallel) for key in keys]
        return CurveLines(interval, ends, [(a, c - slack, b, d + slack) for a, c, b, d in found])
    lines = ReluLines(interval)
    if rule == -INTERVAL:
        return lines
    for neuron, (low, high) in enumerate(zip(lower, upper, strict=True), activation.first):
        if low >= 0 or high <= 0:
            rise = chord = ONE if low >= 0 else 0
        else:
            chord = -(-high * ONE // (high - low))
            rise = chord if rule == -PARALLEL else slopes.get(neuron, ONE if high > -low else 0)
        lines.rise.append(rise)
        lines.chord.append(chord)
        lines.foot.append(low if low < 0 < high else 0)
    return lines


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
        best: Number | None = None
        for value in range(max(pending, default=0), 0, -1):
            if value not in pending:
                continue
            primitive = net.primitives[value - 1]
            if isinstance(primitive, Activation):
                if all(v in self.lines or v == 0 for v in pending):
                    best = _greatest(best, plus(done, self._least(pending)))
                w, exponent = pending.pop(value)
                if self.flat:
                    done = plus(done, self.lines[value].least(w, exponent))
                    continue
                coefficients, rest = self.lines[value].below(w, exponent)
                done = plus(done, rest)
                _accumulate(pending, primitive.source, coefficients)
                continue
            w, exponent = pending.pop(value)
            done = plus(done, self._affine(value, primitive, w, exponent))
            for source, matrix in primitive.terms:
                _accumulate(pending, source, (matrix.transposed_times(w), exponent + matrix.exponent))
        w, exponent = pending.get(0, ([0] * net.sizes[0], 0))
        return _greatest(best, plus(done, self.region.minimum(w, exponent)))

    def _affine(self, value: int, affine: Affine, w: list[int], exponent: int) -> Number:
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


def _greatest(a: Number | None, b: Number) -> Number:
    return b if a is None or plus(b, (-a[0], a[1]))[0] >= 0 else a


def _accumulate(pending: dict[int, Vector], value: int, more: Vector) -> None:
    pending[value] = total([pending[value], more]) if value in pending else more


@dataclass
class Bounds:
    """The intervals of all values that an activation reads, and the errors of affine values (float32)."""

    intervals: dict[int, Interval]
    errors: dict[int, Vector]


def derive(net: Network, region: Region, path: Path, anchor: int, float32: bool, poll: Callable[[], object]) -> Bounds | None:
    """Section 5: the bounds of an anchor, or None if an interval is empty."""
    values: list[Interval] = []
    relaxation, magnitudes = Relaxation(region, anchor == INTERVAL, {}, {}), Magnitudes()
    for value in range(len(net.sizes)):
        primitive = net.primitives[value - 1] if value else None
        if isinstance(primitive, Affine):
            if float32:
                relaxation.errors[value] = magnitudes.add_affine(primitive)
            interval = _image(primitive, values, relaxation.errors.get(value))
        elif primitive is None:
            interval = region.interval
        else:
            relaxation.lines[value] = lines_of(primitive, -anchor, values[primitive.source], {}, float32)
            interval = relaxation.lines[value].image()
        if value in net.sources:
            if anchor != INTERVAL and not _is_exact(primitive, region):
                interval = _refine(net, value, interval, relaxation, poll)
            for neuron, active in path:
                source_value, component = net.neurons[neuron]
                if source_value == value:
                    interval = cut_interval(interval, component, active)
            if any(map(gt, interval[0], interval[1])):
                return None
        values.append(interval)
        if float32 and not isinstance(primitive, Affine):
            magnitudes.add_interval(interval)
    return Bounds({value: values[value] for value in net.sources}, relaxation.errors)


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
