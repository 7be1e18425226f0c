"""Hands parts of a search to an executor: other processes, other machines (Dask, MPI), whatever speaks its protocol.

Problems are separate errands from the start. One that is not done in its time is cut into cells by splitting inputs or,
where inputs are many, sent out again with more time. Workers may die: what they had is sent out again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from pydual.errors import InputError
from pydual.problem import Problem
from pydual.proof_systems.base import Play, ProofSystem, Snapshot, State, no_candidates, start
from pydual.proof_systems.errand import Errand, Report, packed, run, search
from pydual.proof_systems.grafting import Part, graft
from pydual.relax.frame import group

PATIENCE = 0.25  # seconds that a step waits for a report
GROWTH = 4  # of the time, where it was not enough: what is begun anew then costs little beside what ends
TRIES = 3  # of a worker, before this process does an errand itself


@dataclass(eq=False)
class Task:
    """Open parts of different problems that one errand is about, and what it is given; ``tries`` counts lost workers."""

    parts: tuple[Part, ...]
    seconds: float
    eager: bool = True
    tries: int = 0

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(part.problem for part in self.parts)


class Crew:
    """The workers of an executor, and what they are doing.

    Whatever goes wrong with a worker (it was killed, its pool is broken, what it was sent cannot be pickled), an errand
    is tried again and at last done here. Only an InputError, which is about the question, is passed on.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._away: dict[Task, Future[Report]] = {}
        self._numbers = count()
        self.statistics = {"lost": 0, "inline": 0}

    def work(self, tasks: Sequence[Task], errand: Callable[[Task, int], Errand], seconds: float) -> list[tuple[Task, Report]]:
        """Send out the tasks that are not away; wait a moment for reports, or do here what no worker would do."""
        for task in tasks:
            self._send(task, errand)
        hopeless = next((task for task in tasks if task not in self._away), None)
        patience = 0.0 if hopeless else min(seconds, PATIENCE)
        wait(self._away.values(), timeout=patience, return_when=FIRST_COMPLETED)
        back = [task for task in tasks if task in self._away and self._away[task].done()]
        reports = [(task, report) for task in back if (report := self._report(task)) is not None]
        if hopeless and not reports:
            self.statistics["inline"] += 1
            work = errand(hopeless, 0)
            reports = [(hopeless, search(work.system, hopeless.problems, work.seconds, work.eager))]
        return reports

    def dismiss(self) -> None:
        """Nobody waits for the reports any longer."""
        for future in self._away.values():
            future.cancel()
        self._away.clear()

    def _send(self, task: Task, errand: Callable[[Task, int], Errand]) -> None:
        while task not in self._away and task.tries < TRIES:
            try:
                self._away[task] = self._executor.submit(run, errand(task, next(self._numbers)))
            except Exception:  # a broken pool, one that was shut down, or whatever an executor of another kind raises
                task.tries += 1
                self.statistics["lost"] += 1

    def _report(self, task: Task) -> Report | None:
        """What came back; None if the worker was lost."""
        future = self._away.pop(task)
        error = None if future.cancelled() else future.exception()
        if isinstance(error, InputError):
            raise error
        if error is None and not future.cancelled():
            return future.result()
        task.tries += 1
        self.statistics["lost"] += 1
        return None


@dataclass(frozen=True, eq=False, kw_only=True)
class SubtreesState(State):
    """``roots``: each problem and its parts. ``tasks``: what is to be done. ``network``: as errands carry it."""

    roots: dict[int, Part] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    network: bytes = b""


