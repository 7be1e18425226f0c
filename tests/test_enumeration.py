"""Finite and mixed regions: verdicts are those of rational brute force; leaves that list points prove no more than that."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from activation_patterns import true_minimum

import pydual
from pydual import (
    Attack,
    Ball,
    Certificate,
    CertificateError,
    Checker,
    Enumeration,
    InputError,
    Network,
    Region,
    Unknown,
    X,
    Y,
)
from pydual.audit.query import problems, query_digest
from pydual.certificate import ENUMERATION_LEAF, INPUT_SPLIT, INTERVAL, Proof, ProofTree
from pydual.operators.primitives import Relu
from pydual.problem import normalize

IDENTITY = Network.from_layers([(np.eye(2), np.zeros(2))])
ALL = np.ones(2, dtype=bool)
SQUARE = Region([-2.0, -2.0], [2.0, 2.0], integers=ALL)
LEVELS = ("exact", "rounded")


def random_network(rng: np.random.Generator, inputs: int) -> Network:
    sizes = [inputs, 5, 4, 2]
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    return Network.from_layers([(rng.normal(size=shape).round(2), rng.normal(size=shape[0]).round(2)) for shape in shapes])


def value_at(network: Network, x: list[float]) -> list[Fraction]:
    """Exact outputs of a chain of dense layers."""
    values = [Fraction(v) for v in x]
    for primitive in network.primitives:
        if isinstance(primitive, Relu):
            values = [max(v, Fraction(0)) for v in values]
            continue
        ((_, matrix),) = primitive.terms  # type: ignore[union-attr]
        rows = zip(np.asarray(matrix).tolist(), primitive.bias.tolist(), strict=True)  # type: ignore[union-attr]
        values = [sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(b)) for row, b in rows]
    return values


def lattice(region: Region) -> list[tuple[float, ...]]:
    axes = (range(int(a), int(b) + 1) for a, b in zip(region.lower, region.upper, strict=True))
    return [tuple(map(float, point)) for point in itertools.product(*axes)]


# regions


def test_integer_bounds_are_rounded_inward() -> None:
    region = Region([-1.5, 0.0], [2.5, 3.5], integers=np.array([True, False]))
    assert region.lower.tolist() == [-1.0, 0.0] and region.upper.tolist() == [2.0, 3.5] and region.count is None
    assert region.contains(np.array([1.0, 0.3])) and not region.contains(np.array([0.5, 0.3]))
    assert Region([0.5, 0.0], [3.0, 1.0], integers=ALL).count == 3 * 2
    assert Region([0.0, 7.0], [9.0, 7.0], integers=np.array([True, False])).count == 10


def test_lists_and_grids() -> None:
    listed = Region.listed([[0.0, 1.0], [0.5, -1.0]])
    assert listed.count == 2 and listed.lower.tolist() == [0.0, -1.0] and listed.upper.tolist() == [0.5, 1.0]
    assert listed.contains(np.array([0.5, -1.0])) and not listed.contains(np.array([0.5, 1.0]))
    grid = Region.grid([0.0, 1.0], [0.0, 0.5, 1.0])
    assert grid.count == 6 and grid.points is not None and grid.points[1].tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: Region([0.2], [0.8], integers=np.array([True])), "no integer in the interval of input 0"),
     (lambda: Region([0.0], [1.0], integers=np.array([1])), "one truth value for each"),
     (lambda: Region([0.0], [1.0], integers=ALL), "one truth value for each"),
     (lambda: Region.listed([[0.0], [np.nan]]), "finite numbers"), (lambda: Region.listed([]), "finite numbers"),
     (lambda: Region.listed("points"), "array of numbers"), (lambda: Region.grid(*[range(1000)] * 3), "more than 100000000"),
     (lambda: pydual.solve(IDENTITY, Checker(Region([0, 0], [1, 1]), Y[0] >= 2), "enumeration"), "needs a finite region"),
     (lambda: pydual.solve(IDENTITY, Checker(SQUARE, Y[0] >= 3), Enumeration(most=24)), "has 25 points, more than 24"),
     (lambda: pydual.solve(IDENTITY, Checker(Region.listed([[0, 0], [1, 1]]), Y[0] >= 3), "bab"), "no lists of points")],
)  # fmt: skip
def test_bad_regions_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_both_readings_of_a_query_round_bounds_of_integers() -> None:
    region = Region([-3.5, -3.5], [3.5, 3.5], integers=np.array([True, False]))
    condition = ((X[0] <= "1.5") & (X[1] <= "1.5")) | ((X[0] >= "0.5") & (X[0] <= "0.7")) | ((X[0] >= "-0.7") & (Y[0] >= 1))
    checker = Checker(region, condition)
    ours, theirs = normalize(IDENTITY, checker), problems(checker)
    boxes = [([-3.0, -3.5], [1.0, 1.5]), ([0.0, -3.5], [3.0, 3.5])]  # there is no integer from 0.5 to 0.7
    assert [(p.region.lower.tolist(), p.region.upper.tolist()) for p in ours] == boxes
    assert [(p.lower, p.upper) for p in theirs] == boxes and all(p.integers == (0,) for p in theirs)


# verdicts


@pytest.mark.parametrize("seed", range(25))
def test_verdicts_are_those_of_rational_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = int(rng.integers(1, 4))
    network = random_network(rng, inputs)
    if seed % 3:
        region = Region(np.full(inputs, -3.2), np.full(inputs, 2.9), integers=np.ones(inputs, dtype=bool))
        points = lattice(region)
    else:
        region = Region.listed(rng.normal(size=(30, inputs)))
        points = [tuple(x) for x in region.points.tolist()]  # type: ignore[union-attr]
    least = min(max(value_at(network, list(x))) for x in points)
    for side in (Fraction(-1, 1000), Fraction(0), Fraction(1, 1000)):
        checker = Checker(region, (Y[0] <= least + side) & (Y[1] <= least + side))
        for system in ("enumeration", "auto") if seed % 3 == 0 else ("enumeration", "auto", "bab", "milp"):
            outcome = pydual.solve(network, checker, system)
            if side:
                assert isinstance(outcome, Certificate if side < 0 else Attack), (system, side)
            else:
                assert not isinstance(outcome, Certificate), "the least point is a catastrophe"
            if isinstance(outcome, Certificate):
                margins = [pydual.audit(outcome, network, checker, level=level).margin for level in LEVELS]
                assert all(margin <= -side + Fraction(1, 10**9) for margin in margins)


@pytest.mark.parametrize("seed", range(12))
def test_mixed_regions_are_decided(seed: int) -> None:
    """Input 0 is an integer, input 1 is not: the truth is the least over the slices, by enumeration of patterns."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, 2)
    region = Region([-2.0, -1.0], [2.0, 1.0], integers=np.array([True, False]))
    slices = [Region([float(k), -1.0], [float(k), 1.0]) for k in range(-2, 3)]
    least = min(true_minimum(network, Checker(part, Y[0] - Y[1] <= 0)) for part in slices)
    relaxed = true_minimum(network, Checker(Region([-2.0, -1.0], [2.0, 1.0]), Y[0] - Y[1] <= 0))
    assert relaxed <= least + 1e-9
    for side in (-0.01, 0.01):
        checker = Checker(region, Y[0] - Y[1] <= Fraction(round(least + side, 6)))
        for system in ("bab", "milp", "auto"):
            outcome = pydual.solve(network, checker, system)
            assert isinstance(outcome, Certificate if side < 0 else Attack), (system, side)
            if isinstance(outcome, Certificate):
                for level in LEVELS:
                    pydual.audit(outcome, network, checker, level=level)
            else:
                assert float(outcome.x[0]).is_integer()


