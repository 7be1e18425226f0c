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
from pydual.proof_systems.duals import ABOVE_ROUNDING, root_nodes
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
from pydual.relax.sos_cell import SosCell, Weight
from pydual.relax.squares import SosTerms, squares
from pydual.relax.subsets import Subset, of_neurons, sublevel_problem, widest

LARGEST = 70  # of a block: the time of a solver's iteration grows with its sixth power
SURE = 1e-8  # of a margin's size: what other roundings of the audit's intervals cost a bound
ROOM = 1e-7  # for moments with which a solver had failed
ROOM_OF_SUBSETS = 1e-6  # without it, what Clarabel leaves costs proofs up to ten times as much
LARGEST_SUBSET = 10  # its matrix has a size of 66
MOST_VARIABLES = 60  # with subsets: certificates have a coefficient for each monomial of degree 2 in all of them


@dataclass(frozen=True, eq=False)
class Task:
    """A problem of a frame, by its row, to be bounded: by degrees or, if there are ``subsets``, in degree 2 with these."""

    frame: Frame
    row: int
    cell: SosCell
    subsets: tuple[Subset, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class SOSState(State):
    """``groups`` and, of the one begun last, ``waiting`` are still to be bounded; ``flat`` problems have flat matrices."""

    groups: tuple[Group, ...]
    waiting: tuple[Task, ...] = ()
    flat: int = 0


@dataclass(frozen=True)
class SOS:
    """``degree``: 2, 4, 6, ...; ``solver``: the name of one that cvxpy knows and that is installed.

    Up to ``dense`` variables have all their moments; beyond, those within cliques of layers (Waki et al. 2006). Where these
    are too large for a degree, the next lower one is taken; the statistics say which one was. Above degree 2, up to
    ``products`` variables in different cliques have moments of degree 2 and the products of all facts. What degree 2 then does
    not prove of up to 60 variables is solved again: up to ``subsets`` sets of up to ``subset_size`` inputs, neurons and what
    these read have moments of degree 4 (relax/subsets.py). There is one for each tuple of ``neurons``, by their numbers in
    ``explain()``, or else those with the deepest triangles. Intervals are optimized by ``refine_steps`` of ascent for each
    end. Linear bounds come first.
    """

    degree: int = 4
    solver: str = "CLARABEL"
    dense: int = 10
    products: int = 30
    subsets: int = 12
    subset_size: int = 8
    neurons: tuple[tuple[int, ...], ...] = ()
    refine_steps: int = 20
    refine_rate: float = 0.2

    name = "sos"
    complete = False

    def __post_init__(self) -> None:
        if not isinstance(self.degree, int) or self.degree < 2 or self.degree % 2 or self.degree > certificate.MOST_DEGREE:
            raise InputError(f"The degree of sos is {self.degree!r}; give an even number from 2 to {certificate.MOST_DEGREE}.")
        if self.subsets < 0 or not 2 <= self.subset_size <= LARGEST_SUBSET:
            raise InputError(
                f"sos has subsets={self.subsets!r} of subset_size={self.subset_size!r}; "
                f"give a number from 0 on, and a size from 2 to {LARGEST_SUBSET}."
            )
        if self.neurons and self.degree == 2:
            raise InputError("sos of degree 2 has no subsets for neurons; leave them out, or give degree=4.")
        if not all(isinstance(together, tuple) and together for together in self.neurons):
            raise InputError(f"The neurons of sos are {self.neurons!r}; give tuples of their numbers, such as ((0, 2), (5,)).")
        if 2 * len(most := max(self.neurons, key=len, default=())) > self.subset_size:
            raise InputError(
                f"The neurons {most!r} of sos are too many for subset_size={self.subset_size}, as what they read counts, too; "
                f"give at most {self.subset_size // 2} together, or a subset_size of up to {LARGEST_SUBSET}."
            )

    def init(self, problems: tuple[Problem, ...]) -> SOSState:
        """Raises UnsupportedError for networks with sigmoids, InputError where no conic solver of this name is installed."""
        if any(not {"relu", "square"}.issuperset(compile_network(problem.network).kinds) for problem in problems):
            raise UnsupportedError("The proof system 'sos' knows ReLUs and squares only; use 'bab' or 'alpha-crown'.")
        check_solver(self.solver)
        neurons = min((compile_network(problem.network).neurons for problem in problems), default=0)
        for j in (j for together in self.neurons for j in together if j not in range(neurons)):
            raise InputError(f"The neurons of sos name {j!r}; the network has {neurons} neurons, numbered from 0.")
        return SOSState(**vars(start(problems)), groups=tuple(group(problems)))

    def step(self, state: SOSState, seconds: float) -> SOSState:
        return self._climb(state, seconds) if state.waiting else self._begin(state, seconds)

    def _begin(self, state: SOSState, seconds: float) -> SOSState:
        """The linear bounds of the next group."""
        now, later, end = state.groups[0], state.groups[1:], time.monotonic() + seconds
        frame = refine(now, self.refine_steps, self.refine_rate, end)
        duals = TriangleLP().evaluate(frame, root_nodes(frame), seconds)
        rows = np.argsort(duals.bound).tolist() if frame.possible and (len(frame.unstable) or now.program.curves) else []
        waiting = tuple(Task(frame, row, cell_of(frame)) for row in rows)
        return replace(with_bounds(state, frame, duals), groups=later, waiting=waiting, finished=not (rows or later))

    def _climb(self, state: SOSState, seconds: float) -> SOSState:
        """The relaxation of one problem."""
        task, waiting, end = state.waiting[0], state.waiting[1:], time.monotonic() + seconds
        relaxation, solution = (self._on_subsets if task.subsets else self._solved)(task, seconds)
        state = replace(
            state, waiting=waiting, candidates=no_candidates(state.problems),
            statistics=state.counting(programs=1, unsolved=int(solution.moments is None), subsets=relaxation.subsets),
        )  # fmt: skip
        state.statistics["degree"] = min(state.statistics.get("degree", self.degree), relaxation.degree)
        in_time = not task.subsets or time.monotonic() < end  # there is a bound already, and squares take time, too
        if in_time and solution.moments is not None and solution.weights is not None:
            state = _better(state, task, relaxation, solution)
        proved = task.frame.group.problems[task.row].index in state.trees
        if not (proved or task.subsets) and relaxation.degree == 2 < self.degree:
            more = replace(task, subsets=tuple(self._subsets(task.cell)))
            state = replace(state, waiting=(*waiting, more) if more.subsets else waiting)
        return replace(state, finished=not (state.waiting or state.groups))

    def _on_subsets(self, task: Task, seconds: float) -> tuple[MomentProblem, ConicSolution]:
        """The relaxation of degree 2 with subsets, and the solver's answer."""
        end, margins = time.monotonic() + seconds, _margins(task)
        cliques = task.cell.cliques(0, margins)
        relaxation = sublevel_problem(task.cell, margins, cliques, self._products(task.cell), task.subsets)
        over = time.monotonic() >= end  # what degree 2 proves stands
        return relaxation, ConicSolution("no time") if over else self._minimized(relaxation, end, ROOM_OF_SUBSETS)

    def _solved(self, task: Task, seconds: float) -> tuple[MomentProblem, ConicSolution]:
        """The relaxation and the solver's answer. Where it has none, or matrices are too large, those of lower degrees follow.

        Raises UnsupportedError where matrices of degree 2 are too large.
        """
        end, cell, margins = time.monotonic() + seconds, task.cell, _margins(task)
        least = _degree([*margins, *cell.sources.values()])
        if least > self.degree:
            raise UnsupportedError(f"The checker has polynomials of degree {least}; use SOS(degree={least}), or 'bab'.")
        found: tuple[MomentProblem, ConicSolution] | None = None
        lower = ((degree, 0, 0.0) for degree in range(self.degree - 2, least - 1, -2))
        for degree, dense, room in ((self.degree, self.dense, 0.0), (self.degree, 0, ROOM), *lower):
            cliques = cell.cliques(dense, margins)
            size = largest_block(cliques, degree)
            if size <= LARGEST and (found is None or found[1].moments is None):
                whole = len(cliques) == 1 and degree == self.degree
                relaxation = moment_problem(cell, margins, degree, cliques, () if whole else self._products(cell))
                found = relaxation, self._minimized(relaxation, end, room)
        if found is None:
            others = "'bab' or 'lp'" if task.frame.group.program.curves else "'sdp' or 'bab'"
            raise UnsupportedError(
                f"{cell.size} inputs and neurons are open: a matrix of degree {degree} has size {size}, more than {LARGEST}; "
                f"use a smaller network or region, or the proof systems {others}."
            )
        return found

    def _minimized(self, relaxation: MomentProblem, end: float, room: float) -> ConicSolution:
        blocks = [block.shifted for block in relaxation.blocks]
        return minimize_moments(relaxation.forms, blocks, self.solver, end - time.monotonic(), room)

    def _products(self, cell: SosCell) -> list[Weight]:
        return cell.products() if self.degree > 2 and cell.size <= self.products else []

    def _subsets(self, cell: SosCell) -> list[Subset]:
        if cell.size > MOST_VARIABLES:
            return []
        if self.neurons:
            return of_neurons(cell, self.neurons, self.subset_size)
        return widest(cell, self.subsets, self.subset_size)


def _margins(task: Task) -> list[Polynomial]:
    g = task.frame.group
    return task.cell.written(task.cell.reduced.write(g.margins)[g.columns(task.row)])


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


def _better(state: SOSState, task: Task, relaxation: MomentProblem, solution: ConicSolution) -> SOSState:
    """With what the solver's dual proves, if that is more than what is known."""
    assert solution.moments is not None
    frame, chosen, reduced = task.frame, task.frame.group.problems[task.row], task.cell.reduced
    bound, weights, terms = _bound(relaxation, solution)
    atoms = find_atoms(relaxation, solution.moments)
    state = _flat(replace(state, candidates=atoms.points), atoms)
    if bound <= state.lower[chosen.index]:
        return state
    lower, trees, plays = {**state.lower, chosen.index: bound}, dict(state.trees), dict(state.plays)
    if bound > max(ABOVE_ROUNDING, SURE * _size(relaxation)):
        trees[chosen.index] = sos_proof(frame, weights, terms)
        plays.pop(chosen.index, None)
    else:
        play = _play(frame, chosen, bound, reduced, *atoms.mean)
        plays[chosen.index] = replace(play, draw=partial(_drawn, frame, reduced, atoms.gaussian))
    return replace(state, lower=lower, trees=trees, plays=plays)


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
