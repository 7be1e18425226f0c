"""Seeded random networks, checkers and proofs for tests, with the truth by exact enumeration where there is one input.

Nothing here comes from a prover: the proofs are random hints, valid in form, true or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import scipy.sparse as sparse

from pydual.audit import query
from pydual.certificate import REFINED, Proof, ProofTree, Refinement
from pydual.checker import Atom, Checker, Condition, Linear, X, Y
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder, Relu, Value
from pydual.region import Ball, Region

Generator = np.random.Generator


# networks


def random_matrix(rng: Generator, rows: int, columns: int) -> np.ndarray | sparse.csr_array:
    """Dense or CSR; entries in eighths, float32 or float64; some rows may be zero."""
    matrix = rng.normal(size=(rows, columns))
    form = rng.integers(4)
    if form == 0:
        matrix = np.round(matrix * 8) / 8
    elif form == 1:
        matrix = matrix.astype(np.float32).astype(np.float64)
    elif form == 2:
        matrix *= rng.random((rows, columns)) < 0.4
        return sparse.csr_array(matrix)
    return matrix


def random_network(rng: Generator, inputs: int, outputs: int = 2, *, width: int = 4) -> Network:
    """Affine maps and ReLUs in several arrangements: plain layers, residual sums, one value read by two ReLUs."""
    graph = GraphBuilder((inputs,))
    value = _affine(rng, graph, [graph.input], int(rng.integers(1, width + 1)))
    for _ in range(int(rng.integers(1, 4))):
        source = value
        value = graph.relu(source)
        operands = [value]
        if rng.random() < 0.4:
            operands.append(source)  # as in a leaky ReLU
        if rng.random() < 0.3:
            operands.append(graph.input)
        if rng.random() < 0.2:
            operands.append(graph.relu(source))
        value = _affine(rng, graph, operands, int(rng.integers(1, width + 1)))
    if rng.random() < 0.2:
        value = graph.relu(value)
    value = _affine(rng, graph, [value], outputs)
    return Network.from_graph(graph, value)


def _affine(rng: Generator, graph: GraphBuilder, operands: list[Value], rows: int) -> Value:
    terms = [(operand, random_matrix(rng, rows, operand.size)) for operand in operands]
    return graph.affine(terms, np.round(rng.normal(size=rows) * 16) / 16, (rows,))


def exact_values(network: Network, x: list[Fraction]) -> list[list[Fraction]]:
    """All values of the network at a rational point, in rational arithmetic."""
    values = [x]
    for primitive in network.primitives:
        if isinstance(primitive, Relu):
            values.append([max(v, Fraction(0)) for v in values[primitive.source]])
            continue
        total = [Fraction(b) for b in primitive.bias.tolist()]
        for source, matrix in primitive.terms:
            dense = matrix.toarray() if sparse.issparse(matrix) else matrix
            for i, row in enumerate(dense.tolist()):
                total[i] += sum(Fraction(a) * v for a, v in zip(row, values[source], strict=True) if a)
        values.append(total)
    return values


# questions


def random_region(rng: Generator, inputs: int) -> Region:
    center = rng.normal(size=inputs)
    radius = rng.choice([0.02, 0.2, 1.0]) * rng.random(inputs)
    lower, upper = center - radius, center + radius
    if rng.random() < 0.6:
        return Region(lower, upper)
    middle = center + 0.3 * radius * rng.normal(size=inputs)
    return Region(lower, upper, Ball(middle, float(radius.sum() * rng.random() + 0.001), str(rng.choice(["l1", "l2"]))))


def random_points(rng: Generator, problem: query.Problem, number: int) -> Iterator[list[Fraction]]:
    """Points of a problem's region: corners and the inside of the box, drawn toward the center of the ball."""
    lower, upper = np.array(problem.lower), np.array(problem.upper)
    for _ in range(number):
        share = rng.random(len(lower)) if rng.random() < 0.5 else rng.integers(0, 2, len(lower))
        x = np.clip(lower + share * (upper - lower), lower, upper)
        point = [Fraction(v) for v in x.tolist()]
        if problem.ball is not None:
            center = [Fraction(v) for v in problem.ball.center]
            step = Fraction(1)
            while not in_ball(problem, mixed := [c + step * (p - c) for p, c in zip(point, center, strict=True)]):
                step = step * 3 / 4 if step > Fraction(1, 10**6) else Fraction(0)
            point = mixed
        if all(low <= p <= high for low, p, high in zip(problem.lower, point, problem.upper, strict=True)):
            yield point


