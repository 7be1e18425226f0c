"""Conditions and checkers: exact semantics, the X and Y notation, robustness balls, refusals."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydual import Checker, InputError, Region, X, Y, robustness
from pydual.checker import MAX_DEPTH, And, Atom, Condition, Linear, Or
from pydual.region import rational_box

UNIT = Region([0.0, 0.0], [1.0, 1.0])
HERE = np.array([0.5, 0.25])


def judge(condition: Condition, y: list[float], x: np.ndarray = HERE) -> bool:
    return Checker(UNIT, condition).is_catastrophe(x, np.array(y))


@pytest.mark.parametrize("module", ["pydual.checker", "pydual.checkers.traced", "pydual.io.witness"])
def test_the_examples_of_the_docstrings(module: str) -> None:
    result = doctest.testmod(import_module(module))
    assert result.attempted and not result.failed


# ---- semantics


@pytest.mark.parametrize(
    ("atom", "below", "at", "above"),
    [
        (Y[0] <= 0.5, True, True, False),
        (Y[0] < 0.5, True, False, False),
        (Y[0] >= 0.5, False, True, True),
        (Y[0] > 0.5, False, False, True),
    ],
)
def test_comparisons_are_exact_at_the_boundary(atom: Condition, below: bool, at: bool, above: bool) -> None:
    assert judge(atom, [math.nextafter(0.5, 0)]) == below
    assert judge(atom, [0.5]) == at
    assert judge(atom, [math.nextafter(0.5, 1)]) == above


def test_a_decimal_string_is_not_the_float_next_to_it() -> None:
    assert Fraction(0.1) > Fraction("0.1")
    assert judge(Y[0] <= 0.1, [0.1])
    assert not judge(Y[0] <= "0.1", [0.1])
    assert judge(Y[0] <= "0.1", [math.nextafter(0.1, 0)])


def test_sums_that_floating_point_gets_wrong() -> None:
    assert 0.1 + 0.2 != 0.3 and Fraction(0.1) + Fraction(0.2) > Fraction(0.3)
    assert judge(Y[0] + Y[1] > Y[2], [0.1, 0.2, 0.3])
    assert judge(Y[0] + Y[1] - Y[2] > 0, [1e300, 1.0, 1e300])  # 1e300 + 1.0 is 1e300 in floating point


def test_and_binds_closer_than_or() -> None:
    condition = (Y[0] <= 0) & (Y[1] <= 0) | (Y[2] <= 0)
    assert judge(condition, [1.0, 1.0, 0.0])
    assert judge(condition, [0.0, 0.0, 1.0])
    assert not judge(condition, [0.0, 1.0, 1.0])


def test_inputs_count_in_the_condition_and_in_the_region() -> None:
    condition = X[0] + Y[0] >= 1
    assert judge(condition, [0.5])
    assert not judge(condition, [0.25])
    assert not judge(condition, [9.0], np.array([1.5, 0.0]))
    assert not judge(condition, [math.nan]) and not judge(condition, [math.inf])
    assert not judge(condition, [9.0], np.array([math.nan, 0.0]))


def test_the_inner_bounds_decide() -> None:
    checker = Checker(rational_box([Fraction(1, 10)], [Fraction(3, 10)]), Y[0] <= 0)
    assert checker.region.lower[0] < Fraction(1, 10) and checker.region.upper[0] >= Fraction(3, 10)
    assert not checker.is_catastrophe(checker.region.lower, [0.0])
    assert checker.is_catastrophe(checker.region.inner_lower, [0.0])


def test_arrays_of_any_shape_are_read_row_major() -> None:
    region = Region(np.zeros((2, 2)), np.ones((2, 2)))
    checker = Checker(region, (X[1] >= 1) & (Y[2] >= 1))
    assert checker.is_catastrophe(np.array([[0, 1], [0, 0]]), np.array([[0, 0], [1, 0]], dtype=np.float32))


numbers = st.integers(-3, 3)
terms = st.builds(
    lambda a, b, c, d: a * X[0] + b * Y[0] + c * Y[1] + d,
    *[st.one_of(numbers, st.fractions(-2, 2, max_denominator=5)) for _ in range(4)],
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    st.builds(Atom, terms, st.booleans()),
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)), st.sampled_from([And, Or]), st.lists(inner, min_size=1)
    ),
    max_leaves=8,
)


@given(conditions, st.lists(st.integers(-4, 4), min_size=3, max_size=3))
def test_the_sign_of_the_margin_decides_up_to_strictness(condition: Condition, v: list[int]) -> None:
    checker = Checker(Region([-4.0], [4.0]), condition)
    x, y = [v[0]], v[1:]
    margin = checker.margin(x, y)
    if margin < 0:
        assert checker.is_catastrophe(x, y)
    if checker.is_catastrophe(x, y):
        assert margin <= 0


def test_the_margin_is_the_min_of_max() -> None:
    checker = Checker(UNIT, ((Y[0] <= 1) & (Y[1] <= 5)) | (Y[0] >= 10))
    assert checker.margin(HERE, [3.0, 4.0]) == 2  # max(3 - 1, 4 - 5) = 2, 10 - 3 = 7
    assert checker.margin(HERE, [9.5, 4.0]) == Fraction(1, 2)


# ---- notation


def value(term: Linear, x: list[int], y: list[int]) -> Fraction:
    return term.at([Fraction(v) for v in x], [Fraction(v) for v in y])


@given(numbers, numbers, numbers)
def test_terms_are_what_python_says(a: int, b: int, c: int) -> None:
    x, y = [5, 7], [11, 13]
    term = a * X[0] - (b * Y[1] - X[1] / 2) * 3 + (c - Y[0]) + 1 - X[0]
    assert value(term, x, y) == a * 5 - (b * 13 - Fraction(7, 2)) * 3 + (c - 11) + 1 - 5
    assert all([*term.x.values(), *term.y.values()])  # zeros are dropped


@pytest.mark.parametrize("number", [2, 2.0, "2", Fraction(2), np.float64(2), np.float32(2), np.int64(2), np.uint8(2)])
def test_numbers_of_all_kinds_on_either_side(number: Any) -> None:
    assert (Y[0] <= number) == (Y[0] <= 2)
    assert Y[0] * number == Y[0] * 2
    assert Y[0] + number == Y[0] + 2 and Y[0] - number == Y[0] - 2
    if not isinstance(number, str):
        assert (number >= Y[0]) == (Y[0] <= 2)
        assert (number < Y[0]) == (Y[0] > 2)
        assert number * Y[0] == Y[0] * 2
        assert number - Y[0] == 2 + -Y[0]


def test_a_float32_is_taken_exactly() -> None:
    assert (Y[0] <= np.float32(0.1)).margin.constant == -Fraction(float(np.float32(0.1)))


def test_long_conditions_stay_flat() -> None:
    condition = Y[0] <= 0
    for j in range(1, 3000):
        condition = condition | (Y[j] <= 0)
    assert isinstance(condition, Or) and len(condition.parts) == 3000
    assert Checker(UNIT, condition).is_catastrophe(HERE, [1.0] * 2999 + [0.0])


def test_numpy_integers_number_variables() -> None:
    assert Y[np.int64(3)] == Y[3]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Y[-1], "number them by integers from 0"),
        (lambda: X["a"], "no variable"),
        (lambda: Y[0:2], "no variable"),
        (lambda: Y[0] * Y[1], "must be linear"),
        (lambda: Y[0] / Y[1], "must be linear"),
        (lambda: Y[0] / 0, "divides by zero"),
        (lambda: Y[0] <= math.nan, "not a finite number"),
        (lambda: Y[0] <= math.inf, "not a finite number"),
        (lambda: Y[0] <= "abc", "not a finite number"),
        (lambda: Y[0] <= [1, 2], "not a finite number"),
        (lambda: Y[0] <= Y[1] <= Y[2], "no truth value"),
        (lambda: (Y[0] <= 0) and (Y[1] <= 0), "no truth value"),
        (lambda: (Y[0] <= 0) & True, "got bool"),
        (lambda: Checker(UNIT, Y[0] == 0), "got bool"),
        (lambda: Checker(UNIT, lambda x, y: True), "got function"),
        (lambda: Checker(UNIT, And(())), "And without parts"),
        (lambda: Checker(UNIT, Or((Y[0] <= 0, Y[1]))), "got Linear"),  # type: ignore[arg-type]
        (lambda: Checker(UNIT, X[2] <= 0), r"X\[2\], but the region has 2"),
        (lambda: Checker(UNIT, Y[3] <= 0, outputs=3), r"Y\[3\], but the checker has 3"),
    ],
)
def test_bad_notation_is_one_sentence(act: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        act()


def test_variables_cannot_be_iterated_forever() -> None:
    with pytest.raises(TypeError):
        iter(Y)  # type: ignore[arg-type]


def test_deep_nesting_is_refused() -> None:
    condition: Condition = Y[0] <= 0
    for level in range(10_000):
        condition = (Or if level % 2 else And)((condition, Y[1] <= 0))
        if level + 1 == MAX_DEPTH:
            assert Checker(UNIT, condition).is_catastrophe(HERE, [0.0, 0.0])
    with pytest.raises(InputError, match="flatten"):
        Checker(UNIT, condition)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([0.5], [0.0, 0.0], "1 coordinates, the region 2"),
        ([0.5, 0.5], [0.0], "1 coordinates, the checker speaks of at least 2"),
        ([0.5, 0.5], ["a", "b"], "real numbers"),
    ],
)
def test_points_that_do_not_fit(x: list, y: list, message: str) -> None:
    checker = Checker(UNIT, Y[1] <= 0)
    for judge in (checker.is_catastrophe, checker.margin):
        with pytest.raises(InputError, match=message):
            judge(x, y)


def test_outputs_that_were_declared_must_all_be_given() -> None:
    with pytest.raises(InputError, match="2 coordinates, the checker speaks of 3"):
        Checker(UNIT, Y[1] <= 0, outputs=3).is_catastrophe(HERE, [0.0, 0.0])


def test_a_margin_needs_finite_numbers() -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        Checker(UNIT, Y[0] <= 0).margin(HERE, [math.nan])


# ---- robustness


def distance(a: np.ndarray, b: np.ndarray, norm: str) -> Fraction:
    """The exact distance; its square for l2."""
    steps = [abs(Fraction(float(p)) - Fraction(float(q))) for p, q in zip(a, b, strict=True)]
    return {"linf": max(steps), "l1": sum(steps, Fraction(0)), "l2": sum((s * s for s in steps), Fraction(0))}[norm]


@given(
    st.sampled_from(["linf", "l2", "l1"]),
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=4),
    st.floats(0, 1),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_ball_is_exact(norm: str, center: list[float], radius: float, clipped: bool, seed: int) -> None:
    clip = (0.1, 0.9) if clipped else None
    point = np.array(center)
    limit = Fraction(radius) ** 2 if norm == "l2" else Fraction(radius)
    if clipped and any(not Fraction(0.1) - Fraction(radius) <= v <= Fraction(0.9) + Fraction(radius) for v in center):
        with pytest.raises(InputError, match="does not meet clip"):
            robustness(point, 0, radius, norm, clip, classes=2)
        return
    region = robustness(point, 0, radius, norm, clip, classes=2).region
    for x in samples(point, radius, np.random.default_rng(seed)):
        truth = distance(x, point, norm) <= limit and (not clipped or bool(np.all((x >= 0.1) & (x <= 0.9))))
        assert region.contains(x) == truth
        if truth:  # what is proved covers it
            assert np.all(region.lower <= x) and np.all(x <= region.upper)


def samples(center: np.ndarray, radius: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Points around the ball, many of them at its very boundary as floating point sees it."""
    corners = center + radius * rng.choice([-1.0, 1.0, 0.0], (4, center.size))
    axes = [center + radius * step for step in np.eye(center.size)]
    inside = center + radius * rng.uniform(-1, 1, (4, center.size))
    near = [np.nextafter(p, target) for p in (*corners, *axes) for target in (-np.inf, np.inf)]
    return [center, *corners, *axes, *inside, *near, *(np.clip(p, 0.1, 0.9) for p in (*corners, *axes))]


