"""Products in linear programs: McCormick's inequalities (1976), one variable for each monomial.

For bounds ``l <= v <= u`` and ``m <= w <= n``, products such as ``(v - l)(w - m) >= 0`` are linear in ``v``, ``w`` and ``vw``.
That is the relaxation of sums of squares without squares: what proves a bound is a Sos leaf whose polynomials are numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sparse

from pydual import certificate
from pydual.certificate import ProofTree
from pydual.optimize.highs import LinearModel, minimize
from pydual.proof_systems.base import S
from pydual.proof_systems.duals import ABOVE_ROUNDING, new_recorder
from pydual.proof_systems.recorder import Leaf
from pydual.relax.frame import Frame
from pydual.relax.moments import MomentProblem, linear_problem
from pydual.relax.reduced import reduce
from pydual.relax.sos_cell import SosCell
from pydual.relax.squares import SosTerms, squares

OPEN = 1e-9  # share of an interval's width within which a neuron counts as open: audits derive their own intervals
MOST_VARIABLES = 60  # there may be a product for each pair


def cell_of(frame: Frame) -> SosCell:
    """What polynomials are about in the cell of a frame. Networks of ReLUs and squares only."""
    g, slack = frame.group, OPEN * (frame.upper - frame.lower)
    reduced = reduce(g.program, g.region.size, frame.lower - slack, frame.upper + slack)
    return SosCell(reduced, g.region, g.program.neuron_numbers[reduced.units], g.program.neurons)


def sos_proof(frame: Frame, weights: np.ndarray, terms: SosTerms) -> ProofTree:
    """The proof that consists of one Sos leaf, at the root."""
    recorder = new_recorder(frame)
    recorder.close(0, Leaf(certificate.ADAPTIVE_LINES, weights, np.zeros(0), sos=terms))
    return recorder.finish()


def with_products(state: S, frame: Frame, seconds: float) -> S:
    """The state, with what McCormick's inequalities say of the frame's problems that have no proof yet."""
    g = frame.group
    few = np.count_nonzero(g.region.upper > g.region.lower) + len(frame.unstable) <= MOST_VARIABLES
    if not (few and frame.possible and "square" in g.program.kinds and {"relu", "square"}.issuperset(g.program.kinds)):
        return state
    cell, lower, trees, plays = cell_of(frame), dict(state.lower), dict(state.trees), dict(state.plays)
    for row, problem in enumerate(g.problems):
        if problem.index in trees:
            continue
        margins = cell.written(cell.reduced.write(g.margins)[g.columns(row)])
        if max(len(m) for p in (*margins, *cell.sources.values()) for m in p) != 2:
            continue
        bound, weights, terms = _bound(linear_problem(cell, margins), seconds)
        if bound > lower[problem.index]:
            lower[problem.index] = bound
            if problem.index in plays:
                plays[problem.index] = replace(plays[problem.index], value=min(bound, 0.0))
        if bound > ABOVE_ROUNDING:
            trees[problem.index] = sos_proof(frame, weights, terms)
            plays.pop(problem.index, None)
    return replace(state, lower=lower, trees=trees, plays=plays)


def _bound(relaxation: MomentProblem, seconds: float) -> tuple[float, np.ndarray, SosTerms]:
    """What the duals of the linear program prove: minus infinity where there are none."""
    count, forms = len(relaxation.moments), len(relaxation.forms)
    facts = sparse.vstack([block.matrix for block in relaxation.blocks], format="csr")
    greatest = sparse.csr_array(np.hstack([-relaxation.forms, np.ones((forms, 1))]))  # a last variable that is above all forms
    rows = sparse.csr_array(sparse.vstack([greatest, sparse.hstack([facts, sparse.csr_array((facts.shape[0], 1))])]))
    at_most = [float(np.prod([relaxation.reach[v] for v in m])) for m in relaxation.moments]
    begin = np.array([1.0, *np.zeros(count - 1), -np.inf])
    model = LinearModel(
        np.eye(1, count + 1, count)[0], rows, np.zeros(rows.shape[0]), np.full(rows.shape[0], np.inf), begin,
        np.array([*at_most, np.inf]),
    )  # fmt: skip
    solution = minimize(model, seconds)
    weights = np.full(forms, 1.0 / forms)
    if solution.row_dual is None:
        return -np.inf, weights, squares(relaxation, weights, [np.zeros((1, 1))] * len(relaxation.blocks))[1]
    dual = np.maximum(solution.row_dual, 0.0)
    weights = dual[:forms] / dual[:forms].sum() if dual[:forms].sum() > 0 else weights
    bound, terms = squares(relaxation, weights, [np.full((1, 1), value) for value in dual[forms:]])
    return bound, weights, terms
