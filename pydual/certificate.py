"""Proof terms and the certificate file. PROOFS.md specifies their meaning; the audits implement it.

A proof of one problem is a binary tree of ``Split`` nodes whose leaves are ``LinearLeaf``, ``BallLeaf``, ``GramLeaf``,
``SosLeaf`` and ``EnumerationLeaf`` terms, stored as columns so that a tree of a million leaves is a handful of arrays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pydual.errors import CertificateError
from pydual.whole_file import write_whole

FORMAT = "pydual-certificate-1"
REAL, FLOAT32 = "real", "float32"  # of which execution of the network a proof speaks

# node kinds
LEAF, INPUT_SPLIT, NEURON_SPLIT, GRAM_LEAF, SOS_LEAF, ENUMERATION_LEAF, BALL_LEAF = 0, 1, 2, 3, 4, 5, 6
# how the intervals of an anchor are derived; 0: the node is no anchor; REFINED + t: by the lines of refinement t
INTERVAL, PARALLEL, ADAPTIVE, REFINED = 1, 2, 3, 4
MOST_REFINEMENTS = 252
MOST_CASE_SPLITS = 256  # above a case of a refinement
MOST_DEGREE = 8  # of the polynomials of Sos leaves
# rules for the lines of a leaf, where it does not name a row of ``slopes``
INTERVAL_LINES, PARALLEL_LINES, ADAPTIVE_LINES = -1, -2, -3


@dataclass(frozen=True, eq=False, repr=False)
class Refinement:
    """Lines of its own for each end of each neuron's interval (PROOFS.md, section 5).

    ``lines`` (2, neurons; int32), for the lower and the upper ends: a rule, or a row of ``slopes`` (rows, columns; uint8 in
    units of 1/128, or float), whose columns belong to the neurons ``neurons`` (int32).

    An end may be the least over cases: ``case_trees`` (2, neurons; int32; or of no neurons) numbers trees, -1 for none, which
    lie in preorder one after the other in ``case_splits`` (int32): the neuron that is split, or -1 for a case.
    ``case_multipliers`` has those of the splits above each case.
    """

    lines: np.ndarray
    slopes: np.ndarray
    neurons: np.ndarray
    case_trees: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.int32))
    case_splits: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    case_multipliers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __repr__(self) -> str:
        cases = int((self.case_splits < 0).sum())
        return f"<refinement of {len(self.neurons)} neurons, {len(self.slopes)} rows, {cases} cases>"


@dataclass(frozen=True, eq=False, repr=False)
class ProofTree:
    """The proof of one problem, as columns (PROOFS.md, "Proof terms").

    With N nodes in preorder, L leaves (G of them Gram leaves, with P products in all), M margins, and S the total number of
    neuron splits above leaves:
    ``kind`` (N, uint8), ``index`` (splits, int32: input or neuron number), ``threshold`` (input splits, float64),
    ``anchor`` (N, uint8), ``lines`` (L, int32), ``slopes`` (rows, columns; uint8 in units of 1/128, or float),
    ``slope_neurons`` (columns, int32), ``multipliers`` (L, M), ``split_multipliers`` (S,),
    ``products`` (P, 2; int32: numbers of facts), ``product_multipliers`` (P,), ``product_counts`` (G, int32).
    Of the Sos leaves, of which there are K: ``sos_sizes`` (K, 2; int32: variables and terms of each), ``sos_variables``
    (int32), ``sos_terms`` (terms, 3; int32: two facts and a degree), ``sos_coefficients`` (float64).
    Of the ball leaves: ``curvatures`` (ball leaves, ReLU layers), and ``norms`` (float64), guesses of all matrices' norms.

    Anchors from REFINED on count the ``refinements``; those of a tree that is part of a ``Proof``, the proof's.
    """

    kind: np.ndarray
    index: np.ndarray
    threshold: np.ndarray
    anchor: np.ndarray
    lines: np.ndarray
    slopes: np.ndarray
    slope_neurons: np.ndarray
    multipliers: np.ndarray
    split_multipliers: np.ndarray
    products: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int32))
    product_multipliers: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    product_counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    sos_sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int32))
    sos_variables: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    sos_terms: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int32))
    sos_coefficients: np.ndarray = field(default_factory=lambda: np.zeros(0))
    curvatures: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    norms: np.ndarray = field(default_factory=lambda: np.zeros(0))
    refinements: tuple[Refinement, ...] = ()

    @property
    def leaves(self) -> int:
        return len(self.lines)

    def __repr__(self) -> str:
        return f"<proof tree of {len(self.kind)} nodes>"


COLUMNS = ("kind", "index", "threshold", "anchor", "lines", "slopes", "slope_neurons", "multipliers", "split_multipliers")
GRAM_COLUMNS = ("products", "product_multipliers", "product_counts")  # of a tree with Gram leaves
SOS_COLUMNS = ("sos_sizes", "sos_variables", "sos_terms", "sos_coefficients")  # of a tree with Sos leaves
BALL_COLUMNS = ("curvatures", "norms")  # of a tree with ball leaves
PARTS = ("lines", "slopes", "neurons", "case_trees", "case_splits", "case_multipliers")  # of a refinement


@dataclass(frozen=True, eq=False)
class Proof:
    """What a certificate file holds: a tree for each problem, bound to digests of network and query.

    ``arithmetic`` is "real" or "float32" (PROOFS.md, section 6).
    """

    network: str
    query: str
    trees: tuple[ProofTree, ...]
    arithmetic: str = REAL
    refinements: tuple[Refinement, ...] = ()

    @classmethod
    def of(cls, network: str, query: str, trees: Sequence[ProofTree], arithmetic: str = REAL) -> Proof:
        """The proof that trees of searches make, each with refinements of its own.

        Raises CertificateError if these are more than a file can have.
        """
        shared, refinements = _sharing_refinements(trees)
        if len(refinements) > MOST_REFINEMENTS:
            most = f"the format has at most {MOST_REFINEMENTS}"
            raise CertificateError(f"The proof has {len(refinements)} refinements, {most}; solve without an executor.")
        return cls(network, query, shared, arithmetic, refinements)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate file; it appears whole or not at all."""
        write_whole(path, self.packed(), "certificate")

    def packed(self) -> bytes:
        """The certificate file, in the safetensors format."""
        from safetensors.numpy import save

        tensors = {
            f"{place}/{name}": np.ascontiguousarray(getattr(columns, name))
            for place, columns, names in (
                *((f"{i}", tree, COLUMNS) for i, tree in enumerate(self.trees)),
                *((f"{i}", tree, GRAM_COLUMNS) for i, tree in enumerate(self.trees) if len(tree.product_counts)),
                *((f"{i}", tree, SOS_COLUMNS) for i, tree in enumerate(self.trees) if len(tree.sos_sizes)),
                *((f"{i}", tree, BALL_COLUMNS) for i, tree in enumerate(self.trees) if len(tree.curvatures)),
                *((f"refinement/{t}", refinement, PARTS) for t, refinement in enumerate(self.refinements)),
            )
            for name in names
        }
        header = {
            "format": FORMAT,
            "network": self.network,
            "query": self.query,
            "arithmetic": self.arithmetic,
            "problems": str(len(self.trees)),
        }
        return _ordered(save(tensors, metadata=header))

    @property
    def leaves(self) -> int:
        return sum(tree.leaves for tree in self.trees)


