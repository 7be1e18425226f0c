"""The door to solvers of first-order logic: SMT-LIB text in, a model or an unsatisfiable core out. Their words are guesses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from typing import Any

from pydual.errors import InputError

POLL_SECONDS = 0.05  # how often a running check looks for Ctrl-C
MOST_MILLISECONDS = 2**31


@dataclass(frozen=True)
class Answer:
    """``status`` is "sat", "unsat", "timeout" or "unknown"; ``core`` are the assumptions that a refutation uses, ``values``
    the numbers of a model that were asked for (an irrational one up to 1e-20)."""

    status: str
    core: frozenset[str] = frozenset()
    values: dict[str, Fraction] = field(default_factory=dict)


class Z3:
    """The axioms ``text`` in a context of their own; ``logic`` is the name of one, or "" for any.

    Raises InputError if z3 is not installed.
    """

    def __init__(self, text: str, logic: str = "") -> None:
        self._z3 = _imported()
        self._context = self._z3.Context()
        self._solver = self._z3.SolverFor(logic, ctx=self._context) if logic else self._z3.Solver(ctx=self._context)
        self._solver.set("ctrl_c", False)  # Ctrl-C belongs to Python
        self._solver.from_string(text)

    def check(self, assumptions: Sequence[str], names: Sequence[str], seconds: float) -> Answer:
        """Whether the axioms hold together with the Boolean constants ``assumptions``; at most about ``seconds``."""
        self._solver.set("timeout", int(max(1.0, 1000 * seconds)) if isfinite(seconds) else MOST_MILLISECONDS)
        literals = [self._z3.Bool(name, self._context) for name in assumptions]
        status = str(self._interruptible(lambda: self._solver.check(*literals)))
        if status == "unsat":
            return Answer(status, core=frozenset(str(literal) for literal in self._solver.unsat_core()))
        if status == "sat":
            model = self._solver.model()
            return Answer(status, values={name: self._value(model, name) for name in names})
        return Answer("timeout" if self._solver.reason_unknown() in ("timeout", "canceled") else "unknown")

    def _interruptible(self, check: Callable[[], Any]) -> Any:
        """In a thread of its own, so that this one hears Ctrl-C."""
        results: list[Any] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(check())
            except self._z3.Z3Exception as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(POLL_SECONDS)
        except KeyboardInterrupt:
            while thread.is_alive():  # an interrupt before the check has begun is not heard
                self._context.interrupt()
                thread.join(POLL_SECONDS)
            raise
        return results[0] if results else f"unknown: {errors[0]}"

    def _value(self, model: Any, name: str) -> Fraction:
        value = model.eval(self._z3.Real(name, self._context), model_completion=True)
        if self._z3.is_algebraic_value(value):
            value = value.approx(20)
        return Fraction(value.numerator_as_long(), value.denominator_as_long())


def check_installed() -> None:
    """Raises InputError unless z3 is installed."""
    _imported()


def _imported() -> Any:
    try:
        import z3
    except ImportError:
        raise InputError("The proof system 'smt' needs z3; install it with pip install 'pydual[smt]'.") from None
    return z3
