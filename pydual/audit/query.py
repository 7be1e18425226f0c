"""The audit's own reading of a query: its problems and its digest (PROOFS.md, sections 2 and 8).

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
from typing import Any

from pydual.errors import InputError

MAX_PROBLEMS = 100_000
MAX_WORK = 100_000_000  # numbers copied, of which a step over the condition counts as STEP
STEP = 20
Limits = dict[int, tuple[Fraction, Fraction]]  # of inputs that atoms bound


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
    """Is there a point of box and ball at which all margins are ``<= 0`` (``< 0`` where strict)?

    The inputs ``integers`` are integers there. If there is a list of ``points``, only those of it count.
    """

    lower: list[float]
    upper: list[float]
    ball: Ball | None
    margins: list[Margin]
    integers: tuple[int, ...] = ()
    points: list[list[float]] | None = None


def problems(checker: Any) -> list[Problem]:
    """The problems of a query, in order. Raises InputError where the checker is not a query as in PROOFS.md."""
    lower, upper, given = checker.region.lower.tolist(), checker.region.upper.tolist(), checker.region.ball
    ball = None if given is None else Ball(given.norm, float(given.radius), given.center.tolist())
    if ball and (ball.norm not in ("l1", "l2") or not 0 <= ball.radius < math.inf or ball.radius != given.radius):
        raise InputError(f"The ball has norm {given.norm!r} and radius {given.radius}; use 'l1' or 'l2', and a float.")
    center = ball.center if ball else lower
    if not len(lower) == len(upper) == len(center):
        raise InputError("The bounds of the box and the center of the ball differ in length; make them equal.")
    if not all(map(math.isfinite, [*lower, *upper, *center])):
        raise InputError("The region contains NaN or infinity; give finite bounds.")
    integers, points = _lattice(checker.region, lower, upper)
    found = []
    for bounds, margins in _conjunctions(checker.catastrophe, lower, upper, frozenset(integers)):
        low, high = list(lower), list(upper)
        for i, (least, greatest) in bounds.items():
            low[i], high[i] = float_below(least), -float_below(-greatest)
        found.append(Problem(low, high, ball, margins, integers, points))
    return found


def _lattice(region: Any, lower: list[float], upper: list[float]) -> tuple[tuple[int, ...], list[list[float]] | None]:
    """The inputs that are integers, whose bounds are rounded inward, and the list of points, if there is one."""
    mask, listed = getattr(region, "integers", None), getattr(region, "points", None)
    integers = () if mask is None else tuple(i for i, is_integer in enumerate(mask.tolist()) if is_integer)
    points = None if listed is None else listed.tolist()
    if mask is not None and len(mask) != len(lower) or points is not None and any(len(x) != len(lower) for x in points):
        raise InputError("The points or the mask of integers do not fit the box; make them of the same length.")
    for i in integers:
        lower[i], upper[i] = float(math.ceil(lower[i])), float(math.floor(upper[i]))
    return integers, points


def _conjunctions(
    condition: Any, lower: list[float], upper: list[float], integers: frozenset[int]
) -> Iterator[tuple[Limits, list[Margin]]]:
    """The disjunctive normal form, the leftmost choice varying slowest, without the conjunctions that cannot hold.

    Depth first with an explicit stack; an agenda is a linked list of the nodes that are still to be added. Raises
    InputError where there are too many of them: they can be exponentially more than the condition has parts.
    """
    found = work = 0
    stack: list[tuple[Any, Limits, list[Margin]]] = [((condition, None), {}, [])]
    while stack:
        agenda, bounds, margins = stack.pop()
        holds = True
        while agenda and holds:
            node, agenda = agenda
            kind = "Atom" if hasattr(node, "margin") else type(node).__name__
            copied = len(margins) + len(bounds) if kind == "Or" else 0
            work += STEP + len(getattr(node, "parts", ())) * (STEP + copied)
            if work > MAX_WORK or found > MAX_PROBLEMS:
                raise InputError("The condition has too many alternatives; split the property into several.")
            if kind == "Atom":
                holds = _add(node, bounds, margins, lower, upper, integers)
            elif kind == "And":
                for part in reversed(node.parts):
                    agenda = (part, agenda)
            elif kind == "Or":
                stack += [((part, agenda), dict(bounds), list(margins)) for part in reversed(node.parts)]
                holds = False  # those on the stack may
            else:
                raise InputError(f"A condition consists of atoms, And and Or; got {kind}.")
        if holds:
            found, work = found + 1, work + len(lower)
            yield bounds, margins


def _add(
    atom: Any, bounds: Limits, margins: list[Margin], lower: list[float], upper: list[float], integers: frozenset[int]
) -> bool:
    """Add an atom to a conjunction, as a bound or a margin; whether it may still hold."""
    pairs = (atom.margin.x, atom.margin.y)
    x, y = ({i: Fraction(c) for i, c in sorted(coefficients.items()) if c} for coefficients in pairs)
    margin = Margin(x, y, Fraction(atom.margin.constant), bool(atom.strict))
    if margin.y or len(margin.x) > 1:
        margins.append(margin)
        return True
    if not margin.x:
        return margin.constant < 0 or (margin.constant == 0 and not margin.strict)
    ((i, a),) = margin.x.items()
    if not 0 <= i < len(lower):
        raise InputError(f"The condition uses X[{i}], but the region has {len(lower)} inputs (from 0).")
    low, high = bounds.get(i) or (Fraction(lower[i]), Fraction(upper[i]))
    limit = -margin.constant / a
    if i in integers:
        limit = Fraction(math.floor(limit) if a > 0 else math.ceil(limit))
    bounds[i] = low, high = (low, min(high, limit)) if a > 0 else (max(low, limit), high)
    return low <= high


def float_below(value: Fraction) -> float:
    """The largest float64 that is not above ``value``."""
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


def query_digest(checker: Any) -> str:
    """SHA-256 of the canonical form of the query, as hexadecimal digits."""
    return digest(problems(checker))


def digest(query: list[Problem]) -> str:
    """SHA-256 of the canonical form of problems, as hexadecimal digits."""
    state = hashlib.sha256()
    for problem in query:
        lines = [f"problem {len(problem.lower)} {len(problem.margins)}"]
        lines += [f"{_hex(low)} {_hex(high)}" for low, high in zip(problem.lower, problem.upper, strict=True)]
        if problem.ball:
            lines += [f"ball {problem.ball.norm} {_hex(problem.ball.radius)}", *map(_hex, problem.ball.center)]
        if problem.integers:
            lines.append("integers " + " ".join(map(str, problem.integers)))
        if problem.points is not None:
            lines += [f"points {len(problem.points)}", *(" ".join(map(_hex, x)) for x in problem.points)]
        for margin in problem.margins:
            numbers = [("", margin.constant), *((f" x{i}:", c) for i, c in margin.x.items())]
            numbers += [(f" y{j}:", c) for j, c in margin.y.items()]
            try:
                lines.append(f"margin {'<' if margin.strict else '<='} " + "".join(name + str(c) for name, c in numbers))
            except ValueError:  # Python's limit on the conversion of integers to text
                raise InputError("A coefficient of the condition has thousands of digits; round it.") from None
        state.update("".join(line + "\n" for line in lines).encode("ascii"))
    return state.hexdigest()


def _hex(value: float) -> str:
    return (value + 0.0).hex()  # -0.0 + 0.0 is 0.0
