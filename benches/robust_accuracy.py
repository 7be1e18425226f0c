"""Verified accuracy beside published counts: python benches/robust_accuracy.py [--first N] [--timeout S] [NET ...]

Networks, images and radii are those of ../shared/bench/sdp_nets beside the checkout. Of the images that a network classifies
right, how many are attacked (a replayed counterexample), verified (a certificate), and open.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from images import NETS, Entry, entries

import pydual

PUBLISHED = {
    ("salman19_adv_mlp_b", "mnist_sdp"): "LP 38.4 %, MILP 65.6 %, attack bound 84.1 % (of their images; 22 CPU-years)",
    ("salman19_nor_mlp_b", "mnist_sdp"): "LP 34.3 %, MILP 51.3 %, attack bound 79.6 %",
    ("raghunathan18_pgdnn", "mnist_sdp"): "LP 65 %, SDP 82 % (3,974 s an image), LayerSDP 84 % (160 s)",
    ("eran_mnist_6_100", "mnist_eran"): "PRIMA 510 of 960 (159 s), attack bound 842 of 960",
    ("mnist_cnn_a_adv", "mnist_sdp"): "beta-CROWN 71.0 %, BICCOS 76.0 %, bound 76.5 % (GPU)",
    ("cifar_cnn_a_mix", "cifar_sdp"): "beta-CROWN 42.0 %, BICCOS 48.0 %, bound 53.0 % (GPU)",
    ("sdpcrown_mnist_mlp", "mnist_sdp"): "SDP-CROWN 32.5 % (2.5 s), GCP-CROWN 41 %, low-rank SDP 53 %, bound 54 %",
    ("sdpcrown_cifar10_cnn_c", "cifar_sdp"): "SDP-CROWN 42.5 %, beta-CROWN 35.5 %, bound 47 %",
}


@dataclass(frozen=True)
class Row:
    """One image that is classified right."""

    image: int
    verdict: str
    seconds: float
    bound: float


def rows(entry: Entry, first: int, timeout: float) -> Iterator[Row | None]:
    """The images in order; None for one that is classified wrong."""
    for image, checker in entry.checkers(first):
        if checker is None:
            yield None
            continue
        begin = time.perf_counter()
        outcome = pydual.solve(entry.network, checker, timeout=timeout)
        seconds = time.perf_counter() - begin
        bound = outcome.statistics.get("lower", float("nan"))
        if isinstance(outcome, pydual.Certificate):
            yield Row(image, "verified", seconds, float(outcome.margin))
        elif isinstance(outcome, pydual.Attack):
            yield Row(image, "attacked", seconds, bound)
        else:
            yield Row(image, "open", seconds, bound)


def report(title: str, published: str, found: list[Row | None]) -> None:
    right = [row for row in found if row is not None]
    counts = {verdict: [r.seconds for r in right if r.verdict == verdict] for verdict in ("verified", "attacked", "open")}
    print(f"{title}: {len(found)} images, {len(right)} classified right: ", end="")
    print(", ".join(f"{len(times)} {verdict}" for verdict, times in counts.items()), end="")
    for verdict in ("verified", "attacked"):
        if times := counts[verdict]:
            print(f"; {verdict} in a median of {statistics.median(times):.2f} s, at most {max(times):.1f} s", end="")
    print(f"; {sum(r.seconds for r in right):.0f} s in all\n  published: {published}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", help="networks (default: all that are listed in nets.csv)")
    parser.add_argument("--first", type=int, default=20, help="images of each set")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds an image")
    parser.add_argument("--images", default="", help="only this set of images")
    arguments = parser.parse_args()
    if not NETS.is_dir():
        print("The benchmark folder ../shared/bench is not here.", file=sys.stderr)
        return 2
    for entry in entries(arguments.nets, arguments.images):
        found = []
        for row in rows(entry, arguments.first, arguments.timeout):
            found.append(row)
            if row is not None:
                print(f"{entry}, image {row.image}: {row.verdict} {row.seconds:.2f} s", file=sys.stderr, flush=True)
        report(str(entry), PUBLISHED.get((entry.net, entry.dataset), "none for these images"), found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
