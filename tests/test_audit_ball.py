"""Ball leaves in both audits: norms, radii, the bound of a layer, against PROOFS.md read slowly, points, and forgeries."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sparse
from random_instances import exact_values
from random_proofs import Case, certify, judged, random_case, shifted, single_leaf
from reference_audit import Reference, least_curved

from pydual.audit import _rounded, query
from pydual.audit.exact import audit_exact
from pydual.audit.exact_ball import BallLines, norm_above, surroundings
from pydual.audit.exact_bounds import ADAPTIVE, lines_of
from pydual.audit.exact_network import Activation
from pydual.audit.exact_network import Matrix as ExactMatrix
from pydual.audit.exact_network import Network as ExactNetwork
from pydual.audit.rounded import _primitives, audit_rounded
from pydual.certificate import BALL_LEAF, LEAF, ProofTree
from pydual.checker import Checker, Y
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.operators.primitives import Affine, Relu
from pydual.region import Ball, Region

LEVEL = Fraction(2**20)
KINDS = ("dense", "sparse", "residual", "branches", "chain")
BOTH = (audit_exact, audit_rounded)


def matrices() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    square = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    return [
        rng.normal(size=(7, 4)),
        rng.normal(size=(4, 7)),
        square,
        np.diag([3.0, -2.0, 0.0, 0.5]),
        np.zeros((3, 2)),
        np.outer(rng.normal(size=5), rng.normal(size=3)),
        1e-120 * rng.normal(size=(3, 3)),
        1e120 * rng.normal(size=(3, 3)),
        np.array([[-7.0]]),
    ]


def norms_found(matrix: np.ndarray, guess: float) -> list[Fraction]:
    """Of both audits, dense and sparse."""
    entries = [[(j, float(v)) for j, v in enumerate(row) if v] for row in matrix]
    found = [norm_above(ExactMatrix(entries, matrix.shape[1]), guess, lambda: None)]
    for stored in (matrix, sparse.csr_array(matrix)):
        network = Network((Affine(((0, stored),), np.zeros(len(matrix))),), 1, (matrix.shape[1],), (len(matrix),))
        compiled = _rounded.Network(network.input_size, list(_primitives(network.primitives)), network.output)
        around = _rounded.Surroundings(compiled, np.zeros(matrix.shape[1]), 1.0, np.array([guess]))
        found.append(Fraction(around.radii[1]))
    return found


@pytest.mark.parametrize("number", range(len(matrices())))
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999999, 1.0, 1.0 + 1e-9, 1.01, 50.0, 1e150])
def test_norms_are_never_below_the_greatest_stretch(number: int, share: float) -> None:
    """Of vectors whose stretch is computed exactly; with a guess a little above the norm, the bound is that."""
    matrix = matrices()[number]
    norm = float(np.linalg.norm(matrix, 2))
    rows = [[Fraction(v) for v in row] for row in matrix.tolist()]
    _, _, right = np.linalg.svd(matrix)
    for found in norms_found(matrix, norm * share):
        for vector in right.tolist():
            x = [Fraction(v) for v in vector]
            image = [sum(m * v for m, v in zip(row, x, strict=True)) for row in rows]
            assert sum(v * v for v in image) <= found**2 * sum(v * v for v in x)
        if share == 1.0 + 1e-9 and norm < 1e100:
            assert found <= (Fraction(norm) * (1 + Fraction(1, 10**8)) if norm else Fraction(1, 10**30))


def test_sums_of_magnitudes_serve_without_a_guess() -> None:
    matrix = np.array([[1.0, -2.0], [0.0, 4.0]])  # rows 3 and 4, columns 1 and 6
    for found in norms_found(matrix, 0.0):
        assert found**2 >= 24 and float(found**2) == pytest.approx(24, rel=1e-14)


@pytest.mark.parametrize("kind", [*KINDS, "tanh", "sigmoid"])
def test_values_of_the_ball_are_within_the_radii(kind: str) -> None:
    rng = np.random.default_rng(7)
    for seed in range(6):
        network, checker, _ = random_case(seed, kind, "1", "l2", LEVEL)
        ball = checker.region.ball
        assert ball is not None
        affine = [p for p in network.primitives if isinstance(p, Affine)]
        guesses = [float(np.linalg.norm(m.toarray() if sparse.issparse(m) else m, 2)) for p in affine for _, m in p.terms]
        center = query.Ball("l2", ball.radius, ball.center.tolist())
        exact = surroundings(ExactNetwork(network), center, guesses, lambda: None)
        compiled = _rounded.Network(network.input_size, list(_primitives(network.primitives)), network.output)
        rounded = _rounded.Surroundings(compiled, ball.center, ball.radius, np.array(guesses)).radii
        steps = rng.normal(size=(network.input_size, 200))
        steps *= ball.radius / np.linalg.norm(steps, axis=0)
        middle = network.values(ball.center[:, None])
        moved = network.values(ball.center[:, None] + steps)
        for values, at_center, radius, other in zip(moved, middle, exact.radii, rounded, strict=True):
            assert radius is not None
            farthest = float(np.linalg.norm(values - at_center, axis=0).max())
            assert farthest <= float(radius) * (1 + 1e-12) and farthest <= other * (1 + 1e-12)


def test_the_least_of_an_open_neuron_is_exact() -> None:
    """Where the center is known exactly; with curvature 0 it is that of lines."""
    rng = np.random.default_rng(3)
    for _ in range(300):
        low, high = -Fraction(rng.random()) - Fraction(1, 64), Fraction(rng.random()) + Fraction(1, 64)
        center, c = Fraction(rng.normal()), Fraction(rng.normal())
        slope = Fraction(int(rng.integers(0, 129)), 128)
        curvature = Fraction(rng.exponential() if rng.random() < 0.8 else 0.0)
        (g,), found = exact_bound([c], [slope], [(low, high)], [center], curvature, Fraction(0))
        assert abs(g - c * slope) < Fraction(1, 2**50)
        assert found == least_curved(c, g, low, high, curvature, center)


def exact_bound(
    w: list[Fraction],
    slopes: list[Fraction],
    intervals: list[tuple[Fraction, Fraction]],
    center: list[Fraction],
    curvature: Fraction,
    radius: Fraction,
) -> tuple[list[Fraction], Fraction]:
    """What the exact audit makes of ``w . max(p, 0)``: coefficients of p, and a constant. Numbers are multiples of 2^-200."""
    unit = -200

    def integers(numbers: list[Fraction]) -> list[int]:
        return [int(v * 2**-unit) for v in numbers]

    low, high = integers([a for a, _ in intervals]), integers([b for _, b in intervals])
    activation = Activation(0, "relu", 0)
    named = {j: int(slope * 2**60) for j, slope in enumerate(slopes)}
    plain = lines_of(activation, -ADAPTIVE, (low, high, unit), named, False)
    middle = integers(center)
    curved = BallLines(plain.ends, plain.places, plain.pairs, (low, high, unit), (middle, middle, unit), curvature, radius)
    (n, exponent), constant = curved.lower_bound((integers(w), unit))
    return [v * Fraction(2) ** exponent for v in n], constant


def test_the_bound_of_a_layer_is_that_of_sdp_crown() -> None:
    """Chiu et al. 2025, Theorem 4.2: ``c . relu(x) >= g . x - (lambda (rho^2 - |c0|^2) + |phi|^2 / lambda) / 2`` with
    ``phi = min(c - g - lambda c0, g + lambda c0, 0)`` in the ball around ``c0``; here with ``lambda = 2 curvature``, and wide
    intervals."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        n, size = int(rng.integers(1, 5)), rng.integers(-512, 513, (3, 4)) / 128.0
        c, slopes, center = size[0, :n], np.abs(size[1, :n]) / 4.0, size[2, :n]
        curvature, radius = float(2.0 ** rng.integers(-3, 3)), float(rng.integers(1, 9)) / 2.0
        g, penalty = c * slopes, 2.0 * curvature
        phi = np.minimum(np.minimum(c - g - penalty * center, g + penalty * center), 0.0)
        h = -0.5 * (penalty * (radius**2 - center @ center) + phi @ phi / penalty)
        wide = [(Fraction(-(10**6)), Fraction(10**6))] * n
        exact = [[Fraction(v) for v in numbers.tolist()] for numbers in (c, slopes, center)]
        _, found = exact_bound(exact[0], exact[1], wide, exact[2], Fraction(curvature), Fraction(radius))
        assert float(found) == pytest.approx(h, rel=1e-12, abs=1e-12)


