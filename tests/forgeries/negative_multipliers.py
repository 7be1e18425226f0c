"""A negative multiplier turns an inequality round: what follows from a catastrophe no longer does."""

from forging import with_entry

REASON = "'(split_)?multipliers'"
FORGERIES = {
    "of a margin": with_entry("multipliers", (3, 0), -1.0),
    "of a margin without need": with_entry("multipliers", (3, 1), -5e-324),
    "of a split": with_entry("split_multipliers", 0, -0.25),
}
