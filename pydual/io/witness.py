"""Witnesses in the form of VNN-COMP: the input and output of an attack."""

from __future__ import annotations

import numpy as np

from pydual.errors import InputError
from pydual.region import float_vector


def witness_text(x: np.ndarray, y: np.ndarray) -> str:
    """The lines that follow ``sat``: one pair of name and value each, all inputs, then all outputs, row-major.

    Each number is the shortest decimal that reads back as exactly the same float64; a float32 value reads back as
    itself in either type. Raises InputError for NaN or infinity::

        >>> from pydual.io.witness import witness_text
        >>> print(witness_text([0.025, 0.5], [-1.25]))
        ((X_0 0.025)
         (X_1 0.5)
         (Y_0 -1.25))
    """
    pairs = []
    for name, values in (("X", float_vector(x, "The input x")), ("Y", float_vector(y, "The output y"))):
        if not np.isfinite(values).all():
            raise InputError(f"A witness needs finite numbers; {name} contains NaN or infinity.")
        pairs += [f"({name}_{i} {value!r})" for i, value in enumerate(values.tolist())]
    return "(" + "\n ".join(pairs) + ")"
