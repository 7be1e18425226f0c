"""VNN-LIB 1.0: a property file as a Checker.

The conjunction of all assertions describes the catastrophe. It is read in one pass by a stack machine: an opening
parenthesis pushes a ``_Frame``, a closing one turns it into a term or a condition of the frame around it. Files consist
mostly of declarations, bounds of single inputs and plain comparisons, so each of these is one token. Numbers are exact.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

from pydual.checker import MAX_DEPTH, And, Atom, Checker, Condition, Linear, Or
from pydual.errors import InputError, UnsupportedError
from pydual.io.affine_term import MAX_BITS, OPERATIONS, AffineTerm
from pydual.io.hull import hull, intersection, is_bound
from pydual.io.paths import as_path
from pydual.region import Rational, decimal_box, round_down, round_up

MAX_BYTES = 2**28  # of text, after decompression
MAX_OPEN = 100_000  # parentheses open at a time

_INDEX = r"(?:0|[1-9]\d{0,8})"
_NUMBER = r"[-+]?(?:\d{1,1000}(?:\.\d{0,1000})?|\.\d{1,1000})(?:[eE][-+]?\d{1,4})?"
_VARIABLE = rf"[XY]_{_INDEX}"
_WORD = r"[^\s();\"|]"
_TOKEN = re.compile(
    r"\s*(?:;[^\n\r]*\s*)*(?:"
    rf"\(\s*assert\s*\(\s*(?P<side>[<>]=)\s+X_(?P<bounded>{_INDEX})\s+(?P<bound>{_NUMBER})\s*\)\s*\)"
    rf"|\(\s*declare-(?:const|fun)\s+(?P<kind>[XY])_(?P<declared>{_INDEX})\s*(?:\(\s*\)\s*)?\bReal\s*\)"
    rf"|\(\s*(?P<relation>[<>]=?)\s+(?P<left>{_VARIABLE})\s+(?P<right>{_VARIABLE}|{_NUMBER})\s*\)"
    rf"|\(\s*(?P<open>{_WORD}*)|(?P<close>\))|(?P<word>{_WORD}+)"
    r"|(?P<quoted>\"[^\"]*\"|\|[^|]*\|)|(?P<stray>\S)|(?P<end>\Z))"
)
_IS_VARIABLE = re.compile(_VARIABLE).fullmatch
_IS_NUMBER = re.compile(_NUMBER).fullmatch

_CONNECTIVES = {"and", "or", "not"}
_COMPARISONS = {"<=": (1, False), "<": (1, True), ">=": (-1, False), ">": (-1, True)}  # sign of the margin, strict
_ARITHMETIC = {"+", "-", "*", "/"}
_IGNORED = {"set-logic", "set-info", "set-option", "check-sat", "get-model", "get-value", "get-info", "echo", "exit"}
_ATOMS = {*_COMPARISONS, "="}
_INNER = {  # what may be opened inside of what
    "file": {"assert", *_IGNORED},
    **dict.fromkeys(("assert", *_CONNECTIVES), _CONNECTIVES | _ATOMS),
    **dict.fromkeys((*_ATOMS, *_ARITHMETIC), _ARITHMETIC),
}


def load_checker(path: str | os.PathLike[str]) -> Checker:
    """Read a VNN-LIB 1.0 property, ``.vnnlib`` or gzipped.

    Inputs are ``X_0, X_1, ...`` and outputs ``Y_0, Y_1, ...``; assertions are any nesting of ``and``, ``or``, ``not``
    over comparisons of linear terms. The region is the smallest box that the reader finds around all inputs that may be
    asserted; what it does not say exactly stays in the condition.

    Raises InputError, with the line, for a file that is damaged or not VNN-LIB, for undeclared variables, and for
    inputs that are unbounded or have an empty interval; UnsupportedError for VNN-LIB 2 and terms that are not linear.
    """
    return _Reader(str(path), _read_text(as_path(path, "property.vnnlib"))).checker()


def _read_text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = (gzip.GzipFile(fileobj=file) if zipped else file).read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); compress or download it again.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES} bytes of text; split the property.")
    try:
        return data.decode("utf-8-sig").rstrip()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; give a VNN-LIB property.") from None


@dataclass(slots=True)
class _Frame:
    """An open parenthesis.

    ``negated`` says whether an odd number of ``not`` is around it. Its conditions go to the list ``conditions``, the
    parts of a ``connective``; frames in the same connective share the list of the outermost: nesting costs nothing.
    """

    word: str
    position: int
    negated: bool
    connective: type[And] | type[Or]
    conditions: list[Condition]
    level: int
    parts: int = 0
    terms: list[AffineTerm] = field(default_factory=list)

    def append(self, connective: type[And] | type[Or], conditions: list[Condition]) -> None:
        """Add one condition, given as the parts of a connective."""
        if len(conditions) == 1:
            connective, conditions = _split(conditions[0], self.connective)
        if connective is self.connective:
            self.conditions.extend(conditions)
        else:
            self.conditions.append(connective(tuple(conditions)))


def _split(condition: Condition, connective: type[And] | type[Or]) -> tuple[type[And] | type[Or], list[Condition]]:
    return connective, list(condition.parts) if isinstance(condition, connective) else [condition]


def _negated(sign: int, strict: bool) -> tuple[int, bool]:
    return -sign, not strict  # not m <= 0 is -m < 0


class _Reader:
    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.declared: dict[str, set[int]] = {"X": set(), "Y": set()}
        self.lower: dict[int, Rational] = {}
        self.upper: dict[int, Rational] = {}
        self.root = _Frame("file", 0, False, And, [], 0)
        self.stack = [self.root]

    def checker(self) -> Checker:
        self.read()
        inputs, outputs = self.declarations("X"), self.declarations("Y")
        lower, upper = self.box(inputs)
        kept = [part for part in self.root.conditions if not is_bound(part)] or [Atom(Linear({}, {}))]  # 0 <= 0
        condition = kept[0] if len(kept) == 1 else And(tuple(kept))
        try:
            return Checker(decimal_box(lower, upper), condition, outputs)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None

    def read(self) -> None:
        actions = {
            "bound": self.bound,
            "declared": self.declare,
            "right": self.comparison,
            "open": self.open,
            "close": self.close,
            "word": self.word,
            "quoted": self.word,
            "stray": self.stray,
            "end": self.end,
        }
        for token in _TOKEN.finditer(self.text):
            actions[token.lastgroup](token)  # type: ignore[index]

    # ---- tokens

    def bound(self, token: re.Match[str]) -> None:
        """``(assert (<= X_i number))`` or ``>=``."""
        i, value = int(token["bounded"]), Decimal(token["bound"])
        if len(self.stack) > 1:
            self.fail(token, "an assertion starts inside of another command; a closing parenthesis is missing above")
        if i not in self.declared["X"]:
            self.fail(token, f"X_{i} is not declared")
        is_upper = token["side"] == "<="
        bounds = self.upper if is_upper else self.lower
        if i not in bounds or (value < bounds[i]) == is_upper:
            bounds[i] = value

    def declare(self, token: re.Match[str]) -> None:
        kind, i = token["kind"], int(token["declared"])
        if len(self.stack) > 1:
            self.fail(token, "a declaration starts inside of another command; a closing parenthesis is missing above")
        if i in self.declared[kind]:
            self.fail(token, f"{kind}_{i} is declared twice")
        self.declared[kind].add(i)

    def comparison(self, token: re.Match[str]) -> None:
        """``(<= variable variable)`` or ``(<= variable number)``, with any of the four relations."""
        outer, word, left, right = self.stack[-1], token["relation"], token["left"], token["right"]
        if outer.word in _IGNORED:
            return
        if word not in _INNER[outer.word]:
            self.misplaced(token, word, outer)
        sign, strict = _negated(*_COMPARISONS[word]) if outer.negated else _COMPARISONS[word]
        coefficients: dict[str, dict[int, Fraction]] = {"X": {}, "Y": {}}
        coefficients[left[0]][self.index(token, left)] = Fraction(sign)
        constant = Fraction(0)
        if right == left:
            coefficients[left[0]].clear()
        elif right[0] in "XY":
            coefficients[right[0]][self.index(token, right)] = Fraction(-sign)
        else:
            constant = Fraction(right) * -sign
        outer.parts += 1
        outer.conditions.append(Atom(Linear(coefficients["X"], coefficients["Y"], constant), strict))

    def open(self, token: re.Match[str]) -> None:
        word, outer = token["open"], self.stack[-1]
        if len(self.stack) > MAX_OPEN:
            self.fail(token, f"more than {MAX_OPEN} parentheses are open; flatten the property", UnsupportedError)
        if outer.word in _IGNORED:
            word = outer.word
        elif word not in _INNER[outer.word]:
            self.misplaced(token, word, outer)
        outer.parts += 1
        frame = _Frame(word, token.start("open"), outer.negated, outer.connective, outer.conditions, outer.level)
        if word == "not":
            frame.negated = not outer.negated
        elif word in _CONNECTIVES:
            frame.connective = And if (word == "and") != outer.negated else Or
            if frame.connective is not outer.connective:
                frame.conditions, frame.level = [], outer.level + 1
                if frame.level > MAX_DEPTH - 2:
                    self.fail(token, f"and/or alternate more than {MAX_DEPTH - 2} levels deep", UnsupportedError)
        self.stack.append(frame)

    def close(self, token: re.Match[str]) -> None:
        frame = self.stack.pop()
        if frame is self.root:
            self.fail(token, "a closing parenthesis has no opening one")
        outer, parts = self.stack[-1], frame.parts
        if frame.word in _CONNECTIVES or frame.word == "assert":
            if parts == 0 or (parts > 1 and frame.word in ("assert", "not")):
                self.fail(token, f"'{frame.word}' has {parts} parts; give it one condition" + " or more" * (parts == 0))
            if frame.conditions is not outer.conditions:
                outer.append(frame.connective, frame.conditions)
        elif frame.word in _ATOMS:
            if parts != 2:
                self.fail(token, f"'{frame.word}' compares {parts} terms; write it with two")
            outer.append(*self.compare(token, frame))
        elif frame.word in _ARITHMETIC:
            outer.terms.append(self.calculate(token, frame))

    def word(self, token: re.Match[str]) -> None:
        word, outer = token["word"] or token["quoted"], self.stack[-1]
        if outer.word in _IGNORED:
            return
        outer.parts += 1
        if outer.word not in _ATOMS and outer.word not in _ARITHMETIC:
            self.fail(token, f"'{word[:40]}' stands where a parenthesis has to open")
        if _IS_VARIABLE(word):
            self.index(token, word)
            outer.terms.append(AffineTerm({word: Fraction(1)}))
        elif _IS_NUMBER(word):
            value = Fraction(word)
            outer.terms.append(AffineTerm({"": value} if value else {}))
        else:
            self.fail(token, f"'{word[:40]}' is no variable X_i or Y_j and no decimal number")

    def stray(self, token: re.Match[str]) -> NoReturn:
        self.fail(token, f"'{token['stray']}' does not belong here, or a quotation never ends")

    def end(self, token: re.Match[str]) -> None:
        if len(self.stack) > 1:
            frame = self.stack[1]
            self.fail(frame.position, f"'({frame.word}' is never closed; the file is truncated or lacks a parenthesis")

    # ---- meaning

    def compare(self, token: re.Match[str], frame: _Frame) -> tuple[type[And] | type[Or], list[Condition]]:
        """The two terms of a comparison, as a conjunction (or disjunction: a negated equation) of atoms."""
        left, right = frame.terms
        try:
            margin = left.plus(right.times(Fraction(-1))).linear()
        except OverflowError:
            self.fail(token, f"a coefficient has more than {MAX_BITS} bits", UnsupportedError)
        signs = [(1, False), (-1, False)] if frame.word == "=" else [_COMPARISONS[frame.word]]
        if frame.negated:
            signs = [_negated(*sign) for sign in signs]
        return Or if frame.negated else And, [Atom(margin * sign, strict) for sign, strict in signs]

    def calculate(self, token: re.Match[str], frame: _Frame) -> AffineTerm:
        if not frame.terms or (frame.word == "/" and len(frame.terms) < 2):
            self.fail(token, f"'{frame.word}' lacks terms")
        try:
            return OPERATIONS[frame.word](frame.terms)
        except OverflowError:
            self.fail(token, f"a coefficient has more than {MAX_BITS} bits", UnsupportedError)
        except ZeroDivisionError:
            self.fail(token, "a division by zero")
        except ValueError:
            self.fail(token, "a product or quotient of variables; only linear terms are supported", UnsupportedError)

    def index(self, token: re.Match[str], variable: str) -> int:
        index = int(variable[2:])
        if index not in self.declared[variable[0]]:
            self.fail(token, f"{variable} is not declared")
        return index

    def declarations(self, kind: str) -> int:
        declared = self.declared[kind]
        missing = next((i for i in range(len(declared)) if i not in declared), None)
        if not declared or missing is not None:
            name = f"{kind}_{missing or 0}"
            raise InputError(f"{self.name} does not declare {name}; declare all variables, from {kind}_0 on.")
        return len(declared)

    def box(self, inputs: int) -> tuple[list[Rational], list[Rational]]:
        """Bounds of all inputs that hold wherever the condition does."""
        boxes = [hull(part) for part in self.root.conditions]
        found = [box for box in boxes if box is not None]
        if len(found) < len(boxes):
            raise InputError(f"{self.name} allows no input: every alternative of an 'or' has an empty interval.")
        lower, upper = intersection([(self.lower, self.upper), *found])
        for i in range(inputs):
            for bounds, side in ((lower, "lower"), (upper, "upper")):
                if i not in bounds:
                    raise InputError(f"{self.name} gives X_{i} no {side} bound (in each alternative); add one.")
            if lower[i] > upper[i]:
                interval = f"[{round_down(lower[i])}, {round_up(upper[i])}]"
                raise InputError(f"{self.name} gives X_{i} the empty interval {interval}; swap or correct its bounds.")
        return [lower[i] for i in range(inputs)], [upper[i] for i in range(inputs)]

    # ---- errors

    def fail(self, where: re.Match[str] | int, what: str, kind: type[InputError] = InputError) -> NoReturn:
        position = where if isinstance(where, int) else max(where.end() - 1, 0)
        line = self.text.count("\n", 0, position) + 1
        one_line = " ".join(what.split())  # what is quoted from the file may span lines
        raise kind(f"{self.name}, line {line}: {one_line}.")

    def misplaced(self, token: re.Match[str], word: str, outer: _Frame) -> NoReturn:
        if word == "vnnlib-version":
            self.fail(token, "this is VNN-LIB 2; VNN-LIB 1.0 is supported (declare-const and assert)", UnsupportedError)
        if word.startswith("declare-"):
            shape = "(declare-const X_0 Real) or (declare-fun X_0 () Real)"
            self.fail(token, f"write a declaration as {shape}, with X for inputs and Y for outputs", UnsupportedError)
        if not word or word in _INNER or word in _IGNORED:
            self.fail(token, f"'({word}' cannot stand inside of '{outer.word}'")
        known = " ".join(sorted(_INNER[outer.word] - _IGNORED))
        self.fail(token, f"'{word[:40]}' is not supported in '{outer.word}', which takes {known}", UnsupportedError)
