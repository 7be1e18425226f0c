"""Sigmoid and tanh for the exact audit: proven values, slopes and lines (PROOFS.md, section 4). Standard library only.

A point is a dyadic rational ``n * 2**e``. Values, slopes of curves and intercepts are integers that count ``1 / UNIT``,
slopes of lines count ``1 / ONE``. Floats only choose slopes and touching points: any choice gives a line that holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from pydual.audit.exact_numbers import BITS, Number

ONE = 1 << BITS
PLACES = 100
UNIT = 1 << PLACES
WORKING = 132  # binary places inside of ``_sigmoid``
HALVINGS = 16


@lru_cache(maxsize=2**14)
def curve_value(kind: str, point: Number) -> tuple[int, int]:
    """Integers below and above ``UNIT`` times the curve's value, about 2**-98 apart."""
    if kind == "sigmoid":
        return _sigmoid(*point)
    low, high = _sigmoid(point[0], point[1] + 1)  # tanh(p) = 2 sigmoid(2 p) - 1
    return 2 * low - UNIT, 2 * high - UNIT


def curve_slope(kind: str, point: Number) -> tuple[int, int]:
    """The same for the derivative: ``s (1 - s)`` for the sigmoid's value s, ``(1 - t) (1 + t)`` for tanh's value t."""
    low, high = curve_value(kind, point)
    one, other = (low, high) if kind == "sigmoid" else (UNIT + low, UNIT + high)
    return one * (UNIT - high) >> PLACES, -(-other * (UNIT - low) >> PLACES)


def _sigmoid(n: int, e: int) -> tuple[int, int]:
    if n < 0:
        low, high = _sigmoid(-n, e)
        return UNIT - high, UNIT - low
    if n == 0:
        return UNIT // 2, UNIT // 2
    if n.bit_length() + e > 7:  # p >= 128, and 1 - sigmoid(p) <= exp(-128) < 1 / UNIT
        return UNIT - 1, UNIT
    low, high = _exponential(_shifted(n, e - HALVINGS + WORKING))
    one = 1 << WORKING
    return UNIT * low // (one + low), -(-UNIT * high // (one + high))


def _exponential(x: int) -> tuple[int, int]:
    """Bounds of ``exp(p)``, for ``x <= p 2**-HALVINGS < x + 1 <= 2**-9``; all in units of ``2**-WORKING``."""
    low = high = term = upper_term = 1 << WORKING
    for i in range(1, 14):
        term = term * x // (i << WORKING)
        upper_term = -(-upper_term * (x + 1) // (i << WORKING))
        low, high = low + term, high + upper_term
    high += upper_term  # each further term is less than half of the one before
    for _ in range(HALVINGS):  # exp(p) = exp(p / 2) ** 2
        low, high = low * low >> WORKING, -(-high * high >> WORKING)
    return low, high


def _shifted(n: int, places: int) -> int:
    """``n * 2**places``, rounded down."""
    return n << places if places >= 0 else n >> -places


def curve_range(kind: str, low: int, high: int, e: int) -> tuple[int, int]:
    """Bounds of the curve on the interval: of its value at the lower and at the upper end."""
    return curve_value(kind, (low, e))[0], curve_value(kind, (high, e))[1]


@lru_cache(maxsize=2**14)
def curve_lines(kind: str, low: int, high: int, e: int, parallel: bool) -> tuple[int, int, int, int]:
    """(a, c, A, C) with ``a p + c <= curve(p) <= A p + C`` on the interval; ``a, A >= 0`` count 1 / ONE, c and C 1 / UNIT."""
    above, intercept = _line_above(kind, low, high, e, parallel)
    # 1 - sigmoid(-p) = sigmoid(p), and -tanh(-p) = tanh(p)
    below, mirrored = _line_above(kind, -high, -low, e, parallel)
    return below, (UNIT if kind == "sigmoid" else 0) - mirrored, above, intercept


def _line_above(kind: str, low: int, high: int, e: int, parallel: bool) -> Number:
    """``A`` and ``C`` with ``curve(p) <= A p + C``: where it is convex by its ends, where it is concave by a tangent."""
    if low == high:
        return 0, curve_value(kind, (high, e))[1]
    slope, touch = _choice(kind, _hint(low, e), _hint(high, e), parallel)
    a = int(slope * ONE)

    def rise(n: int, places: int) -> int:
        """``a p`` at a point, rounded down."""
        return _shifted(a * n, places - BITS + PLACES)

    bounds = []
    if low < 0:
        bounds = [curve_value(kind, (n, e))[1] - rise(n, e) for n in (low, min(high, 0))]
    if high > 0:
        t, places = (high, e) if touch is None else _dyadic_point(touch)
        value, slopes = curve_value(kind, (t, places))[1], curve_slope(kind, (t, places))
        common = min(e, places)
        for n in (max(low, 0), high):
            step = (n << (e - common)) - (t << (places - common))
            bounds.append(value - _shifted(-step * slopes[step >= 0], common) - rise(n, e))
    # curve(p) - a p <= curve(high) - a low, which is better on astronomic intervals
    return a, min(max(bounds), curve_value(kind, (high, e))[1] - rise(low, e))


def _dyadic_point(x: float) -> Number:
    n, d = x.as_integer_ratio()
    return n, 1 - d.bit_length()


def _hint(n: int, e: int) -> float:
    """About ``n * 2**e``, within the range of floats."""
    if n and n.bit_length() + e > 1000:
        return 1e300 if n > 0 else -1e300
    drop = max(0, n.bit_length() - 64)
    return math.ldexp(float(n >> drop), e + drop)


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
