"""The door to conic solvers, through cvxpy: the greatest of some linear forms is minimized. Its numbers are guesses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from pydual.errors import InputError

TIME_LIMITS = {"CLARABEL": "time_limit", "SCS": "time_limit_secs"}  # of the solvers that can be given one


@dataclass(frozen=True, eq=False)
class ConicSolution:
    """``moments``; of each block the ``grams`` (m, m) that are dual to it; ``weights`` of the forms, which sum up to 1.

    All of them are None where the solver ended with nothing; ``status`` is cvxpy's.
    """

    status: str
    moments: np.ndarray | None = None
    grams: tuple[np.ndarray, ...] = ()
    weights: np.ndarray | None = None


def check_solver(name: str) -> None:
    """Raises InputError unless cvxpy and the solver are installed."""
    try:
        import cvxpy
    except ImportError:
        raise InputError("The proof system 'sos' needs cvxpy; install it with pip install 'pydual[sos]'.") from None
    installed = [solver for solver in cvxpy.installed_solvers() if solver in SEMIDEFINITE]
    if name not in installed:
        raise InputError(f"There is no conic solver '{name}' for semidefinite programs; installed: {', '.join(installed)}.")


SEMIDEFINITE = ("CLARABEL", "SCS", "MOSEK", "CVXOPT", "SDPA", "COPT")


def minimize_moments(
    forms: np.ndarray, blocks: Sequence[sparse.csr_array], solver: str, seconds: float = np.inf, room: float = 0.0
) -> ConicSolution:
    """Minimize ``max(forms @ y)`` with ``y[0] = 1`` where the blocks ``B @ y``, as square matrices, are semidefinite.

    ``room``, which is added to their diagonals, keeps the matrices that are dual to them small.
    """
    import cvxpy as cp

    sizes = [round(block.shape[0] ** 0.5) for block in blocks]
    rest = cp.Variable(forms.shape[1] - 1)
    least = cp.Variable()
    scalars = [k for k, size in enumerate(sizes) if size == 1]
    rows = sparse.vstack([sparse.csr_array((0, forms.shape[1])), *(blocks[k] for k in scalars)], format="csr")
    constraints = [forms[:, 1:] @ rest + forms[:, 0] <= least]
    constraints += [rows[:, 1:] @ rest + rows[:, [0]].toarray()[:, 0] >= -room] if scalars else []
    squares = [k for k, size in enumerate(sizes) if size > 1]
    for k in squares:
        entries = blocks[k][:, 1:] @ rest + blocks[k][:, [0]].toarray()[:, 0]
        constraints.append(cp.reshape(entries, (sizes[k], sizes[k]), order="C") >> -room * np.eye(sizes[k]))
    problem = cp.Problem(cp.Minimize(least), constraints)
    limit = {TIME_LIMITS[solver]: float(max(seconds, 0.1))} if solver in TIME_LIMITS and np.isfinite(seconds) else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cvxpy's, of inaccurate solutions: every number is looked at again
            problem.solve(solver=solver, **limit)
    except cp.error.SolverError as error:
        return ConicSolution(f"failed: {error}")
    if rest.value is None or any(constraint.dual_value is None for constraint in constraints):
        return ConicSolution(problem.status)
    grams: list[np.ndarray] = [np.zeros((size, size)) for size in sizes]
    for row, k in enumerate(scalars):
        grams[k][0, 0] = np.atleast_1d(constraints[1].dual_value)[row]
    for k, constraint in zip(squares, constraints[2 if scalars else 1 :], strict=True):
        grams[k] = (constraint.dual_value + constraint.dual_value.T) / 2
    weights = np.atleast_1d(constraints[0].dual_value)
    return ConicSolution(problem.status, np.concatenate([[1.0], rest.value]), tuple(grams), weights)