def test_neurons_are_split_first_where_there_are_many_inputs() -> None:
    """50 integers from 0 to 1: x0 + ... + x49 is never 0.5, but the relaxation's is."""
    ones = Network.from_layers([(np.ones((1, 50)), np.zeros(1))])
    few = np.zeros(50)
    few[:3] = 1
    region = Region(np.zeros(50), few, integers=np.ones(50, dtype=bool))
    checker = Checker(region, (Y[0] >= "0.25") & (Y[0] <= "0.75"))
    for system in ("bab", "milp", "enumeration"):
        assert isinstance(pydual.solve(ones, checker, system), Certificate), system


def test_points_on_the_sphere_count_and_points_beyond_do_not() -> None:
    for norm, radius, far in (("l2", 5.0, 7), ("l1", 7.0, 7)):
        region = Region([-9.0, -9.0], [9.0, 9.0], Ball(np.zeros(2), radius, norm), integers=ALL)
        reached = pydual.solve(IDENTITY, Checker(region, Y[0] + Y[1] >= far), "enumeration")  # (3, 4)
        assert isinstance(reached, Attack)
        checker = Checker(region, Y[0] + Y[1] > far)
        outcome = pydual.solve(IDENTITY, checker, "enumeration")
        assert isinstance(outcome, Certificate)
        for level in LEVELS:
            assert pydual.audit(outcome, IDENTITY, checker, level=level).margin >= 0


