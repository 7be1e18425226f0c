"""A file that ends early, or goes on, is not the one that was proven; whole headers and numbers only."""

import gzip

from forging import Forge

REASON = "is not a certificate"


def cut(end: int) -> Forge:
    return lambda true: true.file[:end]


FORGERIES = {
    "empty": cut(0),
    **{f"the first {n} bytes": cut(n) for n in (1, 7, 8, 9, 100, 1000)},
    **{f"all but {n} bytes": cut(-n) for n in (1, 8, 100, 400)},
    **{f"{n} bytes more": lambda true, n=n: true.file + bytes(n) for n in (1, 8, 10**6)},
    "another one after it": lambda true: 2 * true.file,
    "zipped": lambda true: gzip.compress(true.file),
    "only its numbers": lambda true: true.file[8 + int.from_bytes(true.file[:8], "little") :],
    "zeros": lambda true: bytes(len(true.file)),
    "ones": lambda true: b"\xff" * len(true.file),
}
