"""Counts of more than the file can hold: they are believed only as far as there are bytes for them."""

from forging import in_entry, in_header, in_metadata

REASON = "is not a certificate|'(slopes|lines|multipliers|slope_neurons|kind)'|'slope_neurons'|slopes"
SHAPES = [
    [2**62, 4], [2**63 - 1], [2**63], [2**64], [2**64 + 1], [2**32, 2**32], [2**31, 2**33], [10**500], [-1], [-(2**63)],
    [7, -1], [2**61, 2**61], [0, 2**63], [2**62, 2],
]  # fmt: skip
FORGERIES = {
    **{f"the shape {str(shape)[:50]}": in_entry("1/multipliers", shape=shape) for shape in SHAPES},
    "2^62 rows without numbers": in_header(lambda h: h["1/multipliers"].update(shape=[2**62, 0], data_offsets=[0, 0])),
    "2^62 empty slopes": in_header(lambda h: h["1/slopes"].update(shape=[0, 2**62], data_offsets=[0, 0])),
    **{f"{count[:20]} problems": in_metadata(problems=count) for count in ("0", "3", "-1", "4294967298", "9" * 900, "1e9")},
    "a million problems": in_metadata(problems="1000000"),
    "ten thousand tensors": in_header(
        lambda h: h.update({f"{i}/kind": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(2, 10**4)})
    ),
}
