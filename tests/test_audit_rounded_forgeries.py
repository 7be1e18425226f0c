"""Forged certificates: the rounded audit rejects them with its own error, and says where."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from random_proofs import TreeMaker, certify, random_checker, random_network, shifted

from pydual.audit import query, rounded
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
    with pytest.raises(CertificateError, match=r"Problem 0: node 3: the leaf\'s bound F = -?\S+ is not positive"):
        audit_rounded(certify(network, checker, (put("multipliers", 1, 0)(tree),)), network, checker)


def test_certificates_are_bound_to_network_and_query(accepted: tuple[Network, Checker, ProofTree]) -> None:
    network, checker, tree = accepted
    proof = certify(network, checker, (tree,))
    other = Network.from_layers([(np.ones((1, 2)), np.zeros(1))])
    for wrong in (replace(proof, arithmetic="float16"), replace(proof, trees=()), replace(proof, trees=(tree, tree))):
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


# deep trees, batches, threads, and the mode of the calling thread


def caterpillar(depth: int, first_is_deep: bool, anchored: bool, thresholds: np.ndarray) -> ProofTree:
    """Splits of input 0 below each other."""
    kind = [1] * depth + [0] * (depth + 1) if first_is_deep else [1, 0] * depth + [0]
    anchor = np.full(2 * depth + 1, 1 if anchored else 0, np.uint8)
    anchor[0] = 1
    return ProofTree(
        np.array(kind, np.uint8), np.zeros(depth, np.int32), thresholds, anchor, np.full(depth + 1, -3, np.int32),
        np.zeros((0, 0), np.uint8), np.zeros(0, np.int32), np.ones((depth + 1, 1)), np.zeros(0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def ramp() -> tuple[Network, Checker]:
    """y = relu(x) + 1 on [0, 1], with the margin y + 5."""
    network = Network.from_layers([(np.ones((1, 1)), np.zeros(1)), (np.ones((1, 1)), np.ones(1))])
    return network, Checker(Region([0.0], [1.0]), Atom(Linear({}, {0: Fraction(1)}, Fraction(5))))


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("first_is_deep", [False, True])
def test_deep_trees_need_no_stack_and_no_quadratic_time(
    first_is_deep: bool, anchored: bool, ramp: tuple[Network, Checker]
) -> None:
    depth = 200_000
    thresholds = np.linspace(1, 0, depth) if first_is_deep else np.linspace(0, 1, depth)
    tree = caterpillar(depth, first_is_deep, anchored, thresholds)
    assert audit_rounded(certify(*ramp_with(ramp, tree)), *ramp) == 6
    open_end = replace(tree, kind=np.append(tree.kind[:-1], np.uint8(1)), index=np.zeros(depth + 1, np.int32))
    open_end = replace(open_end, threshold=np.append(thresholds, 0.5), lines=tree.lines[1:], multipliers=tree.multipliers[1:])
    with pytest.raises(CertificateError, match="ends before it covers"):
        audit_rounded(certify(*ramp_with(ramp, open_end)), *ramp)


def ramp_with(ramp: tuple[Network, Checker], tree: ProofTree) -> tuple[Network, Checker, tuple[ProofTree]]:
    return *ramp, (tree,)


def test_the_leaf_that_fails_is_named_in_every_batch(ramp: tuple[Network, Checker]) -> None:
    """With 20,000 leaves there are several batches; only the failing leaf's margin is below 0."""
    network, _ = ramp
    checker = Checker(Region([0.0], [1.0]), Atom(Linear({}, {0: Fraction(-1)}, Fraction(2) - Fraction(1, 10**5))))
    tree = caterpillar(20_000, False, True, np.linspace(0, 1, 20_000))
    with pytest.raises(CertificateError, match=r"^Problem 0: node (39999|40000): the leaf's bound"):
        audit_rounded(certify(network, checker, (tree,)), network, checker)


@pytest.mark.parametrize("kind", ["residual", "curves"])
def test_threads_do_not_change_the_margin(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        network = random_network(rng, kind)
        checker = random_checker(rng, network, Fraction(2**20), None)
        trees = tuple(TreeMaker(rng, network, p, "both").tree(7) for p in query.problems(checker))
        found = set()
        for threads in (1, 2, 5):
            monkeypatch.setattr(rounded.os, "sched_getaffinity", lambda _, n=threads: range(n), raising=False)
            found.add(audit_rounded(certify(network, checker, trees), network, checker))
        assert len(found) == 1


@pytest.fixture
def environment() -> Iterator[Callable[[int], None]]:
    """Sets bits of the calling thread's control word for floating point; it is restored in the end."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the layout of the floating-point environment is known for Linux on x86-64")
    libm = ctypes.CDLL("libm.so.6")
    before = (ctypes.c_uint8 * 32)()
    libm.fegetenv(before)

    def change(bits: int) -> None:
        changed = (ctypes.c_uint8 * 32)(*before)
        word = int.from_bytes(bytes(before[28:32]), "little") | bits
        changed[28:32] = list(word.to_bytes(4, "little"))
        libm.fesetenv(changed)

    yield change
    libm.fesetenv(before)


FLUSH, UPWARD = 0x8040, 0x4000  # subnormal numbers read and written as zero; rounding toward plus infinity


@pytest.mark.parametrize("bits", [0, FLUSH, UPWARD])
def test_the_mode_of_the_calling_thread_is_kept_and_does_not_matter(
    bits: int, environment: Callable[[int], None], accepted: tuple[Network, Checker, ProofTree]
) -> None:
    network, checker, tree = accepted
    proofs = [certify(network, checker, (t,)) for t in (tree, put("multipliers", 1, 0)(tree))]
    margin = audit_rounded(proofs[0], network, checker)
    tiny = np.full(3, 2.0**-1050)

    def probe() -> list[float]:
        return [*(np.ones(3) + 2.0**-60).tolist(), *(np.ones(3) / 3).tolist(), *(tiny / 2).tolist()]

    environment(bits)
    before = probe()
    same = audit_rounded(proofs[0], network, checker) == margin
    between = probe()
    refused = False
    try:
        audit_rounded(proofs[1], network, checker)
    except CertificateError:
        refused = True
    after = probe()
    environment(0)
    assert same and refused and before == between == after
    assert (before != probe()) == (bits != 0)
