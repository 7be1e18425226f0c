"""Sos leaves in exact arithmetic: facts times squares of polynomials. PROOFS.md, sections 3 and 4. Standard library only.

Polynomials are over the inputs, less their lower ends, and the outputs of the kept neurons, all of which are ``>= 0``. A
monomial is an integer with a digit of FIELD bits for each of these, its exponent; so monomials are multiplied by adding.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations_with_replacement

from pydual.audit.exact_bounds import Linear, Relaxation
from pydual.audit.exact_gram import Facts, Leaf
from pydual.audit.exact_network import Activation
from pydual.audit.exact_region import Vector, dot, dyadic, scaled, total
from pydual.errors import CertificateError

MOST_DEGREE, FIELD = 8, 8  # two facts of at most twice MOST_EXPONENT and a square of degree 16: an exponent is below 2^FIELD
MOST_EXPONENT = 30  # of a variable, in what is squared
MOST_COEFFICIENTS = 4096  # of a polynomial
MOST_PRODUCTS = 1 << 20  # of monomials, when a fact is multiplied with something
Polynomial = dict[int, Fraction]  # the coefficients of monomials
Term = tuple[int, int, int, list[float]]  # two facts, a degree, and the coefficients of a polynomial


def sos_bound(
    relaxation: Relaxation,
    facts: Facts,
    function: Linear,
    variables: list[int],
    terms: list[Term],
    poll: Callable[[], object],
) -> Fraction:
    """The bound F for ``function`` less the terms; ``variables`` are inputs, and neurons from the number of inputs on."""
    size, zero = relaxation.net.sizes[0], Fraction(0)
    kept = [v - size for v in variables if v >= size]
    digits = [1 << FIELD * (v if v < size else size + kept.index(v - size)) for v in variables]
    writer, factors = _Writer(Leaf(relaxation, facts, kept), poll), dict[tuple[int, int], Polynomial]()
    for f, g, degree, given in terms:
        monomials = [sum(m) for d in range(degree + 1) for m in combinations_with_replacement(digits, d)]
        integers, exponent = dyadic(given)
        entries = [(m, c) for m, c in zip(monomials, integers, strict=True) if c]
        if not (facts.first <= f < facts.ball and (f - facts.first) % 4 == 0 and g == f + 1):  # else z (z - p), which is 0
            entries, exponent = _square(entries, poll), 2 * exponent
        factor = factors.setdefault((f, g), {})
        for m, n in entries:
            factor[m] = factor.get(m, zero) + scaled(n, exponent)
    left = writer.polynomial(function)
    for (f, g), factor in factors.items():
        poll()
        for m, c in _times(_times(writer.fact(f), writer.fact(g), poll), factor, poll).items():
            left[m] = left.get(m, zero) - c
    constant, ranges = left.pop(0), writer.leaf.ranges
    return constant + sum((c * _greatest(m, ranges) for m, c in left.items() if c < 0), zero)


def _square(terms: list[tuple[int, int]], poll: Callable[[], object]) -> list[tuple[int, int]]:
    total: dict[int, int] = {}
    for place, (m, c) in enumerate(terms):
        poll()
        total[m + m] = total.get(m + m, 0) + c * c
        for n, e in terms[:place]:
            total[m + n] = total.get(m + n, 0) + 2 * c * e
    return list(total.items())


def _times(a: Polynomial, b: Polynomial, poll: Callable[[], object]) -> Polynomial:
    if len(a) * len(b) > MOST_PRODUCTS:
        raise CertificateError("a term of a Sos leaf has too many monomials.")
    product: Polynomial = {}
    for m, c in a.items():
        poll()
        for n, e in b.items():
            product[m + n] = product.get(m + n, Fraction(0)) + c * e
    return product


def _greatest(monomial: int, ranges: list[Fraction]) -> Fraction:
    """The greatest value of a monomial."""
    most, place = Fraction(1), 0
    while monomial >> FIELD * place:
        most *= ranges[place] ** (monomial >> FIELD * place & (1 << FIELD) - 1)
        place += 1
    return most


class _Writer:
    """Writes linear functions of values out."""

    def __init__(self, leaf: Leaf, poll: Callable[[], object]) -> None:
        self.leaf, self.poll = leaf, poll
        self._facts, self._squares = dict[int, Polynomial](), dict[tuple[int, int], Polynomial]()

    def fact(self, number: int) -> Polynomial:
        if number not in self._facts:
            fact = self.polynomial(self.leaf.fact(number))
            if number == self.leaf.facts.ball:  # Leaf.fact leaves its squares out
                fact.update({2 << FIELD * i: Fraction(-1) for i in range(self.leaf.net.sizes[0])})
            self._facts[number] = fact
        return self._facts[number]

    def polynomial(self, function: Linear) -> Polynomial:
        """What a linear function is equal to."""
        leaf, scale = self.leaf, function.scale()
        pending, sizes = function.integers(scale, leaf.net.sizes), leaf.net.sizes
        constant = function.constant * scale + leaf.relaxation.write_out(pending, {})
        found, squares = dict[int, Fraction](), dict[int, Fraction]()
        while last := max(pending, default=0):
            w, exponent = pending.pop(last)
            for place, (value, i) in enumerate(leaf.places, sizes[0]):
                if value == last and w[i]:
                    found[1 << FIELD * place] = scaled(w[i], exponent) / scale
                    w[i] = 0
            if any(w) and getattr(leaf.net.values[last], "kind", "") == "square":
                for i, c in enumerate(w):
                    for m, n in self._square(last, i).items() if c else ():
                        squares[m] = squares.get(m, Fraction(0)) + n * scaled(c, exponent) / scale
            elif any(w):
                source, passed = self._through(last, (w, exponent))
                pending[source] = total([pending[source], passed]) if source in pending else passed
                constant += leaf.relaxation.write_out(pending, {})
        for i, c in enumerate(pending.get(0, ([], 0))[0]):
            if c:
                found[1 << FIELD * i] = scaled(c, pending[0][1]) / scale
        lower = dot(pending[0], leaf.lower) if 0 in pending else Fraction(0)
        found[0] = (constant + lower) / scale
        for m, n in squares.items():
            found[m] = found.get(m, Fraction(0)) + n
        return found

    def _square(self, number: int, i: int) -> Polynomial:
        """Component ``i`` of the value ``number``, a square."""
        if (number, i) not in self._squares:
            activation = self.leaf.net.values[number]
            assert isinstance(activation, Activation)
            p = self.polynomial(Linear([(activation.source, i, Fraction(1))], Fraction(0)))
            if any(digit > MOST_EXPONENT for m in p for digit in m.to_bytes(m.bit_length() // FIELD + 1, "big")):
                raise CertificateError("a Sos leaf meets a polynomial of too high a degree.")
            self._squares[number, i] = _times(p, p, self.poll)
        return self._squares[number, i]

    def _through(self, number: int, w: Vector) -> tuple[int, Vector]:
        """The coefficients of what an activation reads, where its neurons that have one are not open."""
        activation = self.leaf.net.values[number]
        assert isinstance(activation, Activation)
        if activation.kind != "relu":
            raise CertificateError("a Sos leaf meets a curve.")
        lower, upper, _ = self.leaf.relaxation.intervals[activation.source]
        for i, (c, low, high) in enumerate(zip(w[0], lower, upper, strict=True)):
            if c and low < 0 < high:
                raise CertificateError(f"neuron {activation.first + i} is open, and no variable of the Sos leaf.")
        return activation.source, ([c if low >= 0 else 0 for c, low in zip(w[0], lower, strict=True)], w[1])
