"""Errors of affine maps in float32, in any order of summation: PROOFS.md, section 6. Standard library only."""

from __future__ import annotations

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
            size, n, underflow = self.values[source]
            roundings = max(roundings, n)
            counts = [len(columns) for columns, _ in matrix.rows], -124
            read = [sum(map(size[0].__getitem__, columns)) for columns, _ in matrix.rows], size[1] - 124
            sizes.append(matrix.magnitudes(size))
            underflows += [matrix.magnitudes(underflow), counts, read]
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
