"""Mutated certificates: each audit rejects them with a CertificateError, or what they then prove is true all the same.

The truth is enumerated exactly: the networks have one input and are piecewise linear. ``PYDUAL_SEED`` draws other mutations,
``PYDUAL_NIGHTLY`` fifty times as many.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_instances as instances
from forging import file_of, joined, parts, tree
from random_proofs import judged

from pydual.audit.exact import audit_exact
from pydual.audit.exact_file import open_proof
from pydual.audit.query import query_digest
from pydual.audit.rounded import audit_rounded
from pydual.certificate import COLUMNS, Proof, ProofTree
from pydual.checker import Atom, Checker, Condition, Y
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.region import Ball, Region

SEED = int(os.environ.get("PYDUAL_SEED", "0"))
PARTS = 200 if os.environ.get("PYDUAL_NIGHTLY") else 4

Rng = np.random.Generator
Case = tuple[Network, Checker, Proof, instances.Truth]


# ---- true certificates


def true_cases(part: int, number: int) -> Iterator[Case]:
    """Certificates, most with splits, of random questions that are made so hard that they are only just proven."""
    for draw in count():
        rng = np.random.default_rng([SEED, part, draw])
        network = instances.random_network(rng, 1, width=3)
        checker = instances.random_checker(rng, network, instances.random_region(rng, 1))
        arithmetic = str(rng.choice(["real", "float32"], p=[0.8, 0.2]))
        proof = replace(instances.random_proof(rng, network, checker), arithmetic=arithmetic)
        if not any(len(tree.kind) > 1 for tree in proof.trees) and draw % 4:
            continue
        margin = judged(audit_exact, proof, network, checker)
        if isinstance(margin, Fraction):
            checker = Checker(checker.region, harder(checker.catastrophe, margin * Fraction(98, 100)))
            yield network, checker, replace(proof, query=query_digest(checker)), instances.truth(network, checker)
            number -= 1
        if not number:
            return


def harder(condition: Condition, by: Fraction) -> Condition:
    """The condition with every margin less by a constant, except for those that belong to the box."""
    if not isinstance(condition, Atom):
        return type(condition)(tuple(harder(part, by) for part in condition.parts))
    return Atom(condition.margin - by, condition.strict) if condition.margin.y else condition


# ---- mutations of columns


def changed_entry(rng: Rng, flat: np.ndarray, i: int) -> None:
    """Another number, another sign, the next number, another bit."""
    odd = [-0.0, 1.0, -1.0, np.nan, np.inf, 5e-324, 1e300, np.finfo(float).max]
    match rng.integers(4):
        case 0:
            flat.view(np.uint8)[i * flat.itemsize + rng.integers(flat.itemsize)] ^= np.uint8(1 << rng.integers(8))
        case 1 if flat.dtype.kind == "f":
            flat[i] = np.nextafter(flat[i], flat.dtype.type(rng.choice([-np.inf, np.inf])))
        case 2 if flat.dtype.kind != "u":
            flat[i] = -flat[i]
        case _:
            floats = [0.0, rng.random(), 4 * rng.random(), float(flat[i]) / 2, float(rng.choice(odd))]
            integers = {"u": [0, 1, 2, 3, 127], "i": [-3, -2, -1, 0, 1]}
            with np.errstate(over="ignore"):
                flat[i] = rng.choice(floats if flat.dtype.kind == "f" else integers[flat.dtype.kind])


def changed_column(rng: Rng, array: np.ndarray) -> np.ndarray:
    """The array with one number, the order of its rows, or its length changed."""
    choice = rng.choice(4, p=[0.06, 0.16, 0.7, 0.08])
    if array.size == 0 or choice == 0:
        return np.concatenate([array, np.ones((1, *array.shape[1:]), array.dtype)])
    if choice == 1:
        return array[rng.permutation(len(array))]
    if choice == 2:
        flat = array.copy().ravel()
        changed_entry(rng, flat, int(rng.integers(len(flat))))
        return flat.reshape(array.shape)
    return np.delete(array, rng.integers(len(array)), axis=0)


def entries(rng: Rng, proof: Proof) -> Proof:
    """Up to two columns of a tree changed."""
    trees, i = list(proof.trees), int(rng.integers(len(proof.trees)))
    for _ in range(int(rng.integers(1, 3))):
        column = str(rng.choice(COLUMNS))
        trees[i] = replace(trees[i], **{column: changed_column(rng, getattr(trees[i], column))})
    return replace(proof, trees=tuple(trees))


def exchanged(rng: Rng, proof: Proof) -> Proof:
    """Trees, or columns of trees, exchanged between problems; another arithmetic."""
    trees = list(proof.trees)
    i, j = (int(k) for k in rng.integers(len(trees), size=2))
    if i == j:
        return replace(proof, arithmetic={"real": "float32", "float32": "real"}[proof.arithmetic])
    for column in COLUMNS if rng.random() < 0.3 else rng.choice(COLUMNS, 2):
        one, other = getattr(trees[i], column), getattr(trees[j], column)
        trees[i], trees[j] = replace(trees[i], **{column: other}), replace(trees[j], **{column: one})
    return replace(proof, trees=tuple(trees))


# ---- mutations of trees


@dataclass(eq=False)
class Node:
    """A node of a tree with everything that belongs to it."""

    kind: int
    anchor: int
    index: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    multipliers: list[np.ndarray] = field(default_factory=list)
    betas: list[float] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)


def rooted(tree: ProofTree) -> Node:
    """The tree of the columns."""
    columns = {name: iter(getattr(tree, name)) for name in COLUMNS}

    def read(depth: int) -> Node:
        node = Node(int(next(columns["kind"])), int(next(columns["anchor"])))
        if node.kind == 0:
            node.lines, node.multipliers = [next(columns["lines"])], [next(columns["multipliers"])]
            node.betas = [next(columns["split_multipliers"]) for _ in range(depth)]
            return node
        node.index = [next(columns["index"])]
        node.threshold = [next(columns["threshold"])] if node.kind == 1 else []
        below = depth + (node.kind == 2)
        node.children = [read(below), read(below)]
        return node

    return read(0)


def nodes_of(node: Node) -> list[Node]:
    """A tree's nodes in preorder."""
    return [node, *(below for child in node.children for below in nodes_of(child))]


