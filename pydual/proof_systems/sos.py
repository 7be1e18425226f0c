"""Sums of squares of an even degree: the adversary plays pseudo-moments (Lasserre 2001; Parrilo 2003).

For small networks. Moments are those of the inputs and of the neurons whose sign is open; degree 2 is the relaxation of
``sdp``. What a conic solver says is only where the search for a proof begins: the bound is that of its squares, evaluated
anew (relax/squares.py). Where the moment matrices are flat, the relaxation is exact, and its atoms are worst inputs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pydual import certificate
from pydual.errors import InputError, UnsupportedError
from pydual.optimize.conic import ConicSolution, check_solver, minimize_moments
from pydual.problem import Problem
from pydual.proof_systems.base import Play, State, no_candidates, start
from pydual.proof_systems.duals import ABOVE_ROUNDING, Duals, root_nodes
from pydual.proof_systems.lp import TriangleLP
from pydual.proof_systems.products import cell_of, sos_proof
from pydual.proof_systems.root_bound import with_bounds
from pydual.relax.atoms import Atoms, Gaussian, find_atoms
from pydual.relax.frame import Frame, Group, group
from pydual.relax.moments import MomentProblem, largest_block, moment_problem
from pydual.relax.polynomials import Polynomial
from pydual.relax.program import compile_network
from pydual.relax.reduced import Reduced, relaxed_values
from pydual.relax.refine import refine
from pydual.relax.squares import SosTerms, squares

LARGEST = 70  # of a block: the time of a solver's iteration grows with its sixth power
SURE = 1e-8  # of a margin's size: what other roundings of the audit's intervals cost a bound
ROOM = 1e-7  # for moments with which a solver had failed


@dataclass(frozen=True, eq=False, kw_only=True)
class SOSState(State):
    """``waiting``: frames whose problems are still to be bounded, each with the rows of these and their linear duals."""

    groups: tuple[Group, ...]
    waiting: tuple[tuple[Frame, Duals, int], ...] = ()
    flat: int = 0


@dataclass(frozen=True)
class SOS:
    """``degree``: 2, 4, 6, ...; ``solver``: the name of one that cvxpy knows and that is installed.

    Up to ``dense`` variables have all their moments; beyond, those within cliques of layers (Waki et al. 2006). Where these
    are too large for a degree, the next lower one is taken; the statistics say which one was. Above degree 2, up to
    ``products`` variables in different cliques have moments of degree 2 and the products of all facts. Intervals are
    optimized by ``refine_steps`` of ascent for each end. Linear bounds come first.
    """

    degree: int = 4
    solver: str = "CLARABEL"
    dense: int = 10
    products: int = 20
    refine_steps: int = 20
    refine_rate: float = 0.2

    name = "sos"
    complete = False

    def __post_init__(self) -> None:
        if not isinstance(self.degree, int) or self.degree < 2 or self.degree % 2 or self.degree > certificate.MOST_DEGREE:
            raise InputError(f"The degree of sos is {self.degree!r}; give an even number from 2 to {certificate.MOST_DEGREE}.")

    def init(self, problems: tuple[Problem, ...]) -> SOSState:
        """Raises UnsupportedError for networks with sigmoids, InputError where no conic solver of this name is installed."""
        if any(not {"relu", "square"}.issuperset(compile_network(problem.network).kinds) for problem in problems):
            raise UnsupportedError("The proof system 'sos' knows ReLUs and squares only; use 'bab' or 'alpha-crown'.")
        check_solver(self.solver)
        return SOSState(**vars(start(problems)), groups=tuple(group(problems)))

    def step(self, state: SOSState, seconds: float) -> SOSState:
        return self._climb(state, seconds) if state.waiting else self._begin(state, seconds)

    def _begin(self, state: SOSState, seconds: float) -> SOSState:
        """The linear bounds of the next group."""
        now, later, end = state.groups[0], state.groups[1:], time.monotonic() + seconds
        frame = refine(now, self.refine_steps, self.refine_rate, lambda: time.monotonic() < end)
        duals = TriangleLP().evaluate(frame, root_nodes(frame), seconds)
        rows = np.argsort(duals.bound).tolist() if frame.possible and (len(frame.unstable) or now.program.curves) else []
        waiting = tuple((frame, duals, row) for row in rows)
        return replace(with_bounds(state, frame, duals), groups=later, waiting=waiting, finished=not (rows or later))

    def _climb(self, state: SOSState, seconds: float) -> SOSState:
        """The relaxation of one problem."""
        (frame, duals, row), waiting = state.waiting[0], state.waiting[1:]
        chosen = frame.group.problems[row]
        relaxation, solution = self._solved(frame, row, seconds)
        state = replace(
            state, waiting=waiting, finished=not (waiting or state.groups), candidates=no_candidates(state.problems),
            statistics=state.counting(programs=1, unsolved=int(solution.moments is None)),
        )  # fmt: skip
        state.statistics["degree"] = min(state.statistics.get("degree", self.degree), relaxation.degree)
        if solution.moments is None or solution.weights is None:
            return state
        bound, weights, terms = _bound(relaxation, solution)
        atoms = find_atoms(relaxation, solution.moments)
        state = _flat(replace(state, candidates=atoms.points), atoms)
        if bound <= duals.bound[row]:
            return state
        lower, trees, plays = {**state.lower, chosen.index: bound}, dict(state.trees), dict(state.plays)
        if bound > max(ABOVE_ROUNDING, SURE * _size(relaxation)):
            trees[chosen.index] = sos_proof(frame, weights, terms)
            plays.pop(chosen.index, None)
        else:
            play = _play(frame, chosen, bound, relaxation.cell.reduced, *atoms.mean)
            plays[chosen.index] = replace(play, draw=partial(_drawn, frame, relaxation.cell.reduced, atoms.gaussian))
        return replace(state, lower=lower, trees=trees, plays=plays)

    def _solved(self, frame: Frame, row: int, seconds: float) -> tuple[MomentProblem, ConicSolution]:
        """The relaxation and the solver's answer. Where it has none, or matrices are too large, those of lower degrees follow.

        Raises UnsupportedError where matrices of degree 2 are too large.
        """
        end, g = time.monotonic() + seconds, frame.group
        cell = cell_of(frame)
        margins = cell.written(cell.reduced.write(g.margins)[g.columns(row)])
        least = _degree([*margins, *cell.sources.values()])
        if least > self.degree:
            raise UnsupportedError(f"The checker has polynomials of degree {least}; use SOS(degree={least}), or 'bab'.")
        found: tuple[MomentProblem, ConicSolution] | None = None
        lower = ((degree, 0, 0.0) for degree in range(self.degree - 2, least - 1, -2))
        for degree, dense, room in ((self.degree, self.dense, 0.0), (self.degree, 0, ROOM), *lower):
            cliques = cell.cliques(dense, margins)
            size = largest_block(cliques, degree)
            if size <= LARGEST and (found is None or found[1].moments is None):
                sublevel = self.degree > 2 and len(cliques) > 1 and cell.size <= self.products
                relaxation = moment_problem(cell, margins, degree, cliques, cell.products() if sublevel else ())
                blocks = [block.shifted for block in relaxation.blocks]
                found = relaxation, minimize_moments(relaxation.forms, blocks, self.solver, end - time.monotonic(), room)
        if found is None:
            others = "'bab' or 'lp'" if g.program.curves else "'sdp' or 'bab'"
            raise UnsupportedError(
                f"{cell.size} inputs and neurons are open: a matrix of degree {degree} has size {size}, more than {LARGEST}; "
                f"use a smaller network or region, or the proof systems {others}."
            )
        return found


def _degree(polynomials: list[Polynomial]) -> int:
    """The least even degree that has room for all of them."""
    most = max((len(m) for p in polynomials for m in p), default=0)
    return max(2, most + most % 2)


def _size(relaxation: MomentProblem) -> float:
    """The greatest sum of the margins' coefficients."""
    return max(sum(map(abs, margin.values())) for margin in relaxation.margins)


