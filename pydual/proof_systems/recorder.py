"""Collects the tree of a search, in any order, and writes it down as a proof."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pydual import certificate
from pydual.certificate import ProofTree


@dataclass(frozen=True, eq=False)
class Leaf:
    """What closes a node: explicit slopes or else a line rule, multipliers, and a beta for each neuron split above it."""

    lines: int
    slopes: np.ndarray | None
    multipliers: np.ndarray
    betas: np.ndarray


@dataclass(eq=False)
class TreeRecorder:
    """Nodes are numbered from 0, the root, in order of creation; ``first[n]`` is the first of two adjacent children.

    ``anchor`` is the code for derived intervals: at the root only, or (``anchor_leaves``) at each leaf.
    ``slope_neurons`` names the columns of explicit slopes.
    """

    anchor: int
    anchor_leaves: bool
    slope_neurons: np.ndarray
    kind: list[int] = field(default_factory=lambda: [certificate.LEAF])
    index: list[int] = field(default_factory=lambda: [0])
    threshold: list[float] = field(default_factory=lambda: [0.0])
    first: list[int] = field(default_factory=lambda: [-1])
    leaves: dict[int, Leaf] = field(default_factory=dict)

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
        anchor = np.where(~split, self.anchor, 0) if self.anchor_leaves else np.zeros(len(order))
        if not self.anchor_leaves:
            anchor[0] = self.anchor
        leaves = [self.leaves[node] for node in np.array(order)[~split].tolist()]
        lines, slopes = _lines(leaves, len(self.slope_neurons))
        return ProofTree(
            kind=kind,
            index=index,
            threshold=threshold,
            anchor=anchor.astype(np.uint8),
            lines=lines,
            slopes=slopes,
            slope_neurons=self.slope_neurons.astype(np.int32),
            multipliers=np.array([leaf.multipliers for leaf in leaves]),
            split_multipliers=np.concatenate([leaf.betas for leaf in leaves]).astype(np.float32),
        )

    def _preorder(self) -> list[int]:
        order: list[int] = []
        pending = [0]
        while pending:
            node = pending.pop()
            order.append(node)
            if self.first[node] >= 0:
                pending += (self.first[node] + 1, self.first[node])
        return order


def _lines(leaves: list[Leaf], columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Line rules, and the explicit slopes as rows."""
    rules: list[int] = []
    rows: list[np.ndarray] = []
    for leaf in leaves:
        if leaf.slopes is None:
            rules.append(leaf.lines)
        else:
            rules.append(len(rows))
            rows.append(leaf.slopes)
    slopes = np.array(rows) if rows else np.zeros((0, columns), dtype=np.uint8)
    return np.array(rules, dtype=np.int32), slopes
