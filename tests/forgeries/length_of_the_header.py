"""The header's length says where the numbers begin: a wrong one moves them all, a huge one asks for memory."""

from forging import Forge, Question, joined, parts

REASON = "is not a certificate"


def saying(length: int, relative: bool = False) -> Forge:
    def forge(true: Question) -> bytes:
        text, data = parts(true.file)
        return joined(text, data, length + len(text) * relative)

    return forge


def padded(spaces: int) -> Forge:
    """A header with so many spaces in the middle."""

    def forge(true: Question) -> bytes:
        text, data = parts(true.file)
        return joined(text.replace(b", ", b"," + b" " * spaces, 1).rstrip(b"}"), data)

    return forge


FORGERIES = {
    **{f"{n}": saying(n) for n in (0, 1, 100_000_000, 100_000_001, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)},
    **{f"{n:+} bytes": saying(n, True) for n in (-8, -1, 1, 8, 1000)},
    "a million spaces and no end": padded(10**6),
}
