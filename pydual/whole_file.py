"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydual.errors import InputError


def write_whole(path: str | os.PathLike[str], data: bytes, what: str) -> None:
    """Write the file; it is on the disk before it has its name. Raises InputError, with ``what`` it is, where it cannot be."""
    with _partial(path, what) as partial:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


def check_writable(path: str | os.PathLike[str], what: str) -> None:
    """Raises InputError where ``write_whole`` would now; nothing is written."""
    with _partial(path, what) as partial:
        if Path(path).is_dir():
            raise IsADirectoryError(0, "it is a directory")
        partial.write_bytes(b"")


@contextmanager
def _partial(path: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """The place beside; what is there in the end is removed."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The {what} cannot be written to {path}: {reason}; choose another file.") from None
    finally:
        partial.unlink(missing_ok=True)
