"""Ball leaves in exact arithmetic: no value is far from its value at an l2 ball's center. PROOFS.md, section 4.

Standard library only.

The radii hold in the whole ball, so they and the center's values are the same in all cells; a leaf adds its curvatures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isqrt
from operator import mul

from pydual.audit.exact_bounds import INTERVAL, Lines, Relaxation, lines_of
from pydual.audit.exact_network import Activation, Affine, Matrix, Network
from pydual.audit.exact_region import BITS, Interval, Vector, bits, dyadic, outward, scaled, sum_of
from pydual.audit.query import Ball
from pydual.errors import CertificateError

ENTRY_BITS = 104  # of the greatest entry of a matrix that is factored
PIVOT_BITS = 40  # by which a pivot may be smaller than the entry that it was
LIPSCHITZ = {"relu": Fraction(1), "tanh": Fraction(1), "sigmoid": Fraction(1, 4)}


@dataclass
class Surroundings:
    """Of each value the image of the center, and how far the ball's images are from it at most; None is infinity."""

    centers: list[Interval]
    radii: list[Fraction | None]

    def curved(self, relaxation: Relaxation, curvatures: list[Fraction]) -> Relaxation:
        """The relaxation of a ball leaf: relus' lines with these curvatures, one for each relu."""
        lines, given = dict(relaxation.lines), iter(curvatures)
        for number, value in enumerate(relaxation.net.values):
            if not isinstance(value, Activation) or value.kind != "relu":
                continue
            curvature, radius = next(given), self.radii[value.source]
            if curvature and radius is None:
                raise CertificateError("a ball leaf has a curvature where nothing is known of the distance.")
            plain, interval = lines[number], relaxation.intervals[value.source]
            if plain.pairs:
                around = interval, self.centers[value.source], curvature, radius or Fraction(0)
                lines[number] = BallLines(plain.ends, plain.places, plain.pairs, *around)
        return replace(relaxation, lines=lines)


@dataclass
class BallLines(Lines):
    """The lines of a relu in a ball leaf: open neurons have the slope below for both signs of a coefficient."""

    interval: Interval
    center: Interval
    curvature: Fraction
    radius: Fraction

    def lower_bound(self, w: Vector) -> tuple[Vector, Fraction]:
        """Coefficients ``n`` and a constant with ``w . max(p, 0) >= n . p + constant``."""
        shift, constant = bits(w[0]), Fraction(0)
        n = [c * below[0] >> shift for c, (below, _) in zip(w[0], self.pairs, strict=True)]
        exponent = w[1] + shift - BITS
        ends = [[scaled(v, side[2]) for v in column] for side in (self.interval, self.center) for column in side[:2]]
        for c, g, low, high, *center in zip(w[0], n, *ends, strict=True):
            if low < 0 < high:
                weight, rise = scaled(c, w[1]), scaled(g, exponent)
                parts = self._least(weight - rise, Fraction(0), high, *center), self._least(-rise, low, Fraction(0), *center)
                constant += min(parts)
        if any(low < 0 < high for low, high in zip(*self.interval[:2], strict=True)):
            constant -= self.curvature * self.radius**2
        return (n, exponent), constant if any(w[0]) else Fraction(0)

    def _least(self, slope: Fraction, low: Fraction, high: Fraction, below: Fraction, above: Fraction) -> Fraction:
        """At most ``slope p + curvature (p - c)^2`` for ``low <= p <= high`` and any ``below <= c <= above``."""
        if not self.curvature:
            return min(slope * low, slope * high)
        t = min(max(-slope / (2 * self.curvature), low - below), high - below)
        c = above if t >= 0 else below
        return min(slope * p + self.curvature * (2 * t * (p - c) - t * t) for p in (low, high))


def surroundings(net: Network, ball: Ball, norms: list[float], poll: Callable[[], object]) -> Surroundings:
    """Those of an l2 ball, where ``norms`` has a guess of the norm for each matrix of the affine values, in order."""
    point, exponent = dyadic(ball.center)
    centers, guesses = [outward(point, point, exponent)], iter(norms)
    radii: list[Fraction | None] = [Fraction(ball.radius)]
    for value in net.values:
        if isinstance(value, Activation):
            centers.append(outward(*lines_of(value, -INTERVAL, centers[value.source], {}, False).ends))
            radius, slope = radii[value.source], LIPSCHITZ.get(value.kind)
            radii.append(None if radius is None or slope is None else slope * radius)
        if not isinstance(value, Affine):
            continue
        bias, exponent = value.bias
        centers.append(sum_of([(bias, bias, exponent), *(matrix.image(centers[source]) for source, matrix in value.terms)]))
        reached = [(norm_above(matrix, next(guesses), poll), radii[source]) for source, matrix in value.terms]
        radii.append(None if any(r is None for _, r in reached) else sum((n * r for n, r in reached if r), Fraction(0)))
    return Surroundings(centers, radii)


def norm_above(matrix: Matrix, guess: float, poll: Callable[[], object]) -> Fraction:
    """At least the greatest singular value of a matrix."""
    columns = [0] * matrix.width
    for places, values in matrix.rows:
        for c, v in zip(places, values, strict=True):
            columns[c] += abs(v)
    rows = max((sum(map(abs, values)) for _, values in matrix.rows), default=0)
    square = scaled(rows * max(columns, default=0), 2 * matrix.exponent)
    if 0 < Fraction(guess) ** 2 < square:
        square = min(square, _square_above(matrix, Fraction(guess) ** 2, poll))
    spare = 2 * BITS + square.denominator.bit_length()
    return Fraction(isqrt((square.numerator << 2 * spare) // square.denominator) + 1, 1 << spare)


def _square_above(matrix: Matrix, square: Fraction, poll: Callable[[], object]) -> Fraction:
    """At least the greatest eigenvalue of the smaller Gram matrix ``G``, ``square`` and what ``square I - G`` lacks."""
    width = min(matrix.width, len(matrix.rows))
    lines = [[0] * max(matrix.width, len(matrix.rows)) for _ in range(width)]
    for i, (places, values) in enumerate(matrix.rows):
        for c, v in zip(places, values, strict=True):
            (lines[i] if width == len(matrix.rows) else lines[c])[c if width == len(matrix.rows) else i] = v
    unit = max(bits([sum(map(mul, line, line))]) for line in lines) - ENTRY_BITS
    diagonal = (square / scaled(1, unit + 2 * matrix.exponent)).__floor__()
    factor: list[list[int]] = []
    rest = [width] * width  # each entry is rounded by less than a unit
    for i, line in enumerate(lines):
        poll()
        gram = [sum(map(mul, line, other)) for other in lines[: i + 1]]
        *row, most = [-(v >> unit if unit >= 0 else v << -unit) for v in gram]
        most += diagonal
        form: list[int] = []
        for j, entry in enumerate(row):
            left = entry - sum(map(mul, form, factor[j]))
            share = left // factor[j][j] if factor[j][j] else 0
            form.append(share if share * share <= most else 0)
            left = abs(left - form[j] * factor[j][j])
            rest[i], rest[j] = rest[i] + left, rest[j] + left
        pivot = most - sum(map(mul, form, form))
        form.append(isqrt(pivot) if pivot > max(0, most >> PIVOT_BITS) else 0)
        rest[i] += abs(pivot - form[i] ** 2)
        factor.append(form)
    return square + scaled(max(rest), unit + 2 * matrix.exponent)
