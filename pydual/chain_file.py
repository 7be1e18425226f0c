"""The certificate of a composed question: a file that holds those of its lemmas. PROOFS.md, section 11, specifies it."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydual.certificate import REAL, Proof
from pydual.errors import CertificateError
from pydual.whole_file import write_whole

FORMAT = b"pydual-chain-1"
THE_BEGINNING = (1980, 1, 1, 0, 0, 0)  # a fixed date: the same proofs are the same file


@dataclass(frozen=True, eq=False)
class ChainProof:
    """Certificates by the names of the lemmas that they prove."""

    lemmas: Mapping[str, Proof]

    arithmetic = REAL

    @property
    def leaves(self) -> int:
        return sum(proof.leaves for proof in self.lemmas.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; it appears whole or not at all."""
        file = BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = FORMAT
            for name, proof in self.lemmas.items():
                archive.writestr(zipfile.ZipInfo(_member(name), THE_BEGINNING), proof.packed())
        write_whole(path, file.getvalue(), "certificate")


@contextmanager
def open_lemmas(certificate: Any, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """What proves the lemmas of these names: proofs, or the paths of certificate files that exist until the block ends.

    ``certificate`` is a ``ChainProof`` or the path of a file. Raises CertificateError if it has other lemmas, or is none.
    """
    if isinstance(certificate, ChainProof):
        _check_names(list(certificate.lemmas), list(names))
        yield certificate.lemmas
    elif isinstance(certificate, (str, os.PathLike)):
        with TemporaryDirectory() as folder:
            yield _unpacked(certificate, names, Path(folder))
    else:
        raise CertificateError(f"A {type(certificate).__name__} does not prove a chain; give the certificate of a chain.")


def is_chain(path: str | os.PathLike[str]) -> bool:
    """Whether the file looks like that of a chain."""
    try:
        if not Path(path).is_file():  # a pipe would have to be waited for
            return False
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except (OSError, ValueError):
        return False


def _unpacked(path: str | os.PathLike[str], names: Sequence[str], folder: Path) -> Mapping[str, Path]:
    try:
        if not Path(path).is_file():
            raise OSError("there is no such file")
        with zipfile.ZipFile(path) as archive:
            if archive.comment != FORMAT:
                raise CertificateError(f"{path} is not a certificate of format {FORMAT.decode()}.")
            _check_names([info.filename for info in archive.infolist()], [_member(name) for name in names])
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise CertificateError(f"{path} is compressed; a chain stores them as they are.")
            for name in names:
                with archive.open(_member(name)) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise CertificateError(f"{path} is not a readable certificate of a chain: {error}") from None
    return {name: folder / name for name in names}


def _check_names(found: list[str], wanted: list[str]) -> None:
    if found != wanted:
        raise CertificateError(f"The chain has the lemmas {', '.join(found) or 'none'}; the question has {', '.join(wanted)}.")


def _member(name: str) -> str:
    return f"{name}.cert"
