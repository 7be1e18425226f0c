"""The exact audit against a slow reading of the rules: curves, float32, bounds at any stage."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import random_instances as instances
from random_proofs import certify, judged, random_case, shifted, single_leaf
from reference_audit import Reference, Refused

from pydual.audit import query
from pydual.audit.exact import audit_exact
from pydual.certificate import ProofTree
from pydual.checker import Checker, Y
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.region import Region

KINDS = ("dense", "sparse", "residual", "branches", "chain", "sigmoid", "tanh", "curves")
LEVEL = 2**20  # added to every margin: all leaves hold
HIGH = 2**60  # the same for squares of squares


def margin_by_the_rules(network: Network, checker: Checker, trees: tuple[ProofTree, ...], arithmetic: str) -> Fraction | float:
    """The least F / sum(lambda) of all leaves; infinite if all cells are empty."""
    margins: list[Fraction | float] = [math.inf]
    for problem, tree in zip(query.problems(checker), trees, strict=True):
        weights = [sum(map(Fraction, row)) for row in tree.multipliers.tolist()]
        bounds = Reference(network, problem, tree, arithmetic).bounds()
        margins += [bound / weight for bound, weight in zip(bounds, weights, strict=True) if bound is not None]
    return min(margins)


@pytest.mark.parametrize("arithmetic", ["real", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_margins_are_those_of_the_rules(kind: str, arithmetic: str) -> None:
    """As tight, up to the rounding of coefficients; and never better, up to that of the reference's slopes."""
    compared = 0
    for seed in range(24):
        network, checker, trees = random_case(seed, kind, ("1", "2", "both")[seed % 3], None, Fraction(LEVEL))
        found = judged(audit_exact, certify(network, checker, trees, arithmetic), network, checker)
        wanted = margin_by_the_rules(network, checker, trees, arithmetic)
        assert found is not None
        compared += found != math.inf
        if found == math.inf or wanted == math.inf:
            assert found == wanted
            continue
        assert abs(found - wanted) <= Fraction(1, 10**12) * (1 + abs(wanted - LEVEL)), (seed, float(found - wanted))
    assert compared > 15


@pytest.mark.parametrize("ball", [None, "l1", "l2"])
@pytest.mark.parametrize("kind", ["square", "squares"])
def test_margins_of_squares_are_those_of_the_rules(kind: str, ball: str | None) -> None:
    compared = 0
    for seed in range(24):
        network, checker, trees = random_case(seed, kind, ("1", "2", "both")[seed % 3], ball, Fraction(HIGH))
        found = judged(audit_exact, certify(network, checker, trees), network, checker)
        wanted = margin_by_the_rules(network, checker, trees, "real")
        assert found is not None
        if found < 2 * HIGH:
            compared += 1
            tolerance = Fraction(1, 10**12 if ball is None else 10**4)
            assert found - wanted >= -tolerance * (1 + abs(wanted - HIGH)), (seed, float(found - wanted))
            # each reading has its own multiplier of an l2 ball
            assert ball == "l2" or found - wanted <= tolerance * (1 + abs(wanted - HIGH)), (seed, float(found - wanted))
    assert compared > 12


def test_squares_have_no_float32() -> None:
    network, checker, trees = random_case(3, "squares", "both", None, Fraction(HIGH))
    with pytest.raises(CertificateError, match="squares, of which nothing is known in float32"):
        audit_exact(certify(network, checker, trees, "float32"), network, checker)


@pytest.mark.parametrize(("kind", "ball"), [("residual", "l1"), ("residual", "l2"), ("chain", "l2"), ("curves", "l1")])
def test_margins_with_balls_are_those_of_the_rules(kind: str, ball: str) -> None:
    compared = 0
    for seed in range(40, 48):
        network, checker, trees = random_case(seed, kind, "both", ball, Fraction(LEVEL))
        found = judged(audit_exact, certify(network, checker, trees, "float32"), network, checker)
        wanted = margin_by_the_rules(network, checker, trees, "float32")
        assert found is not None
        if found < 2 * LEVEL:  # above: box and ball are disjoint, and each reading has its own multiplier
            compared += 1
            assert abs(found - wanted) <= Fraction(1, 10**4) * (1 + abs(wanted - LEVEL))
    assert compared > 3


