"""The metadata are these five strings, once each, in one spelling: nothing is guessed, and nothing left over."""

from forging import in_header, in_metadata

REASON = "is not a certificate"
SPELLINGS = ("02", " 2", "2 ", "+2", "2.0", "2e0", "", "two", "1_0", "\u0662", "\uff12", "\u00b2", "0b10", "2\n", "2\0")
FORGERIES = {
    **{f"{count!r} problems": in_metadata(problems=count) for count in SPELLINGS},
    **{f"{name} as {value!r}": in_metadata(**{name: value})
       for name in ("network", "problems", "arithmetic") for value in (None, 2, True, 2.0, ["2"], {"2": 2})},
    **{f"without {name}": in_header(lambda h, name=name: h["__metadata__"].pop(name))
       for name in ("format", "network", "query", "arithmetic", "problems")},
    "without any": in_header(lambda h: h.pop("__metadata__")),
    "one more": in_metadata(accepted="true"),
    "another version": in_metadata(format="pydual-certificate-2"),
    "the format of others": in_metadata(format="pt"),
    "under another name": in_header(lambda h: h.update({"__Metadata__": h.pop("__metadata__")})),
}  # fmt: skip