def test_another_class_at_least_as_high_is_the_catastrophe() -> None:
    checker = robustness(HERE, 1, 0.0, classes=3)
    assert checker.outputs == 3
    assert not checker.is_catastrophe(HERE, [0.0, 1.0, math.nextafter(1.0, 0.0)])
    assert checker.is_catastrophe(HERE, [0.0, 1.0, 1.0])
    assert checker.margin(HERE, [0.25, 1.0, 0.5]) == Fraction(1, 2)


def test_a_float32_image_of_any_shape() -> None:
    image = np.full((1, 2, 2), 0.1, dtype=np.float32)
    region = robustness(image, 0, 0.5, clip=(0, 1)).region
    assert region.size == 4 and region.lower.tolist() == [0.0] * 4
    assert region.inner_upper[0] <= Fraction(float(np.float32(0.1))) + Fraction(1, 2) <= region.upper[0]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((HERE, 0, 0.1, "l7"), {}, "Unknown norm 'l7'"),
        ((HERE, 0, -0.1), {}, "at least 0"),
        ((HERE, 0, math.nan), {}, "at least 0"),
        ((HERE, 0, math.inf), {}, "at least 0"),
        ((HERE, 0, "big"), {}, "The radius must be"),
        ((HERE, 0, [0.1, 0.2]), {}, "The radius is"),
        ((HERE, 10, 0.1), {}, "outside 0 .. 9"),
        ((HERE, -1, 0.1), {}, "outside 0 .. 9"),
        ((HERE, 0.5, 0.1), {}, "must be integers"),
        ((HERE, 0, 0.1), {"classes": 1}, "at least 2"),
        (([math.nan], 0, 0.1), {}, "NaN or infinity"),
        ((["a"], 0, 0.1), {}, "real numbers"),
        ((HERE, 0, 0.1), {"clip": (0.6, 1.0)}, "does not meet clip"),
        ((HERE, 0, 0.1), {"clip": (0.0,)}, "clip must be a pair"),
        ((HERE, 0, 0.1), {"clip": 1.0}, "clip must be a pair"),
        ((HERE, 0, 0.1), {"clip": (math.nan, 1.0)}, "finite"),
    ],
)
def test_bad_robustness_queries_are_one_sentence(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        robustness(*arguments, **options)
