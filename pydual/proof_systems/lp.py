"""The triangle LP: the adversary plays any point of the convex relaxation of each ReLU (Ehlers 2017; Wong and Kolter 2018)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pydual import certificate
from pydual.optimize.highs import minimize
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.duals import ADAPTIVE_START, Duals, Nodes, ascend, better_of, root_nodes
from pydual.proof_systems.root_bound import RootBound, RootState, with_bounds
from pydual.relax.frame import Frame, make_frame
from pydual.relax.triangle import triangle_program


@dataclass(frozen=True)
class TriangleLP(RootBound):
    """Solved by HiGHS; its duals become slopes and multipliers, whose bound is evaluated anew.

    Over an l1 or l2 ball the program knows only a polytope around the ball; the bound is evaluated over the ball.
    The CROWN bound counts where it is better: over balls, or where a program does not end in time. Problems with products
    that lines leave open get a second program, with McCormick's inequalities (products.py).
    """

    name = "lp"
    anchor = certificate.ADAPTIVE

    def step(self, state: RootState, seconds: float) -> RootState:
        from pydual.proof_systems.products import with_products

        frame, later = make_frame(state.groups[0], self.anchor), state.groups[1:]
        state = with_bounds(state, frame, self.evaluate(frame, root_nodes(frame), seconds))
        return replace(with_products(state, frame, seconds), groups=later, finished=not later)

    def evaluate(self, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        alpha = np.full_like(nodes.alpha, ADAPTIVE_START)
        beta, weights = np.zeros_like(nodes.beta), frame.group.allowed[nodes.problem].astype(float)
        weights /= weights.sum(axis=1, keepdims=True)
        solved: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        for row, problem in enumerate(nodes.problem):
            if seconds <= 0:
                break
            program = triangle_program(frame, int(problem), nodes.phase[row], binary=False)
            solution = minimize(program.model, seconds)
            seconds = max(seconds - solution.seconds, 0.0)
            if solution.row_dual is not None:
                alpha[row], beta[row], weights[row] = program.duals(solution)
            if solution.point is not None:
                solved.append((row, program.x(solution), program.y(solution), program.z(solution)))
        duals = ascend(frame, replace(nodes, alpha=alpha, beta=beta, weights=weights), steps=0, rate=0.0, target=0.0)
        x, y, z = duals.x.copy(), duals.y.copy(), duals.z.copy()
        for row, *played in solved:
            x[row], y[row], z[row] = played
        return better_of(replace(duals, x=x, y=y, z=z), Crown().evaluate(frame, nodes, seconds))
