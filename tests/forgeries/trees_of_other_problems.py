"""Each problem needs its own tree, in the order of the query: a missing or exchanged one leaves a problem open."""

from forging import SPLITS, in_proof

REASON = "trees|proofs|multipliers"
FORGERIES = {
    "no tree": in_proof(trees=()),
    "one too few": in_proof(trees=SPLITS.trees[:1]),
    "one too many": in_proof(trees=(*SPLITS.trees, SPLITS.trees[0])),
    "in the other order": in_proof(trees=SPLITS.trees[::-1]),
    "one for both": in_proof(trees=SPLITS.trees[:1] * 2),
}
