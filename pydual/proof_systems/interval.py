"""Interval arithmetic: the adversary may choose every activation within its interval (Moore 1966; Gowal et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydual import certificate
from pydual.proof_systems.duals import Duals, Nodes, without_curvature
from pydual.proof_systems.root_bound import RootBound
from pydual.relax.frame import Frame


@dataclass(frozen=True)
class Interval(RootBound):
    """Interval bounds of the layers and of each single margin; the best margin of a problem counts."""

    name = "interval"
    anchor = certificate.INTERVAL

    def evaluate(self, frame: Frame, nodes: Nodes, seconds: float) -> Duals:
        g = frame.group
        active = np.where(nodes.phase < 0, 0.0, 1.0)
        low, high = (active * ends for ends in g.program.images(frame.lower, frame.upper))
        ends = [(np.tile(g.region.lower, (len(low), 1)), np.tile(g.region.upper, (len(low), 1)))]
        cuts = np.cumsum((0, *g.program.sizes))
        ends += [(low[:, a:b], high[:, a:b]) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        bounds = np.tile(g.margins.bias, (len(low), 1))
        for source, matrix in g.margins.terms.items():
            positive, negative = np.maximum(matrix, 0.0), np.minimum(matrix, 0.0)
            bounds += ends[source][0] @ positive.T + ends[source][1] @ negative.T
        bounds[g.allowed[nodes.problem] == 0] = -np.inf
        best = bounds.argmax(axis=1)
        rows = np.arange(len(best))
        return self._duals(frame, nodes, ends, bounds[rows, best], np.eye(bounds.shape[1])[best])

    def _duals(self, frame: Frame, nodes: Nodes, ends: list, bound: np.ndarray, weights: np.ndarray) -> Duals:
        """Every unit plays the end of its interval that its coefficient in the margin asks for."""
        prices = [np.zeros_like(low) for low, _ in ends]
        for source, matrix in frame.group.margins.terms.items():
            prices[source] += weights @ matrix
        plays = [np.where(price >= 0, low, high) for price, (low, high) in zip(prices, ends, strict=True)]
        layers = range(1, len(ends))
        z = np.concatenate([plays[k] for k in layers], axis=1) if layers else np.zeros((len(bound), 0))
        price = np.concatenate([prices[k] for k in layers], axis=1) if layers else np.zeros((len(bound), 0))
        y = self._inputs(frame, plays)
        lines = np.full(len(bound), certificate.INTERVAL_LINES)
        none = np.zeros_like(nodes.beta), weights, lines, without_curvature(frame, len(bound))
        return Duals(bound, plays[0], y, z, price, nodes.alpha, *none)

    @staticmethod
    def _inputs(frame: Frame, plays: list[np.ndarray]) -> np.ndarray:
        """What the affine maps make of the plays: where that is not what the next layer plays, the adversary cheats."""
        found = [np.zeros((len(plays[0]), 0))]
        for layer in frame.group.program.layers:
            terms = (plays[s] if m is None else plays[s] @ m.T for s, m in layer.terms.items())
            found.append(sum(terms, np.tile(layer.bias, (len(plays[0]), 1))))
        return np.concatenate(found, axis=1)
