"""Trees below nodes, grown in the core: cases of the phases of neurons, best first, with the node's own lines.

What a node's lines cannot prove is bounded again, by lines of its own, when it is its turn. Between the two, a case costs
its multipliers only, and all leaves of a tree share one row of slopes in a certificate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydual import certificate
from pydual.proof_systems.duals import ABOVE_ROUNDING, ADAPTIVE_START, Duals
from pydual.proof_systems.neuron_search import Batch, Node, Search
from pydual.proof_systems.recorder import EXPLICIT, Leaf
from pydual.relax.cases import RATE, STEPS
from pydual.relax.engine import threads
from pydual.relax.frame import Frame
from pydual.relax.program import AffineMap, core_form

WORK = 2e8  # cases times weights of a call, tenths of a second, so that Ctrl-C and clocks need not wait


@dataclass(frozen=True, eq=False)
class Grown:
    """The tree below a node, in preorder: ``splits`` (units, -1 for a case), for each case the ``multipliers`` of all splits
    above it, those above the node included, and the ``bounds`` (cases,) that they prove with the ``slopes``, those of the
    frame's unstable neurons (float32)."""

    splits: list[int]
    multipliers: np.ndarray
    bounds: list[float]
    slopes: np.ndarray

    def split(self, unit: int, bound: float) -> Grown:
        """The node, which must be the only case, with one split below it."""
        below = np.append(self.multipliers, np.float32(0.0))
        return Grown([unit, -1, -1], np.tile(below, 2), [bound, bound], self.slopes)


def grow(frame: Frame, batch: Batch, duals: Duals, rows: list[int], most: int, seconds: float) -> list[Grown]:
    """Trees of up to ``most`` cases below the batch's ``rows``, by the lines and from the multipliers of the duals.

    After so many ``seconds`` no case is split.
    """
    deadline, size = time.monotonic() + seconds, max(1, int(WORK / (most * frame.group.program.weights)))
    parts = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
    return [tree for part in parts for tree in _grow(frame, batch, duals, part, most, deadline - time.monotonic())]


def _grow(frame: Frame, batch: Batch, duals: Duals, rows: list[int], most: int, seconds: float) -> list[Grown]:
    """The same in one call to the core."""
    program = frame.group.program
    slopes = np.clip(duals.alpha[rows], 0.0, 1.0).astype(np.float32)
    explicit = duals.lines[rows] == EXPLICIT
    paths = [batch.paths[row] for row in rows]
    found = program.core.split_nodes(
        core_form(_weighted(frame, duals.weights[rows]), (frame.group.region.size, *program.sizes)),
        frame.group.core_region,
        frame.lower,
        frame.upper,
        np.where(explicit[:, None], slopes, ADAPTIVE_START),
        np.array([unit for path in paths for unit in path], dtype=np.int32),
        np.array([len(path) for path in paths], dtype=np.int32),
        batch.nodes.phase[rows],
        np.ascontiguousarray(duals.beta[rows]),
        np.ascontiguousarray(duals.price[rows]),
        most=most,
        deepest=program.units,
        steps=STEPS,
        rate=RATE,
        seconds=seconds,
        threads=threads(),
    )
    cases = [(count + 1) // 2 for count in found["split_counts"].tolist()]
    parts = zip(
        _parts(found["splits"], found["split_counts"]), _parts(found["multipliers"], found["multiplier_counts"]),
        _parts(found["bound"], cases), slopes[:, frame.unstable], strict=True,
    )  # fmt: skip
    return [Grown(splits.tolist(), multipliers, bounds.tolist(), own) for splits, multipliers, bounds, own in parts]


def plant(search: Search, batch: Batch, duals: Duals, row: int, grown: Grown) -> None:
    """Record the tree below the node: cases that are proved are leaves of the proof, others are open nodes.

    What holds in the node's cell holds in these, too, also where their own multipliers prove less.
    """
    problem, frame = int(batch.nodes.problem[row]), search.frame
    recorder, program = search.recorders[problem], frame.group.program
    weights, curvature, none = duals.weights[row], duals.curvature[row], np.zeros(0, dtype=np.int64)
    lines = int(duals.lines[row])
    slopes = (frame.unstable_neurons, grown.slopes) if lines == EXPLICIT else ()
    of_margins = weights[frame.group.columns(problem)]
    pending = [(batch.places[row], batch.paths[row], batch.phases[row])]
    at, bounds = 0, iter(grown.bounds)
    for unit in grown.splits:
        place, path, phases = pending.pop()
        if unit >= 0:
            first = recorder.split(place, certificate.NEURON_SPLIT, int(program.neuron_numbers[unit]))
            below = (*path, unit)
            pending += [(first + 1, below, (*phases, 1)), (first, below, (*phases, -1))]
            continue
        multipliers, bound = grown.multipliers[at : at + len(path)], next(bounds)
        at += len(path)
        if bound > ABOVE_ROUNDING:
            search.close(problem, place, Leaf(lines, of_margins, multipliers, *slopes))
        else:
            known = max(bound, float(duals.bound[row]))
            search.push(Node(problem, place, path, phases, grown.slopes, multipliers, weights, curvature, known, none))


def _weighted(frame: Frame, weights: np.ndarray) -> AffineMap:
    """The margins of the group, weighted, a row for each row of weights."""
    margins = frame.group.margins
    terms = {s: weights if matrix is None else np.asarray(weights @ matrix) for s, matrix in margins.terms.items()}
    return AffineMap(terms, weights @ margins.bias)


def _parts(joined: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    return np.split(joined, np.cumsum(counts)[:-1])
