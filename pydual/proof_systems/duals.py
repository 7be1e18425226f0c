"""Linear bounds of many nodes at once: the interface between relaxations and the searches that use them.

A node is a problem of a frame with some neurons fixed to a phase. A bound answers with dual variables: any such
variables give a valid bound (PROOFS.md, section 4), which is what makes them a proof.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pydual import certificate
from pydual.certificate import ProofTree
from pydual.proof_systems.base import Play
from pydual.proof_systems.recorder import EXPLICIT, Leaf, TreeRecorder
from pydual.relax.engine import threads
from pydual.relax.frame import Frame, Group
from pydual.relax.gram_inherited import Ended
from pydual.relax.surroundings import Surroundings

ABOVE_ROUNDING = 1e-9  # a bound above this is taken for positive; one of 1e-15 would not survive the audit
ADAPTIVE_START = -1.0  # an alpha below zero asks for the adaptive slope


@dataclass(frozen=True, eq=False)
class Nodes:
    """``problem`` (nodes,) numbers within the group; ``phase``, ``alpha``, ``beta`` (nodes, units); ``weights``
    (nodes, margins), each row on its own problem's margins; a row of zeros asks for the best single margin. ``ended``: where
    the parents' ascents in degree 2 ended, by row, as far as there were any. ``curvature`` (nodes, layers): those of the
    parents, below zero where they had none; or of no layers."""

    problem: np.ndarray
    phase: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    weights: np.ndarray
    curvature: np.ndarray
    ended: dict[int, Ended] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Nodes:
        ended = {k: self.ended[row] for k, row in enumerate(rows.tolist()) if row in self.ended}
        return Nodes(**{k: a[rows] for k, a in vars(self).items() if k != "ended"}, ended=ended)


@dataclass(frozen=True, eq=False)
class Duals:
    """For each node the bound, what attains it (``x``, relaxed inputs ``y`` and outputs ``z`` of the units), the dual
    variables that prove it, ``price`` (nodes, units), the Lagrangian's coefficients of the outputs, and ``lines``, the rule
    for the lines as in PROOFS.md, or EXPLICIT. ReLUs that are inactive in all nodes are left out of an ascent: their price
    is 0, and their ``y`` the upper end of the interval. ``grams``: products of facts and their multipliers, of rows whose
    bound is that of a Gram leaf; ``ended``: where ascents in degree 2 ended, of rows that they did not prove. ``curvature``
    (nodes, layers): of rows whose bound is that of a ball leaf; below zero in the others, or of no layers."""

    bound: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    price: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    weights: np.ndarray
    lines: np.ndarray
    curvature: np.ndarray
    grams: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    ended: dict[int, Ended] = field(default_factory=dict)

    def is_ball_leaf(self, row: int) -> bool:
        return self.curvature.shape[1] > 0 and bool((self.curvature[row] >= 0).all())


def better_of(first: Duals, second: Duals) -> Duals:
    """Node by node the duals with the larger bound; of linear ones."""
    choose = second.bound > first.bound
    columns = [(k, a, vars(second)[k]) for k, a in vars(first).items() if isinstance(a, np.ndarray)]
    better: dict[str, Any] = {k: np.where(choose.reshape(-1, *(1,) * (a.ndim - 1)), b, a) for k, a, b in columns}
    return Duals(**better)


class LinearBound(Protocol):
    """A relaxation whose bounds are proved by one leaf; ``anchor`` is how its intervals are derived."""

    @property
    def anchor(self) -> int: ...

    def evaluate(self, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        """Bound the nodes; ``seconds`` is what an engine with a time limit may use."""
        ...


@runtime_checkable
class Refining(Protocol):
    """A bound that wants intervals of its own."""

    def frame(self, g: Group, seconds: float) -> Frame: ...


def root_nodes(frame: Frame) -> Nodes:
    """One node a problem, nothing fixed."""
    return fresh_nodes(frame, np.arange(len(frame.group.problems)))


def fresh_nodes(frame: Frame, problem: np.ndarray) -> Nodes:
    """Nodes of these problems without duals, nothing fixed."""
    count, units = len(problem), frame.group.program.units
    alpha, weights = np.full((count, units), ADAPTIVE_START), np.zeros((count, frame.group.allowed.shape[1]))
    phase = np.zeros((count, units), dtype=np.int8)
    return Nodes(problem, phase, alpha, np.zeros((count, units)), weights, without_curvature(frame, count))


def without_curvature(frame: Frame, count: int) -> np.ndarray:
    """The curvatures of so many nodes that have none."""
    return np.full((count, len(frame.group.program.sizes) if frame.group.has_ball_leaves else 0), -1.0)


def ascend(frame: Frame, nodes: Nodes, *, steps: int, rate: float, target: float, around: Surroundings | None = None) -> Duals:
    """Dual ascent in the core from the nodes' own start; ``target`` ends it early where every bound is above.

    ``around``: the frame's surroundings, if the ascent may use them; its bounds are then those of ball leaves.
    """
    g = frame.group
    curved = () if around is None else (around.center, around.radius, nodes.curvature)
    result = g.program.core.ascend(
        g.core_margins,
        g.core_region,
        frame.lower,
        frame.upper,
        nodes.phase,
        np.ascontiguousarray(g.allowed[nodes.problem]),
        nodes.alpha,
        nodes.beta,
        nodes.weights,
        *curved,
        steps=steps,
        alpha_rate=rate,
        beta_rate=rate,
        weight_rate=0.5,
        curvature_rate=rate,
        decay=max(0.98, 0.02 ** (1 / max(steps, 1))),  # long runs end at a fiftieth of the rate
        target=target,
        threads=threads(),
    )
    adaptive = (steps == 0) & (nodes.alpha < 0).all(axis=1)
    return Duals(
        bound=result["bound"],
        x=result["x"],
        y=result["y"],
        z=result["z"],
        price=result["price"],
        alpha=result["alpha"],
        beta=result["beta"],
        weights=result["weights"],
        lines=np.where(adaptive & (around is None), certificate.ADAPTIVE_LINES, EXPLICIT),
        curvature=without_curvature(frame, len(nodes.problem)) if around is None else result["curvature"],
    )


def with_best_margins(frame: Frame, nodes: Nodes) -> Nodes:
    """Nodes without weights get weight 1 on the single margin with the best bound by adaptive lines."""
    rows = np.flatnonzero(~nodes.weights.any(axis=1))
    if rows.size == 0:
        return nodes
    node, margin = np.nonzero(frame.group.allowed[nodes.problem[rows]])
    trial = nodes.take(rows[node])
    weights = np.zeros_like(trial.weights)
    weights[np.arange(len(node)), margin] = 1.0
    bounds = np.full((len(rows), frame.group.allowed.shape[1]), -np.inf)
    bounds[node, margin] = ascend(frame, replace(trial, weights=weights), steps=0, rate=0.0, target=0.0).bound
    chosen = nodes.weights.copy()
    chosen[rows, bounds.argmax(axis=1)] = 1.0
    return replace(nodes, weights=chosen)


def play(frame: Frame, problem: int, duals: Duals, row: int) -> Play:
    """What the relaxed adversary plays at one node."""
    chosen, neurons = frame.group.problems[problem], frame.group.program.neuron_units
    return Play(chosen, duals.x[row], float(duals.bound[row]), duals.y[row, neurons], duals.z[row, neurons])


def leaf(frame: Frame, problem: int, duals: Duals, row: int, path: tuple[int, ...] = ()) -> Leaf:
    """What proves a node; ``path`` lists the units of the neurons split above it."""
    multipliers = duals.weights[row, frame.group.columns(problem)]
    betas = duals.beta[row, list(path)]
    if row in duals.grams:
        products, of_products = duals.grams[row]
        return Leaf(certificate.ADAPTIVE_LINES, multipliers, betas, products=products, product_multipliers=of_products)
    if duals.lines[row] != EXPLICIT:
        return Leaf(int(duals.lines[row]), multipliers, betas)
    slopes = np.clip(duals.alpha[row, frame.unstable], 0.0, 1.0)
    around = frame.group.surroundings if duals.is_ball_leaf(row) else None
    if around is None:
        return Leaf(EXPLICIT, multipliers, betas, frame.unstable_neurons, slopes)
    relus = duals.curvature[row, [kind == "relu" for kind in frame.group.program.kinds]]
    return Leaf(EXPLICIT, multipliers, betas, frame.unstable_neurons, slopes, curvatures=relus, norms=around.norms)


def short_leaf(frame: Frame, problem: int, duals: Duals, row: int, path: tuple[int, ...]) -> Leaf:
    """The leaf, with slopes and multipliers in single precision, as trees have many, where the bound can spare it.

    Rounding them by 2**-24 of themselves moves the bound by about as much of ``sum (|price| + beta) |y|``.
    """
    full = leaf(frame, problem, duals, row, path)
    scale = float((np.abs(duals.price[row]) + duals.beta[row]) @ np.abs(duals.y[row]))
    if duals.bound[row] < 1e-6 * scale:
        return full
    return replace(full, slopes=full.slopes.astype(np.float32), betas=full.betas.astype(np.float32))


def new_recorder(frame: Frame) -> TreeRecorder:
    """For a tree whose root is the only anchor, derived like the frame."""
    refinements = () if frame.refinement is None else (frame.refinement,)
    return TreeRecorder(frame.anchor, anchor_cells=False, refinements=refinements)


def leaf_proof(frame: Frame, problem: int, duals: Duals, row: int) -> ProofTree:
    """The proof that consists of one leaf, at the root."""
    recorder = new_recorder(frame)
    recorder.close(0, leaf(frame, problem, duals, row))
    return recorder.finish()
