"""A cell of infinitely many points cannot be enumerated, whatever it is called."""

from forging import with_entry

REASON = "infinitely many points"
FORGERIES = {"a leaf that lists a box": with_entry("kind", 6, 5)}
