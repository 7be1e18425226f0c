"""Mutated certificates: each is rejected with a CertificateError, or what it then proves is true all the same.

The truth is enumerated exactly: the networks have one input.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import random_instances as instances

from pydual.audit.exact import audit_exact
from pydual.audit.query import query_digest
from pydual.certificate import Proof, ProofTree
from pydual.checker import Atom, Checker, Condition
from pydual.errors import CertificateError
from pydual.network import Network

COLUMNS = tuple(field.name for field in fields(ProofTree))


def accepted_proofs(number: int) -> list[tuple[Network, Checker, Proof]]:
    """True certificates, most with splits, of random questions that are made so hard that they are only just proven."""
    found: list[tuple[Network, Checker, Proof]] = []
    for seed in range(10_000):
        rng = np.random.default_rng(seed)
        network = instances.random_network(rng, 1)
        checker = instances.random_checker(rng, network, instances.random_region(rng, 1))
        proof = instances.random_proof(rng, network, checker)
        if not any(len(tree.kind) > 1 for tree in proof.trees) and seed % 4:
            continue
        try:
            margin = audit_exact(proof, network, checker)
        except CertificateError:
            continue
        if isinstance(margin, Fraction):
            checker = Checker(checker.region, harder(checker.catastrophe, margin * Fraction(98, 100)))
            found.append((network, checker, replace(proof, query=query_digest(checker))))
        if len(found) == number:
            break
    return found


def harder(condition: Condition, by: Fraction) -> Condition:
    """The condition with every margin less by a constant, except for those that belong to the box."""
    if not isinstance(condition, Atom):
        return type(condition)(tuple(harder(part, by) for part in condition.parts))
    return Atom(condition.margin - by, condition.strict) if condition.margin.y else condition


def mutated(rng: np.random.Generator, array: np.ndarray) -> Any:
    """The array with one number, byte, place, or its length changed."""
    flat, i = array.copy().ravel(), int(rng.integers(max(array.size, 1)))
    choice = rng.choice(5, p=[0.1, 0.2, 0.2, 0.4, 0.1])
    if array.size == 0 or choice == 0:
        return np.concatenate([array, np.ones((1, *array.shape[1:]), array.dtype)])
    if choice == 1:
        return array[rng.permutation(len(array))]
    if choice == 2:
        flat.view(np.uint8)[rng.integers(flat.nbytes)] ^= np.uint8(1 << rng.integers(8))
    elif choice == 3:
        odd = [-0.0, 1.0, -1.0, np.nan, np.inf, 5e-324, 1e300]
        floats = [0.0, rng.random(), 4 * rng.random(), flat[i] / 2, rng.choice(odd)]
        integers = {"u": [0, 1, 2, 3, 127], "i": [-3, -2, -1, 0, 1]}
        with np.errstate(all="ignore"):
            flat[i] = rng.choice(floats if flat.dtype.kind == "f" else integers[flat.dtype.kind])
    else:
        return np.delete(array, rng.integers(len(array)), axis=0)
    return flat.reshape(array.shape)


def mutate(rng: np.random.Generator, proof: Proof) -> Proof:
    trees = list(proof.trees)
    i = int(rng.integers(len(trees)))
    for _ in range(int(rng.integers(1, 3))):
        column = str(rng.choice(COLUMNS))
        trees[i] = replace(trees[i], **{column: mutated(rng, getattr(trees[i], column))})
    return replace(proof, trees=tuple(trees))


@pytest.mark.parametrize("part", range(4))
def test_mutated_certificates_are_rejected_or_true(part: int) -> None:
    rng = np.random.default_rng(part)
    counts = Counter[str]()
    for network, checker, proof in accepted_proofs(40)[part::4]:
        truth = instances.truth(network, checker)
        for _ in range(25):
            try:
                margin = audit_exact(mutate(rng, proof), network, checker)
            except CertificateError as error:
                counts["bound" if "not positive" in str(error) else "form"] += 1
                continue
            counts["accepted"] += 1
            assert margin <= truth.margin and not truth.catastrophe
    assert counts["bound"] >= 3 and counts["form"] > 50 and counts["accepted"] > 30, counts


def test_certificates_moved_to_a_question_with_a_catastrophe_are_rejected() -> None:
    """Even with the right digests: the audit does not lean on them."""
    tried = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        network = instances.random_network(rng, 1)
        checker = instances.random_checker(rng, network, instances.random_region(rng, 1))
        if not instances.truth(network, checker).catastrophe:
            continue
        for _ in range(5):
            tried += 1
            with pytest.raises(CertificateError):
                audit_exact(instances.random_proof(rng, network, checker), network, checker)
    assert tried > 100
