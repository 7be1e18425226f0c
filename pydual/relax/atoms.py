"""Points from moments: the pseudo-mean, and where the moment matrix is flat, the atoms (Henrion and Lasserre 2005); where it
is not, pseudo-means given a neuron's phase (conditioning.py)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from pydual.relax.conditioning import conditioned_means
from pydual.relax.moments import Block, MomentProblem
from pydual.relax.polynomials import Monomial, Polynomial
from pydual.relax.sos_cell import SosCell

RANK = 1e-4  # eigenvalues below this share of the greatest count as 0


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The normal distribution of the variables of ``cell`` (scaled: ``mean`` (variables,), ``covariance``) that has the
    pseudo-moments of degree 1 and, of variables that have a clique in common, of degree 2."""

    cell: SosCell
    mean: np.ndarray
    covariance: np.ndarray

    def pairs(self, random: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (``number``, inputs), clipped to the box, and outputs (``number``, kept) of what is kept."""
        cell, count = self.cell, len(self.cell.moving)
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        s = self.mean + random.standard_normal((number, len(self.mean))) @ root.T
        x = np.tile(cell.region.lower, (number, 1))
        x[:, cell.moving] += s[:, :count] * cell.scale[:count]
        kept = [[_mean(cell.value(k), {}, row) for k in range(len(cell.numbers))] for row in s.tolist()]
        return np.clip(x, cell.region.lower, cell.region.upper), np.array(kept).reshape(number, -1)


@dataclass(frozen=True, eq=False)
class Atoms:
    """``points`` (points, inputs) to be tried; ``mean``: the pseudo-mean of the inputs and of the kept neurons.

    The mean of a square is its pseudo-moment, where the relaxation has that, else the square of the mean. ``flat``: in every
    clique, the moments of degree 2d have the rank of those of degree 2d - 2, which is 1 unless all moments are in one clique:
    then the points are minimizers, up to the solver's accuracy.
    """

    points: np.ndarray
    mean: tuple[np.ndarray, np.ndarray]
    flat: bool
    gaussian: Gaussian


def find_atoms(problem: MomentProblem, moments: np.ndarray) -> Atoms:
    """The atoms of moments that a solver found."""
    cell, degree = problem.cell, problem.highest
    number = {m: k for k, m in enumerate(problem.moments)}
    scaled = [float(moments[number[(v,)]]) if (v,) in number else 0.0 for v in range(cell.size)]
    means = np.array(scaled) * cell.scale
    free = [block for block in problem.blocks if block.weight.facts == (0, 0)]
    matrices = [(block.matrix @ moments).reshape(len(block.basis), -1) for block in free]
    ranks = [(_rank(_upto(b, m, degree // 2 - 1)), _rank(m)) for b, m in zip(free, matrices, strict=True)]
    flat = degree > 2 and all(low == high and (high == 1 or len(free) == 1) for low, high in ranks)
    points = [means[: len(cell.moving)]]
    for block, matrix in zip(free, matrices, strict=True):
        if all((v,) in block.basis for v in range(len(cell.moving))):
            rows = _atoms(block, matrix, len(cell.moving)) if flat else _leading(block, matrix, len(cell.moving))
            points += list(rows * cell.scale[: len(cell.moving)])
    known = {m: float(moments[k]) for m, k in number.items()}
    if degree > 2 and not flat:
        points += list(conditioned_means(problem, known) * cell.scale[: len(cell.moving)])
    every = np.tile(cell.region.lower, (len(points), 1))
    every[:, cell.moving] += np.array(points)
    every = np.clip(every, cell.region.lower, cell.region.upper)
    kept = [_mean(problem.ring.reduce(cell.value(k)), known, scaled) for k in range(len(cell.numbers))]
    gaussian = Gaussian(cell, np.array(scaled), _covariance(problem, known, scaled))
    return Atoms(every, (every[0], np.array(kept)), flat, gaussian)


def _covariance(problem: MomentProblem, moments: dict[Monomial, float], means: list[float]) -> np.ndarray:
    """0 for variables without a clique in common."""
    size = len(means)
    seconds = [[_mean(problem.ring.normal((min(v, w), max(v, w))), moments, means) for w in range(size)] for v in range(size)]
    return np.array(seconds).reshape(size, size) - np.outer(means, means)


def _mean(polynomial: Polynomial, moments: dict[Monomial, float], means: list[float]) -> float:
    """The pseudo-mean of a polynomial; monomials that have no moment count as products of means."""
    return sum(c * moments.get(m, prod(means[v] for v in m)) for m, c in polynomial.items())


def _rank(matrix: np.ndarray) -> int:
    values = np.linalg.eigvalsh(matrix)
    return int(np.count_nonzero(values > RANK * values[-1]))


def _upto(block: Block, matrix: np.ndarray, degree: int) -> np.ndarray:
    low = [k for k, m in enumerate(block.basis) if len(m) <= degree]
    return matrix[np.ix_(low, low)]


def _leading(block: Block, matrix: np.ndarray, inputs: int) -> np.ndarray:
    """The inputs of the leading eigenvector, scaled so that its entry of 1 is 1."""
    vector = np.linalg.eigh(matrix)[1][:, -1]
    if abs(vector[0]) < 1e-6:
        return np.zeros((0, inputs))
    return np.array([[vector[block.basis.index((v,))] / vector[0] for v in range(inputs)]])


def _atoms(block: Block, matrix: np.ndarray, inputs: int) -> np.ndarray:
    """The inputs of all atoms of a flat moment matrix, from commuting matrices of multiplication by inputs."""
    values, vectors = np.linalg.eigh(matrix)
    rank = _rank(matrix)
    rows = vectors[:, -rank:] * np.sqrt(values[-rank:])
    half = max(map(len, block.basis))
    low = [k for k, m in enumerate(block.basis) if len(m) < half]
    places = {m: k for k, m in enumerate(block.basis)}
    multiply = []
    for v in range(inputs):
        images = rows[[places[tuple(sorted((*block.basis[k], v)))] for k in low]]
        multiply.append(np.linalg.lstsq(rows[low], images, rcond=None)[0])
    mixed = np.tensordot(np.random.default_rng(0).uniform(0.5, 1.0, inputs), multiply, axes=1)
    basis = np.linalg.eig(mixed)[1]
    diagonal = [np.diagonal(np.linalg.solve(basis, m @ basis)).real for m in multiply]
    return np.array(diagonal).T.reshape(rank, inputs)
