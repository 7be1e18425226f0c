"""The audit's own reading of a query: its problems and its digest (PROOFS.md, sections 2 and 7).

Standard library only, and independent of ``pydual.problem``. A checker is recognized by its shape: ``region`` with
``lower``, ``upper``, ``ball``, and ``catastrophe``, a tree whose nodes have either a ``margin`` (an atom) or ``parts``
and the class name ``And`` or ``Or``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

from pydual.errors import InputError

MAX_PROBLEMS = 100_000
MAX_WORK = 100_000_000  # numbers copied, of which a step over the condition counts as STEP
STEP = 20


@dataclass(frozen=True)
class Margin:
    """The rational function ``x . inputs + y . outputs + constant``; no coefficient is zero, indices ascend."""

    x: dict[int, Fraction]
    y: dict[int, Fraction]
    constant: Fraction
    strict: bool


@dataclass(frozen=True)
class Ball:
    """``||x - center|| <= radius`` in the norm "l1" or "l2"."""

    norm: str
    radius: float
    center: list[float]


@dataclass(frozen=True)
class Problem:
    """Is there a point of box and ball at which all margins are ``<= 0`` (``< 0`` where strict)?"""

    lower: list[float]
    upper: list[float]
    ball: Ball | None
    margins: list[Margin]


def problems(checker: Any) -> list[Problem]:
    """The problems of a query, in order. Raises InputError where the checker is not a query as in PROOFS.md."""
    lower, upper = checker.region.lower.tolist(), checker.region.upper.tolist()
    ball = _ball(checker.region.ball)
    center = lower if ball is None else ball.center
    if not len(lower) == len(upper) == len(center):
        raise InputError("The bounds of the box and the center of the ball differ in length; make them equal.")
    if not all(map(math.isfinite, chain(lower, upper, center))):
        raise InputError("The region contains NaN or infinity; give finite bounds.")
    return [branch.problem(ball) for branch in _conjunctions(checker.catastrophe, lower, upper)]


def query_digest(checker: Any) -> str:
    """SHA-256 of the canonical form of the query, as hexadecimal digits."""
    return digest(problems(checker))


def digest(query: list[Problem]) -> str:
    """SHA-256 of the canonical form of problems, as hexadecimal digits."""
    state = hashlib.sha256()
    for problem in query:
        state.update("".join(line + "\n" for line in _canonical(problem)).encode("ascii"))
    return state.hexdigest()


def _canonical(problem: Problem) -> Iterator[str]:
    yield f"problem {len(problem.lower)} {len(problem.margins)}"
    for low, high in zip(problem.lower, problem.upper, strict=True):
        yield f"{_hex(low)} {_hex(high)}"
    if problem.ball is not None:
        yield f"ball {problem.ball.norm} {_hex(problem.ball.radius)}"
        yield from map(_hex, problem.ball.center)
    for margin in problem.margins:
        try:
            terms = [f" x{i}:{c}" for i, c in margin.x.items()] + [f" y{j}:{c}" for j, c in margin.y.items()]
            yield f"margin {'<' if margin.strict else '<='} {margin.constant}{''.join(terms)}"
        except ValueError:  # Python's limit on the conversion of integers to text
            raise InputError("A coefficient of the condition has thousands of digits; round it.") from None


def _hex(value: float) -> str:
    return (value + 0.0).hex()  # -0.0 + 0.0 is 0.0


def _ball(ball: Any) -> Ball | None:
    if ball is None:
        return None
    if ball.norm not in ("l1", "l2") or not 0 <= ball.radius < math.inf or ball.radius != float(ball.radius):
        raise InputError(f"The ball has norm {ball.norm!r} and radius {ball.radius}; use 'l1' or 'l2', and a float.")
    return Ball(ball.norm, float(ball.radius), ball.center.tolist())


def _conjunctions(condition: Any, lower: list[float], upper: list[float]) -> Iterator[_Conjunction]:
    """The disjunctive normal form, the leftmost choice varying slowest, without the conjunctions that cannot hold.

    Depth first with an explicit stack; an agenda is a linked list of the nodes that are still to be added. Raises
    InputError where there are too many of them: they can be exponentially more than the condition has parts.
    """
    found = work = 0
    stack: list[tuple[Any, _Conjunction]] = [((condition, None), _Conjunction(lower, upper))]
    while stack:
        agenda, branch = stack.pop()
        while agenda is not None:
            node, agenda = agenda
            kind = "Atom" if hasattr(node, "margin") else type(node).__name__
            copied = len(branch.margins) + len(branch.bounds) if kind == "Or" else 0
            work += STEP + len(getattr(node, "parts", ())) * (STEP + copied)
            if work > MAX_WORK or found > MAX_PROBLEMS:
                raise InputError("The condition has too many alternatives; split the property into several.")
            if kind == "Or":
                stack.extend(((part, agenda), branch.copy()) for part in reversed(node.parts))
                break
            elif kind == "And":
                for part in reversed(node.parts):
                    agenda = (part, agenda)
            elif kind != "Atom":
                raise InputError(f"A condition consists of atoms, And and Or; got {kind}.")
            elif not branch.add(_margin(node)):
                break
        else:
            found, work = found + 1, work + len(lower)
            yield branch


def _margin(atom: Any) -> Margin:
    pairs = (atom.margin.x, atom.margin.y)
    x, y = ({i: Fraction(c) for i, c in sorted(coefficients.items()) if c} for coefficients in pairs)
    return Margin(x, y, Fraction(atom.margin.constant), bool(atom.strict))


class _Conjunction:
    """A conjunction under construction: margins, and bounds ``side * x_i <= bounds[i, side]`` for the sides 1 and -1."""

    def __init__(self, lower: list[float], upper: list[float]) -> None:
        self.lower, self.upper = lower, upper
        self.bounds: dict[tuple[int, int], Fraction] = {}  # those that atoms tighten
        self.margins: list[Margin] = []

    def copy(self) -> _Conjunction:
        twin = _Conjunction(self.lower, self.upper)
        twin.bounds, twin.margins = dict(self.bounds), list(self.margins)
        return twin

    def add(self, margin: Margin) -> bool:
        """Add an atom; whether the conjunction may still hold."""
        if margin.y or len(margin.x) > 1:
            self.margins.append(margin)
            return True
        if not margin.x:
            return margin.constant < 0 or (margin.constant == 0 and not margin.strict)
        ((i, a),) = margin.x.items()
        if not 0 <= i < len(self.lower):
            raise InputError(f"The condition uses X[{i}], but the region has {len(self.lower)} inputs (from 0).")
        side = 1 if a > 0 else -1
        self.bounds[i, side] = min(self._bound(i, side), -margin.constant / abs(a))
        return self._bound(i, 1) + self._bound(i, -1) >= 0

    def _bound(self, i: int, side: int) -> Fraction:
        return self.bounds.get((i, side), Fraction(self.upper[i] if side > 0 else -self.lower[i]))

    def problem(self, ball: Ball | None) -> Problem:
        ends = {-1: list(self.lower), 1: list(self.upper)}
        for (i, side), bound in self.bounds.items():
            ends[side][i] = -side * float_below(-bound)
        return Problem(ends[-1], ends[1], ball, self.margins)


def float_below(value: Fraction) -> float:
    """The largest float64 that is not above ``value``."""
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)