def random_ball_case(seed: int, kind: str, splits: str) -> Case:
    """A random case over an l2 ball, with most of its leaves ball leaves, and norms a little above those of numpy."""
    network, checker, trees = random_case(seed, kind, splits, "l2", LEVEL)
    rng = np.random.default_rng([seed, 2])
    return network, checker, tuple(with_ball_leaves(rng, tree, network) for tree in trees)


def with_ball_leaves(rng: np.random.Generator, tree: ProofTree, network: Network, share: float = 0.8) -> ProofTree:
    chosen = (tree.kind == LEAF) & (rng.random(len(tree.kind)) < share)
    if not chosen.any():
        return tree
    relus = sum(isinstance(p, Relu) for p in network.primitives)
    curvatures = 0.1 * rng.exponential(size=(int(chosen.sum()), relus)) * (rng.random((int(chosen.sum()), relus)) < 0.9)
    affine = [p for p in network.primitives if isinstance(p, Affine)]
    norms = [float(np.linalg.norm(m.toarray() if sparse.issparse(m) else m, 2)) for p in affine for _, m in p.terms]
    return replace(
        tree,
        kind=np.where(chosen, BALL_LEAF, tree.kind).astype(np.uint8),
        curvatures=curvatures.astype(rng.choice(["f4", "f8"])),
        norms=np.array(norms) * (1 + 1e-9),
    )


