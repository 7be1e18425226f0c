"""Enumeration beside numpy: python benches/enumeration.py [--points N]

For networks of several sizes, all images of a few integer pixels: points a second of the native kernel (on all processors), of
numpy on the same points in blocks, their ratio, and the seconds of the rounded audit of the certificate.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import numpy as np

import pydual
from pydual import Checker, Enumeration, Network, Region, Y

BLOCK = 1 << 14


def network(sizes: tuple[int, ...]) -> Network:
    rng = np.random.default_rng(0)
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    return Network.from_layers([(rng.normal(size=shape) / shape[1] ** 0.5, rng.normal(size=shape[0])) for shape in shapes])


def by_numpy(model: Network, region: Region) -> tuple[float, float]:
    """The least first output and the seconds."""
    start = perf_counter()
    widths, least = (region.upper - region.lower).astype(int) + 1, np.inf
    for first in range(0, region.count or 0, BLOCK):
        digits = np.unravel_index(np.arange(first, min(first + BLOCK, region.count or 0)), widths)
        least = min(least, float(model.evaluate(region.lower + np.stack(digits, axis=1)).min()))
    return least, perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500_000, help="about so many (default: 500000)")
    args = parser.parse_args()
    print("network          points   native/s    numpy/s  ratio  audit s  least")
    for sizes in ((4, 16, 16, 1), (10, 64, 64, 1), (64, 32, 1)):
        model = network(sizes)
        free = min(sizes[0], 6)
        width = int(args.points ** (1 / free))
        lower, upper = np.zeros(sizes[0]), np.zeros(sizes[0])
        upper[:free] = width - 1
        region = Region(lower, upper, integers=np.ones(sizes[0], dtype=bool))
        least, seconds = by_numpy(model, region)
        checker = Checker(region, Y[0] <= round(least - 0.01 * (1 + abs(least)), 6))
        outcome = pydual.solve(model, checker, Enumeration())
        assert isinstance(outcome, pydual.Certificate), outcome
        native, audit = outcome.statistics["seconds"]["search"], outcome.statistics["seconds"]["audit"]
        count = region.count or 0
        print(f"{'-'.join(map(str, sizes)):<12} {count:>10} {count / native:>10.3g} {count / seconds:>10.3g} "
              f"{seconds / native:>6.1f} {audit:>8.2f}  {least:.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
