"""Cases of an end are all its cases, by neurons before it, and what is added to the function is nonnegative there."""

from typing import Any

import numpy as np
from forging import CASES, Forge, in_proof

from pydual.certificate import Refinement

QUESTION = CASES
REASON = "bound|case|refinement|neuron|multiplier|tree"


def with_cases(**parts: Any) -> Forge:
    """Change the trees of cases, their splits or multipliers."""
    types = {"trees": np.int32, "splits": np.int32, "multipliers": np.float64}

    def forge(true: Any) -> bytes:
        (refinement,) = true.proof.refinements
        arrays = {f"case_{n}": a if isinstance(a, np.ndarray) else np.array(a, types[n]) for n, a in parts.items()}
        return in_proof(refinements=(Refinement(**{**vars(refinement), **arrays}),))(true)  # type: ignore[return-value]

    return forge


FORGERIES = {
    "no tree": with_cases(trees=[[-1] * 3] * 2),
    "no trees at all": with_cases(trees=np.zeros((2, 0), np.int32)),
    "the other end": with_cases(trees=[[-1, -1, 0], [-1] * 3]),
    "another neuron's end": with_cases(trees=[[-1] * 3, [-1, 0, -1]]),
    "a tree that is not there": with_cases(trees=[[-1] * 3, [-1, -1, 1]]),
    "a tree before the first": with_cases(trees=[[-1] * 3, [-1, -1, -2]]),
    "trees for fewer neurons": with_cases(trees=[[-1] * 2, [-1, 0]]),
    "trees for one end": with_cases(trees=[[-1, -1, 0]]),
    "trees as bytes": with_cases(trees=np.zeros((2, 3), np.uint8)),
    "one case": with_cases(splits=[-1], multipliers=[]),
    "without the last case": with_cases(splits=[0, -1], multipliers=[1]),
    "without cases": with_cases(splits=[0], multipliers=[]),
    "no splits": with_cases(splits=[], multipliers=[]),
    "an endless tree": with_cases(splits=[0] * 5, multipliers=[]),
    "the neuron of the end": with_cases(splits=[2, -1, -1]),
    "a neuron that is stable": with_cases(splits=[1, -1, -1]),
    "no neuron": with_cases(splits=[3, -1, -1]),
    "a neuron before the first": with_cases(splits=[-2, -1, -1]),
    "another order of cases": with_cases(multipliers=[0, 1]),
    "no multiplier": with_cases(multipliers=[0, 0]),
    "too few multipliers": with_cases(multipliers=[1]),
    "too many multipliers": with_cases(multipliers=[1, 0, 0]),
    "a negative multiplier": with_cases(multipliers=[1, -1]),
    "a multiplier that is no number": with_cases(multipliers=[1, np.nan]),
    "an infinite multiplier": with_cases(multipliers=[1, np.inf]),
    "too deep": with_cases(splits=[0] * 257 + [-1] * 258, multipliers=np.zeros(sum(range(2, 259)) + 256)),
}