def test_curves_and_squares_at_points() -> None:
    bent = pydual.checker(SQUARE)(lambda x, y: x[0] * y[1] >= 4.5)  # at most 4
    assert isinstance(pydual.solve(IDENTITY, bent, "enumeration"), Certificate)
    assert isinstance(pydual.solve(IDENTITY, pydual.checker(SQUARE)(lambda x, y: x[0] * y[1] >= 4), "enumeration"), Attack)


def test_strict_zeros_are_proved_and_others_are_not() -> None:
    assert isinstance(pydual.solve(IDENTITY, Checker(SQUARE, Y[0] > 2), "enumeration"), Certificate)
    assert isinstance(pydual.solve(IDENTITY, Checker(SQUARE, Y[0] >= 2), "enumeration"), Attack)


def test_a_timeout_tells_what_is_left() -> None:
    rng = np.random.default_rng(0)
    network = Network.from_layers([(rng.normal(size=(200, 12)), np.zeros(200)), (np.ones((1, 200)), np.zeros(1))])
    region = Region(np.zeros(12), np.full(12, 3.0), integers=np.ones(12, dtype=bool))
    outcome = pydual.solve(network, Checker(region, Y[0] <= -1), "enumeration", timeout=0.5)
    assert isinstance(outcome, Unknown | Certificate)
    if isinstance(outcome, Unknown):
        assert outcome.open_fraction is not None and 0 < outcome.open_fraction <= 1


# proofs


def enumeration_proof(network: Network, checker: Checker, splits: tuple[tuple[int, float], ...] = ()) -> Proof:
    """A tree that splits inputs, first children last, with an enumeration leaf in each cell."""
    margins = len(problems(checker)[0].margins)
    leaves = len(splits) + 1
    kind = [INPUT_SPLIT, ENUMERATION_LEAF] * len(splits) + [ENUMERATION_LEAF]
    tree = ProofTree(
        kind=np.array(kind, dtype=np.uint8), index=np.array([i for i, _ in splits], dtype=np.int32),
        threshold=np.array([t for _, t in splits]), anchor=np.array([INTERVAL] + [0] * (len(kind) - 1), dtype=np.uint8),
        lines=np.full(leaves, -1, dtype=np.int32), slopes=np.zeros((0, 0), dtype=np.uint8),
        slope_neurons=np.zeros(0, dtype=np.int32), multipliers=np.zeros((leaves, margins)), split_multipliers=np.zeros(0),
    )  # fmt: skip
    outcome = pydual.solve(network, Checker(checker.region, Y[0] > 1000), "interval")
    assert isinstance(outcome, Certificate)
    return Proof(outcome.certificate.network, query_digest(checker), (tree,))


def accepted(proof: Proof, network: Network, checker: Checker) -> list[bool]:
    found = []
    for level in LEVELS:
        try:
            pydual.audit(proof, network, checker, level=level)
            found.append(True)
        except CertificateError:
            found.append(False)
    return found


def test_cells_of_splits_are_enumerated() -> None:
    checker = Checker(SQUARE, Y[0] + Y[1] >= 5)
    for splits in ((), ((0, 0.5),), ((0, 0.0), (1, -1.3)), ((0, -7.0),)):
        assert accepted(enumeration_proof(IDENTITY, checker, splits), IDENTITY, checker) == [True, True]


