"""A leaf below no anchor has no intervals that were derived for its cell, so no line of it is known to be right."""

from forging import EASY, in_column, with_entry

QUESTION = EASY
REASON = "the leaf has no anchor above it"
FORGERIES = {
    "anywhere": in_column("anchor", lambda anchor: 0 * anchor),
    "on the right": with_entry("anchor", 6, 0),
    "on the left": with_entry("anchor", 1, 0),
}
