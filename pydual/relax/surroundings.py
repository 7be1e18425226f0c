"""How far the values of a network are from those at the center of an l2 ball (PROOFS.md, section 4, Ball leaves)."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from pydual.network import Network
from pydual.operators.primitives import Affine, Curve, Matrix, is_sparse
from pydual.region import Ball

ABOVE = 1e-9  # by this share a guess of a norm is above the norm
LARGEST = 2048  # of the smaller side of a matrix whose norm is computed: the time of an audit grows with its cube
LIPSCHITZ = {"relu": 1.0, "tanh": 1.0, "sigmoid": 0.25, "square": np.inf}


@dataclass(frozen=True, eq=False)
class Surroundings:
    """``center`` (units,): what the units read at the ball's center; ``radius`` (layers,): how far what a layer reads is from
    that in the ball at most, in the Euclidean norm, infinity where nothing is known. ``norms``: for each matrix of the
    network's affine primitives, in order, a number a little above its greatest singular value; 0 where sums serve."""

    center: np.ndarray
    radius: np.ndarray
    norms: np.ndarray


def surroundings(network: Network, ball: Ball) -> Surroundings:
    """Those of an l2 ball, in float64: hints, which audits compute anew."""
    values = network.values(np.asarray(ball.center, dtype=float)[:, None])
    radii: list[float] = [float(ball.radius)]
    norms = _norms(network)
    center, radius, bounds = [np.zeros(0)], [], iter([bound for _, bound in norms])
    for primitive in network.primitives:
        if isinstance(primitive, Affine):
            reach = sum(next(bounds) * radii[source] for source, _ in primitive.terms)
            radii.append(reach if np.isfinite(reach) else np.inf)
            continue
        center.append(values[primitive.source][:, 0])
        radius.append(radii[primitive.source])
        radii.append(LIPSCHITZ[primitive.kind if isinstance(primitive, Curve) else "relu"] * radii[primitive.source])
    return Surroundings(np.concatenate(center), np.array(radius), np.array([guess for guess, _ in norms]))


_known: WeakKeyDictionary[Network, list[tuple[float, float]]] = WeakKeyDictionary()


def _norms(network: Network) -> list[tuple[float, float]]:
    """Of all matrices; computed once for each network object."""
    if network not in _known:
        affine = [primitive for primitive in network.primitives if isinstance(primitive, Affine)]
        _known[network] = [_norm(matrix) for primitive in affine for _, matrix in primitive.terms]
    return _known[network]


def _norm(matrix: Matrix) -> tuple[float, float]:
    """The guess, and what an audit will make of it: about the norm, or the bound by sums of magnitudes in rows and columns."""
    if min(matrix.shape) == 0:
        return 0.0, 0.0
    magnitudes = abs(matrix)
    sums = float(np.prod([np.sqrt(magnitudes.sum(axis=axis).max(initial=0.0)) for axis in (0, 1)]))
    if min(matrix.shape) > LARGEST:
        return 0.0, sums
    wide = matrix.shape[0] <= matrix.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        gram = matrix @ matrix.T if wide else matrix.T @ matrix
    dense = gram.toarray() if is_sparse(gram) else gram
    if not np.isfinite(dense).all():
        return 0.0, sums
    guess = float(np.sqrt(max(np.linalg.eigvalsh(dense)[-1], 0.0))) * (1.0 + ABOVE)
    return (guess, guess) if guess < sums else (0.0, sums)
