"""A column that is too short is read beyond its end, one that is too long has numbers that nobody checks."""

import numpy as np
from forging import in_column

REASON = "'[a-z_]+'|column|the tree|The tree|kind"
COLUMNS = ("kind", "index", "threshold", "anchor", "lines", "slope_neurons", "multipliers", "split_multipliers")
CHANGES = {
    "cut short": lambda column: column[:-1],
    "too long": lambda column: np.concatenate([column, column[-1:]]),
    "empty": lambda column: column[:0],
}
FORGERIES = {f"{name} {what}": in_column(name, change) for name in COLUMNS for what, change in CHANGES.items()}
