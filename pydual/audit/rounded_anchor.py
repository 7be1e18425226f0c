"""Derived intervals (PROOFS.md, section 5) for a batch of cells, with rigorous rounding."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np

from pydual.audit.enclosures import Domain, Sum
from pydual.audit.query import Ball
from pydual.audit.rounded_forms import Forms
from pydual.audit.rounded_lines import Backward, Lines, Setting, interval_lines, sloped_lines
from pydual.audit.rounded_network import AffineLayer, Interval, Layers
from pydual.certificate import INTERVAL, PARALLEL

COLUMN_ENTRIES = 2**21  # numbers in an array of columns: about what stays in a cache
FORM_BYTES = 2**28  # above this, affine forms give way to backward passes


class Cells:
    """The anchors of a batch of cells that share a code: intervals for each value that relus read, arrays (size, cells).

    ``empty`` says which cells were found empty, ``finite`` where nothing overflowed. ``magnitudes`` and ``products`` (see
    ``Setting``) bound all cells of the batch at once.
    """

    def __init__(
        self,
        layers: Layers,
        code: int,
        box: Interval,
        ball: Ball | None,
        phases: list[tuple[int, ...]],
        poll: Callable[[], object],
    ) -> None:
        self.layers, self.code, self.poll = layers, code, poll
        self.domain = Domain.of_box(*box, ball)
        self.intervals: dict[int, Interval] = {}
        self.lines: dict[int, Lines] = {}
        self.empty = np.zeros(len(phases), dtype=bool)
        self.finite = np.ones(len(phases), dtype=bool)
        self.magnitudes = [_magnitude(box)]
        self.products: dict[int, np.ndarray] = {}
        self._phases = flat_phases(phases)
        self._forms = Forms(layers, self.domain) if code == PARALLEL and _forms_fit(layers, len(phases)) else None
        values = [box]
        for k, layer in enumerate(layers.layers):
            poll()
            if isinstance(layer, AffineLayer):
                values.append(layer.interval(values))
                self.products[k] = layer.product_magnitude(self.magnitudes)
            else:
                if layer.source not in self.intervals:
                    values[layer.source] = self._derive(layer.source, values[layer.source])
                low, high = values[layer.source]
                self.lines[layer.number] = sloped_lines((low, high), self.code == PARALLEL)
                values.append((np.maximum(low, 0.0), np.maximum(high, 0.0)))
            self.magnitudes.append(_magnitude(values[-1]))
            if self._forms is not None:
                self._forms.step(k, self.intervals, self.lines)
        self._forms = None

    def _derive(self, source: int, interval: Interval) -> Interval:
        """The interval of a value within ``interval``, cut by the phases."""
        low, high = interval
        if self.code != INTERVAL:
            open_ = (low < 0) & (high > 0)
            if self._forms is not None:
                derived = self._forms.interval(source)
            else:
                derived = self._by_backward_passes(source, np.flatnonzero(open_.any(axis=1)))
            low, high = np.where(open_, np.maximum(low, derived[0]), low), np.where(open_, np.minimum(high, derived[1]), high)
        low, high = self._cut(source, np.array(low), np.array(high))
        self.empty |= (low > high).any(axis=0)
        self.finite &= (np.isfinite(low) & np.isfinite(high)).all(axis=0)
        settled = self.empty | ~self.finite  # their intervals no longer matter, and must not spoil the magnitudes
        low[:, settled] = high[:, settled] = 0.0
        self.intervals[source] = low, high
        self.magnitudes[source] = np.minimum(self.magnitudes[source], _magnitude((low, high)))
        return low, high

    def _cut(self, source: int, low: np.ndarray, high: np.ndarray) -> Interval:
        neuron, column, active = self._phases
        here = self.layers.source_of[neuron] == source
        row, column, active = self.layers.component_of[neuron[here]], column[here], active[here]
        low[row[active], column[active]] = np.maximum(low[row[active], column[active]], 0.0)
        high[row[~active], column[~active]] = np.minimum(high[row[~active], column[~active]], 0.0)
        return low, high

    def _by_backward_passes(self, source: int, components: np.ndarray) -> Interval:
        """``F(p)`` and ``-F(-p)`` for components of a value; phases have become part of the earlier intervals."""
        cells, size = len(self.empty), self.layers.sizes[source]
        low, high = np.full((size, cells), -np.inf), np.full((size, cells), np.inf)
        chunk = max(1, COLUMN_ENTRIES // (2 * cells * self.layers.widest))
        for first in range(0, len(components), chunk):
            self.poll()
            rows = components[first : first + chunk]
            index = np.repeat(np.arange(cells), 2 * len(rows))
            w = np.zeros((size, cells, 2, len(rows)))
            at = np.arange(len(rows))
            w[rows, :, 0, at], w[rows, :, 1, at] = 1.0, -1.0
            result = Sum(np.zeros(len(index)), np.zeros(len(index)))
            setting = self.setting({k: lines.columns(index) for k, lines in self.lines.items()}, self.domain.columns(index))
            bounds = Backward(self.layers, setting, {source: w.reshape(size, -1)}, result).run()
            both = bounds.reshape(cells, 2, len(rows))
            low[rows], high[rows] = both[:, 0].T, -both[:, 1].T
        return low, high

    def setting(self, lines: dict[int, Lines], domain: Domain) -> Setting:
        """The setting of a backward pass under these intervals."""
        return Setting(lines, domain, self.magnitudes, self.products, {})

    def interval_lines(self) -> dict[int, Lines]:
        return {relu.number: interval_lines(self.intervals[relu.source]) for relu in self.layers.relus}

    def sloped_lines(self, parallel: bool) -> dict[int, Lines]:
        if parallel == (self.code == PARALLEL):
            return self.lines
        return {relu.number: sloped_lines(self.intervals[relu.source], parallel) for relu in self.layers.relus}


def _magnitude(interval: Interval) -> np.ndarray:
    """Bounds of the components' absolute values over all cells."""
    return np.maximum(np.abs(interval[0]), np.abs(interval[1])).max(axis=1)


def _forms_fit(layers: Layers, cells: int) -> bool:
    return 8 * layers.widest * cells * (layers.inputs + layers.neurons) <= FORM_BYTES


def flat_phases(phases: list[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neurons, columns and phases of the splits above each of several cells."""
    column = np.repeat(np.arange(len(phases)), [len(p) for p in phases])
    code = np.fromiter(chain.from_iterable(phases), np.int64, len(column))
    return code >> 1, column, (code & 1).astype(bool)
