"""Polynomials modulo the equations ``z (z - p) = 0`` of neurons: ``z^2`` is replaced by ``z p``.

So there are no equations left between moments, and fewer of them. Where squares make ``p`` a polynomial of a higher degree,
that is done as long as the degree of the moments allows it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydual.relax.polynomials import Monomial, Polynomial, times
from pydual.relax.sos_cell import SosCell


class Ring:
    """Polynomials modulo ``z (z - p)``, as far as cliques hold the variables and ``degree`` the products."""

    def __init__(self, cell: SosCell, cliques: Iterable[tuple[int, ...]], degree: int) -> None:
        self.cell, self._cliques, self._degree = cell, [frozenset(clique) for clique in cliques], degree
        self._more = {v: max(map(len, p)) - 1 for v, p in cell.sources.items()}  # by which a replacement raises the degree
        self._reads = {v: frozenset(w for m in p for w in m) | {v} for v, p in cell.sources.items()}
        self._quotients = {v: {m: c / cell.scale[v] for m, c in p.items()} for v, p in cell.sources.items()}
        self._normal: dict[Monomial, Polynomial] = {}

    def square_in(self, monomial: Monomial) -> int | None:
        """The last variable whose square in a monomial is replaced."""
        variables = frozenset(monomial)
        for v in sorted(variables, reverse=True):
            if v in self._reads and monomial.count(v) > 1 and (self._more[v] <= 0 or self._fits(monomial, v)):
                needed = variables | self._reads[v]
                if any(needed <= clique for clique in self._cliques):
                    return v
        return None

    def _fits(self, monomial: Monomial, variable: int) -> bool:
        return len(monomial) + self._more[variable] <= self._degree

    def has_square(self, monomial: Monomial) -> bool:
        """Whether it is a multiple of a square that is replaced wherever it stands."""
        squares = {v for v in monomial if monomial.count(v) > 1 and self._more.get(v, 1) <= 0}
        return any(self.square_in((v, v)) is not None for v in squares)

    def normal(self, monomial: Monomial) -> Polynomial:
        """What a monomial is equal to."""
        if monomial not in self._normal:
            v = self.square_in(monomial)
            self._normal[monomial] = {monomial: 1.0}
            if v is not None:
                rest = list(monomial)
                rest.remove(v)
                self._normal[monomial] = self.reduce(times({tuple(rest): 1.0}, self._quotients[v]))
        return self._normal[monomial]

    def reduce(self, polynomial: Polynomial) -> Polynomial:
        total: Polynomial = {}
        for m, c in polynomial.items():
            for n, e in self.normal(m).items():
                total[n] = total.get(n, 0.0) + c * e
        return total

    def written(self, polynomial: Polynomial) -> Polynomial:
        """What is a polynomial in the variables of blocks, over inputs and kept neurons: the same one here."""
        return polynomial

    def centered(self, variable: int) -> Polynomial:
        """The affine function of a variable that ranges from -1 to 1."""
        return {(): -1.0, (variable,): 2.0}

    def divide(self, polynomial: Polynomial) -> dict[int, Polynomial]:
        """The h of ``polynomial = sum h s (s - p / scale) + what it is equal to``, by the kept neurons' variables s."""
        left, quotients = dict(polynomial), dict[int, Polynomial]()
        for v in sorted(self._reads, reverse=True):
            quotients[v] = {}
            most = max((m.count(v) for m in left), default=0)
            for power in range(most, 1, -1):
                for m in [m for m in left if m.count(v) == power and self.square_in(m) == v]:
                    rest = list(m)
                    rest.remove(v)
                    rest.remove(v)
                    c = quotients[v][tuple(rest)] = left.pop(m)
                    for n, e in times({tuple(sorted([*rest, v])): c}, self._quotients[v]).items():
                        left[n] = left.get(n, 0.0) + e
        return quotients
