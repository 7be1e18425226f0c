"""Errors of affine maps in float32, in any order of summation: PROOFS.md, section 6. Standard library only."""

from __future__ import annotations

from pydual.audit.exact_network import Affine
from pydual.audit.exact_numbers import BITS, Interval, Vector, bits, outward, total
from pydual.errors import CertificateError

Magnitude = tuple[Vector, int, Vector]  # of a value: A, the number N of roundings, underflows B


def magnitude_of(interval: Interval) -> Magnitude:
    """The magnitude of the input, or of an activation's output."""
    lower, upper, exponent = interval
    largest = [max(abs(a), abs(b)) for a, b in zip(lower, upper, strict=True)]
    return (largest, exponent), 0, ([0] * len(largest), 0)


def affine_error(affine: Affine, known: list[Magnitude]) -> tuple[Magnitude, Vector]:
    """The magnitude of an affine value, and its error ``gamma A + 2 B``; ``known`` are the magnitudes of all before it."""
    bias, places = affine.bias
    sizes, underflows, below = [([abs(b) for b in bias], places)], [([1] * len(bias), -124)], 0
    for source, matrix in affine.terms:
        if matrix.bits and matrix.bits + matrix.exponent > 127:
            raise CertificateError("a weight is too large for float32.")
        (a, e), roundings, (b, f) = known[source]
        below = max(below, roundings)
        sizes.append((matrix.magnitudes(a), e + matrix.exponent))
        underflows.append((matrix.magnitudes(b), f + matrix.exponent))
        underflows.append(([len(columns) for columns, _ in matrix.rows], -124))
        underflows.append(([sum(map(a.__getitem__, columns)) for columns, _ in matrix.rows], e - 124))
    size, underflow, own = _rounded_up(total(sizes)), _rounded_up(total(underflows)), below + affine.longest + 4
    roundings = own + below
    if 2 * roundings >= 2**24:
        raise CertificateError("the network is too long for float32: its error bound has no meaning.")
    share = [-(-(v << 2 * BITS) * roundings // (2**24 - roundings)) for v in size[0]], size[1] - 2 * BITS
    error = _rounded_up(total([share, underflow, underflow]))
    reached, places = total([size, error])
    if any(reached) and bits(reached) + places > 127:
        raise CertificateError("a value may be too large for float32.")
    return (size, own, underflow), error


def _rounded_up(vector: Vector) -> Vector:
    _, upper, exponent = outward([], *vector)
    return upper, exponent
