"""The door to HiGHS: linear and mixed-integer linear programs. Its numbers are guesses; only signs of duals are used."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

POLL_SECONDS = 0.05  # how often a running solve looks for Ctrl-C


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Minimize ``cost @ v`` with ``row_lower <= rows @ v <= row_upper``, ``lower <= v <= upper``, some ``v`` integer."""

    cost: np.ndarray
    rows: sparse.csr_array
    row_lower: np.ndarray
    row_upper: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    integer: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class LinearSolution:
    """``status`` is "optimal", "infeasible" or "unfinished". ``bound`` is the dual bound, ``point`` None if there is none.

    ``row_dual[i]`` is the rate at which the optimum grows with the bound of row i; where the program is infeasible, the
    multipliers of the rows that show it (Farkas), or None (LP only). ``seconds``: what the call took.
    """

    status: str
    bound: float
    value: float
    point: np.ndarray | None
    row_dual: np.ndarray | None
    seconds: float


def minimize(model: LinearModel, seconds: float = np.inf) -> LinearSolution:
    """Solve with one thread in at most about ``seconds``; Ctrl-C stops it."""
    try:
        import highspy
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Ctrl-C while the extension module was being initialized
            raise KeyboardInterrupt from None
        raise
    begin = time.monotonic()

    class QuietHighs(highspy.Highs):
        def enableCallbacks(self) -> None:  # runs inside __init__, which would print a banner
            self.setOptionValue("output_flag", False)
            super().enableCallbacks()

    highs = QuietHighs()
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("time_limit", float(min(max(seconds, 1e-3), 1e9)))
    highs.passModel(_as_highs(model, highspy))
    highs.HandleUserInterrupt = True
    highs.startSolve()
    try:
        while not highs.wait(POLL_SECONDS)[0]:
            pass
    except KeyboardInterrupt:
        highs.cancelSolve()
        highs.wait()
        raise
    return _solution(highs, model, highspy, time.monotonic() - begin)


def _as_highs(model: LinearModel, highspy):  # type: ignore[no-untyped-def]
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(model.cost), len(model.row_lower)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = model.cost, _bounded(model.lower), _bounded(model.upper)
    lp.row_lower_, lp.row_upper_ = _bounded(model.row_lower), _bounded(model.row_upper)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = model.rows.indptr.astype(np.int32)
    lp.a_matrix_.index_ = model.rows.indices.astype(np.int32)
    lp.a_matrix_.value_ = model.rows.data
    if model.integer is not None:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(flag)] for flag in model.integer]
    return lp


def _bounded(values: np.ndarray) -> np.ndarray:
    """HiGHS takes 1e30 and beyond as infinite."""
    return np.clip(values, -1e30, 1e30)


def _solution(highs, model: LinearModel, highspy, seconds: float) -> LinearSolution:  # type: ignore[no-untyped-def]
    status = highs.getModelStatus()
    info, solution = highs.getInfo(), highs.getSolution()
    if status == highspy.HighsModelStatus.kInfeasible:
        _, found, ray = highs.getDualRay() if model.integer is None else (None, False, None)
        return LinearSolution("infeasible", np.inf, np.inf, None, np.array(ray) if found else None, seconds)
    point = np.array(solution.col_value) if info.primal_solution_status == 2 else None
    value = float(info.objective_function_value) if point is not None else np.inf
    optimal = status == highspy.HighsModelStatus.kOptimal
    if model.integer is not None and model.integer.any():  # HiGHS gives no MIP bound where nothing is integer
        return LinearSolution("optimal" if optimal else "unfinished", float(info.mip_dual_bound), value, point, None, seconds)
    dual = np.array(solution.row_dual) if optimal else None
    bound = value if optimal else -np.inf
    return LinearSolution("optimal" if optimal else "unfinished", bound, value, point, dual, seconds)