def test_every_single_point_matters() -> None:
    """The catastrophe is at one point of 25; no partition into cells hides it."""
    for a, b in itertools.product(range(-2, 3), repeat=2):
        checker = Checker(SQUARE, (Y[0] >= a) & (Y[0] <= a) & (Y[1] >= b) & (Y[1] <= b))
        for splits in ((), ((0, a + 0.5),), ((1, float(b)),), ((0, float(a)), (1, b - 0.5))):
            assert accepted(enumeration_proof(IDENTITY, checker, splits), IDENTITY, checker) == [False, False], (a, b, splits)


def test_infinite_cells_are_not_enumerated() -> None:
    for region in (Region([-2.0, -2.0], [2.0, 2.0]), Region([-2.0, -2.0], [2.0, 2.0], integers=np.array([True, False]))):
        checker = Checker(region, Y[0] >= 9)
        assert accepted(enumeration_proof(IDENTITY, checker), IDENTITY, checker) == [False, False]


def test_a_certificate_is_bound_to_integers_and_points() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    regions = [SQUARE, Region([-2.0, -2.0], [2.0, 2.0]), Region([-2.0, -2.0], [2.0, 2.0], integers=np.array([True, False])),
               Region.listed(rows), Region.listed(rows + [[0, 0], [0, 0], [0, -0.5]]), Region.listed(rows[:2])]  # fmt: skip
    checkers = [Checker(region, Y[0] >= 9) for region in regions]
    for one, other in itertools.permutations((0, 3, 4, 5, 1, 2), 2):
        if regions[one].count is None:
            continue
        proof = enumeration_proof(IDENTITY, checkers[one])
        assert accepted(proof, IDENTITY, checkers[one]) == [True, True]
        assert accepted(proof, IDENTITY, checkers[other]) == [False, False], (one, other)


def test_a_list_counts_where_the_box_is() -> None:
    """Of the list, x0 <= 0.5 leaves the points that are no catastrophe."""
    region = Region.listed([[0.0, 0.0], [1.0, 5.0]])
    inside = Checker(region, (X[0] <= "0.5") & (Y[1] >= 4))
    assert accepted(enumeration_proof(IDENTITY, inside), IDENTITY, inside) == [True, True]
    assert isinstance(pydual.solve(IDENTITY, inside, "auto"), Certificate)
    outside = Checker(region, (X[0] >= "0.5") & (Y[1] >= 4))
    assert accepted(enumeration_proof(IDENTITY, outside), IDENTITY, outside) == [False, False]
    assert isinstance(pydual.solve(IDENTITY, outside, "auto"), Attack)


def test_a_region_without_points_is_proved() -> None:
    region = Region.listed([[0.0, 0.0], [4.0, 4.0]])
    checker = Checker(region, (X[0] >= 1) & (X[0] <= 2) & (Y[0] >= 0))
    assert isinstance(pydual.solve(IDENTITY, checker, "enumeration"), Certificate)


def test_audits_of_lists_can_be_stopped_and_files_are_read(tmp_path: Path) -> None:
    region = Region(np.zeros(2), np.full(2, 400.0), integers=ALL)
    checker = Checker(region, Y[0] + Y[1] >= 801)
    outcome = pydual.solve(IDENTITY, checker, "enumeration")
    assert isinstance(outcome, Certificate) and outcome.level == "rounded"
    outcome.save(tmp_path / "list.cert")
    assert (tmp_path / "list.cert").stat().st_size < 3000
    assert pydual.audit(tmp_path / "list.cert", IDENTITY, checker, level="rounded").margin > 0.99
    for level in LEVELS:
        calls = [0]

        def stop(calls: list[int] = calls) -> None:
            calls[0] += 1
            if calls[0] > 4:
                raise TimeoutError

        with pytest.raises(TimeoutError):
            pydual.audit(tmp_path / "list.cert", IDENTITY, checker, level=level, deadline=stop)


def test_forged_columns_are_rejected() -> None:
    checker = Checker(SQUARE, Y[0] >= 9)
    proof = enumeration_proof(IDENTITY, checker)
    (tree,) = proof.trees
    for change in ({"kind": np.array([6], np.uint8)}, {"lines": np.zeros(0, np.int32)}, {"anchor": np.array([0], np.uint8)},
                   {"multipliers": np.zeros((0, 1))}, {"kind": np.array([4], np.uint8)}):  # fmt: skip
        forged = replace(proof, trees=(replace(tree, **change),))
        assert accepted(forged, IDENTITY, checker) == [False, False], change
