"""A cell's Gram dual for the core, and its multipliers as products of facts (PROOFS.md, section 3, Gram leaves).

The core works in t in [-1, 1]: ``x = center + radius t`` for the inputs of positive width, ``z = half (1 + t)`` for kept
neurons, with ``half = upper / 2``. So ``z (upper - z) = half^2 (1 - t^2)``, and likewise for inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydual.region import Region
from pydual.relax.engine import _core
from pydual.relax.gram_products import ABOVE_LOWER, NOTHING, Facts, Products
from pydual.relax.reduced import Reduced, Rows, stacked

PRICED = 0.2  # of what kept neurons are worth: in a linear bound that is optimized, inputs may count for nothing
LEAST = 1e-2  # what kappas start above, as a share of the largest
ONE = 0  # the fact 1
TINY = 1e-12
ROUNDING = 1e-4  # of a bound


@dataclass(frozen=True, eq=False)
class GramCell:
    """What the adversary's relaxation of degree 2 is about: one function over a cell.

    ``moving``: the inputs of positive width; ``center``, ``radius`` of all. ``function`` is one row, ``cuts`` rows that are
    >= 0. ``neurons`` (kept,) are the numbers of the kept neurons, of ``all_neurons``.
    """

    reduced: Reduced
    region: Region
    function: Rows
    cuts: Rows
    neurons: np.ndarray
    all_neurons: int

    @property
    def slope(self) -> np.ndarray:
        return self.reduced.upper / (self.reduced.upper - self.reduced.lower)

    @property
    def half(self) -> np.ndarray:
        return self.reduced.upper / 2

    @property
    def center(self) -> np.ndarray:
        return (self.region.lower + self.region.upper) / 2

    @property
    def radius(self) -> np.ndarray:
        return (self.region.upper - self.region.lower) / 2

    @property
    def moving(self) -> np.ndarray:
        return np.flatnonzero(self.radius > 0)

    @property
    def facts(self) -> Facts:
        return Facts(self.reduced.lower, self.reduced.upper, self.radius[self.moving])

    def core_problem(self, products: Products = NOTHING) -> _core.GramProblem:
        places, numbers = self.facts.core_products(products)
        rows, moving = self._rows(), self.moving
        constant = rows.constant + rows.x @ self.center + rows.z @ self.half
        squares, ball_constant = np.zeros(0), 0.0
        if self.region.ball is not None:
            squares = self.radius[moving] ** 2
            ball_constant = float(np.sum((self.center - self.region.ball.center) ** 2) - self.region.ball.radius**2)
            constant[-2] = 0.0
        return _core.GramProblem(
            x=rows.x[:, moving] * self.radius[moving], h=rows.z * self.half, constant=constant, half=self.half,
            lower=self.reduced.lower, slope=self.slope, squares=squares, ball_constant=ball_constant,
            places=places, numbers=numbers,
        )  # fmt: skip

    def _rows(self) -> Rows:
        """In the order that the core wants: slacks, cuts, the linear part of the ball's square, the function."""
        y, kept = self.reduced.inputs, len(self.reduced.units)
        parts = [Rows(-y.x, np.eye(kept) - y.z, -y.constant), self.cuts]
        if self.region.ball is not None:
            away = 2 * (self.center - self.region.ball.center)
            parts.append(Rows(away[None], np.zeros((1, kept)), np.zeros(1)))
        return stacked([*parts, self.function])

    def start(self, alpha: np.ndarray, betas: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Multipliers that prove nearly what lines with the slopes ``alpha`` (kept,) do, and the scale of the lambdas.

        With the price ``v`` of a kept output: sigma = alpha v, mu = (1 - alpha) v where v >= 0, tau = -v elsewhere (triangle).
        """
        rest = stacked([self.function, self.cuts]).combined(np.concatenate([[1.0], -betas]))
        x, z = rest.x[0], rest.z[0]
        y, slope = self.reduced.inputs, self.slope
        price = np.zeros(len(z))
        for j in range(len(z) - 1, -1, -1):
            price[j] = z[j]
            kept = (alpha[j] if price[j] >= 0 else slope[j]) * price[j]
            x = x + kept * y.x[j]
            z = z + kept * y.z[j]
        over, under = np.maximum(price, 0), np.maximum(-price, 0)
        ball, pull = self._shares(x)
        worth = float(np.abs(price) @ self.half) / max(len(price) + len(pull), 1)
        floor = LEAST * max(float(np.abs(x * self.radius).mean()) / 2, PRICED * worth)
        multipliers = {
            "scaled_lambda": np.zeros(len(z)),
            "mu": (1 - alpha) * over,
            "sigma": alpha * over,
            "tau": under,
            "kappa_kept": np.full(len(z), floor),
            "beta": betas,
            "ball": ball,
            "kappa_inputs": pull + floor,
        }
        return multipliers, np.abs(price) + LEAST * np.abs(price).max(initial=1e-9)

    def _shares(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The multipliers of the ball (one or none) and of the inputs' boxes that bound ``x`` best over the region.

        With the multiplier b of the ball and the linear part g(b) in t, those of the boxes are max(|g_i| / 2 - b r_i^2, 0).
        """
        radius, pull = self.radius[self.moving], (x * self.radius)[self.moving]
        if self.region.ball is None:
            return np.zeros(0), np.abs(pull) / 2
        away = (self.center - self.region.ball.center)[self.moving]
        constant = np.sum((self.center - self.region.ball.center) ** 2) - self.region.ball.radius**2

        def boxes(b: float) -> np.ndarray:
            return np.maximum(np.abs(pull + 2 * b * radius * away) / 2 - b * radius**2, 0.0)

        def bound(b: float) -> float:
            linear, kappa = pull + 2 * b * radius * away, boxes(b)
            return float(b * constant - kappa.sum() - np.sum(linear**2 / (4 * (kappa + b * radius**2) + TINY)))

        most = np.linalg.norm(x) / self.region.ball.radius + TINY  # twice the best multiplier over the ball alone
        candidates = most * np.geomspace(1e-4, 1.0, 200)
        best = float(max(candidates, key=bound))
        return np.array([best]), boxes(best)

    def products(
        self, multipliers: dict[str, np.ndarray], extra: Products = NOTHING
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The products (products, 2) of facts, their multipliers, and the betas of the cuts; those of ``extra`` come last.

        In float32 where that proves as much up to ``ROUNDING`` of the bound, else in float64.
        """
        problem, units = self.core_problem(extra), self._units(extra)
        goal = (1.0 - ROUNDING) * problem.bound(multipliers)
        for kind in (np.float32, np.float64):
            values = {name: (part / units.get(name, 1.0)).astype(kind) for name, part in multipliers.items()}
            rounded = {name: value.astype(float) * units.get(name, 1.0) for name, value in values.items()}
            if kind is np.float64 or problem.bound(rounded) >= goal:
                break
        facts = self._facts(extra)
        pairs = np.concatenate([np.stack(np.broadcast_arrays(*facts[name]), axis=1) for name in facts])
        return pairs.astype(np.int32), np.concatenate([values[name] for name in facts]), values["beta"].astype(float)

    def _units(self, extra: Products) -> dict[str, np.ndarray]:
        """A multiplier of the core is this (1 if not named) times one of the product of facts."""
        second = np.zeros(len(extra))
        for kind in set(extra.kind.tolist()):
            mine = extra.kind == kind
            second[mine] = self.facts.half(kind)[extra.second[mine]]
        squares = {"kappa_kept": self.half**2, "kappa_inputs": self.radius[self.moving] ** 2}
        return {"scaled_lambda": -self.half, **squares, "rho": self.half[extra.first] * second}

    def _facts(self, extra: Products) -> dict[str, tuple[np.ndarray | int, np.ndarray | int]]:
        inputs = self.region.size
        low, neuron = 1 + 2 * self.moving, 1 + 2 * inputs + 4 * self.neurons
        facts: dict[str, tuple[np.ndarray | int, np.ndarray | int]] = {
            "scaled_lambda": (neuron, neuron + 1),
            "mu": (ONE, neuron),
            "sigma": (ONE, neuron + 1),
            "tau": (ONE, neuron + 2),
            "kappa_kept": (neuron, neuron + 3),
            "kappa_inputs": (low, low + 1),
        }
        if self.region.ball is not None:
            facts["ball"] = (ONE, np.array([1 + 2 * inputs + 4 * self.all_neurons]))
        if len(extra):
            second = np.empty(len(extra), dtype=np.int64)
            mine = extra.kind >= ABOVE_LOWER
            second[mine] = low[extra.second[mine]] + extra.kind[mine] - ABOVE_LOWER
            second[~mine] = neuron[extra.second[~mine]] + extra.kind[~mine]
            facts["rho"] = (np.where(extra.sign > 0, 0, 3) + neuron[extra.first], second)
        return facts
