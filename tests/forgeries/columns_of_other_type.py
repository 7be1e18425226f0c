"""Bytes that are read as another type are other numbers: each column has its types, and no others."""

from forging import in_column, in_entry

REASON = "type|its header is not one"
TYPES = {
    "kind": ("int8", "int32", "bool", "float64"),
    "index": ("int64", "uint8", "uint32", "float32", "float64"),
    "threshold": ("float32", "int64", "complex64"),
    "anchor": ("int32", "bool", "int8"),
    "lines": ("int64", "int8", "int16", "uint32"),
    "slopes": ("float16", "int8", "uint64", "bool"),
    "slope_neurons": ("int64", "uint32", "uint16"),
    "multipliers": ("float16", "int32", "complex64", "bool"),
    "split_multipliers": ("uint8", "float16", "int64"),
}
FORGERIES = {
    **{f"{n} as {t}": in_column(n, lambda column, t=t: column.astype(t)) for n, types in TYPES.items() for t in types},
    **{f"the type {dtype!r}": in_entry("1/multipliers", dtype=dtype)
       for dtype in (">F64", "f64", "F64 ", "", "float64", "BF16", "F8_E4M3", 5, None, ["F64"], {})},
}  # fmt: skip
