"""The exact audit's own reader of VNN-LIB 1.0: PROOFS.md, "From VNN-LIB to a query". Standard library only.

``read_checker`` gives a checker in the form that ``query`` reads. Numbers are rational; a linear term is a dictionary from
variables to coefficients, where "" stands for 1; a condition is a tree of ``And``, ``Or`` and atoms.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from pydual.audit.exact_protobuf import shown
from pydual.errors import InputError, UnsupportedError

MAX_TOKENS = 2**23  # words, parentheses, comments and stretches of white space
MAX_NESTING = 200  # parentheses open at a time
MAX_COEFFICIENT_BITS = 5000  # of a numerator or denominator
MAX_NORMAL_FORM = 5_000_000  # atoms and inputs, over all disjuncts

_TOKEN = re.compile(r"\s+|;[^\n]*|([()])|(\"[^\"]*\"|\|[^|]*\||[^\s();\"|]+)|(.)")
_VARIABLE = re.compile(r"[XY]_(?:0|[1-9][0-9]{0,8})")
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,1000}(?:\.[0-9]{0,1000})?|\.[0-9]{1,1000})(?:[eE][-+]?[0-9]{1,4})?")
_IGNORED = {"set-logic", "set-info", "set-option", "check-sat", "get-model", "get-value", "get-info", "echo", "exit"}
_RELATIONS = {"<=": [(1, False)], "<": [(1, True)], ">=": [(-1, False)], ">": [(-1, True)], "=": [(1, False), (-1, False)]}

LinearTerm = dict[str, Fraction]
InputBounds = dict[int, Fraction]


@dataclass(frozen=True)
class And:
    """Every part holds."""

    parts: list[Any]


@dataclass(frozen=True)
class Or:
    """Some part holds."""

    parts: list[Any]


def read_checker(data: bytes) -> Any:
    """The checker of a property: ``region``, ``catastrophe``, ``outputs``.

    Raises InputError where the bytes are no VNN-LIB 1.0, or leave an input unbounded or without a value;
    UnsupportedError for what is not covered here.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("The property is not a text file; give a VNN-LIB property.") from None
    declared: dict[str, set[int]] = {"X": set(), "Y": set()}
    asserted = []
    for command in _commands(text):
        match command:
            case ["declare-const", str(name), "Real"] | ["declare-fun", str(name), [], "Real"]:
                _declare(declared, name)
            case ["assert", form]:
                asserted.append(_condition(form, False, declared))
            case [str(word), *_] if word in _IGNORED:
                pass
            case _:
                raise UnsupportedError(f"The command {shown(command)} is not supported; use declare-const and assert.")
    for kind, indices in declared.items():
        if not indices or max(indices) >= len(indices):
            raise InputError(f"The property must declare {kind}_0, {kind}_1, ... without a gap.")
    inputs = len(declared["X"])
    root = _joined(And, asserted)
    conjuncts = root.parts if isinstance(root, And) else [root]
    region = _region(conjuncts, inputs)
    condition = And([part for part in conjuncts if not _is_bound(part)] or [_atom({}, 1, False)])
    disjuncts, longest = _size(condition)
    if disjuncts * (inputs + longest) > MAX_NORMAL_FORM:
        raise UnsupportedError("The property has too many disjuncts; split it into several properties.")
    return SimpleNamespace(region=region, catastrophe=condition, outputs=len(declared["Y"]))


def _commands(text: str) -> Iterator[list[Any]]:
    """The parenthesized forms of the file, as nested lists of words."""
    stack: list[list[Any]] = []
    for number, token in enumerate(_TOKEN.finditer(text)):
        if number >= MAX_TOKENS:
            raise UnsupportedError(f"The property has more than {MAX_TOKENS} words and gaps; split it.")
        parenthesis, word, stray = token.groups()
        if parenthesis == "(":
            stack.append([])
            if len(stack) > MAX_NESTING:
                raise UnsupportedError(f"More than {MAX_NESTING} parentheses are open; flatten the property.")
        elif (parenthesis or word or stray) and (stray or not stack):
            raise InputError(f"{shown(token[0])} in the property does not belong there.")
        elif parenthesis:
            form = stack.pop()
            if not stack:
                yield form
            else:
                stack[-1].append(form)
        elif word:
            stack[-1].append(word)
    if stack:
        raise InputError("A parenthesis of the property is never closed; the file is truncated.")


def _declare(declared: dict[str, set[int]], name: str) -> None:
    if not _VARIABLE.fullmatch(name) or int(name[2:]) in declared[name[0]]:
        raise InputError(f"{shown(name)} is declared twice, or is neither X_i nor Y_j.")
    declared[name[0]].add(int(name[2:]))


# ---- terms


def _term(form: Any, declared: dict[str, set[int]]) -> LinearTerm:
    if isinstance(form, str):
        if _VARIABLE.fullmatch(form) and int(form[2:]) in declared[form[0]]:
            return {form: Fraction(1)}
        if _NUMBER.fullmatch(form):
            return _total([({"": Fraction(form)}, Fraction(1))])
        raise InputError(f"{shown(form)} is no declared variable and no decimal number.")
    word, terms = form[0] if form else "", [_term(part, declared) for part in form[1:]]
    if word not in ("+", "-", "*", "/") or not terms or (word == "/" and len(terms) < 2):
        raise UnsupportedError(f"The term {shown(form)} is not supported; use + - * / with operands.")
    if word in ("+", "-"):
        rest = Fraction(1 if word == "+" else -1)
        first = rest if len(terms) == 1 else Fraction(1)
        return _total([(term, rest if i else first) for i, term in enumerate(terms)])
    result = terms[0]
    for term in terms[1:]:
        if word == "*" and result.keys() <= {""}:
            result, term = term, result
        factor = term.get("", Fraction(0))
        if not term.keys() <= {""} or (word == "/" and not factor):
            raise UnsupportedError(f"The term {shown(form)} is not linear, or divides by zero.")
        result = _total([(result, factor if word == "*" else 1 / factor)])
    return result