def leaf_bounds(network: Network, checker: Checker, trees: tuple[ProofTree, ...]) -> list[Fraction]:
    """The proven margins of the leaves, read slowly."""
    found = []
    for problem, tree in zip(query.problems(checker), trees, strict=True):
        weights = [sum(map(Fraction, row)) for row in tree.multipliers.tolist()]
        bounds = Reference(network, problem, tree).bounds()
        found += [bound / weight for bound, weight in zip(bounds, weights, strict=True) if bound is not None and weight]
    return found


@pytest.mark.parametrize("splits", ["1", "2", "both"])
@pytest.mark.parametrize("kind", [*KINDS, "curves"])
def test_margins_are_those_of_the_rules(kind: str, splits: str) -> None:
    """Read slowly, with norms from numpy; each audit has multipliers of the input's ball and lines of curves of its own."""
    seen = near = curved = 0
    for seed in range(6):
        network, checker, trees = random_ball_case(seed, kind, splits)
        curved += sum(len(tree.curvatures) for tree in trees)
        bounds = leaf_bounds(network, checker, trees)
        for audit in BOTH:
            found = judged(audit, certify(network, checker, trees), network, checker)
            assert found is not None
            if bounds and isinstance(found, Fraction):
                seen, slack = seen + 1, Fraction(1, 10**6)
                assert found <= min(bounds) + slack
                near += found >= min(bounds) - slack
    assert seen >= 6 and curved >= 6 and near >= (0.8 * seen if kind == "curves" else seen)


