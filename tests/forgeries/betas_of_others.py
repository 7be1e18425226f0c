"""Each leaf has one multiplier for each split above it: with more or fewer, they would be those of other splits."""

import numpy as np
from forging import in_column

REASON = "split_multipliers|column is longer"
FORGERIES = {
    "the last one is missing": in_column("split_multipliers", lambda b: b[:-1]),
    "all are missing": in_column("split_multipliers", lambda b: b[:0]),
    "one too many": in_column("split_multipliers", lambda b: np.append(b, 0.0)),
    "twice as many": in_column("split_multipliers", lambda b: np.append(b, b)),
}
