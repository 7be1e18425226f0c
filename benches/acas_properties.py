"""The wide properties of ACAS Xu, 5 to 9: python benches/acas_properties.py [--timeout S] [PROPERTY ...]

../shared/bench has properties 1 to 4 as files. The others are written here from their definitions (Katz et al. 2017,
"Reluplex", appendix; units feet, radians, feet a second) and put to the networks that the paper puts them to. Property 10 is
for a network, 4_5, that the folder lacks. The networks read inputs minus a mean, divided by a range; the advisory is the
output of the least score.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import reduce
from math import pi
from operator import and_, or_
from pathlib import Path

import numpy as np

import pydual
from pydual import Checker, Region, X, Y
from pydual.checker import Condition

NETWORKS = Path(__file__).parents[1].parent / "shared" / "bench" / "acasxu_2023" / "onnx"
MEAN, RANGE = np.array([19791.091, 0.0, 0.0, 650.0, 600.0]), np.array([60261.0, 6.28318530718, 6.28318530718, 1100.0, 1200.0])
CLEAR, WEAK_LEFT, WEAK_RIGHT, STRONG_LEFT, STRONG_RIGHT = range(5)


def box(*intervals: tuple[float, float]) -> Region:
    """Distance to the intruder, angle to it, heading of it, own speed and that of the intruder."""
    low, high = np.array(intervals).T
    return Region((low - MEAN) / RANGE, (high - MEAN) / RANGE)


def is_least(advisory: int) -> Condition:
    return reduce(and_, (Y[advisory] <= Y[other] for other in range(5) if other != advisory))


def is_none_of(*advisories: int) -> Condition:
    """Some other advisory has a score no larger than all of these."""
    others = [other for other in range(5) if other not in advisories]
    return reduce(or_, (reduce(and_, (Y[other] <= Y[advisory] for advisory in advisories)) for other in others))


AWAY = (X[1] >= 0.7 / RANGE[1]) | (X[1] <= -0.7 / RANGE[1])
PROPERTIES = {
    5: ("1_1", box((250, 400), (0.2, 0.4), (-pi, 0.005 - pi), (100, 400), (0, 400)), is_none_of(STRONG_RIGHT)),
    6: ("1_1", box((12000, 62000), (-pi, pi), (-pi, 0.005 - pi), (100, 1200), (0, 1200)), AWAY & is_none_of(CLEAR)),
    7: ("1_9", box((0, 60760), (-pi, pi), (-pi, pi), (100, 1200), (0, 1200)), is_least(STRONG_LEFT) | is_least(STRONG_RIGHT)),
    8: ("2_9", box((0, 60760), (-pi, -0.75 * pi), (-0.1, 0.1), (600, 1200), (600, 1200)), is_none_of(CLEAR, WEAK_LEFT)),
    9: ("3_3", box((2000, 7000), (-0.4, -0.14), (-pi, 0.01 - pi), (100, 150), (0, 150)), is_none_of(STRONG_LEFT)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("properties", nargs="*", type=int, choices=[[], *PROPERTIES], help="by number (default: all)")
    parser.add_argument("--timeout", type=float, default=116.0, help="seconds an instance")
    args = parser.parse_args()
    if not NETWORKS.is_dir():
        print("The benchmark folder ../shared/bench is not here.", file=sys.stderr)
        return 2
    for number in args.properties or PROPERTIES:
        name, region, catastrophe = PROPERTIES[number]
        network = pydual.load(NETWORKS / f"ACASXU_run2a_{name}_batch_2000.onnx")
        begin = time.perf_counter()
        outcome = pydual.solve(network, Checker(region, catastrophe), timeout=args.timeout)
        seconds = time.perf_counter() - begin
        leaves = outcome.statistics.get("leaves", 0)
        print(f"property {number} {name}: {type(outcome).__name__} in {seconds:.2f} s, {leaves} leaves", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