def _bound(relaxation: MomentProblem, solution: ConicSolution) -> tuple[float, np.ndarray, SosTerms]:
    """What the solver's dual proves, with which weights of the margins, and by which terms."""
    assert solution.weights is not None
    weights = np.maximum(solution.weights, 0.0)
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(weights), 1.0 / len(weights))
    grams = [b.shift.T @ gram @ b.shift for b, gram in zip(relaxation.blocks, solution.grams, strict=True)]
    bound, terms = squares(relaxation, weights, grams)
    return bound, weights, terms


def _flat(state: SOSState, atoms: Atoms) -> SOSState:
    """What is to be said of an exact relaxation."""
    flat = state.flat + atoms.flat
    claim = f"The moment matrices of {flat} problems are flat: there the solver says that sos is exact; that is not certified."
    return replace(state, flat=flat, claim=claim if flat else "", statistics=state.counting(flat=int(atoms.flat)))


def _play(frame: Frame, problem: Problem, value: float, reduced: Reduced, x: np.ndarray, kept: np.ndarray) -> Play:
    """What every neuron does at the pseudo-mean."""
    program = frame.group.program
    y, z = relaxed_values(program, reduced, x, kept)
    return Play(problem, x, value, y[program.neuron_units], z[program.neuron_units])


def _drawn(
    frame: Frame, reduced: Reduced, gaussian: Gaussian, random: np.random.Generator, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of all neurons from the pseudo-distribution."""
    program, (inputs, kept) = frame.group.program, gaussian.pairs(random, number)
    z = [relaxed_values(program, reduced, *pair)[1] for pair in zip(inputs, kept, strict=True)]
    return inputs, np.array(z)[:, program.neuron_units]
