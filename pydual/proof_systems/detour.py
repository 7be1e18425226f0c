"""A long search that takes a break: what it leaves open for too long, another proof system may settle at a stroke."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from pydual.certificate import ADAPTIVE
from pydual.problem import Problem
from pydual.proof_systems.base import ProofSystem, Snapshot, State, resume, start, take_snapshot
from pydual.relax.frame import group, make_frame

BEFORE, AWAY, AFTER, OVER = 0, 1, 2, 3
PASSES_OF_A_NODE, STEPS_OF_A_CLIMB = 100, 800  # through the network, audit included, and of an ascent of degree 2: usual ones
SHORTEST = 1000  # nodes, before which a detour is not thought of
MOST_KEPT = 250  # neurons: ascents of degree 2 with more of them take too long
FEW_INPUTS = 12  # up to so many, cells become small soon, and the root tells little


@dataclass(frozen=True, eq=False, kw_only=True)
class DetourState(State):
    """``part``: before the detour, away, back from it, or gone over to the other kind of search; ``inner``
    is the state of the system at work, ``main`` what the search
    had found when it was left. ``nodes`` (or cells) is when that is due (infinite: never; 0: not known yet)."""

    part: int = BEFORE
    inner: State
    main: Snapshot = field(default_factory=Snapshot)
    nodes: float = 0.0


@dataclass(frozen=True)
class Detour:
    """Searches with ``main``; once that has cost what ``other`` will, it tries ``other`` on the problems that are open, once.

    So the detour hardly more than doubles the time. ``other`` is one of degree 2, whose cost is estimated in advance. If its
    worst bound is then the better one, the search goes on with ``over``, from the start; else with ``main``, from where that
    was left. The systems of the detour are made when it begins: most searches end before, and need not load them.
    """

    main: ProofSystem
    other: Callable[[], ProofSystem]
    over: Callable[[], ProofSystem]

    name = "bab"

    @property
    def complete(self) -> bool:
        return self.main.complete

    def init(self, problems: tuple[Problem, ...]) -> DetourState:
        return self.resume(problems, Snapshot())

    def snapshot(self, state: DetourState) -> Snapshot:
        """While away, what the search had found before, and the proofs since."""
        away = state.part == AWAY
        inner = state.main if away else take_snapshot(self._system(state.part), state.inner)
        trees, place = {**inner.trees, **state.trees}, (state.part, *(() if away else inner.place))
        return Snapshot(trees, inner.partial, state.lower, state.open_shares, place)

    def resume(self, problems: tuple[Problem, ...], snapshot: Snapshot) -> DetourState:
        part, *place = snapshot.place or (BEFORE,)
        known = start(problems, snapshot)
        open_ = tuple(p for p in problems if p.index not in known.trees)
        part = AFTER if part == AWAY else part
        inner = resume(self._system(part), open_, replace(snapshot, place=tuple(place)))
        return DetourState(**vars(known), part=part, inner=inner)

    def _system(self, part: int) -> ProofSystem:
        return self.other() if part == AWAY else self.over() if part == OVER else self.main

    def step(self, state: DetourState, seconds: float) -> DetourState:
        system = self._system(state.part)
        inner = system.step(state.inner, seconds)
        trees = {**state.trees, **inner.trees}
        lower = {i: max(state.lower[i], inner.lower.get(i, -np.inf)) for i in state.lower}
        plays = {i: play for i, play in {**state.plays, **inner.plays}.items() if i not in trees}
        statistics = {**state.statistics, **({system.name: inner.statistics} if state.part == AWAY else inner.statistics)}
        shares = state.open_shares
        if state.part != AWAY:  # over another bound, the search begins anew
            shares = {**shares, **{i: min(share, shares.get(i, 1.0)) for i, share in inner.open_shares.items()}}
        finished = len(trees) == len(state.problems) or (inner.finished and state.part != AWAY)
        state = replace(
            state, inner=inner, trees=trees, lower=lower, plays=plays, candidates=inner.candidates, statistics=statistics,
            open_shares=shares, finished=finished, obstacle=inner.obstacle, claim=inner.claim,
        )  # fmt: skip
        return state if finished else self._turn(state)

    def _turn(self, state: DetourState) -> DetourState:
        """Leave for the detour when it is due, and come back when it has ended."""
        open_ = tuple(p for p in state.problems if p.index not in state.trees)
        bounded = sum(state.inner.statistics.get(kind, 0) for kind in ("nodes", "cells"))
        if state.part == BEFORE and not state.nodes and bounded >= SHORTEST:
            state = replace(state, nodes=_nodes_worth_a_climb(open_))
        if state.part == BEFORE and state.nodes and bounded >= state.nodes:
            return replace(state, part=AWAY, main=take_snapshot(self.main, state.inner), inner=self.other().init(open_))
        if state.part == AWAY and state.inner.finished:
            left_at = min(state.main.lower.get(p.index, -np.inf) for p in open_)
            if state.inner.bound > left_at:
                return replace(state, part=OVER, inner=self.over().init(open_), main=Snapshot())
            return replace(state, part=AFTER, inner=resume(self.main, open_, state.main), main=Snapshot())
        return state


def _nodes_worth_a_climb(problems: tuple[Problem, ...]) -> float:
    """How many nodes or cells of a branch and bound cost as much as ascents of degree 2 for all of the problems."""
    if not problems or not problems[0].network.piecewise_linear or problems[0].network.input_size <= FEW_INPUTS:
        return np.inf
    products = 0.0
    for g in group(problems):
        kept, inputs = float(len(make_frame(g, ADAPTIVE).unstable)), g.region.size
        if kept > MOST_KEPT:
            return np.inf
        products += len(g.problems) * STEPS_OF_A_CLIMB * kept**2 * (2 * inputs + kept)
    return products / (PASSES_OF_A_NODE * problems[0].network.connections)
