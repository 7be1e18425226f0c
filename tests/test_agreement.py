"""SMT, mixed-integer programs, branch and bound and enumeration say the same of random networks and random traced checkers.

The truth is the checker itself, called as a Python function at every point of the region: 500 networks over finite regions,
and as many over boxes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pydual
from pydual import Attack, Certificate, Network, Region, RelaxedAttack, Unknown
from pydual.proof_systems import SOS

pytest.importorskip("z3", reason="z3 is not installed")

BLOCKS = 10
PER_BLOCK = 50

Function = Callable[[Any, Any], Any]


def random_network(rng: np.random.Generator) -> Network:
    sizes = [int(rng.integers(1, 4)), int(rng.integers(2, 5)), int(rng.integers(2, 4)), 2]
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    return Network.from_layers([(rng.normal(size=shape).round(2), rng.normal(size=shape[0]).round(2)) for shape in shapes])


def random_function(rng: np.random.Generator, inputs: int, squares: bool) -> Function:
    """A catastrophe: two comparisons of functions of random kinds, joined by a random connective."""
    parts = [random_comparison(rng, inputs, squares) for _ in range(2)]
    if rng.random() < 0.5:
        return lambda x, y: parts[0](x, y) & parts[1](x, y)
    return lambda x, y: parts[0](x, y) | ~parts[1](x, y)


def random_comparison(rng: np.random.Generator, inputs: int, squares: bool) -> Function:
    a, b, limit = rng.normal(size=inputs).round(2), rng.normal(size=2).round(2), round(float(rng.normal()), 3)
    kinds: list[Function] = [
        lambda x, y: a @ x + b @ y, lambda x, y: np.abs(y - b).sum() - np.abs(x).sum(),
        lambda x, y: np.maximum(y[0], b[0] * y[1]), lambda x, y: y.min() - np.maximum(x, 0).sum(),
        lambda x, y: np.max(a * x) + np.min(b * y),
    ]  # fmt: skip
    if squares:
        kinds = [lambda x, y: x[0] * y[0] - y[1] ** 2, lambda x, y: np.square(y - b).sum()]
    chosen = kinds[rng.integers(len(kinds))]
    return lambda x, y: chosen(x, y) <= limit + 1e-5 * limit


def happens(network: Network, function: Function, region: Region) -> bool:
    axes = (range(int(a), int(b) + 1) for a, b in zip(region.lower, region.upper, strict=True))
    points = [np.array(x, dtype=float) for x in itertools.product(*axes)]
    return any(bool(function(x, network.evaluate(x))) for x in points)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_all_complete_systems_agree(block: int) -> None:
    seen = set()
    for seed in range(PER_BLOCK * block, PER_BLOCK * (block + 1)):
        rng = np.random.default_rng(seed)
        network = random_network(rng)
        inputs, squares = network.input_size, seed % 5 == 4
        region = Region(np.full(inputs, -2.0), np.full(inputs, 2.0), integers=np.ones(inputs, dtype=bool))
        function = random_function(rng, inputs, squares)
        expected = Attack if happens(network, function, region) else Certificate
        seen.add(expected)
        checker = pydual.checker(region)(function)
        # z3 does not end on products of integers
        for system in ("enumeration", "bab", "milp") if squares else ("enumeration", "bab", "milp", "smt"):
            outcome = pydual.solve(network, checker, system, timeout=60)
            assert isinstance(outcome, expected), (seed, system, outcome)
            if isinstance(outcome, Attack):
                assert function(outcome.x, outcome.y) and (outcome.x == np.rint(outcome.x)).all()
    assert seen == {Attack, Certificate}


@pytest.mark.parametrize("block", range(BLOCKS))
def test_they_agree_in_boxes_too(block: int) -> None:
    """Where nothing is finite, the systems are each other's truth, and the attack is its own."""
    for seed in range(1000 + PER_BLOCK * block, 1000 + PER_BLOCK * (block + 1)):
        rng = np.random.default_rng(seed)
        network = random_network(rng)
        region = Region(np.full(network.input_size, -1.0), np.full(network.input_size, 1.0))
        function = random_function(rng, network.input_size, squares=False)
        checker = pydual.checker(region)(function)
        outcomes = {system: pydual.solve(network, checker, system, timeout=60) for system in ("bab", "smt", "milp")}
        kinds = {type(outcome) for outcome in outcomes.values()}
        assert kinds in ({Attack}, {Certificate}), (seed, outcomes)
        for outcome in outcomes.values():
            assert not isinstance(outcome, Attack) or function(outcome.x, outcome.y)


def test_sums_of_squares_of_degree_4_agree_where_they_decide() -> None:
    """Where the moments are flat, the relaxation is exact: a proof or an attack, as the others say."""
    pytest.importorskip("cvxpy", reason="cvxpy is not installed")
    decided = 0
    for seed in range(2000, 2012):
        rng = np.random.default_rng(seed)
        network = Network.from_layers([(rng.normal(size=(3, 2)).round(2), rng.normal(size=3).round(2)),
                                       (rng.normal(size=(2, 3)).round(2), np.zeros(2))])  # fmt: skip
        a, limit = rng.normal(size=2).round(2), round(float(rng.normal()), 3)
        checker = pydual.checker(Region([-1.0, -1.0], [1.0, 1.0]))(lambda x, y, a=a, limit=limit: a @ x + y[0] - y[1] <= limit)
        truth = pydual.solve(network, checker, "smt")
        outcome = pydual.solve(network, checker, SOS(degree=4), timeout=60)
        if isinstance(outcome, RelaxedAttack | Unknown):
            continue
        decided += 1
        assert type(outcome) is type(truth), seed
    assert decided >= 9


def test_they_agree_on_products_too() -> None:
    """Branch and bound, mixed-integer programs and sums of squares of degree 4, which are exact about products."""
    pytest.importorskip("cvxpy", reason="cvxpy is not installed")
    decided = list[bool]()
    for seed in range(3000, 3016):
        rng = np.random.default_rng(seed)
        network = Network.from_layers([(rng.normal(size=(3, 2)).round(2), rng.normal(size=3).round(2)),
                                       (rng.normal(size=(2, 3)).round(2), np.zeros(2))])  # fmt: skip
        form, limit = rng.normal(size=(2, 2)).round(2), round(float(rng.normal()), 3)
        checker = pydual.checker(Region([-1.0, -1.0], [1.0, 1.0]))(lambda x, y, m=form, c=limit: x @ m @ y <= c - 1)
        truth = pydual.solve(network, checker, "bab", timeout=60)
        assert isinstance(truth, Attack | Certificate)
        assert type(pydual.solve(network, checker, "milp", timeout=60)) is type(truth)
        outcome = pydual.solve(network, checker, SOS(degree=4), timeout=60)
        decided.append(isinstance(outcome, Attack | Certificate))
        assert not decided[-1] or type(outcome) is type(truth), seed
    assert sum(decided) >= 13
