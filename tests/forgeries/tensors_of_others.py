"""Nine tensors for each problem, of these names and no others: one that is not read might say something else."""

from forging import in_header

REASON = "is not a certificate"


def more(name: str):
    return in_header(lambda h: h.update({name: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}))


def renamed(old: str, new: str):
    return in_header(lambda h: h.update({new: h.pop(old)}))


MORE = ("2/kind", "0/phase", "kind", "", "0/", "-1/kind", "0/kind ", "0/kind\0")
INSTEAD = ("01/kind", "1.0/kind", "+1/kind", "1 /kind", "\u0661/kind", "2/kind", "1//kind", "1/Kind", "1\\/kind", "1/k" * 50)
FORGERIES = {
    **{f"one more: {name!r}": more(name) for name in MORE},
    **{f"{new!r} for '1/kind'": renamed("1/kind", new) for new in INSTEAD},
    "problems from 1 on": in_header(lambda h: [h.update({"2" + k[1:]: h.pop(k)}) for k in [*h] if k[:2] == "0/"]),
    "one is missing": in_header(lambda h: h.pop("1/slopes")),
    "a member too many": in_header(lambda h: h["1/kind"].update(compressed="zlib")),
    "a member is missing": in_header(lambda h: h["1/kind"].pop("dtype")),
    "a list": in_header(lambda h: h.update({"1/kind": []})),
    "nothing": in_header(lambda h: h.update({"1/kind": None})),
}  # fmt: skip
