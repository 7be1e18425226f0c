"""Regions: rounding outward for proofs and inward for attacks, exact membership, refusals."""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydual import Ball, InputError, Region
from pydual.region import rational_box, round_down, round_up

rationals = st.one_of(
    st.fractions(min_value=-10, max_value=10),
    st.floats(allow_nan=False, allow_infinity=False).map(Fraction),
    st.decimals(min_value=-10, max_value=10, places=17).map(Fraction),
    st.sampled_from([Fraction(0), Fraction(1, 10**400), -Fraction(1, 10**400), Fraction(sys.float_info.max) + 1]),
)


@given(rationals)
def test_rounding_is_the_nearest_float_on_either_side(value: Fraction) -> None:
    down, up = round_down(value), round_up(value)
    assert down <= value <= up  # rationals and floats compare exactly
    assert math.nextafter(down, math.inf) > value
    assert math.nextafter(up, -math.inf) < value


@pytest.mark.parametrize("text", ["0.1", "-0.1", "0.5", "1e-400", "-1e-400", "0", "123456789.123456789"])
def test_decimals_round_as_the_fractions_they_are(text: str) -> None:
    assert round_down(Decimal(text)) == round_down(Fraction(text))
    assert round_up(Decimal(text)) == round_up(Fraction(text))


def test_rounding_beyond_the_largest_float() -> None:
    huge, largest = Fraction(10**400), sys.float_info.max
    assert (round_down(huge), round_up(huge)) == (largest, math.inf)
    assert (round_down(-huge), round_up(-huge)) == (-math.inf, -largest)
    assert (round_down(Decimal("1e400")), round_up(Decimal("1e400"))) == (largest, math.inf)


def test_rounding_never_gives_a_negative_zero() -> None:
    assert math.copysign(1.0, round_up(Fraction(0))) == 1.0
    assert math.copysign(1.0, round_down(Decimal("-0.0"))) == 1.0


def test_the_box_of_one_third_has_no_float_inside() -> None:
    region = rational_box([Fraction(1, 3)], [Fraction(1, 3)])
    assert Fraction(region.lower[0]) < Fraction(1, 3) < Fraction(region.upper[0])
    assert region.inner_lower[0] > region.inner_upper[0]
    assert not region.contains(region.lower) and not region.contains(region.upper)


@given(st.lists(st.tuples(rationals, rationals), min_size=1, max_size=4), st.data())
def test_a_float_is_in_the_region_exactly_if_it_is_between_the_rational_bounds(
    pairs: list[tuple[Fraction, Fraction]], data: st.DataObject
) -> None:
    lower, upper = [min(pair) for pair in pairs], [max(pair) for pair in pairs]
    limit = Fraction(sys.float_info.max)
    if any(abs(v) > limit for v in lower + upper):
        return
    region = rational_box(lower, upper)
    ends = [(round_down(a), round_up(a), round_down(b), round_up(b), 0.0) for a, b in zip(lower, upper, strict=True)]
    x = [data.draw(st.sampled_from(end)) for end in ends]
    truth = all(a <= Fraction(v) <= b for a, v, b in zip(lower, x, upper, strict=True))
    assert region.contains(np.array(x)) == truth


def test_ball_membership_is_exact_at_the_boundary() -> None:
    ball = Ball([0.0, 0.0], 5.0, "l2")
    assert ball.contains(np.array([3.0, 4.0]))
    assert not ball.contains(np.array([3.0, math.nextafter(4.0, 5.0)]))
    tenth = Ball([0.0] * 3, 0.3, "l1")  # in floating point 0.1 + 0.1 + 0.1 > 0.3; the rationals decide otherwise
    exact = 3 * Fraction(0.1) <= Fraction(0.3)
    assert tenth.contains(np.full(3, 0.1)) == exact


@given(st.sampled_from(["l1", "l2"]), st.lists(st.integers(-8, 8), min_size=2, max_size=3), st.integers(0, 16))
def test_ball_membership_against_integers(norm: str, point: list[int], radius: int) -> None:
    x = np.array(point) / 4.0
    size = sum(abs(v) for v in point) if norm == "l1" else sum(v * v for v in point)
    truth = size <= (radius if norm == "l1" else radius**2)
    region = Region([-2.0] * len(point), [2.0] * len(point), Ball([0.0] * len(point), radius / 4.0, norm))
    assert region.contains(x) == truth


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0], [1.0, 2.0]), "1 and 2"),
        (([2.0], [1.0]), "empty interval"),
        (([0.0, float("nan")], [1.0, 1.0]), "Input 1 .* finite"),
        (([0.0], [float("inf")]), "finite"),
        ((["a"], [1.0]), "'lower' must be an array of real numbers"),
        (([1j], [1.0]), "real numbers"),
        (([[0.0], [1.0, 2.0]], [1.0]), "real numbers"),
        (([0.0], [1.0], None, [-1.0], [1.0]), "outside of the box"),
        (([0.0], [1.0], None, [0.0], [float("nan")]), "outside of the box"),
        (([0.0], [1.0], None, [0.0, 0.0], [1.0]), "inner bounds must have 1"),
        (([0.0], [1.0], Ball([0.0, 0.0], 1.0, "l2")), "2 coordinates, the box 1"),
    ],
)
def test_a_bad_region_is_one_sentence(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Region(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0], 1.0, "linf"), "box for 'linf'"),
        (([0.0], -1.0, "l2"), "at least 0"),
        (([0.0], float("nan"), "l2"), "at least 0"),
        (([0.0], "big", "l1"), "radius"),
        (([float("inf")], 1.0, "l2"), "NaN or infinity"),
    ],
)
def test_a_bad_ball_is_one_sentence(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Ball(*arguments)


def test_points_that_do_not_fit() -> None:
    region = Region([0.0, 0.0], [1.0, 1.0])
    with pytest.raises(InputError, match="1 coordinates, the region 2"):
        region.contains(np.array([0.5]))
    assert not region.contains(np.array([0.5, np.nan]))
    assert not region.contains(np.array([0.5, np.inf]))