def in_ball(problem: query.Problem, x: list[Fraction]) -> bool:
    if problem.ball is None:
        return True
    steps = [p - Fraction(c) for p, c in zip(x, problem.ball.center, strict=True)]
    if problem.ball.norm == "l1":
        return sum(map(abs, steps)) <= Fraction(problem.ball.radius)
    return sum(s * s for s in steps) <= Fraction(problem.ball.radius) ** 2


def margins_at(problem: query.Problem, network: Network, x: list[Fraction]) -> list[Fraction]:
    """The values of a problem's margins at a point."""
    y = exact_values(network, x)[network.output]
    return [
        m.constant + sum(c * x[i] for i, c in m.x.items()) + sum(c * y[j] for j, c in m.y.items()) for m in problem.margins
    ]


def is_catastrophe(problem: query.Problem, values: list[Fraction]) -> bool:
    return all(v < 0 or (v == 0 and not m.strict) for v, m in zip(values, problem.margins, strict=True))


def random_checker(rng: Generator, network: Network, region: Region) -> Checker:
    """A condition that is often not quite, and sometimes really, fulfilled in the region."""
    points = [region.lower + rng.random(region.size) * (region.upper - region.lower) for _ in range(20)]
    samples = [(x, network.evaluate(x)) for x in points]

    def atom() -> Atom:
        linear = sum((Fraction(int(rng.integers(-3, 4)), 3) * Y[j] for j in range(network.output_size)), Linear({}, {}))
        if rng.random() < 0.3:
            linear = linear + Fraction(int(rng.integers(-3, 4)), 7) * X[int(rng.integers(region.size))]
        exact = [linear.at([Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()]) for x, y in samples]
        gap = Fraction(rng.choice([-0.05, 0.01, 0.3, 1.0, 3.0])) * (1 + max(exact) - min(exact))
        return Atom(linear - min(exact) + gap, strict=bool(rng.random() < 0.3))

    condition: Condition = atom()
    for _ in range(int(rng.integers(0, 3))):
        condition = condition & atom() if rng.random() < 0.7 else condition | atom()
    if rng.random() < 0.3:
        i = int(rng.integers(region.size))
        condition = condition & (X[i] <= float(region.upper[i] - 0.2 * (region.upper[i] - region.lower[i])))
    return Checker(region, condition)


# the truth with one input


@dataclass(frozen=True)
class Truth:
    """``margin``: the least over problems and points of the greatest margin (infinite if no problem has a point)."""

    margin: Fraction | float
    catastrophe: bool


def truth(network: Network, checker: Checker) -> Truth:
    """By enumeration of the linear pieces: for networks with one input."""
    assert network.input_size == 1
    least: Fraction | float = float("inf")
    catastrophe = False
    for problem in query.problems(checker):
        low, high = Fraction(problem.lower[0]), Fraction(problem.upper[0])
        if problem.ball is not None:
            low = max(low, Fraction(problem.ball.center[0]) - Fraction(problem.ball.radius))
            high = min(high, Fraction(problem.ball.center[0]) + Fraction(problem.ball.radius))
        if low > high:
            continue
        for x in _candidates(problem, network, low, high):
            values = margins_at(problem, network, [x])
            least = min(least, max(values, default=float("-inf")))
            catastrophe |= is_catastrophe(problem, values)
    return Truth(least, catastrophe)


def _candidates(problem: query.Problem, network: Network, low: Fraction, high: Fraction) -> list[Fraction]:
    """The ends of all pieces on which values, and order and signs of the margins are those of lines; and midpoints."""
    points = [low, high]
    for primitive in network.primitives:
        if isinstance(primitive, Relu):
            points = _with_zeros(points, [exact_values(network, [x])[primitive.source] for x in points])
    rows = [margins_at(problem, network, [x]) for x in points]
    points = _with_zeros(points, [[*row, *(a - b for a in row for b in row)] for row in rows])
    return points + [(a + b) / 2 for a, b in pairwise(points)]


def _with_zeros(points: list[Fraction], rows: list[list[Fraction]]) -> list[Fraction]:
    """The points, and where functions that are linear between them (``rows``: their values there) vanish."""
    found = set(points)
    for (a, row_a), (b, row_b) in pairwise(zip(points, rows, strict=True)):
        found |= {a + (b - a) * p / (p - q) for p, q in zip(row_a, row_b, strict=True) if p * q < 0}
    return sorted(found)


