"""A code of no meaning in this version may have one in another: it is never skipped."""

from forging import with_entry

REASON = "'kind'|kind is unknown|'anchor'|'lines'"
FORGERIES = {
    "a node of kind 7": with_entry("kind", 6, 7),
    "a node of kind 255": with_entry("kind", 0, 255),
    "anchor 4": with_entry("anchor", 1, 4),
    "anchor 255": with_entry("anchor", 2, 255),
    "a rule for lines that is not there": with_entry("lines", 3, -4),
    "the least rule": with_entry("lines", 3, -(2**31)),
    "a row of slopes that is not there": with_entry("lines", 0, 2),
    "the last row of all": with_entry("lines", 0, 2**31 - 1),
}
