"""Forged certificates: each case is one trick on one true certificate, and is rejected with a CertificateError.

The true certificate: ``y = relu(x) - relu(-x) + 1 = x + 1`` on ``[-1/2, 1]`` and never ``y <= 0`` (first problem) nor
``y >= 9/4`` with ``y - x > 0`` (second problem, of two margins). Both trees split input and neurons, with all columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pydual.audit.exact import audit_exact
from pydual.audit.query import query_digest
from pydual.certificate import Proof, ProofTree
from pydual.checker import Checker, X, Y
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.region import Ball, Region

NETWORK = Network.from_layers([(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.array([[1.0, -1.0]]), np.ones(1))])
REGION = Region(np.array([-0.5]), np.array([1.0]))
CHECKER = Checker(REGION, (Y[0] <= 0) | ((Y[0] >= "9/4") & (Y[0] - X[0] > 0)))


def true_tree(multipliers: list[list[float]]) -> ProofTree:
    """Input 0 at 1/4; below, at its anchor, the left side splits neuron 0, and its active side neuron 1."""
    return ProofTree(
        kind=np.array([1, 2, 0, 2, 0, 0, 0], np.uint8),
        index=np.array([0, 0, 1], np.int32),
        threshold=np.array([0.25]),
        anchor=np.array([0, 3, 0, 0, 0, 0, 2], np.uint8),
        lines=np.array([0, 1, -2, -3], np.int32),
        slopes=np.array([[0.5], [1.0]]),
        slope_neurons=np.array([1], np.int32),
        multipliers=np.array(multipliers),
        split_multipliers=np.array([0.25, 0.0, 0.5, 1.0, 0.0]),
    )


TREES = (true_tree([[1.0]] * 4), true_tree([[1.0, 0.0]] * 4))
PROOF = Proof(NETWORK.digest, query_digest(CHECKER), TREES)


def test_the_true_certificate_is_accepted() -> None:
    assert audit_exact(PROOF, NETWORK, CHECKER) == 0.25  # the truth: 1/2 at x = -1/2, and 1/4 at x = 1


def rejects(proof: Any, network: Network = NETWORK, checker: Checker = CHECKER) -> str:
    with pytest.raises(CertificateError) as caught:
        audit_exact(proof, network, checker)
    return str(caught.value)


def with_entry(column: str, position: Any, value: Any) -> Callable[[ProofTree], ProofTree]:
    def forge(tree: ProofTree) -> ProofTree:
        array = getattr(tree, column).copy()
        array[position] = value
        return replace(tree, **{column: array})

    return forge


def with_column(column: str, change: Callable[[np.ndarray], Any]) -> Callable[[ProofTree], ProofTree]:
    return lambda tree: replace(tree, **{column: change(getattr(tree, column))})


def with_columns(**changes: Any) -> Callable[[ProofTree], ProofTree]:
    return lambda tree: replace(tree, **changes)


REAL = ("slopes", "multipliers", "split_multipliers")
TREE_FORGERIES: dict[str, Callable[[ProofTree], ProofTree]] = {
    "a slope above 1 is no lower line": with_entry("slopes", (0, 0), np.nextafter(1.0, 2.0)),
    "a negative slope is no lower line": with_entry("slopes", (1, 0), -1e-300),
    "a byte above 128 is a slope above 1": with_columns(slopes=np.array([[64], [129]], np.uint8)),
    "a negative multiplier turns a margin round": with_entry("multipliers", (3, 0), -1.0),
    "a negative beta assumes the other phase": with_entry("split_multipliers", 0, -0.25),
    **{f"NaN in {c} compares with nothing": with_entry(c, (0,) * (2 - c.startswith("split")), np.nan) for c in REAL},
    **{f"infinity in {c}": with_entry(c, (0,) * (2 - c.startswith("split")), np.inf) for c in REAL},
    "a threshold NaN covers nothing": with_entry("threshold", 0, np.nan),
    "a threshold at infinity": with_entry("threshold", 0, np.inf),
    "a neuron that the network does not have": with_entry("index", 1, 2),
    "an input that the network does not have": with_entry("index", 0, 1),
    "a negative index reads from the end in Python": with_entry("index", 1, -1),
    "a slope for a neuron that the network does not have": with_entry("slope_neurons", 0, 2),
    "a slope for neuron -1": with_entry("slope_neurons", 0, -1),
    "two slopes for one neuron": with_columns(slopes=np.ones((2, 2)), slope_neurons=np.array([1, 1], np.int32)),
    "a row of slopes that is not there": with_entry("lines", 0, 2),
    "a rule for lines that is not there": with_entry("lines", 3, -4),
    "an anchor code that is not there": with_entry("anchor", 1, 4),
    "a node kind that is not there": with_entry("kind", 6, 3),
    "all multipliers zero prove 0 > 0": with_column("multipliers", np.zeros_like),
    "fewer slopes than neurons listed": with_column("slope_neurons", lambda n: np.append(n, n + 1 - 2 * n)),
    "multipliers in one row": with_column("multipliers", np.ravel),
    "multipliers for fewer margins": with_column("multipliers", lambda m: m[:, :-1]),
    "multipliers for more margins": with_column("multipliers", lambda m: np.hstack([m, m])),
    "slopes in three dimensions": with_column("slopes", lambda s: s[:, :, None]),
    "a column that is no array": with_column("multipliers", np.ndarray.tolist),
    "a column that is missing": with_column("kind", lambda _: None),
    "a column that is a number": with_column("kind", lambda _: np.uint8(0)),
    "masked numbers are no numbers": with_column("multipliers", lambda m: np.ma.masked_array(m, True)),
    "objects that pose as numbers": with_column("multipliers", lambda m: m.astype(object)),
    **{
        f"{column} as {type_}": with_column(column, lambda array, type_=type_: array.astype(type_))
        for column, types in {
            "kind": ("int8", "int32", "bool", "float64"),
            "index": ("int64", "uint8", ">i4", "float64"),
            "threshold": ("float32", ">f8", "complex128"),
            "anchor": ("int32", "bool"),
            "lines": ("int64", "int8"),
            "slopes": ("float16", "int8", ">f4"),
            "slope_neurons": ("int64", "uint32"),
            "multipliers": ("float16", "int32", "complex64"),
            "split_multipliers": ("uint8", "float16", "int64"),
        }.items()
        for type_ in types
    },
    **{
        f"{column} {what}": with_column(column, change)
        for column in ("kind", "index", "threshold", "anchor", "lines", "slope_neurons", "multipliers")
        for what, change in (("cut short", lambda a: a[:-1]), ("too long", lambda a: np.concatenate([a, a[:1]])))
    },
}


@pytest.mark.parametrize("trick", TREE_FORGERIES)
def test_forged_tree(trick: str) -> None:
    for i in range(2):
        trees = list(TREES)
        trees[i] = TREE_FORGERIES[trick](trees[i])
        assert f"Problem {i}" in rejects(replace(PROOF, trees=tuple(trees)))


def shaped(kind: list[int], anchor: list[int], index: list[int], betas: int) -> Callable[[ProofTree], ProofTree]:
    """A tree of another shape whose columns have the right lengths."""

    def forge(tree: ProofTree) -> ProofTree:
        leaves = kind.count(0)
        return replace(
            tree,
            kind=np.array(kind, np.uint8),
            anchor=np.array(anchor, np.uint8),
            index=np.array(index, np.int32),
            threshold=np.full(kind.count(1), 0.25),
            lines=np.full(leaves, -3, np.int32),
            multipliers=np.ones((leaves, tree.multipliers.shape[1])),
            split_multipliers=np.zeros(betas),
        )

    return forge


# so far from a catastrophe that every leaf holds: what is wrong is the shape
EASY = Checker(REGION, (Y[0] <= -99) | ((Y[0] >= 99) & (Y[0] - X[0] > 0)))

SHAPE_FORGERIES: dict[str, tuple[Callable[[ProofTree], ProofTree], str]] = {
    "an empty tree covers nothing": (shaped([], [], [], 0), "ends before it covers"),
    "a split without children": (shaped([1], [3], [0], 0), "ends before it covers"),
    "the second child is missing": (shaped([1, 0], [3, 3], [0], 0), "ends before it covers"),
    "a grandchild is missing": (shaped([1, 2, 0, 0], [3, 0, 0, 0], [0, 0], 2), "ends before it covers"),
    "a leaf too many": (shaped([0, 0], [3, 3], [], 0), "node 1: the tree has ended"),
    "a second tree": (shaped([0, 1, 0, 0], [3, 3, 0, 0], [0], 0), "node 1: the tree has ended"),
    "a neuron split twice on a path": (shaped([2, 2, 0, 0, 0], [3, 0, 0, 0, 0], [1, 1], 5), "neuron 1 is split twice"),
    "a neuron split twice, far apart": (shaped([2, 0, 2, 0, 2, 0, 0], [3] * 7, [0, 1, 0], 9), "neuron 0 is split"),
    "a neuron split twice in an empty cell": (
        lambda tree: replace(shaped([1, 0, 2, 2, 0, 0, 0], [3] * 7, [0, 0, 0], 5)(tree), threshold=np.array([2.0])),
        "node 3: neuron 0 is split twice",
    ),
    "no anchor at all": (shaped([0], [0], [], 0), "node 0: the leaf has no anchor"),
    "no anchor above the right leaf": (with_entry("anchor", 6, 0), "node 6: the leaf has no anchor"),
    "no anchor above the left leaves": (with_entry("anchor", 1, 0), "node 2: the leaf has no anchor"),
    "a beta that was not given": (with_column("split_multipliers", lambda b: b[:-1]), "node 5: 'split_multipliers' is"),
    "no betas": (with_column("split_multipliers", lambda b: b[:0]), "node 2: 'split_multipliers' is too short"),
    "a beta too many": (with_column("split_multipliers", lambda b: np.append(b, 0.0)), "longer than the tree needs"),
}


@pytest.mark.parametrize("trick", SHAPE_FORGERIES)
def test_forged_shape(trick: str) -> None:
    forge, reason = SHAPE_FORGERIES[trick]
    for i in range(2):
        trees = list(TREES)
        trees[i] = forge(trees[i])
        message = rejects(replace(PROOF, query=query_digest(EASY), trees=tuple(trees)), checker=EASY)
        assert f"Problem {i}" in message and reason in message


FORGERIES: dict[str, Proof] = {
    "a tree too few": replace(PROOF, trees=TREES[:1]),
    "no trees": replace(PROOF, trees=()),
    "a tree too many": replace(PROOF, trees=(*TREES, TREES[0])),
    "the trees in the other order": replace(PROOF, trees=TREES[::-1]),
    "trees that are no sequence": replace(PROOF, trees=None),  # type: ignore[arg-type]
    "a problem without a tree": replace(PROOF, trees=(TREES[0], None)),  # type: ignore[arg-type]
    "the digest of another network": replace(PROOF, network=PROOF.query),
    "the digest of another query": replace(PROOF, query=PROOF.network),
    "an abbreviated digest": replace(PROOF, network=PROOF.network[:-1]),
    "a digest in capitals": replace(PROOF, network=PROOF.network.upper()),
    "no digest": replace(PROOF, query=None),  # type: ignore[arg-type]
    "an arithmetic in which nothing is proven": replace(PROOF, arithmetic="float16"),
}


@pytest.mark.parametrize("trick", FORGERIES)
def test_forged_proof(trick: str) -> None:
    rejects(FORGERIES[trick])


def test_something_that_is_no_proof() -> None:
    for thing in (None, 1, "real", object(), TREES):
        rejects(thing)


def test_another_network() -> None:
    """One weight off by one bit; a bias; a zero that becomes a weight; another output."""
    weight, bias = np.array([[1.0], [-1.0]]), np.zeros(2)
    last = (np.array([[1.0, -1.0]]), np.ones(1))
    others = [
        Network.from_layers([(np.array([[np.nextafter(1.0, 2.0)], [-1.0]]), bias), last]),
        Network.from_layers([(weight, np.array([0.0, 5e-324])), last]),
        Network.from_layers([(weight, bias), (np.array([[1.0, -1.0], [0.0, 1.0]]), np.ones(2))]),
        replace(NETWORK, output=2),
    ]
    for other in others:
        assert "another network" in rejects(PROOF, other)


def test_another_query() -> None:
    """The box, a ball, a constant, a strictness, the order of the disjuncts."""
    first, second = (Y[0] <= 0), ((Y[0] >= "9/4") & (Y[0] - X[0] > 0))
    others = [
        Checker(Region(REGION.lower, np.array([np.nextafter(1.0, 2.0)])), CHECKER.catastrophe),
        Checker(Region(REGION.lower, REGION.upper, Ball(np.zeros(1), 1.0, "l2")), CHECKER.catastrophe),
        Checker(REGION, (Y[0] <= "1/1000000000000000000000") | second),
        Checker(REGION, (Y[0] < 0) | second),
        Checker(REGION, second | first),
        Checker(REGION, first),
    ]
    for other in others:
        assert "another query" in rejects(PROOF, checker=other)


def test_swapped_children_prove_the_wrong_cells() -> None:
    """Neuron 0 inactive has the betas of its active side: with beta the function is no bound there."""
    network = Network.from_layers([(np.array([[1.0]]), np.zeros(1)), (np.array([[1.0]]), np.zeros(1))])
    checker = Checker(Region(np.array([-1.0]), np.array([2.0])), Y[0] - X[0] + "1/4" <= 0)
    tree = replace(
        true_tree([[1.0]] * 2),
        kind=np.array([2, 0, 0], np.uint8),
        index=np.array([0], np.int32),
        threshold=np.zeros(0),
        anchor=np.array([3, 0, 0], np.uint8),
        lines=np.array([-3, -3], np.int32),
        slopes=np.zeros((0, 0)),
        slope_neurons=np.zeros(0, np.int32),
        split_multipliers=np.array([1.0, 0.0]),
    )
    proof = Proof(network.digest, query_digest(checker), (tree,))
    assert audit_exact(proof, network, checker) == 0.25
    swapped = replace(tree, split_multipliers=np.array([0.0, 1.0]))
    assert "node 1" in rejects(replace(proof, trees=(swapped,)), network, checker)


def test_a_bound_of_zero_is_no_proof() -> None:
    """y >= 0 is reached; a strict condition elsewhere, without weight, does not help; nor does weight without it."""
    network = Network.from_layers([(np.array([[1.0]]), np.zeros(1)), (np.array([[1.0]]), np.zeros(1))])
    leaf = replace(
        true_tree([[1.0, 0.0]]),
        kind=np.zeros(1, np.uint8),
        index=np.zeros(0, np.int32),
        threshold=np.zeros(0),
        anchor=np.ones(1, np.uint8),
        lines=np.full(1, -1, np.int32),
        slopes=np.zeros((0, 0)),
        slope_neurons=np.zeros(0, np.int32),
        split_multipliers=np.zeros(0),
    )
    for condition in ((Y[0] <= 0) & (X[0] + Y[0] < 9), (Y[0] <= 0) & (X[0] + Y[0] <= 9)):
        checker = Checker(REGION, condition)
        assert "F = 0" in rejects(Proof(network.digest, query_digest(checker), (leaf,)), network, checker)
