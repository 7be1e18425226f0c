"""Bounds on a probability from a number of samples (Clopper and Pearson 1934)."""

from __future__ import annotations

import math


def upper_bound(failures: int, samples: int, confidence: float) -> float:
    """The largest p at which ``failures`` or fewer of ``samples`` have a chance of at least ``1 - confidence``.

    Whatever the true probability, this is above it with the given confidence at least: the quantile of
    Beta(failures + 1, samples - failures); ``1 - (1 - confidence) ** (1 / samples)`` without failures.
    """
    from scipy.special import betaincinv

    if failures >= samples:
        return 1.0
    return float(betaincinv(failures + 1, samples - failures, confidence))


def lower_bound(successes: int, samples: int, confidence: float) -> float:
    """Likewise from below."""
    return 1.0 - upper_bound(samples - successes, samples, confidence)


def samples_needed(failures: int, probability: float, confidence: float) -> int:
    """The least number of samples of which ``failures`` still prove ``probability`` with ``confidence``."""
    low, high = failures, max(1, math.ceil(math.log1p(-confidence) / math.log1p(-probability)))
    while upper_bound(failures, high, confidence) > probability:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if upper_bound(failures, middle, confidence) <= probability else (middle, high)
    return high