def _sharing_refinements(trees: Sequence[ProofTree]) -> tuple[tuple[ProofTree, ...], tuple[Refinement, ...]]:
    """The trees with anchors that count the refinements of all, which come second, each once."""
    shared: dict[int, Refinement] = {}
    result = []
    for tree in trees:
        if not tree.refinements:
            result.append(tree)
            continue
        for refinement in tree.refinements:
            shared.setdefault(id(refinement), refinement)
        numbers = list(shared)
        codes = np.arange(REFINED + max(MOST_REFINEMENTS, len(tree.refinements)))
        codes[REFINED : REFINED + len(tree.refinements)] = [REFINED + numbers.index(id(r)) for r in tree.refinements]
        result.append(replace(tree, anchor=codes[tree.anchor].astype(np.uint8), refinements=()))
    return tuple(result), tuple(shared.values())


def _ordered(file: bytes) -> bytes:
    """safetensors writes the metadata in random order; with it sorted, the same proof is the same file."""
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    return file[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(size) + file[8 + size :]


def load_proof(path: str | os.PathLike[str]) -> Proof:
    """Read a certificate file. Raises CertificateError if it is not one; nothing in it is trusted before an audit."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CertificateError(f"{path} is not a certificate of format {FORMAT}.")
            names = set(file.keys())
            columns = [
                COLUMNS
                + (GRAM_COLUMNS if f"{i}/product_counts" in names else ())
                + (SOS_COLUMNS if f"{i}/sos_sizes" in names else ())
                + (BALL_COLUMNS if f"{i}/curvatures" in names else ())
                for i in range(int(header["problems"]))
            ]
            trees = tuple(
                ProofTree(**{name: file.get_tensor(f"{i}/{name}") for name in given}) for i, given in enumerate(columns)
            )
            count = sum(name.startswith("refinement/") for name in names) // len(PARTS)
            refinements = tuple(
                Refinement(**{name: file.get_tensor(f"refinement/{t}/{name}") for name in PARTS}) for t in range(count)
            )
            return Proof(header["network"], header["query"], trees, header["arithmetic"], refinements)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CertificateError(f"{path} is not a readable certificate: {error}") from None
