"""The compiled kernels against plain numpy, dense and sparse, with skips, with ReLUs and curves.

The references below go unit by unit, or through whole matrices in the order of PROOFS.md, section 4.
"sh run sanitize" runs these tests too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit

from pydual.relax.engine import _core

Generator = np.random.Generator
Terms = list[tuple[int, np.ndarray]]


# a network as layers, in numpy and in the core


@dataclass(frozen=True, eq=False)
class Layers:
    """Layer k reads the values of its terms; ``layers[k]`` is (bias, terms) with dense matrices."""

    inputs: int
    kinds: tuple[str, ...]
    layers: list[tuple[np.ndarray, Terms]]
    margins: tuple[np.ndarray, Terms]
    core: Any
    form: Any

    @property
    def sizes(self) -> list[int]:
        return [self.inputs, *(len(bias) for bias, _ in self.layers)]

    @property
    def units(self) -> int:
        return sum(self.sizes[1:])

    @property
    def is_relu(self) -> np.ndarray:
        return np.repeat(np.array([kind == "relu" for kind in self.kinds], dtype=bool), self.sizes[1:])

    def phases(self, rng: Generator, rows: int) -> np.ndarray:
        """Random phases of the ReLUs."""
        return (rng.choice([-1, 0, 0, 1], (rows, self.units)) * self.is_relu).astype(np.int8)

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        """A vector over all units as one vector a layer, in front of them an empty one for the input."""
        return [np.zeros(0), *np.split(flat, np.cumsum(self.sizes[1:])[:-1])] if self.layers else [np.zeros(0)]


def affine(layer: tuple[np.ndarray, Terms], values: list[np.ndarray]) -> np.ndarray:
    bias, terms = layer
    return bias + sum((matrix @ values[source] for source, matrix in terms), np.zeros(len(bias)))


def packed(matrix: np.ndarray, form: str) -> Any:
    if form == "dense":
        return np.ascontiguousarray(matrix)
    csr = sparse.csr_array(matrix)
    return csr.indptr.astype(np.int32), csr.indices.astype(np.int32), csr.data, csr.shape[1]


def nonzero(rng: Generator, shape: tuple[int, ...], form: str) -> np.ndarray:
    """Where a matrix has entries; in the form "channels" those of seven rows, and of three columns, are in the same places."""
    if form == "dense":
        return np.ones(shape)
    if form == "sparse":
        return rng.random(shape) < 0.6
    rows, columns = (np.arange(n) % max(1, n // channels) for n, channels in zip(shape, (7, 3), strict=True))
    return (rng.random(shape) < 0.6)[rows][:, columns]


def make(
    rng: Generator, sizes: tuple[int, ...], margins: int, *, form: str = "dense", skips: bool = False,
    kinds: tuple[str, ...] | None = None,
) -> Layers:  # fmt: skip
    """Random layers, ReLUs unless ``kinds`` are given; with skips, every layer reads some earlier values besides the last."""

    def terms(k: int, rows: int) -> Terms:
        sources = [k] + ([s for s in range(k) if rng.random() < 0.6] if skips else [])
        found = [(s, rng.normal(size=(rows, sizes[s])) / np.sqrt(max(sizes[s], 1))) for s in sources]
        return [(s, m * nonzero(rng, m.shape, form)) for s, m in found]

    layers = [(0.3 * rng.normal(size=n), terms(k, n)) for k, n in enumerate(sizes[1:])]
    last = (0.3 * rng.normal(size=margins), terms(len(sizes) - 1, margins))
    return hold(sizes[0], ("relu",) * len(layers) if kinds is None else kinds, layers, last, form)


def hold(inputs: int, kinds: tuple[str, ...], layers: list[tuple[np.ndarray, Terms]], last: Any, form: str) -> Layers:
    held_layers = [(kind, bias, [(s, packed(m, form)) for s, m in ts]) for kind, (bias, ts) in zip(kinds, layers, strict=True)]
    core = _core.Program(inputs, held_layers)
    held = _core.Form(last[0], [(s, packed(m, form)) for s, m in last[1]])
    return Layers(inputs, kinds, layers, last, core, held)


def moved(net: Layers, shift: float) -> Layers:
    """The network that does at ``x + shift`` what this one does at x."""

    def at_shift(layer: tuple[np.ndarray, Terms]) -> tuple[np.ndarray, Terms]:
        bias, terms = layer
        return bias - sum((shift * matrix.sum(axis=1) for source, matrix in terms if source == 0), np.zeros(len(bias))), terms

    return hold(net.inputs, net.kinds, [at_shift(layer) for layer in net.layers], at_shift(net.margins), "dense")


def scaled(net: Layers, factor: float) -> Layers:
    """The network of ReLUs whose hidden values are these times the factor, with the same margins."""
    layers = [
        (factor * bias, [(s, matrix * (factor if s == 0 else 1.0)) for s, matrix in terms]) for bias, terms in net.layers
    ]
    bias, terms = net.margins
    last = bias, [(s, matrix / (1.0 if s == 0 else factor)) for s, matrix in terms]
    return hold(net.inputs, net.kinds, layers, last, "dense")


NETWORKS: dict[str, dict[str, Any]] = {
    "no hidden layer": {"sizes": (3,), "margins": 2},
    "one neuron": {"sizes": (1, 1), "margins": 1},
    "dense": {"sizes": (4, 7, 5), "margins": 3},
    "deep": {"sizes": (2, 5, 6, 5, 4), "margins": 2},
    "wide": {"sizes": (5, 40, 30), "margins": 9},
    "too wide for products without BLAS": {"sizes": (5, 70, 66), "margins": 9},
    "sparse": {"sizes": (6, 9, 8), "margins": 4, "form": "sparse"},
    "channels": {"sizes": (9, 21, 15), "margins": 2, "form": "channels"},
    "skips": {"sizes": (4, 6, 5, 6), "margins": 2, "skips": True},
    "sparse skips": {"sizes": (4, 6, 5, 6), "margins": 2, "skips": True, "form": "sparse"},
    "one sigmoid": {"sizes": (1, 1), "margins": 1, "kinds": ("sigmoid",)},
    "sigmoids": {"sizes": (3, 6, 5), "margins": 2, "kinds": ("sigmoid", "sigmoid")},
    "curves and ReLUs": {"sizes": (3, 6, 5, 4, 4), "margins": 2, "kinds": ("relu", "sigmoid", "relu", "tanh")},
    "tanh, sparse skips": {
        "sizes": (4, 6, 5, 6),
        "margins": 3,
        "skips": True,
        "form": "sparse",
        "kinds": ("tanh", "relu", "tanh"),
    },
}


@pytest.fixture(params=NETWORKS)
def net(request: pytest.FixtureRequest) -> Layers:
    return make(np.random.default_rng(len(request.param)), **NETWORKS[request.param])


@dataclass(frozen=True, eq=False)
class Set:
    """A box, cut by a ball if ``norm`` says so, in numpy and in the core."""

    lower: np.ndarray
    upper: np.ndarray
    norm: str = ""
    center: np.ndarray | None = None
    radius: float = 0.0

    @property
    def core(self) -> Any:
        center = np.zeros(0) if self.center is None else self.center
        return _core.Region(self.lower, self.upper, self.norm, center, self.radius)

    def moved(self, shift: float) -> Set:
        center = None if self.center is None else self.center + shift
        return Set(self.lower + shift, self.upper + shift, self.norm, center, self.radius)

    def points(self, rng: Generator, number: int) -> np.ndarray:
        x = self.lower + rng.random((number, len(self.lower))) * (self.upper - self.lower)
        if self.center is None:
            return x
        step = x - self.center
        size = np.linalg.norm(step, 1 if self.norm == "l1" else 2, axis=1, keepdims=True)
        return self.center + step * np.minimum(1.0, self.radius / np.maximum(size, 1e-300))


def region(rng: Generator, inputs: int, norm: str = "") -> Set:
    center, radius = 0.3 * rng.normal(size=inputs), 0.2 + 0.6 * rng.random(inputs)
    lower, upper = center - radius, center + radius
    return Set(lower, upper, norm, center + 0.1 * radius, 0.8 * float(radius.mean())) if norm else Set(lower, upper)


# references

PARALLEL, ADAPTIVE = "parallel", "adaptive"
CURVES = {"sigmoid": expit, "tanh": np.tanh}
SCALE = {"sigmoid": 0.5, "tanh": 1.0}  # sigmoid(p) = 1/2 + tanh(p/2)/2


def activate(kind: str, y: np.ndarray) -> np.ndarray:
    return np.maximum(y, 0.0) if kind == "relu" else CURVES[kind](y)


def derivative(kind: str, p: float) -> float:
    return float((SCALE[kind] / np.cosh(np.clip(SCALE[kind] * p, -300, 300))) ** 2)


def slope_above(kind: str, low: float, high: float, rule: str) -> float:
    """The slope of the line above a curve, word by word from PROOFS.md."""
    f = CURVES[kind]
    if low >= high:
        return 0.0
    if rule == PARALLEL:
        return min(derivative(kind, low), derivative(kind, high))
    chord = float((f(high) - f(low)) / (high - low))
    if derivative(kind, high) >= chord:
        return chord
    if low >= 0:
        return derivative(kind, (low + high) / 2)
    gap = lambda d: float(f(d) - f(low) - derivative(kind, d) * (d - low))  # noqa: E731
    return derivative(kind, brentq(gap, 0.0, high, xtol=1e-14))


def curve_lines(kind: str, lower: np.ndarray, upper: np.ndarray, rule: str) -> tuple[np.ndarray, ...]:
    """(alpha, slope, offset, below); the offsets are extreme where the slope is that of the curve, or at an end."""
    slope = np.array([slope_above(kind, a, b, rule) for a, b in zip(lower, upper, strict=True)])
    alpha = np.array([slope_above(kind, -b, -a, rule) for a, b in zip(lower, upper, strict=True)])

    def gaps(s: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.nan_to_num(np.arccosh(SCALE[kind] / np.sqrt(s)) / SCALE[kind])
        points = np.stack([lower, upper, np.clip(t, lower, upper), np.clip(-t, lower, upper)])
        return CURVES[kind](points) - s * points

    return alpha, slope, gaps(slope).max(axis=0), gaps(alpha).min(axis=0)


def lines(lower: np.ndarray, upper: np.ndarray, phase: np.ndarray, rule: str, kind: str) -> tuple[np.ndarray, ...]:
    """(alpha, slope, offset, below): alpha y + below <= f(y) <= slope y + offset."""
    if kind != "relu":
        return curve_lines(kind, lower, upper, rule)
    unstable = (phase == 0) & (lower < 0) & (upper > 0)
    on = ((phase > 0) | ((phase == 0) & (lower >= 0))).astype(float)
    slope = np.where(unstable, upper / np.where(unstable, upper - lower, 1.0), on)
    chosen = slope if rule == PARALLEL else (upper > -lower).astype(float)
    return np.where(unstable, chosen, on), slope, np.where(unstable, -slope * lower, 0.0), np.zeros(len(lower))


def linear_minimum(w: np.ndarray, box: Set) -> float:
    """The minimum of w.x over the region; over a ball the best Lagrangian bound, which is concave in kappa."""
    plain = float(np.minimum(w * box.lower, w * box.upper).sum())
    if box.center is None or not w.any():
        return plain
    low, high = box.lower - box.center, box.upper - box.center

    def bound(kappa: float) -> float:
        if box.norm == "l2":
            d = np.clip(-w / (2 * kappa), low, high)
            return float(w @ box.center + w @ d + kappa * (d @ d - box.radius**2))
        ends = np.stack([low, np.clip(np.zeros_like(w), low, high), high])
        return float(w @ box.center + (w * ends + kappa * np.abs(ends)).min(axis=0).sum() - kappa * box.radius)

    if box.norm == "l1":  # piecewise linear
        return max(plain, *(bound(kappa) for kappa in np.abs(w)))
    steepest = np.linalg.norm(w) / (2 * box.radius)
    ends = np.log([1e-9 * steepest, 10 * steepest])
    best = minimize_scalar(lambda t: -bound(np.exp(t)), bounds=ends, method="bounded")
    return max(plain, -float(best.fun))


def back_substitute(
    net: Layers, form: tuple[np.ndarray, Terms], row: np.ndarray, relaxed: list[tuple[np.ndarray, ...]],
    added: list[np.ndarray] | None = None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Coefficients of the input and the constant of row @ form below, through the lines of the layers."""
    *_, (coefficients, constant) = stages(net, form, row, relaxed, added)
    return coefficients[0], constant


