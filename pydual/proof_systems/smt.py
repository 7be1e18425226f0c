"""First-order logic: the network as axioms in real arithmetic, for z3 (Katz et al. 2017; de Moura and Bjørner 2008).

The adversary looks for a model of the axioms with an attack. Where z3 refutes them, its unsatisfiable core names the neurons
whose two cases the refutation distinguishes. That much is taken from it: a tree that splits these neurons, whose leaves
are linear programs with multipliers (Farkas) of our own. An audit reads the tree, nobody needs to trust z3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pydual import certificate
from pydual.errors import InputError
from pydual.optimize.smt import Z3, check_installed
from pydual.problem import Problem
from pydual.proof_systems.base import Play, no_candidates, refuse_lists, start
from pydual.proof_systems.branch_and_bound import BranchAndBound
from pydual.proof_systems.branching import branching_scores
from pydual.proof_systems.claims import ClaimState, prove_claims
from pydual.proof_systems.duals import ABOVE_ROUNDING, ADAPTIVE_START, Duals, Nodes, leaf, new_recorder, root_nodes
from pydual.proof_systems.lp import TriangleLP
from pydual.proof_systems.recorder import TreeRecorder
from pydual.relax.axioms import EXACT, Axioms, kinds_of, state_axioms
from pydual.relax.frame import Frame, group, make_frame

DEPTHS = (1e-6, 1e-3)  # asked for, one after the other, where rounding spoils a model with an attack


@dataclass(frozen=True, eq=False)
class Question:
    """A problem as axioms; ``depth`` counts the models whose attacks were spoiled by rounding."""

    problem: Problem
    frame: Frame
    axioms: Axioms
    solver: Z3
    depth: int = 0


@dataclass(frozen=True, eq=False)
class Cell:
    """A node without children: its place in the tree, the units split above it, and their phases."""

    place: int
    path: tuple[int, ...] = ()
    phases: tuple[int, ...] = ()


@dataclass(eq=False)
class Refutation:
    """A claim of z3 on its way to a proof; a step consumes it. ``uses``: the units of the neurons that z3's refutation
    distinguishes cases of."""

    problem: Problem
    frame: Frame
    uses: frozenset[int]
    recorder: TreeRecorder
    cells: list[Cell] = field(default_factory=lambda: [Cell(0)])
    stuck: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class SMTState(ClaimState):
    """``waiting`` to be asked about; ``question``: under way; ``refuted`` by z3, to be proved. ``claimed``: those whose tree
    could not be proved or does not apply."""

    waiting: tuple[Problem, ...]
    question: Question | None = None
    refuted: tuple[Refutation, ...] = ()


@dataclass(frozen=True)
class SMT:
    """``axioms`` says what is known of the outputs of a layer of activations, for all layers or by name or number (from 0):
    "exact", "triangle" (its convex hull only), "bounds" (its interval only), "dropped" (nothing). With less than "exact" the
    system is incomplete: a model of the axioms may be a ``RelaxedAttack``.

    ``solver`` is "z3". ``batch`` cells of a refutation are bounded a step; where its linear programs fail, and for
    inputs that are integers, ``proof`` proves what z3 claims.
    """

    solver: str = "z3"
    axioms: str | Mapping[str | int, str] = EXACT
    batch: int = 16
    proof: BranchAndBound = BranchAndBound()

    name = "smt"

    def __post_init__(self) -> None:
        if self.solver != "z3":
            raise InputError(f"Unknown solver {self.solver!r} for 'smt'; use 'z3'.")
        if not isinstance(self.axioms, str | Mapping):
            raise InputError(f"The axioms are {self.axioms!r}; give a word such as 'exact', or one for each layer's name.")

    @property
    def complete(self) -> bool:
        chosen = [self.axioms] if isinstance(self.axioms, str) else self.axioms.values()
        return all(kind == EXACT for kind in chosen)

    def init(self, problems: tuple[Problem, ...]) -> SMTState:
        """Raises InputError where z3 is not installed, and for axioms of layers that the network does not have."""
        check_installed()
        refuse_lists(problems, self.name)
        if problems:
            kinds_of(problems[0].network, self.axioms)
        return SMTState(**vars(start(problems)), waiting=problems)

    def step(self, state: SMTState, seconds: float) -> SMTState:
        state = replace(state, candidates=no_candidates(state.problems))
        if state.waiting:
            state = self._ask(state, seconds)
        elif state.refuted:
            state = self._split(state, seconds)
        elif state.claimed:
            state = prove_claims(self.proof, state, seconds)
            proved = {p.index: 0.0 for p in state.claimed if p.index in state.trees}
            state = replace(state, lower={**state.lower, **proved})
        done = state.proving.finished if state.proving is not None else not state.claimed
        return replace(state, finished=not state.waiting and not state.refuted and done)

    # what z3 says

    def _ask(self, state: SMTState, seconds: float) -> SMTState:
        asked = state.question or self._question(state.waiting[0])
        axioms = asked.axioms
        names = [*axioms.inputs, *axioms.outputs, *(name for pair in axioms.neurons for name in pair)]
        deeper = [f"deep{asked.depth - 1}"] if asked.depth else []
        answer = asked.solver.check([*deeper, *(f"case{j}" for j in axioms.cases)], names, seconds)
        state = replace(state, question=asked, statistics=state.counting(questions=1))
        if answer.status == "timeout":
            return state  # a longer step asks again
        if answer.status == "unknown":
            return self._next(state, f"z3 has no answer for problem {asked.problem.index}.")
        if answer.status == "sat":
            return self._modeled(state, asked, {name: float(value) for name, value in answer.values.items()})
        if asked.depth:
            return self._next(state, _spoiled(asked))
        return self._refuted(state, asked, sorted(j for j in axioms.cases if f"case{j}" in answer.core))

    def _question(self, problem: Problem) -> Question:
        frame = make_frame(group([problem])[0], certificate.ADAPTIVE)
        axioms = state_axioms(frame, problem, kinds_of(problem.network, self.axioms), DEPTHS)
        logic = "QF_LRA" if axioms.linear and not axioms.integers else ""
        return Question(problem, frame, axioms, Z3(axioms.text, logic))

    def _modeled(self, state: SMTState, asked: Question, values: dict[str, float]) -> SMTState:
        """A model; the next step, if there is one, knows that it was no attack."""
        axioms, problem = asked.axioms, asked.problem
        x = np.array([values[name] for name in axioms.inputs])
        state = replace(state, candidates=x[None, :], statistics=state.counting(models=1))
        if self.complete:
            if asked.depth == len(DEPTHS):
                return self._next(state, _spoiled(asked))
            return replace(state, question=replace(asked, depth=asked.depth + 1))
        y, z = (np.array([values[pair[side]] for pair in axioms.neurons]) for side in (0, 1))
        outputs = [values[name] for name in axioms.outputs]
        worst = max(_margin(atom.margin, x, outputs) for atom in problem.margins)
        play = Play(problem, x, min(worst, 0.0), y, z)
        known = self.axioms if isinstance(self.axioms, str) else dict(self.axioms)
        claim = f"It is a model of the axioms {known}: those that were left out exclude it, or nothing does."
        return self._next(replace(state, plays={**state.plays, problem.index: play}, claim=claim))

    def _refuted(self, state: SMTState, asked: Question, neurons: list[int]) -> SMTState:
        program, frame = asked.frame.group.program, asked.frame
        uses = frozenset(program.neuron_units[neurons].tolist())
        names = {**state.statistics.get("refutations", {}), asked.problem.index: [program.neuron_name(j) for j in neurons]}
        state = replace(state, statistics={**state.counting(claimed_safe=1), "refutations": names})
        many = state.statistics["claimed_safe"]
        claim = f"z3 finds no attack on {many} of {len(state.problems)} problems; that alone is not certified."
        state = self._next(replace(state, claim=state.claim if state.plays else claim))
        if asked.axioms.integers:
            return replace(state, claimed=(*state.claimed, asked.problem))
        refutation = Refutation(asked.problem, frame, uses, new_recorder(frame))
        return replace(state, refuted=(*state.refuted, refutation))

    def _next(self, state: SMTState, obstacle: str = "") -> SMTState:
        return replace(state, waiting=state.waiting[1:], question=None, obstacle=obstacle or state.obstacle)

    # from a refutation to a tree

    def _split(self, state: SMTState, seconds: float) -> SMTState:
        refutation = state.refuted[0]
        cells = [refutation.cells.pop() for _ in range(min(self.batch, len(refutation.cells)))]
        nodes = _nodes(refutation.frame, cells)
        duals = TriangleLP().evaluate(refutation.frame, nodes, seconds)
        scores = branching_scores(refutation.frame, nodes, duals)
        for row, cell in enumerate(cells):
            _settle(refutation, cell, duals, row, scores[row])
        state = replace(state, candidates=duals.x[duals.bound <= 0], statistics=state.counting(nodes=len(cells)))
        index = refutation.problem.index
        if refutation.stuck:
            return replace(state, refuted=state.refuted[1:], claimed=(*state.claimed, refutation.problem))
        if refutation.cells:
            return state
        return replace(
            state,
            refuted=state.refuted[1:],
            trees={**state.trees, index: refutation.recorder.finish()},
            lower={**state.lower, index: max(state.lower[index], 0.0)},
        )


def _settle(refutation: Refutation, cell: Cell, duals: Duals, row: int, scores: np.ndarray) -> None:
    """Close the cell or split it, at a neuron of z3's refutation as long as one is left."""
    frame, recorder = refutation.frame, refutation.recorder
    open_ = [unit for unit in frame.unstable.tolist() if unit not in cell.path]
    used = [unit for unit in open_ if unit in refutation.uses]
    at_zero = not used and abs(duals.bound[row]) <= ABOVE_ROUNDING and _strict(refutation.problem, duals.weights[row])
    if duals.bound[row] > ABOVE_ROUNDING or at_zero:  # at zero, the exact audit decides
        recorder.close(cell.place, leaf(frame, 0, duals, row, cell.path))
    elif not open_:
        refutation.stuck = True
    else:
        unit = max(used or open_, key=lambda unit: scores[unit])
        first = recorder.split(cell.place, certificate.NEURON_SPLIT, int(frame.group.program.neuron_numbers[unit]))
        for side, phase in enumerate((-1, 1)):
            refutation.cells.append(Cell(first + side, (*cell.path, unit), (*cell.phases, phase)))


def _strict(problem: Problem, weights: np.ndarray) -> bool:
    return any(atom.strict and weight > 0 for atom, weight in zip(problem.margins, weights.tolist(), strict=True))


def _nodes(frame: Frame, cells: list[Cell]) -> Nodes:
    nodes = root_nodes(frame).take(np.zeros(len(cells), dtype=int))
    phase = nodes.phase.copy()
    for row, cell in enumerate(cells):
        phase[row, list(cell.path)] = cell.phases
    return replace(nodes, phase=phase, alpha=np.full(nodes.alpha.shape, ADAPTIVE_START))


def _margin(margin, x: np.ndarray, y: list[float]) -> float:  # type: ignore[no-untyped-def]
    inputs = sum(float(c) * x[i] for i, c in margin.x.items())
    return float(margin.constant) + inputs + sum(float(c) * y[j] for j, c in margin.y.items())


def _spoiled(asked: Question) -> str:
    return (
        f"z3 finds attacks in problem {asked.problem.index}, but none {DEPTHS[min(asked.depth, len(DEPTHS)) - 1]:g} deep that "
        "survives rounding to the model's type; a wider region or a smaller threshold decides."
    )