# hints


def random_proof(rng: Generator, network: Network, checker: Checker) -> Proof:
    """A proof with random hints, valid in form."""
    trees = [random_tree(rng, network, problem) for problem in query.problems(checker)]
    return Proof.of(network.digest, query.query_digest(checker), trees)


def random_tree(rng: Generator, network: Network, problem: query.Problem) -> ProofTree:
    """Random splits, anchors, lines, slopes and multipliers, each leaf below an anchor."""
    kind: list[int] = []
    index: list[int] = []
    threshold: list[float] = []
    anchor: list[int] = []
    depths: list[int] = []

    def grow(depth: int, taken: tuple[int, ...]) -> None:
        anchor.append(int(rng.choice(codes)) if depth == 0 or rng.random() < 0.5 else 0)
        choice = rng.random()
        free = [j for j in range(network.neurons) if j not in taken]
        if depth > 3 or choice < 0.4 or (choice < 0.7 and not free):
            kind.append(0)
            depths.append(len(taken))
            return
        if choice < 0.7:
            kind.append(2)
            index.append(int(rng.choice(free)))
            below = (*taken, index[-1])
        else:
            kind.append(1)
            index.append(int(rng.integers(network.input_size)))
            share = rng.choice([0.5, rng.random(), 1.2])
            threshold.append(problem.lower[index[-1]] * (1 - share) + problem.upper[index[-1]] * share)
            below = taken
        grow(depth + 1, below)
        grow(depth + 1, below)

    row, named = random_slopes(rng, network)
    lines = rng.integers(-3, len(row), (2, network.neurons), dtype=np.int32)
    refinements = (Refinement(lines, row, named, *random_cases(rng.spawn(1)[0], network)),) if rng.random() < 0.5 else ()
    codes = [1, 2, 3, 3, 3, *([REFINED] * 3 * len(refinements))]
    grow(0, ())
    slopes, slope_neurons = random_slopes(rng, network)
    multipliers: np.ndarray = rng.random((len(depths), len(problem.margins))) * rng.integers(0, 3, len(problem.margins))
    if rng.random() < 0.5:
        multipliers = rng.integers(0, 3, multipliers.shape).astype(np.uint8)
    elif rng.random() < 0.5:
        multipliers = multipliers.astype(np.float32)
    betas = rng.random(sum(depths)) * (rng.random(sum(depths)) < 0.5) * rng.choice([0.01, 0.3, 2.0])
    return ProofTree(
        np.array(kind, np.uint8),
        np.array(index, np.int32),
        np.array(threshold, np.float64),
        np.array(anchor, np.uint8),
        rng.integers(-3, len(slopes), len(depths), dtype=np.int32),
        slopes,
        slope_neurons,
        multipliers,
        betas.astype(np.float32 if rng.random() < 0.5 else np.float64),
        refinements=refinements,
    )


def random_cases(rng: Generator, network: Network) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trees of cases for some of the ends, by neurons before them, with random multipliers; ``rng`` for them alone."""
    source = [p.source for p in network.primitives if isinstance(p, Relu) for _ in range(p.size)]
    trees, splits, betas = np.full((2, network.neurons), -1, np.int32), list[int](), 0
    for end in np.flatnonzero(rng.random(2 * network.neurons) < 0.4).tolist():
        before = [j for j, value in enumerate(source) if value < source[end % network.neurons]]
        trees.flat[end] = trees.max() + 1
        pending = [0]
        while pending:
            depth = pending.pop()
            inner = depth < 3 and len(before) > 0 and rng.random() < 0.6
            splits.append(int(rng.choice(before)) if inner else -1)
            pending += [depth + 1] * 2 if inner else []
            betas += 0 if inner else depth
    multipliers: np.ndarray = rng.exponential(size=betas) * rng.integers(0, 2, betas)
    return trees, np.array(splits, np.int32), multipliers.astype(rng.choice(["f4", "f8"]))


def random_slopes(rng: Generator, network: Network) -> tuple[np.ndarray, np.ndarray]:
    columns = int(rng.integers(0, network.neurons + 1))
    slopes: np.ndarray = rng.random((int(rng.integers(1, 4)), columns))
    form = rng.integers(3)
    if form == 0:
        slopes = rng.integers(0, 129, slopes.shape).astype(np.uint8)
    elif form == 1:
        slopes = slopes.astype(np.float32)
    return slopes, rng.permutation(network.neurons)[:columns].astype(np.int32)
