"""In memory, too, a proof must consist of arrays of numbers, not of things that pose as them."""

from dataclasses import replace

import numpy as np
from forging import Question

from pydual.certificate import Proof

REASON = "array|type|shape|trees|proofs|tree|arithmetic|digest"


def column(name, change):
    def forge(true: Question) -> Proof:
        *first, last = true.trees
        return replace(true.proof, trees=(*first, replace(last, **{name: change(getattr(last, name))})))

    return forge


def member(**members):
    return lambda true: replace(true.proof, **members)


FORGERIES = {
    "a list": column("multipliers", np.ndarray.tolist),
    "nothing": column("kind", lambda _: None),
    "a number": column("kind", lambda _: np.uint8(0)),
    "objects": column("multipliers", lambda m: m.astype(object)),
    "records": column("index", lambda i: i.view([("x", "<i4")])),
    "big-endian integers": column("index", lambda i: i.astype(">i4")),
    "big-endian floats": column("threshold", lambda t: t.astype(">f8")),
    "big-endian slopes": column("slopes", lambda s: s.astype(">f4")),
    "complex numbers": column("multipliers", lambda m: m.astype(complex)),
    "text": column("multipliers", lambda m: m.astype(str)),
    "dates": column("threshold", lambda t: t.astype("M8[s]")),
    "trees that are no sequence": member(trees=None),
    "a problem without a tree": lambda true: replace(true.proof, trees=(true.trees[0], None)),
    "no digest": member(query=None),
    "a digest of bytes": lambda true: replace(true.proof, network=true.network.encode()),
    "no arithmetic": member(arithmetic=None),
}
