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
UNKNOWN = Fraction(10**300)  # less it is a bound of whatever is asked
U, CURVE_ERROR, LARGEST = Fraction(1, 2**24), Fraction(1, 2**20), Fraction(2**127)


class Refused(Exception):
    """The certificate is rejected whatever its bounds are (section 6)."""


Monomial = tuple[tuple[str, int], ...]  # at most two variables: ("x", input), less its lower bound, or ("z", neuron)
Polynomial = dict[Monomial, Fraction]
Function = tuple[list[dict[int, Fraction]], Fraction]  # coefficients of values, and a constant


class Reference:
    """The bounds F of the leaves of a tree: ``bounds`` lists them in preorder, None for an empty cell.

    ``grams`` has those of Gram leaves whose cell is not empty, in preorder.
    """

    def __init__(self, network: Network, problem: query.Problem, tree: ProofTree, arithmetic: str = "real") -> None:
        self.network, self.problem, self.tree = network, problem, tree
        self.float32 = arithmetic == "float32"
        relus = [(k, p) for k, p in enumerate(network.primitives) if isinstance(p, Relu)]
        self.neurons = [(p.source, c, k) for k, p in relus for c in range(p.size)]
        self.number = {(k, c): j for j, (_, c, k) in enumerate(self.neurons)}
        self.read = {p.source for p in network.primitives if not isinstance(p, Affine)}
        self.curved: dict[int, tuple[Fraction, list[Fraction], Fraction]] = {}
        self.of_curves = {p.source for p in network.primitives if hasattr(p, "kind")}

    def bounds(self) -> list[Fraction | None]:
        self.nodes = zip(self.tree.kind.tolist(), self.tree.anchor.tolist(), strict=True)
        self.indices, self.thresholds = iter(self.tree.index.tolist()), iter(self.tree.threshold.tolist())
        self.betas, self.leaf = iter(self.tree.split_multipliers.tolist()), 0
        multipliers = map(Fraction, self.tree.product_multipliers.tolist())
        self.products = zip(self.tree.products.tolist(), multipliers, strict=True)
        self.counts, self.grams = iter(self.tree.product_counts.tolist()), list[GramLeaf]()
        self.curvatures = iter(self.tree.curvatures.tolist())
        box = [(Fraction(a), Fraction(b)) for a, b in zip(self.problem.lower, self.problem.upper, strict=True)]
        self.found: list[Fraction | None] = []
        self._node(box, {}, None, False)
        return self.found

    def derived(self, anchor: int) -> list[Interval]:
        """The intervals of all neurons that an anchor derives for the whole region."""
        box = [(Fraction(a), Fraction(b)) for a, b in zip(self.problem.lower, self.problem.upper, strict=True)]
        return self._derive(box, {}, anchor)

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
        if kind in (0, 3, 6):
            betas = {j: Fraction(next(self.betas)) for j in phases}
            products = [next(self.products) for _ in range(next(self.counts))] if kind == 3 else None
            self.curved = self._curved(next(self.curvatures)) if kind == 6 else {}
            self.found.append(None if empty else self._leaf(box, phases, bounds, betas, products))
            self.curved = {}
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

    def _leaf(self, box: Box, phases: dict[int, bool], bounds: Any, betas: dict[int, Fraction], products: Any) -> Fraction:
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
        if products is None:
            return self._bound(functions, constant, box, bounds, rule, named)
        self.grams.append(GramLeaf(self, box, phases, bounds, rule, named, (functions, constant), products))
        return self.grams[-1].bound()

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
            if self.curved and isinstance(primitive, Relu) and rule != -1 and any(coefficients.values()):
                constant += self._replace_open(k, coefficients, bounds[0][primitive.source], rule, named, w[primitive.source])
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

    def _curved(self, curvatures: list[float]) -> dict[int, tuple[Fraction, list[Fraction], Fraction]]:
        """Of each relu its curvature, and of its source the image of the center and the radius, with norms from numpy."""
        ball = self.problem.ball
        assert ball is not None
        values, radii = [[Fraction(c) for c in ball.center]], [Fraction(ball.radius)]
        found, given = {}, iter(curvatures)
        for k, p in enumerate(self.network.primitives, 1):
            if isinstance(p, Affine):
                rows = [[(s, i, m) for s, i, m in entries(p, row)] for row in range(p.size)]
                sums = [sum((m * values[s][i] for s, i, m in row), ZERO) for row in rows]
                values.append([Fraction(float(b)) + total for b, total in zip(p.bias, sums, strict=True)])
                dense = [(s, m.toarray() if sparse.issparse(m) else m) for s, m in p.terms]
                radii.append(sum((Fraction(float(np.linalg.norm(m, 2))) * radii[s] for s, m in dense), ZERO))
                continue
            image = [max(v, ZERO) if isinstance(p, Relu) else curve(p.kind, v) for v in values[p.source]]
            values.append(image)
            radii.append(radii[p.source] * (Fraction(1, 4) if getattr(p, "kind", "") == "sigmoid" else 1))
            if isinstance(p, Relu):
                found[k] = Fraction(next(given)), values[p.source], radii[p.source]
        return found

    def _replace_open(
        self, k: int, w: dict[int, Fraction], intervals: Box, rule: int, named: dict[int, Fraction], out: dict[int, Fraction]
    ) -> Fraction:
        """Takes the open neurons of a relu out of ``w``; their part of the constant in a ball leaf."""
        (curvature, center, radius), constant, is_open = self.curved[k], ZERO, False
        for component, (low, high) in enumerate(intervals):
            if not low < 0 < high:
                continue
            is_open, c = True, w.pop(component, ZERO)
            slope, _ = relu_line(ONE, (low, high), rule, named.get(self.number[k - 1, component]))
            out[component] = out.get(component, ZERO) + c * slope
            constant += least_curved(c, c * slope, low, high, curvature, center[component])
        return constant - (curvature * radius**2 if is_open else ZERO)

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
        if primitive.kind == "square":
            return [(ZERO if a <= 0 <= b else min(a * a, b * b), max(a * a, b * b)) for a, b in source]
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
                    if (k in self.of_curves and low < high) or low < 0 < high:
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
        """The least over the cases of the end; those whose intervals are empty are impossible."""
        found = []
        for case in self._end_cases(value, component, sign, code):
            intervals = {v: list(interval) for v, interval in bounds[0].items()}
            functions: list[dict[int, Fraction]] = [{} for _ in self.network.sizes]
            functions[value][component] = Fraction(sign)
            for j, active, beta in case:
                source, c, _ = self.neurons[j]
                low, high = intervals[source][c]
                intervals[source][c] = (max(low, ZERO), high) if active else (low, min(high, ZERO))
                functions[source][c] = functions[source].get(c, ZERO) + (-beta if active else beta)
            if all(low <= high for interval in intervals.values() for low, high in interval):
                cut = (intervals, *bounds[1:])
                found.append(self._bound(functions, ZERO, box, cut, *self._end_lines(value, component, sign, code)))
        return min(found, default=-UNKNOWN)

    def _end_cases(self, value: int, component: int, sign: int, code: int) -> list[list[tuple[int, bool, Fraction]]]:
        """The splits above each case of an end, with their multipliers."""
        neurons = [j for j, (source, c, _) in enumerate(self.neurons) if (source, c) == (value, component)]
        refinement = self.tree.refinements[code - 4] if code >= 4 and neurons else None
        if refinement is None or refinement.case_trees.size == 0:
            return [[]]
        number = int(refinement.case_trees[0 if sign > 0 else 1, neurons[0]])
        entries, betas = iter(refinement.case_splits.tolist()), iter(refinement.case_multipliers.tolist())

        def cases(path: list[tuple[int, bool]]) -> list[list[tuple[int, bool, Fraction]]]:
            neuron = next(entries)
            if neuron < 0:
                return [[(j, active, Fraction(next(betas))) for j, active in path]]
            return cases([*path, (neuron, False)]) + cases([*path, (neuron, True)])

        trees = [cases([]) for _ in range(number + 1)]
        return trees[number] if number >= 0 else [[]]

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


