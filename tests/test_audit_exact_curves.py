"""The exact audit's sigmoid and tanh: enclosures against 60 digits, lines against dense points, at any magnitude."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_audit import curve, derivative, line_above

from pydual.audit.exact_curves import ONE, UNIT, curve_lines, curve_range, curve_slope, curve_value

KINDS = ("sigmoid", "tanh")


def dyadic(p: Fraction) -> tuple[int, int]:
    return p.numerator, 1 - p.denominator.bit_length()


kinds = st.sampled_from(KINDS)
points = st.one_of(
    st.floats(-1e300, 1e300), st.floats(-50, 50), st.floats(-1e-3, 1e-3), st.integers(-140, 140).map(float)
).map(Fraction)


def interval(a: Fraction, b: Fraction) -> tuple[int, int, int]:
    """The ends in order, with a common exponent."""
    e = min(dyadic(a)[1], dyadic(b)[1])
    low, high = sorted((a, b))
    return int(low / Fraction(2) ** e), int(high / Fraction(2) ** e), e


@given(kinds, st.one_of(st.tuples(st.integers(-9, 9), st.integers(-40, 40)), points.map(dyadic)))
def test_values_and_slopes_are_enclosed(kind: str, point: tuple[int, int]) -> None:
    p = point[0] * Fraction(2) ** point[1]
    for (low, high), truth in (
        (curve_value(kind, point), curve(kind, p)),
        (curve_slope(kind, point), derivative(kind, p)),
    ):
        slack = Fraction(1, 2**130)  # of the 40 digits
        assert Fraction(low, UNIT) - slack <= truth <= Fraction(high, UNIT) + slack
        assert 0 <= high - low <= UNIT >> 90


def test_zero_is_zero_in_any_unit() -> None:
    """Intervals of large values have large exponents, and 0 among their ends."""
    for e in (-9000, -1, 0, 1, 8, 9, 9000):
        assert curve_value("sigmoid", (0, e)) == (UNIT // 2, UNIT // 2) and curve_value("tanh", (0, e)) == (0, 0)


def test_values_by_hand() -> None:
    """1 / (1 + e), with Euler's number to 30 digits; and the ends of the range."""
    e = Fraction(2718281828459045235360287471352, 10**30)
    for low, high, truth in (
        (*curve_value("sigmoid", (-1, 0)), 1 / (1 + e)),
        (*curve_value("tanh", (1, -1)), (e - 1) / (e + 1)),
    ):
        assert abs(Fraction(low, UNIT) - truth) < Fraction(1, 10**28) > abs(Fraction(high, UNIT) - truth)
    assert curve_value("sigmoid", (1, 4000))[1] == UNIT and curve_value("sigmoid", (-1, 4000))[0] == 0
    assert curve_value("tanh", (-1, 4000))[0] == -UNIT and curve_slope("tanh", (1, 4000))[0] == 0
    assert curve_value("tanh", (1, -4000))[0] <= 0 <= curve_value("tanh", (1, -4000))[1]


@given(kinds, points, points, st.booleans())
def test_lines_hold_at_any_magnitude(kind: str, p: Fraction, q: Fraction, parallel: bool) -> None:
    low, high, e = interval(p, q)
    a, c, above, top = curve_lines(kind, low, high, e, parallel)
    assert 0 <= a <= ONE and 0 <= above <= ONE
    floor, ceiling = curve_range(kind, low, high, e)
    scale = Fraction(2) ** e
    touch = [Fraction(float(t)) for t in np.linspace(-8, 8, 9)]
    inside = {low * scale + (high - low) * scale * Fraction(k, 64) for k in range(65)}
    inside |= {t for t in touch if low * scale <= t <= high * scale}
    slack = Fraction(1, 2**130)
    for x in inside:
        y = curve(kind, x)
        assert Fraction(a, ONE) * x + Fraction(c, UNIT) <= y + slack
        assert y - slack <= Fraction(above, ONE) * x + Fraction(top, UNIT)
        assert Fraction(floor, UNIT) - slack <= y <= Fraction(ceiling, UNIT) + slack


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_those_of_the_recipe(kind: str, parallel: bool) -> None:
    """With the least constants that are right: the tangent points are the best ones."""
    rng = np.random.default_rng(0)
    for _ in range(150):
        p, q = (Fraction(float(v)) for v in rng.normal(size=2) * rng.choice([0.1, 2.0, 30.0]))
        low, high, e = interval(p, q)
        a, c, above, top = curve_lines(kind, low, high, e, parallel)
        for slope, shift, ends, mirrored in ((above, top, (low, high), False), (a, c, (-high, -low), True)):
            wanted, constant = line_above(kind, *(Fraction(v) * Fraction(2) ** e for v in ends), parallel)
            if mirrored:
                constant = (kind == "sigmoid") - constant
            assert abs(Fraction(slope, ONE) - wanted) < Fraction(1, 10**10)  # the chord of a short interval cancels
            assert abs(Fraction(shift, UNIT) - constant) < Fraction(1, 10**9)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_intervals(kind: str) -> None:
    """Points, neighbors, subnormal and astronomic widths: neither errors nor lines that do not hold at the ends."""
    ends = [(0, -9000), (0, 9), (0, 9000), (1, -9000), (-1, -9000), (5, -1074), (-7, -1074), (1, 0), (-1, 0), (2**60 + 1, -60)]
    ends += [(3, 996), (-3, 996), (1, 9000), (-1, 9000)]
    for n, e in ends:
        for m, f in ends:
            common = min(e, f)
            low, high = sorted((n << (e - common), m << (f - common)))
            for parallel in (False, True):
                a, c, above, top = curve_lines(kind, low, high, common, parallel)
                for p in (low, high):
                    bottom, roof = curve_value(kind, (p, common))
                    x = Fraction(p) * Fraction(2) ** common
                    assert Fraction(a, ONE) * x + Fraction(c, UNIT) <= Fraction(roof, UNIT)
                    assert Fraction(above, ONE) * x + Fraction(top, UNIT) >= Fraction(bottom, UNIT)
                span = Fraction(low) * Fraction(2) ** common, Fraction(high) * Fraction(2) ** common
                floor, ceiling = curve_range(kind, low, high, common)
                assert Fraction(above, ONE) * span[0] + Fraction(top - ceiling, UNIT) <= Fraction(1, 2**90)
                assert Fraction(a, ONE) * span[1] + Fraction(c - floor, UNIT) >= -Fraction(1, 2**90)
