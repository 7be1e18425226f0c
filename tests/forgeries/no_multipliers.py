"""Where all multipliers are zero, the function is 0, and 0 > 0 is false: nothing is proven."""

import numpy as np
from forging import in_column, with_columns

REASON = "bound"
FORGERIES = {
    "zeros": in_column("multipliers", np.zeros_like),
    "negative zeros": in_column("multipliers", lambda m: -np.zeros_like(m)),
    "bytes": in_column("multipliers", lambda m: np.zeros_like(m, np.uint8)),
    "zeros for one leaf": with_columns(multipliers=[[1.0, 0.0]] * 3 + [[0.0, 0.0]]),
}
