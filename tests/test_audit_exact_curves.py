"""The exact audit's sigmoid and tanh: enclosures against 60 digits, lines against dense points, at any magnitude."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_audit import curve, line_above

from pydual.audit.exact_curves import ONE, UNIT, curve_lines, curve_value

KINDS = ("sigmoid", "tanh")


kinds = st.sampled_from(KINDS)
points = st.one_of(
    st.floats(-1e300, 1e300), st.floats(-50, 50), st.floats(-1e-3, 1e-3), st.integers(-140, 140).map(float)
).map(Fraction)


def at(line: tuple[int, int], low: Fraction, p: Fraction) -> Fraction:
    """A line that is given by its slope and its value at the lower end of an interval."""
    return Fraction(line[0], ONE) * (p - low) + Fraction(line[1], UNIT)


@settings(deadline=None)
@given(kinds, st.one_of(st.tuples(st.integers(-9, 9), st.integers(-40, 40)).map(lambda t: t[0] * Fraction(2) ** t[1]), points))
def test_values_are_enclosed(kind: str, p: Fraction) -> None:
    low, high = curve_value(kind, p)
    slack = Fraction(1, 2**130)  # of the 40 digits
    assert Fraction(low, UNIT) - slack <= curve(kind, p) <= Fraction(high, UNIT) + slack
    assert 0 <= high - low <= UNIT >> 90


@pytest.mark.parametrize("p", [0.0, 2.0**-1074, 2.0**-120, 1e-9, 0.1, 0.7, 1.0, 3.5, 20.0, 69.4, 100.0, 127.9, 128.0, 700.0])
def test_values_are_enclosed_by_a_series(p: float) -> None:
    """exp(x) = (the sum of (x / 2**k)**i / i!) ** 2**k in rationals, independent of any library."""
    x, halvings, terms = Fraction(p), 14, 40
    total = term = Fraction(1)
    for i in range(1, terms):
        term = Fraction(int(term * x / 2**halvings / i * 2**400), 2**400)
        total += term
    for _ in range(halvings):
        total = Fraction(int(total * total * 2**400), 2**400)
    for sign in (1, -1):
        truth = total / (1 + total) if sign > 0 else 1 / (1 + total)
        low, high = curve_value("sigmoid", sign * x)
        assert Fraction(low, UNIT) <= truth + Fraction(1, 2**150) and truth <= Fraction(high, UNIT) + Fraction(1, 2**150)


def test_zero_is_zero() -> None:
    assert curve_value("sigmoid", Fraction(0)) == (UNIT // 2, UNIT // 2) and curve_value("tanh", Fraction(0)) == (0, 0)


def test_values_by_hand() -> None:
    """1 / (1 + e), with Euler's number to 30 digits; and the ends of the range."""
    e = Fraction(2718281828459045235360287471352, 10**30)
    for low, high, truth in (
        (*curve_value("sigmoid", Fraction(-1)), 1 / (1 + e)),
        (*curve_value("tanh", Fraction(1, 2)), (e - 1) / (e + 1)),
    ):
        assert abs(Fraction(low, UNIT) - truth) < Fraction(1, 10**28) > abs(Fraction(high, UNIT) - truth)
    large = Fraction(2**4000)
    assert curve_value("sigmoid", large)[1] == UNIT and curve_value("sigmoid", -large)[0] == 0
    assert curve_value("tanh", -large)[0] == -UNIT and curve_value("tanh", large)[1] == UNIT
    assert curve_value("tanh", 1 / large)[0] <= 0 <= curve_value("tanh", 1 / large)[1]


@settings(deadline=None)
@given(kinds, points, points, st.booleans())
def test_lines_hold_at_any_magnitude(kind: str, p: Fraction, q: Fraction, parallel: bool) -> None:
    low, high = sorted((p, q))
    below, above = curve_lines(kind, low, high, parallel)
    assert 0 <= below[0] <= ONE and 0 <= above[0] <= ONE
    touch = [Fraction(float(t)) for t in np.linspace(-8, 8, 9)]
    inside = {low + (high - low) * Fraction(k, 64) for k in range(65)} | {t for t in touch if low <= t <= high}
    slack = Fraction(1, 2**130)
    for x in inside:
        assert at(below, low, x) - slack <= curve(kind, x) <= at(above, low, x) + slack


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_those_of_the_recipe(kind: str, parallel: bool) -> None:
    """With the least constants that are right: the tangent points are the best ones."""
    rng = np.random.default_rng(0)
    for _ in range(150):
        low, high = sorted(Fraction(float(v)) for v in rng.normal(size=2) * rng.choice([0.1, 2.0, 30.0]))
        below, above = curve_lines(kind, low, high, parallel)
        for line, ends, mirrored in ((above, (low, high), False), (below, (-high, -low), True)):
            wanted, constant = line_above(kind, *ends, parallel)
            if mirrored:
                constant = (kind == "sigmoid") - constant
            assert abs(Fraction(line[0], ONE) - wanted) < Fraction(1, 10**10)  # the chord of a short interval cancels
            assert abs(at(line, low, Fraction(0)) - constant) < Fraction(1, 10**9)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_intervals(kind: str) -> None:
    """Points, neighbors, subnormal and astronomic widths: neither errors nor lines that do not hold at the ends."""
    ends = [(0, 0), (1, -9000), (-1, -9000), (5, -1074), (-7, -1074), (1, 0), (-1, 0), (2**60 + 1, -60)]
    ends += [(3, 996), (-3, 996), (1, 9000), (-1, 9000)]
    numbers = [n * Fraction(2) ** e for n, e in ends]
    for low, high in ((p, q) for p in numbers for q in numbers if p <= q):
        for parallel in (False, True):
            below, above = curve_lines(kind, low, high, parallel)
            for p in (low, high):
                bottom, roof = (Fraction(v, UNIT) for v in curve_value(kind, p))
                assert at(below, low, p) <= roof and at(above, low, p) >= bottom
            floor, ceiling = curve_value(kind, low)[0], curve_value(kind, high)[1]
            assert at(above, low, low) - Fraction(ceiling, UNIT) <= Fraction(1, 2**90)
            assert at(below, low, high) - Fraction(floor, UNIT) >= -Fraction(1, 2**90)
