"""The same numbers in another shape are other numbers: rows may be taken for columns."""

import numpy as np
from forging import in_column

REASON = "shape|dimensions|'(multipliers|slope_neurons)'"
FORGERIES = {
    "multipliers in one row": in_column("multipliers", np.ravel),
    "multipliers transposed": in_column("multipliers", lambda m: m.T.copy()),
    "multipliers for fewer margins": in_column("multipliers", lambda m: m[:, :-1].copy()),
    "multipliers for more margins": in_column("multipliers", lambda m: np.hstack([m, m])),
    "multipliers for no margins": in_column("multipliers", lambda m: m[:, :0].copy()),
    "slopes in three dimensions": in_column("slopes", lambda s: s[:, :, None]),
    "slopes in one": in_column("slopes", np.ravel),
    "kinds in two": in_column("kind", lambda k: k[None]),
    "an anchor for all nodes": in_column("anchor", lambda a: a[1].reshape(())),
    "a number for 'threshold'": in_column("threshold", lambda t: t[0].reshape(())),
    "a number for 'kind'": in_column("kind", lambda _: np.uint8(0).reshape(())),
}
