"""Sigmoid, tanh and square for the exact audit: proven values and lines (PROOFS.md, section 4). Standard library only.

Values are integers that count ``1 / UNIT``, slopes of lines count ``1 / ONE``. Floats only choose slopes and touching
points: any choice gives a line that holds.
"""

from __future__ import annotations

import math
from decimal import Context
from fractions import Fraction
from functools import lru_cache

from pydual.audit.exact_region import BITS

ONE = 1 << BITS
PLACES = 100
UNIT = 1 << PLACES
FAR = Fraction(10**300)  # a float
CONTEXT = Context(prec=60)
Line = tuple[int, int]  # slope, value at the lower end of the interval


@lru_cache(maxsize=2**14)
def curve_value(kind: str, p: Fraction) -> tuple[int, int]:
    """Integers below and above ``UNIT`` times the curve's value, at most 6 apart."""
    if kind == "square":
        return math.floor(p * p * UNIT), math.ceil(p * p * UNIT)
    if kind == "tanh":  # tanh(p) = 2 sigmoid(2 p) - 1
        low, high = curve_value("sigmoid", 2 * p)
        return 2 * low - UNIT, 2 * high - UNIT
    if p == 0:
        return UNIT // 2, UNIT // 2
    if p < 0:  # sigmoid(-p) = 1 - sigmoid(p)
        low, high = curve_value("sigmoid", -p)
        return UNIT - high, UNIT - low
    # 1 / (1 + exp(-p)), where exp(-128) < 1 / UNIT: 2**200 p is rounded by less than 1, and decimal rounds the exponential
    # and the quotients correctly to 60 digits, so that the result n is off by less than 1
    exponential = CONTEXT.exp(CONTEXT.divide(-int(min(p, Fraction(128)) * 2**200), 2**200))
    n = int(CONTEXT.divide(UNIT, CONTEXT.add(1, exponential)))
    return n - 1, min(n + 2, UNIT)


def curve_ends(kind: str, low: Fraction, high: Fraction) -> tuple[int, int]:
    """Integers below and above ``UNIT`` times the curve's values on ``[low, high]``; all but the square rise."""
    first, last = curve_value(kind, low), curve_value(kind, high)
    if kind != "square":
        return first[0], last[1]
    return 0 if low <= 0 <= high else min(first[0], last[0]), max(first[1], last[1])


@lru_cache(maxsize=2**14)
def curve_lines(kind: str, low: Fraction, high: Fraction, parallel: bool) -> tuple[Line, Line]:
    """Lines below and above the curve on ``[low, high]``, which do not fall but for the square's."""
    if kind == "square":
        return _square_lines(low, high)
    if kind == "tanh":  # from sigmoid(p) <= a (p - low) + c on [2 low, 2 high]
        (a, c), (b, d) = curve_lines("sigmoid", 2 * low, 2 * high, parallel)
        return (4 * a, 2 * c - UNIT), (4 * b, 2 * d - UNIT)
    above, greatest = _line_above(low, high, parallel)
    below, mirrored = _line_above(-high, -low, parallel)  # sigmoid(p) = 1 - sigmoid(-p) >= 1 - the line above at -p
    least = UNIT - mirrored - Fraction(below * UNIT, ONE) * (high - low)
    return (below, math.floor(least)), (above, math.ceil(greatest))


def _square_lines(low: Fraction, high: Fraction) -> tuple[Line, Line]:
    """``p^2 >= a p - a^2 / 4`` for any slope; ``p^2 - a p`` is convex, so greatest at an end."""
    n = math.floor((low + high) * ONE)
    a = Fraction(n, ONE)
    greatest = max(low * low, high * high - a * (high - low))
    return (n, math.floor((a * low - a * a / 4) * UNIT)), (n, math.ceil(greatest * UNIT))


def _line_above(low: Fraction, high: Fraction, parallel: bool) -> tuple[int, Fraction]:
    """Slope and value at ``low`` of a line above: the sigmoid is convex where p <= 0, and below its tangents elsewhere."""
    top = curve_value("sigmoid", high)[1]
    if low == high:
        return 0, Fraction(top)
    near, far = (float(min(max(p, -FAR), FAR)) for p in (low, high))
    slope, touch = _choice(near, far, parallel)
    a = int(slope * ONE)

    def rise(p: Fraction) -> Fraction:
        return Fraction(a * UNIT, ONE) * (p - low)

    values = [curve_value("sigmoid", p)[1] - rise(p) for p in (low, min(high, Fraction(0)))] if low < 0 else []
    if high > 0:
        t = high if touch is None else Fraction(touch)
        least, greatest = curve_value("sigmoid", t)
        flat, steep = least * (UNIT - greatest) >> PLACES, -(-greatest * (UNIT - least) >> PLACES)  # s (1 - s) is the slope
        values += [greatest + (steep if p > t else flat) * (p - t) - rise(p) for p in (max(low, Fraction(0)), high)]
    return a, min(max(values), Fraction(top))  # top, as the curve rises: better on astronomic intervals


def _choice(low: float, high: float, parallel: bool) -> tuple[float, float | None]:
    """The recipe: the slope in [0, 1/4] of a line above, and the point ``>= 0`` whose tangent bounds the concave part.

    None means the upper end: there the curve minus the line still rises.
    """
    if parallel:
        return min(_slope(low), _slope(high)), None
    chord = (_sigmoid(high) - _sigmoid(low)) / (high - low) if high > low else _slope(high)
    if _slope(high) >= chord:
        return max(chord, 0.0), None
    if low >= 0:
        middle = low / 2 + high / 2
        return _slope(middle), middle
    near, far = 0.0, min(high, 1000.0)
    for _ in range(70):
        d = (near + far) / 2
        near, far = (d, far) if _sigmoid(d) - _sigmoid(low) < _slope(d) * (d - low) else (near, d)
    return _slope(far), far


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _slope(x: float) -> float:
    return _sigmoid(x) * _sigmoid(-x)
