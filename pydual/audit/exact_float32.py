"""Errors of affine maps in float32, in any order of summation: PROOFS.md, section 6. Standard library only."""

from __future__ import annotations

from pydual.audit.exact_network import Affine
from pydual.audit.exact_numbers import BITS, Interval, Vector, bits, rounded_up, total
from pydual.errors import CertificateError


class Magnitudes:
    """Section 6: for each value magnitudes A, a number N of roundings and underflows B."""

    def __init__(self) -> None:
        self.values: list[tuple[Vector, int, Vector]] = []

    def add_interval(self, interval: Interval) -> None:
        lower, upper, e = interval
        largest = [max(abs(a), abs(b)) for a, b in zip(lower, upper, strict=True)]
        self.values.append(((largest, e), 0, ([0] * len(largest), 0)))

    def add_affine(self, affine: Affine) -> Vector:
        """The error ``gamma A + 2 B`` of an affine value."""
        bias, places = affine.bias
        sizes, underflows, below = [([abs(b) for b in bias], places)], [([1] * len(bias), -124)], 0
        for source, matrix in affine.terms:
            (a, e), roundings, (b, f) = self.values[source]
            below = max(below, roundings)
            sizes.append((matrix.magnitudes(a), e + matrix.exponent))
            read = [sum(map(a.__getitem__, columns)) for columns, _ in matrix.rows]
            counts = [len(columns) for columns, _ in matrix.rows]
            underflows += [(matrix.magnitudes(b), f + matrix.exponent), (counts, -124), (read, e - 124)]
            if matrix.bits and matrix.bits + matrix.exponent > 127:
                raise CertificateError("a weight is too large for float32.")
        size, underflow, own = rounded_up(total(sizes)), rounded_up(total(underflows)), below + affine.longest + 4
        self.values.append((size, own, underflow))
        return _error(size, own + below, underflow)


def _error(size: Vector, roundings: int, underflow: Vector) -> Vector:
    """``gamma A + 2 B`` for R = ``roundings``."""
    if 2 * roundings >= 2**24:
        raise CertificateError("the network is too long for float32: its error bound has no meaning.")
    a, places = size
    share = [-(-(v << 2 * BITS) * roundings // (2**24 - roundings)) for v in a], places - 2 * BITS
    error = rounded_up(total([share, underflow, underflow]))
    sums, places = total([size, error])
    if any(sums) and bits(sums) + places > 127:
        raise CertificateError("a value may be too large for float32.")
    return error
