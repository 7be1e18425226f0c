"""All readers of files that come from others, each as a function of a path. They raise errors of pydual only."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pydual
from pydual.audit.exact_file import COLUMNS, GRAM_COLUMNS, SOS_COLUMNS, open_proof
from pydual.audit.exact_network import Network
from pydual.audit.exact_onnx import read_input_file, read_network
from pydual.audit.exact_vnnlib import read_checker
from pydual.audit.query import query_digest


def _certificate(path: str) -> None:
    with open_proof(path) as proof:
        for tree in islice(proof.trees, 100):
            for name in COLUMNS + GRAM_COLUMNS + SOS_COLUMNS:
                column = getattr(tree, name)
                if column.across < 10**6:
                    assert len(column[0:3]) == min(3, column.shape[0])


READERS: dict[str, Callable[[str], object]] = {
    "audit's certificates": _certificate,
    "audit's models": lambda path: Network(read_network(read_input_file(path))).digest,
    "audit's properties": lambda path: query_digest(read_checker(read_input_file(path))),
    "certificates": pydual.load_proof,
    "models": pydual.load,
    "properties": pydual.load_checker,
}
