"""Checkers that cannot be looked into: any Python callable that judges a pair of input and output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pydual.errors import InputError
from pydual.region import Region


def black_box(region: Region, function: Callable[[np.ndarray, np.ndarray], Any], *, batches: bool = False) -> BlackBox:
    """Catastrophe: ``function(x, y)`` is true, for an input in ``region`` and the model's output, both flat float64 arrays.

    With ``batches``, the function takes arrays of shape (pairs, inputs) and (pairs, outputs) and returns one truth value for
    each pair. Nothing is known of the function but what it says, so only statistics can answer: the proof systems
    "statistical" and "relaxed". Raises InputError for anything but a region and a callable.
    """
    if not isinstance(region, Region):
        raise InputError(f"A black box needs a Region; got {type(region).__name__}.")
    if not callable(function):
        raise InputError(f"The black box is a {type(function).__name__}; give a function of input and output.")
    return BlackBox(region, function if batches else _each(function))


@dataclass(frozen=True, eq=False)
class BlackBox:
    """See ``black_box``; ``function`` takes batches."""

    region: Region
    function: Callable[[np.ndarray, np.ndarray], Any]

    def judge(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which of the pairs (rows) are catastrophes; InputError where the function does not say that of each."""
        said = np.asarray(self.function(x, y))
        if said.shape != (len(x),) or said.dtype.kind not in "bi":
            raise InputError(
                f"The black box returned {said.dtype} of shape {said.shape} for {len(x)} pairs; "
                "return one truth value for each."
            )
        return said.astype(bool)


def _each(function: Callable[[np.ndarray, np.ndarray], Any]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda x, y: np.array([bool(function(a, b)) for a, b in zip(x, y, strict=True)], dtype=bool)
