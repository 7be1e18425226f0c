"""Tokens that JSON does not have, or numbers that are no integers, where the header must have a count."""

from forging import in_entry, in_text

REASON = "is not a certificate"
SHAPE = b'"shape": [7]'
FORGERIES = {
    **{token: in_text(SHAPE, b'"shape": [%s]' % token.encode())
       for token in ("NaN", "Infinity", "-Infinity", "7.0", "7e0", "0.7e1", "+7", "07", "0x7", "7_0", "true", "null", '"7"',
                     "[7]", "{}", "1" * 900, "-0", "7,", "1e999", "")},
    **{f"the offset {value!r}": in_entry("0/kind", data_offsets=[0, value])
       for value in (7.0, True, None, "7", [7], 2**64 + 7, 10**300, -7)},
    **{f"{value!r} for offsets": in_entry("0/kind", data_offsets=value) for value in ([], [0], [0, 7, 7], None, 7, {"0": 7})},
    **{f"{value!r} for a shape": in_entry("0/kind", shape=value) for value in ([], [1, 7, 1], None, 7, "7", {"7": 7})},
}  # fmt: skip
