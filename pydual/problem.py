"""Problems: a query in disjunctive normal form, one problem a disjunct.

The order of the problems and of the margins inside one is part of the certificate format (PROOFS.md, "Queries").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from pydual.checker import Atom, Checker, Condition, Or
from pydual.errors import InputError
from pydual.network import Network
from pydual.region import Region, rational_box

MAX_PROBLEMS = 100_000


@dataclass(frozen=True, eq=False)
class Problem:
    """One normalized question: is there a point of ``region`` at which every margin is ``<= 0`` (``< 0`` if strict)?

    ``margins`` are atoms over the inputs and outputs of ``network``; constraints on single inputs have become part of
    ``region``. ``index`` is the number of the problem within its query.
    """

    network: Network
    region: Region
    margins: tuple[Atom, ...]
    index: int


def normalize(network: Network, checker: Checker) -> tuple[Problem, ...]:
    """The problems of a query. Raises InputError where network and checker do not fit."""
    _check_fit(network, checker)
    problems: list[Problem] = []
    for conjunction in _disjuncts(checker.catastrophe):
        reduced = _reduce(checker.region, conjunction)
        if reduced is not None:
            problems.append(Problem(network, *reduced, index=len(problems)))
        if len(problems) > MAX_PROBLEMS:
            raise InputError(f"The property has more than {MAX_PROBLEMS} disjuncts; split it into several properties.")
    return tuple(problems)


def _check_fit(network: Network, checker: Checker) -> None:
    if checker.region.size != network.input_size:
        raise InputError(
            f"The checker's region has {checker.region.size} inputs, the network {network.input_size}; "
            "use the property that belongs to this network."
        )
    if checker.outputs is not None and checker.outputs != network.output_size:
        raise InputError(
            f"The checker speaks of {checker.outputs} outputs, the network has {network.output_size}; "
            "use the property that belongs to this network."
        )
    for atom in _atoms(checker.catastrophe):
        for kind, coefficients, size in (("X", atom.margin.x, network.input_size), ("Y", atom.margin.y, network.output_size)):
            for i in coefficients:
                if not 0 <= i < size:
                    raise InputError(f"The checker uses {kind}_{i}, but the network has only {size} of them (from 0).")


def _atoms(condition: Condition) -> Iterator[Atom]:
    if isinstance(condition, Atom):
        yield condition
    else:
        for part in condition.parts:
            yield from _atoms(part)


def _disjuncts(condition: Condition) -> Iterator[tuple[Atom, ...]]:
    """The disjunctive normal form, depth first, the leftmost choice varying slowest."""
    if isinstance(condition, Atom):
        yield (condition,)
    elif isinstance(condition, Or):
        for part in condition.parts:
            yield from _disjuncts(part)
    else:
        yield from _products(condition.parts)


def _products(parts: tuple[Condition, ...]) -> Iterator[tuple[Atom, ...]]:
    if not parts:
        yield ()
        return
    for head in _disjuncts(parts[0]):
        for tail in _products(parts[1:]):
            yield head + tail


def _reduce(region: Region, conjunction: tuple[Atom, ...]) -> tuple[Region, tuple[Atom, ...]] | None:
    """Move constraints on single inputs into the box; None if the conjunction cannot hold."""
    lower = {}
    upper = {}
    margins = []
    for atom in conjunction:
        x, y, constant = atom.margin.x, atom.margin.y, atom.margin.constant
        if not x and not y:
            if constant > 0 or (constant == 0 and atom.strict):
                return None
        elif not y and len(x) == 1:
            ((i, a),) = x.items()
            bound = -constant / a
            if a > 0:
                upper[i] = min(bound, upper.get(i, bound))
            else:
                lower[i] = max(bound, lower.get(i, bound))
        else:
            margins.append(atom)
    box = _tighten(region, lower, upper)
    return None if box is None else (box, tuple(margins))


def _tighten(region: Region, lower: dict[int, Fraction], upper: dict[int, Fraction]) -> Region | None:
    if not lower and not upper:
        return region
    outer = [region.lower.copy(), region.upper.copy()]
    inner = [region.inner_lower.copy(), region.inner_upper.copy()]
    for i in {**lower, **upper}:
        low = max(lower.get(i, Fraction(outer[0][i])), Fraction(outer[0][i]))
        high = min(upper.get(i, Fraction(outer[1][i])), Fraction(outer[1][i]))
        if low > high:
            return None
        one = rational_box([low], [high])
        outer[0][i], outer[1][i] = one.lower[0], one.upper[0]
        inner[0][i] = max(inner[0][i], one.inner_lower[0])
        inner[1][i] = min(inner[1][i], one.inner_upper[0])
    return replace(region, lower=outer[0], upper=outer[1], inner_lower=inner[0], inner_upper=inner[1])


