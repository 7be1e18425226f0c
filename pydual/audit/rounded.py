"""The rounded audit: PROOFS.md in float64 with directed rounding, in C++ (cpp/audit) and on all processors.

Fast enough for trees of a million leaves, and never more generous than the rules: what it accepts is proven. Nothing is
shared with the provers or with the exact audit, except the reading of the query (``pydual.audit.query``) and
``Network.digest``. Columns may be mapped files: they are read in chunks and once through.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from pydual.audit import _rounded
from pydual.audit.columns import validate, validate_refinement
from pydual.audit.query import Margin, Problem, digest, problems
from pydual.certificate import ENUMERATION_LEAF, FLOAT32, MOST_REFINEMENTS, PARALLEL, REAL, Proof
from pydual.checker import Checker
from pydual.errors import CertificateError, InputError
from pydual.network import Network
from pydual.operators.primitives import Affine, Curve, Matrix, Primitive, is_sparse, nonzeros

if TYPE_CHECKING:
    from pydual.audit.exact_file import FileProof

BATCH_POINTS = 1 << 15  # of an enumeration leaf that are checked at a time, at most
SMALL = 2e7  # products that one thread computes while another is started
ARITHMETICS = (REAL, FLOAT32)

_compiled: WeakKeyDictionary[Network, _rounded.Network] = WeakKeyDictionary()


def audit_rounded(
    proof: Proof | FileProof, network: Network, checker: Checker, deadline: Callable[[], object] | None = None
) -> float:
    """A lower bound of the proven margin (PROOFS.md, section 3); infinity where nothing is left to prove.

    ``deadline`` is called between batches of leaves and may raise to stop the audit. Raises CertificateError, naming
    problem and node, if the certificate does not belong to network and query or a step of it cannot be verified;
    InputError if network and checker themselves do not fit together.
    """
    query = problems(checker)
    _check_fit(query, network)
    _check_binding(proof, network, query)
    _rounded.check_rounding()
    session = _Session(network, proof, deadline or (lambda: None))
    margin = math.inf
    trees: tuple[Any, ...] = proof.trees
    for i, (tree, problem) in enumerate(zip(trees, query, strict=True)):
        try:
            margin = min(margin, session.margin(tree, problem))
        except (CertificateError, _rounded.Rejected) as error:
            raise CertificateError(f"Problem {i}: {error}") from None
    return margin


def _check_fit(query: list[Problem], network: Network) -> None:
    for problem in query:
        if len(problem.lower) != network.input_size:
            raise InputError(f"The checker's region has {len(problem.lower)} inputs, the network {network.input_size}.")
        for margin in problem.margins:
            for name, coefficients, size in (("X", margin.x, network.input_size), ("Y", margin.y, network.output_size)):
                wrong = next((i for i in coefficients if not 0 <= i < size), None)
                if wrong is not None:
                    raise InputError(f"The checker uses {name}_{wrong}, but the network has only {size} of them (from 0).")


def _check_binding(proof: Proof | FileProof, network: Network, query: list[Problem]) -> None:
    if proof.arithmetic not in ARITHMETICS:
        raise CertificateError(f"The certificate is about the arithmetic '{proof.arithmetic}'; audits know {ARITHMETICS}.")
    if proof.arithmetic == FLOAT32 and any(isinstance(p, Curve) and p.kind == "square" for p in network.primitives):
        raise CertificateError("The network has squares, of which nothing is known in float32.")
    if proof.network != network.digest:
        raise CertificateError("The certificate belongs to another network: the digests differ.")
    if proof.query != digest(query):
        raise CertificateError("The certificate belongs to another query: the digests differ.")
    if not isinstance(proof.trees, (tuple, list)) or len(proof.trees) != len(query):
        raise CertificateError(f"The certificate must have {len(query)} proofs, one for each problem of the query.")


def _refinements(proof: Proof | FileProof) -> tuple[Any, ...] | list[Any]:
    given: Any = getattr(proof, "refinements", None)
    if not isinstance(given, (tuple, list)) or len(given) > MOST_REFINEMENTS:
        raise CertificateError(f"The refinements of a certificate must be a tuple of at most {MOST_REFINEMENTS}.")
    return given


class _Session:
    """The trees of one proof; problems of one region share what is derived at its root."""

    def __init__(self, network: Network, proof: Proof | FileProof, poll: Callable[[], object]) -> None:
        if network not in _compiled:
            _compiled[network] = _rounded.Network(network.input_size, list(_primitives(network.primitives)), network.output)
        self._network, self._compiled, self._poll = network, _compiled[network], poll
        self._float32 = proof.arithmetic == FLOAT32
        refinements = [validate_refinement(refinement, network) for refinement in _refinements(proof)]
        try:
            self._refinements, self._count = _rounded.Refinements(refinements, self._compiled), len(refinements)
        except _rounded.Rejected as error:
            raise CertificateError(f"A refinement of the certificate does not hold together: {error}") from None
        self._roots: dict[object, _rounded.Root] = {}
        self._around: dict[bytes, _rounded.Surroundings] = {}

    def margin(self, tree: Any, problem: Problem) -> float:
        in_l2_ball = problem.ball is not None and problem.ball.norm == "l2"
        columns = validate(tree, self._network, len(problem.margins), self._count, in_l2_ball)
        root = self._root(problem, int(columns["anchor"][0]) or PARALLEL)
        inputs, outputs = root.shift(0).tolist(), root.shift(self._network.output).tolist()
        constants = np.array([_constant(m, inputs, outputs) for m in problem.margins])
        x = [_dense(m.x, len(inputs)) for m in problem.margins]
        y = [_dense(m.y, len(outputs)) for m in problem.margins]
        strict = [m.strict for m in problem.margins]
        integers = [i in problem.integers for i in range(len(problem.lower))]
        points = None if problem.points is None else np.array(problem.points)
        rows = len(columns["lines"]) + len(columns["products"])  # to be written out, about
        if (columns["kind"] == ENUMERATION_LEAF).any():
            rows += BATCH_POINTS
        threads = self._threads(int(np.count_nonzero(columns["anchor"])), rows)
        around = self._surroundings(problem, columns["norms"]) if len(columns["curvatures"]) else None
        audit = _rounded.Tree(root, constants, strict, x, y, columns, integers, points, around, threads)
        while audit.advance():
            self._poll()
        return audit.margin

    def _surroundings(self, problem: Problem, norms: np.ndarray) -> _rounded.Surroundings:
        """What ball leaves say of distances from the center's values; trees of a query have the same ball."""
        ball = problem.ball
        if self._float32 or ball is None or ball.norm != "l2":
            raise CertificateError("A ball leaf is about real arithmetic in an l2 ball.")
        key = norms.tobytes()
        if key not in self._around:
            self._poll()
            self._around[key] = _rounded.Surroundings(self._compiled, np.array(ball.center), ball.radius, norms)
        return self._around[key]

    def _root(self, problem: Problem, anchor: int) -> _rounded.Root:
        ball = problem.ball
        key = (tuple(problem.lower), tuple(problem.upper), anchor)  # all problems of a query have the same ball
        if key not in self._roots:
            self._poll()
            lower, upper = np.array(problem.lower), np.array(problem.upper)
            round_part = ("", np.zeros(0), 0.0) if ball is None else (ball.norm, np.array(ball.center), ball.radius)
            threads = self._threads(1, 0)
            self._roots[key] = _rounded.Root(
                self._refinements, self._compiled, lower, upper, *round_part, self._float32, anchor, threads
            )
        return self._roots[key]

    def _threads(self, anchors: int, rows: int) -> int:
        """One where more would not pay for being started."""
        if self._network.connections * (self._network.neurons * anchors + rows) < SMALL:
            return 1
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _primitives(primitives: tuple[Primitive, ...]) -> Iterator[tuple[object, ...]]:
    for p in primitives:
        if isinstance(p, Affine):
            yield "affine", np.ascontiguousarray(p.bias), [(source, _packed(matrix)) for source, matrix in p.terms]
        else:
            yield p.kind if isinstance(p, Curve) else "relu", p.source


def _packed(matrix: Matrix) -> object:
    """In compressed rows where it is stored so, or where that is shorter."""
    if is_sparse(matrix) or 2 * np.count_nonzero(matrix) < matrix.size:
        return *nonzeros(matrix), matrix.shape[1]
    return np.ascontiguousarray(matrix)


def _constant(margin: Margin, inputs: list[float], outputs: list[float]) -> float:
    """The margin where every input and output is at its shift, rounded down."""
    total = margin.constant
    for coefficients, shift in ((margin.x, inputs), (margin.y, outputs)):
        total += sum((c * Fraction(shift[i]) for i, c in coefficients.items()), Fraction(0))
    return _down(total)


def _dense(coefficients: dict[int, Fraction], size: int) -> list[float]:
    """All coefficients rounded down; no row where none is there."""
    row = [0.0] * size if coefficients else []
    for i, c in coefficients.items():
        row[i] = _down(c)
    return row


def _down(value: Fraction) -> float:
    """The largest float64 that is not above ``value``; -infinity below all of them."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.nextafter(math.inf, 0.0) if value > 0 else -math.inf
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)
