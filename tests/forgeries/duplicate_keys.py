"""Of two values of one key, one reader takes the first and another the last: two certificates in one file."""

from forging import SPLITS, in_text, joined, parts

REASON = "is not a certificate"
TEXT, DATA = parts(SPLITS.file)
ENTRY = TEXT[TEXT.index(b'"1/multipliers"') : TEXT.index(b"}", TEXT.index(b'"1/multipliers"')) + 1]
METADATA = TEXT[TEXT.index(b'"__metadata__"') : TEXT.index(b"}") + 1]

FORGERIES = {
    "a tensor twice": in_text(ENTRY, ENTRY + b", " + ENTRY),
    "a tensor twice, spelled otherwise": in_text(ENTRY, ENTRY + b", " + ENTRY.replace(b"1/m", rb"\u0031/m")),
    "metadata twice": in_text(METADATA, METADATA + b", " + METADATA),
    "metadata at both ends": lambda true: joined(TEXT[:-1] + b", " + METADATA + b"}", DATA),
    "empty metadata before": in_text(METADATA, b'"__metadata__": {}, ' + METADATA),
    "a type twice": in_text(b'"dtype": "F64"', b'"dtype": "F32", "dtype": "F64"'),
    "offsets twice": in_text(b'"data_offsets": [0,', b'"data_offsets": [0, 1], "data_offsets": [0,'),
    "a digest twice": in_text(b'"network"', b'"network": "", "network"'),
    "a digest twice, spelled otherwise": in_text(b'"network"', rb'"n\u0065twork": "", "network"'),
    "a count twice": in_text(b'"problems": "2"', b'"problems": "2", "problems": "2"'),
}
