"""The text of a proof that another tool wrote."""

from __future__ import annotations

import os
from pathlib import Path

from pydual.errors import InputError
from pydual.io.paths import as_path

MAX_BYTES = 2**26


def read_proof_text(path: str | os.PathLike[str]) -> str:
    """The file as text; InputError if it cannot be read, is no text, or has more than 64 MiB."""
    file = as_path(path, "proof.aptp")
    try:
        if Path(file).is_dir():
            raise InputError(f"{file} is a directory; name a proof file.")
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{file} has more than {MAX_BYTES} bytes; split the property, or import only the verdict.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file} is not a text file; give an APTP file, a JSON proof of Marabou, or a result.") from None
