"""How much of a margin rounding errors of float32 may use up: what a prover has to keep in reserve.

A proof found in real arithmetic with this reserve usually survives an audit of float32 execution; only the audit decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from pydual.checker import Atom
from pydual.network import CURVES, Network
from pydual.operators.primitives import Affine, Curve
from pydual.problem import Problem

POINTS = 8  # of the region, where the error is estimated
UNIT = 2.0**-24  # u of PROOFS.md, section 6


def with_reserve(problems: tuple[Problem, ...], factor: float) -> tuple[Problem, ...]:
    """The same problems, for proofs about float32: with margins lowered by ``factor`` times estimated errors."""
    return tuple(_reserved(problem, factor) for problem in problems)


def _reserved(problem: Problem, factor: float) -> Problem:
    lower, upper = problem.region.lower, problem.region.upper
    at = np.vstack([np.full(len(lower), 0.5), np.random.default_rng(0).random((POINTS - 1, len(lower)))])
    effects = np.zeros(len(problem.margins))
    for point in lower + at * (upper - lower):
        values = [column[:, 0] for column in problem.network.values(point[:, None])]
        errors = list(_errors(problem.network, values))
        effects = np.maximum(effects, [_effect(problem.network, values, errors, atom) for atom in problem.margins])
    lowered = [atom.margin + -Fraction(factor * effect) for atom, effect in zip(problem.margins, effects, strict=True)]
    margins = tuple(replace(a, margin=m) for a, m in zip(problem.margins, lowered, strict=True))
    return replace(problem, margins=margins, real=False)


def _errors(network: Network, values: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The eps of section 6 of each value, at a point; underflow is left out."""
    sizes: list[np.ndarray] = [np.abs(values[0])]
    yield np.zeros(network.input_size)
    roundings = [0]
    for primitive, value in zip(network.primitives, values[1:], strict=True):
        if isinstance(primitive, Affine):
            below = max((roundings[s] for s, _ in primitive.terms), default=0)
            widths = sum((np.diff(m.indptr) if hasattr(m, "indptr") else m.shape[1]) for _, m in primitive.terms)
            roundings.append(int(np.max(widths, initial=0)) + 4 + below)
            sizes.append(np.abs(primitive.bias) + sum(abs(m) @ sizes[s] for s, m in primitive.terms))
            yield (roundings[-1] + below) * UNIT * sizes[-1]
        else:
            roundings.append(0)
            sizes.append(np.abs(value))
            yield np.full(primitive.size, 2.0**-20 if isinstance(primitive, Curve) else 0.0)


def _effect(network: Network, values: list[np.ndarray], errors: list[np.ndarray], atom: Atom) -> float:
    """``sum |w| eps`` with the gradient ``w`` of the margin with respect to each value, at a point."""
    gradient = [np.zeros(size) for size in network.sizes]
    for j, c in atom.margin.y.items():
        gradient[network.output][j] = float(c)
    total = 0.0
    for k in range(len(network.primitives), 0, -1):
        primitive, w = network.primitives[k - 1], gradient[k]
        total += float(np.abs(w) @ errors[k])
        if isinstance(primitive, Affine):
            for source, matrix in primitive.terms:
                gradient[source] += matrix.T @ w
        else:
            gradient[primitive.source] += w * _derivative(primitive, values[primitive.source])
    return total


def _derivative(primitive: object, p: np.ndarray) -> np.ndarray:
    if not isinstance(primitive, Curve):
        return (p > 0).astype(float)
    value = CURVES[primitive.kind](p)
    return value * (1 - value) if primitive.kind == "sigmoid" else 1 - value**2