def _total(weighted: Iterable[tuple[LinearTerm, Fraction]]) -> LinearTerm:
    """The sum of weighted terms, without the coefficients that vanish."""
    result: LinearTerm = {}
    for term, weight in weighted:
        for name, coefficient in term.items():
            value = result.get(name, 0) + weight * coefficient
            if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_COEFFICIENT_BITS:
                raise UnsupportedError(f"A coefficient of the property has more than {MAX_COEFFICIENT_BITS} bits.")
            result[name] = value
    return {name: value for name, value in result.items() if value}


# ---- conditions


def _condition(form: Any, negated: bool, declared: dict[str, set[int]]) -> Any:
    match form:
        case ["not", inner]:
            return _condition(inner, not negated, declared)
        case ["and" | "or" as word, _, *_]:
            kind = And if (word == "and") != negated else Or
            return _joined(kind, [_condition(part, negated, declared) for part in form[1:]])
        case [str(word), left, right] if word in _RELATIONS:
            margin = _total([(_term(left, declared), Fraction(1)), (_term(right, declared), Fraction(-1))])
            if negated:  # not m <= 0 is -m < 0
                return _joined(Or, [_atom(margin, -sign, not strict) for sign, strict in _RELATIONS[word]])
            return _joined(And, [_atom(margin, sign, strict) for sign, strict in _RELATIONS[word]])
    raise UnsupportedError(f"The condition {shown(form)} is not supported; use and, or, not and <= < >= > =.")


def _atom(term: LinearTerm, sign: int, strict: bool) -> Any:
    x, y = ({int(name[2:]): sign * c for name, c in term.items() if name[:1] == kind} for kind in "XY")
    margin = SimpleNamespace(x=x, y=y, constant=sign * term.get("", Fraction(0)))
    return SimpleNamespace(margin=margin, strict=strict)


def _joined(kind: type[And] | type[Or], conditions: list[Any]) -> Any:
    """One condition of several; nested ones of the same kind are spliced in."""
    if len(conditions) == 1:
        return conditions[0]
    return kind([part for c in conditions for part in (c.parts if isinstance(c, kind) else [c])])


def _size(condition: Any) -> tuple[int, int]:
    """At least the number of disjuncts (at most 10^9 is counted), and the atoms of the longest."""
    if not isinstance(condition, (And, Or)):
        return 1, 1
    counts, lengths = zip(*map(_size, condition.parts), strict=True)
    if isinstance(condition, Or):
        return sum(counts), max(lengths)
    total = 1
    for count in counts:
        total = min(total * count, 10**9)
    return total, sum(lengths)


# ---- the box


def _is_bound(condition: Any) -> bool:
    """Whether a condition is a closed bound of one input."""
    if isinstance(condition, (And, Or)) or condition.strict:
        return False
    return len(condition.margin.x) == 1 and not condition.margin.y


def _hull(condition: Any) -> tuple[InputBounds, InputBounds] | None:
    """Lower and upper bounds of inputs wherever the condition holds; None if they let it hold nowhere."""
    if not isinstance(condition, (And, Or)):
        margin = condition.margin
        if margin.y or len(margin.x) != 1:
            return {}, {}
        ((i, a),) = margin.x.items()
        bound = {i: -margin.constant / a}
        return ({}, bound) if a > 0 else (bound, {})
    boxes = [_hull(part) for part in condition.parts]
    found = [box for box in boxes if box is not None]
    if not found or (isinstance(condition, And) and len(found) < len(boxes)):
        return None
    if isinstance(condition, And):
        lower, upper = _intersection(found)
        return None if any(lower[i] > upper[i] for i in lower.keys() & upper.keys()) else (lower, upper)
    lowers, uppers = zip(*found, strict=True)
    return (
        {i: min(box[i] for box in lowers) for i in set(lowers[0]).intersection(*lowers)},
        {i: max(box[i] for box in uppers) for i in set(uppers[0]).intersection(*uppers)},
    )


def _intersection(boxes: Iterable[tuple[InputBounds, InputBounds]]) -> tuple[InputBounds, InputBounds]:
    lower: InputBounds = {}
    upper: InputBounds = {}
    for low, high in boxes:
        for i, value in low.items():
            lower[i] = max(value, lower.get(i, value))
        for i, value in high.items():
            upper[i] = min(value, upper.get(i, value))
    return lower, upper


def _region(conjuncts: list[Any], inputs: int) -> Any:
    """The box of the conjuncts, rounded outward to floats."""
    boxes = [_hull(part) for part in conjuncts]
    if None in boxes:
        raise InputError("The property allows no input: every alternative of an 'or' has an empty interval.")
    lower, upper = _intersection(box for box in boxes if box is not None)
    for i in range(inputs):
        if i not in lower or i not in upper or lower[i] > upper[i]:
            raise InputError(f"The property leaves X_{i} unbounded, or gives it an empty interval; correct its bounds.")
    try:
        low = array("d", (_float_below(lower[i]) for i in range(inputs)))
        high = array("d", (-_float_below(-upper[i]) for i in range(inputs)))
    except OverflowError:
        raise InputError("The property has a bound that is too large for a float.") from None
    if not all(map(math.isfinite, (*low, *high))):
        raise InputError("The property has a bound that is too large for a float.")
    return SimpleNamespace(lower=low, upper=high, ball=None)


def _float_below(value: Fraction) -> float:
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)