@pytest.mark.parametrize("arithmetic", ["real", "float32"])
@pytest.mark.parametrize("kind", ["chain", "tanh", "curves"])
def test_the_verdict_turns_at_the_margin_of_the_rules(kind: str, arithmetic: str) -> None:
    turned = 0
    for seed in range(60, 66):
        network, checker, trees = random_case(seed, kind, "both", None)
        margin = margin_by_the_rules(network, checker, trees, arithmetic)
        if not isinstance(margin, Fraction):
            continue
        for shift in (Fraction(1, 10**9), -Fraction(1, 10**9)):
            near = shifted(checker, shift - margin)
            found = judged(audit_exact, certify(network, near, trees, arithmetic), network, near)
            assert (found is not None) == (shift > 0)
            turned += 1
    assert turned > 6


def test_float32_proves_less_than_real() -> None:
    for seed in range(90, 110):
        network, checker, trees = random_case(seed, KINDS[seed % 8], "both", None, Fraction(LEVEL))
        proofs = [certify(network, checker, trees, arithmetic) for arithmetic in ("real", "float32")]
        real, float32 = (judged(audit_exact, proof, network, checker) for proof in proofs)
        assert real is not None and float32 is not None and (float32 < real or real == float32 == math.inf)


@pytest.mark.parametrize(
    ("kinds", "ball", "level"),
    [(KINDS[5:], None, LEVEL), (("square", "squares"), None, HIGH), (("square", "squares"), "l2", HIGH)],
)
def test_points_never_beat_the_margin_of_curves(kinds: tuple[str, ...], ball: str | None, level: int) -> None:
    points = 0
    for seed in range(200, 240):
        network, checker, trees = random_case(seed, kinds[seed % len(kinds)], "both", ball, Fraction(level))
        margin = judged(audit_exact, certify(network, checker, trees), network, checker)
        assert margin is not None
        for problem in query.problems(checker):
            for x in instances.random_points(np.random.default_rng(seed), problem, 8):
                y = network.evaluate(np.array([float(v) for v in x]))
                values = [
                    m.constant + sum(c * x[i] for i, c in m.x.items()) + sum(c * Fraction(float(y[j])) for j, c in m.y.items())
                    for m in problem.margins
                ]
                points += 1
                assert margin <= max(values) + Fraction(1, 10**9) * (1 + abs(max(values) - level))
    assert points > 300


@pytest.mark.parametrize(
    ("weight", "reach", "refused"),
    [(2.0**100, 2.0**20, False), (2.0**100, 2.0**27, True), (2.0**126, 2.0**-10, False), (2.0**127, 2.0**-300, True)],
)
def test_a_network_that_is_too_large_for_float32_is_refused(weight: float, reach: float, refused: bool) -> None:
    """By the magnitude of a value, and by that of a weight, which is no binary32 number."""
    network = Network.from_layers([([[weight]], [0.0]), ([[2.0**-100]], [0.0])])
    checker = Checker(Region([0.0], [reach]), Y[0] <= -1)
    for arithmetic in ("real", "float32"):
        found = judged(audit_exact, certify(network, checker, (single_leaf(1),), arithmetic), network, checker)
        assert (found is None) == (refused and arithmetic == "float32")
    if weight < 2.0**127:  # the rules forbid large values; the audit also forbids weights that have no binary32 number
        reference = Reference(network, query.problems(checker)[0], single_leaf(1), "float32")
        if refused:
            with pytest.raises(Refused):
                reference.bounds()
        else:
            assert reference.bounds()[0] > 0