def columns_of(root: Node, tree: ProofTree) -> ProofTree:
    """The columns of a tree; leaves that came to another depth have more or fewer multipliers of splits."""

    def fitted(node: Node, depth: int) -> None:
        node.betas = (node.betas + [0.0] * depth)[:depth] if node.kind == 0 else []
        for child in node.children:
            fitted(child, depth + (node.kind == 2))

    fitted(root, 0)
    nodes = nodes_of(root)

    def flat(name: str, values: list[Any]) -> np.ndarray:
        column = getattr(tree, name)
        return np.array(values, column.dtype).reshape(-1, *column.shape[1:])

    lists = {name: [v for n in nodes for v in getattr(n, name)] for name in ("index", "threshold", "lines", "multipliers")}
    lists |= {"kind": [n.kind for n in nodes], "anchor": [n.anchor for n in nodes]}
    lists["split_multipliers"] = [b for n in nodes for b in n.betas]
    return replace(tree, **{name: flat(name, values) for name, values in lists.items()})


def subtrees(rng: Rng, proof: Proof) -> Proof:
    """Children swapped, subtrees exchanged or copied over others, a split taken out, an anchor moved."""
    i = int(rng.choice([k for k, tree in enumerate(proof.trees) if len(tree.kind) > 1] or [0]))
    root = rooted(proof.trees[i])
    nodes = nodes_of(root)
    node, other = (nodes[int(k)] for k in rng.integers(len(nodes), size=2))
    apart = node not in nodes_of(other) and other not in nodes_of(node)
    match rng.integers(5):
        case 0:
            node.children.reverse()
        case 1 if apart:
            node.__dict__, other.__dict__ = other.__dict__, node.__dict__
        case 2 if apart:
            node.__dict__ = copied(other).__dict__
        case 3 if node.children:
            node.__dict__ = node.children[int(rng.integers(2))].__dict__
        case _:
            node.anchor, other.anchor = other.anchor, node.anchor
    return replace(proof, trees=(*proof.trees[:i], columns_of(root, proof.trees[i]), *proof.trees[i + 1 :]))


def copied(node: Node) -> Node:
    return replace(node, children=[copied(child) for child in node.children])


# ---- mutations of files


def bytes_changed(rng: Rng, file: bytes) -> bytes:
    """Bytes replaced, taken out, put in or cut off, mostly of the numbers."""
    header = 8 + int.from_bytes(file[:8], "little")
    for _ in range(int(rng.integers(1, 4))):
        low = header if rng.random() < 0.8 and header < len(file) else 0
        at = int(rng.integers(low, len(file)))
        new = bytes([int(rng.integers(256))]) if rng.random() < 0.5 else bytes([file[at] ^ 1 << int(rng.integers(8))])
        times = int(rng.choice([0, 1, 2], p=[0.05, 0.9, 0.05]))
        file = file[:at] + new * times + file[at + 1 :] if rng.random() < 0.97 else file[:at]
    return file or b"\0"


