"""Forged certificates: the rounded audit rejects them with its own error, and says where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from random_proofs import certify, shifted

from pydual.audit.rounded import audit_rounded
from pydual.certificate import ProofTree
from pydual.checker import And, Atom, Checker, Linear, Or
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.region import Region


@pytest.fixture(scope="module")
def accepted() -> tuple[Network, Checker, ProofTree]:
    """A network with 4 neurons, and a tree of all kinds of nodes that is accepted for it."""
    rng = np.random.default_rng(7)
    layers = [(rng.normal(size=(n, m)), rng.normal(size=n)) for m, n in ((2, 2), (2, 2), (2, 1))]
    network = Network.from_layers(layers)
    checker = Checker(Region(-np.ones(2), np.ones(2)), Or((And((Atom(Linear({}, {0: Fraction(1)}) + 1000),)),)))
    tree = ProofTree(
        np.array([1, 0, 2, 0, 2, 0, 0], np.uint8), np.array([1, 0, 3], np.int32), np.array([0.25]),
        np.array([3, 0, 2, 0, 0, 1, 0], np.uint8), np.array([-1, -2, -3, 1], np.int32),
        np.array([[0, 128, 5], [7, 64, 0]], np.uint8), np.array([3, 0, 1], np.int32), np.ones((4, 1), np.float32),
        np.array([0.0, 0.1, 0.2, 0.0, 0.3], np.float32),
    )  # fmt: skip
    assert 0 < audit_rounded(certify(network, checker, (tree,)), network, checker) < 1000
    return network, checker, tree


def put(column: str, at: int | tuple[int, int], value: float) -> Callable[[ProofTree], ProofTree]:
    def change(tree: ProofTree) -> ProofTree:
        array = getattr(tree, column).copy()
        array[at] = value
        return replace(tree, **{column: array})

    return change


def longer(column: str) -> Callable[[ProofTree], ProofTree]:
    return lambda tree: replace(tree, **{column: np.concatenate([getattr(tree, column), getattr(tree, column)[-1:]])})


def shorter(column: str) -> Callable[[ProofTree], ProofTree]:
    return lambda tree: replace(tree, **{column: getattr(tree, column)[:-1]})


def typed(column: str, kind: str) -> Callable[[ProofTree], ProofTree]:
    return lambda tree: replace(tree, **{column: getattr(tree, column).astype(kind)})


def deeper(column: str) -> Callable[[ProofTree], ProofTree]:
    return lambda tree: replace(tree, **{column: getattr(tree, column)[None]})


COLUMNS = ("kind", "index", "threshold", "anchor", "lines", "slope_neurons", "multipliers", "split_multipliers")
FORGERIES = {
    **{f"longer {c}": longer(c) for c in COLUMNS},
    **{f"shorter {c}": shorter(c) for c in COLUMNS},
    **{f"{c} in int64": typed(c, "i8") for c in (*COLUMNS, "slopes")},
    **{f"{c} in big-endian": typed(c, k) for c, k in (("index", ">i4"), ("threshold", ">f8"), ("multipliers", ">f4"))},
    **{f"{c} flat or deep": deeper(c) for c in (*COLUMNS, "slopes")},
    **{f"{c} is {v}": put(c, 0, v) for c in ("threshold", "multipliers", "split_multipliers") for v in (np.nan, np.inf)},
    "a negative multiplier": put("multipliers", (2, 0), -1e-9),
    "a negative split multiplier": put("split_multipliers", 4, -1e-9),
    "a slope above 1": put("slopes", (1, 1), 129),
    "a float slope above 1": lambda t: replace(t, slopes=np.full((2, 3), 1.0000001, np.float32)),
    "a negative slope": lambda t: replace(t, slopes=np.full((2, 3), -1e-9)),
    "a slope that is no number": lambda t: replace(t, slopes=np.full((2, 3), np.nan)),
    "a neuron listed twice": put("slope_neurons", 0, 1),
    "a neuron that is none": put("slope_neurons", 0, 4),
    "a negative neuron": put("slope_neurons", 0, -1),
    "a row that is none": put("lines", 0, 2),
    "a rule that is none": put("lines", 0, -4),
    "a kind that is none": put("kind", 2, 3),
    "an anchor that is none": put("anchor", 2, 4),
    "an input that is none": put("index", 0, 2),
    "a split neuron that is none": put("index", 1, 4),
    "a neuron split twice": put("index", 2, 0),
    "no anchor above a leaf": put("anchor", 0, 0),
    "a leaf for a split": put("kind", 4, 0),
    "a split for a leaf": put("kind", 6, 2),
    "leaves first": lambda t: replace(t, kind=t.kind[::-1].copy()),
    "no nodes": lambda t: replace(t, **{c: getattr(t, c)[:0] for c in COLUMNS}),
    "a list": lambda t: replace(t, lines=t.lines.tolist()),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_are_rejected(name: str, accepted: tuple[Network, Checker, ProofTree]) -> None:
    network, checker, tree = accepted
    with pytest.raises(CertificateError, match=r"^Problem 0: .*\.$"):
        audit_rounded(certify(network, checker, (FORGERIES[name](tree),)), network, checker)


def test_a_failing_leaf_is_named(accepted: tuple[Network, Checker, ProofTree]) -> None:
    network, checker, tree = accepted
    with pytest.raises(CertificateError, match=r"Problem 0: node 3 \(leaf 1\): its lower bound -\S+ is not positive"):
        audit_rounded(certify(network, checker, (put("multipliers", 1, 0)(tree),)), network, checker)


def test_certificates_are_bound_to_network_and_query(accepted: tuple[Network, Checker, ProofTree]) -> None:
    network, checker, tree = accepted
    proof = certify(network, checker, (tree,))
    other = Network.from_layers([(np.ones((1, 2)), np.zeros(1))])
    for wrong in (replace(proof, arithmetic="float32"), replace(proof, trees=()), replace(proof, trees=(tree, tree))):
        with pytest.raises(CertificateError):
            audit_rounded(wrong, network, checker)
    with pytest.raises(CertificateError, match="another network"):
        audit_rounded(proof, other, checker)
    with pytest.raises(CertificateError, match="another query"):
        audit_rounded(proof, network, shifted(checker, Fraction(1)))


def test_the_deadline_may_stop_the_audit(accepted: tuple[Network, Checker, ProofTree]) -> None:
    network, checker, tree = accepted

    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        audit_rounded(certify(network, checker, (tree,)), network, checker, stop)