def stages(
    net: Layers, form: tuple[np.ndarray, Terms], row: np.ndarray, relaxed: list[tuple[np.ndarray, ...]],
    added: list[np.ndarray] | None = None,
) -> Iterator[tuple[list[np.ndarray], float]]:  # fmt: skip
    """Coefficients of all values, and the constant, before each layer is replaced by its lines, and at the end."""
    coefficients = [np.zeros(n) for n in net.sizes]
    constant = float(row @ form[0])
    for source, matrix in form[1]:
        coefficients[source] += row @ matrix
    for k in range(len(relaxed), 0, -1):
        yield [*coefficients[: k + 1]], constant
        w, (alpha, slope, offset, below) = coefficients[k], relaxed[k - 1]
        constant += float(np.minimum(w, 0.0) @ offset + np.maximum(w, 0.0) @ below)
        before = alpha * np.maximum(w, 0.0) + slope * np.minimum(w, 0.0)
        before = before if added is None else before + added[k]
        constant += float(before @ net.layers[k - 1][0])
        for source, matrix in net.layers[k - 1][1]:
            coefficients[source] = coefficients[source] + before @ matrix
    yield coefficients[:1], constant


def interval_minimum(coefficients: list[np.ndarray], low: list[np.ndarray], high: list[np.ndarray]) -> float:
    parts = zip(coefficients, low, high, strict=False)
    return float(sum(np.minimum(w * a, w * b).sum() for w, a, b in parts))