def tensors_moved(rng: Rng, file: bytes) -> bytes:
    """Two tensors of the header exchanged, in all or in part, or one turned to another type or shape."""
    text, data = parts(file)
    header = json.loads(text)
    one, other = (str(name) for name in rng.choice([name for name in header if name != "__metadata__"], 2))
    match rng.integers(4):
        case 0:
            header[one], header[other] = header[other], header[one]
        case 1:
            for member in rng.choice(["dtype", "shape", "data_offsets"], 2):
                header[one][member], header[other][member] = header[other][member], header[one][member]
        case 2:
            header[one]["shape"] = header[one]["shape"][::-1]
        case _:
            header = dict(sorted(header.items(), key=lambda item: str(rng.random())))
    return joined(json.dumps(header).encode(), data)


# ---- verdicts


def verdicts(mutated: Proof | bytes, network: Network, checker: Checker, place: Path) -> list[Fraction | float | None]:
    """The margins of the exact and of the rounded audit; None if rejected."""
    if isinstance(mutated, Proof):
        return [judged(audit, mutated, network, checker) for audit in (audit_exact, audit_rounded)]
    place.write_bytes(mutated)
    try:
        with open_proof(place) as proof:
            return [judged(audit, proof, network, checker) for audit in (audit_exact, audit_rounded)]
    except CertificateError:
        return [None, None]


MUTATIONS: dict[str, Callable[[Rng, Proof], Proof | bytes]] = {
    "entries": entries,
    "entries twice": lambda rng, proof: entries(rng, entries(rng, proof)),
    "subtrees": subtrees,
    "subtrees in a file": lambda rng, proof: file_of(subtrees(rng, proof)),
    "exchanged": exchanged,
    "bytes": lambda rng, proof: bytes_changed(rng, file_of(proof)),
    "tensors": lambda rng, proof: tensors_moved(rng, file_of(proof)),
}


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_certificates_are_rejected_or_true(part: int, tmp_path: Path) -> None:
    """In each part 1260 mutations of 30 certificates; the default are four parts."""
    rng, counts = np.random.default_rng([SEED, part]), Counter[str]()
    for network, checker, proof, truth in true_cases(part, 30):
        for name in [*MUTATIONS] * 6:
            exact, rounded = verdicts(MUTATIONS[name](rng, proof), network, checker, tmp_path / "certificate")
            counts[f"{name} {'rejected' if exact is None else 'accepted'}"] += 1
            for margin in (exact, rounded):
                assert margin is None or (margin <= truth.margin and not truth.catastrophe), (name, margin, truth)
            assert rounded is None or exact is not None, (name, rounded)
            if rounded is not None and exact is not None and not checker.region.ball:  # for balls, audits choose numbers
                assert rounded <= exact, (name, rounded, exact)
    assert 4 * sum(counts.values()) >= 5000, counts
    assert len(counts) == 2 * len(MUTATIONS), counts  # each kind is accepted at times, and rejected at times


def test_certificates_moved_to_a_question_with_a_catastrophe_are_rejected() -> None:
    """Even with the right digests: the audits do not lean on them."""
    tried = 0
    for draw in range(300):
        rng = np.random.default_rng([SEED, draw])
        network = instances.random_network(rng, 1, width=3)
        checker = instances.random_checker(rng, network, instances.random_region(rng, 1))
        if not instances.truth(network, checker).catastrophe:
            continue
        for arithmetic in ("real", "float32"):
            tried += 1
            proof = replace(instances.random_proof(rng, network, checker), arithmetic=arithmetic)
            assert [judged(audit, proof, network, checker) for audit in (audit_exact, audit_rounded)] == [None, None]
    assert tried > 50


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_cell_outside_of_the_ball_is_empty_for_both_audits(norm: str) -> None:
    """Where all neurons are inactive, no coefficient of the input is left for the ball's multiplier."""
    tenth = (np.full((1, 1), 0.1), np.zeros(1))
    network = Network.from_layers([(np.ones((1, 1)), np.array([-0.6])), *[tenth] * 8])
    checker = Checker(Region([0.0], [1.0], Ball(np.ones(1), 0.25, norm)), Y[0] - "1e-9" <= 0)
    hints = tree(kind=[1, 0, 0], index=[0], threshold=[0.5], anchor=[0, 3, 3], lines=[-3, -3], multipliers=[[1.0]] * 2)
    proof = Proof(network.digest, query_digest(checker), (hints,))
    for audit in (audit_exact, audit_rounded):
        margin = judged(audit, proof, network, checker)
        assert margin is not None and abs(margin - Fraction(5, 10**10)) < 1e-12
