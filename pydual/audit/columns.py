"""The columns of a proof tree: types, lengths and ranges (PROOFS.md, section 7), for the rounded audit.

That they fit together as a tree is checked where the tree is read. Columns are looked at in chunks, so that a mapped file
of any size is checked in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pydual.audit.exact_file import FileColumn
from pydual.certificate import (
    ADAPTIVE,
    ADAPTIVE_LINES,
    BALL_LEAF,
    ENUMERATION_LEAF,
    GRAM_LEAF,
    INPUT_SPLIT,
    LEAF,
    SOS_COLUMNS,
    SOS_LEAF,
)
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.operators.primitives import Affine, Relu

CHUNK = 1 << 20
_REAL = ("<f4", "<f8")
_TYPES = {
    "kind": (1, ("|u1",)),
    "index": (1, ("<i4",)),
    "threshold": (1, ("<f8",)),
    "anchor": (1, ("|u1",)),
    "lines": (1, ("<i4",)),
    "slopes": (2, ("|u1", *_REAL)),
    "slope_neurons": (1, ("<i4",)),
    "multipliers": (2, ("|u1", *_REAL)),
    "split_multipliers": (1, _REAL),
    "products": (2, ("<i4",)),
    "product_multipliers": (1, _REAL),
    "product_counts": (1, ("<i4",)),
    "curvatures": (2, _REAL),
    "norms": (1, ("<f8",)),
}
_REFINEMENT = {
    "lines": (2, ("<i4",)),
    "slopes": (2, ("|u1", *_REAL)),
    "neurons": (1, ("<i4",)),
    "case_trees": (2, ("<i4",)),
    "case_splits": (1, ("<i4",)),
    "case_multipliers": (1, _REAL),
}


def validate(tree: Any, network: Network, margins: int, refinements: int, in_l2_ball: bool) -> dict[str, np.ndarray]:
    """The columns by name, C-contiguous. Raises CertificateError for the first that is not as the format says."""
    columns = {name: _typed(tree, name, kind) for name, kind in _TYPES.items()}
    kind, slopes, lines = columns["kind"], columns["slopes"], columns["lines"]
    rows, width = slopes.shape
    _require(len(kind) > 0, "'kind' is empty; a tree has at least one node")
    counts = sum((np.bincount(part, minlength=256) for part in _chunks(kind)), np.zeros(256, dtype=np.int64))
    gram, ball, cuts = int(counts[GRAM_LEAF]), int(counts[BALL_LEAF]), int(counts[INPUT_SPLIT])
    leaves = int(counts[LEAF] + counts[ENUMERATION_LEAF]) + gram + ball
    _require(not counts[BALL_LEAF + 1 :].any(), "a node's kind is unknown")
    stray = any(getattr(getattr(tree, name, None), "shape", (0,))[0] for name in SOS_COLUMNS)
    _require(bool(counts[SOS_LEAF]) or not stray, "there are terms of Sos leaves, but no such leaf")
    _require(not counts[SOS_LEAF], "Sos leaves are checked by the exact audit alone; audit with level 'exact'")
    lengths = {
        "anchor": len(kind),
        "index": len(kind) - leaves,
        "threshold": cuts,
        "lines": leaves,
        "slope_neurons": width,
        "multipliers": leaves,
        "product_counts": gram,
    }
    for name, length in lengths.items():
        _require(len(columns[name]) == length, f"'{name}' has {len(columns[name])} entries; expected {length}")
    _require(columns["multipliers"].shape[1] == margins, f"'multipliers' does not have {margins} columns")
    _all(columns["anchor"], "'anchor' has an unknown code", lambda v: v <= ADAPTIVE + refinements)
    _all(lines, "'lines' names a row that does not exist", lambda v: (v >= ADAPTIVE_LINES) & (v < rows))
    _all(columns["index"], "'index' has a negative number", lambda v: v >= 0)
    _all(columns["threshold"], "'threshold' has NaN or infinity", np.isfinite)
    for name in ("multipliers", "split_multipliers"):
        _all(columns[name], f"'{name}' has a negative number, NaN or infinity", lambda v: (v >= 0) & np.isfinite(v))
    _check_slopes(slopes, columns["slope_neurons"], network, "'slope_neurons'")
    _check_curvatures(columns, ball, network)
    _check_products(columns, 1 + 2 * network.input_size + 4 * network.neurons + in_l2_ball)
    return columns


def _check_curvatures(columns: dict[str, np.ndarray], leaves: int, network: Network) -> None:
    curvatures, norms = columns["curvatures"], columns["norms"]
    relus = sum(isinstance(p, Relu) for p in network.primitives) if leaves else 0
    matrices = sum(len(p.terms) for p in network.primitives if isinstance(p, Affine)) if leaves else 0
    _require(curvatures.shape == (leaves, relus), f"'curvatures' has the shape {curvatures.shape}; expected {(leaves, relus)}")
    _require(len(norms) == matrices, f"'norms' has {len(norms)} entries; expected {matrices}")
    for name in ("curvatures", "norms"):
        _all(columns[name], f"'{name}' has a negative number, NaN or infinity", lambda v: (v >= 0) & np.isfinite(v))


def _check_products(columns: dict[str, np.ndarray], facts: int) -> None:
    products, multipliers, counts = (columns[name] for name in ("products", "product_multipliers", "product_counts"))
    _require(products.shape == (len(multipliers), 2), "'products' does not have two facts for each multiplier")
    _all(counts, "'product_counts' has a negative number", lambda v: v >= 0)
    total = sum(int(part.sum(dtype=np.int64)) for part in _chunks(counts))
    _require(total == len(multipliers), f"'product_counts' has {total} products in all; expected {len(multipliers)}")
    _all(products, "'products' names a fact that does not exist", lambda v: (v >= 0) & (v < facts))
    _all(multipliers, "'product_multipliers' has NaN or infinity", np.isfinite)


def validate_refinement(refinement: Any, network: Network) -> tuple[np.ndarray, ...]:
    """Lines, slopes and neurons of a refinement, its trees of cases, their splits and multipliers, checked likewise."""
    columns = tuple(_typed(refinement, name, kind) for name, kind in _REFINEMENT.items())
    lines, slopes, neurons, trees, splits, multipliers = columns
    _require(lines.shape == (2, network.neurons), "the lines of a refinement are not two for each neuron")
    _all(lines, "a refinement names a row that does not exist", lambda v: (v >= ADAPTIVE_LINES) & (v < len(slopes)))
    _require(len(neurons) == slopes.shape[1], "the slopes of a refinement do not fit its neurons")
    _check_slopes(slopes, neurons, network, "a refinement")
    _require(trees.shape in ((2, network.neurons), (2, 0)), "the trees of cases are not two for each neuron")
    _all(trees, "a refinement names a tree of cases that does not exist", lambda v: v >= -1)
    _all(splits, "a case splits a neuron that does not exist", lambda v: (v >= -1) & (v < network.neurons))
    _all(multipliers, "a multiplier of a case is negative, NaN or infinity", lambda v: (v >= 0) & np.isfinite(v))
    return columns


def _check_slopes(slopes: np.ndarray, neurons: np.ndarray, network: Network, where: str) -> None:
    _all(slopes, "a slope is outside [0, 1]", lambda v: (v >= 0) & (v <= (128 if v.dtype == np.uint8 else 1)))
    _all(neurons, f"{where} names a neuron that does not exist", lambda v: (v >= 0) & (v < network.neurons))
    _require(bool((np.bincount(neurons) <= 1).all()), f"{where} names a neuron twice")


def _typed(tree: Any, name: str, kind: tuple[int, tuple[str, ...]]) -> np.ndarray:
    column, (dimensions, types) = getattr(tree, name, None), kind
    if isinstance(column, FileColumn):
        column = _mapped(column)
    fits = isinstance(column, np.ndarray) and column.ndim == dimensions and column.dtype.str in types
    _require(fits, f"'{name}' is not an array of {dimensions} dimensions with type {' or '.join(types)}")
    return np.require(column, requirements=["C", "ALIGNED"])


def _mapped(column: FileColumn) -> np.ndarray:
    """The column as a view of its file."""
    kind = np.dtype(column.dtype).newbyteorder("<")
    if column.size == 0:
        return np.zeros(column.shape, dtype=kind)
    return np.memmap(column.file, dtype=kind, mode="r", offset=column.begin, shape=column.shape).view(np.ndarray)


def _all(column: np.ndarray, complaint: str, holds: Callable[[np.ndarray], np.ndarray]) -> None:
    _require(all(bool(holds(part).all()) for part in _chunks(column)), complaint)


def _chunks(column: np.ndarray) -> Iterator[np.ndarray]:
    flat = column.reshape(-1)
    return (flat[start : start + CHUNK] for start in range(0, len(flat), CHUNK))


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise CertificateError(f"{complaint}.")