def interval_reference(net: Layers, box: Set) -> tuple[np.ndarray, np.ndarray]:
    low, high = [box.lower], [box.upper]
    lower: list[np.ndarray] = [np.zeros(0)]
    upper: list[np.ndarray] = [np.zeros(0)]
    for kind, (bias, terms) in zip(net.kinds, net.layers, strict=True):
        a, b = bias.copy(), bias.copy()
        for s, m in terms:
            a += np.maximum(m, 0) @ low[s] + np.minimum(m, 0) @ high[s]
            b += np.maximum(m, 0) @ high[s] + np.minimum(m, 0) @ low[s]
        lower.append(a)
        upper.append(b)
        low.append(activate(kind, a))
        high.append(activate(kind, b))
    return np.concatenate(lower), np.concatenate(upper)


def linear_reference(net: Layers, box: Set, rule: str, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals by interval arithmetic, cut by lines, at the best stage, where a curve reads or the sign is
    open, cut by the phases."""
    fixed = net.split(phase)
    low, high = [box.lower], [box.upper]
    relaxed: list[tuple[np.ndarray, ...]] = []
    lower, upper = [], []
    for k, (kind, (bias, terms)) in enumerate(zip(net.kinds, net.layers, strict=True), 1):
        a = bias + sum(np.maximum(m, 0) @ low[s] + np.minimum(m, 0) @ high[s] for s, m in terms)
        b = bias + sum(np.maximum(m, 0) @ high[s] + np.minimum(m, 0) @ low[s] for s, m in terms)
        for i in np.flatnonzero((a < 0) & (b > 0) if kind == "relu" else a < b):
            unit = np.eye(len(bias))[i]
            for sign in (1.0, -1.0):
                w, constant = back_substitute(net, net.layers[k - 1], sign * unit, relaxed)
                bound = constant + linear_minimum(w, box)
                found = stages(net, net.layers[k - 1], sign * unit, relaxed)
                bound = max(bound, *(c + interval_minimum(ws, low, high) for ws, c in found))
                if sign > 0:
                    a[i] = max(a[i], bound)
                else:
                    b[i] = min(b[i], -bound)
        a, b = np.where(fixed[k] > 0, np.maximum(a, 0), a), np.where(fixed[k] < 0, np.minimum(b, 0), b)
        lower.append(a)
        upper.append(b)
        relaxed.append(lines(a, b, fixed[k], rule, kind))
        low.append(np.where(fixed[k] < 0, 0.0, activate(kind, a)))
        high.append(np.where(fixed[k] < 0, 0.0, activate(kind, b)))
    return np.concatenate([np.zeros(0), *lower]), np.concatenate([np.zeros(0), *upper])


def forward(net: Layers, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pre-activations of all units, and the margins, at one input."""
    values, before = [x], [np.zeros(0)]
    for kind, layer in zip(net.kinds, net.layers, strict=True):
        before.append(affine(layer, values))
        values.append(activate(kind, before[-1]))
    return np.concatenate(before), affine(net.margins, values)


# lines of curves


@pytest.mark.parametrize("rule", [PARALLEL, ADAPTIVE])
@pytest.mark.parametrize("kind", CURVES)
def test_lines_of_curves(kind: str, rule: str) -> None:
    """Near and far from 0, narrow and wide: the slopes of PROOFS.md, on the right side of the curve, and touching it."""
    rng = np.random.default_rng(30)
    lower = rng.normal(size=600) * rng.choice([0.01, 1, 10, 100], 600)
    upper = lower + np.abs(rng.normal(size=600)) * rng.choice([0, 1e-6, 0.1, 1, 10, 100], 600)
    alpha, below, slope, offset = _core.curve_lines(kind, lower, upper, rule == PARALLEL)
    reference = curve_lines(kind, lower, upper, rule)
    wide = upper > lower + 1e-5  # the slope of a shorter chord is hardly determined, nor does it matter
    np.testing.assert_allclose(alpha[wide], reference[0][wide], atol=1e-10)
    np.testing.assert_allclose(slope[wide], reference[1][wide], atol=1e-10)
    points = lower[:, None] + np.linspace(0, 1, 2001) * (upper - lower)[:, None]
    for side in (
        slope[:, None] * points + offset[:, None] - CURVES[kind](points),
        CURVES[kind](points) - alpha[:, None] * points - below[:, None],
    ):
        assert side.min() >= -1e-14
        assert side.min(axis=1).max() <= 1e-12 + 1e-6 * (rule == ADAPTIVE)  # up to the grid of points


def test_lines_of_a_curve_at_a_point() -> None:
    at = np.array([-800.0, -3.0, 0.0, 0.7, 800.0])
    for kind in CURVES:
        alpha, below, slope, offset = _core.curve_lines(kind, at, at, False)
        assert not alpha.any() and not slope.any()
        np.testing.assert_allclose([below, offset], [CURVES[kind](at)] * 2, atol=1e-16)


# intervals


def test_interval_bounds(net: Layers) -> None:
    box = region(np.random.default_rng(1), net.inputs)
    for ours, reference in zip(net.core.interval_bounds(box.core), interval_reference(net, box), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", [PARALLEL, ADAPTIVE])
@pytest.mark.parametrize("norm", ["", "l1", "l2"])
def test_linear_bounds(net: Layers, rule: str, norm: str) -> None:
    box = region(np.random.default_rng(2), net.inputs, norm)
    free = np.zeros(net.units, dtype=np.int8)
    possible, *ours = net.core.linear_bounds(box.core, rule == PARALLEL, free, 2)
    assert possible
    noise = 1e-6 if norm else 1e-9
    for mine, reference in zip(ours, linear_reference(net, box, rule, free), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=noise, atol=noise)


@pytest.mark.parametrize("rule", [PARALLEL, ADAPTIVE])
def test_linear_bounds_with_phases(net: Layers, rule: str) -> None:
    """Phases that a point of the region has, so that no interval is empty."""
    rng = np.random.default_rng(3)
    box = region(rng, net.inputs)
    before = forward(net, box.points(rng, 1)[0])[0]
    phase = (np.sign(before) * (rng.random(net.units) < 0.5) * net.is_relu).astype(np.int8)
    possible, *ours = net.core.linear_bounds(box.core, rule == PARALLEL, phase, 1)
    assert possible
    for mine, reference in zip(ours, linear_reference(net, box, rule, phase), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-9, atol=1e-10)


def test_an_impossible_phase_is_noticed() -> None:
    core = _core.Program(1, [("relu", np.array([2.0]), [(0, np.array([[1.0]]))])])
    box = Set(-np.ones(1), np.ones(1)).core
    assert core.linear_bounds(box, True, np.array([-1], dtype=np.int8), 1)[0] is False
    assert core.linear_bounds(box, True, np.array([1], dtype=np.int8), 1)[0] is True


@pytest.mark.parametrize("norm", ["", "l1", "l2"])
def test_intervals_hold_at_points(net: Layers, norm: str) -> None:
    rng = np.random.default_rng(4)
    box = region(rng, net.inputs, norm)
    free = np.zeros(net.units, dtype=np.int8)
    bounds = [net.core.interval_bounds(box.core)]
    bounds += [net.core.linear_bounds(box.core, parallel, free, 1)[1:] for parallel in (True, False)]
    for x in box.points(rng, 100):
        before = forward(net, x)[0]
        for lower, upper in bounds:
            assert (lower - 1e-9 <= before).all() and (before <= upper + 1e-9).all()


# ascent


def ascend(net: Layers, box: Set, **changes: Any) -> dict[str, np.ndarray]:
    """The kernel at the root, one row a margin, adaptive slopes; arguments and options may be changed."""
    rows = changes.pop("rows", len(net.margins[0]))
    arguments = {
        "interval": net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:],
        "phase": np.zeros((rows, net.units), dtype=np.int8),
        "allowed": np.ones((rows, len(net.margins[0])), dtype=np.int8),
        "alpha": np.full((rows, net.units), -1.0),
        "beta": np.zeros((rows, net.units)),
        "weights": np.eye(len(net.margins[0]))[:rows],
    }
    options = {"steps": 0, "alpha_rate": 0.1, "beta_rate": 0.1, "weight_rate": 0.5, "decay": 0.98}
    options |= {"target": np.inf, "threads": 1}
    arguments |= {k: v for k, v in changes.items() if k in arguments}
    options |= {k: v for k, v in changes.items() if k in options}
    lower, upper = arguments.pop("interval")
    return net.core.ascend(net.form, box.core, lower, upper, *arguments.values(), **options)


def dual_value(net: Layers, box: Set, interval: Any, phase: Any, alpha: Any, beta: Any, weights: Any) -> float:
    """The bound of one row with explicit slopes, by numpy."""
    relaxed = []
    parts = zip(*(net.split(part)[1:] for part in (*interval, phase, alpha)), net.kinds, strict=True) if net.layers else ()
    for low, high, p, a, kind in parts:
        best, slope, offset, below = lines(low, high, p, ADAPTIVE, kind)
        unstable = (p == 0) & (low < 0) & (high > 0) & (kind == "relu")
        relaxed.append((np.where(unstable, a, best), slope, offset, below))
    w, constant = back_substitute(net, net.margins, weights, relaxed, net.split(-phase * beta))
    return constant + linear_minimum(w, box)


@pytest.mark.parametrize("norm", ["", "l1", "l2"])
def test_the_bound_without_steps(net: Layers, norm: str) -> None:
    """Random slopes, phases, multipliers and weights."""
    rng = np.random.default_rng(5)
    box = region(rng, net.inputs, norm)
    rows = 5
    interval = net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    phase = net.phases(rng, rows)
    alpha, beta = rng.random(phase.shape), rng.random(phase.shape) * (phase != 0)
    weights = rng.random((rows, len(net.margins[0])))
    ones = np.ones(weights.shape, dtype=np.int8)
    given = {"phase": phase, "alpha": alpha, "beta": beta, "weights": weights, "allowed": ones}
    result = ascend(net, box, rows=rows, interval=interval, **given)
    for r in range(rows):
        expected = dual_value(net, box, interval, phase[r], alpha[r], beta[r], weights[r])
        assert result["bound"][r] == pytest.approx(expected, abs=1e-6 if norm else 1e-9)


def split_nodes(net: Layers, box: Set, interval: Any, **changes: Any) -> dict[str, np.ndarray]:
    """Trees below one node a margin, in which one open unit is fixed if there is one; arguments may be changed."""
    rows = len(net.margins[0])
    open_ = np.flatnonzero(net.is_relu & (interval[0] < 0) & (interval[1] > 0))[:1]
    phase = np.zeros((rows, net.units), dtype=np.int8)
    phase[:, open_] = 1
    arguments = {
        "alpha": np.full((rows, net.units), 0.5),
        "path": np.tile(open_, rows).astype(np.int32),
        "path_counts": np.full(rows, len(open_), dtype=np.int32),
        "phase": phase,
        "beta": 0.1 * np.abs(phase),
        "price": np.ones(phase.shape),
    } | changes
    options = {"most": 6, "deepest": 50, "steps": 3, "rate": 0.4, "seconds": 60.0, "threads": 2}
    return net.core.split_nodes(net.form, box.core, *interval, **arguments, **options)


def cases_below(found: dict[str, np.ndarray], path: list[int]) -> Iterator[tuple[dict[int, int], np.ndarray]]:
    """The phases of each case of the first tree, and the multipliers of its splits in order."""
    pending, at = [{unit: 1 for unit in path}], 0
    for unit in found["splits"][: found["split_counts"][0]].tolist():
        cell = pending.pop()
        if unit >= 0:
            pending += [{**cell, unit: 1}, {**cell, unit: -1}]
            continue
        yield cell, found["multipliers"][at : at + len(cell)]
        at += len(cell)
    assert not pending and at == found["multiplier_counts"][0]


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("norm", ["", "l1", "l2"])
def test_bounds_of_cases_are_at_least_those_of_their_multipliers(net: Layers, norm: str, shift: float) -> None:
    """And those in single precision are the same, but for rounding, also far from zero."""
    net, box = moved(net, shift) if shift else net, region(np.random.default_rng(33), net.inputs, norm).moved(shift)
    interval = net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    found = split_nodes(net, box, interval)
    path = np.flatnonzero(net.is_relu & (interval[0] < 0) & (interval[1] > 0))[:1].tolist()
    weights = np.eye(len(net.margins[0]))[0]
    number = 0
    for number, (cell, multipliers) in enumerate(cases_below(found, path), start=1):
        phase, beta = np.zeros(net.units, dtype=np.int8), np.zeros(net.units)
        phase[list(cell)], beta[list(cell)] = list(cell.values()), multipliers
        last = dual_value(net, box, interval, phase, np.full(net.units, 0.5), beta, weights)
        assert found["bound"][number - 1] >= last - (1e-6 if norm or shift else 1e-9)  # a stage before may be better
        assert found["searched"][number - 1] == pytest.approx(last, rel=1e-4, abs=1e-4)
    assert 1 <= number <= 6
    assert len(found["bound"]) == (found["splits"] < 0).sum()


@pytest.mark.parametrize("name", ["deep", "wide", "skips"])
def test_cases_do_not_depend_on_the_scale_of_hidden_values(name: str) -> None:
    """Squares of their derivatives would be no numbers in single precision."""
    small, factor = make(np.random.default_rng(34), **NETWORKS[name]), 2.0**66
    large, box = scaled(small, factor), region(np.random.default_rng(35), small.inputs)
    interval = small.core.linear_bounds(box.core, False, np.zeros(small.units, dtype=np.int8), 1)[1:]
    ones = np.ones((len(small.margins[0]), small.units))
    expected = split_nodes(small, box, interval, price=ones, beta=0.1 * ones)
    of_large = tuple(factor * end for end in interval)
    found = split_nodes(large, box, of_large, price=ones / factor, beta=0.1 * ones / factor)
    np.testing.assert_array_equal(found["splits"], expected["splits"])
    np.testing.assert_allclose(found["multipliers"] * factor, expected["multipliers"], rtol=1e-5)
    np.testing.assert_allclose(found["searched"], expected["searched"], rtol=1e-5)
    assert (found["multipliers"] > 0).any()


def test_what_single_precision_cannot_hold_is_not_split() -> None:
    net, factor = make(np.random.default_rng(36), **NETWORKS["deep"]), 1e60
    large, box = scaled(net, factor), region(np.random.default_rng(37), net.inputs)
    interval = large.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    zeros = np.zeros((len(net.margins[0]), net.units))
    found = split_nodes(large, box, interval, beta=zeros)
    assert (found["split_counts"] == 1).all()
    assert np.isfinite(found["bound"]).all()


@pytest.mark.parametrize("multiplier", [np.nan, np.inf])
def test_multipliers_of_cases_are_finite(multiplier: float) -> None:
    net = make(np.random.default_rng(38), **NETWORKS["deep"])
    box = region(np.random.default_rng(39), net.inputs)
    interval = net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    splits, multipliers = np.array([0, -1, -1, -1], dtype=np.int32), np.array([0.1, multiplier], dtype=np.float32)
    with pytest.raises(ValueError, match="not finite"):
        net.core.bound_ends(
            net.form, box.core, *interval, np.full((2, net.units), -1.0), splits, multipliers, deepest=5, threads=1
        )


def test_a_look_ahead_is_the_bound_with_one_more_unit_fixed(net: Layers) -> None:
    rng = np.random.default_rng(32)
    box = region(rng, net.inputs)
    interval = net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    phase = net.phases(rng, 4)
    alpha, beta = rng.random(phase.shape), rng.random(phase.shape) * (phase != 0)
    weights = rng.random((4, len(net.margins[0])))
    row, unit = np.nonzero((phase == 0) & net.is_relu & (interval[0] < 0) & (interval[1] > 0))
    parents = (phase, alpha, beta, weights, row.astype(np.int32), unit.astype(np.int32))
    bounds = net.core.look_ahead(net.form, box.core, *interval, *parents, threads=2)
    assert bounds.shape == (len(row), 2)
    for pair, (r, j) in enumerate(zip(row, unit, strict=True)):
        for side, fixed in enumerate((-1, 1)):
            child = np.where(np.arange(net.units) == j, fixed, phase[r]).astype(np.int8)
            expected = dual_value(net, box, interval, child, alpha[r], beta[r], weights[r])
            assert bounds[pair, side] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("norm", ["", "l1", "l2"])
def test_steps_only_improve_and_stay_below_points(net: Layers, norm: str) -> None:
    rng = np.random.default_rng(6)
    box = region(rng, net.inputs, norm)
    bounds = [ascend(net, box, steps=steps)["bound"] for steps in (0, 1, 5, 40)]
    for earlier, later in zip(bounds[:-1], bounds[1:], strict=True):
        assert (later >= earlier - 1e-12).all()
    least = np.min([forward(net, x)[1] for x in box.points(rng, 200)], axis=0)
    if len(least) == 1:  # with several margins a row may weigh others than its own
        assert bounds[-1][0] <= least[0] + 1e-9


def test_the_bound_belongs_to_the_duals_returned(net: Layers) -> None:
    rng = np.random.default_rng(7)
    box = region(rng, net.inputs)
    interval = net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    phase = net.phases(rng, len(net.margins[0]))
    result = ascend(net, box, interval=interval, phase=phase, steps=15)
    assert (result["beta"] >= 0).all()
    np.testing.assert_allclose(result["weights"].sum(axis=1), 1.0)
    for r in range(len(result["bound"])):
        rest = (phase[r], result["alpha"][r], result["beta"][r], result["weights"][r])
        assert result["bound"][r] == pytest.approx(dual_value(net, box, interval, *rest), abs=1e-9)


def test_the_play_attains_the_bound(net: Layers) -> None:
    """Inputs and outputs of the units agree with the affine maps, and the margins there are the bound. A ReLU that is
    never active has its greatest input instead."""
    box = region(np.random.default_rng(31), net.inputs)
    interval = net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    dead = net.is_relu & (interval[1] <= 0)
    result = ascend(net, box, interval=interval, steps=5)
    for r in range(len(result["bound"])):
        values = [result["x"][r], *net.split(result["z"][r])[1:]]
        before = [affine(layer, values) for layer in net.layers]
        expected = np.where(dead, interval[1], np.concatenate([np.zeros(0), *before]))
        np.testing.assert_allclose(result["y"][r], expected, atol=1e-9)
        attained = result["weights"][r] @ affine(net.margins, values)
        assert result["bound"][r] == pytest.approx(attained, abs=1e-9)


@pytest.mark.parametrize("kinds", [("relu", "relu"), ("relu", "sigmoid"), ("tanh", "relu")])
def test_a_small_step_goes_uphill(kinds: tuple[str, ...]) -> None:
    """From inside the domain one tiny step must raise the bound by about rate times the length of the gradient (Adam:
    the sum of the absolute values), as finite differences give it."""
    net = make(np.random.default_rng(8), (4, 7, 5), 1, kinds=kinds)
    box = Set(-np.ones(4), np.ones(4))
    interval = net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    unstable = np.flatnonzero(net.is_relu & (interval[0] < 0) & (interval[1] > 0))
    phase = np.zeros(net.units, dtype=np.int8)
    phase[unstable[-1]] = 1
    alpha, beta = np.full(net.units, 0.37), 0.2 * (phase != 0)
    weights, step = np.ones(1), 1e-6

    def value(alpha: np.ndarray, beta: np.ndarray) -> float:
        return dual_value(net, box, interval, phase, alpha, beta, weights)

    slopes = []
    for j in unstable:
        unit = step * np.eye(net.units)[j]
        moved = (alpha, beta + unit) if phase[j] else (alpha + unit, beta)
        slopes.append((value(*moved) - value(alpha, beta)) / step)
    rows = {"phase": phase[None], "alpha": alpha[None], "beta": beta[None], "weights": weights[None]}
    result = ascend(net, box, interval=interval, steps=1, alpha_rate=step, beta_rate=step, decay=1.0, **rows)
    gain = result["bound"][0] - value(alpha, beta)
    assert gain == pytest.approx(step * np.abs(slopes).sum(), rel=1e-3)


def test_the_target_ends_the_ascent(net: Layers) -> None:
    box = region(np.random.default_rng(9), net.inputs)
    start = ascend(net, box)
    result = ascend(net, box, steps=30, target=float(start["bound"].min()) - 1.0)
    np.testing.assert_array_equal(result["bound"], start["bound"])


def test_intervals_of_their_own_for_each_row(net: Layers) -> None:
    box = region(np.random.default_rng(10), net.inputs)
    lower, upper = net.core.linear_bounds(box.core, False, np.zeros(net.units, dtype=np.int8), 1)[1:]
    rows = len(net.margins[0])
    wide = (np.tile(lower, (rows, 1)) - np.arange(rows)[:, None] * 0.1, np.tile(upper, (rows, 1)))
    together = ascend(net, box, interval=wide, steps=3)["bound"]
    one = np.ones((1, rows), dtype=np.int8)
    for r in range(rows):
        own = {"interval": (wide[0][r], wide[1][r]), "weights": np.eye(rows)[r : r + 1], "allowed": one}
        alone = ascend(net, box, rows=1, steps=3, **own)
        assert together[r] == pytest.approx(alone["bound"][0], abs=1e-12)


# cells


CELLS = [("relu", "relu"), ("sigmoid", "tanh"), ("relu", "sigmoid"), ("tanh", "relu")]
CELLS += [("relu",) * 4, ("tanh", "relu", "sigmoid", "tanh")]


@pytest.mark.parametrize("kinds", CELLS)
def test_cells_are_the_back_substitution_with_parallel_or_adaptive_lines(kinds: tuple[str, ...]) -> None:
    """On the intervals of a parallel anchor (PROOFS.md, section 5), where the proof of a cell will be audited."""
    for seed in range(6):
        rng = np.random.default_rng(20 + seed)
        net = make(
            rng,
            (3, 6, 5, 6, 5)[: 1 + len(kinds)],
            3,
            skips=seed % 2 == 0,
            form="sparse" if seed % 3 == 0 else "dense",
            kinds=kinds,
        )
        boxes = [region(rng, 3) for _ in range(5)]
        low, high = (np.array([getattr(box, side) for box in boxes]) for side in ("lower", "upper"))
        result = net.core.bound_cells(net.form, low, high, 2)
        for b, box in enumerate(boxes):
            bound = {rule: cell_bounds(net, box, rule) for rule in (PARALLEL, ADAPTIVE)}
            best = np.maximum(bound[PARALLEL], bound[ADAPTIVE])
            np.testing.assert_allclose(result["lower"][b], best, atol=1e-9)
            chosen = np.where(result["adaptive"][b], bound[ADAPTIVE], bound[PARALLEL])
            np.testing.assert_allclose(chosen, best, atol=1e-9)


def cell_bounds(net: Layers, box: Set, rule: str) -> np.ndarray:
    """Each margin's bound by the lines of ``rule`` on the intervals that parallel lines give."""
    free = np.zeros(net.units)
    ends = [net.split(end) for end in linear_reference(net, box, PARALLEL, free)]
    pairs = zip(*(end[1:] for end in ends), net.kinds, strict=True)
    relaxed = [lines(low, high, np.zeros(len(low)), rule, kind) for low, high, kind in pairs]
    rows = [back_substitute(net, net.margins, unit, relaxed) for unit in np.eye(len(net.margins[0]))]
    return np.array([constant + linear_minimum(w, box) for w, constant in rows])


def test_cells_hold_at_points(net: Layers) -> None:
    rng = np.random.default_rng(11)
    boxes = [region(rng, net.inputs) for _ in range(70)]  # more than one task
    low, high = (np.array([getattr(box, side) for box in boxes]) for side in ("lower", "upper"))
    result = net.core.bound_cells(net.form, low, high, 2)
    assert ((low - 1e-12 <= result["x"]) & (result["x"] <= high + 1e-12)).all()
    for b, box in enumerate(boxes):
        for x in box.points(rng, 10):
            assert (result["lower"][b] <= forward(net, x)[1] + 1e-9).all()


# the primal side


def test_margins_at_points(net: Layers) -> None:
    points = region(np.random.default_rng(12), net.inputs).points(np.random.default_rng(13), 50)
    ours = net.core.margins_at(net.form, points, threads=2)
    np.testing.assert_allclose(ours, [forward(net, x)[1] for x in points], rtol=1e-11, atol=1e-12)
    assert net.core.margins_at(net.form, points[:0], threads=2).shape == (0, len(net.margins[0]))


@pytest.mark.parametrize(
    ("width", "form", "most"),
    [*[(width, "dense", 19) for width in (1, 2, 7, 33, 64, 65)], (28, "sparse", 33), (28, "channels", 33)],
)
def test_products_with_any_number_of_columns(width: int, form: str, most: int) -> None:
    """Forward and, for gradients, backward: 64 x 64 matrices are the last that BLAS does not multiply."""
    rng = np.random.default_rng(18)
    net = make(rng, (3, width, width), width, form=form)
    box = region(rng, net.inputs)
    points = box.points(rng, most)
    options = {"steps": 1, "first_step": 1e-3, "decay": 1.0, "goal": -np.inf, "threads": 1}
    alone = [net.core.descend(net.form, box.core, x[None], **options)[0][0] for x in points]
    for number in range(1, len(points) + 1):
        expected = [forward(net, x)[1] for x in points[:number]]
        np.testing.assert_allclose(net.core.margins_at(net.form, points[:number], threads=2), expected, rtol=1e-11, atol=1e-12)
        together = net.core.descend(net.form, box.core, points[:number], **options)[0]
        np.testing.assert_allclose(together, alone[:number], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("norm", ["", "l1", "l2"])
def test_descent_goes_down_inside_the_region(net: Layers, norm: str) -> None:
    rng = np.random.default_rng(14)
    box = region(rng, net.inputs, norm)
    starts = box.points(rng, 40)
    options = {"steps": 20, "first_step": 0.25, "decay": 0.9, "goal": -np.inf, "threads": 2}
    x, value = net.core.descend(net.form, box.core, starts, **options)
    worst = np.array([forward(net, p)[1].max() for p in x])
    np.testing.assert_allclose(value, worst, rtol=1e-11, atol=1e-12)
    assert (value <= [forward(net, p)[1].max() + 1e-12 for p in starts]).all()
    assert ((box.lower - 1e-12 <= x) & (x <= box.upper + 1e-12)).all()
    if box.center is not None:
        size = np.linalg.norm(x - box.center, 1 if norm == "l1" else 2, axis=1)
        assert (size <= box.radius * (1 + 1e-9)).all()


@pytest.mark.parametrize("kinds", [("relu", "relu"), ("sigmoid", "relu"), ("tanh", "sigmoid")])
def test_one_step_of_descent_is_the_signed_gradient(kinds: tuple[str, ...]) -> None:
    """FGSM on one margin, by finite differences."""
    net = make(np.random.default_rng(15), (4, 7, 5), 1, kinds=kinds)
    box = Set(-np.ones(4), np.ones(4))
    start = np.array([0.1, -0.2, 0.15, 0.05])
    slope = [(forward(net, start + h)[1][0] - forward(net, start - h)[1][0]) for h in 1e-6 * np.eye(4)]
    options = {"steps": 1, "first_step": 1e-3, "decay": 1.0, "goal": -np.inf, "threads": 1}
    x, _ = net.core.descend(net.form, box.core, start[None], **options)
    np.testing.assert_allclose(x[0], start - 2e-3 * np.sign(slope), atol=1e-12)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_margin_that_overflows_is_the_worst(order: list[int]) -> None:
    """One margin is infinity minus infinity, the other 1.5."""
    first = np.zeros(3), [(0, np.array([[1e300], [1e300], [1.0]]))]
    second = np.zeros(3), [(1, np.diag([1e10, 1e10, 1.0]))]
    last = np.zeros(2), [(2, np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])[order])]
    net = hold(1, ("relu", "relu"), [first, second], last, "sparse")
    point = np.array([[1.5]])
    assert np.isnan(net.core.margins_at(net.form, point, threads=1)).sum() == 1
    options = {"steps": 0, "first_step": 0.1, "decay": 1.0, "goal": -np.inf, "threads": 1}
    assert net.core.descend(net.form, Set(point[0], point[0]).core, point, **options)[1] == [np.inf]


