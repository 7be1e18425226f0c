"""The exact audit: does a certificate prove that a network has no catastrophe? PROOFS.md is the specification.

The theorem. Let ``audit_exact`` return a margin ``m`` for a network, a checker and any ``proof`` whatsoever. Then no
input of the checker's region is a catastrophe, and in each problem of the query (PROOFS.md, section 2) the greatest
margin is at least ``m`` at every point of the region: if the proof's ``arithmetic`` is "real", in real arithmetic on
the stated weights; if it is "float32", for every input of binary32 numbers and every execution in binary32 as in
PROOFS.md, section 6: in any order and grouping in which no monomial meets more than N roundings (maps may be merged as
long as that holds, and no entry of a merged map underflows or overflows), where each value that an activation reads is
computed once, and curves are right to 2**-20.

Everything in the proof is a hint: intervals, bounds and coverage are derived from network and checker alone, in
integers. To be trusted besides Python: ``query`` (the question), ``exact_network`` (the network as integers),
``exact_region``, ``exact_curves``, ``exact_bounds`` (bounds by lines), ``exact_ball``, ``exact_gram`` and ``exact_sos``
(products of facts), and this page (columns, cells, leaves). Columns are read once, in order and piece by piece: memory
grows with the depth of a tree, not with its nodes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from typing import Any

from pydual.audit.exact_ball import Surroundings, surroundings
from pydual.audit.exact_bounds import ADAPTIVE, INTERVAL, Case, Ends, Linear, Path, Relaxation, cut_interval, derive
from pydual.audit.exact_curves import ONE
from pydual.audit.exact_enumeration import points_of
from pydual.audit.exact_gram import Facts, Products, gram_bound
from pydual.audit.exact_network import Activation, Affine, Network
from pydual.audit.exact_region import Region
from pydual.audit.exact_sos import MOST_COEFFICIENTS, MOST_DEGREE, Term, sos_bound
from pydual.audit.query import Problem, digest, problems
from pydual.errors import CertificateError, InputError

LEAF, INPUT_SPLIT, NEURON_SPLIT, GRAM_LEAF, SOS_LEAF, ENUMERATION_LEAF, BALL_LEAF = 0, 1, 2, 3, 4, 5, 6
PIECE = 8192  # numbers of a column that are held at a time, or one row
MOST = sys.float_info.max
MOST_CASE_SPLITS = 256
REALS, REALS_OR_BYTES = ("float32", "float64"), ("uint8", "float32", "float64")


def audit_exact(proof: Any, network: Any, checker: Any, deadline: Callable[[], object] | None = None) -> Fraction | float:
    """The proven margin, a Fraction; ``math.inf`` if no leaf bounds one (no problem, or every cell is empty).

    ``proof`` is a ``pydual.certificate.Proof`` or the result of ``exact_file.open_proof``. ``deadline`` is called often
    and may raise to stop. Raises CertificateError, which names the first step that fails, if the proof is not one of
    exactly this network and query; InputError if network and checker are no question.
    """
    net, questions = Network(network), problems(checker)
    sizes, margins = (net.sizes[0], net.sizes[net.output]), [margin for problem in questions for margin in problem.margins]
    used = [(i, size) for margin in margins for part, size in zip((margin.x, margin.y), sizes, strict=True) for i in part]
    if not all(len(problem.lower) == sizes[0] for problem in questions) or not all(0 <= i < size for i, size in used):
        raise InputError("The checker does not fit the inputs and outputs of the network; correct it.")
    arithmetic = getattr(proof, "arithmetic", None)
    if arithmetic not in ("real", "float32"):
        raise CertificateError("The certificate is about neither 'real' nor 'float32' arithmetic.")
    if arithmetic == "float32" and any(getattr(value, "kind", "") == "square" for value in net.values):
        raise CertificateError("The network has squares, of which nothing is known in float32.")
    for name, expected in (("network", net.digest), ("query", digest(questions))):
        if getattr(proof, name, None) != expected:
            raise CertificateError(f"The certificate belongs to another {name}: the digests differ.")
    trees = getattr(proof, "trees", None)
    if not isinstance(trees, (tuple, list)) or len(trees) != len(questions):
        raise CertificateError(f"The certificate must hold {len(questions)} trees, one for each problem of the query.")
    audit = _Audit(net, getattr(proof, "refinements", None), arithmetic == "float32", deadline or (lambda: None))
    margin: Fraction | float = math.inf
    for number, (tree, problem) in enumerate(zip(trees, questions, strict=True)):
        try:
            margin = min(margin, _Tree(tree, problem, audit).margin())
        except CertificateError as error:
            raise CertificateError(f"Problem {number}: {error}") from None
    return margin


class _Column:
    """A column of a tree, checked for type, shape and range (PROOFS.md, section 7), and read once from its start."""

    def __init__(self, tree: Any, name: str, types: tuple[str, ...], shape: tuple[Any, ...], low: float, high: float) -> None:
        self._column, self._name, self._low, self._high = getattr(tree, name, None), name, low, high
        self.type = str(getattr(self._column, "dtype", None))
        if self.type not in types:
            raise CertificateError(f"'{name}' must be an array of type {' or '.join(types)}.")
        self.shape = self._column.shape  # type: ignore[union-attr]
        if len(self.shape) != len(shape) or any(w not in (None, h) for w, h in zip(shape, self.shape, strict=True)):
            raise CertificateError(f"'{name}' has the shape {self.shape}; expected {shape} (None: any).")
        step = max(1, PIECE // max(1, *self.shape[1:], 1))
        self.entries = (entry for start in range(0, self.shape[0], step) for entry in self.piece(start, start + step))

    def piece(self, start: int, stop: int) -> list[Any]:
        """The entries or rows from ``start`` on, before ``stop``."""
        rows = self._column[start:stop]  # type: ignore[index]
        rows = rows if isinstance(rows, list) else rows.tolist()
        number = int if "int" in self.type else float
        for value in rows if len(self.shape) == 1 else chain.from_iterable(rows):
            if type(value) is not number or not self._low <= value <= self._high:  # NaN is in no range
                raise CertificateError(f"'{self._name}' contains {value}, which is not a valid entry.")
        return rows

    def next(self) -> Any:
        for entry in self.entries:
            return entry
        raise CertificateError(f"'{self._name}' is too short.")

    def finish(self) -> None:
        for _ in self.entries:
            raise CertificateError(f"'{self._name}' is longer than the tree needs.")


class _Slopes:
    """Rows of slopes and the neurons that their columns belong to."""

    def __init__(self, holder: Any, name: str, neurons: str, net: Network, poll: Callable[[], object]) -> None:
        one = 128 if str(getattr(getattr(holder, name, None), "dtype", None)) == "uint8" else 1
        self._rows = _Column(holder, name, REALS_OR_BYTES, (None, None), 0, one)
        self.rows, columns = self._rows.shape
        named = _Column(holder, neurons, ("int32",), (columns,), 0, len(net.neurons) - 1)
        self._named, self._unit = list(named.entries) if columns <= len(net.neurons) else [], ONE // one
        if len(set(self._named)) < columns:
            raise CertificateError(f"'{neurons}' names a neuron twice.")
        for _ in self._rows.entries if columns else ():
            poll()  # each row is valid, whether something names it or not

    def of(self, rule: int) -> dict[int, int]:
        """The slopes of a row by neuron, as multiples of 1 / ONE; none where a rule (negative) is named."""
        rows = self._rows.piece(rule, rule + 1) if rule >= 0 else [[]]
        return {neuron: int(v * self._unit) for neuron, v in zip(self._named, rows[0], strict=False)}


class _Audit:
    """What the trees of a proof share: the network, the refinements, and the bounds that several of them begin with."""

    def __init__(self, net: Network, refinements: Any, float32: bool, poll: Callable[[], object]) -> None:
        self.net, self.float32, self.poll = net, float32, poll
        if not isinstance(refinements, (tuple, list)) or len(refinements) > 255 - ADAPTIVE:
            raise CertificateError("The certificate's refinements must be a list of at most 252.")
        self.refinements: list[Ends] = [self._ends(refinement) for refinement in refinements]
        self._root: tuple[Any, Relaxation | None] = (), None
        self._around: tuple[Any, Surroundings | None] = (), None

    def _ends(self, refinement: Any) -> Ends:
        slopes = _Slopes(refinement, "slopes", "neurons", self.net, self.poll)
        shape = (2, len(self.net.neurons))
        lines = list(_Column(refinement, "lines", ("int32",), shape, -ADAPTIVE, slopes.rows - 1).entries)
        trees = self._cases(refinement)
        named = _Column(refinement, "case_trees", ("int32",), (2, None), -1, len(trees) - 1)
        if named.shape[1] not in (0, len(self.net.neurons)):
            raise CertificateError("'case_trees' has neither all neurons nor none.")
        numbers = list(named.entries)

        def ends(neuron: int, side: int) -> tuple[int, dict[int, int], list[Case]]:
            tree = numbers[side][neuron] if named.shape[1] else -1
            return lines[side][neuron], slopes.of(lines[side][neuron]), trees[tree] if tree >= 0 else [()]

        return ends

    def _cases(self, refinement: Any) -> list[list[Case]]:
        """The cases of trees in preorder: a neuron is split, its inactive case first, or -1 ends a case."""
        splits = _Column(refinement, "case_splits", ("int32",), (None,), -1, len(self.net.neurons) - 1)
        betas = _Column(refinement, "case_multipliers", REALS, (None,), 0, MOST)
        trees: list[list[Case]] = []
        paths: list[Path] = []
        for neuron in splits.entries:
            self.poll()
            if not paths:
                trees.append([])
                paths.append(())
            path = paths.pop()
            if neuron < 0:
                trees[-1].append(tuple((*split, Fraction(betas.next())) for split in path))
                continue
            if len(path) == MOST_CASE_SPLITS:
                raise CertificateError(f"a case has more than {MOST_CASE_SPLITS} splits above it.")
            paths += [(*path, (neuron, True)), (*path, (neuron, False))]
        betas.finish()
        if paths:
            raise CertificateError("'case_splits' ends inside of a tree.")
        return trees

    def derive(self, region: Region, path: Path, anchor: int) -> Relaxation | None:
        """The bounds of an anchor."""
        ends = self.refinements[anchor - ADAPTIVE - 1] if anchor > ADAPTIVE else None
        return derive(self.net, region, path, min(anchor, ADAPTIVE), ends, self.float32, self.poll)

    def surroundings(self, problem: Problem, norms: list[float]) -> Surroundings:
        """What is known of distances, once for all problems in a row with these norms."""
        assert problem.ball is not None
        if norms != self._around[0] or self._around[1] is None:
            self._around = norms, surroundings(self.net, problem.ball, norms, self.poll)
        assert self._around[1] is not None
        return self._around[1]

    def derive_root(self, region: Region, anchor: int) -> Relaxation | None:
        """The same for the region of a problem, once for all problems in a row that have it."""
        key = (region.lower, region.upper, anchor)
        if key != self._root[0]:
            self._root = key, self.derive(region, (), anchor)
        return self._root[1]


@dataclass(frozen=True)
class _Cell:
    """A node's cell: its region, the phases of its path, and the bounds of the anchor above (or None), cut by the phases.

    ``empty``: no point is in it; the bounds then say nothing.
    """

    region: Region
    empty: bool
    path: Path = ()
    bounds: Relaxation | None = None

    def with_phase(self, neuron: int, active: bool, place: tuple[int, int]) -> _Cell:
        """The cell where a neuron, which reads component ``place[1]`` of value ``place[0]``, has a phase."""
        child, (value, component) = replace(self, path=(*self.path, (neuron, active))), place
        if self.empty or self.bounds is None:
            return child
        interval = cut_interval(self.bounds.intervals[value], component, active)
        bounds = replace(self.bounds, intervals={**self.bounds.intervals, value: interval})
        return replace(child, bounds=bounds, empty=interval[0][component] > interval[1][component])


class _Tree:
    """The proof of one problem: its columns, and its audit."""

    def __init__(self, tree: Any, problem: Problem, audit: _Audit) -> None:
        self.problem, self.audit, self.net = problem, audit, audit.net
        self.region = Region(problem.lower, problem.upper, problem.ball, problem.integers)
        self.kinds = _Column(tree, "kind", ("uint8",), (None,), LEAF, BALL_LEAF)
        most = ADAPTIVE + len(audit.refinements)
        self.anchors = _Column(tree, "anchor", ("uint8",), self.kinds.shape, 0, most)
        self.indices = _Column(tree, "index", ("int32",), (None,), 0, MOST)
        self.thresholds = _Column(tree, "threshold", ("float64",), (None,), -MOST, MOST)
        self.betas = _Column(tree, "split_multipliers", REALS, (None,), 0, MOST)
        self.slopes = _Slopes(tree, "slopes", "slope_neurons", audit.net, audit.poll)
        self.lines = _Column(tree, "lines", ("int32",), (None,), -ADAPTIVE, self.slopes.rows - 1)
        shape = (*self.lines.shape, len(problem.margins))
        self.multipliers = _Column(tree, "multipliers", REALS_OR_BYTES, shape, 0, MOST)
        self.facts = Facts(audit.net, problem.ball is not None and problem.ball.norm == "l2")
        self.products = _Column(tree, "products", ("int32",), (None, 2), 0, self.facts.count - 1)
        self.rhos = _Column(tree, "product_multipliers", REALS, self.products.shape[:1], -MOST, MOST)
        self.counts = _Column(tree, "product_counts", ("int32",), (None,), 0, MOST)
        self.sizes = _Column(tree, "sos_sizes", ("int32",), (None, 2), 0, MOST)
        most = audit.net.sizes[0] + len(audit.net.neurons) - 1
        self.variables = _Column(tree, "sos_variables", ("int32",), (None,), 0, most)
        self.terms = _Column(tree, "sos_terms", ("int32",), (None, 3), 0, MOST)
        self.coefficients = _Column(tree, "sos_coefficients", ("float64",), (None,), -MOST, MOST)
        self.curvatures = _Column(tree, "curvatures", REALS, (None, None), 0, MOST)
        relus = sum(isinstance(v, Activation) and v.kind == "relu" for v in self.net.values)
        matrices = sum(len(v.terms) for v in self.net.values if isinstance(v, Affine))
        curved, width = self.curvatures.shape
        if curved and (audit.float32 or problem.ball is None or problem.ball.norm != "l2"):
            raise CertificateError("a ball leaf is about real arithmetic in an l2 ball.")
        if width != (relus if curved else 0):
            raise CertificateError("'curvatures' has not one number for each relu.")
        self.norms = list(_Column(tree, "norms", ("float64",), (matrices if curved else 0,), 0, MOST).entries)

    def margin(self) -> Fraction | float:
        """The least proven margin of the leaves, which must cover the problem's region."""
        margin: Fraction | float = math.inf
        stack = [_Cell(self.region, self.region.empty)]
        for node, kind in enumerate(self.kinds.entries):
            self.audit.poll()
            try:
                if not stack:
                    raise CertificateError("the tree has ended before this node.")
                cell, anchor = stack.pop(), self.anchors.next()
                cell = self._anchored(cell, anchor) if anchor else cell
                if kind not in (INPUT_SPLIT, NEURON_SPLIT):
                    margin = min(margin, self._leaf(cell, kind))
                else:
                    stack += reversed(self._children(cell, kind))
            except CertificateError as error:
                raise CertificateError(f"node {node}: {error}") from None
        if stack:
            raise CertificateError("The tree ends before it covers the region.")
        columns = (self.indices, self.thresholds, self.lines, self.betas, self.products, self.counts)
        for column in (*columns, self.sizes, self.variables, self.terms, self.coefficients, self.curvatures):
            column.finish()
        return margin

    def _anchored(self, cell: _Cell, anchor: int) -> _Cell:
        """The cell with the bounds of an anchor."""
        bounds = None
        if not cell.empty and cell.region is self.region and not cell.path:
            bounds = self.audit.derive_root(cell.region, anchor)
        elif not cell.empty:
            bounds = self.audit.derive(cell.region, cell.path, anchor)
        return replace(cell, bounds=bounds or Relaxation(self.net, cell.region, {}, {}, {}), empty=bounds is None)

    def _children(self, cell: _Cell, kind: int) -> list[_Cell]:
        index = self.indices.next()
        if index >= (self.net.sizes[0] if kind == INPUT_SPLIT else len(self.net.neurons)):
            raise CertificateError("'index' names an input or neuron that the network does not have.")
        if kind == INPUT_SPLIT:
            regions = cell.region.cut(index, self.thresholds.next())
            return [replace(cell, region=region, empty=cell.empty or region.empty) for region in regions]
        if any(index == neuron for neuron, _ in cell.path):
            raise CertificateError(f"neuron {index} is split twice on one path.")
        return [cell.with_phase(index, active, self.net.neurons[index]) for active in (False, True)]

    def _leaf(self, cell: _Cell, kind: int) -> Fraction | float:
        """Section 3, leaves: the proven margin of a leaf that holds."""
        rule, weights = self.lines.next(), list(map(Fraction, self.multipliers.next()))
        betas = [Fraction(self.betas.next()) for _ in cell.path]
        products = self._products() if kind == GRAM_LEAF else {}
        squares = self._squares() if kind == SOS_LEAF else ([], [])
        curvatures = self.curvatures.next() if kind == BALL_LEAF else []
        if cell.bounds is None:
            raise CertificateError("the leaf has no anchor above it.")
        if cell.empty:
            return math.inf
        if kind == ENUMERATION_LEAF:
            return min(map(self._margin_at, points_of(self.problem, cell.region)), default=math.inf)
        function = self._function(weights, betas, cell.path)
        relaxation = replace(cell.bounds.with_lines(rule, self.slopes.of(rule), self.audit.float32), region=cell.region)
        if kind == GRAM_LEAF:
            bound = gram_bound(relaxation, self.facts, function, products, self.audit.poll)
        elif kind == SOS_LEAF:
            bound = sos_bound(relaxation, self.facts, function, *squares, self.audit.poll)
        else:
            scale = function.scale()
            if kind == BALL_LEAF:
                around = self.audit.surroundings(self.problem, self.norms)
                relaxation = around.curved(relaxation, [scale * Fraction(v) for v in curvatures])
            bound = function.constant + relaxation.lower_bound(function.integers(scale, self.net.sizes)) / scale
        if not self._holds(bound, weights):
            raise CertificateError(f"the leaf's bound F = {float(max(bound, Fraction(-(10**300)))):.6g} is not positive.")
        return bound / sum(weights) if any(weights) else math.inf

    def _holds(self, bound: Fraction, weights: list[Fraction]) -> bool:
        """Whether the weighted sum of the margins, which is at least ``bound``, excludes a catastrophe."""
        strict = any(w > 0 and margin.strict for w, margin in zip(weights, self.problem.margins, strict=True))
        return bound > 0 or (bound == 0 and strict)

    def _margin_at(self, point: list[float]) -> Fraction | float:
        """A lower bound of the greatest margin at a point that is no catastrophe, by interval arithmetic."""
        self.audit.poll()
        region = Region(point, point, self.problem.ball)
        bounds = None if region.empty else self.audit.derive(region, (), INTERVAL)
        if bounds is None:
            return math.inf
        relaxation, margins, holds = bounds.with_lines(-INTERVAL, {}, self.audit.float32), list[Fraction](), False
        for r in range(len(self.problem.margins)):
            weights = [Fraction(r == other) for other in range(len(self.problem.margins))]
            function = self._function(weights, [], ())
            scale = function.scale()
            margins.append(function.constant + relaxation.lower_bound(function.integers(scale, self.net.sizes)) / scale)
            holds = holds or self._holds(margins[-1], weights)
        if not holds:
            raise CertificateError(f"the point {[float(v) for v in point]} of an enumeration leaf is not excluded.")
        return max(margins)

    def _products(self) -> Products:
        """The products of a Gram leaf, all of them allowed."""
        products: Products = {}
        for _ in range(self.counts.next()):
            self.audit.poll()
            (f, g), rho = self.products.next(), self.rhos.next()
            if not self.facts.allow(f, g, rho):
                raise CertificateError(f"the facts {f} and {g} make no product, or none with a multiplier of {rho}.")
            products[f, g] = products.get((f, g), Fraction(0)) + Fraction(rho)
        return products

    def _squares(self) -> tuple[list[int], list[Term]]:
        """The variables and terms of a Sos leaf."""
        if self.audit.float32:
            raise CertificateError("a Sos leaf says nothing about float32.")
        count, terms = self.sizes.next()
        variables = [self.variables.next() for _ in range(count)]
        if len(set(variables)) < count:
            raise CertificateError("a Sos leaf has a variable twice.")
        found: list[Term] = []
        for _ in range(terms):
            self.audit.poll()
            f, g, degree = self.terms.next()
            if max(f, g) >= self.facts.count:
                raise CertificateError(f"there are no facts {f} and {g}.")
            size = math.comb(count + degree, degree) if degree <= MOST_DEGREE else math.inf
            if size > MOST_COEFFICIENTS:
                raise CertificateError(f"a polynomial has the degree {degree}, or more than {MOST_COEFFICIENTS} coefficients.")
            found.append((f, g, degree, [self.coefficients.next() for _ in range(int(size))]))
        return variables, found

    def _function(self, weights: list[Fraction], betas: list[Fraction], path: Path) -> Linear:
        """The function that a linear leaf bounds."""
        weighted, output, neurons = list(zip(weights, self.problem.margins, strict=True)), self.net.output, self.net.neurons
        terms = [(0, i, w * c) for w, margin in weighted for i, c in margin.x.items()]
        terms += [(output, j, w * c) for w, margin in weighted for j, c in margin.y.items()]
        terms += [(*neurons[n], -beta if active else beta) for beta, (n, active) in zip(betas, path, strict=True)]
        return Linear(terms, sum((w * margin.constant for w, margin in weighted), Fraction(0)))
