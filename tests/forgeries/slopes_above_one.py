"""A lower line of slope above 1 cuts off the inputs above its neuron's zero: it would prove too much."""

import numpy as np
from forging import with_columns, with_entry

REASON = "slope"
FORGERIES = {
    "by one bit": with_entry("slopes", (0, 0), np.nextafter(1.0, 2.0)),
    "in float32": with_columns(slopes=np.array([[0.5], [1.0000001]], np.float32)),
    "a byte above 128": with_columns(slopes=np.array([[129], [64]], np.uint8)),
    "the greatest float": with_entry("slopes", (0, 0), np.finfo(float).max),
}