def test_descent_finds_the_corner_of_a_linear_margin() -> None:
    net = make(np.random.default_rng(16), (6,), 1)
    box = Set(-np.ones(6), np.ones(6))
    options = {"steps": 30, "first_step": 0.25, "decay": 0.95, "goal": -np.inf, "threads": 1}
    _, value = net.core.descend(net.form, box.core, np.zeros((1, 6)), **options)
    assert value[0] == pytest.approx(net.margins[0][0] - np.abs(net.margins[1][0][1]).sum(), abs=1e-9)


# threads


def test_results_do_not_depend_on_threads(net: Layers) -> None:
    rng = np.random.default_rng(17)
    box = region(rng, net.inputs)
    free = np.zeros(net.units, dtype=np.int8)
    starts = box.points(rng, 100)
    weights = np.eye(len(net.margins[0]))[rng.integers(0, len(net.margins[0]), 80)]
    rows = {"rows": 80, "weights": weights, "allowed": np.ones(weights.shape, dtype=np.int8), "steps": 4}
    low = np.repeat(box.lower[None], 200, axis=0)
    high = low + rng.random(low.shape) * (box.upper - box.lower)

    def results(threads: int) -> list[np.ndarray]:
        cells = net.core.bound_cells(net.form, low, high, threads)
        found = [*net.core.linear_bounds(box.core, False, free, threads)[1:]]
        found += [*ascend(net, box, threads=threads, **rows).values()]
        found += [array for array in cells.values() if isinstance(array, np.ndarray)]
        return found

    for one, several in zip(results(1), results(3), strict=True):
        np.testing.assert_allclose(one, several, rtol=1e-9, atol=1e-12)
    options = {"steps": 5, "first_step": 0.25, "decay": 0.9, "goal": -np.inf}
    one, several = (net.core.descend(net.form, box.core, starts, threads=n, **options) for n in (1, 3))
    np.testing.assert_allclose(one[1], several[1], rtol=1e-9, atol=1e-12)


