"""Polynomials with float coefficients, as dictionaries from monomials; a monomial is the ascending tuple of its variables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

Monomial = tuple[int, ...]  # ascending numbers of variables
Polynomial = dict[Monomial, float]

ONE: Polynomial = {(): 1.0}


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    product: Polynomial = {}
    for m, c in a.items():
        for n, e in b.items():
            key = tuple(sorted(m + n))
            product[key] = product.get(key, 0.0) + c * e
    return product


def plus(a: Polynomial, b: Polynomial, factor: float = 1.0) -> Polynomial:
    """``a + factor b``."""
    total = dict(a)
    for m, c in b.items():
        total[m] = total.get(m, 0.0) + factor * c
    return total


def monomials(variables: Sequence[int], degree: int) -> list[Monomial]:
    """Those up to a degree: by degree, then lexicographically."""
    return [m for d in range(degree + 1) for m in combinations_with_replacement(variables, d)]
