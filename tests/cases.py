"""Questions of the tests: a network with a checker, whose margins can be raised."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pydual import Checker, Network
from pydual.checker import Atom, Condition
from pydual.problem import Problem, normalize


@dataclass(frozen=True, eq=False)
class Case:
    network: Network
    checker: Checker

    @property
    def problems(self) -> tuple[Problem, ...]:
        return normalize(self.network, self.checker)

    def raised(self, by: float) -> Case:
        """Every margin larger by ``by``; not the bounds of single inputs, which are part of the region."""
        return Case(self.network, Checker(self.checker.region, raised(self.checker.catastrophe, by)))


def raised(condition: Condition, by: float) -> Condition:
    if not isinstance(condition, Atom):
        return type(condition)(tuple(raised(part, by) for part in condition.parts))
    margin = condition.margin
    return Atom(margin + Fraction(by), condition.strict) if margin.y or len(margin.x) > 1 else condition
