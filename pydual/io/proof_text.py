"""The text of a proof that another tool wrote."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

from pydual.errors import InputError
from pydual.io.paths import as_path

MAX_BYTES = 2**25  # of text that is kept; as JSON it may take 25 times as much memory
CHUNK = 2**22
_VECTOR = re.compile(
    rb"(?:\{\s{0,9}\"var\"\s{0,9}:\s{0,9}[0-9]+\s{0,9},\s{0,9}\"val\"\s{0,9}:\s{0,9}[-+.0-9eE]+\s{0,9}\}\s{0,9},?\s{0,9}){1,1000}"
)


def read_proof_text(path: str | os.PathLike[str]) -> str:
    """The file as text; InputError if it cannot be read, is no text, or has more than 32 MiB.

    A proof of Marabou, which may have gigabytes, is read without the multipliers in it: after the word ``constraints`` the
    entries ``{"var": 3, "val": 0.5}`` of vectors are left out, and what remains must fit.
    """
    file = as_path(path, "proof.aptp")
    try:
        if Path(file).is_dir():
            raise InputError(f"{file} is a directory; name a proof file.")
        with open(file, "rb") as stream:
            data = stream.read(CHUNK)
            if data.lstrip()[:1] == b"{":
                data = _without_vectors(file, stream, data)
            else:
                data = _bounded(file, data + stream.read(MAX_BYTES))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file} is not a text file; give an APTP file, a JSON proof of Marabou, or a result.") from None


def _bounded(file: Path, data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise InputError(f"{file} has more than {MAX_BYTES} bytes to be kept; split the property, or import the verdict.")
    return data


def _without_vectors(file: Path, stream: BinaryIO, rest: bytes) -> bytes:
    """The file in chunks; each is cut before an opening brace, so that it contains whole entries only."""
    while b'"constraints"' not in rest[-CHUNK - 20 :] and (chunk := stream.read(CHUNK)):
        rest = _bounded(file, rest + chunk)
    begin = max(rest.find(b'"constraints"'), 0)
    kept, total = [rest[:begin]], begin
    rest = rest[begin:]
    while chunk := stream.read(CHUNK):
        rest = _bounded(file, rest + chunk)
        cut = max(rest.rfind(b"{"), 0)
        kept.append(_VECTOR.sub(b"", rest[:cut]))
        total += len(kept[-1])
        if total > MAX_BYTES:
            return _bounded(file, b"".join(kept))
        rest = rest[cut:]
    return _bounded(file, b"".join([*kept, _VECTOR.sub(b"", rest)]))
