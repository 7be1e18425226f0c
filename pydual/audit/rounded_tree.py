"""A proof tree read by the rounded audit: its columns validated, its leaves with their cells (PROOFS.md, sections 3, 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pydual.audit.rounded_network import Layers
from pydual.certificate import ADAPTIVE, INPUT_SPLIT, INTERVAL_LINES, LEAF, NEURON_SPLIT, ProofTree
from pydual.errors import CertificateError

_COLUMNS = {
    "kind": (1, "u1"),
    "index": (1, "<i4"),
    "threshold": (1, "<f8"),
    "anchor": (1, "u1"),
    "lines": (1, "<i4"),
    "slopes": (2, "u1 <f4 <f8"),
    "slope_neurons": (1, "<i4"),
    "multipliers": (2, "u1 <f4 <f8"),
    "split_multipliers": (1, "<f4 <f8"),
}


def validate(tree: ProofTree, layers: Layers, margins: int) -> None:
    """Check types, lengths and ranges of the columns; the shape of the tree is checked by ``walk``."""
    for name, (dimensions, types) in _COLUMNS.items():
        column = getattr(tree, name)
        allowed = [np.dtype(t) for t in types.split()]
        _require(
            isinstance(column, np.ndarray) and column.ndim == dimensions and column.dtype in allowed,
            f"'{name}' is not an array of {dimensions} dimensions with type {types}",
        )
        _require(column.dtype.kind != "f" or bool(np.isfinite(column).all()), f"'{name}' has NaN or infinity")
    leaves = int((tree.kind == LEAF).sum())
    inputs, neurons = tree.index[_splits(tree, INPUT_SPLIT)], tree.index[_splits(tree, NEURON_SPLIT)]
    rows, columns = tree.slopes.shape
    _require(bool((tree.kind <= NEURON_SPLIT).all()), "a node's kind is unknown")
    _require(len(tree.kind) == len(tree.anchor), "'anchor' has another length than 'kind'")
    _require(bool((tree.anchor <= ADAPTIVE).all()), "an anchor's code is unknown")
    _require(len(tree.index) == len(tree.kind) - leaves, "'index' does not fit the number of splits")
    _require(len(tree.threshold) == len(inputs), "'threshold' does not fit the number of input splits")
    _require(len(tree.lines) == leaves, "'lines' does not fit the number of leaves")
    _require(tree.multipliers.shape == (leaves, margins), "'multipliers' does not fit leaves and margins")
    _require(len(tree.slope_neurons) == columns, "'slope_neurons' does not fit the columns of 'slopes'")
    _require(_within(inputs, layers.inputs), "an input split names an input that does not exist")
    _require(_within(neurons, layers.neurons), "a neuron split names a neuron that does not exist")
    _require(_within(tree.slope_neurons, layers.neurons), "'slope_neurons' names a neuron that does not exist")
    _require(len(np.unique(tree.slope_neurons)) == columns, "'slope_neurons' names a neuron twice")
    _require(bool(((tree.lines >= -3) & (tree.lines < rows)).all()), "'lines' names a row that does not exist")
    _require(
        bool(((tree.slopes >= 0) & (tree.slopes <= (128 if tree.slopes.dtype == np.uint8 else 1))).all()),
        "a slope is outside [0, 1]",
    )
    _require(bool((tree.multipliers >= 0).all()), "a multiplier is negative")
    _require(bool((tree.split_multipliers >= 0).all()), "a split multiplier is negative")


def _splits(tree: ProofTree, kind: int) -> np.ndarray:
    """For each entry of ``index``, whether it belongs to a split of this kind; all False where lengths do not fit."""
    kinds = tree.kind[tree.kind != LEAF]
    return kinds == kind if len(kinds) == len(tree.index) else np.zeros(len(tree.index), dtype=bool)


def _within(numbers: np.ndarray, count: int) -> bool:
    return bool(((numbers >= 0) & (numbers < count)).all())


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise CertificateError(f"{complaint}.")


@dataclass(eq=False)
class Anchor:
    """A node at which intervals are derived: its cell, and the anchor above it.

    ``phases`` holds ``2 neuron + active`` for each neuron split above the node, from the root down.
    """

    node: int
    code: int
    lower: np.ndarray
    upper: np.ndarray
    phases: tuple[int, ...]
    parent: Anchor | None


@dataclass(eq=False)
class Leaf:
    """A leaf whose cell has a box that is not empty. Its split multipliers start at ``first_multiplier``."""

    number: int
    node: int
    lower: np.ndarray
    upper: np.ndarray
    phases: tuple[int, ...]
    anchor: Anchor
    first_multiplier: int


@dataclass(eq=False)
class _Pending:
    """A node that is still to be read."""

    lower: np.ndarray
    upper: np.ndarray
    empty: bool
    phases: tuple[int, ...]
    anchor: Anchor | None


def walk(tree: ProofTree, lower: np.ndarray, upper: np.ndarray) -> Iterator[Leaf]:
    """The leaves in preorder, without those of empty boxes; raises CertificateError where the tree is not one."""
    index, threshold = iter(tree.index.tolist()), iter(tree.threshold.tolist())
    pending = [_Pending(lower, upper, False, (), None)]
    number = multipliers = 0
    for node, (kind, code) in enumerate(zip(tree.kind.tolist(), tree.anchor.tolist(), strict=True)):
        _require(bool(pending), f"node {node} follows after the tree has ended")
        at = pending.pop()
        if code:
            at.anchor = Anchor(node, code, at.lower, at.upper, at.phases, at.anchor)
        if kind == INPUT_SPLIT:
            pending += _input_children(at, next(index), next(threshold))
        elif kind == NEURON_SPLIT:
            pending += _neuron_children(at, next(index), node)
        else:
            _require(at.anchor is not None, f"node {node} is a leaf without an anchor")
            if not at.empty:
                assert at.anchor is not None
                yield Leaf(number, node, at.lower, at.upper, at.phases, at.anchor, multipliers)
            number += 1
            multipliers += len(at.phases)
            _require(multipliers <= len(tree.split_multipliers), f"'split_multipliers' ends before node {node}")
    _require(not pending, "the tree ends before all splits have their children")
    _require(multipliers == len(tree.split_multipliers), "'split_multipliers' is longer than the tree needs")


def _input_children(at: _Pending, i: int, t: float) -> list[_Pending]:
    """The children ``x_i <= t`` and ``x_i >= t``, the first last."""
    lower, upper = at.lower.copy(), at.upper.copy()
    lower[i], upper[i] = max(lower[i], t), min(upper[i], t)
    first = _Pending(at.lower, upper, at.empty or bool(t < at.lower[i]), at.phases, at.anchor)
    second = _Pending(lower, at.upper, at.empty or bool(t > at.upper[i]), at.phases, at.anchor)
    return [second, first]


def _neuron_children(at: _Pending, neuron: int, node: int) -> list[_Pending]:
    """The children where the neuron is inactive and active, the first last."""
    inactive, active = 2 * neuron, 2 * neuron + 1
    _require(inactive not in at.phases and active not in at.phases, f"node {node} splits neuron {neuron} a second time")
    first, second = (_Pending(at.lower, at.upper, at.empty, (*at.phases, phase), at.anchor) for phase in (inactive, active))
    return [second, first]


def line_rules(tree: ProofTree) -> np.ndarray:
    """For each leaf its rule for lines: -1, -2, -3, or 0 for a row of ``slopes``."""
    return np.clip(tree.lines, 3 * INTERVAL_LINES, 0)