# errors

GOOD = np.zeros((2, 3))


def csr_form(indptr: list[int], indices: list[int], *, rows: int | None = None, entries: int | None = None) -> Any:
    """A form of one CSR matrix with three columns."""
    size = len(indptr) - 1 if rows is None else rows
    values = np.ones(len(indices) if entries is None else entries)
    return _core.Form(np.zeros(size), [(0, (np.array(indptr, np.int32), np.array(indices, np.int32), values, 3))])


BAD_FORMS: dict[str, Any] = {
    "bias and dense rows differ": lambda: _core.Form(np.zeros(3), [(0, GOOD)]),
    "a dense vector": lambda: _core.Form(np.zeros(2), [(0, np.zeros(3))]),
    "indptr too short": lambda: csr_form([0, 1], [0], rows=2),
    "indptr beyond indices": lambda: csr_form([0, 2], [0]),
    "indptr decreases": lambda: csr_form([0, 2, 1], [0]),
    "a column too large": lambda: csr_form([0, 1], [3]),
    "a negative column": lambda: csr_form([0, 1], [-1]),
    "fewer entries than columns": lambda: csr_form([0, 2], [0, 1], entries=1),
    "a layer that reads itself": lambda: _core.Program(3, [("relu", np.zeros(2), [(1, np.zeros((2, 2)))])]),
    "an unknown activation": lambda: _core.Program(3, [("exp", np.zeros(2), [(0, GOOD)])]),
    "a negative source": lambda: _core.Program(3, [("relu", np.zeros(2), [(-1, GOOD)])]),
    "a matrix for other inputs": lambda: _core.Program(4, [("relu", np.zeros(2), [(0, GOOD)])]),
    "bounds of two lengths": lambda: _core.Region(np.zeros(2), np.zeros(3), "", np.zeros(0), 0.0),
    "a center of another length": lambda: _core.Region(np.zeros(2), np.zeros(2), "l2", np.zeros(3), 1.0),
}


