"""Errors of affine maps in float32, in any order of summation: PROOFS.md, section 6. Standard library only."""

from __future__ import annotations

from operator import mul

from pydual.audit.exact_network import Affine
from pydual.audit.exact_numbers import Interval, Vector, bits, rounded_up, total
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
        tiny = ([1] * len(bias), -124)
        sizes, underflows, roundings = [([abs(b) for b in bias], places)], [tiny], 0
        for source, matrix in affine.terms:
            (a, a_places), n, (b, b_places) = self.values[source]
            roundings = max(roundings, n)
            rows = [(list(map(abs, values)), columns) for columns, values in matrix.rows]
            sizes.append(([sum(map(mul, v, map(a.__getitem__, c))) for v, c in rows], a_places + matrix.exponent))
            underflows.append(([sum(map(mul, v, map(b.__getitem__, c))) for v, c in rows], b_places + matrix.exponent))
            underflows.append(([len(c) for _, c in rows], -124))
            underflows.append(([sum(map(a.__getitem__, c)) for _, c in rows], a_places - 124))
            if matrix.bits and matrix.bits + matrix.exponent > 127:
                raise CertificateError("a weight is too large for float32.")
        size, underflow, own = rounded_up(total(sizes)), rounded_up(total(underflows)), roundings + affine.longest + 4
        self.values.append((size, own, underflow))
        return _error(size, own + roundings, underflow)


def _error(size: Vector, roundings: int, underflow: Vector) -> Vector:
    """``gamma A + 2 B`` for R = ``roundings``."""
    if 2 * roundings >= 2**24:
        raise CertificateError("the network is too long for float32: its error bound has no meaning.")
    a, places = size
    share = [-(-(v << 40) * roundings // (2**24 - roundings)) for v in a], places - 40
    error = rounded_up(total([share, underflow, underflow]))
    sums, places = total([size, error])
    if any(sums) and bits(sums) + places > 127:
        raise CertificateError("a value may be too large for float32.")
    return error
