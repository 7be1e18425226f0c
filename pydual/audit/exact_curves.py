"""Sigmoid and tanh for the exact audit: proven values, slopes and lines (PROOFS.md, section 4). Standard library only.

Values and slopes of curves are integers that count ``1 / UNIT``, slopes of lines count ``1 / ONE``. Floats only choose
slopes and touching points: any choice gives a line that holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context
from fractions import Fraction
from functools import lru_cache

from pydual.audit.exact_numbers import BITS

ONE = 1 << BITS
PLACES = 100
UNIT = 1 << PLACES
CONTEXT = Context(prec=60)
Line = tuple[int, int]  # slope, value at the lower end of the interval


@lru_cache(maxsize=2**14)
def curve_value(kind: str, p: Fraction) -> tuple[int, int]:
    """Integers below and above ``UNIT`` times the curve's value, at most 6 apart."""
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
    exponential = CONTEXT.exp(CONTEXT.divide(-int(min(p, 128) * 2**200), 2**200))
    n = int(CONTEXT.divide(UNIT, CONTEXT.add(1, exponential)))
    return n - 1, min(n + 2, UNIT)


def curve_slope(kind: str, p: Fraction) -> tuple[int, int]:
    """The same for the derivative: ``s (1 - s)`` for the sigmoid's value s, ``(1 - t) (1 + t)`` for tanh's value t."""
    low, high = curve_value(kind, p)
    one, other = (low, high) if kind == "sigmoid" else (UNIT + low, UNIT + high)
    return one * (UNIT - high) >> PLACES, -(-other * (UNIT - low) >> PLACES)


@lru_cache(maxsize=2**14)
def curve_lines(kind: str, low: Fraction, high: Fraction, parallel: bool) -> tuple[Line, Line]:
    """Lines below and above the curve on ``[low, high]``, which do not fall."""
    slope, intercept = _line_above(kind, low, high, parallel)
    # 1 - sigmoid(-p) = sigmoid(p), and -tanh(-p) = tanh(p)
    mirrored, constant = _line_above(kind, -high, -low, parallel)
    below = (UNIT if kind == "sigmoid" else 0) - constant + Fraction(mirrored * UNIT, ONE) * low
    above = intercept + Fraction(slope * UNIT, ONE) * low
    return (mirrored, math.floor(below)), (slope, math.ceil(above))


def _line_above(kind: str, low: Fraction, high: Fraction, parallel: bool) -> tuple[int, Fraction]:
    """``A`` and ``C`` with ``curve(p) <= A p + C``: where it is convex by its ends, where it is concave by a tangent."""
    top = curve_value(kind, high)[1]
    if low == high:
        return 0, Fraction(top)
    slope, touch = _choice(kind, _near(low), _near(high), parallel)
    a = int(slope * ONE)
    rise = Fraction(a * UNIT, ONE)
    gaps = [curve_value(kind, p)[1] - rise * p for p in (low, min(high, Fraction(0)))] if low < 0 else []
    if high > 0:
        t = high if touch is None else Fraction(touch)
        value, (least, greatest) = curve_value(kind, t)[1], curve_slope(kind, t)
        gaps += [value + (p - t) * (greatest if p > t else least) - rise * p for p in (max(low, Fraction(0)), high)]
    # curve(p) - a p <= curve(high) - a low, which is better on astronomic intervals
    return a, min(max(gaps), top - rise * low)


def _near(p: Fraction) -> float:
    """About the same, within the range of floats."""
    return float(min(max(p, -(10**300)), 10**300))


def _choice(kind: str, low: float, high: float, parallel: bool) -> tuple[float, float | None]:
    """The recipe: the slope in [0, 1] of a line above, and the point ``>= 0`` whose tangent bounds the concave part.

    None means the upper end: there the curve minus the line still rises.
    """
    value, slope = _FLOATS[kind]
    if parallel:
        return min(slope(low), slope(high)), None
    chord = (value(high) - value(low)) / (high - low) if high > low else slope(high)
    if slope(high) >= chord:
        return min(max(chord, 0.0), 1.0), None
    if low >= 0:
        middle = low / 2 + high / 2
        return slope(middle), middle
    near, far = 0.0, min(high, 1000.0)
    for _ in range(70):
        d = (near + far) / 2
        near, far = (d, far) if value(d) - value(low) < slope(d) * (d - low) else (near, d)
    return slope(far), far


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


FloatFunction = Callable[[float], float]
_FLOATS: dict[str, tuple[FloatFunction, FloatFunction]] = {  # value and derivative
    "sigmoid": (_logistic, lambda x: _logistic(x) * _logistic(-x)),
    "tanh": (math.tanh, lambda x: 4.0 * _logistic(2.0 * x) * _logistic(-2.0 * x)),
}
