"""The ladder of proof systems on tiny random networks: python benches/ladder.py [--nets N] [--shapes A-B-C ...]

The truth, the least value of a random network over a box, is enumerated pattern by pattern. For each proof system the bench
looks for the largest threshold that it proves by bisection; what counts is the margin that the exact audit found. Printed by
shape: the mean gap to the truth and the share of networks where it is closed. Exit code 1 if any audited bound is above the
truth, or below that of a system further down the ladder.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from oracles import activation_patterns

import pydual
from pydual import Checker, Network, Region, Y
from pydual.audit import EXACT, audit
from pydual.audit.query import query_digest
from pydual.certificate import Proof
from pydual.problem import normalize
from pydual.proof_systems import SDP, Crown, Interval, ProofSystem, TriangleLP
from pydual.proof_systems.climb import Path as Weights
from pydual.relax.engine import single_threaded_blas

LADDER: dict[str, Callable[[], ProofSystem]] = {
    "interval": Interval,
    "crown": Crown,
    "lp": TriangleLP,
    "sdp": lambda: SDP(path=Weights(last=1e-4, flatness=1e-4), refine_steps=0),
}
SHAPES = ("2-4-4", "2-4-4-4", "3-6-4", "5-8", "3-5-5")
PRECISION = 1e-3  # of thresholds, relative to the scale of the network
NOISE = 1e-7  # of the truth: linear programs find it


@dataclass(frozen=True)
class Rung:
    """What a proof system reached on one network, relative to ``1 + |truth|``; ``violation``: an audited bound is above the
    truth."""

    gap: float
    exact: bool
    seconds: float
    violation: bool


def network(shape: tuple[int, ...], seed: int) -> Network:
    """Hidden layers of the shape and one output."""
    rng = np.random.default_rng([seed, *shape])
    pairs = zip(shape, (*shape[1:], 1), strict=True)
    return Network.from_layers([(rng.normal(size=(n, m)) * np.sqrt(2 / m), 0.3 * rng.normal(size=n)) for m, n in pairs])


def question(shape: tuple[int, ...], threshold: float) -> Checker:
    """The output is at most ``threshold`` somewhere in the cube."""
    return Checker(Region(-np.ones(shape[0]), np.ones(shape[0])), Y[0] <= Fraction(threshold))


def attempt(system: ProofSystem, net: Network, checker: Checker) -> tuple[float, float]:
    """The margin that the exact audit proves (minus infinity without a proof), and the one that the prover claims."""
    problems = normalize(net, checker)
    state = system.init(problems)
    while not state.finished:
        state = system.step(state, np.inf)
    if not state.proved:
        return -np.inf, state.bound
    proof = Proof.of(net.digest, query_digest(checker), tuple(state.trees[p.index] for p in problems))
    return audit(proof, net, checker, level=EXACT).margin, state.bound


def climb(system: ProofSystem, net: Network, shape: tuple[int, ...], truth: float) -> Rung:
    """The largest proved lower bound of the output, between what the system claims at first and the truth."""
    begin, scale = time.perf_counter(), 1 + abs(truth)
    threshold = truth - PRECISION * scale
    margin, claimed = attempt(system, net, question(shape, threshold))
    best = threshold + margin
    low, high = threshold + claimed - 1e-6 * scale, threshold
    if best == -np.inf:
        best = low + attempt(system, net, question(shape, low))[0]
        while high - low > PRECISION * scale:
            middle = (low + high) / 2
            margin, _ = attempt(system, net, question(shape, middle))
            best = max(best, middle + margin)
            low, high = (middle, high) if margin > -np.inf else (low, middle)
    gap = (truth - best) / scale
    return Rung(gap, gap <= 1.01 * PRECISION, time.perf_counter() - begin, best > truth + NOISE * scale)


def report(title: str, found: dict[str, list[Rung]]) -> None:
    for name, rungs in found.items():
        gaps = [rung.gap for rung in rungs]
        exact = sum(rung.exact for rung in rungs) / len(rungs)
        seconds = statistics.mean(rung.seconds for rung in rungs)
        print(f"{title:<10}  {name:<10}  {len(rungs):>4}  {statistics.mean(gaps):>10.5f}  {max(gaps):>10.5f}", end="")
        print(f"  {exact:>7.1%}  {seconds:>8.3f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=40, help="random networks of each shape")
    parser.add_argument("--shapes", nargs="*", default=SHAPES, help="inputs and hidden layers, as in 2-4-4")
    arguments = parser.parse_args()
    everything: dict[str, list[Rung]] = {name: [] for name in LADDER}
    print("Gaps to the truth, relative to 1 + |truth|; exact: the gap is at most", PRECISION)
    print(f"{'shape':<10}  {'system':<10}  nets    mean gap     largest    exact   seconds")
    for text in arguments.shapes:
        shape = tuple(map(int, text.split("-")))
        found: dict[str, list[Rung]] = {name: [] for name in LADDER}
        for seed in range(arguments.nets):
            net = network(shape, seed)
            truth = activation_patterns.true_minimum(net, question(shape, 0.0))
            for name, system in LADDER.items():
                with single_threaded_blas():
                    found[name].append(climb(system(), net, shape, truth))
        report(text, found)
        for name, rungs in found.items():
            everything[name] += rungs
    report("all", everything)
    violations = sum(rung.violation for rungs in everything.values() for rung in rungs)
    rungs = list(everything.values())
    steps = [step for lower, upper in zip(rungs, rungs[1:], strict=False) for step in zip(lower, upper, strict=True)]
    disorder = sum(upper.gap > lower.gap + 2 * PRECISION for lower, upper in steps)
    count = sum(map(len, rungs))
    print(f"violations: {violations} of {count} audited bounds above the truth; {disorder} of {len(steps)} steps out of order")
    return int(violations > 0 or disorder > 0)


if __name__ == "__main__":
    print(f"pydual {pydual.__version__}")
    sys.exit(main())
