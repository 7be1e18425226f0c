"""The rounded audit's sigmoid and tanh: enclosures and lines hold, at extreme points too, against 60 decimal digits."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sparse
from random_proofs import certify, judged, single_leaf
from reference_audit import curve

from pydual.audit import _rounded
from pydual.audit.exact import audit_exact
from pydual.audit.rounded import audit_rounded
from pydual.certificate import ADAPTIVE, INTERVAL, PARALLEL
from pydual.checker import Atom, Checker, Linear
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.region import Region

KINDS = ("sigmoid", "tanh")
SLACK = Fraction(1, 2**130)  # ``curve`` is right to 40 digits


def diagonal(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    n = len(entries)
    return np.arange(n + 1), np.arange(n, dtype=np.int32), np.ascontiguousarray(entries, dtype=float), n


def root(net: _rounded.Network, low: np.ndarray, high: np.ndarray, rule: int, float32: bool = False) -> _rounded.Root:
    return _rounded.Root(_rounded.Refinements([], net), net, low, high, "", np.zeros(0), 0.0, float32, rule, 1)


def enclosure(kind: str, points: np.ndarray, float32: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """What the audit derives as the interval of the curve's output, point by point."""
    n = len(points)
    negated = ("affine", np.zeros(n), [(1, diagonal(-np.ones(n)))])
    made = root(_rounded.Network(n, [(kind, 0), negated], 2), points, points, INTERVAL, float32)
    return made.shift(1), -made.shift(2)


