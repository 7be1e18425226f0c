"""Certificate files for the exact audit: the safetensors container, read column by column. Standard library only.

PROOFS.md, section 7, describes it. Nothing is allocated that the size of the file does not justify, and rows are read when
they are asked for: ``open_proof`` followed by ``audit_exact`` needs memory for the header and a few pieces of columns.
"""

from __future__ import annotations

import json
import os
import re
import struct
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from stat import S_ISREG
from types import SimpleNamespace
from typing import Any, BinaryIO

from pydual.errors import CertificateError

LONGEST_HEADER = 100_000_000
MAGIC = "pydual-certificate-1"
METADATA = ("format", "network", "query", "arithmetic", "problems")
COLUMNS = ("kind", "index", "threshold", "anchor", "lines", "slopes", "slope_neurons", "multipliers", "split_multipliers")
# of a tree with Gram leaves, with Sos leaves, and with ball leaves: a type and a shape where the file has none
NO_PRODUCTS = {"products": ("I32", [0, 2]), "product_multipliers": ("F32", [0]), "product_counts": ("I32", [0])}
NO_SQUARES = {
    "sos_sizes": ("I32", [0, 2]),
    "sos_variables": ("I32", [0]),
    "sos_terms": ("I32", [0, 3]),
    "sos_coefficients": ("F64", [0]),
}
NO_CURVATURES = {"curvatures": ("F64", [0, 0]), "norms": ("F64", [0])}
GRAM_COLUMNS, SOS_COLUMNS, BALL_COLUMNS = tuple(NO_PRODUCTS), tuple(NO_SQUARES), tuple(NO_CURVATURES)
PARTS = ("lines", "slopes", "neurons", "case_trees", "case_splits", "case_multipliers")  # of a refinement
DTYPES = {"U8": ("uint8", "B"), "I32": ("int32", "i"), "F32": ("float32", "f"), "F64": ("float64", "d")}
# one member of the header, whose value has no braces inside, and what follows it; short, so that no value nests deeply
_MEMBER = re.compile(r'\s*"([^"\\]{1,100})"\s*:\s*(\{[^{}]{0,1000}\})\s*([,}])')


class FileColumn:
    """A tensor in a file; a slice of it reads its entries or rows, as a list. Other than the shape, nothing is held.

    ``begin`` and ``size`` are its place in the file, in bytes; ``across`` is the number of entries in a row, or 1.
    """

    def __init__(self, file: BinaryIO, start: int, entry: Any) -> None:
        dtype, shape, offsets = (entry.get(member) for member in ("dtype", "shape", "data_offsets"))
        _need(type(dtype) is str and dtype in DTYPES and len(entry) == 3, "a tensor has another type, or other members.")
        _need(type(shape) is list and type(offsets) is list, "a shape or a pair of offsets is not a list.")
        numbers = all(type(n) is int and 0 <= n < 2**63 for n in shape + offsets)
        _need(
            numbers and len(shape) in (1, 2) and len(offsets) == 2, "a tensor has not one or two dimensions and two offsets."
        )
        (self.dtype, self._code), self.shape, self.across = DTYPES[dtype], tuple(shape), prod(shape[1:])
        self._width = struct.calcsize(f"<{self._code}")
        self.file, self.begin, self.size = file, start + offsets[0], self._width * prod(shape)
        _need(offsets[1] - offsets[0] == self.size, "a tensor's shape does not fit its bytes.")

    def __getitem__(self, rows: slice) -> list[Any]:
        across, count = self.across, max(0, min(rows.stop, self.shape[0]) - rows.start)
        try:
            self.file.seek(self.begin + rows.start * across * self._width)
            flat = struct.unpack(f"<{count * across}{self._code}", self.file.read(count * across * self._width))
        except (OSError, ValueError, struct.error):
            raise CertificateError("The certificate's file was cut or closed while it was read.") from None
        return list(flat) if len(self.shape) == 1 else [list(flat[i * across : (i + 1) * across]) for i in range(count)]


@dataclass(frozen=True)
class FileProof(AbstractContextManager["FileProof"]):
    """A certificate whose columns stay in its file; use it in a ``with`` statement, which closes it."""

    file: BinaryIO
    network: str
    query: str
    arithmetic: str
    trees: tuple[Any, ...]  # each with its columns as attributes
    refinements: tuple[Any, ...]  # likewise

    def __exit__(self, *_: object) -> None:
        self.file.close()


