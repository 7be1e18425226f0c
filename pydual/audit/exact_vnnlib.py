"""The exact audit's own reader of VNN-LIB 1.0: PROOFS.md, "From VNN-LIB to a query". Standard library only.

A linear term is a dictionary from variables to coefficients, where "" stands for 1; a condition is a tree.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from pydual.audit.exact_onnx import named, shown
from pydual.audit.exact_operators import require
from pydual.audit.query import float_below
from pydual.errors import InputError, UnsupportedError

MAX_TOKENS = 2**19  # words, parentheses, comments and stretches of white space
MAX_NESTING = 200  # parentheses open at a time
MAX_BITS = 3500  # of the numerator or denominator of a coefficient

_TOKEN = re.compile(r"\s+|;[^\n\r]*|([()])|(\"[^\"]*\"|\|[^|]*\||[^\s();\"|]+)|(.)")
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,3})?")
_IGNORED = {"set-logic", "set-info", "set-option", "check-sat", "get-model", "get-value", "get-info", "echo", "exit"}
_RELATIONS = {"<=": [(1, False)], "<": [(1, True)], ">=": [(-1, False)], ">": [(-1, True)], "=": [(1, False), (-1, False)]}

LinearTerm = dict[str, Fraction]
Hull = dict[tuple[int, int], Fraction]  # bounds: (i, 1) of x_i from above, (i, -1) of -x_i from above


class And(SimpleNamespace):
    """All of its ``parts`` hold."""


class Or(SimpleNamespace):
    """Some of its ``parts`` hold."""


@named("The property")
def read_checker(data: bytes) -> Any:
    """The checker of a property, in the form that ``query`` reads, and the number of its ``outputs``. Raises InputError."""
    declared: set[str] = set()
    asserted = []
    for command in _commands(data.decode("utf-8-sig")):
        match command:
            case ["declare-const", str(name), "Real"] | ["declare-fun", str(name), [], "Real"]:
                new = re.fullmatch("[XY]_[0-9]{1,9}", name) and name not in declared
                require(bool(new), f"{shown(name)} is declared twice, or is neither X_i nor Y_j")
                declared.add(name)
            case ["assert", form]:
                asserted.append(_condition(form, False, declared))
            case [str(word), *_] if word in _IGNORED:
                pass
            case _:
                raise UnsupportedError(f"The command {shown(command)} is not supported; use declare-const and assert.")
    inputs, outputs = (sum(name[0] == kind for name in declared) for kind in "XY")
    expected = {f"X_{i}" for i in range(inputs)} | {f"Y_{j}" for j in range(outputs)}
    require(inputs > 0 < outputs and declared == expected, "it must declare X_0, X_1, ... and Y_0, Y_1, ... without a gap")
    conjuncts = _parts(And, asserted)
    rest = [part for part in conjuncts if hasattr(part, "parts") or part.strict or not _hull(part)]
    condition = And(parts=rest or [_atom({}, 1, False)])
    return SimpleNamespace(region=_region(conjuncts, inputs), catastrophe=condition, outputs=outputs)


def _commands(text: str) -> list[Any]:
    """The parenthesized forms of the file, as nested lists of words."""
    stack: list[list[Any]] = [[]]
    for number, token in enumerate(_TOKEN.finditer(text)):
        parenthesis, word, stray = token.groups()
        fits = number < MAX_TOKENS and len(stack) <= MAX_NESTING
        require(fits, f"it has more than {MAX_TOKENS} words or {MAX_NESTING} open parentheses", UnsupportedError)
        if parenthesis == "(":
            stack.append([])
        elif stray or (len(stack) == 1 and (parenthesis or word)):
            raise InputError(f"{shown(token[0])} does not belong outside of parentheses.")
        elif word:
            stack[-1].append(word)
        elif parenthesis:
            stack[-2].append(stack.pop())
    require(len(stack) == 1, "a parenthesis is never closed; the file is truncated")
    return stack[0]


def _term(form: Any, declared: set[str]) -> LinearTerm:
    match form:
        case str() if form in declared:
            return {form: Fraction(1)}
        case str() if _NUMBER.fullmatch(form):
            return _total(({"": Fraction(form)}, 1))
        case ["-", inner]:
            return _total((_term(inner, declared), -1))
        case ["+" | "-" as sign, first, *others]:
            weight = 1 if sign == "+" else -1
            return _total((_term(first, declared), 1), *((_term(part, declared), weight) for part in others))
        case ["*" | "/" as word, left, right]:
            a, b = _term(left, declared), _term(right, declared)
            a, b = (b, a) if word == "*" and a.keys() <= {""} else (a, b)
            factor = b.get("", Fraction(0))
            if b.keys() <= {""} and (factor or word == "*"):
                return _total((a, factor if word == "*" else 1 / factor))
    raise UnsupportedError(f"{shown(form)} is no linear term of declared variables, decimal numbers, + - * and /.")


def _total(*terms: tuple[LinearTerm, Fraction | int]) -> LinearTerm:
    """The sum of weighted terms, without the coefficients that vanish."""
    result: LinearTerm = {}
    for name, summand in ((name, weight * c) for term, weight in terms for name, c in term.items()):
        result[name] = result.get(name, 0) + summand
        long = max(abs(result[name].numerator), result[name].denominator) >> MAX_BITS
        require(not long, f"a coefficient has more than {MAX_BITS} bits", UnsupportedError)
    return {name: value for name, value in result.items() if value}


def _condition(form: Any, negated: bool, declared: set[str]) -> Any:
    match form:
        case ["not", inner]:
            return _condition(inner, not negated, declared)
        case ["and" | "or" as word, _, *_]:
            kind = And if (word == "and") != negated else Or
            parts = _parts(kind, [_condition(part, negated, declared) for part in form[1:]])
        case [str(word), left, right] if word in _RELATIONS:
            margin = _total((_term(left, declared), 1), (_term(right, declared), -1))
            kind, sign = (Or, -1) if negated else (And, 1)  # not m <= 0 is -m < 0
            parts = [_atom(margin, sign * side, strict != negated) for side, strict in _RELATIONS[word]]
        case _:
            raise UnsupportedError(f"The condition {shown(form)} is not supported; use and, or, not and <= < >= > =.")
    return parts[0] if len(parts) == 1 else kind(parts=parts)


def _atom(term: LinearTerm, sign: int, strict: bool) -> Any:
    x, y = ({int(name[2:]): sign * c for name, c in term.items() if name[:1] == kind} for kind in "XY")
    return SimpleNamespace(margin=SimpleNamespace(x=x, y=y, constant=sign * term.get("", Fraction(0))), strict=strict)


def _parts(kind: type[And] | type[Or], conditions: list[Any]) -> list[Any]:
    """The conditions, where those of the kind are replaced by their parts."""
    return [part for c in conditions for part in (c.parts if isinstance(c, kind) else [c])]


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
        result |= {key: min(bound, result.get(key, bound)) for key, bound in hull.items()}
    crossed = any((i, -side) in result and bound + result[i, -side] < 0 for (i, side), bound in result.items())
    return None if crossed else result


def _region(conjuncts: list[Any], inputs: int) -> Any:
    """The box of the conjuncts, rounded outward to floats."""
    hull = _intersection(map(_hull, conjuncts)) or {}
    bounded = all((i, side) in hull for i in range(inputs) for side in (1, -1))
    require(bounded, "it leaves an input without any value, or unbounded from below or above; correct its bounds")
    lower, upper = ([-side * float_below(-hull[i, side]) for i in range(inputs)] for side in (-1, 1))
    return SimpleNamespace(lower=array("d", lower), upper=array("d", upper), ball=None)
