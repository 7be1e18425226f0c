"""Parallel lines by one forward pass of affine forms: the fast way to the intervals of an anchor of code 2.

With ``alpha = s`` the two lines of a neuron are parallel: ``max(p, 0) = s p + h/2 + (h/2) e`` for some ``|e| <= 1``, where
``h = -s l``. Every value then is an affine form ``center + A d + G e`` in the displacement ``d`` of the input and the ``e``
of earlier neurons, and its least value is what the backward pass finds: that picks, for each neuron, the line by the sign
of the coefficient, which is the sign of the entry of G. Here all components come from one pass, for many cells at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydual.audit.enclosures import UNDERFLOW, Domain, U, down, gamma, up
from pydual.audit.rounded_lines import Lines, unstable_in
from pydual.audit.rounded_network import AffineLayer, Interval, Layers, ReluLayer


@dataclass(frozen=True, eq=False)
class Form:
    """``center + inputs d + generators e``, up to ``error``, for each component and cell.

    ``center``, ``error`` and ``spread`` are (size, cells), ``inputs`` is (size, 1 or cells, inputs), ``generators`` is
    (size, cells, g), the coefficients of the first g of the e; ``spread`` is at least ``|inputs| reach + |generators| 1``.
    """

    center: np.ndarray
    inputs: np.ndarray
    generators: np.ndarray
    error: np.ndarray
    spread: np.ndarray


class Forms:
    """The affine forms of the values of a network over a batch of cells, one primitive at a time."""

    def __init__(self, layers: Layers, domain: Domain) -> None:
        self.layers, self.domain = layers, domain
        self.reach = domain.reach
        cells = domain.below.shape[1]
        inputs = layers.inputs
        center = np.broadcast_to(domain.origin, (inputs, cells))
        zero = np.zeros((inputs, cells))
        eye = np.eye(inputs).reshape(inputs, 1, inputs)
        self.forms: dict[int, Form] = {0: Form(center, eye, np.zeros((inputs, cells, 0)), zero, self.reach)}
        self.last_use = _last_use(layers)
        self.symbols = 0  # the number of e that are in use: each stands for one neuron in a cell
        # an underflow in a coefficient counts with the size of what it multiplies, at most 1 or the reach of an input
        self.underflow = UNDERFLOW * (1 + float(self.reach.sum()))

    def step(self, k: int, intervals: dict[int, Interval], lines: dict[int, Lines]) -> None:
        """Compute the form of value ``k + 1`` if a relu depends on it, and drop those of no further use."""
        layer = self.layers.layers[k]
        if self.layers.before_relu[k + 1]:
            if isinstance(layer, ReluLayer):
                self.forms[k + 1] = self._relu(self.forms[layer.source], intervals[layer.source], lines[layer.number])
            else:
                self.forms[k + 1] = self._affine(layer)
        for value in [v for v in self.forms if self.last_use[v] <= k]:
            del self.forms[value]

    def interval(self, value: int) -> Interval:
        """Bounds of the value's components, (size, cells)."""
        form = self.forms[value]
        if self.domain.norm is None:
            radius = (form.spread + form.error) * (1 + 4 * U)
            return down(form.center - radius), up(form.center + radius)
        size, cells = form.center.shape
        w = np.broadcast_to(form.inputs, (size, cells, self.layers.inputs)).reshape(size * cells, -1).T
        domain = self.domain.columns(np.tile(np.arange(cells), size))
        own = np.abs(form.generators).sum(axis=2) * (1 + gamma(2 * form.generators.shape[2] + 4))
        noise = own + form.error + self.underflow
        low, high = ((v - 2 * e).reshape(size, cells) for v, e in map(domain.least_displacement, (w, -w)))
        slack = 8 * U * (np.abs(form.center) + np.abs(low) + np.abs(high) + noise)
        return form.center + (low - noise) - slack, form.center - (high - noise) + slack

    def _affine(self, layer: AffineLayer) -> Form:
        sources = [self.forms[term.source] for term in layer.terms]
        cells = self.domain.below.shape[1]
        g = gamma(layer.row + len(layer.terms) + 4)
        center, inputs = layer.bias[:, None], np.zeros((len(layer.bias), 1, self.layers.inputs))
        error = np.broadcast_to(4 * g * np.abs(center) + self.underflow, (len(layer.bias), cells))
        for term, form in zip(layer.terms, sources, strict=True):
            center = center + term.matrix @ form.center
            inputs = inputs + _product(term.matrix, form.inputs)
            # all coefficients of v = M v' err by at most g |M| (|center'| + |A'| reach + |G'| 1); 4g also covers
            # the rounding of this product
            error = error + term.absolute @ (form.error + 4 * g * (np.abs(form.center) + form.spread + form.error))
        generators = self._generators(layer, sources, cells)
        return Form(
            np.broadcast_to(center, (len(layer.bias), cells)), inputs, generators, error, self._spread(inputs, generators)
        )

    def _generators(self, layer: AffineLayer, sources: list[Form], cells: int) -> np.ndarray:
        """``sum_t M_t G_t``; forms of earlier values have coefficients of the first e only."""
        count = max((form.generators.shape[2] for form in sources), default=0)
        products = [_product(t.matrix, f.generators) for t, f in zip(layer.terms, sources, strict=True)]
        if len(products) == 1:
            return products[0]
        total = np.zeros((len(layer.bias), cells, count))
        for product in products:
            total[:, :, : product.shape[2]] += product
        return total

    def _spread(self, inputs: np.ndarray, generators: np.ndarray) -> np.ndarray:
        size, cells, count = generators.shape
        own = np.abs(generators).reshape(size * cells, count) @ np.ones(count)
        if inputs.shape[1] == 1:
            direct = np.abs(inputs[:, 0]) @ self.reach
        else:
            direct = np.einsum("nci,ic->nc", np.abs(inputs), np.broadcast_to(self.reach, (len(self.reach), cells)))
        # sums of nonnegative terms: short by at most gamma of themselves
        return (direct + own.reshape(size, cells)) * (1 + 2 * gamma(count + len(self.reach) + 4))

    def _relu(self, form: Form, interval: Interval, lines: Lines) -> Form:
        slope, h = lines.above, lines.above_constant
        half = 0.5 * h
        # slope is 1 or 0 and h is 0 where stable; the products and the sum err by less than 4U of what they are
        size = slope * (np.abs(form.center) + form.spread) + h
        error = slope * form.error * (1 + 8 * U) + 4 * U * size + self.underflow
        unstable = unstable_in(interval)
        rank = np.cumsum(unstable, axis=0)
        first = self.symbols
        self.symbols += int(rank.max(initial=0))
        generators = np.zeros((*slope.shape, self.symbols))
        np.multiply(form.generators, slope[:, :, None], out=generators[:, :, : form.generators.shape[2]])
        row, cell = np.nonzero(unstable)
        generators[row, cell, first + rank[row, cell] - 1] = half[row, cell]
        spread = (slope * form.spread + half) * (1 + 8 * U)
        return Form(slope * form.center + half, form.inputs * slope[:, :, None], generators, error, spread)


def _product(matrix: object, array: np.ndarray) -> np.ndarray:
    """The matrix times an array (columns, cells, m) along its first axis."""
    product = matrix @ array.reshape(len(array), array[0].size)  # type: ignore[operator]
    return product.reshape(product.shape[0], *array.shape[1:])


def _last_use(layers: Layers) -> list[int]:
    """For each value, the last primitive that reads it on the way to a relu, or -1."""
    last = [-1] * len(layers.sizes)
    for k, layer in enumerate(layers.layers):
        if isinstance(layer, ReluLayer):
            last[layer.source] = k
        elif layers.before_relu[k + 1]:
            for term in layer.terms:
                last[term.source] = k
    return last