def open_proof(path: str | os.PathLike[str]) -> FileProof:
    """Open a certificate file for an audit. Raises CertificateError if it is none (PROOFS.md, section 7)."""
    try:
        status = os.stat(path)
        if not S_ISREG(status.st_mode):
            raise CertificateError(f"{path} is not a file; give the path of a certificate.")
        file = open(path, "rb")  # noqa: SIM115 (the proof that is returned closes it)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"{path} cannot be read: {error}.") from None
    try:
        return _proof(file, status.st_size)
    except (CertificateError, OSError) as error:
        file.close()
        raise CertificateError(f"{path} is not a certificate: {error}") from None


def _proof(file: BinaryIO, size: int) -> FileProof:
    length = int.from_bytes(file.read(8), "little")
    _need(size >= 8 and length <= min(size - 8, LONGEST_HEADER), "its header is longer than the file or 100 MB.")
    header, start = file.read(length), 8 + length
    _need(len(header) == length and header.isascii(), "its header is not ASCII, or it ends inside of it.")
    members = _members(header.decode())
    metadata = members.pop("__metadata__", {})
    columns = {name: FileColumn(file, start, entry) for name, entry in members.items()}
    known = set(metadata) == set(METADATA) and all(type(text) is str for text in metadata.values())
    _need(known and metadata["format"] == MAGIC, f"its metadata must be {', '.join(METADATA)}, the format '{MAGIC}'.")
    for begin, width in sorted((column.begin, column.size) for column in columns.values()):
        _need(begin == start, "its tensors overlap or leave a gap.")
        start += width
    _need(start == size, "its tensors do not fill the file.")
    trees = tuple(_tree(columns, number, file) for number in range(sum(name.endswith("/kind") for name in columns)))
    refined = sum(name.startswith("refinement/") for name in columns)
    refinements = tuple(_group(columns, f"refinement/{number}", PARTS) for number in range(refined // len(PARTS)))
    _need(not columns and metadata["problems"] == str(len(trees)), "it has other tensors than those of its problems.")
    return FileProof(file, metadata["network"], metadata["query"], metadata["arithmetic"], trees, refinements)


def _tree(columns: dict[str, FileColumn], number: int, file: BinaryIO) -> Any:
    """Takes the columns of a tree out; those of leaves of other kinds than linear ones are empty where the file has none."""
    tree = vars(_group(columns, str(number), COLUMNS))
    for empty, count, what in (
        (NO_PRODUCTS, "product_counts", "products"),
        (NO_SQUARES, "sos_sizes", "squares"),
        (NO_CURVATURES, "curvatures", "balls"),
    ):
        if f"{number}/{count}" in columns:
            tree |= vars(_group(columns, str(number), tuple(empty)))
            _need(tree[count].shape[0] > 0, f"a tree has tensors of {what}, but no leaf with any.")
        else:
            entries = {n: {"dtype": code, "shape": shape, "data_offsets": [0, 0]} for n, (code, shape) in empty.items()}
            tree |= {name: FileColumn(file, 0, entry) for name, entry in entries.items()}
    return SimpleNamespace(**tree)


def _group(columns: dict[str, FileColumn], prefix: str, names: tuple[str, ...]) -> Any:
    """Takes the columns ``prefix/name`` out, as attributes of an object."""
    _need(all(f"{prefix}/{name}" in columns for name in names), "a tensor is missing.")
    return SimpleNamespace(**{name: columns.pop(f"{prefix}/{name}") for name in names})


def _members(text: str) -> dict[str, dict[str, Any]]:
    """The names and objects of the header; each is read on its own, so that no other JSON than theirs takes memory."""
    members: list[tuple[str, dict[str, Any]]] = []
    position, following = 1, "," if text.startswith("{") else ""
    while following == ",":
        member: Any = _MEMBER.match(text, position)
        _need(member is not None, f"its header is not one of a certificate, at byte {position}.")
        try:
            members.append((member[1], json.loads(member[2], object_pairs_hook=_unique)))
        except (ValueError, RecursionError):
            raise CertificateError(f"the member {member[1]!r} of its header is not JSON.") from None
        position, following = member.end(), member[3]
    _need(following == "}" and not text[position:].strip(" "), "its header is not one JSON object.")
    return _unique(members)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    _need(len(found) == len(pairs), "a name occurs twice in its header.")
    return found


def _need(condition: bool, complaint: str) -> None:
    if not condition:
        raise CertificateError(complaint)