def points(rng: np.random.Generator, number: int) -> np.ndarray:
    extreme = [0.0, 5e-324, 1e-310, 2.0**-1022, 1e-200, 2.0**-60, 2.0**-27, 0.5, math.log(2), 1.0, 18.0, 36.7, 37.5]
    extreme += [350.0, 352.0, 699.9999, 700.0, 700.0001, 709.0, 745.2, 1e10, 1e154, 1e308, np.finfo(float).max]
    extreme += [math.nextafter(k * math.log(2), side * math.inf) for k in (1, 2, 7, 500) for side in (1, -1)]
    magnitudes = 10.0 ** rng.uniform(-20, 3, number // 2)
    usual = rng.normal(size=number - number // 2) * 4
    found = np.concatenate([extreme, magnitudes, np.abs(usual)])
    return np.concatenate([found, -found])


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_enclosed(kind: str) -> None:
    p = points(np.random.default_rng(1), 1500)
    low, high = enclosure(kind, p)
    assert (low <= high).all() and (low >= (0 if kind == "sigmoid" else -1)).all() and (high <= 1).all()
    assert (high - low <= 2.0**-49).all()
    if kind == "sigmoid":
        small = (p < 0) & (p > -690)
        assert (high - low <= 2.0**-40 * high)[small].all()
    for x, a, b in zip(p.tolist(), low.tolist(), high.tolist(), strict=True):
        truth = curve(kind, Fraction(max(min(x, 2000.0), -2000.0)))
        assert Fraction(a) <= truth + SLACK and truth - SLACK <= Fraction(b), x


@pytest.mark.parametrize("kind", KINDS)
def test_float32_widens_by_what_a_machine_may_err(kind: str) -> None:
    p = points(np.random.default_rng(2), 100)
    (low, high), (wide_low, wide_high) = enclosure(kind, p), enclosure(kind, p, float32=True)
    assert (wide_low <= low - 2.0**-20).all() and (wide_low >= low - 2.0**-20 - 2.0**-50).all()
    # the other side has been through one more affine map, with its own error
    assert (wide_high >= high + 2.0**-20).all() and (wide_high <= high + 2.0**-20 + 2.0**-19).all()


def intervals(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """On one side of 0, around it, at it, tiny, huge, and single points."""
    scale = 10.0 ** rng.uniform(-18, 2.9, (2, number))
    ends = np.sort(np.where(rng.random((2, number)) < 0.5, 1, -1) * scale, axis=0)
    ends[1, ::7] = ends[0, ::7]
    ends[1, ::11] = np.nextafter(ends[0, ::11], np.inf)
    ends[0, ::13] = 0.0
    ends[1, ::17] = 0.0
    ends[:, ::91] = 0.0
    ends[1, ::19] = 1e300
    ends[0, ::23] = -1e300
    ends.sort(axis=0)
    return ends[0], ends[1]


def least(kind: str, sign: int, slope: float, low: float, high: float, rng: np.random.Generator) -> Fraction:
    """The least value found of ``sign * f(p) + slope * p`` at points of the interval."""
    inside = np.clip(low + rng.random(3) * (min(high, low + 1e3) - low), low, high)
    turn = [t for t in turning_points(kind, -sign * slope) if low <= t <= high]
    at = [low, high, *inside.tolist(), *turn, *([0.0] if low <= 0 <= high else [])]
    return min(sign * curve(kind, Fraction(max(min(p, 2000.0), -2000.0))) + Fraction(slope) * Fraction(p) for p in at)


def turning_points(kind: str, slope: float) -> list[float]:
    """About where the derivative of the curve is ``slope``."""
    q = slope / (4 if kind == "tanh" else 1)
    if not 0 < q < 0.25:
        return []
    s = (1 + math.sqrt(1 - 4 * q)) / 2
    t = math.log(s / (1 - s)) / (2 if kind == "tanh" else 1) if s < 1 else 40.0
    return [t, -t]


@pytest.mark.parametrize("rule", [PARALLEL, ADAPTIVE])
@pytest.mark.parametrize("kind", KINDS)
def test_lines_hold(kind: str, rule: int) -> None:
    """The bound of ``f(p) + m p`` and ``m p - f(p)`` is that of a line with slope m beside the audit's lines."""
    rng = np.random.default_rng(3)
    n = 700
    low, high = intervals(rng, n)
    width = np.maximum(high - low, 1e-300)
    ends = zip(np.clip(low, -900, 900).tolist(), np.clip(high, -900, 900).tolist(), strict=True)
    rise = np.array([float(curve(kind, Fraction(b)) - curve(kind, Fraction(a))) for a, b in ends])
    for sign in (1, -1):
        slope = -sign * np.clip(rise / width, 0, 1) * rng.choice([0.0, 0.3, 0.9, 1.0, 1.1, 3.0, 1e6], n)
        total = ("affine", np.zeros(n), [(1, diagonal(np.full(n, float(sign)))), (0, diagonal(slope))])
        net = _rounded.Network(n, [(kind, 0), total, (kind, 2)], 3)
        found = root(net, low, high, rule).shift(2).tolist()
        for a, b, m, bound in zip(low.tolist(), high.tolist(), slope.tolist(), found, strict=True):
            truth = least(kind, sign, m, a, b, rng)
            assert Fraction(bound) <= truth + SLACK, (sign, a, b, m)


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_tight(kind: str) -> None:
    """On an interval of width 2^-8 the curve less its chord is within 2^-17; interval arithmetic alone gives about 2^-10."""
    middle = np.linspace(-1, 1, 101)
    low, high = middle - 2.0**-9, middle + 2.0**-9
    n = len(middle)
    slope = np.array(
        [float(curve(kind, Fraction(b)) - curve(kind, Fraction(a))) * 2**8 for a, b in zip(low, high, strict=True)]
    )
    for sign in (1, -1):
        total = ("affine", np.zeros(n), [(1, diagonal(np.full(n, float(sign)))), (0, diagonal(-sign * slope))])
        net = _rounded.Network(n, [(kind, 0), total, (kind, 2)], 3)
        truth = [
            float(sign * (curve(kind, Fraction(p)) - Fraction(m) * Fraction(p))) for p, m in zip(middle, slope, strict=True)
        ]
        assert (np.array(truth) - root(net, low, high, ADAPTIVE).shift(2) <= 2.0**-17).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_curve_of_one_point_has_its_value(kind: str) -> None:
    """Among them 0, from which neither a convex nor a concave part extends."""
    for p in (0.0, -0.0, 1.5, -1.5, 1e-320):
        graph = GraphBuilder((1,))
        hidden = graph.curve(graph.affine([(graph.input, np.zeros((1, 1)))], np.array([p]), (1,)), kind)
        network = Network.from_graph(graph, graph.affine([(hidden, np.ones((1, 1)))], np.zeros(1), (1,)))
        value = float(curve(kind, Fraction(p)))
        for anchor in (INTERVAL, PARALLEL, ADAPTIVE):
            for lines in (-1, -2, -3):
                for sign in (1, -1):
                    for gap in (1e-9, -1e-9):
                        checker = Checker(Region([0.0], [1.0]), Atom(Linear({}, {0: sign}, Fraction(gap - sign * value))))
                        proof = certify(network, checker, (single_leaf(1, anchor, lines),))
                        for audit in (audit_exact, audit_rounded):
                            assert (judged(audit, proof, network, checker) is not None) == (gap > 0)


def test_a_sparse_and_a_dense_matrix_are_the_same() -> None:
    rng = np.random.default_rng(5)
    dense = rng.normal(size=(9, 13)) * (rng.random((9, 13)) < 0.5)
    csr = sparse.csr_array(dense)
    low = rng.normal(size=13)
    found = []
    for packed in (dense, (csr.indptr, csr.indices, csr.data, 13)):
        net = _rounded.Network(13, [("affine", rng.normal(size=9) * 0 + 1, [(0, packed)]), ("tanh", 1)], 2)
        found.append(root(net, low, low + 1, ADAPTIVE).shift(2))
    np.testing.assert_allclose(*found, rtol=1e-13)
