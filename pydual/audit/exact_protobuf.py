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

    Inner messages are read when they are asked for; all those of a file share one budget of fields.
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
                    raise InputError("The file is no protocol buffer, or is damaged: a field has no end.")
                value, at = data[at : at + length], at + length
            self._spend(1)
            if key < 8:
                raise InputError("The file is no protocol buffer, or is damaged: a field has number 0.")
            self.fields.setdefault(key >> 3, []).append((wire, value))

    def _spend(self, fields: int) -> None:
        self.budget[0] -= fields
        if self.budget[0] < 0:
            raise InputError(f"A protocol buffer has more than {MAX_FIELDS} fields.")

    def _all(self, number: int, *wires: int) -> list[tuple[int, Any]]:
        found = self.fields.get(number, [])
        if any(wire not in wires for wire, _ in found):
            raise InputError(f"Field {number} of a protocol buffer has another type than ONNX gives it.")
        return found

    def _one(self, number: int, wire: int) -> Any:
        found = self._all(number, wire)
        if len(found) > 1:
            raise InputError(f"Field {number} of a protocol buffer is given twice, where ONNX has it once.")
        return found[0][1] if found else None

    def has(self, number: int) -> bool:
        return number in self.fields

    def messages(self, number: int) -> list[Message]:
        return [Message(value, self.budget) for _, value in self._all(number, 2)]

    def message(self, number: int) -> Message:
        """The message of a field that occurs at most once; empty if it does not."""
        return Message(self._one(number, 2) or memoryview(b""), self.budget)

    def data(self, number: int) -> memoryview | None:
        return self._one(number, 2)

    def text(self, number: int) -> str:
        return _text(self._one(number, 2) or b"")

    def texts(self, number: int) -> list[str]:
        return [_text(value) for _, value in self._all(number, 2)]

    def integer(self, number: int) -> int:
        """A signed integer; 0 if absent."""
        return _signed(self._one(number, 0) or 0)

    def integers(self, number: int) -> list[int]:
        """Signed integers, packed or one by one."""
        result = []
        for wire, value in self._all(number, 0, 2):
            at = 0
            while wire == 2 and at < len(value):
                self._spend(1)
                item, at = _varint(value, at)
                result.append(_signed(item))
            if wire == 0:
                result.append(_signed(value))
        return result

    def float32(self, number: int) -> float:
        """A float32 number; 0.0 if absent."""
        return struct.unpack("<f", self._one(number, 5) or bytes(4))[0]

    def floats(self, number: int, code: str = "f") -> list[float]:
        """Numbers of the ``struct`` code "f" or "d", packed or one by one."""
        size, found = struct.calcsize(code), self._all(number, 2, 5 if code == "f" else 1)
        if any(len(value) % size for _, value in found):
            raise InputError(f"Field {number} of a protocol buffer is no list of numbers.")
        return [v for _, value in found for v in struct.unpack(f"<{len(value) // size}{code}", value)]


def shown(text: object) -> str:
    """A few words of a file, on one line of ASCII, for a message."""
    return " ".join(str(text)[:60].split()).encode("ascii", "backslashreplace").decode()


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned 64-bit integer, seven bits a byte, the least first; and where it ends."""
    result = 0
    for shift in range(0, 70, 7):
        if at + shift // 7 >= len(data):
            break
        byte = data[at + shift // 7]
        result |= (byte & 127) << shift
        if byte < 128 and result < 1 << 64:
            return result, at + shift // 7 + 1
    raise InputError("The file is no protocol buffer, or is damaged: an integer has no end.")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(data: Any) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise InputError("The file is damaged: a name is no text.") from None
