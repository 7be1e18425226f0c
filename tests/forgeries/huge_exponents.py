"""Numbers at the ends of float64 overflow or vanish in the audit's arithmetic; still nothing false is proven."""

import numpy as np
from forging import REACHED, SPLITS, in_column

QUESTION, AGAINST = SPLITS, REACHED
REASON = "bound"
MOST, LEAST = np.finfo(float).max, 5e-324


def everywhere(value):
    return lambda column: np.full_like(column, value)


FORGERIES = {
    "huge multipliers": in_column("multipliers", everywhere(MOST)),
    "tiny multipliers": in_column("multipliers", everywhere(LEAST)),
    "huge betas": in_column("split_multipliers", everywhere(MOST)),
    "tiny betas": in_column("split_multipliers", everywhere(LEAST)),
    "tiny slopes": in_column("slopes", everywhere(LEAST)),
    "a huge threshold": in_column("threshold", everywhere(MOST)),
    "a huge negative threshold": in_column("threshold", everywhere(-MOST)),
    "a tiny threshold": in_column("threshold", everywhere(-LEAST)),
    "multipliers of both kinds": in_column("multipliers", lambda m: np.full_like(m, MOST) * [1.0, 2.0**-1024]),
}
