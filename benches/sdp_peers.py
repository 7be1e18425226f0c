"""The order-1 relaxation by pydual's dual and by conic solvers through cvxpy: python benches/sdp_peers.py [--shapes A-B-C ...]

The same relaxation on both sides (tests/sdp_oracle.py writes it down for cvxpy): random networks, inputs in a box or an l2
ball, the same intervals. Printed: optima, their differences, seconds until pydual's bound is within half of 1e-4 (relative) of
the optimum, and ratios of the solvers' seconds to these, on one thread. Exit code 1 if pydual's bound stays further below
a solver's optimum than 1e-4, or is above Clarabel's.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from oracles import sdp_oracle

import pydual
from pydual import Checker, Network, Region, Y, certificate
from pydual.problem import normalize
from pydual.proof_systems import Path
from pydual.region import Ball
from pydual.relax.engine import _core, single_threaded_blas
from pydual.relax.frame import Frame, group, make_frame
from pydual.relax.gram import GramCell
from pydual.relax.reduced import Rows, reduce

SHAPES = ("5-10-10", "10-15-15", "20-25-25", "30-50-50")
AGREEMENT = 1e-4  # relative to 1 + |optimum|
ABOVE = 1e-6  # a bound above a solver's optimum by less is the solver's tolerance
PATH = {"first_weight": 2e-3, "last_weight": 1e-7, "decay": 0.2, "steps_per_weight": 50_000, "flatness": 1e-7}
COLUMNS = ("network", "region", "open", "pydual", "seconds", "clarabel", "difference", "ratio", "scs", "difference", "ratio")


def question(shape: tuple[int, ...], seed: int, norm: str) -> tuple[Network, Checker]:
    """A random network with one output; the region has such a radius that about half of the neurons are open."""
    rng = np.random.default_rng([seed, *shape])
    pairs = zip(shape, (*shape[1:], 1), strict=True)
    layers = [(rng.normal(size=(n, m)) * np.sqrt(2 / m), 0.2 * rng.normal(size=n)) for m, n in pairs]
    radius = 1.0 / np.sqrt(shape[0])
    box = Region(-radius * np.ones(shape[0]), radius * np.ones(shape[0]))
    ball = None if norm == "linf" else Ball(np.zeros(shape[0]), 0.7, norm)
    return Network.from_layers(layers), Checker(Region(box.lower, box.upper, ball), Y[0] <= 0)


def ours(frame: Frame, known: float) -> tuple[float, float]:
    """Bound and seconds, until the bound is near the optimum ``known`` or no more comes."""
    begin = time.perf_counter()
    members = frame.group
    reduced = reduce(members.program, members.region.size, frame.lower, frame.upper)
    function = reduced.write(members.margins)
    cuts = Rows(np.zeros((0, members.region.size)), np.zeros((0, len(reduced.units))), np.zeros(0))
    cell = GramCell(reduced, members.region, function, cuts, reduced.units, members.program.neurons)
    start, scale = cell.start((reduced.upper > -reduced.lower).astype(float), np.zeros(0))
    cheap_steps = int(Path.cheap * sum(map(len, start.values())) ** 2)
    ascent = _core.GramAscent(cell.core_problem(), start, scale, **PATH, cheap_steps=cheap_steps)
    _core.advance_grams([ascent], steps=10**6, goal=known - AGREEMENT / 2 * (1 + abs(known)), threads=1)
    return ascent.bound, time.perf_counter() - begin


def peer(solver: str, cell: sdp_oracle.Cell, **options: float) -> tuple[float | None, float]:
    """Optimum (None: not within its time, or not accurate) and seconds, cvxpy's compilation included."""
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of solutions that are not accurate
        try:
            return sdp_oracle.optimum(cell, solver, **options), time.perf_counter() - begin
        except (AssertionError, sdp_oracle.cvxpy.SolverError):
            return None, time.perf_counter() - begin


def row(text: str, seed: int, norm: str, timeout: float) -> tuple[tuple[str, ...], bool]:
    """One line of the table, and whether pydual and the solvers agree."""
    network, checker = question(tuple(map(int, text.split("-"))), seed, norm)
    (problem,) = normalize(network, checker)
    frame = make_frame(group([problem])[0], certificate.ADAPTIVE)
    cell = sdp_oracle.write_out(problem, np.ones(1), frame.lower, frame.upper)
    peers: dict[str, Callable[[], tuple[float | None, float]]] = {
        "CLARABEL": lambda: peer("CLARABEL", cell, time_limit=timeout),
        "SCS": lambda: peer("SCS", cell, time_limit_secs=timeout, eps_abs=1e-6, eps_rel=1e-6, max_iters=10**6),
    }
    answers = {name: solve() for name, solve in peers.items()}
    known = next((value for value, _ in answers.values() if value is not None), 0.0)
    bound, seconds = ours(frame, known)
    cells = [text, norm, str(len(cell.kept)), f"{bound:.6f}", f"{seconds:.2f}"]
    for value, taken in answers.values():
        numbers = ("-", "-") if value is None else (f"{value:.6f}", f"{bound - value:+.1e}")
        cells += [*numbers, f"{'>' if value is None else ''}{taken / seconds:.1f}"]
    reached, scale = [value for value, _ in answers.values() if value is not None], 1 + abs(known)
    above = answers["CLARABEL"][0] is not None and bound > answers["CLARABEL"][0] + ABOVE * scale
    agree = not above and all(bound >= value - AGREEMENT * scale for value in reached)
    return tuple(cells), agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=SHAPES, help="inputs and hidden layers, as in 10-15-15")
    parser.add_argument("--nets", type=int, default=2, help="random networks of each shape and norm")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for each conic solver")
    arguments = parser.parse_args()
    print(f"pydual {pydual.__version__}; ratios: seconds of the solver, cvxpy included, to those of pydual")
    print("  ".join(f"{name:>10}" for name in COLUMNS))
    apart = 0
    for text in arguments.shapes:
        for norm in ("linf", "l2"):
            for seed in range(arguments.nets):
                with single_threaded_blas():
                    cells, agree = row(text, seed, norm, arguments.timeout)
                apart += not agree
                print("  ".join(f"{cell:>10}" for cell in cells), "" if agree else "  APART", flush=True)
    print(f"{apart} apart: further below a solver's optimum than {AGREEMENT:g}, relative, or above Clarabel's")
    return int(apart > 0)


if __name__ == "__main__":
    sys.exit(main())
