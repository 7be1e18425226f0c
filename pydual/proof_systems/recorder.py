"""Collects the tree of a search, in any order, and writes it down as a proof."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pydual import certificate
from pydual.certificate import ProofTree, Refinement

if TYPE_CHECKING:
    from pydual.relax.squares import SosTerms

EXPLICIT = 0
ONE = 128  # the slope 1 in the units of a uint8
NOTHING = np.zeros(0, dtype=np.int64)
NO_PRODUCTS, NO_MULTIPLIERS = np.zeros((0, 2), dtype=np.int32), np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Leaf:
    """What closes a node: multipliers, a beta for each neuron split above it from the root down, and lines.

    ``lines`` is a rule of PROOFS.md, or EXPLICIT: then ``slopes`` belong to the neurons numbered in ``neurons``, and those
    in ``active`` are active in the whole cell. A Gram leaf has ``products`` (products, 2), pairs of
    facts, and their multipliers; a Sos leaf has ``sos``; ``enumerated`` are the points of a finite cell. A ball leaf has
    ``curvatures``, one for each ReLU layer, and ``norms``, which all ball leaves have in common.
    """

    lines: int
    multipliers: np.ndarray
    betas: np.ndarray
    neurons: np.ndarray = field(default_factory=lambda: NOTHING)
    slopes: np.ndarray = field(default_factory=lambda: NOTHING)
    active: np.ndarray = field(default_factory=lambda: NOTHING)
    products: np.ndarray | None = None
    product_multipliers: np.ndarray = field(default_factory=lambda: NO_MULTIPLIERS)
    sos: SosTerms | None = None
    enumerated: bool = False
    curvatures: np.ndarray | None = None
    norms: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def kind(self) -> int:
        if self.enumerated:
            return certificate.ENUMERATION_LEAF
        if self.sos is not None:
            return certificate.SOS_LEAF
        if self.curvatures is not None:
            return certificate.BALL_LEAF
        return certificate.LEAF if self.products is None else certificate.GRAM_LEAF


@dataclass(eq=False)
class TreeRecorder:
    """Nodes are numbered from 0, the root, in order of creation; ``first[n]`` is the first of two adjacent children.

    ``anchor`` is the code for derived intervals: at the root, or where ``anchor_cells`` is set, at the nodes ``anchored``.
    """

    anchor: int
    anchor_cells: bool
    kind: list[int] = field(default_factory=lambda: [certificate.LEAF])
    index: list[int] = field(default_factory=lambda: [0])
    threshold: list[float] = field(default_factory=lambda: [0.0])
    first: list[int] = field(default_factory=lambda: [-1])
    leaves: dict[int, Leaf] = field(default_factory=dict)
    anchored: set[int] = field(default_factory=set)
    refinements: tuple[Refinement, ...] = ()

    def split(self, node: int, kind: int, index: int, threshold: float = 0.0) -> int:
        """Split a node; the number of the first child, that of the second is one more."""
        child = len(self.kind)
        self.kind[node], self.index[node], self.threshold[node], self.first[node] = kind, index, threshold, child
        self.kind += (certificate.LEAF, certificate.LEAF)
        self.index += (0, 0)
        self.threshold += (0.0, 0.0)
        self.first += (-1, -1)
        return child

    def close(self, node: int, leaf: Leaf) -> None:
        self.leaves[node] = leaf

    def finish(self) -> ProofTree:
        """The proof; every leaf must have been closed."""
        order = self._preorder()
        kind = np.array(self.kind, dtype=np.uint8)[order]
        split = kind != certificate.LEAF
        index = np.array(self.index, dtype=np.int32)[order][split]
        threshold = np.array(self.threshold)[order][kind == certificate.INPUT_SPLIT]
        leaves = [self.leaves[node] for node in np.array(order)[~split].tolist()]
        kind[~split] = [leaf.kind for leaf in leaves]
        lines, slopes, slope_neurons = _lines(leaves)
        grams = [(leaf.products, leaf.product_multipliers) for leaf in leaves if leaf.products is not None]
        return ProofTree(
            kind=kind,
            index=index,
            threshold=threshold,
            anchor=np.array(self._anchors(), dtype=np.uint8)[order],
            lines=lines,
            slopes=slopes,
            slope_neurons=slope_neurons,
            multipliers=np.array([leaf.multipliers for leaf in leaves]),
            split_multipliers=np.concatenate([leaf.betas for leaf in leaves]),
            products=np.concatenate([NO_PRODUCTS, *(products for products, _ in grams)]).astype(np.int32),
            product_multipliers=np.concatenate([multipliers for _, multipliers in grams] or [NO_MULTIPLIERS]),
            product_counts=np.array([len(products) for products, _ in grams], dtype=np.int32),
            **_sos_columns([leaf.sos for leaf in leaves if leaf.sos is not None]),
            **_ball_columns([leaf for leaf in leaves if leaf.curvatures is not None]),
            refinements=self.refinements,
        )

    def _anchors(self) -> list[int]:
        nodes = self.anchored if self.anchor_cells else {0}
        return [self.anchor if node in nodes else 0 for node in range(len(self.kind))]

    def _preorder(self) -> list[int]:
        order: list[int] = []
        pending = [0]
        while pending:
            node = pending.pop()
            order.append(node)
            if self.first[node] >= 0:
                pending += (self.first[node] + 1, self.first[node])
        return order


def _sos_columns(leaves: list[SosTerms]) -> dict[str, np.ndarray]:
    if not leaves:
        return {}
    return {
        "sos_sizes": np.array([(len(leaf.variables), len(leaf.terms)) for leaf in leaves], dtype=np.int32),
        "sos_variables": np.concatenate([leaf.variables for leaf in leaves]),
        "sos_terms": np.concatenate([leaf.terms for leaf in leaves]),
        "sos_coefficients": np.concatenate([leaf.coefficients for leaf in leaves]),
    }


def _ball_columns(leaves: list[Leaf]) -> dict[str, np.ndarray]:
    return {"curvatures": np.array([leaf.curvatures for leaf in leaves]), "norms": leaves[0].norms} if leaves else {}


def _lines(leaves: list[Leaf]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rules of the leaves, explicit slopes as rows, and the neurons that are their columns.

    A neuron that a leaf does not mention is stable there: slope 1 if active, else 0, which is nearly its line where an
    audit, with intervals of its own, leaves its sign open.
    """
    rules = np.array([leaf.lines for leaf in leaves], dtype=np.int32)
    distinct: dict[tuple[int, int, int], int] = {}
    explicit: list[Leaf] = []
    for place in np.flatnonzero(rules == EXPLICIT).tolist():  # leaves of one tree share slopes, those of one cell neurons
        leaf = leaves[place]
        row = distinct.setdefault((id(leaf.slopes), id(leaf.neurons), id(leaf.active)), len(explicit))
        rules[place] = row
        if row == len(explicit):
            explicit.append(leaf)
    neurons = np.flatnonzero(np.bincount(np.concatenate([leaf.neurons for leaf in explicit]))) if explicit else NOTHING
    kind = np.result_type(*{leaf.slopes.dtype for leaf in explicit}) if explicit else np.dtype(np.uint8)
    slopes = np.zeros((len(explicit), len(neurons)), dtype=kind)
    one = ONE if kind == np.uint8 else 1
    rows: dict[tuple[int, int], list[int]] = {}
    for row, leaf in enumerate(explicit):
        rows.setdefault((id(leaf.neurons), id(leaf.active)), []).append(row)
    for group in rows.values():
        leaf, places = explicit[group[0]], np.array(group)[:, None]
        slopes[places, np.flatnonzero(np.isin(neurons, leaf.active))] = one
        slopes[places, np.searchsorted(neurons, leaf.neurons)] = [explicit[row].slopes for row in group]
    return rules, slopes, neurons.astype(np.int32)
