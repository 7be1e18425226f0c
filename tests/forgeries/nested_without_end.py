"""Brackets in brackets in brackets, for readers that go down by recursion."""

from forging import Forge, in_text, joined, parts

REASON = "is not a certificate"


def header(text: bytes) -> Forge:
    return lambda true: joined(text, parts(true.file)[1])


FORGERIES = {
    "lists": header(b"[" * 10**6),
    "objects": header(b'{"a":' * 10**6),
    "lists in a member": header(b'{"0/kind": ' + b"[" * 10**6 + b"]" * 10**6 + b"}"),
    "lists in a shape": in_text(b'"shape": [7]', b'"shape": ' + b"[" * 450 + b"]" * 450),
    "objects in a tensor": in_text(b'"shape": [7]', b'"shape": ' + b'{"a":' * 10**5 + b"7" + b"}" * 10**5),
    "a string without end": header(b'{"' + b"a" * 10**6),
    "escapes without end": header(b'{"' + b"\\" * 10**6),
    "members without a tensor": header(b'{"a":{},' * 10**5 + b'"b":{}}'),
}
