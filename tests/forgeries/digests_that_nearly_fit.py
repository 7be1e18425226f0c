"""A digest binds by all of its digits: one that overlaps with the right one, or is another's, binds to something else."""

from forging import PHASES, SPLITS, in_proof

N, Q = SPLITS.network, SPLITS.query
REASON = "digests differ"
FORGERIES = {
    "abbreviated": in_proof(network=N[:-1]),
    "extended": in_proof(network=N + "0"),
    "with a line end": in_proof(query=Q + "\n"),
    "in capitals": in_proof(network=N.upper()),
    "of both": in_proof(network=N + Q, query=N + Q),
    "exchanged": in_proof(network=Q, query=N),
    "empty": in_proof(network="", query=""),
    "zeros": in_proof(query="0" * 64),
    "other digits that look like them": in_proof(network="".join(chr(ord(c) + 0xFEE0) for c in N)),
    "of another network": in_proof(network=PHASES.network),
    "of another query": in_proof(query=PHASES.query),
}
