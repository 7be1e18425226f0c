"""Proofs as other tools write them, and queries whose truth is known by enumeration of activation patterns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from activation_patterns import true_minimum

from pydual.certificate import INPUT_SPLIT, LEAF
from pydual.checker import Checker, Y
from pydual.network import Network
from pydual.operators.primitives import Relu
from pydual.region import Region

Phases = dict[int, bool]


@dataclass(frozen=True)
class Cell:
    """A leaf: phases of neurons, and the bounds that input splits put on it."""

    phases: Phases
    lower: dict[int, float]
    upper: dict[int, float]


def query(seed: int, gap: float, sizes: tuple[int, ...] = (2, 4, 3, 1)) -> tuple[Network, Checker]:
    """A random network on a box, and a threshold that lies ``gap`` below the least output: safe for ``gap > 0``."""
    rng = np.random.default_rng(seed)
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    network = Network.from_layers([(rng.normal(size=shape), rng.normal(size=shape[0]) * 0.5) for shape in shapes])
    region = Region(-np.ones(sizes[0]), np.ones(sizes[0]))
    least = true_minimum(network, Checker(region, Y[0] <= 0))
    return network, Checker(region, Y[0] <= least - gap)


def all_patterns(neurons: int) -> list[Cell]:
    return [Cell(dict(enumerate(pattern)), {}, {}) for pattern in product((False, True), repeat=neurons)]


def splits(tree: Any) -> Iterator[tuple[int, int, float]]:
    """Kind, index and threshold of every node; a proof tree stores the latter two for splits only, a case tree for all."""
    sparse = len(tree.index) < len(tree.kind)
    index, threshold = iter(np.asarray(tree.index).tolist()), iter(np.asarray(tree.threshold).tolist())
    for kind in np.asarray(tree.kind).tolist():
        i = next(index) if kind != LEAF or not sparse else 0
        yield kind, i, next(threshold) if kind == INPUT_SPLIT or not sparse else 0.0


def cells_of(tree: Any) -> Iterator[Cell]:
    """The leaves of a proof tree or case tree, whose columns are in preorder."""
    pending = [Cell({}, {}, {})]
    for kind, i, t in splits(tree):
        cell = pending.pop()
        if kind == LEAF:
            yield cell
        elif kind == INPUT_SPLIT:
            low, high = max(t, cell.lower.get(i, t)), min(t, cell.upper.get(i, t))
            pending += [
                Cell(cell.phases, {**cell.lower, i: low}, cell.upper),
                Cell(cell.phases, cell.lower, {**cell.upper, i: high}),
            ]
        else:
            pending += [Cell({**cell.phases, i: active}, cell.lower, cell.upper) for active in (True, False)]


def aptp(network: Network, cells: list[Cell], *, digits: int = 17) -> str:
    """The cells as NeuralSAT writes them: neurons from 1, one conjunction a leaf."""
    lines = ["; APTP", ""]
    lines += [f"(declare-const X_{i} Real)" for i in range(network.input_size)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(network.output_size)]
    lines += [f"(declare-pwl N_{n + 1} ReLU)" for n in range(network.neurons)]
    lines += ["", "; Output constraints", "(assert (<= Y_0 0.25))", "", "; Reasoning constraints", "(assert (or"]
    lines += [f"    (and {' '.join(_literals(cell, digits))})" for cell in cells]
    return "\n".join([*lines, "))", ""])


def _literals(cell: Cell, digits: int) -> list[str]:
    phases = [f"({'>=' if active else '<'} N_{n + 1} 0)" for n, active in cell.phases.items()]
    lower = [f"(>= X_{i} {value:.{digits}g})" for i, value in cell.lower.items()]
    return phases + lower + [f"(<= X_{i} {value:.{digits}g})" for i, value in cell.upper.items()]


def marabou(network: Network, tree: Any, keep: set[int] | None = None) -> dict[str, Any]:
    """A tree of neuron splits in Marabou's schema, written by hand; only the ReLUs in ``keep`` are listed."""
    base, pairs = network.input_size, []
    for size in (p.size for p in network.primitives if isinstance(p, Relu)):
        pairs += [(base + i, base + size + i) for i in range(size)]
        base += 2 * size
    aux = base + network.output_size
    kept = range(len(pairs)) if keep is None else sorted(keep)
    constraints = [{"constraintType": 0, "vars": [*pairs[n], aux + n]} for n in kept]
    nodes = splits(tree)

    def node(split: list[dict[str, Any]]) -> dict[str, Any]:
        head: dict[str, Any] = {"split": split} if split else {}
        kind, n, _ = next(nodes)
        if kind == LEAF:
            return {**head, "contradiction": [{"var": 0, "val": 0.5}]}
        inactive = [{"var": v, "val": 0.0, "bound": "U"} for v in pairs[n]]
        active = [{"var": pairs[n][0], "val": 0.0, "bound": "L"}, {"var": aux + n, "val": 0.0, "bound": "U"}]
        lemma = {"affVar": 3, "affBound": "U", "bound": 0.0, "causVar": 1, "causBound": "L", "constraint": 0, "expl": []}
        return {**head, "lemmas": [lemma], "children": [node(inactive), node(active)]}

    bounds = {"upperBounds": [1.0] * aux, "lowerBounds": [-1.0] * aux}
    slack = aux + len(pairs)
    tableau = [
        [{"var": 0, "val": 2.5}, {"var": b, "val": -1.0}, {"var": slack + n, "val": -1.0}] for n, (b, _) in enumerate(pairs)
    ]
    return {"tableau": tableau, **bounds, "constraints": constraints, "proof": node([])}


def text(document: dict[str, Any]) -> str:
    return json.dumps(document)
