"""A slow reading of PROOFS.md, sections 3 to 6, in rationals: what the audits' bounds are compared with.

For tiny networks and trees; word for word rather than clever. Curves are evaluated to 60 digits, so that bounds are
right to about 35; points where lines touch are found in their closed form.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sparse

from pydual.audit import query
from pydual.certificate import ProofTree
from pydual.network import Network
from pydual.operators.primitives import Affine, Relu

Interval = tuple[Fraction, Fraction]
Box = list[Interval]
ZERO, ONE, HALF = Fraction(0), Fraction(1), Fraction(1, 2)
U, CURVE_ERROR, LARGEST = Fraction(1, 2**24), Fraction(1, 2**20), Fraction(2**127)


class Refused(Exception):
    """The certificate is rejected whatever its bounds are (section 6)."""


class Reference:
    """The bounds F of the leaves of a tree: ``bounds`` lists them in preorder, None for an empty cell."""

    def __init__(self, network: Network, problem: query.Problem, tree: ProofTree, arithmetic: str = "real") -> None:
        self.network, self.problem, self.tree = network, problem, tree
        self.float32 = arithmetic == "float32"
        relus = [(k, p) for k, p in enumerate(network.primitives) if isinstance(p, Relu)]
        self.neurons = [(p.source, c, k) for k, p in relus for c in range(p.size)]
        self.number = {(k, c): j for j, (_, c, k) in enumerate(self.neurons)}
        self.read = {p.source for p in network.primitives if not isinstance(p, Affine)}
        self.curved = {p.source for p in network.primitives if hasattr(p, "kind")}

    def bounds(self) -> list[Fraction | None]:
        self.nodes = zip(self.tree.kind.tolist(), self.tree.anchor.tolist(), strict=True)
        self.indices, self.thresholds = iter(self.tree.index.tolist()), iter(self.tree.threshold.tolist())
        self.betas, self.leaf = iter(self.tree.split_multipliers.tolist()), 0
        box = [(Fraction(a), Fraction(b)) for a, b in zip(self.problem.lower, self.problem.upper, strict=True)]
        self.found: list[Fraction | None] = []
        self._node(box, {}, None, False)
        return self.found

    def _node(self, box: Box, phases: dict[int, bool], bounds: Any, empty: bool) -> None:
        """``bounds``: the intervals of the values that are read, and the errors of affine values."""
        kind, anchor = next(self.nodes)
        empty = empty or any(low > high for low, high in box) or self._misses_ball(box)
        for derived in (False, True):
            if derived and anchor and not empty:
                bounds = self._anchor(box, phases, anchor)
            if bounds is not None and not empty:
                bounds = {v: self._cut(v, b, phases) for v, b in bounds[0].items()}, bounds[1]
                empty = any(low > high for intervals in bounds[0].values() for low, high in intervals)
        if kind == 0:
            betas = {j: Fraction(next(self.betas)) for j in phases}
            self.found.append(None if empty else self._leaf(box, phases, bounds, betas))
            self.leaf += 1
            return
        index = next(self.indices)
        if kind == 1:
            t = Fraction(next(self.thresholds))
            low, high = box[index]
            for side in ((low, min(high, t)), (max(low, t), high)):
                self._node([*box[:index], side, *box[index + 1 :]], phases, bounds, empty)
        else:
            for active in (False, True):
                self._node(box, {**phases, index: active}, bounds, empty)

    def _misses_ball(self, box: Box) -> bool:
        if (ball := self.problem.ball) is None:
            return False
        steps = [max(low - c, c - high, ZERO) for (low, high), c in zip(box, map(Fraction, ball.center), strict=True)]
        power = 1 if ball.norm == "l1" else 2
        return sum(step**power for step in steps) > Fraction(ball.radius) ** power

    def _cut(self, value: int, intervals: Box, phases: dict[int, bool]) -> Box:
        result = list(intervals)
        for j, active in phases.items():
            source, c, _ = self.neurons[j]
            if source == value:
                low, high = result[c]
                result[c] = (max(low, ZERO), high) if active else (low, min(high, ZERO))
        return result

    def _leaf(self, box: Box, phases: dict[int, bool], bounds: Any, betas: dict[int, Fraction]) -> Fraction:
        tree, rule = self.tree, int(self.tree.lines[self.leaf])
        unit = 128 if tree.slopes.dtype == np.uint8 else 1
        row = tree.slopes[rule].tolist() if rule >= 0 else []
        named = {int(j): Fraction(v) / unit for j, v in zip(tree.slope_neurons, row, strict=rule >= 0)}
        functions: list[dict[int, Fraction]] = [{} for _ in self.network.sizes]
        constant = ZERO
        for r, margin in enumerate(self.problem.margins):
            weight = Fraction(tree.multipliers[self.leaf, r].item())
            constant += weight * margin.constant
            for value, coefficients in ((0, margin.x), (self.network.output, margin.y)):
                for i, c in coefficients.items():
                    functions[value][i] = functions[value].get(i, 0) + weight * c
        for j, active in phases.items():
            source, component, _ = self.neurons[j]
            functions[source][component] = functions[source].get(component, 0) + (-betas[j] if active else betas[j])
        return self._bound(functions, constant, box, bounds, rule, named)

    def _bound(
        self, w: list[dict[int, Fraction]], constant: Fraction, box: Box, bounds: Any, rule: int, named: dict[int, Fraction]
    ) -> Fraction:
        """The best of the bounds of all stages."""
        stages = []
        while k := self._next(w):
            primitive, coefficients, w[k] = self.network.primitives[k - 1], w[k], {}
            if isinstance(primitive, Affine):
                for component, c in coefficients.items():
                    constant += c * Fraction(float(primitive.bias[component]))
                    constant -= abs(c) * bounds[1].get(k, {}).get(component, ZERO)
                    for source, i, m in entries(primitive, component):
                        w[source][i] = w[source].get(i, 0) + c * m
                continue
            stages.append(self._stage({**dict(enumerate(w)), k: coefficients}, constant, box, bounds[0]))
            for component, c in coefficients.items():
                interval = bounds[0][primitive.source][component]
                if isinstance(primitive, Relu):
                    slope, shift = relu_line(c, interval, rule, named.get(self.number[k - 1, component]))
                else:
                    slope, shift = curve_line(primitive.kind, c, interval, rule)
                    constant -= abs(c) * (CURVE_ERROR if self.float32 else 0)
                w[primitive.source][component] = w[primitive.source].get(component, 0) + c * slope
                constant += c * shift
        return max([constant + self._least([w[0].get(i, ZERO) for i in range(len(box))], box), *stages])

    def _next(self, w: list[dict[int, Fraction]]) -> int:
        """The value to replace next: the last affine one, else the last one; 0 if only the input is left."""
        affine = [k > 0 and isinstance(self.network.primitives[k - 1], Affine) for k in range(len(w))]
        return max((k for k in range(1, len(w)) if w[k]), key=lambda k: (affine[k], k), default=0)

    def _stage(self, w: dict[int, dict[int, Fraction]], constant: Fraction, box: Box, intervals: Any) -> Fraction:
        for value, coefficients in w.items():
            image = self._image(value, box, intervals) if coefficients else []
            constant += sum(min(c * image[i][0], c * image[i][1]) for i, c in coefficients.items())
        return constant

    def _image(self, value: int, box: Box, intervals: Any) -> Box:
        """The interval of the input, or of the output of a relu or curve."""
        if value == 0:
            return box
        primitive = self.network.primitives[value - 1]
        source = intervals[primitive.source]
        if isinstance(primitive, Relu):
            return [(max(a, ZERO), max(b, ZERO)) for a, b in source]
        e = CURVE_ERROR if self.float32 else ZERO
        return [(curve(primitive.kind, a) - e, curve(primitive.kind, b) + e) for a, b in source]

    def _least(self, w: list[Fraction], box: list[Interval]) -> Fraction:
        plain = sum((min(c * low, c * high) for c, (low, high) in zip(w, box, strict=True)), ZERO)
        if self.problem.ball is None:
            return plain
        if self.problem.ball.norm == "l1":  # concave and piecewise linear in kappa, with these breakpoints
            return max([plain, *(self._lagrangian(w, box, abs(c)) for c in w if c)])
        low, high = -40.0, 20.0  # concave in kappa, hence unimodal in its logarithm
        for _ in range(35):
            a, b = (2 * low + high) / 3, (low + 2 * high) / 3
            at_a, at_b = (self._lagrangian(w, box, Fraction(2.0**e)) for e in (a, b))
            low, high = (low, b) if at_a > at_b else (a, high)
        return max(plain, self._lagrangian(w, box, Fraction(2.0**low)))

    def _lagrangian(self, w: list[Fraction], box: list[Interval], kappa: Fraction) -> Fraction:
        ball = self.problem.ball
        assert ball is not None
        radius = Fraction(ball.radius)
        total = -kappa * (radius * radius if ball.norm == "l2" else radius)
        for c, (low, high), m in zip(w, box, map(Fraction, ball.center), strict=True):
            at = [low, high, *(x for x in (m, m - c / (2 * kappa)) if low <= x <= high)]
            total += min(c * x + kappa * ((x - m) ** 2 if ball.norm == "l2" else abs(x - m)) for x in at)
        return total

    def _anchor(self, box: Box, phases: dict[int, bool], code: int) -> tuple[dict[int, Box], dict[int, dict[int, Fraction]]]:
        """The intervals of the values that are read, and the errors of affine values in float32."""
        values: list[Box] = []
        bounds: tuple[dict[int, Box], dict[int, dict[int, Fraction]]] = ({}, {})
        for k in range(len(self.network.sizes)):
            primitive = self.network.primitives[k - 1] if k else None
            if isinstance(primitive, Affine):
                if self.float32:
                    bounds[1][k] = dict(enumerate(float32_errors(self.network, values)[k]))
                interval = [self._written_out(k, c, values, bounds[1]) for c in range(primitive.size)]
            else:
                interval = self._image(k, box, bounds[0])
            values.append(interval)
            if k in self.read:
                interval = list(interval)
                for c, (low, high) in enumerate(interval if code > 1 else []):
                    if (k in self.curved and low < high) or low < 0 < high:
                        down, up = (self._component(k, c, sign, box, bounds, code) for sign in (1, -1))
                        interval[c] = max(low, down), min(high, -up)
                bounds[0][k] = interval = self._cut(k, interval, phases)
                if any(low > high for low, high in interval):
                    bounds[0].update({v: [(ONE, ZERO)] * self.network.sizes[v] for v in self.read})
                    return bounds
        return bounds

    def _written_out(self, k: int, c: int, values: list[Box], errors: dict[int, dict[int, Fraction]]) -> Interval:
        """Interval arithmetic with the map of an affine component over values that are not affine."""
        row: dict[tuple[int, int], Fraction] = {}
        low = high = ZERO
        pending = [(k, c, ONE)]
        while pending:
            value, i, factor = pending.pop()
            primitive = self.network.primitives[value - 1] if value else None
            if not isinstance(primitive, Affine):
                row[value, i] = row.get((value, i), ZERO) + factor
                continue
            bias = factor * Fraction(float(primitive.bias[i]))
            low, high = low + bias, high + bias
            pending += [(source, j, factor * m) for source, j, m in entries(primitive, i)]
        for (value, i), m in row.items():
            a, z = values[value][i]
            low, high = low + min(m * a, m * z), high + max(m * a, m * z)
        error = errors.get(k, {}).get(c, ZERO)
        return low - error, high + error

    def _derive(self, box: Box, phases: dict[int, bool], anchor: int) -> list[Interval]:
        """The intervals of all neurons, in order."""
        intervals = self._anchor(box, phases, anchor)[0]
        return [intervals[source][c] for source, c, _ in self.neurons]

    def _component(self, value: int, component: int, sign: int, box: Box, bounds: Any, code: int) -> Fraction:
        functions: list[dict[int, Fraction]] = [{} for _ in self.network.sizes]
        functions[value][component] = Fraction(sign)
        return self._bound(functions, ZERO, box, bounds, *self._end_lines(value, component, sign, code))

    def _end_lines(self, value: int, component: int, sign: int, code: int) -> tuple[int, dict[int, Fraction]]:
        """The rule for the lines that bound an end, and the slopes of the row if it names one."""
        neurons = [j for j, (source, c, _) in enumerate(self.neurons) if (source, c) == (value, component)]
        if code < 4 or not neurons:
            return -min(code, 3), {}
        refinement = self.tree.refinements[code - 4]
        rule = int(refinement.lines[0 if sign > 0 else 1, neurons[0]])
        if rule < 0:
            return rule, {}
        unit = 128 if refinement.slopes.dtype == np.uint8 else 1
        row = refinement.slopes[rule].tolist()
        return rule, {int(j): Fraction(v) / unit for j, v in zip(refinement.neurons, row, strict=True)}


def relu_line(c: Fraction, interval: Interval, rule: int, named: Fraction | None) -> tuple[Fraction, Fraction]:
    """Slope and constant of the line that replaces the neuron: the first row of the table that applies."""
    low, high = interval
    if rule == -1:
        return ZERO, max(low if c >= 0 else high, ZERO)
    if low >= 0:
        return ONE, ZERO
    if high <= 0:
        return ZERO, ZERO
    s = high / (high - low)
    if c < 0:
        return s, -s * low
    adaptive = Fraction(high > -low)
    return (s if rule == -2 else adaptive if named is None else named), ZERO


# curves


@lru_cache(maxsize=100_000)
def curve(kind: str, p: Fraction) -> Fraction:
    """The value to 60 digits."""
    with localcontext(Context(prec=60)):
        x = Decimal(p.numerator) / Decimal(p.denominator) * (2 if kind == "tanh" else 1)
        e = (-abs(x)).exp()  # sigmoid(-|x|) = e / (1 + e)
        value = Fraction(e / (1 + e) if x < 0 else 1 / (1 + e))
    return near(2 * value - 1 if kind == "tanh" else value)


def near(value: Fraction) -> Fraction:
    """The same to 40 digits, as a fraction that is not too long to compute with."""
    return Fraction(round(value * 2**140), 2**140)


def derivative(kind: str, p: Fraction) -> Fraction:
    factor = 2 if kind == "tanh" else 1
    return curve("sigmoid", factor * abs(p)) * curve("sigmoid", -factor * abs(p)) * factor**2


def curve_line(kind: str, c: Fraction, interval: Interval, rule: int) -> tuple[Fraction, Fraction]:
    low, high = interval
    if rule == -1 or low == high:
        return ZERO, curve(kind, low if c >= 0 else high)
    if c < 0:
        return line_above(kind, low, high, rule == -2)
    slope, shift = line_above(kind, -high, -low, rule == -2)  # of 1 - sigmoid(-p) or -tanh(-p)
    return slope, (kind == "sigmoid") - shift


def line_above(kind: str, low: Fraction, high: Fraction, parallel: bool) -> tuple[Fraction, Fraction]:
    """The slope of the recipe, and the least constant that is right with it."""
    slope = near(slope_above(kind, low, high, parallel))
    with localcontext(Context(prec=60)):  # where the derivative is the slope: s (1 - s) = q gives s, and p = ln(s / (1 - s))
        q = slope / (4 if kind == "tanh" else 1)
        root = max(Decimal(0), 1 - 4 * Decimal(q.numerator) / Decimal(q.denominator)).sqrt()
        p = Fraction(((1 + root) / (1 - root)).ln()) / (2 if kind == "tanh" else 1) if root < 1 else ZERO
    ends = [low, high, *(t for t in (near(p), -near(p)) if low <= t <= high)]
    return slope, max(curve(kind, t) - slope * t for t in ends)


def slope_above(kind: str, low: Fraction, high: Fraction, parallel: bool) -> Fraction:
    if parallel:
        return min(derivative(kind, low), derivative(kind, high))
    chord = (curve(kind, high) - curve(kind, low)) / (high - low)
    if derivative(kind, high) >= chord:
        return chord
    if low >= 0:
        return derivative(kind, (low + high) / 2)
    near, far = ZERO, high
    for _ in range(50):
        d = Fraction(float((near + far) / 2))
        touches = curve(kind, d) - curve(kind, low) >= derivative(kind, d) * (d - low)
        near, far = (near, d) if touches else (d, far)
    return derivative(kind, far)


# affine maps


def entries(primitive: Affine, row: int) -> Iterator[tuple[int, int, Fraction]]:
    """The nonzero entries of a row: source, column, entry."""
    for source, matrix in primitive.terms:
        dense = matrix[[row]].toarray()[0] if sparse.issparse(matrix) else matrix[row]
        yield from ((source, i, Fraction(m)) for i, m in enumerate(dense.tolist()) if m)


def float32_errors(network: Network, values: list[Box]) -> list[list[Fraction]]:
    """Section 6: epsilon of every value up to the first whose interval is missing; zero where there is no rounding."""
    sizes: list[list[Fraction]] = []
    roundings: list[int] = []
    underflows: list[list[Fraction]] = []
    errors: list[list[Fraction]] = []
    for k in range(len(values) + 1):
        primitive = network.primitives[k - 1] if k else None
        if not isinstance(primitive, Affine):
            if k == len(values):
                break
            sizes.append([max(abs(a), abs(b)) for a, b in values[k]])
            roundings.append(0)
            underflows.append([ZERO] * len(values[k]))
            below = 0
        else:
            tiny = Fraction(1, 2**124)
            rows = [list(entries(primitive, r)) for r in range(primitive.size)]
            sizes.append(
                [
                    abs(Fraction(b)) + sum(abs(m) * sizes[s][i] for s, i, m in row)
                    for row, b in zip(rows, primitive.bias.tolist(), strict=True)
                ]
            )
            underflows.append(
                [tiny + sum(abs(m) * underflows[s][i] + tiny * (1 + sizes[s][i]) for s, i, m in row) for row in rows]
            )
            below = max((roundings[s] for s, _ in primitive.terms), default=0)
            roundings.append(max(map(len, rows)) + 4 + below)
        n = roundings[k] + below
        if n * U >= HALF:
            raise Refused
        gamma = n * U / (1 - n * U)
        errors.append([gamma * a + 2 * b for a, b in zip(sizes[k], underflows[k], strict=True)])
        if any(a + e >= LARGEST for a, e in zip(sizes[k], errors[k], strict=True)):
            raise Refused
    return errors
