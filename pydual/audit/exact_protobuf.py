"""The exact audit's own reader of input files, gzipped or not, and of protocol buffers. Standard library only.

A protocol buffer message is a sequence of fields: a key ``8 * number + wire type``, then a value that the wire type
tells the length of (0: varint, 1: eight bytes, 2: a length and so many bytes, 5: four bytes). Whatever two readers might
understand differently is refused: a field of another wire type than its own, and a second value of a field that has one.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any

from pydual.errors import InputError

MAX_FILE_BYTES = 2**26  # after decompression
MAX_FIELDS = 2**20  # of all messages of a file, and integers in packed ones
WIRES = {"int": 0, "double": 1, "bytes": 2, "text": 2, "message": 2, "float": 5}
NUMBERS = ("int", "double", "float")


def read_input_file(path: str) -> bytes:
    """The bytes of a file, decompressed if gzipped. Raises InputError where that fails, or they are too many."""
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = (gzip.GzipFile(fileobj=file) if zipped else file).read(MAX_FILE_BYTES + 1)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); check the path, or compress it again.") from None
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{path} has more than {MAX_FILE_BYTES} bytes; use the installed package for it.")
    return data


class Message:
    """A message: for each field number its occurrences in order, as pairs (wire type, integer or bytes).

    The kind of a field is a key of ``WIRES``. Inner messages are read when they are asked for; all those of a file share
    one budget of fields.
    """

    def __init__(self, data: memoryview, budget: list[int] | None = None) -> None:
        self.budget = [MAX_FIELDS] if budget is None else budget
        self.fields: dict[int, list[tuple[int, Any]]] = {}
        at = 0
        while at < len(data):
            value: Any
            key, at = _varint(data, at)
            wire, length = key & 7, {1: 8, 5: 4}.get(key & 7)
            if wire == 0:
                value, at = _varint(data, at)
            else:
                if wire == 2:
                    length, at = _varint(data, at)
                if length is None or length > len(data) - at:
                    raise _damaged("a field has no end")
                value, at = data[at : at + length], at + length
            if key < 8:
                raise _damaged("a field has number 0")
            self._spend()
            self.fields.setdefault(key >> 3, []).append((wire, value))

    def has(self, number: int) -> bool:
        return number in self.fields

    def one(self, number: int, kind: str, default: Any = None) -> Any:
        """The value of a field that occurs at most once; a message that does not occur is an empty one."""
        found = self.all(number, kind, packed=False)
        if len(found) > 1:
            raise _damaged(f"field {number} is given twice, where ONNX has it once")
        if not found and kind == "message":
            return Message(memoryview(b""))
        return found[0] if found else default

    def all(self, number: int, kind: str, packed: bool = True) -> list[Any]:
        """The values of a field that may be repeated; numbers also come packed, several in one field."""
        result: list[Any] = []
        for wire, value in self.fields.get(number, []):
            if wire == 2 and packed and kind in NUMBERS:
                result += self._integers(value) if kind == "int" else _floats(value, kind)
            elif wire != WIRES[kind]:
                raise _damaged(f"field {number} has another type than ONNX gives it")
            elif kind == "message":
                result.append(Message(value, self.budget))
            else:
                result += _floats(value, kind) if wire in (1, 5) else [_text(value) if kind == "text" else value]
        return [_signed(v) for v in result] if kind == "int" else result

    def _integers(self, data: memoryview) -> list[int]:
        result, at = [], 0
        while at < len(data):
            self._spend()
            item, at = _varint(data, at)
            result.append(item)
        return result

    def _spend(self) -> None:
        self.budget[0] -= 1
        if self.budget[0] < 0:
            raise InputError(f"A protocol buffer has more than {MAX_FIELDS} fields.")


def shown(text: object) -> str:
    """A few words of a file, on one line of ASCII, for a message."""
    return " ".join(str(text)[:60].split()).encode("ascii", "backslashreplace").decode()


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned 64-bit integer, seven bits a byte, the least first; and where it ends."""
    result = 0
    for shift, byte in enumerate(data[at : at + 10]):
        result |= (byte & 127) << (7 * shift)
        if byte < 128 and result < 1 << 64:
            return result, at + shift + 1
    raise _damaged("an integer has no end")


def _floats(data: memoryview, kind: str) -> list[float]:
    code, size = ("d", 8) if kind == "double" else ("f", 4)
    if len(data) % size:
        raise _damaged("a list of numbers has no end")
    return list(struct.unpack(f"<{len(data) // size}{code}", data))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(data: Any) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise _damaged("a name is no text") from None


def _damaged(complaint: str) -> InputError:
    return InputError(f"The file is no protocol buffer of ONNX, or is damaged: {complaint}.")
