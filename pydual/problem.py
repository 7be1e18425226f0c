"""Problems: a query in disjunctive normal form, one problem a disjunct.

The order of the problems and of the margins inside one is part of the certificate format (PROOFS.md, "Queries").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from pydual.checker import And, Atom, Checker, Condition, Or, atoms
from pydual.errors import InputError
from pydual.network import Network
from pydual.region import Region, rational_box

MAX_PROBLEMS = 100_000  # disjuncts, those that cannot hold included
MAX_STEPS = 5_000_000  # atoms looked at and bounds stored, over all disjuncts


@dataclass(frozen=True, eq=False)
class Problem:
    """One normalized question: is there a point of ``region`` at which every margin is ``<= 0`` (``< 0`` if strict)?

    ``margins`` are atoms over the inputs and outputs of ``network``; constraints on single inputs have become part of
    ``region``. ``index`` is the number of the problem within its query. ``real``: a proof need not hold for executions in
    float32.
    """

    network: Network
    region: Region
    margins: tuple[Atom, ...]
    index: int
    real: bool = True


def normalize(network: Network, checker: Checker) -> tuple[Problem, ...]:
    """The problems of a query.

    Raises InputError where network and checker do not fit, or where the normal form is too large to be written down.
    """
    _check_fit(network, checker)
    disjuncts = _disjuncts(checker.region, checker.catastrophe)
    return tuple(Problem(network, region, margins, index) for index, (region, margins) in enumerate(disjuncts))


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
    for atom in atoms(checker.catastrophe):
        for j in atom.margin.y:
            if not 0 <= j < network.output_size:
                raise InputError(f"The checker uses Y[{j}], but the network has {network.output_size} outputs.")


def _disjuncts(region: Region, condition: Condition) -> Iterator[tuple[Region, tuple[Atom, ...]]]:
    """The disjunctive normal form, depth first, the leftmost choice varying slowest.

    An agenda is a linked list (part, agenda) of what must still hold. A branch is given up at the first atom that
    cannot hold together with those before it.
    """
    branch = _Branch(region)
    budget = _Budget()
    open_choices: list[tuple[Any, tuple[int, int]]] = [((condition, None), branch.mark())]
    while open_choices:
        agenda, mark = open_choices.pop()
        branch.return_to(mark)
        while agenda is not None:
            part, agenda = agenda
            if isinstance(part, Or):
                budget.spend(len(part.parts))
                open_choices += [((choice, agenda), branch.mark()) for choice in reversed(part.parts)]
                break
            if isinstance(part, And):
                for conjunct in reversed(part.parts):
                    agenda = (conjunct, agenda)
                continue
            budget.spend(1)
            if not branch.add(part):
                budget.end_branch()
                break
        else:
            budget.end_branch()
            budget.spend(region.size if branch.cuts else 0)
            yield branch.region(), tuple(branch.margins)


class _Budget:
    """Counts the work on a normal form, which may be exponentially longer than its condition."""

    def __init__(self) -> None:
        self.branches = MAX_PROBLEMS
        self.steps = MAX_STEPS

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise InputError(f"The disjuncts have more than {MAX_STEPS} parts; split the property into several.")

    def end_branch(self) -> None:
        self.branches -= 1
        if self.branches < 0:
            raise InputError(f"The property has more than {MAX_PROBLEMS} disjuncts; split it into several properties.")


class _Branch:
    """A conjunction under construction: bounds of single inputs, and margins.

    Going back to a mark undoes everything that came after it.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._lower: dict[int, Fraction] = {}
        self._upper: dict[int, Fraction] = {}
        self.cuts: list[tuple[dict[int, Fraction], int, Fraction | None]] = []
        self.margins: list[Atom] = []

    def mark(self) -> tuple[int, int]:
        return len(self.cuts), len(self.margins)

    def return_to(self, mark: tuple[int, int]) -> None:
        cuts, margins = mark
        del self.margins[margins:]
        while len(self.cuts) > cuts:
            bounds, i, previous = self.cuts.pop()
            if previous is None:
                del bounds[i]
            else:
                bounds[i] = previous

    def add(self, atom: Atom) -> bool:
        """Add an atom; whether the conjunction may still hold."""
        x, y, constant = atom.margin.x, atom.margin.y, atom.margin.constant
        if not x and not y:
            return constant < 0 or (constant == 0 and not atom.strict)
        if y or len(x) > 1:
            self.margins.append(atom)
            return True
        ((i, a),) = x.items()
        bound = -constant / a
        if self._region.integers is not None and self._region.integers[i]:
            bound = Fraction(math.floor(bound) if a > 0 else math.ceil(bound))
        return self._cut(i, a > 0, bound)

    def _cut(self, i: int, is_upper: bool, bound: Fraction) -> bool:
        low, high = self._interval(i)
        bounds = self._upper if is_upper else self._lower
        self.cuts.append((bounds, i, bounds.get(i)))
        bounds[i] = min(high, bound) if is_upper else max(low, bound)
        return bound >= low if is_upper else bound <= high

    def _interval(self, i: int) -> tuple[Fraction, Fraction]:
        low, high = self._lower.get(i), self._upper.get(i)
        return (
            Fraction(float(self._region.lower[i])) if low is None else low,
            Fraction(float(self._region.upper[i])) if high is None else high,
        )

    def region(self) -> Region:
        """The region, cut to the bounds: rounded outward for proofs, inward for attacks."""
        changed = sorted({*self._lower, *self._upper})
        if not changed:
            return self._region
        intervals = [self._interval(i) for i in changed]
        box = rational_box([low for low, _ in intervals], [high for _, high in intervals])
        lower, upper = self._region.lower.copy(), self._region.upper.copy()
        inner_lower, inner_upper = self._region.inner_lower.copy(), self._region.inner_upper.copy()
        lower[changed], upper[changed] = box.lower, box.upper
        inner_lower[changed] = box.inner_lower.clip(min=inner_lower[changed])
        inner_upper[changed] = box.inner_upper.clip(max=inner_upper[changed])
        return replace(self._region, lower=lower, upper=upper, inner_lower=inner_lower, inner_upper=inner_upper)
