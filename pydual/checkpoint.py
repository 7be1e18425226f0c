"""Checkpoint files: a search that was stopped, or killed, goes on where it was.

A file holds what a proof system says of its search (``Snapshot``), bound to network, query, arithmetic and proof system.
Nothing in it is trusted: it saves work, and the audit of the whole proof decides as always.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pydual.certificate import PARTS, ProofTree, Refinement
from pydual.errors import InputError
from pydual.proof_systems.base import Snapshot
from pydual.proof_systems.partial_tree import PartialTree
from pydual.whole_file import check_writable, write_whole

FAMILY, VERSION = "pydual-checkpoint-", "5"
INTERVAL = 2.0  # seconds between two writes, at least
SHARE = 0.04  # of the time that writing may take


@dataclass(frozen=True)
class Binding:
    """What a checkpoint belongs to: digests of network and query, the arithmetic and the name of the proof system."""

    network: str
    query: str
    arithmetic: str
    proof_system: str


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """``attempt`` counts the reserves for float32 that were tried; ``best`` (0 or 1, inputs) is the adversary's best input;
    ``seconds`` of search are in it."""

    snapshot: Snapshot
    attempt: int
    best: np.ndarray
    seconds: float

    @property
    def summary(self) -> dict[str, float]:
        """For the statistics of the search that goes on."""
        partial = self.snapshot.partial.values()
        return {
            "seconds": self.seconds,
            "proved_problems": len(self.snapshot.trees),
            "closed_leaves": sum(len(tree.closed) for tree in partial),
            "open_leaves": sum(len(tree.open) for tree in partial),
        }


class Keeper:
    """Writes checkpoints to ``path`` (None: nowhere), now and then, whole or not at all."""

    def __init__(self, path: str | os.PathLike[str] | None, binding: Binding) -> None:
        self._path = None if path is None else Path(path)
        self._binding = binding
        self._next = time.monotonic() + INTERVAL
        self.exists = False
        self.error = ""
        if self._path is not None:
            check_writable(self._path, "checkpoint")

    def load(self) -> Checkpoint | None:
        """What was saved, if anything was. Raises InputError if the file is no checkpoint of this query."""
        if self._path is None or not self._path.exists():
            return None
        self.exists = True
        return _read(self._path, self._binding)

    def save(self, make: Callable[[], Checkpoint], *, now: bool = False) -> None:
        """Save what ``make`` returns, if it is time, or ``now``. A disk that is full does not end a search: see ``error``."""
        begin = time.monotonic()
        if self._path is None or (begin < self._next and not now):
            return
        try:
            write_whole(self._path, _pack(make(), self._binding), "checkpoint")
            self.exists, self.error = True, ""
        except InputError as error:
            self.error = str(error)
        end = time.monotonic()
        self._next = end + max(INTERVAL, (end - begin) / SHARE)


# the file: safetensors, whose metadata have a digest of everything else


def _pack(checkpoint: Checkpoint, binding: Binding) -> bytes:
    from safetensors.numpy import save

    snapshot = checkpoint.snapshot
    lower, shares = sorted(snapshot.lower.items()), sorted(snapshot.open_shares.items())
    tensors = {
        "lower": np.array([bound for _, bound in lower], dtype=float),
        "lower_of": np.array([index for index, _ in lower], dtype=np.int64),
        "open_share": np.array([share for _, share in shares], dtype=float),
        "open_share_of": np.array([index for index, _ in shares], dtype=np.int64),
        "best": checkpoint.best,
        "place": np.array(snapshot.place, dtype=np.int64),
        "attempt": np.array([checkpoint.attempt], dtype=np.int64),
        "seconds": np.array([checkpoint.seconds]),
        **_columns("tree", snapshot.trees),
        **_columns("partial", snapshot.partial),
    }
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    header = {"format": FAMILY + VERSION, **vars(binding)}
    return save(tensors, metadata={**header, "digest": _digest(header, tensors)})


def _columns(kind: str, trees: dict[int, Any]) -> dict[str, np.ndarray]:
    """Arrays by name, those of refinements with a dot: ``tree/3/0.slopes``."""
    columns: dict[str, np.ndarray] = {}
    for i, tree in trees.items():
        refinements = getattr(tree, "refinements", ())
        columns |= {f"{kind}/{i}/{c.name}": getattr(tree, c.name) for c in fields(tree) if c.name != "refinements"}
        columns |= {f"{kind}/{i}/{t}.{part}": getattr(r, part) for t, r in enumerate(refinements) for part in PARTS}
    return columns


def _digest(header: dict[str, str], tensors: dict[str, np.ndarray]) -> str:
    shapes = {name: [array.dtype.str, *array.shape] for name, array in sorted(tensors.items())}
    digest = hashlib.sha256(json.dumps([sorted(header.items()), shapes]).encode())
    for name in shapes:
        digest.update(tensors[name].data if tensors[name].size else b"")
    return digest.hexdigest()


def _read(path: Path, binding: Binding) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    damaged = f"The checkpoint {path} is damaged, or no checkpoint; delete it to start anew."
    try:
        data = path.read_bytes()
        header = _header(data)
        tensors = load(data)
    except OSError as error:
        raise InputError(f"The checkpoint {path} cannot be read: {error.strerror}.") from None
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(damaged) from None
    _check_header(header, path, binding, damaged)
    digest = header.pop("digest", "")
    if digest != _digest(header, tensors):
        raise InputError(damaged)
    try:
        return _unpack(tensors)
    except (ValueError, KeyError, IndexError, TypeError):
        raise InputError(damaged) from None


def _header(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    if not isinstance(metadata, dict):
        raise ValueError("no metadata")
    return metadata


def _check_header(header: dict[str, str], path: Path, binding: Binding, damaged: str) -> None:
    version = header.get("format", "")
    if not version.startswith(FAMILY):
        raise InputError(damaged)
    if version != FAMILY + VERSION:
        raise InputError(f"The checkpoint {path} has the unknown version '{version}'; delete it to start anew.")
    for name, value in vars(binding).items():
        if header.get(name) != value:
            what = name.replace("_", " ")
            raise InputError(
                f"The checkpoint {path} belongs to another {what}; use the one it was made with, or another file."
            )


def _unpack(tensors: dict[str, np.ndarray]) -> Checkpoint:
    if np.isnan(tensors["lower"]).any():
        raise ValueError("a bound is no number")
    if not ((tensors["open_share"] >= 0) & (tensors["open_share"] <= 1 + 1e-9)).all():
        raise ValueError("a share is none")
    lower = dict(zip(tensors["lower_of"].tolist(), tensors["lower"].tolist(), strict=True))
    shares = dict(zip(tensors["open_share_of"].tolist(), tensors["open_share"].tolist(), strict=True))
    trees = {i: _tree(columns) for i, columns in _by_problem("tree", tensors).items()}
    partial = {i: PartialTree(**columns) for i, columns in _by_problem("partial", tensors).items()}
    for tree in partial.values():
        tree.check()
    snapshot = Snapshot(trees, partial, lower, shares, tuple(tensors["place"].tolist()))
    return Checkpoint(snapshot, int(tensors["attempt"][0]), tensors["best"], float(tensors["seconds"][0]))


def _tree(columns: dict[str, np.ndarray]) -> ProofTree:
    parts = {name: columns.pop(name) for name in list(columns) if "." in name}
    count = len(parts) // len(PARTS)
    refinements = tuple(Refinement(**{part: parts[f"{t}.{part}"] for part in PARTS}) for t in range(count))
    return ProofTree(**columns, refinements=refinements)


def _by_problem(kind: str, tensors: dict[str, np.ndarray]) -> dict[int, dict[str, np.ndarray]]:
    found: dict[int, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        if name.startswith(f"{kind}/"):
            _, index, column = name.split("/")
            found.setdefault(int(index), {})[column] = array
    return found
