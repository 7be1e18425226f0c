"""Random networks with proofs whose leaves all have weight: margins then move with the constants of the query.

Other than in ``random_instances``, a large constant makes any of these proofs hold, so that each bound can be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import scipy.sparse as sparse
from random_instances import random_cases, random_slopes

from pydual.audit import query
from pydual.certificate import (
    ADAPTIVE,
    GRAM_LEAF,
    INPUT_SPLIT,
    LEAF,
    NEURON_SPLIT,
    REFINED,
    Proof,
    ProofTree,
    Refinement,
)
from pydual.checker import And, Atom, Checker, Condition, Linear, Or
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.region import Ball, Region

Rng = np.random.Generator


def dyadic(rng: Rng, shape: tuple[int, ...], bits: int = 8) -> np.ndarray:
    """Random numbers with few bits, so that exact arithmetic stays small."""
    return np.round(rng.normal(size=shape) * 2**bits) / 2**bits


def random_network(rng: Rng, kind: str, scale: float = 1.0) -> Network:
    """``kind``: "dense", "sparse", "residual", "branches" or "chain" with relus; "sigmoid", "tanh" or "square"; "curves" or
    "squares" (mixed)."""
    inputs, width = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    graph = GraphBuilder((inputs,))
    value = graph.input

    def affine(terms: list, size: int):
        weights = [(v, dyadic(rng, (size, v.size)) * scale) for v in terms]
        if kind == "sparse":
            weights = [(v, sparse.csr_array(m * (rng.random(m.shape) < 0.6))) for v, m in weights]
        return graph.affine(weights, dyadic(rng, (size,)) * scale, (size,))

    for _ in range(int(rng.integers(1, 4))):
        hidden = affine([value], width)
        if kind == "chain":  # several affine maps follow each other
            hidden = affine([affine([hidden], width), value], width)
        following = graph.curve(hidden, kind) if kind in ("sigmoid", "tanh", "square") else graph.relu(hidden)
        if kind in ("curves", "squares"):
            kinds = ["sigmoid", "tanh"] if kind == "curves" else ["square", "tanh"]
            curves = [graph.curve(hidden, str(k)) for k in rng.permutation(kinds)]
            sources = [following, *curves, graph.curve(following, "tanh"), value, hidden]
            following = affine([sources[i] for i in rng.permutation(6)[:3]], width)
        if kind == "residual":
            following = affine([following, hidden, value], width) if rng.random() < 0.7 else graph.relu(following)
        if kind == "branches":
            sources = [following, graph.relu(affine([value], width)), graph.relu(hidden), hidden]
            following = affine([sources[i] for i in rng.permutation(4)[:3]], width)
        value = following
    return Network.from_graph(graph, affine([value], 2))


def random_checker(rng: Rng, network: Network, constant: Fraction, ball: str | None) -> Checker:
    """A disjunction of conjunctions of atoms, each with ``constant`` added."""
    n = network.input_size
    center, radius = dyadic(rng, (n,)), dyadic(rng, (n,)) ** 2 + 2.0**-6
    middle, size = center + dyadic(rng, (n,)) * 0.05, float(radius.max() * rng.uniform(0.3, 1.2))
    shape = None if ball is None else Ball(middle, size, ball)
    region = Region(center - radius, center + radius, shape)

    def atom() -> Atom:
        y = {j: Fraction(int(rng.integers(-6, 7)) or 1, 3) for j in range(2)}
        x = {i: Fraction(int(rng.integers(1, 4)), 7) for i in range(n) if rng.random() < 0.3}
        return Atom(Linear(x, y, constant + Fraction(int(rng.integers(-9, 9)), 10)), bool(rng.random() < 0.3))

    parts = tuple(And(tuple(atom() for _ in range(rng.integers(1, 4)))) for _ in range(rng.integers(1, 3)))
    return Checker(region, Or(parts))


class TreeMaker:
    """Random proof trees; every hint that the format allows can occur."""

    def __init__(self, rng: Rng, network: Network, problem: query.Problem, splits: str) -> None:
        self.rng, self.network, self.problem, self.splits = rng, network, problem, splits
        self.kind: list[int] = []
        self.index: list[int] = []
        self.threshold: list[float] = []
        self.anchor: list[int] = []
        self.paths: list[int] = []
        self.refinements = tuple(random_refinement(rng, network) for _ in range(rng.integers(0, 3)))

    def grow(self, depth: int, used: frozenset[int] = frozenset()) -> None:
        first = not self.kind
        code = int(self.rng.integers(1, REFINED + len(self.refinements)))
        self.anchor.append(code if first or self.rng.random() < 0.3 else 0)
        free = [j for j in range(self.network.neurons) if j not in used]
        choices = [c for c in (INPUT_SPLIT, NEURON_SPLIT) if self.splits in ("both", str(c)) and (c == INPUT_SPLIT or free)]
        if depth == 0 or not choices or (not first and self.rng.random() < 0.2):
            self.kind.append(0)
            self.paths.append(len(used))
            return
        choice = int(self.rng.choice(choices))
        self.kind.append(choice)
        if choice == INPUT_SPLIT:
            i = int(self.rng.integers(self.network.input_size))
            low, high = self.problem.lower[i], self.problem.upper[i]
            self.index.append(i)
            self.threshold.append(float(low + (high - low) * self.rng.uniform(-0.1, 1.1)))
        else:
            self.index.append(int(self.rng.choice(free)))
            used = used | {self.index[-1]}
        self.grow(depth - 1, used)
        self.grow(depth - 1, used)

    def tree(self, depth: int) -> ProofTree:
        self.grow(depth)
        leaves, rng = len(self.paths), self.rng
        columns, rows = int(rng.integers(0, self.network.neurons + 1)), int(rng.integers(1, 4))
        kind = str(rng.choice(["u1", "f4", "f8"]))
        slopes = rng.integers(0, 129, (rows, columns)) if kind == "u1" else rng.random((rows, columns))
        weights = rng.integers(1, 200, (leaves, len(self.problem.margins))) * (1.0 if kind == "u1" else 0.37)
        betas = rng.exponential(size=sum(self.paths)) * 0.3
        return ProofTree(
            np.array(self.kind, np.uint8), np.array(self.index, np.int32), np.array(self.threshold),
            np.array(self.anchor, np.uint8), rng.integers(-3, rows, leaves).astype(np.int32), slopes.astype(kind),
            rng.choice(self.network.neurons, columns, replace=False).astype(np.int32), weights.astype(kind),
            betas.astype("f8" if kind == "u1" else kind), refinements=self.refinements,
        )  # fmt: skip


def with_gram_leaves(
    rng: Rng, tree: ProofTree, network: Network, problem: query.Problem, share: float = 0.7, size: float = 1.0
) -> ProofTree:
    """The tree with a ``share`` of its leaves turned into Gram leaves, with random products and multipliers up to ``size``."""
    kind = tree.kind.copy()
    chosen = (kind == LEAF) & (rng.random(len(kind)) < share)
    if not chosen.any():
        return tree
    kind[chosen] = GRAM_LEAF
    leaves = [random_products(rng, network, problem, int(rng.integers(0, 12)), size) for _ in range(int(chosen.sum()))]
    return replace(
        tree,
        kind=kind,
        products=np.concatenate([pairs for pairs, _ in leaves]),
        product_multipliers=np.concatenate([rho for _, rho in leaves]).astype(rng.choice(["f4", "f8"])),
        product_counts=np.array([len(pairs) for pairs, _ in leaves], np.int32),
    )


def random_products(
    rng: Rng, network: Network, problem: query.Problem, count: int, size: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """``count`` allowed pairs of facts, of all kinds, and their multipliers, float32 numbers."""
    # PROOFS.md, section 3: facts of inputs begin at 1, those of neurons at ``first``, that of the ball is ``last``
    first, last = 1 + 2 * network.input_size, 1 + 2 * network.input_size + 4 * network.neurons
    facts = last + (problem.ball is not None and problem.ball.norm == "l2")
    pairs, rho = np.zeros((count, 2), np.int32), (rng.exponential(size=count) * size).astype(np.float32)
    for row in range(count):
        choice = rng.random() if network.neurons else rng.uniform(0.2, 0.6)
        z = first + 4 * int(rng.integers(max(1, network.neurons)))
        if choice < 0.2:  # of a neuron with its own facts; z (z - p) with either sign
            pairs[row] = z, z + int(rng.integers(4))
            rho[row] *= -1 if pairs[row, 1] == z + 1 and rng.random() < 0.5 else 1
        elif choice < 0.35:
            i = int(rng.integers(network.input_size))
            pairs[row] = 1 + 2 * i, 2 + 2 * i
        elif choice < 0.6:
            pairs[row] = 0, int(rng.integers(facts)) if rng.random() < 0.7 else facts - 1
        else:
            pairs[row] = z + 3 * int(rng.integers(2)), int(rng.integers(last))
    return pairs, rho


def random_refinement(rng: Rng, network: Network) -> Refinement:
    """A refinement with random lines and slopes for some of the neurons."""
    slopes, neurons = random_slopes(rng, network)
    lines = rng.integers(-3, len(slopes), (2, network.neurons), dtype=np.int32)
    return Refinement(lines, slopes, neurons, *random_cases(rng.spawn(1)[0], network))


def certify(network: Network, checker: Checker, trees: tuple[ProofTree, ...], arithmetic: str = "real") -> Proof:
    return Proof.of(network.digest, query.query_digest(checker), trees, arithmetic)


def shifted(checker: Checker, shift: Fraction) -> Checker:
    """The same query with ``shift`` added to every margin."""

    def move(condition: Condition) -> Condition:
        if isinstance(condition, Atom):
            return Atom(condition.margin + shift, condition.strict)
        return type(condition)(tuple(move(part) for part in condition.parts))

    return replace(checker, catastrophe=move(checker.catastrophe))


Case = tuple[Network, Checker, tuple[ProofTree, ...]]


def random_case(seed: int, kind: str, splits: str, ball: str | None, constant: Fraction = Fraction(0)) -> Case:
    """A network, a query whose margins are around 2^20, and trees for it."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, kind)
    checker = random_checker(rng, network, constant, ball)
    trees = tuple(TreeMaker(rng, network, p, splits).tree(int(rng.integers(0, 4))) for p in query.problems(checker))
    return network, checker, trees


