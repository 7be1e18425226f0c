"""APTP, activation-pattern tree proofs: what NeuralSAT writes, as a tree of case distinctions.

As read from the format's example, from the reader of APTPchecker (dynaroars/APTPchecker: README.md, example/,
helper/spec/read_aptp.py) and from files that NeuralSAT and the same authors' alpha-beta-CROWN wrote::

    file      := statement*                                 comments run from ; to the end of the line
    statement := (declare-const (X_i | Y_j)+ Real)          inputs and outputs, from 0
               | (declare-pwl N_k+ ReLU)                    neurons, from 1, through all ReLU layers in order
               | (assert (<= | >= VARIABLE VARIABLE-OR-NUMBER))    the property
               | (assert (or (and literal*)+))              the proof: one conjunction a leaf, in any order
    literal   := (< N_k 0) | (>= N_k 0)                     inactive, active
               | (<= X_i number) | (>= X_i number)          a cell of split inputs, printed with about 10 digits

What is to be proved is said by the query that a proof is imported for. Of the file's property only the bounds of inputs
are read, as the region that the leaves are meant to cover; literals about outputs are skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import NoReturn

from pydual.errors import InputError
from pydual.io.cover import Case, cover
from pydual.network import Network
from pydual.proof_systems.case_tree import CaseTree

MAX_CASES = 2**19
MAX_LITERALS = 2**23

_VARIABLE = r"[XYN]_(?:0|[1-9][0-9]{0,8})"
_NUMBER = r"[-+]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,4})?"
_TOKEN = re.compile(
    r"\s+|;[^\n]*"  # one token each: a repetition of them would backtrack
    rf"|\(\s*(?P<relation><=|>=|<)\s+(?P<left>{_VARIABLE})\s+(?P<right>{_VARIABLE}|{_NUMBER})\s*\)"
    r"|\(\s*declare-(?P<what>const|pwl)\s(?P<names>[^();]*)\)"
    r"|\(\s*(?P<open>assert|or|and)\b|(?P<close>\))|(?P<end>\Z)|(?P<stray>[^\s;])"
)
_BLANK = re.compile(r"\s+|;[^\n]*")
_IS_VARIABLE = re.compile(_VARIABLE).fullmatch
_INSIDE = {"assert": (), "or": ("assert",), "and": ("assert", "or")}  # what must be open around a word


def is_aptp(text: str) -> bool:
    """Whether a text looks like APTP and not like something else."""
    at = 0
    while blank := _BLANK.match(text, at):
        at = blank.end()
    return text.startswith("(", at)


def aptp_tree(name: str, text: str, network: Network) -> CaseTree:
    """The case distinctions of an APTP file ``name`` for the network that it belongs to.

    Where the leaves do not cover all cases, the tree has a leaf "the missing case". Raises InputError, with the line, for
    a text that is damaged, for neurons and inputs that are not declared, for leaves that contradict themselves; and where
    the file declares other inputs, or more neurons, than the network has.
    """
    reader = _Reader(name, text)
    for token in _TOKEN.finditer(text):
        reader.read(token)
    reader.check_fit(network)
    tree = cover(reader.cases, name, {i: ends for i, ends in reader.box.items() if isfinite(ends[0] + ends[1])})
    tree.check_fit(network)
    return tree


@dataclass
class _Reader:
    name: str
    text: str
    declared: dict[str, set[int]] = field(default_factory=lambda: {"X": set(), "Y": set(), "N": set()})
    box: dict[int, tuple[float, float]] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    parts: int = 0  # of the open assertion
    literals: int = 0
    disjunction: list[tuple[Case, bool]] = field(default_factory=list)  # with whether outputs were skipped
    phases: dict[int, bool] = field(default_factory=dict)
    bounds: dict[int, tuple[float, float]] = field(default_factory=dict)
    outputs: bool = False

    def read(self, token: re.Match[str]) -> None:
        if token["stray"]:
            self.fail(token, f"'{token['stray']}' is not understood here")
        if token["relation"]:
            self.literal(token)
        elif token["what"]:
            self.declare(token)
        elif token["open"]:
            self.begin(token)
        elif token["close"]:
            self.end(token)
        elif token["end"] is not None and self.open:
            self.fail(token, f"the file ends inside of '{self.open[-1]}'")

    def declare(self, token: re.Match[str]) -> None:
        *names, sort = token["names"].split() or [""]
        kinds, expected = ("XY", "Real") if token["what"] == "const" else ("N", "ReLU")
        if self.open or sort.lower() != expected.lower() or not names:
            self.fail(token, f"a declaration has the form (declare-{token['what']} {kinds[0]}_1 {expected})")
        for name in names:
            if not _IS_VARIABLE(name) or name[0] not in kinds or name == "N_0":
                self.fail(token, f"'{name[:40]}' is no variable of this kind; neurons are N_1, N_2, ...")
            if int(name[2:]) in self.declared[name[0]]:
                self.fail(token, f"{name} is declared twice")
            self.declared[name[0]].add(int(name[2:]))

    def begin(self, token: re.Match[str]) -> None:
        word = token["open"]
        if tuple(self.open) != _INSIDE[word] or (word == "or" and self.parts):
            self.fail(token, f"'{word}' does not stand here; a proof is (assert (or (and ...) ...))")
        self.open.append(word)
        if word == "assert":
            self.parts, self.disjunction = 0, []
        elif word == "and":
            self.phases, self.bounds, self.outputs = {}, {}, False

    def end(self, token: re.Match[str]) -> None:
        if not self.open:
            self.fail(token, "a closing parenthesis has no opening one")
        word = self.open.pop()
        if word == "and":
            case = self.case(token)
            self.disjunction.append((case, self.outputs))
            if len(self.cases) + len(self.disjunction) > MAX_CASES:
                self.fail(token, f"the proof has more than {MAX_CASES} leaves")
        elif word == "or":
            self.parts += 1
            if not self.disjunction:
                self.fail(token, "a disjunction is empty")
            if not all(outputs and not (case.phases or case.lower or case.upper) for case, outputs in self.disjunction):
                self.cases += [case for case, _ in self.disjunction]
        elif self.parts != 1:
            self.fail(token, "an assertion has one condition")

    def case(self, token: re.Match[str]) -> Case:
        number = len(self.cases) + len(self.disjunction) + 1
        for i, (low, high) in self.bounds.items():
            if low > high:
                self.fail(token, f"leaf {number} has no value of X_{i}: [{low}, {high}]")
        lower = {i: low for i, (low, _) in self.bounds.items() if low > -inf}
        upper = {i: high for i, (_, high) in self.bounds.items() if high < inf}
        return Case(f"leaf {number}", self.phases, lower, upper)

    def literal(self, token: re.Match[str]) -> None:
        if self.open not in (["assert"], ["assert", "or", "and"]):
            self.fail(token, "a comparison stands in an assertion, or in a conjunction of a proof")
        inside = len(self.open) == 3
        self.literals += 1
        self.parts += not inside
        if self.literals > MAX_LITERALS:
            self.fail(token, f"the proof has more than {MAX_LITERALS} literals")
        left, right = token["left"], token["right"]
        for variable in (left, right):
            if variable[0] in "XYN" and int(variable[2:]) not in self.declared[variable[0]]:
                self.fail(token, f"{variable} is not declared")
        if left[0] == "Y" or (right[0] == "Y" and left[0] != "N"):
            self.outputs = True
        elif right[0] in "XYN":
            self.fail(token, f"{left} is compared with {right}; a literal compares it with a number")
        elif left[0] == "X":
            self.bound(token, self.bounds if inside else self.box)
        elif inside:
            self.phase(token)
        else:
            self.fail(token, f"{left} is outside of a proof (assert (or (and ...) ...))")

    def bound(self, token: re.Match[str], bounds: dict[int, tuple[float, float]]) -> None:
        i, value = int(token["left"][2:]), float(token["right"])
        if not abs(value) < 1e300:
            self.fail(token, f"the bound {token['right'][:40]} is not a finite number")
        low, high = bounds.get(i, (-inf, inf))
        bounds[i] = (max(low, value), high) if token["relation"] == ">=" else (low, min(high, value))

    def phase(self, token: re.Match[str]) -> None:
        neuron = int(token["left"][2:]) - 1
        if token["relation"] == "<=" or float(token["right"]) != 0:
            self.fail(token, f"{token['left']} is split at its sign: write (< {token['left']} 0) or (>= {token['left']} 0)")
        if neuron in self.phases:
            self.fail(token, f"a leaf speaks of {token['left']} twice")
        self.phases[neuron] = token["relation"] == ">="

    def check_fit(self, network: Network) -> None:
        if not self.cases:
            raise InputError(f"{self.name} contains no proof; it is written (assert (or (and (< N_1 0) ...) ...)).")
        inputs, neurons = self.declared["X"], self.declared["N"]
        if inputs and (len(inputs), max(inputs)) != (network.input_size, network.input_size - 1):
            raise InputError(
                f"{self.name} declares {len(inputs)} inputs up to X_{max(inputs)}, the network has {network.input_size}; "
                "use the network that the proof belongs to."
            )
        if max(neurons, default=0) > network.neurons:
            raise InputError(
                f"{self.name} declares the neuron N_{max(neurons)}, the network has {network.neurons} neurons; "
                "use the network that the proof belongs to."
            )

    def fail(self, token: re.Match[str], problem: str) -> NoReturn:
        line = self.text.count("\n", 0, token.end()) + 1
        raise InputError(f"{self.name}, line {line}: {problem}; the file is damaged or not APTP.")
