"""Networks whose affine maps follow each other, share what they read and cancel: audits against exact values at points."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sparse
from random_proofs import TreeMaker, certify, judged, single_leaf
from reference_audit import curve, entries, near

from pydual.audit import query
from pydual.audit.exact import audit_exact
from pydual.audit.rounded import audit_rounded
from pydual.checker import And, Atom, Checker, Linear, Or
from pydual.network import Network
from pydual.operators.primitives import Affine, Curve, Primitive, Relu, as_matrix
from pydual.region import Region

Rng = np.random.Generator
Values = list[list[Fraction]]
ONE = np.ones((1, 1))
U, TINY, CURVE_ERROR = Fraction(1, 2**24), Fraction(1, 2**126), Fraction(1, 2**20)
FEW_DIGITS = Fraction(1, 10**30)  # the reference's curves are right to more digits than that


def random_affine(rng: Rng, sizes: list[int], height: int, scale: float) -> Affine:
    """Terms on recent values, often on one source twice, with entries that cancel."""
    terms: list[tuple[int, object]] = []
    for _ in range(int(rng.integers(1, 4))):
        recent = max(0, len(sizes) - int(rng.geometric(0.5)))
        source = terms[-1][0] if terms and rng.random() < 0.4 else recent
        matrix = np.round(rng.normal(size=(height, sizes[source])) * 256) / 256 * scale
        if height == sizes[source] and rng.random() < 0.3:
            matrix = np.eye(height)
        if rng.random() < 0.3:
            matrix = sparse.csr_array(matrix * (rng.random(matrix.shape) < 0.6))
        if terms and terms[-1][0] == source and rng.random() < 0.5:
            matrix = -terms[-1][1]
        terms.append((source, as_matrix(matrix)))
    return Affine(tuple(terms), rng.integers(-2, 3, height) * scale / 4)


def random_network(rng: Rng, curves: bool, scale: float) -> Network:
    """Any value may read any other; the output is a value of two components."""
    sizes, primitives, count = [int(rng.integers(1, 3))], list[Primitive](), int(rng.integers(2, 9))
    while len(primitives) < count:
        source, chance = int(rng.integers(len(sizes))), rng.random()
        if chance < 0.3:
            primitives.append(Relu(source, sizes[source]))
        elif chance < 0.42 and curves:
            primitives.append(Curve(source, sizes[source], str(rng.choice(["sigmoid", "tanh"]))))
        else:
            primitives.append(random_affine(rng, sizes, int(rng.integers(1, 4)), scale))
        sizes.append(primitives[-1].size)
    primitives += [Relu(len(sizes) - 1, sizes[-1]), random_affine(rng, [*sizes, sizes[-1]], 2, scale)]
    outputs = [k for k, size in enumerate([*sizes, sizes[-1], 2]) if size == 2]
    output = outputs[-1] if rng.random() < 0.7 else int(rng.choice(outputs))
    return Network(tuple(primitives), output, (sizes[0],), (2,))


def random_checker(rng: Rng, network: Network, constant: Fraction) -> Checker:
    """Some sides of the box have no width, some end at 0; all margins move with the constant."""
    center, radius = (np.round(rng.normal(size=network.input_size) * 16) / 16 for _ in range(2))
    radius = np.abs(radius) * (rng.random(network.input_size) < 0.8)
    center = radius if rng.random() < 0.2 else center

    def atom() -> Atom:
        x = {i: Fraction(int(rng.integers(1, 4)), 7) for i in range(network.input_size) if rng.random() < 0.3}
        return Atom(Linear(x, {j: Fraction(int(rng.integers(-6, 7)) or 1, 3) for j in range(2)}, constant), rng.random() < 0.3)

    parts = tuple(And(tuple(atom() for _ in range(rng.integers(1, 3)))) for _ in range(rng.integers(1, 3)))
    return Checker(Region(center - radius, center + radius), Or(parts))


def values_in_float32(network: Network, x: np.ndarray, signs: list[list[int]], units: Fraction) -> Values:
    """What a hostile machine may compute: each monomial of an affine value meets N roundings in the direction of its sign.

    With ``units`` 0 the exact values, in real arithmetic; curves are off by as much as they may.
    """
    values: Values = [[Fraction(float(t)) for t in x]]
    exact, sizes, roundings, underflows = [values[0]], [list(map(abs, values[0]))], [0], [[Fraction(0)] * len(x)]
    for k, p in enumerate(network.primitives, 1):
        n, b = 0, [Fraction(0)] * p.size
        if isinstance(p, Affine):
            rows = [list(entries(p, i)) for i in range(p.size)]
            bias = list(map(Fraction, p.bias.tolist()))
            w = [c + sum(m * exact[s][j] for s, j, m in row) for c, row in zip(bias, rows, strict=True)]
            a = [abs(c) + sum(abs(m) * sizes[s][j] for s, j, m in row) for c, row in zip(bias, rows, strict=True)]
            b = [TINY + sum(abs(m) * underflows[s][j] + TINY * (1 + sizes[s][j]) for s, j, m in row) for row in rows]
            n = max(map(len, rows)) + 4 + max(roundings[s] for s, _ in p.terms)
            share = n * U / (1 - n * U)
            v = [c + units * sign * (share * d + e) for c, d, e, sign in zip(w, a, b, signs[k], strict=True)]
        elif isinstance(p, Relu):
            v = [max(t, Fraction(0)) for t in values[p.source]]
        else:
            errors = [units * sign * CURVE_ERROR for sign in signs[k]]
            v = [curve(p.kind, near(t)) + e for t, e in zip(values[p.source], errors, strict=True)]
        values.append(v)
        exact.append(w if isinstance(p, Affine) else v)
        sizes.append(a if isinstance(p, Affine) else list(map(abs, v)))
        roundings.append(n)
        underflows.append(b)
    return values


def points(rng: Rng, problem: query.Problem, count: int) -> np.ndarray:
    """Corners and others, all of them float32 numbers."""
    lower, upper = np.array(problem.lower), np.array(problem.upper)
    shares = np.where(rng.random((count, 1)) < 0.5, rng.random((count, len(lower))), rng.integers(0, 2, (count, len(lower))))
    found = (lower * (1 - shares) + upper * shares).astype(np.float32).astype(float)
    return found[((lower <= found) & (found <= upper)).all(axis=1)]


def worst_margin(problem: query.Problem, x: np.ndarray, y: list[Fraction]) -> Fraction:
    def value(m: query.Margin) -> Fraction:
        at_input = sum(c * Fraction(float(x[i])) for i, c in m.x.items())
        return m.constant + at_input + sum(c * y[j] for j, c in m.y.items())

    return max(map(value, problem.margins))


@pytest.mark.parametrize("curves", [False, True])
@pytest.mark.parametrize("scale", [1.0, 2.0**-130, 2.0**12])
@pytest.mark.parametrize("arithmetic", ["real", "float32"])
def test_no_point_is_below_an_accepted_margin(arithmetic: str, scale: float, curves: bool) -> None:
    looked_at = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        network = random_network(rng, curves, scale)
        # margins move with the constant, which is then chosen so that the proof hardly holds
        constant, margin = Fraction(2) ** 200, None
        for _ in range(2):
            checker = random_checker(np.random.default_rng(seed), network, constant)
            problems, choices = query.problems(checker), np.random.default_rng(seed)
            trees = tuple(TreeMaker(choices, network, p, "both").tree(int(choices.integers(0, 4))) for p in problems)
            proof = certify(network, checker, trees, arithmetic)
            margin = judged(audit_exact, proof, network, checker)
            if margin in (None, math.inf):
                break
            rounded = judged(audit_rounded, proof, network, checker)
            constant += Fraction(1, 10**6) * (1 + abs(margin - constant)) - margin
        if margin in (None, math.inf):
            continue
        accepted = max(m for m in (margin, rounded) if m is not None)
        units = Fraction(arithmetic == "float32")
        for problem in problems:
            for x in points(rng, problem, 6):
                signs = [rng.choice([-1, 1], size).tolist() for size in network.sizes]
                y = values_in_float32(network, x, signs, units)[network.output]
                assert worst_margin(problem, x, y) >= accepted - curves * FEW_DIGITS, seed
                looked_at += 1
    assert looked_at > 50


def test_a_chain_that_overflows_when_written_out() -> None:
    """Each value reads the one before it twice: 2^60 monomials, unless those of each value are summed up or left alone."""
    count = 60
    chain: list[Primitive] = [Affine(((k, 1e308 * ONE), (k, 1e308 * ONE)), np.zeros(1)) for k in range(count)]
    network = Network((*chain, Relu(count, 1), Affine(((count + 1, ONE),), np.zeros(1))), count + 2, (1,), (1,))
    checker = Checker(Region(np.zeros(1), np.zeros(1)), Atom(Linear({}, {0: Fraction(1)}, Fraction(1))))
    proof = certify(network, checker, (single_leaf(1),))
    assert audit_exact(proof, network, checker) == audit_rounded(proof, network, checker) == 1


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_weights_of_a_network_cannot_change_below_its_digest(kind) -> None:
    """The rounded audit reads a network once; it accepted a certificate of what the network had been."""
    network = Network((Affine(((0, as_matrix(kind(ONE))),), np.ones(1)),), 1, (1,), (1,))
    affine = network.primitives[0]
    assert isinstance(affine, Affine)
    matrix = affine.terms[0][1]
    for array in (affine.bias, matrix.data if sparse.issparse(matrix) else matrix):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = -5.0
