"""Lower bounds by lines (PROOFS.md, section 4) for many functions at once: the backward pass of the rounded audit.

Functions are columns. Coefficients are what they come out as in floating point; the difference to what they should be is
charged against the bound, times the magnitude of the value that they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pydual.audit.enclosures import UNDERFLOW, Domain, Sum, U, dot, gamma
from pydual.audit.rounded_network import AffineLayer, Interval, Layers, ReluLayer


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines below and above ``max(p, 0)`` for the neurons of a relu, arrays (size, 1 or columns).

    ``below * p + below_constant <= max(p, 0) <= above * p + above_constant`` on the interval of ``p``.
    """

    below: np.ndarray
    above: np.ndarray
    above_constant: np.ndarray
    below_constant: np.ndarray | None = None

    def columns(self, index: np.ndarray) -> Lines:
        """The lines for each of several columns, which name columns of these."""
        if self.above.shape[1] == 1:
            return self
        constant = None if self.below_constant is None else self.below_constant[:, index]
        return Lines(self.below[:, index], self.above[:, index], self.above_constant[:, index], constant)


def interval_lines(interval: Interval) -> Lines:
    """Lines rule -1: constants."""
    low, high = np.maximum(interval[0], 0.0), np.maximum(interval[1], 0.0)
    zero = np.zeros_like(low)
    return Lines(zero, zero, high, low)


def sloped_lines(interval: Interval, parallel: bool) -> Lines:
    """Lines rules -2 (parallel) and -3 (adaptive)."""
    low, high = interval
    unstable = unstable_in(interval)
    # u / (u - l) has a relative error of at most 3U, what underflow takes is below 1e-300: this is not below it
    slope = np.minimum(high / (high - low) * (1 + 8 * U) + 1e-300, 1.0)
    above = np.where(unstable, slope, low >= 0)
    # s p + c >= 0 at p = l and >= u at p = u, hence >= max(p, 0) between: c >= -s l, and s (u - l) >= u
    constant = np.where(unstable, -above * low * (1 + 4 * U) + 1e-300, 0.0)
    below = above if parallel else np.where(unstable, high > -low, above)
    return Lines(below, above, constant)


def unstable_in(interval: Interval) -> np.ndarray:
    return (interval[0] < 0) & (interval[1] > 0)


@dataclass(frozen=True, eq=False)
class SplitNeurons:
    """The split neurons of one relu: row (neuron) and column of each.

    ``passes``: the neuron's output is its source (phase active, or ``l >= 0``), else it is 0; ``pull`` is what the split
    adds to the coefficient of the source: beta if inactive, -beta if active.
    """

    row: np.ndarray
    column: np.ndarray
    passes: np.ndarray
    pull: np.ndarray


@dataclass(frozen=True, eq=False)
class Setting:
    """What a backward pass runs in: the lines of each relu, the region, and magnitudes shared by all columns.

    ``magnitudes`` bounds the components of each value, ``products`` is ``AffineLayer.product_magnitude`` for each affine
    primitive, ``reaches`` bounds the source components of each relu; ``constant_lines`` says that the lines follow rule -1.
    """

    lines: Mapping[int, Lines]
    domain: Domain
    magnitudes: list[np.ndarray]
    products: Mapping[int, np.ndarray]
    reaches: Mapping[int, np.ndarray]
    splits: Mapping[int, SplitNeurons]
    constant_lines: bool = False


class Backward:
    """One backward pass: ``coefficients`` of values and a ``result``; ``run`` gives the lower bounds, one a column."""

    def __init__(self, layers: Layers, setting: Setting, coefficients: dict[int, np.ndarray], result: Sum) -> None:
        self.layers, self.setting = layers, setting
        self.coefficients, self.result = coefficients, result

    def run(self) -> np.ndarray:
        """Lower bounds, not finite where something overflowed."""
        columns = len(self.result.total)
        for k in range(len(self.setting.magnitudes) - 2, -1, -1):
            layer = self.layers.layers[k]
            w = self.coefficients.pop(k + 1, None)
            if w is None:
                if not (isinstance(layer, ReluLayer) and layer.number in self.setting.splits):
                    continue
                w = np.zeros((self.layers.sizes[k + 1], columns))
            if isinstance(layer, ReluLayer):
                self._relu(layer, w)
            else:
                self._affine(layer, k, w)
        if 0 in self.coefficients:
            self.setting.domain.add_minimum(self.coefficients.pop(0), self.result)
        # each coefficient loses at most 1e-295 to underflow, and counts with its value's magnitude
        self.result.add(np.zeros(columns), UNDERFLOW * (1 + sum(float(m.sum()) for m in self.setting.magnitudes)))
        return self.result.lower()

    def _affine(self, layer: AffineLayer, k: int, w: np.ndarray) -> None:
        # |fl(M^T w) - M^T w| <= gamma |M|^T |w|, so its effect is at most gamma |w| . (|M| magnitude); w.b alike
        n = max(layer.column, len(layer.bias))
        self.result.add(layer.bias @ w, gamma(n + 2) * (self.setting.products[k] @ np.abs(w)))
        for term in layer.terms:
            self._collect(term.source, term.transposed @ w)

    def _collect(self, value: int, w: np.ndarray) -> None:
        old = self.coefficients.get(value)
        if old is not None:
            w = old + w
            self.result.add(np.zeros(w.shape[1]), U * (self.setting.magnitudes[value] @ np.abs(w)))
        self.coefficients[value] = w

    def _relu(self, layer: ReluLayer, w: np.ndarray) -> None:
        lines, split = self.setting.lines[layer.number], self.setting.splits.get(layer.number)
        reach = self.setting.reaches[layer.number]
        # slopes are in [0, 1] and constants at most reach: products and the inner product with constants
        error = gamma(len(w) + 4) * (reach @ np.abs(w))
        if split is not None:
            kept, error = self._take_split(split, w, reach, error)
        positive, negative = np.maximum(w, 0.0), np.minimum(w, 0.0)
        constant = dot(lines.above_constant, negative)
        if lines.below_constant is not None:
            constant = constant + dot(lines.below_constant, positive)
            error = error + U * np.abs(constant)
        self.result.add(constant, error)
        positive *= lines.below
        negative *= lines.above
        positive += negative  # exact: one of the two is zero
        if split is not None:
            positive[split.row, split.column] += kept + split.pull
        self._collect(layer.source, positive)

    def _take_split(
        self, split: SplitNeurons, w: np.ndarray, reach: np.ndarray, error: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take split neurons out of ``w``: those that pass their coefficient on, which is returned, and those that are 0.

        Under constant lines the former keep their line.
        """
        at = (split.row, split.column)
        passed = split.passes & (not self.setting.constant_lines)
        kept = np.where(passed, w[at], 0.0)
        w[at] = np.where(passed | ~split.passes, 0.0, w[at])
        # two additions on these coefficients: at most 4U (|w| + beta)
        extra = 4 * U * (np.abs(kept) + np.abs(split.pull)) * reach[split.row]
        return kept, error + np.bincount(split.column, weights=extra, minlength=w.shape[1])