@pytest.mark.parametrize("kind", KINDS)
def test_no_point_of_the_region_is_below_the_margin(kind: str) -> None:
    """With the margin moved next to zero, what is accepted holds at points of the ball."""
    rng, seen = np.random.default_rng(11), 0
    for seed in range(20, 26):
        network, checker, trees = random_ball_case(seed, kind, "both")
        ball = checker.region.ball
        assert ball is not None
        for audit in BOTH:
            margin = judged(audit, certify(network, checker, trees), network, checker)
            if not isinstance(margin, Fraction) or margin > 2 * LEVEL:  # nearly no point of the box is in the ball
                continue
            near = shifted(checker, Fraction(1, 10**4) - margin)
            assert judged(audit, certify(network, near, trees), network, near) is not None
            below = shifted(checker, -Fraction(1, 10**4) - margin)
            assert judged(audit, certify(network, below, trees), network, below) is None
            for _ in range(30):
                step = rng.normal(size=network.input_size)
                x = ball.center + step * rng.random() ** 0.3 * 0.999999 * ball.radius / np.linalg.norm(step)
                if not checker.region.contains(x):
                    continue
                seen += 1
                exact = [Fraction(v) for v in x.tolist()]
                assert not near.catastrophe.holds(exact, exact_values(network, exact)[network.output])
    assert seen > 30


LAYER = np.array([[1.0, 0.5], [-0.5, 1.0]]), np.array([0.1, -0.2])
RAMP = Network.from_layers([LAYER, (np.array([[1.0, -1.0]]), np.zeros(1))])
DISK = Checker(Region([-1.0, -1.0], [1.0, 1.0], Ball([0.0, 0.0], 1.0, "l2")), Y[0] >= 100)
GOOD = replace(
    single_leaf(1), kind=np.array([BALL_LEAF], np.uint8), curvatures=np.array([[0.5]]), norms=np.array([1.2, 1.5])
)
FORMS = {
    "no curvatures": {"curvatures": np.zeros((0, 0)), "norms": np.zeros(0)},
    "two rows": {"curvatures": np.ones((2, 1))},
    "two columns": {"curvatures": np.ones((1, 2))},
    "one number": {"curvatures": np.ones(1)},
    "a negative curvature": {"curvatures": np.array([[-0.5]])},
    "no number": {"curvatures": np.array([[np.nan]])},
    "an infinite curvature": {"curvatures": np.array([[np.inf]])},
    "curvatures of another type": {"curvatures": np.ones((1, 1), np.int32)},
    "one norm": {"norms": np.ones(1)},
    "three norms": {"norms": np.ones(3)},
    "a negative norm": {"norms": np.array([-1.0, 1.0])},
    "an infinite norm": {"norms": np.array([np.inf, 1.0])},
    "norms in single precision": {"norms": np.ones(2, np.float32)},
    "curvatures of a linear leaf": {"kind": np.array([LEAF], np.uint8)},
    "a seventh kind": {"kind": np.array([7], np.uint8)},
}


@pytest.mark.parametrize("audit", BOTH)
def test_the_leaf_that_forgeries_begin_with_holds(audit) -> None:
    assert audit(certify(RAMP, DISK, (GOOD,)), RAMP, DISK) > 0


@pytest.mark.parametrize("audit", BOTH)
@pytest.mark.parametrize("forgery", FORMS)
def test_forged_columns_are_rejected(forgery: str, audit) -> None:
    with pytest.raises(CertificateError):
        audit(certify(RAMP, DISK, (replace(GOOD, **FORMS[forgery]),)), RAMP, DISK)


@pytest.mark.parametrize("audit", BOTH)
@pytest.mark.parametrize("shape", [None, Ball([0.0, 0.0], 1.0, "l1")])
def test_ball_leaves_are_for_l2_balls_alone(shape: Ball | None, audit) -> None:
    checker = Checker(Region([-1.0, -1.0], [1.0, 1.0], shape), Y[0] >= 100)
    with pytest.raises(CertificateError, match="all leaf is about real arithmetic in an l2 ball"):
        audit(certify(RAMP, checker, (GOOD,)), RAMP, checker)


@pytest.mark.parametrize("audit", BOTH)
def test_ball_leaves_say_nothing_about_float32(audit) -> None:
    with pytest.raises(CertificateError, match="all leaf is about real arithmetic in an l2 ball"):
        audit(certify(RAMP, DISK, (GOOD,), "float32"), RAMP, DISK)


