"""Lower bounds by lines and derived intervals in exact arithmetic: PROOFS.md, sections 4 to 6. Standard library only.

Rounding happens where it is sound: intervals and errors outward, chords upward, coefficients of activations downward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from operator import gt

from pydual.audit.exact_curves import ONE, PLACES, UNIT, curve_ends, curve_lines
from pydual.audit.exact_network import Activation, Affine, Network
from pydual.audit.exact_region import BITS, Interval, Region, Vector, bits, dot, dyadic, least, outward, scaled, sum_of, total
from pydual.errors import CertificateError

INTERVAL, PARALLEL, ADAPTIVE = 1, 2, 3  # anchors; the rules for lines are their negatives
CURVE_ERROR = UNIT >> 20  # of a curve in float32
Path = tuple[tuple[int, bool], ...]  # the neuron splits above a node, from the root: (neuron, active)
Magnitude = tuple[Vector, int, Vector]  # of a value: A, the number N of roundings, underflows B
Case = tuple[tuple[int, bool, Fraction], ...]  # the splits above a case: neuron, active, and multiplier
# of a neuron and a side (0 below, 1 above): rule, slopes, and the cases that the end is the least of
Ends = Callable[[int, int], tuple[int, dict[int, int], list[Case]]]
Piece = tuple[int, int, int]  # slope, foot and value at the foot: the line ``slope (p - foot) + value``


@dataclass
class Lines:
    """For each component p of an activation's source a line below and one above ``f(p)`` on the interval of p.

    Slopes count 1 / ONE, values 1 / UNIT, feet ``2**places``. Rounding a coefficient ``w slope`` down is free: p is nowhere
    less than the foot, or else the line is one through 0 below a relu, and any slope from 0 to 1 is as valid.
    """

    ends: Interval  # of f(p)
    places: int
    pairs: list[tuple[Piece, Piece]]  # none where f(p) is replaced by its ends

    def lower_bound(self, w: Vector) -> tuple[Vector, Fraction]:
        """Coefficients ``n`` and a constant with ``w . f(p) >= n . p + constant``."""
        shift, feet, values, n = bits(w[0]), 0, 0, []
        for c, (below, above) in zip(w[0], self.pairs, strict=True):
            slope, foot, value = below if c >= 0 else above
            n.append(c * slope >> shift)
            feet += n[-1] * foot
            values += c * value
        exponent = w[1] + shift - BITS
        return (n, exponent), scaled(values, w[1] - PLACES) - scaled(feet, exponent + self.places)


def lines_of(activation: Activation, rule: int, interval: Interval, slopes: dict[int, int], float32: bool) -> Lines:
    """The lines of a rule, none for rule -1; ``slopes`` has the slopes of neurons that are not adaptive."""
    (lower, upper, e), kind, pieces = interval, activation.kind, []
    if kind == "relu":
        ends: Interval = [max(v, 0) for v in lower], [max(v, 0) for v in upper], e
        for neuron, (low, high) in enumerate(zip(lower, upper, strict=True), activation.first):
            pieces.append(relu_lines(low, high, rule, slopes.get(neuron)))
    else:
        slack = CURVE_ERROR if float32 else 0
        points = [(scaled(low, e), scaled(high, e)) for low, high in zip(lower, upper, strict=True)]
        values = [curve_ends(kind, p, q) for p, q in points]
        ends = [low - slack for low, _ in values], [high + slack for _, high in values], -PLACES
        for foot, (p, q) in zip(lower, points, strict=True) if rule != -INTERVAL else ():
            (a, below), (b, above) = curve_lines(kind, p, q, rule == -PARALLEL)
            pieces.append(((a, foot, below - slack), (b, foot, above + slack)))
    return Lines(ends, e, pieces if rule != -INTERVAL else [])


def relu_lines(low: int, high: int, rule: int, slope: int | None) -> tuple[Piece, Piece]:
    """The table of section 4."""
    if low >= 0 or high <= 0:
        line = (ONE if low >= 0 else 0), 0, 0
        return line, line
    chord = -(-high * ONE // (high - low))
    if rule == -PARALLEL:
        slope = chord
    elif slope is None:
        slope = ONE if high > -low else 0
    return (slope, 0, 0), (chord, low, 0)


@dataclass
class Linear:
    """A linear function of values: terms (value, component, coefficient), and a constant."""

    terms: list[tuple[int, int, Fraction]]
    constant: Fraction

    def add(self, factor: Fraction, other: Linear) -> None:
        """Adds ``factor`` times another one."""
        self.terms += [(value, i, factor * amount) for value, i, amount in other.terms]
        self.constant += factor * other.constant

    def scale(self) -> int:
        """A common denominator of the coefficients."""
        return lcm(*(amount.denominator for _, _, amount in self.terms))

    def integers(self, scale: int, sizes: list[int]) -> dict[int, Vector]:
        """The coefficients by value, times a common denominator."""
        function: dict[int, Vector] = {}
        for value, i, amount in self.terms:
            coefficients, _ = function.setdefault(value, ([0] * sizes[value], 0))
            coefficients[i] += amount.numerator * (scale // amount.denominator)
        return function


@dataclass
class Relaxation:
    """What bounds are derived from: a region, and what is known of values in it.

    That is the intervals of those that an activation reads, the errors of affine ones (float32), and lines of activations.
    """

    net: Network
    region: Region
    intervals: dict[int, Interval]
    errors: dict[int, Vector]
    lines: dict[int, Lines]

    def with_lines(self, rule: int, slopes: dict[int, int], float32: bool) -> Relaxation:
        """The same with the lines of a rule, or of a row of slopes, in the place of those that it has."""
        activations = [(k, v) for k, v in enumerate(self.net.values) if k in self.lines and isinstance(v, Activation)]
        lines = {k: lines_of(value, rule, self.intervals[value.source], slopes, float32) for k, value in activations}
        return replace(self, lines=lines)

    def with_phases(self, path: Path) -> Relaxation | None:
        """The same where neurons have these phases, or None if an interval is empty."""
        intervals = dict(self.intervals)
        for neuron, active in path:
            value, component = self.net.neurons[neuron]
            if value not in intervals:
                raise CertificateError("a case splits a neuron that does not come before its end.")
            intervals[value] = cut_interval(intervals[value], component, active)
            if intervals[value][0][component] > intervals[value][1][component]:
                return None
        return replace(self, intervals=intervals)

    def least_case(
        self, function: Linear, rule: int, slopes: dict[int, int], cases: list[Case], float32: bool
    ) -> Fraction | None:
        """Section 5: the least of the bounds of the cases that are possible, None if none is."""
        bounds = []
        for case in cases:
            cell = self.with_phases(tuple((neuron, active) for neuron, active, _ in case))
            if cell is not None:
                terms = [(*self.net.neurons[neuron], -beta if active else beta) for neuron, active, beta in case]
                whole = Linear(function.terms + terms, function.constant)
                pending, scale = whole.integers(whole.scale(), self.net.sizes), whole.scale()
                bounds.append(whole.constant + cell.with_lines(rule, slopes, float32).lower_bound(pending) / scale)
        return min(bounds, default=None)

    def lower_bound(self, pending: dict[int, Vector]) -> Fraction:
        """Section 4: a lower bound of ``sum_k pending[k] . v_k``, the best over the stages. Uses up ``pending``."""
        done, stages = self.write_out(pending, self.errors), []
        while last := max(pending, default=0):
            stages.append(done + self.least(pending))
            done += self.replace_activation(last, pending.pop(last), pending)
        return max([done + self.region.minimum(pending.get(0, ([0] * self.net.sizes[0], 0))), *stages])

    def replace_activation(self, number: int, w: Vector, pending: dict[int, Vector]) -> Fraction:
        """Replaces ``w . v`` of an activation, the last one, by what its lines read; the constant that they leave."""
        lines, activation = self.lines[number], self.net.values[number]
        if not lines.pairs:
            return least(w, lines.ends)
        assert isinstance(activation, Activation)
        coefficients, constant = lines.lower_bound(w)
        _accumulate(pending, activation.source, coefficients)
        return constant + self.write_out(pending, self.errors)

    def write_out(self, pending: dict[int, Vector], errors: dict[int, Vector]) -> Fraction:
        """Replaces affine values, the last first, by what they read; the constant that they leave, less their errors."""
        constant = Fraction(0)
        while value := max(filter(self.net.is_affine, pending), default=0):
            (w, exponent), affine = pending.pop(value), self.net.values[value]
            assert isinstance(affine, Affine)
            constant += dot((w, exponent), affine.bias)
            if value in errors:
                constant -= dot((list(map(abs, w)), exponent), errors[value])
            for source, matrix in affine.terms:
                _accumulate(pending, source, (matrix.transposed_times(w), exponent + matrix.exponent))
        return constant

    def least(self, pending: dict[int, Vector]) -> Fraction:
        """The stage: the minimum over the box of the input and the intervals of activations."""
        return sum((least(w, self.lines[v].ends if v else self.region.interval) for v, w in pending.items()), Fraction(0))


def _accumulate(pending: dict[int, Vector], value: int, more: Vector) -> None:
    pending[value] = total([pending[value], more]) if value in pending else more


def derive(
    net: Network, region: Region, path: Path, anchor: int, ends: Ends | None, float32: bool, poll: Callable[[], object]
) -> Relaxation | None:
    """Section 5: the bounds of an anchor, or None if an interval is empty; ``ends`` has the lines that a refinement names."""
    images: list[Interval] = []  # by interval arithmetic, of affine values written out
    magnitudes: list[Magnitude] = []
    relaxation = Relaxation(net, region, {}, {}, {})
    for number, value in enumerate(net.values):
        if isinstance(value, Activation):
            relaxation.lines[number] = lines_of(value, -anchor, relaxation.intervals[value.source], {}, float32)
            images.append(outward(*relaxation.lines[number].ends))
        else:
            images.append(_image(number, value, images, relaxation) if value else outward(*region.interval))
        interval = images[number]
        if float32 and isinstance(value, Affine):
            relaxation.errors[number] = error = _affine_error(value, magnitudes)
            interval = sum_of([interval, ([-v for v in error[0]], *error)])
        elif float32:
            lower, upper, exponent = interval
            magnitudes.append(((list(map(max, map(abs, lower), map(abs, upper))), exponent), 0, ([0] * len(lower), 0)))
        if number in net.sources:
            if anchor != INTERVAL:
                interval = _refined(number, interval, net, _bounds_of_ends(number, relaxation, ends, float32, poll))
            for neuron, active in path:
                source, component = net.neurons[neuron]
                interval = cut_interval(interval, component, active) if source == number else interval
            if any(map(gt, interval[0], interval[1])):
                return None
            relaxation.intervals[number] = interval
    return relaxation


def _image(number: int, affine: Affine, images: list[Interval], relaxation: Relaxation) -> Interval:
    """Interval arithmetic with the map of an affine value written out."""
    if not affine.mixes:
        bias, exponent = affine.bias
        return sum_of([(bias, bias, exponent), *(matrix.image(images[source]) for source, matrix in affine.terms)])
    ends = []
    for i in range(len(affine.bias[0])):
        pending = _component(number, i, len(affine.bias[0]), 1)
        constant = relaxation.write_out(pending, {})
        mirrored = {v: ([-c for c in w], e) for v, (w, e) in pending.items()}
        ends.append((constant + relaxation.least(pending), constant - relaxation.least(mirrored)))
    return _enclosure(ends)


def _bounds_of_ends(
    number: int, relaxation: Relaxation, ends: Ends | None, float32: bool, poll: Callable[[], object]
) -> Callable[[int, int], Fraction | None]:
    """A lower bound of a component of a value (side 0), or of what is less it (side 1), by the first relu applied to it."""
    relus = (v for v in relaxation.net.values if isinstance(v, Activation) and v.kind == "relu" and v.source == number)
    relu, size = next(relus, None), relaxation.net.sizes[number]

    def bound(component: int, side: int) -> Fraction | None:
        poll()
        if ends is None or relu is None:
            return relaxation.lower_bound(_component(number, component, size, 1 - 2 * side))
        function = Linear([(number, component, Fraction(1 - 2 * side))], Fraction(0))
        return relaxation.least_case(function, *ends(relu.first + component, side), float32)

    return bound


def _refined(number: int, interval: Interval, net: Network, bound: Callable[[int, int], Fraction | None]) -> Interval:
    """The intersection with the bounds by lines, where a curve reads the value or the interval leaves the sign open."""
    lower, upper, e = interval
    ends = [(scaled(low, e), scaled(high, e)) for low, high in zip(lower, upper, strict=True)]
    for i, (low, high) in enumerate(ends):
        if low < 0 < high or (number in net.curved and low < high):
            below, above = bound(i, 0), bound(i, 1)
            ends[i] = low if below is None else max(low, below), high if above is None else min(high, -above)
    return _enclosure(ends)


def _component(number: int, i: int, size: int, sign: int) -> dict[int, Vector]:
    """The function that is component ``i`` of a value, times ``sign``."""
    return {number: ([sign * (j == i) for j in range(size)], 0)}


def _enclosure(ends: list[tuple[Fraction, Fraction]]) -> Interval:
    numbers, exponent = dyadic(end for pair in ends for end in pair)
    return outward(numbers[::2], numbers[1::2], exponent)


def cut_interval(interval: Interval, component: int, active: bool) -> Interval:
    """The interval where the component is ``>= 0`` (active) or ``<= 0``."""
    lower, upper, e = list(interval[0]), list(interval[1]), interval[2]
    lower[component] = max(lower[component], 0) if active else lower[component]
    upper[component] = upper[component] if active else min(upper[component], 0)
    return lower, upper, e


def _affine_error(affine: Affine, known: list[Magnitude]) -> Vector:
    """The error ``gamma A + 2 B`` of an affine value, whose magnitude joins the ``known`` ones of all values before it."""
    bias, places = affine.bias
    sizes, underflows, below = [([abs(b) for b in bias], places)], [([1] * len(bias), -124)], 0
    for source, matrix in affine.terms:
        if matrix.bits and matrix.bits + matrix.exponent > 127:
            raise CertificateError("a weight is too large for float32.")
        (a, e), roundings, (b, f) = known[source]
        below = max(below, roundings)
        sizes.append((matrix.magnitudes(a), e + matrix.exponent))
        counts = [len(columns) for columns, _ in matrix.rows]
        read = [sum(map(a.__getitem__, columns)) for columns, _ in matrix.rows]
        underflows += [(matrix.magnitudes(b), f + matrix.exponent), (counts, -124), (read, e - 124)]
    size, underflow = (outward([], *total(parts))[1:] for parts in (sizes, underflows))
    own, roundings = below + affine.longest + 4, 2 * below + affine.longest + 4
    if 2 * roundings >= 2**24:
        raise CertificateError("the network is too long for float32: its error bound has no meaning.")
    share = [-(-(v << 2 * BITS) * roundings // (2**24 - roundings)) for v in size[0]], size[1] - 2 * BITS
    error = outward([], *total([share, underflow, underflow]))[1:]
    reached, places = total([size, error])
    if any(reached) and bits(reached) + places > 127:
        raise CertificateError("a value may be too large for float32.")
    known.append((size, own, underflow))
    return error
