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
    """The split components of a value that relus read: row and column of each, every pair once.

    ``passes``: the relu's output is its source (phase active, or ``l >= 0``), else it is 0; ``pull`` is what the splits add
    to the coefficient of the component: beta for inactive, -beta for active.
    """

    row: np.ndarray
    column: np.ndarray
    passes: np.ndarray
    pull: np.ndarray


def unite(split: SplitNeurons) -> SplitNeurons:
    """One entry for each pair of row and column: where two relus read a value, both their neurons may be split."""
    if not len(split.row):
        return split
    columns = int(split.column.max()) + 1
    pair, where = np.unique(split.row * columns + split.column, return_inverse=True)
    if len(pair) == len(split.row):
        return split
    passes = np.bincount(where, weights=split.passes) > 0
    return SplitNeurons(pair // columns, pair % columns, passes, np.bincount(where, weights=split.pull))


@dataclass(frozen=True, eq=False)
class Setting:
    """What a backward pass runs in: the lines of each relu, the region, and magnitudes shared by all columns.

    ``magnitudes`` bounds the components of each value, ``products`` is ``AffineLayer.product_magnitude`` for each affine
    primitive; ``splits`` belong to values; ``constant_lines`` says that the lines follow rule -1.
    """

    lines: Mapping[int, Lines]
    domain: Domain
    magnitudes: list[np.ndarray]
    products: Mapping[int, np.ndarray]
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
        for value in range(len(self.setting.magnitudes) - 1, -1, -1):
            w = self._pulled(value, columns)
            if w is None:
                continue
            if value == 0:
                self.setting.domain.add_minimum(w, self.result)
                continue
            layer = self.layers.layers[value - 1]
            if isinstance(layer, ReluLayer):
                self._relu(layer, w)
            else:
                self._affine(layer, value - 1, w)
        # each coefficient loses at most 1e-295 to underflow, and counts with its value's magnitude
        self.result.add(np.zeros(columns), UNDERFLOW * (1 + sum(float(m.sum()) for m in self.setting.magnitudes)))
        return self.result.lower()

    def _pulled(self, value: int, columns: int) -> np.ndarray | None:
        """The coefficients of a value with the split multipliers in them, or None if all are zero."""
        w = self.coefficients.pop(value, None)
        split = self.setting.splits.get(value)
        if split is None:
            return w
        if w is None:
            w = np.zeros((self.layers.sizes[value], columns))
        at = (split.row, split.column)
        w[at] += split.pull
        error = 2 * U * (np.abs(w[at]) + np.abs(split.pull)) * self.setting.magnitudes[value][split.row]
        self.result.add(np.zeros(columns), np.bincount(split.column, weights=error, minlength=columns))
        return w

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
        lines, split = self.setting.lines[layer.number], self.setting.splits.get(layer.source)
        # slopes are in [0, 1] and constants at most the source: products and the inner product with constants
        error = gamma(len(w) + 4) * (self.setting.magnitudes[layer.source] @ np.abs(w))
        if split is not None:
            passed = self._take_split(split, w)
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
            positive[split.row, split.column] += passed  # exact: one of the two is zero
        self._collect(layer.source, positive)

    def _take_split(self, split: SplitNeurons, w: np.ndarray) -> np.ndarray:
        """Take split neurons out of ``w``, and return the coefficients that they pass on to their source.

        Under constant lines those that pass keep their line.
        """
        at = (split.row, split.column)
        passes = split.passes & (not self.setting.constant_lines)
        passed = np.where(passes, w[at], 0.0)
        w[at] = np.where(passes | ~split.passes, 0.0, w[at])
        return passed
