"""The header is ASCII without tricks: NUL bytes, marks and other encodings end or hide text for some readers."""

from forging import Forge, Question, in_text, joined, parts

REASON = "is not a certificate|digests differ"


def encoded(change) -> Forge:
    def forge(true: Question) -> bytes:
        text, data = parts(true.file)
        return joined(change(text), data)

    return forge


FORGERIES = {
    "NUL after it": encoded(lambda text: text + b"\0"),
    "NUL before it": encoded(lambda text: b"\0" + text),
    "NUL in a name": in_text(b'"0/kind"', b'"0/kind\0"'),
    "NUL between members": in_text(b', "0/index"', b',\0"0/index"'),
    "only NUL": encoded(lambda text: bytes(len(text))),
    "NUL in a digest": in_text(b'"network": "', b'"network": "\\u0000'),
    "half a surrogate in a digest": in_text(b'"network": "', b'"network": "\\ud800'),
    "bytes above 127": in_text(b'"0/kind"', b'"0/k\xffnd"'),
    "a byte order mark": encoded(lambda text: b"\xef\xbb\xbf" + text),
    "UTF-16": encoded(lambda text: text.decode().encode("utf-16")),
    "line ends after it": encoded(lambda text: text + b"\n"),
    "another object after it": encoded(lambda text: text + b"{}"),
    "a space before it": encoded(lambda text: b" " + text),
    "a comment": in_text(b', "0/index"', b', /* */ "0/index"'),
    "a comma too many": encoded(lambda text: text[:-1] + b",}"),
    "a list of it": encoded(lambda text: b"[" + text + b"]"),
    "single quotes": encoded(lambda text: text.replace(b'"', b"'")),
}
