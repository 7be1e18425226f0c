"""JSON has no references, but offsets are some: tensors that share bytes, or point into the header or themselves."""

import json

from forging import Forge, Header, Question, in_header, in_text, joined, parts

REASON = "is not a certificate"


def offsets(name: str, begin: int, end: int) -> Forge:
    """Move the offsets of a tensor by numbers of bytes."""

    def change(header: Header) -> None:
        header[name]["data_offsets"] = [header[name]["data_offsets"][0] + begin, header[name]["data_offsets"][1] + end]

    return in_header(change)


def shared(first: str, second: str) -> Forge:
    """Two tensors of the same bytes; those of the second are cut out."""

    def forge(true: Question) -> bytes:
        text, data = parts(true.file)
        header = json.loads(text)
        begin, end = header[second]["data_offsets"]
        for entry in header.values():
            if "data_offsets" in entry and entry["data_offsets"][0] >= end:
                entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
        header[second] = header[first]
        return joined(json.dumps(header).encode(), data[:begin] + data[end:])

    return forge


FORGERIES = {
    "one problem's multipliers are its slopes": shared("0/slopes", "0/multipliers"),
    "two problems share a column": shared("0/split_multipliers", "1/split_multipliers"),
    "two problems share all of it": in_header(
        lambda h: h.update({k.replace("0/", "1/"): v for k, v in h.items() if k[:2] == "0/"})
    ),
    "a tensor begins in the one before": offsets("1/multipliers", -8, -8),
    "a tensor ends in the next": offsets("1/multipliers", 0, 8),
    "a tensor begins in the header": offsets("0/kind", -7, -7),
    "all of the header": offsets("0/kind", -(10**4), -7),
    "a gap before a tensor": offsets("1/multipliers", 8, 8),
    "a tensor after the end": offsets("1/split_multipliers", 10**9, 10**9),
    "an empty tensor in the middle of another": in_header(
        lambda h: h["0/index"].update(shape=[0], data_offsets=[h["0/index"]["data_offsets"][0] + 4] * 2)
    ),
    "it ends before it begins": in_header(lambda h: h["0/kind"].update(data_offsets=h["0/kind"]["data_offsets"][::-1])),
    "a reference as JSON schemas have it": in_header(lambda h: h.update({"1/kind": {"$ref": "#/1~1kind"}})),
    "a name for another": in_header(lambda h: h.update({"1/kind": "0/kind"})),
    "the header in itself": in_text(b'"0/kind": {', b'"0/kind": {"__metadata__": {}, '),
}
