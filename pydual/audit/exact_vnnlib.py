"""The exact audit's own reader of VNN-LIB 1.0: PROOFS.md, "From VNN-LIB to a query". Standard library only.

``read_checker`` gives a checker in the form that ``query`` reads. Numbers are rational; a linear term is a dictionary from
variables to coefficients, where "" stands for 1; a condition is a tree of ``And``, ``Or`` and atoms.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from pydual.audit.exact_protobuf import shown
from pydual.audit.query import float_below
from pydual.errors import InputError, UnsupportedError

MAX_TOKENS = 2**23  # words, parentheses, comments and stretches of white space
MAX_NESTING = 200  # parentheses open at a time
MAX_COEFFICIENT_BITS = 5000  # of a numerator or denominator

_TOKEN = re.compile(r"\s+|;[^\n]*|([()])|(\"[^\"]*\"|\|[^|]*\||[^\s();\"|]+)|(.)")
_VARIABLE = re.compile(r"[XY]_(?:0|[1-9][0-9]{0,8})")
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,1000}(?:\.[0-9]{0,1000})?|\.[0-9]{1,1000})(?:[eE][-+]?[0-9]{1,4})?")
_IGNORED = {"set-logic", "set-info", "set-option", "check-sat", "get-model", "get-value", "get-info", "echo", "exit"}
_RELATIONS = {"<=": [(1, False)], "<": [(1, True)], ">=": [(-1, False)], ">": [(-1, True)], "=": [(1, False), (-1, False)]}

LinearTerm = dict[str, Fraction]
Hull = dict[tuple[int, int], Fraction]  # bounds: (i, 1) of x_i from above, (i, -1) of -x_i from above


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
    declared: dict[str, int] = {}  # the variables, with their numbers
    asserted = []
    for command in _commands(text):
        match command:
            case ["declare-const", str(name), "Real"] | ["declare-fun", str(name), [], "Real"]:
                if not _VARIABLE.fullmatch(name) or name in declared:
                    raise InputError(f"{shown(name)} is declared twice, or is neither X_i nor Y_j.")
                declared[name] = int(name[2:])
            case ["assert", form]:
                asserted.append(_condition(form, False, declared))
            case [str(word), *_] if word in _IGNORED:
                pass
            case _:
                raise UnsupportedError(f"The command {shown(command)} is not supported; use declare-const and assert.")
    inputs, outputs = (sum(name[0] == kind for name in declared) for kind in "XY")
    if not inputs or not outputs or any(i >= (inputs if name[0] == "X" else outputs) for name, i in declared.items()):
        raise InputError("The property must declare X_0, X_1, ... and Y_0, Y_1, ... without a gap.")
    conjuncts = _parts(And, asserted)
    region = _region(conjuncts, inputs)
    condition = And([part for part in conjuncts if not _is_bound(part)] or [_atom({}, 1, False)])
    return SimpleNamespace(region=region, catastrophe=condition, outputs=outputs)


def _commands(text: str) -> Iterator[list[Any]]:
    """The parenthesized forms of the file, as nested lists of words."""
    stack: list[list[Any]] = []
    for number, token in enumerate(_TOKEN.finditer(text)):
        parenthesis, word, stray = token.groups()
        if parenthesis == "(":
            stack.append([])
        elif parenthesis and stack:
            form = stack.pop()
            if not stack:
                yield form
            else:
                stack[-1].append(form)
        elif word and stack:
            stack[-1].append(word)
        elif parenthesis or word or stray:
            raise InputError(f"{shown(token[0])} in the property does not belong there.")
        if number >= MAX_TOKENS or len(stack) > MAX_NESTING:
            raise UnsupportedError(f"The property has more than {MAX_TOKENS} words or {MAX_NESTING} open parentheses.")
    if stack:
        raise InputError("A parenthesis of the property is never closed; the file is truncated.")


# ---- terms


def _term(form: Any, declared: dict[str, int]) -> LinearTerm:
    if isinstance(form, str):
        if form not in declared and not _NUMBER.fullmatch(form):
            raise InputError(f"{shown(form)} is no declared variable and no decimal number.")
        return {form: Fraction(1)} if form in declared else _total([{"": Fraction(form)}], [1])
    word, terms = form[0] if form else "", [_term(part, declared) for part in form[1:]]
    if word not in ("+", "-", "*", "/") or not terms or (word == "/" and len(terms) < 2):
        raise UnsupportedError(f"The term {shown(form)} is not supported; use + - * / with operands.")
    if word in ("+", "-"):
        sign = 1 if word == "+" else -1
        return _total(terms, [1 if terms[1:] else sign, *[sign] * (len(terms) - 1)])
    result = terms[0]
    for term in terms[1:]:
        if word == "*" and result.keys() <= {""}:
            result, term = term, result
        factor = term.get("", Fraction(0))
        if not term.keys() <= {""} or (word == "/" and not factor):
            raise UnsupportedError(f"The term {shown(form)} is not linear, or divides by zero.")
        result = _total([result], [factor if word == "*" else 1 / factor])
    return result


def _total(terms: list[LinearTerm], weights: Sequence[Fraction | int]) -> LinearTerm:
    """The sum of weighted terms, without the coefficients that vanish."""
    result: LinearTerm = {}
    for term, weight in zip(terms, weights, strict=True):
        for name, coefficient in term.items():
            value = result.get(name, 0) + weight * coefficient
            if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_COEFFICIENT_BITS:
                raise UnsupportedError(f"A coefficient of the property has more than {MAX_COEFFICIENT_BITS} bits.")
            result[name] = value
    return {name: value for name, value in result.items() if value}


# ---- conditions


def _condition(form: Any, negated: bool, declared: dict[str, int]) -> Any:
    match form:
        case ["not", inner]:
            return _condition(inner, not negated, declared)
        case ["and" | "or" as word, _, *_]:
            kind = And if (word == "and") != negated else Or
            parts = _parts(kind, [_condition(part, negated, declared) for part in form[1:]])
        case [str(word), left, right] if word in _RELATIONS:
            margin = _total([_term(left, declared), _term(right, declared)], [1, -1])
            kind, sign = (Or, -1) if negated else (And, 1)  # not m <= 0 is -m < 0
            parts = [_atom(margin, sign * side, strict != negated) for side, strict in _RELATIONS[word]]
        case _:
            raise UnsupportedError(f"The condition {shown(form)} is not supported; use and, or, not and <= < >= > =.")
    return parts[0] if len(parts) == 1 else kind(parts)


def _atom(term: LinearTerm, sign: int, strict: bool) -> Any:
    x, y = ({int(name[2:]): sign * c for name, c in term.items() if name[:1] == kind} for kind in "XY")
    margin = SimpleNamespace(x=x, y=y, constant=sign * term.get("", Fraction(0)))
    return SimpleNamespace(margin=margin, strict=strict)


def _parts(kind: type[And] | type[Or], conditions: list[Any]) -> list[Any]:
    """The conditions, where those of the kind are replaced by their parts."""
    return [part for c in conditions for part in (c.parts if isinstance(c, kind) else [c])]


def _is_bound(condition: Any) -> bool:
    """Whether a condition is a closed bound of one input."""
    return not isinstance(condition, (And, Or)) and not condition.strict and bool(_hull(condition))


def _hull(condition: Any) -> Hull | None:
    """Bounds of inputs wherever the condition holds; None if they let it hold nowhere."""
    if isinstance(condition, And):
        return _intersection(map(_hull, condition.parts))
    if isinstance(condition, Or):
        found = [hull for hull in map(_hull, condition.parts) if hull is not None]
        common = set(found[0]).intersection(*found) if found else ()
        return {key: max(hull[key] for hull in found) for key in common} if found else None
    margin = condition.margin
    if margin.y or len(margin.x) != 1:
        return {}
    ((i, a),) = margin.x.items()
    return {(i, 1 if a > 0 else -1): -margin.constant / abs(a)}


def _intersection(hulls: Iterable[Hull | None]) -> Hull | None:
    result: Hull = {}
    for hull in hulls:
        if hull is None:
            return None
        for key, bound in hull.items():
            result[key] = min(bound, result.get(key, bound))
    crossed = any((i, -side) in result and bound + result[i, -side] < 0 for (i, side), bound in result.items())
    return None if crossed else result


def _region(conjuncts: list[Any], inputs: int) -> Any:
    """The box of the conjuncts, rounded outward to floats."""
    hull = _intersection(map(_hull, conjuncts))
    if hull is None:
        raise InputError("The property allows no input: an interval is empty; correct its bounds.")
    for i in range(inputs):
        if (i, 1) not in hull or (i, -1) not in hull:
            raise InputError(f"The property leaves X_{i} unbounded; give it bounds from below and above.")
    lower = array("d", (-_finite_above(hull[i, -1]) for i in range(inputs)))
    upper = array("d", (_finite_above(hull[i, 1]) for i in range(inputs)))
    return SimpleNamespace(lower=lower, upper=upper, ball=None)


def _finite_above(bound: Fraction) -> float:
    if abs(bound) > Fraction(sys.float_info.max):
        raise InputError("The property has a bound that is too large for a float; give a smaller one.")
    return -float_below(-bound)