def random_gram_case(
    seed: int, kind: str, splits: str, ball: str | None, constant: Fraction = Fraction(0), size: float = 1.0
) -> Case:
    """The same with Gram leaves; with a ``constant`` of 2**20 and multipliers up to 1 all leaves hold."""
    network, checker, trees = random_case(seed, kind, splits, ball, constant)
    rng = np.random.default_rng([seed, 1])
    pairs = zip(trees, query.problems(checker), strict=True)
    return network, checker, tuple(with_gram_leaves(rng, tree, network, problem, size=size) for tree, problem in pairs)


def single_leaf(margins: int, anchor: int = ADAPTIVE, lines: int = -3) -> ProofTree:
    return ProofTree(
        np.zeros(1, np.uint8), np.zeros(0, np.int32), np.zeros(0), np.array([anchor], np.uint8),
        np.array([lines], np.int32), np.zeros((0, 0), np.uint8), np.zeros(0, np.int32), np.ones((1, margins)), np.zeros(0),
    )  # fmt: skip


def judged(audit: Callable, proof: Proof, network: Network, checker: Checker) -> Fraction | float | None:
    """The margin, or None if rejected."""
    try:
        margin = audit(proof, network, checker)
    except CertificateError:
        return None
    return margin if margin == math.inf else Fraction(margin)