@pytest.mark.parametrize("what", BAD_FORMS)
def test_bad_shapes_and_indices(what: str) -> None:
    with pytest.raises(ValueError):
        BAD_FORMS[what]()


def test_arguments_that_do_not_fit() -> None:
    net = make(np.random.default_rng(18), (3, 4), 2)
    box, other = Set(-np.ones(3), np.ones(3)), Set(-np.ones(2), np.ones(2))
    free = np.zeros(4, dtype=np.int8)
    wrong_form = _core.Form(np.zeros(1), [(2, np.zeros((1, 4)))])
    known = (-np.ones(4), np.ones(4))
    calls = {
        "path": lambda: split_nodes(net, box, known, path=np.full(2, 4, dtype=np.int32)),
        "path_counts": lambda: split_nodes(net, box, known, path_counts=np.ones(3, dtype=np.int32)),
        "price": lambda: split_nodes(net, box, known, price=np.ones((2, 3))),
        "region": lambda: net.core.interval_bounds(other.core),
        "phase": lambda: net.core.linear_bounds(box.core, True, free[:3], 1),
        "form": lambda: net.core.margins_at(wrong_form, np.zeros((1, 3)), threads=1),
        "points": lambda: net.core.margins_at(net.form, np.zeros((1, 2)), threads=1),
        "one point": lambda: net.core.margins_at(net.form, np.zeros(3), threads=1),
        "cells": lambda: net.core.bound_cells(net.form, np.zeros((2, 3)), np.zeros((1, 3)), 1),
        "starts": lambda: net.core.descend(
            net.form, box.core, np.zeros((1, 4)), steps=1, first_step=0.1, decay=0.9, goal=0.0, threads=1
        ),
        "alpha": lambda: ascend(net, box, alpha=np.zeros((2, 3))),
        "beta": lambda: ascend(net, box, beta=np.zeros((1, 4))),
        "weights": lambda: ascend(net, box, weights=np.zeros((2, 3))),
        "allowed": lambda: ascend(net, box, allowed=np.ones((1, 2), dtype=np.int8)),
        "intervals": lambda: ascend(net, box, interval=(np.zeros(3), np.zeros(4))),
        "A row or unit": lambda: net.core.look_ahead(
            net.form,
            box.core,
            np.zeros(net.units),
            np.zeros(net.units),
            np.zeros((1, net.units), dtype=np.int8),
            np.zeros((1, net.units)),
            np.zeros((1, net.units)),
            np.zeros((1, len(net.margins[0]))),
            np.zeros(1, dtype=np.int32),
            np.full(1, net.units, dtype=np.int32),
            threads=1,
        ),
    }
    for what, call in calls.items():
        with pytest.raises(ValueError):
            call()
            pytest.fail(f"no error for {what}")