@pytest.mark.parametrize("audit", BOTH)
def test_where_nothing_is_known_of_the_distance_a_curvature_proves_nothing(audit) -> None:
    """Behind a square; a curvature of 0 is that of lines."""
    from pydual.operators.primitives import Curve

    one = np.ones((1, 1))
    primitives = (Curve(0, 1, "square"), Affine(((1, one),), np.array([-0.3])), Relu(2, 1), Affine(((3, -one),), np.zeros(1)))
    network = Network(primitives, 4, (1,), (1,))
    checker = Checker(Region([-1.0], [1.0], Ball([0.0], 1.0, "l2")), Y[0] >= 0.1)
    leaf = replace(GOOD, norms=np.array([1.1, 1.1]), curvatures=np.array([[0.0]]))
    assert audit(certify(network, checker, (leaf,)), network, checker) > 0
    with pytest.raises(CertificateError):
        audit(certify(network, checker, (replace(leaf, curvatures=np.array([[0.5]])),)), network, checker)


@pytest.mark.parametrize("audit", BOTH)
@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_hostile_curvatures_prove_no_more_than_the_truth(size: float, audit) -> None:
    """The margin 1 - y cannot be below its true minimum in the disk, whatever the multipliers are."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0.0, 2.0 * np.pi, 2000)
    points = rng.random((2000, 1)) ** 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    worst = float(100.0 - RAMP.evaluate(points).max())
    for norms in ([1.2, 1.5], [1e-300, 1e-300], [1e300, 1e300], [0.0, 0.0]):
        tree = replace(GOOD, curvatures=np.array([[size]]), norms=np.array(norms))
        found = judged(audit, certify(RAMP, DISK, (tree,)), RAMP, DISK)
        assert found is None or found <= worst


@pytest.mark.parametrize("audit", BOTH)
def test_distances_that_overflow_prove_nothing(audit) -> None:
    """``y = min(p, 0) / 10^300`` for ``p = 10^308 x``, where an end of p is too far from the center's value for a float64."""
    one = np.ones((1, 1))
    primitives = (
        Affine(((0, 1e308 * one),), np.zeros(1)),
        Relu(1, 1),
        Affine(((2, -1e-300 * one), (1, 1e-300 * one)), np.zeros(1)),
    )
    network = Network(primitives, 3, (1,), (1,))
    checker = Checker(Region([-1.0], [1.0], Ball([0.9], 5.0, "l2")), Y[0] <= -1)
    assert network.evaluate(np.array([-1.0]))[0] < -1
    slopes = {"lines": np.zeros(1, np.int32), "slopes": np.ones((1, 1)), "slope_neurons": np.zeros(1, np.int32)}
    for curvature in (0.0, 1e-300, 1.0, 1e300):
        tree = replace(GOOD, **slopes, curvatures=np.array([[curvature]]), norms=np.zeros(3))
        assert judged(audit, certify(network, checker, (tree,)), network, checker) is None


@pytest.mark.parametrize("audit", BOTH)
def test_rules_of_form_hold_in_empty_cells_too(audit) -> None:
    checker = Checker(Region([-1.0, -1.0], [1.0, 1.0]), Y[0] >= 100)
    tree = replace(
        GOOD, kind=np.array([1, 0, BALL_LEAF], np.uint8), anchor=np.array([ADAPTIVE, 0, 0], np.uint8),
        index=np.zeros(1, np.int32), threshold=np.array([2.0]), lines=np.full(2, -3, np.int32), multipliers=np.ones((2, 1)),
    )  # fmt: skip
    with pytest.raises(CertificateError, match="all leaf is about real arithmetic in an l2 ball"):
        audit(certify(RAMP, checker, (tree,)), RAMP, checker)
    assert audit(certify(RAMP, DISK, (tree,)), RAMP, DISK) > 0
