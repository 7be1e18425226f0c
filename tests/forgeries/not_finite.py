"""NaN compares with nothing and infinity absorbs everything, so no inequality holds for them."""

import numpy as np
from forging import with_entry

REASON = "'(slopes|multipliers|split_multipliers|threshold)'|slope"
PLACES = {"slopes": (0, 0), "multipliers": (0, 0), "split_multipliers": 0, "threshold": 0}
PAYLOAD = np.array(0xFFF0_0000_0000_0001, np.uint64).view(np.float64)
FORGERIES = {
    f"{value} in {name}": with_entry(name, at, value)
    for name, at in PLACES.items()
    for value in (np.nan, -np.nan, PAYLOAD, np.inf, -np.inf)
}
