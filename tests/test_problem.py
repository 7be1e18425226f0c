"""The normal form of a query: order, boxes, meaning, and a bound on its size."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pydual.problem
from pydual import Ball, Checker, InputError, Network, Region, X, Y
from pydual.audit import query
from pydual.checker import And, Atom, Condition, Linear, Or
from pydual.problem import Problem, normalize
from pydual.region import rational_box, round_down, round_up

INPUTS, OUTPUTS = 3, 2
NETWORK = Network.from_layers([(np.ones((OUTPUTS, INPUTS)), np.zeros(OUTPUTS))])
BOX = Region([-2.0] * INPUTS, [2.0] * INPUTS)
BALL = Region([-2.0] * INPUTS, [2.0] * INPUTS, Ball([0.0] * INPUTS, 2.5, "l2"))

coefficients = st.sampled_from([Fraction(c) for c in ("0", "0", "1", "-1", "3", "-1/3")])
constants = st.sampled_from([Fraction(c) for c in ("0", "1", "-1", "1/3", "-1/10", "5")])


@st.composite
def atoms(draw: st.DrawFn) -> Atom:
    strict, constant = draw(st.booleans()), draw(constants)
    if draw(st.booleans()):  # a bound of one input, or no variable at all
        c = draw(coefficients)
        return Atom(Linear({draw(st.integers(0, INPUTS - 1)): c} if c else {}, {}, constant), strict)
    x, y = ({i: c for i in range(size) if (c := draw(coefficients))} for size in (INPUTS, OUTPUTS))
    return Atom(Linear(x, y, constant), strict)


conditions: st.SearchStrategy[Condition] = st.recursive(
    atoms(),
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)), st.sampled_from([And, Or]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=10,
)
coordinates = st.sampled_from([0.0, 1.0, -1.0, 0.1, 1 / 3, math.nextafter(1 / 3, 1), math.nextafter(0.1, 0), 2.0, -2.0])


def closure(condition: Condition) -> Condition:
    """The condition with constraints of single inputs made closed, as problems have them."""
    if isinstance(condition, Atom):
        single = not condition.margin.y and len(condition.margin.x) == 1
        return Atom(condition.margin, condition.strict and not single)
    return type(condition)(tuple(closure(part) for part in condition.parts))


def covers(problem: Problem, x: np.ndarray, y: np.ndarray) -> bool:
    exact = [[Fraction(v) for v in values.tolist()] for values in (x, y)]
    return problem.region.contains(x) and all(margin.holds(*exact) for margin in problem.margins)


@settings(max_examples=300)
@given(conditions, st.lists(coordinates, min_size=5, max_size=5), st.sampled_from([BOX, BALL]))
def test_a_point_is_a_catastrophe_exactly_if_some_problem_has_it(
    condition: Condition, values: list[float], region: Region
) -> None:
    x, y = np.array(values[:INPUTS]), np.array(values[INPUTS:])
    problems = normalize(NETWORK, Checker(region, condition))
    found = any(covers(problem, x, y) for problem in problems)
    assert found == Checker(region, closure(condition)).is_catastrophe(x, y)
    if Checker(region, condition).is_catastrophe(x, y):
        assert found


def conjunctions(condition: Condition) -> list[tuple[Atom, ...]]:
    """The disjunctive normal form word by word as PROOFS.md says it."""
    if isinstance(condition, Atom):
        return [(condition,)]
    parts = [conjunctions(part) for part in condition.parts]
    if isinstance(condition, Or):
        return [conjunction for part in parts for conjunction in part]
    return [tuple(itertools.chain(*choice)) for choice in itertools.product(*parts)]


def reduced(region: Region, conjunction: tuple[Atom, ...]) -> tuple[list[float], list[float], tuple[Atom, ...]] | None:
    """One conjunction with its box, by the rules 1 to 4 of PROOFS.md, section 2."""
    low, high = ([Fraction(v) for v in bounds.tolist()] for bounds in (region.lower, region.upper))
    margins = []
    for atom in conjunction:
        x, y, d = atom.margin.x, atom.margin.y, atom.margin.constant
        if not x and not y:
            if d > 0 or (d == 0 and atom.strict):
                return None
        elif len(x) == 1 and not y:
            ((i, a),) = x.items()
            low[i], high[i] = (low[i], min(high[i], -d / a)) if a > 0 else (max(low[i], -d / a), high[i])
        else:
            margins.append(atom)
    if any(a > b for a, b in zip(low, high, strict=True)):
        return None
    return [round_down(v) for v in low], [round_up(v) for v in high], tuple(margins)


@settings(max_examples=300)
@given(conditions)
def test_problems_are_those_of_the_specification_in_its_order(condition: Condition) -> None:
    expected = [reduced(BOX, conjunction) for conjunction in conjunctions(condition)]
    problems = normalize(NETWORK, Checker(BOX, condition))
    found = [(p.region.lower.tolist(), p.region.upper.tolist(), p.margins) for p in problems]
    assert found == [problem for problem in expected if problem is not None]
    assert [p.index for p in problems] == list(range(len(problems)))


@given(conditions)
def test_the_audit_reads_the_same_problems(condition: Condition) -> None:
    checker = Checker(BALL, condition)
    theirs = query.problems(checker)
    ours = normalize(NETWORK, checker)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.region.lower.tolist(), a.region.upper.tolist()) == (b.lower, b.upper)
        assert [(m.margin.x, m.margin.y, m.margin.constant, m.strict) for m in a.margins] == [
            (m.x, m.y, m.constant, m.strict) for m in b.margins
        ]


def test_tightened_bounds_are_outward_for_proofs_and_inward_for_attacks() -> None:
    third = Fraction(1, 3)
    (problem,) = normalize(NETWORK, Checker(BOX, (X[1] <= third) & (X[1] >= "0.1") & (Y[0] <= 0)))
    region = problem.region
    assert region.upper[1] > third > region.inner_upper[1] == math.nextafter(region.upper[1], 0)
    assert region.lower[1] < Fraction("0.1") < region.inner_lower[1] == math.nextafter(region.lower[1], 1)
    assert (region.lower[0], region.upper[0], region.inner_lower[0]) == (-2.0, 2.0, -2.0)


def test_inward_bounds_of_the_region_stay() -> None:
    region = rational_box([Fraction(1, 3)] * INPUTS, [Fraction(2, 3)] * INPUTS)
    (problem,) = normalize(NETWORK, Checker(region, (X[0] >= region.lower[0]) & (X[0] <= 2) & (Y[0] <= 0)))
    assert problem.region.inner_lower.tolist() == region.inner_lower.tolist()
    assert problem.region.inner_upper.tolist() == region.inner_upper.tolist()


def test_a_region_that_nothing_tightens_is_shared() -> None:
    problems = normalize(NETWORK, Checker(BOX, (Y[0] <= 0) | (Y[1] <= 0)))
    assert all(problem.region is BOX for problem in problems)


def test_a_ball_stays_with_a_tightened_box() -> None:
    (problem,) = normalize(NETWORK, Checker(BALL, X[0] <= 1))
    assert problem.region.ball is BALL.ball and problem.margins == ()


# ---- size


def choices(count: int, first: Condition, second: Condition) -> Condition:
    return And((Or((first, second)),) * count)


def test_forty_choices_are_refused_and_not_enumerated() -> None:
    with pytest.raises(InputError, match="more than 100000 disjuncts"):
        normalize(NETWORK, Checker(BOX, choices(40, Y[0] <= 0, Y[1] <= 0)))


def test_disjuncts_that_cannot_hold_count_too() -> None:
    impossible = choices(40, Y[0] <= 0, Y[1] <= 0) & (X[0] <= -3)
    with pytest.raises(InputError, match="more than 100000 disjuncts"):
        normalize(NETWORK, Checker(BOX, impossible))


def test_what_cannot_hold_is_cut_before_it_branches() -> None:
    assert normalize(NETWORK, Checker(BOX, (X[0] <= -3) & choices(40, Y[0] <= 0, Y[1] <= 0))) == ()
    consistent = normalize(NETWORK, Checker(BOX, choices(40, X[0] <= -1, X[0] >= 1)))
    assert [(p.region.lower[0], p.region.upper[0]) for p in consistent] == [(-2.0, -1.0), (1.0, 2.0)]


def test_few_but_long_disjuncts_are_bounded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydual.problem, "MAX_STEPS", 1000)
    long = And((Or((Y[0] <= 0,) * 40), *((Y[1] <= 0,) * 40)))
    with pytest.raises(InputError, match="more than 1000 parts"):
        normalize(NETWORK, Checker(BOX, long))
    boxes = Or(tuple(X[0] <= Fraction(k, 1000) for k in range(400)))
    with pytest.raises(InputError, match="more than 1000 parts"):
        normalize(NETWORK, Checker(BOX, boxes))


def test_the_limit_itself_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydual.problem, "MAX_PROBLEMS", 8)
    assert len(normalize(NETWORK, Checker(BOX, choices(3, Y[0] <= 0, Y[1] <= 0)))) == 8
    with pytest.raises(InputError, match="more than 8 disjuncts"):
        normalize(NETWORK, Checker(BOX, Or((choices(3, Y[0] <= 0, Y[1] <= 0), Y[0] <= 1))))


@pytest.mark.parametrize(
    ("checker", "message"),
    [
        (Checker(Region([0.0], [1.0]), Y[0] <= 0), "region has 1 inputs, the network 3"),
        (Checker(BOX, Y[0] <= 0, outputs=5), "5 outputs, the network has 2"),
        (Checker(BOX, Y[2] <= 0), r"uses Y\[2\], but the network has 2"),
    ],
)
def test_a_checker_for_another_network_is_refused(checker: Checker, message: str) -> None:
    with pytest.raises(InputError, match=message):
        normalize(NETWORK, checker)


def test_the_audits_reading_of_a_query_is_bounded_too() -> None:
    either = Or((Y[0] <= 0, Y[0] >= 1))
    checker = Checker(Region(np.zeros(1), np.ones(1)), And((either,) * 100))
    network = Network.from_layers([(np.eye(1), np.zeros(1))])
    with pytest.raises(InputError, match="too many alternatives"):
        query.query_digest(checker)
    with pytest.raises(InputError, match="alternatives|disjuncts"):
        pydual.solve(network, checker)
