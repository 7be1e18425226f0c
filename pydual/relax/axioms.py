"""A problem as axioms in real arithmetic, in rationals as the network's primitives state them: SMT-LIB text.

Constants: ``x<i>`` the inputs, ``v<k>_<i>`` the components of primitive k's value, ``depth >= 0`` with ``margin + depth <= 0``
for each margin, and Booleans ``case<j>``, which say of neuron j that it is in one of its two phases. What is known of the
output z of a unit with input p in [l, u] is the user's choice, layer by layer:

    exact:     z >= 0,  z >= p,  z <= s (p - l),  and if case<j> holds: z <= p or z <= 0;    squares: z = p p
    triangle:  the same without cases (Ehlers 2017);                                         squares: two lines
    bounds:    z lies in the image of [l, u];                                                dropped: nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import scipy.sparse as sparse

from pydual.errors import InputError, UnsupportedError
from pydual.network import Network, curve_ends
from pydual.operators.primitives import Affine, Curve, Relu
from pydual.problem import Problem
from pydual.relax.frame import Frame
from pydual.relax.program import compile_network

EXACT, TRIANGLE, BOUNDS, DROPPED = KINDS = ("exact", "triangle", "bounds", "dropped")
ROUNDING = 1e-9  # intervals are computed in floating point: as axioms they are wider by this

Choice = str | Mapping[str | int, str]
Ends = tuple[np.ndarray, np.ndarray]


def kinds_of(network: Network, choice: Choice) -> tuple[str, ...]:
    """What is known of each layer of activations. Raises InputError for what names no layer or no kind of axioms."""
    names = compile_network(network).names
    kinds = [choice if isinstance(choice, str) else EXACT] * len(names)
    for key, kind in () if isinstance(choice, str) else choice.items():
        rows = [key] if isinstance(key, int) and 0 <= key < len(names) else [k for k, name in enumerate(names) if name == key]
        if not rows:
            layers = ", ".join(f"{k}: '{name}'" for k, name in enumerate(names)) or "none"
            raise InputError(f"The axioms name the layer {key!r}; the layers with activations are {layers}.")
        for row in rows:
            kinds[row] = kind
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"Unknown axioms {kind!r} for a layer; use one of {', '.join(KINDS)}.")
    return tuple(kinds)


@dataclass(eq=False)
class Axioms:
    """``text`` is SMT-LIB; ``cases`` the neurons with a case distinction; ``inputs`` and ``neurons`` (pairs of the constants
    of source and output) and ``outputs`` name what a model is read from; ``linear`` is False if there are products."""

    inputs: list[str]
    lines: list[str] = field(default_factory=list)
    cases: list[int] = field(default_factory=list)
    neurons: list[tuple[str, str]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    linear: bool = True
    integers: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def declare(self, name: str, sort: str = "Real") -> None:
        self.lines.append(f"(declare-const {name} {sort})")

    def add(self, claim: str) -> None:
        self.lines.append(f"(assert {claim})")

    def between(self, name: str, low: float, high: float) -> None:
        for claim, end in ((">=", low), ("<=", high)):
            if np.isfinite(end):
                self.add(f"({claim} {name} {number(end)})")


def state_axioms(frame: Frame, problem: Problem, kinds: tuple[str, ...], depths: Iterable[float] = ()) -> Axioms:
    """The axioms of a problem of the frame, and for each of ``depths`` a Boolean ``deep<d>`` that says ``depth >= d``-th."""
    network = problem.network
    axioms = Axioms([f"x{i}" for i in range(network.input_size)])
    _state_region(axioms, problem)
    values = [axioms.inputs]
    intervals, layer = known_intervals(frame, network, kinds), 0
    for k, primitive in enumerate(network.primitives):
        names = [f"v{k}_{i}" for i in range(primitive.size)]
        for name in names:
            axioms.declare(name)
        if isinstance(primitive, Affine):
            _state_affine(axioms, primitive, names, values)
        else:
            _state_activation(axioms, primitive, kinds[layer], names, values[primitive.source], intervals[primitive.source])
            layer += 1
        values.append(names)
    axioms.outputs = values[network.output]
    axioms.declare("depth")
    axioms.add("(>= depth 0.0)")
    for atom in problem.margins:
        terms = [(c, axioms.inputs[i]) for i, c in atom.margin.x.items()]
        terms += [(c, axioms.outputs[j]) for j, c in atom.margin.y.items()]
        axioms.add(f"({'<' if atom.strict else '<='} {linear([*terms, (1, 'depth')], atom.margin.constant)} 0.0)")
    for row, depth in enumerate(depths):
        axioms.declare(f"deep{row}", "Bool")
        axioms.add(f"(=> deep{row} (>= depth {number(depth)}))")
    return axioms


def _state_region(axioms: Axioms, problem: Problem) -> None:
    """Box, ball and integers, as proofs cover them."""
    region = problem.region
    integers = region.integers
    for i, (name, low, high) in enumerate(zip(axioms.inputs, region.lower.tolist(), region.upper.tolist(), strict=True)):
        axioms.declare(name)
        axioms.between(name, low, high)
        if integers is not None and integers[i]:
            axioms.integers = True
            axioms.declare(f"n{i}", "Int")
            axioms.add(f"(= {name} (to_real n{i}))")
    if region.ball is None:
        return
    center, radius = region.ball.center.tolist(), Fraction(region.ball.radius)
    steps = [f"d{i}" for i in range(region.size)]
    for step, name, c in zip(steps, axioms.inputs, center, strict=True):
        axioms.declare(step)
        away = linear([(1, name)], -Fraction(c))
        if region.ball.norm == "l1":
            axioms.add(f"(and (>= {step} {away}) (>= {step} (- {away})))")
        else:
            axioms.add(f"(= {step} {away})")
    if region.ball.norm == "l1":
        axioms.add(f"(<= {linear([(1, step) for step in steps])} {number(radius)})")
    else:
        axioms.linear = False
        axioms.add(f"(<= {linear([(1, f'(* {step} {step})') for step in steps])} {number(radius * radius)})")


def _state_affine(axioms: Axioms, primitive: Affine, names: list[str], values: list[list[str]]) -> None:
    terms: list[list[tuple[float, str]]] = [[] for _ in names]
    for source, matrix in primitive.terms:
        coo = sparse.coo_array(matrix)
        for row, column, weight in zip(*(part.tolist() for part in (*coo.coords, coo.data)), strict=True):
            if weight:
                terms[row].append((weight, values[source][column]))
    for name, row, bias in zip(names, terms, primitive.bias.tolist(), strict=True):
        axioms.add(f"(= {name} {linear(row, bias)})")


def _state_activation(
    axioms: Axioms, primitive: Relu | Curve, kind: str, names: list[str], sources: list[str], ends: Ends
) -> None:
    if isinstance(primitive, Curve) and primitive.kind != "square" and kind in (EXACT, TRIANGLE):
        raise UnsupportedError(
            f"The proof system 'smt' has no axioms for {primitive.kind}; choose 'bounds' or 'dropped' for the layer "
            f"'{primitive.name or primitive.kind}', or use 'bab'."
        )
    for z, p, low, high in zip(names, sources, *(end.tolist() for end in ends), strict=True):
        if isinstance(primitive, Relu):
            _state_relu(axioms, kind, z, p, low, high)
        elif kind == EXACT:
            axioms.linear = False
            axioms.add(f"(= {z} (* {p} {p}))")
        elif kind == TRIANGLE and np.isfinite([low, high]).all():
            slope = Fraction(low) + Fraction(high)
            axioms.add(f"(>= {z} {linear([(slope, p)], -slope * slope / 4)})")  # (p - slope / 2)^2 >= 0
            axioms.add(f"(<= {z} {linear([(slope, p)], -Fraction(low) * Fraction(high))})")  # (p - l)(u - p) >= 0
        elif kind == BOUNDS:
            image = _widened(*curve_ends(primitive.kind, np.array([low]), np.array([high])))
            axioms.between(z, float(image[0][0]), float(image[1][0]))


def _state_relu(axioms: Axioms, kind: str, z: str, p: str, low: float, high: float) -> None:
    neuron = len(axioms.neurons)
    axioms.neurons.append((p, z))
    if kind == DROPPED:
        return
    if kind == BOUNDS:
        axioms.between(z, max(low, 0.0), max(high, 0.0))
        return
    if low >= 0 or high <= 0:
        axioms.add(f"(= {z} {p if low >= 0 else '0.0'})")
        return
    axioms.add(f"(and (>= {z} 0.0) (>= {z} {p}))")
    if np.isfinite([low, high]).all():
        axioms.between(p, low, high)
        u, width = Fraction(high), Fraction(high) - Fraction(low)
        axioms.add(f"(<= {linear([(width, z)])} {linear([(u, p)], -u * Fraction(low))})")  # z <= u / (u - l) (p - l)
    if kind == EXACT:
        axioms.cases.append(neuron)
        axioms.declare(f"case{neuron}", "Bool")
        axioms.add(f"(=> case{neuron} (or (<= {z} {p}) (<= {z} 0.0)))")


def known_intervals(frame: Frame, network: Network, kinds: tuple[str, ...]) -> list[Ends]:
    """The interval of each value that follows from the axioms: the frame's for sources of activations, unless a layer
    before is known by its bounds or not at all; then by interval arithmetic, infinite where nothing follows."""
    region = frame.group.region
    values, firm = [(region.lower, region.upper)], [True]
    begin = layer = 0
    for primitive in network.primitives:
        if isinstance(primitive, Affine):
            values.append(_affine_ends(primitive, values))
            firm.append(all(firm[source] for source, _ in primitive.terms))
            continue
        source, units = primitive.source, slice(begin, begin + primitive.size)
        if firm[source]:
            values[source] = _widened(frame.lower[units], frame.upper[units])
        low, high = values[source]
        if kinds[layer] == DROPPED:
            low, high = np.full(primitive.size, -np.inf), np.full(primitive.size, np.inf)
        elif isinstance(primitive, Relu):
            low, high = np.maximum(low, 0.0), np.maximum(high, 0.0)
        else:
            low, high = _widened(*curve_ends(primitive.kind, low, high))
        values.append((low, high))
        firm.append(firm[source] and kinds[layer] in (EXACT, TRIANGLE))
        begin, layer = begin + primitive.size, layer + 1
    return values


def _affine_ends(primitive: Affine, values: list[Ends]) -> Ends:
    lower, upper = primitive.bias.copy(), primitive.bias.copy()
    for source, matrix in primitive.terms:
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        low, high = values[source]
        rise, fall = np.maximum(dense, 0.0), np.minimum(dense, 0.0)
        finite_low, finite_high = (np.where(np.isfinite(end), end, 0.0) for end in (low, high))
        lower += rise @ finite_low + fall @ finite_high
        upper += rise @ finite_high + fall @ finite_low
        lower[((rise > 0) & np.isinf(low) | (fall < 0) & np.isinf(high)).any(axis=1)] = -np.inf
        upper[((rise > 0) & np.isinf(high) | (fall < 0) & np.isinf(low)).any(axis=1)] = np.inf
    return _widened(lower, upper)


def _widened(lower: np.ndarray, upper: np.ndarray) -> Ends:
    size = [np.where(np.isfinite(end), np.abs(end), 0.0) for end in (lower, upper)]
    return lower - ROUNDING * (1.0 + size[0]), upper + ROUNDING * (1.0 + size[1])


def number(value: float | Fraction) -> str:
    """A rational in SMT-LIB, exactly."""
    q = Fraction(value)
    digits = f"{abs(q.numerator)}.0" if q.denominator == 1 else f"(/ {abs(q.numerator)}.0 {q.denominator}.0)"
    return f"(- {digits})" if q < 0 else digits


def linear(terms: Iterable[tuple[float | Fraction, str]], constant: float | Fraction = 0) -> str:
    """``sum coefficient name + constant``."""
    parts = [name if c == 1 else f"(* {number(c)} {name})" for c, name in terms]
    parts += [number(constant)] if constant or not parts else []
    return parts[0] if len(parts) == 1 else f"(+ {' '.join(parts)})"
