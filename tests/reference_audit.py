"""A slow reading of PROOFS.md, sections 3 to 5, in rationals: what the audits' bounds are compared with.

For tiny networks and trees; word for word rather than clever. Neurons must not share a source component.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sparse

from pydual.audit import query
from pydual.certificate import ProofTree
from pydual.network import Network
from pydual.operators.primitives import Affine, Relu

Interval = tuple[Fraction, Fraction]
ZERO = Fraction(0)


class Reference:
    """The bounds F of the leaves of a tree: ``bounds`` lists them in preorder, None for an empty cell."""

    def __init__(self, network: Network, problem: query.Problem, tree: ProofTree) -> None:
        self.network, self.problem, self.tree = network, problem, tree
        relus = [(k, p) for k, p in enumerate(network.primitives) if isinstance(p, Relu)]
        self.neurons = [(p.source, c, k) for k, p in relus for c in range(p.size)]
        self.number = {(k, c): j for j, (_, c, k) in enumerate(self.neurons)}

    def bounds(self) -> list[Fraction | None]:
        self.nodes = zip(self.tree.kind.tolist(), self.tree.anchor.tolist(), strict=True)
        self.indices, self.thresholds = iter(self.tree.index.tolist()), iter(self.tree.threshold.tolist())
        self.betas, self.leaf = iter(self.tree.split_multipliers.tolist()), 0
        box = [(Fraction(a), Fraction(b)) for a, b in zip(self.problem.lower, self.problem.upper, strict=True)]
        self.found: list[Fraction | None] = []
        self._node(box, {}, None, False)
        return self.found

    def _node(self, box: list[Interval], phases: dict[int, bool], intervals: Any, empty: bool) -> None:
        kind, anchor = next(self.nodes)
        empty = empty or any(low > high for low, high in box)
        for derived in (False, True):
            if derived and anchor and not empty:
                intervals = self._derive(box, phases, anchor)
            if intervals is not None and not empty:
                intervals = [self._cut(v, phases.get(j)) for j, v in enumerate(intervals)]
                empty = any(low > high for low, high in intervals)
        if kind == 0:
            betas = {j: Fraction(next(self.betas)) for j in phases}
            self.found.append(None if empty else self._leaf(box, phases, intervals, betas))
            self.leaf += 1
            return
        index = next(self.indices)
        if kind == 1:
            t = Fraction(next(self.thresholds))
            low, high = box[index]
            for side in ((low, min(high, t)), (max(low, t), high)):
                self._node([*box[:index], side, *box[index + 1 :]], phases, intervals, empty)
        else:
            for active in (False, True):
                self._node(box, {**phases, index: active}, intervals, empty)

    @staticmethod
    def _cut(interval: Interval, phase: bool | None) -> Interval:
        low, high = interval
        return (max(low, ZERO) if phase else low, min(high, ZERO) if phase is False else high)

    def _leaf(self, box: list[Interval], phases: dict[int, bool], intervals: Any, betas: dict[int, Fraction]) -> Fraction:
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
        return self._bound(functions, constant, box, intervals, rule, named)

    def _bound(
        self, w: list[dict[int, Fraction]], constant: Fraction, box: Any, intervals: Any, rule: int, named: dict[int, Fraction]
    ) -> Fraction:
        for k in reversed(range(len(self.network.primitives))):
            primitive = self.network.primitives[k]
            for component, c in w[k + 1].items():
                if isinstance(primitive, Relu):
                    j = self.number[k, component]
                    slope, shift = self._line(c, intervals[j], rule, named.get(j))
                    w[primitive.source][component] = w[primitive.source].get(component, 0) + c * slope
                    constant += c * shift
                    continue
                constant += c * Fraction(float(primitive.bias[component]))
                for source, matrix in primitive.terms:
                    row = matrix[[component]].toarray()[0] if sparse.issparse(matrix) else matrix[component]
                    for i, m in enumerate(row.tolist()):
                        w[source][i] = w[source].get(i, 0) + c * Fraction(m)
        return constant + self._least([w[0].get(i, ZERO) for i in range(len(box))], box)

    @staticmethod
    def _line(c: Fraction, interval: Interval, rule: int, named: Fraction | None) -> tuple[Fraction, Fraction]:
        """Slope and constant of the line that replaces the neuron: the first row of the table that applies."""
        low, high = interval
        if rule == -1:
            return ZERO, max(low if c >= 0 else high, ZERO)
        if low >= 0:
            return Fraction(1), ZERO
        if high <= 0:
            return ZERO, ZERO
        s = high / (high - low)
        if c < 0:
            return s, -s * low
        adaptive = Fraction(high > -low)
        return (s if rule == -2 else adaptive if named is None else named), ZERO

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

    def _derive(self, box: list[Interval], phases: dict[int, bool], anchor: int) -> list[Interval]:
        """The intervals of all neurons; those not reached yet are not looked at."""
        values: list[list[Interval]] = [box]
        intervals: list[Interval] = []
        for primitive in self.network.primitives:
            if isinstance(primitive, Affine):
                values.append(self._affine_interval(primitive, values))
                continue
            for component, (low, high) in enumerate(values[primitive.source]):
                if anchor > 1 and low < 0 < high:
                    earlier = intervals[: len(intervals) - component]
                    down, up = (self._component(primitive.source, component, sign, box, earlier, -anchor) for sign in (1, -1))
                    low, high = max(low, down), min(high, -up)
                intervals.append(self._cut((low, high), phases.get(len(intervals))))
            values[primitive.source] = intervals[-primitive.size :]
            values.append([(max(a, ZERO), max(b, ZERO)) for a, b in values[primitive.source]])
        return intervals

    def _component(self, value: int, component: int, sign: int, box: Any, intervals: Any, rule: int) -> Fraction:
        functions: list[dict[int, Fraction]] = [{} for _ in self.network.sizes]
        functions[value][component] = Fraction(sign)
        return self._bound(functions, ZERO, box, intervals, rule, {})

    @staticmethod
    def _affine_interval(primitive: Affine, values: list[list[Interval]]) -> list[Interval]:
        result = []
        dense = [(values[s], m.toarray() if sparse.issparse(m) else m) for s, m in primitive.terms]
        for r, b in enumerate(primitive.bias.tolist()):
            low = high = Fraction(b)
            for source, matrix in dense:
                for m, (a, z) in zip(map(Fraction, matrix[r].tolist()), source, strict=True):
                    low, high = low + min(m * a, m * z), high + max(m * a, m * z)
            result.append((low, high))
        return result
