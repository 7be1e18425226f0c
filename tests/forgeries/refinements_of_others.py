"""Lines for the ends of intervals are hints like others: they prove what they prove, and must be lines of this network."""

from typing import Any

import numpy as np
from forging import REFINED, Forge, file_of, in_proof, with_entry

from pydual.certificate import Refinement

QUESTION = REFINED
REASON = "bound|anchor|refinement|slope|lines|neurons|tensor"


def with_parts(**parts: Any) -> Forge:
    """Change parts of the refinement."""
    types = {"lines": np.int32, "slopes": np.uint8, "neurons": np.int32}

    def forge(true: Any) -> bytes:
        (refinement,) = true.proof.refinements
        arrays = {n: a if isinstance(a, np.ndarray) else np.array(a, types[n]) for n, a in parts.items()}
        return in_proof(refinements=(Refinement(**{**vars(refinement), **arrays}),))(true)  # type: ignore[return-value]

    return forge


FORGERIES = {
    "not named": with_entry("anchor", 0, 3),
    "the next one": with_entry("anchor", 0, 5),
    "the last number": with_entry("anchor", 0, 255),
    "left out": in_proof(refinements=()),
    "one too many parts": lambda true: file_of(true.proof).replace(b"refinement/0/lines", b"refinement/1/lines"),
    "the other end": with_parts(lines=[[-3, -3, 0], [-3, -3, -3]]),
    "another neuron's end": with_parts(lines=[[-3, -3, -3], [-3, 0, -3]]),
    "adaptive": with_parts(lines=[[-3] * 3] * 2),
    "parallel": with_parts(lines=[[-3] * 3, [-3, -3, -2]]),
    "interval": with_parts(lines=[[-3] * 3, [-3, -3, -1]]),
    "a rule that is not there": with_parts(lines=[[-4, -3, -3], [-3, -3, 0]]),
    "a row that is not there": with_parts(lines=[[1, -3, -3], [-3, -3, 0]]),
    "lines for fewer neurons": with_parts(lines=[[-3, -3], [-3, -3]]),
    "lines for more neurons": with_parts(lines=[[-3] * 4, [-3, -3, 0, 0]]),
    "lines for one end": with_parts(lines=[[-3, -3, 0]]),
    "lines of bytes": with_parts(lines=np.zeros((2, 3), np.uint8)),
    "a slope above 1": with_parts(slopes=[[129]]),
    "a slope below 0": with_parts(slopes=np.array([[-0.5]])),
    "no number": with_parts(slopes=np.array([[np.nan]])),
    "a slope for another neuron": with_parts(neurons=[1]),
    "a slope for no neuron": with_parts(neurons=[3]),
    "the last neuron, counted from the end": with_parts(neurons=[-3]),
    "two slopes for one neuron": with_parts(slopes=[[128, 0]], neurons=[0, 0]),
    "no neurons": with_parts(neurons=np.zeros(0, np.int32)),
    "too many": lambda true: file_of(in_many(true)),
}


def in_many(true: Any) -> Any:
    """As many refinements as anchors can name, and one more."""
    proof = true.proof
    return type(proof)(proof.network, proof.query, proof.trees, proof.arithmetic, proof.refinements * 253)