@dataclass(frozen=True, eq=False)
class Subtrees:
    """``inner`` at work in the processes of ``executor``, with one thread each.

    The problems are dealt out to at most ``width`` tasks. A task gets ``seconds``; what it leaves open is cut or dealt out
    anew, until ``width`` tasks are open again, and gets ``GROWTH`` times as many: let ``width`` be a few times the number of
    workers. Inputs are split where at most ``few_inputs`` vary and ``inner`` is complete: what an incomplete proof system
    cannot prove is an answer. Which proof or attack is found depends on who is faster; the outcome is replayed or audited
    as always.
    """

    inner: ProofSystem
    executor: Executor
    width: int = 16
    seconds: float = 0.5
    few_inputs: int = 40

    def __post_init__(self) -> None:
        object.__setattr__(self, "crew", Crew(self.executor))

    crew: Crew = field(init=False, repr=False)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def complete(self) -> bool:
        return self.inner.complete

    def init(self, problems: tuple[Problem, ...]) -> SubtreesState:
        return self.resume(problems, Snapshot())

    def snapshot(self, state: SubtreesState) -> Snapshot:
        """The proofs of whole problems: what parts of others have been proved is not saved."""
        return Snapshot(state.trees, {}, state.lower, state.open_shares)

    def resume(self, problems: tuple[Problem, ...], snapshot: Snapshot) -> SubtreesState:
        known = start(problems, snapshot)
        parts = [Part(problem, known.lower[problem.index]) for problem in problems if problem.index not in known.trees]
        tasks = tuple(Task(dealt, self.seconds) for dealt in _deal(parts, self.width))
        network = packed(problems[0].network) if problems else b""
        state = SubtreesState(**vars(known), roots={part.problem.index: part for part in parts}, tasks=tasks, network=network)
        return replace(state, finished=not tasks)

    def step(self, state: SubtreesState, seconds: float) -> SubtreesState:
        """Wait a moment for reports, and settle them."""

        def errand(task: Task, number: int) -> Errand:
            questions = tuple((problem.region, problem.margins, problem.index) for problem in task.problems)
            return Errand(state.network, self.inner, questions, min(task.seconds, seconds), task.eager, number)

        reports = self.crew.work(state.tasks, errand, seconds)
        back = {task for task, _ in reports}
        tasks = [task for task in state.tasks if task not in back]
        for task, report in reports:
            tasks += self._settle(task, report, len(tasks))
        return self._advance(state, tuple(tasks), [report for _, report in reports])

    def _settle(self, task: Task, report: Report, waiting: int) -> list[Task]:
        """Note what is proved or given up; the tasks that what is left makes, where ``waiting`` others are open."""
        left = []
        for part in task.parts:
            index = part.problem.index
            part.lower = max(part.lower, report.lower.get(index, -np.inf))
            part.tree = report.trees.get(index)
            part.given_up = part.tree is None and report.finished
            if part.tree is None and not report.finished:
                left.append(part)
        if report.hit:  # the driver tries it first; if it comes back here, it was none
            return [Task(tuple(left), task.seconds, eager=False)] if left else []
        return [Task(parts, GROWTH * task.seconds, task.eager) for parts in self._divide(left, max(2, self.width - waiting))]

    def _divide(self, left: list[Part], pieces: int) -> list[tuple[Part, ...]]:
        if len(left) == 1 and self.complete and _varying(left[0].problem) <= self.few_inputs:
            return [(part,) for part in _cut(left[0], pieces)]
        return _deal(left, pieces)

    def _advance(self, state: SubtreesState, tasks: tuple[Task, ...], reports: list[Report]) -> SubtreesState:
        lower, trees, plays, shares = dict(state.lower), dict(state.trees), dict(state.plays), dict(state.open_shares)
        for report in reports:
            plays |= {index: Play(state.roots[index].problem, *play) for index, play in report.plays.items()}
            for index in report.lower:
                leaves = [part for part in state.roots[index].preorder() if not part.halves]
                lower[index] = max(lower[index], min(part.lower for part in leaves))
                shares[index] = sum(part.share for part in leaves if part.tree is None)
                if index not in trees and all(part.tree is not None for part in leaves):
                    trees[index] = graft(state.roots[index])
        return replace(
            state,
            lower=lower,
            trees=trees,
            plays={index: play for index, play in plays.items() if index not in trees},
            candidates=np.concatenate([no_candidates(state.problems), *(report.candidates for report in reports)]),
            open_shares=shares,
            tasks=tasks,
            finished=not tasks,
            claim=next((report.claim for report in reports if report.claim), state.claim),
            obstacle=next((report.obstacle for report in reports if report.obstacle), state.obstacle),
            statistics={**state.counting(tasks=len(reports)), "open_tasks": len(tasks), **self.crew.statistics},
        )


@contextmanager
def handed_to(executor: Executor, system: ProofSystem) -> Iterator[ProofSystem]:
    """The proof system, at work in an executor's processes; afterwards, open tasks are cancelled."""
    if not isinstance(executor, Executor):
        raise InputError(
            f"The executor is a {type(executor).__name__}; give a concurrent.futures.Executor: a ProcessPoolExecutor, or for "
            "Dask the get_executor() of a client."
        )
    handed = Subtrees(system, executor)
    try:
        yield handed
    finally:
        handed.crew.dismiss()


def _deal(parts: Sequence[Part], pieces: int) -> list[tuple[Part, ...]]:
    """The parts in at most so many pieces: neighbors together, as they may share a region."""
    size = max(1, -(-len(parts) // pieces))
    return [tuple(parts[begin : begin + size]) for begin in range(0, len(parts), size)]


def _cut(whole: Part, pieces: int) -> list[Part]:
    """Cells of a part, about equally deep; the part itself where floats end."""
    cells = deque([whole])
    for _ in range(pieces - 1):
        part = cells.popleft()
        cells.extend(_bisected(part) or (part,))
    return list(cells)


def _bisected(part: Part) -> tuple[Part, ...]:
    """Halves of the input that leaves most signs open, as in input splitting."""
    g, region = group([part.problem])[0], part.problem.region
    box = region.lower[None, :], region.upper[None, :]
    weight = g.program.core.bound_cells(g.core_margins, *box, 1, 0, 0.0, 0)["weight"][0]
    middle = 0.5 * (region.lower + region.upper)
    possible = (region.lower < middle) & (middle < region.upper)
    if not possible.any():
        return ()
    score = weight if (weight * possible).max() > 0 else region.upper - region.lower
    index = int(np.where(possible, score, -np.inf).argmax())
    return part.cut(index, float(middle[index]))


def _varying(problem: Problem) -> int:
    return int(np.count_nonzero(problem.region.upper > problem.region.lower))
