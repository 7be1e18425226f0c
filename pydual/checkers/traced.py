"""Checkers as Python functions: ``@checker(region)`` on a function of input and output.

    >>> import numpy as np, pydual
    >>> region = pydual.Region([-1.0, -1.0], [1.0, 1.0])
    >>> @pydual.checker(region)
    ... def catastrophe(x, y):
    ...     return (y[0] >= 2 * y[1]) & (np.abs(x).sum() <= 1.5)
    >>> model = pydual.Network.from_layers([(np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([0.0, 3.5]))])
    >>> type(pydual.solve(model, catastrophe)).__name__, bool(catastrophe(np.array([1.0, 1.0]), np.array([2.0, 3.5])))
    ('Certificate', False)

The function is run once for a model, on symbols. What it computes is written down (expression.py) and becomes a condition and,
for what is not affine, a network appended to the model (lowering.py), which every proof system relaxes like the model itself.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from pydual.checker import Checker, Condition, Linear
from pydual.checkers.appended import append
from pydual.checkers.arrays import Array, array
from pydual.checkers.expression import Expression, Tape, condition
from pydual.checkers.judge_network import judge_network
from pydual.checkers.lowering import Lowering, Unit
from pydual.errors import InputError, PydualError
from pydual.network import Network
from pydual.query import PosedOnce, Query
from pydual.region import Region

Function = Callable[[Any, Any], Any]


def checker(region: Region) -> Callable[[Function], TracedChecker]:
    """A decorator: the function ``(x, y) -> bool`` says whether input and output are a catastrophe, for inputs in ``region``.

    ``x`` and ``y`` are arrays of the shapes of the model's input and output, without a first axis of size 1. The function
    may use numpy: ``+ - * @``, division by constants, indexing, sum, mean, abs, ``pydual.relu``, max, min, maximum, minimum,
    clip, square, integer powers, norms, comparisons, ``& | ~``, any and all. Raises InputError where the region is none;
    ``solve`` raises it, with the line of the function, where something does not trace.
    """
    if not isinstance(region, Region):
        raise InputError(f"A checker needs a Region; got {type(region).__name__}: write @pydual.checker(region).")
    return lambda function: TracedChecker(region, function)


def relu(x: Any) -> Any:
    """``max(x, 0)`` of each entry, of symbols as of numbers."""
    return np.maximum(x, 0)


@dataclass(frozen=True, eq=False)
class TracedChecker(PosedOnce):
    """A function of input and output as catastrophe checker, see ``checker``; it can be called like the function."""

    region: Region
    function: Function

    def __call__(self, x: Any, y: Any) -> Any:
        return self.function(x, y)

    def _posed(self, model: Network) -> Query:
        if self.region.size != model.input_size:
            raise InputError(
                f"The checker's region has {self.region.size} inputs, the network {model.input_size}; "
                "use the region that belongs to this network."
            )
        tape = Tape(model.output_size)
        x = symbols(tape, inputs(model.input_size), model.input_shape)
        y = symbols(tape, outputs(model.output_size), model.output_shape)
        found, units = trace(self.function, tape, (x, y))
        if not units:
            return Query(model, Checker(self.region, found), model)
        judge = judge_network(units, model.input_size, model.output_size)
        return Query(append(model, judge), Checker(self.region, found), model, judge)

    @cached_property
    def compiled(self) -> Function:
        """The function, compiled by numba where that is installed and compiles it."""
        try:
            from numba import njit
        except ImportError:
            return self.function
        return njit(self.function)

    def judge(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the function, in float64, calls each of the pairs (rows) a catastrophe: shape (pairs,), bool."""
        function = self.compiled
        found = np.zeros(len(x), dtype=bool)
        for k in range(len(x)):
            try:
                found[k] = bool(function(x[k], y[k]))
            except Exception:
                if function is self.function:
                    raise
                function = self.function  # numba does not know all of numpy
                found[k] = bool(function(x[k], y[k]))
        return found


def trace(function: Callable[..., Any], tape: Tape, arguments: tuple[Array, ...]) -> tuple[Condition, list[Unit]]:
    """What the function says of symbols: a condition, and what a network has to compute for it."""
    try:
        said = condition(_single(function(*arguments)))
    except PydualError as error:
        place, reason = _place(error, function), str(error).rstrip(".")
        raise InputError(f"The checker does not trace at {place}: {reason}.") from error
    except Exception as error:
        place, kind = _place(error, function), type(error).__name__
        raise InputError(f"The checker fails at {place}: {kind}: {error}.") from error
    lowering = Lowering(tape)
    try:
        return lowering.condition(said), lowering.units
    except InputError as error:
        raise InputError(f"The checker '{getattr(function, '__name__', '')}' does not trace: {error}.") from error


def inputs(size: int) -> list[Linear]:
    """The variables ``X[0]``, ``X[1]``, ..."""
    return [Linear({i: Fraction(1)}, {}) for i in range(size)]


def outputs(size: int, first: int = 0) -> list[Linear]:
    """The variables ``Y[first]`` and so on."""
    return [Linear({}, {j: Fraction(1)}) for j in range(first, first + size)]


def symbols(tape: Tape, variables: list[Linear], shape: tuple[int, ...]) -> Array:
    """An array of variables, without a first axis of size 1."""
    shape = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    return array([Expression(tape, variable) for variable in variables], shape)


def _single(value: Any) -> Any:
    """What a function returned; an array of one entry counts as that."""
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.ravel()[0]
    if isinstance(value, np.ndarray):
        raise InputError(f"the function returns {value.size} comparisons; join them with np.any or np.all")
    return value


def _place(error: BaseException, function: Function) -> str:
    """The last line of the function's file that was running."""
    code = getattr(function, "__code__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if code is not None and f.filename == code.co_filename]
    if not frames:
        return "its result" if code is None else f"{code.co_filename}:{code.co_firstlineno}, its result"
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()
    return f"{frames[-1].filename}:{frames[-1].lineno}, '{line}'"