class GramLeaf:
    """The function Q of a Gram leaf, the polynomial below it, and the bound by squares of one variable after the other."""

    def __init__(
        self, reference: Reference, box: Box, phases: dict[int, bool], bounds: Any, rule: int,
        named: dict[int, Fraction], function: Function, products: list[tuple[list[int], Fraction]],
    ) -> None:  # fmt: skip
        self.reference, self.network, self.function, self.products = reference, reference.network, function, products
        self.box, self.phases, self.bounds, self.rule, self.named = box, phases, bounds, rule, named
        self.inputs, self.neurons = len(box), reference.neurons
        facts = [n for pair, _ in products for n in pair if 1 + 2 * self.inputs <= n < self.ball]
        self.kept = {(n - 1 - 2 * self.inputs) // 4 for n in facts}

    @property
    def ball(self) -> int:
        """The number of the fact ``r^2 - |x - c|^2``."""
        return 1 + 2 * self.inputs + 4 * len(self.neurons)

    def interval(self, j: int) -> Interval:
        source, component, _ = self.neurons[j]
        return self.bounds[0][source][component]

    def fact(self, number: int) -> Function:
        """A fact, other than that of the ball, as a linear function of values."""
        functions: list[dict[int, Fraction]] = [{} for _ in self.network.sizes]
        if number == 0:
            return functions, ONE
        if number <= 2 * self.inputs:
            i, which = divmod(number - 1, 2)
            functions[0][i] = Fraction(1 - 2 * which)
            return functions, self.box[i][1] if which else -self.box[i][0]
        j, kind = divmod(number - 1 - 2 * self.inputs, 4)
        (source, component, k), (low, high) = self.neurons[j], self.interval(j)
        functions[k + 1][component] = ONE if kind < 2 else -ONE
        if kind == 1:
            functions[source][component] = -ONE
        if kind == 2 and (high > 0 or low >= 0):
            s = ONE if low >= 0 else high / (high - low)
            functions[source][component] = s
            return functions, ZERO if low >= 0 else -s * low
        return functions, max(high, ZERO) if kind == 3 else ZERO

    def fact_at(self, number: int, values: list[list[Fraction]]) -> Fraction:
        if number == self.ball:
            assert (ball := self.reference.problem.ball) is not None
            steps = [x - Fraction(c) for x, c in zip(values[0], ball.center, strict=True)]
            return Fraction(ball.radius) ** 2 - sum((s * s for s in steps), ZERO)
        return at(self.fact(number), values)

    def at(self, values: list[list[Fraction]]) -> Fraction:
        """Q where the network has these values."""
        products = (rho * self.fact_at(f, values) * self.fact_at(g, values) for (f, g), rho in self.products)
        return at(self.function, values) - sum(products, ZERO)

    def below(self, function: Function) -> Polynomial:
        """A linear function of the input and the kept outputs that is nowhere greater."""
        w, constant = [dict(coefficients) for coefficients in function[0]], function[1]
        found: Polynomial = {}
        while k := self.reference._next(w):
            primitive, coefficients, w[k] = self.network.primitives[k - 1], w[k], {}
            for component, c in coefficients.items():
                if isinstance(primitive, Affine):
                    constant += c * Fraction(float(primitive.bias[component]))
                    constant -= abs(c) * self.bounds[1].get(k, {}).get(component, ZERO)
                    for source, i, m in entries(primitive, component):
                        w[source][i] = w[source].get(i, 0) + c * m
                    continue
                interval, j = self.bounds[0][primitive.source][component], self.reference.number.get((k - 1, component))
                if j in self.kept:
                    found[("z", j),] = c
                    continue
                if isinstance(primitive, Relu):
                    slope, shift = relu_line(c, interval, self.rule, self.named.get(j))
                else:
                    slope, shift = curve_line(primitive.kind, c, interval, self.rule)
                    constant -= abs(c) * (CURVE_ERROR if self.reference.float32 else 0)
                w[primitive.source][component] = w[primitive.source].get(component, 0) + c * slope
                constant += c * shift
        found.update({(("x", i),): c for i, c in w[0].items()})
        return {**found, (): constant + sum(c * self.box[i][0] for i, c in w[0].items())}

    def polynomial(self) -> Polynomial:
        """Below Q, in ``x - lower`` and the outputs of kept neurons."""
        inputs, factors = self.inputs, {j: zero(self.network) for j in self.kept}
        (functions, constant), squares = zero(self.network), [ZERO] * inputs
        linear = add((functions, constant), self.function, ONE)
        for (f, g), rho in self.products:
            if 0 < f <= 2 * inputs:  # x' (R - x')
                i = f // 2
                linear = add(linear, self.fact(f), -rho * (self.box[i][1] - self.box[i][0]))
                squares[i] += rho
            elif g == self.ball:
                assert (ball := self.reference.problem.ball) is not None
                linear = linear[0], linear[1] - rho * Fraction(ball.radius) ** 2
                for i, c in enumerate(map(Fraction, ball.center)):  # (x - c)^2 = x'^2 + 2 (lower - c) x' + (lower - c)^2
                    gap = self.box[i][0] - c
                    linear = add(linear, self.fact(1 + 2 * i), 2 * rho * gap)
                    linear, squares[i] = (linear[0], linear[1] + rho * gap * gap), squares[i] + rho
            elif f == 0:
                linear = add(linear, self.fact(g), -rho)
            else:
                j, kind = divmod(f - 1 - 2 * inputs, 4)
                factors[j] = add(factors[j], self.fact(g), rho if kind else -rho)
                linear = add(linear, self.fact(g), -rho * max(self.interval(j)[1], ZERO)) if kind else linear
        found = self.below(linear)
        for j, factor in factors.items():
            for monomial, c in self.below(factor).items():
                product = tuple(sorted([*monomial, ("z", j)]))
                found[product] = found.get(product, ZERO) + c
        for i, c in enumerate(squares):
            found[("x", i), ("x", i)] = c
        return found

    def greatest(self, monomial: Monomial) -> Fraction:
        result = ONE
        for kind, i in monomial:
            result *= self.box[i][1] - self.box[i][0] if kind == "x" else max(self.interval(i)[1], ZERO)
        return result

    def bound(self) -> Fraction:
        rest = {monomial: c * self.greatest(monomial) for monomial, c in self.polynomial().items()}
        for variable in [("x", i) for i in range(self.inputs)] + [("z", j) for j in sorted(self.kept)]:
            if (d := rest.get((variable, variable), ZERO)) > 0:  # less d (variable + ...)^2
                halves = {other: c / (2 * d) for other, c in cofactor(rest, variable).items()}
                if sum(h * h for h in halves.values()) > 10**12:
                    continue
                for a, b in [(a, b) for a in [(variable,), *halves] for b in [(variable,), *halves]]:
                    product = tuple(sorted([*a, *b]))
                    rest[product] = rest.get(product, ZERO) - d * halves.get(a, ONE) * halves.get(b, ONE)
        self.rest = {monomial: c for monomial, c in rest.items() if monomial and c < 0}
        return rest[()] + sum(self.rest.values(), ZERO)


def cofactor(polynomial: Polynomial, variable: tuple[str, int]) -> Polynomial:
    """What a variable is multiplied with, other than itself."""
    found: Polynomial = {}
    for monomial, c in polynomial.items():
        if monomial.count(variable) == 1:
            found[tuple(v for v in monomial if v != variable)] = c
    return found


def zero(network: Network) -> Function:
    return [{} for _ in network.sizes], ZERO


def add(a: Function, b: Function, factor: Fraction) -> Function:
    functions = [dict(coefficients) for coefficients in a[0]]
    for total, more in zip(functions, b[0], strict=True):
        for i, c in more.items():
            total[i] = total.get(i, ZERO) + factor * c
    return functions, a[1] + factor * b[1]


def at(function: Function, values: list[list[Fraction]]) -> Fraction:
    terms = (c * values[k][i] for k, coefficients in enumerate(function[0]) for i, c in coefficients.items())
    return function[1] + sum(terms, ZERO)


def least_curved(c: Fraction, g: Fraction, low: Fraction, high: Fraction, curvature: Fraction, center: Fraction) -> Fraction:
    """The minimum of ``c max(p, 0) - g p + curvature (p - center)^2`` on an interval around 0."""

    def value(p: Fraction) -> Fraction:
        return c * max(p, ZERO) - g * p + curvature * (p - center) ** 2

    places = [low, ZERO, high]
    if curvature:
        vertices = center - (c - g) / (2 * curvature), center + g / (2 * curvature)
        places += [v for v, (a, b) in zip(vertices, ((ZERO, high), (low, ZERO)), strict=True) if a < v < b]
    return min(map(value, places))


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
    """The value to 60 digits; that of a square exactly."""
    if kind == "square":
        return p * p
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
    if kind == "square":
        least = ZERO if low <= 0 <= high else min(low * low, high * high)
        if rule == -1 or low == high:
            return ZERO, least if c >= 0 else max(low * low, high * high)
        return (low + high), -(((low + high) / 2) ** 2) if c >= 0 else -low * high
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
