"""A lower line of slope below 0 lies above the relu on the left: it would prove too much."""

import numpy as np
from forging import with_columns, with_entry

REASON = "slope"
FORGERIES = {
    "by the least number": with_entry("slopes", (0, 0), -5e-324),
    "in float32": with_columns(slopes=np.array([[0.5], [-0.25]], np.float32)),
    "by much": with_entry("slopes", (1, 0), -1e300),
}
