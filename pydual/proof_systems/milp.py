"""Mixed-integer programming: the exact big-M encoding, solved by HiGHS (Tjeng et al. 2019).

HiGHS's word is not a proof. Where it finds no attack, branch and bound proves the problem again, and that is the
certificate; where that does not end in time, the problem stays open. Sigmoids, tanh and squares, which no mixed-integer linear
program is equal to, are relaxed by lines: problems that HiGHS cannot exclude then are decided by branch and bound, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pydual import certificate
from pydual.optimize.highs import minimize
from pydual.problem import Problem
from pydual.proof_systems.base import Play, no_candidates, refuse_lists, start
from pydual.proof_systems.branch_and_bound import BranchAndBound
from pydual.proof_systems.claims import ClaimState, prove_claims
from pydual.relax.frame import group, make_frame
from pydual.relax.triangle import triangle_program


@dataclass(frozen=True, eq=False, kw_only=True)
class MILPState(ClaimState):
    waiting: tuple[Problem, ...]


@dataclass(frozen=True)
class MILP:
    """``proof`` is the branch and bound that turns HiGHS's claims into proofs."""

    proof: BranchAndBound = BranchAndBound()

    name = "milp"
    complete = True

    def init(self, problems: tuple[Problem, ...]) -> MILPState:
        """Raises UnsupportedError for lists of points."""
        refuse_lists(problems, self.name)
        return MILPState(**vars(start(problems)), waiting=problems)

    def step(self, state: MILPState, seconds: float) -> MILPState:
        return self._claim(state, seconds) if state.waiting else prove_claims(self.proof, state, seconds)

    def _claim(self, state: MILPState, seconds: float) -> MILPState:
        problem = state.waiting[0]
        frame = make_frame(group([problem])[0], certificate.ADAPTIVE)
        program = triangle_program(frame, 0, np.zeros(len(frame.lower), dtype=np.int8), binary=True)
        solution = minimize(program.model, seconds)
        safe = solution.bound > 0
        out_of_time = not safe and solution.status == "unfinished" and np.isfinite(seconds)
        waiting = state.waiting if out_of_time else state.waiting[1:]
        lower = {**state.lower, problem.index: solution.bound}
        plays, candidates = dict(state.plays), no_candidates(state.problems)
        if solution.point is not None:
            candidates = program.x(solution)[None, :]
        if solution.point is not None and not safe:
            plays[problem.index] = Play(problem, candidates[0], solution.value, program.y(solution), program.z(solution))
        exact = problem.network.piecewise_linear
        claimed = (*state.claimed, problem) if safe or not (exact or out_of_time) else state.claimed
        excluded = state.statistics.get("claimed_safe", 0) + int(safe)
        return replace(
            state,
            waiting=waiting,
            claimed=claimed,
            lower=lower,
            plays=plays,
            candidates=candidates,
            finished=not waiting and not claimed,
            claim=f"HiGHS finds no attack on {excluded} of {len(state.problems)} problems; that is not certified."
            if excluded
            else "",
            statistics=state.counting(programs=1, claimed_safe=int(safe)),
        )
