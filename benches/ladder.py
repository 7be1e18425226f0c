"""The ladder of proof systems on tiny random networks: python benches/ladder.py [--nets N] [--shapes A-B-C ...]

The truth, the least value of a random network over a box, is enumerated pattern by pattern. For each proof system the bench
looks for the largest threshold that it proves; what counts is the margin that the exact audit found. Printed by shape: the
mean gap to the truth and the share of networks where it is closed. Exit code 1 if an audited bound is above the truth or
clearly below that of a system further down the ladder, or if the audit rejects a proof.
"""

from __future__ import annotations

import argparse
import itertools
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
from pydual.errors import CertificateError
from pydual.problem import normalize
from pydual.proof_systems import SDP, SOS, Crown, Interval, ProofSystem, TriangleLP
from pydual.proof_systems.climb import Path as Weights
from pydual.relax.engine import single_threaded_blas

LADDER: dict[str, Callable[[], ProofSystem]] = {
    "interval": Interval,
    "crown": Crown,
    "lp": TriangleLP,
    "sdp": lambda: SDP(path=Weights(last=1e-4, flatness=1e-4)),
    "sdp with products": lambda: SDP(path=Weights(last=1e-4, flatness=1e-4, cuts=4, rounds=4)),
    "sos, no subsets": lambda: SOS(subsets=0),
    "sos degree 4": SOS,
}
HASTY = ("sdp", "sdp with products")  # those that end where a threshold is out of reach, with a bound that is not their best
SHAPES = ("2-4-4", "2-4-4-4", "3-6-4", "4-6", "3-5-5", "2-6-6")  # of the last, cliques are too large for degree 4
PRECISION = 1e-3  # of thresholds, relative to the scale of the network
NOISE = 1e-7  # of the truth: linear programs find it


@dataclass(frozen=True)
class Rung:
    """What a proof system reached on one network, relative to ``1 + |truth|``. ``violation``: an audited bound is above the
    truth; ``rejected``: the audit did not accept what the system took for a proof."""

    gap: float
    exact: bool
    seconds: float
    violation: bool
    rejected: bool


@dataclass(frozen=True)
class Attempt:
    """The margin that the exact audit proves (minus infinity without a proof), and the one that the prover claims."""

    margin: float
    claimed: float
    rejected: bool = False


def network(shape: tuple[int, ...], seed: int) -> Network:
    """Hidden layers of the shape and one output."""
    rng = np.random.default_rng([seed, *shape])
    pairs = zip(shape, (*shape[1:], 1), strict=True)
    return Network.from_layers([(rng.normal(size=(n, m)) * np.sqrt(2 / m), 0.3 * rng.normal(size=n)) for m, n in pairs])


def question(shape: tuple[int, ...], threshold: float) -> Checker:
    """The output is at most ``threshold`` somewhere in the cube."""
    return Checker(Region(-np.ones(shape[0]), np.ones(shape[0])), Y[0] <= Fraction(threshold))


def attempt(system: ProofSystem, net: Network, checker: Checker) -> Attempt:
    problems = normalize(net, checker)
    state = system.init(problems)
    while not state.finished:
        state = system.step(state, np.inf)
    if not state.proved:
        return Attempt(-np.inf, state.bound)
    proof = Proof.of(net.digest, query_digest(checker), tuple(state.trees[p.index] for p in problems))
    try:
        return Attempt(audit(proof, net, checker, level=EXACT).margin, state.bound)
    except CertificateError:
        return Attempt(-np.inf, state.bound, rejected=True)


def climb(name: str, net: Network, shape: tuple[int, ...], truth: float) -> Rung:
    """The largest proved lower bound of the output: what the system claims at first, or for hasty ones by bisection from
    there to the truth."""
    begin, scale, best, rejected = time.perf_counter(), 1 + abs(truth), -np.inf, False

    def proved(threshold: float) -> Attempt:
        nonlocal best, rejected
        found = attempt(LADDER[name](), net, question(shape, threshold))
        best, rejected = max(best, threshold + found.margin), rejected or found.rejected
        return found

    high = truth - PRECISION * scale
    low, down = high + min(proved(high).claimed, 0.0), 1e-6 * scale
    if best == -np.inf:
        while proved(low - down).margin == -np.inf:  # another threshold takes another path
            down *= 10.0
        low -= down
        while name in HASTY and high - low > PRECISION * scale:
            middle = (low + high) / 2
            low, high = (middle, high) if proved(middle).margin > -np.inf else (low, middle)
    gap, seconds = (truth - best) / scale, time.perf_counter() - begin
    return Rung(gap, gap <= 1.01 * PRECISION, seconds, best > truth + NOISE * scale, rejected)


def report(title: str, found: dict[str, list[Rung]]) -> None:
    for name, rungs in found.items():
        gaps = [rung.gap for rung in rungs]
        exact = sum(rung.exact for rung in rungs) / len(rungs)
        seconds = statistics.mean(rung.seconds for rung in rungs)
        print(f"{title:<10}  {name:<17}  {len(rungs):>4}  {statistics.mean(gaps):>10.5f}  {max(gaps):>10.5f}", end="")
        print(f"  {exact:>7.1%}  {seconds:>8.3f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=40, help="random networks of each shape")
    parser.add_argument("--systems", nargs="*", default=list(LADDER), choices=LADDER, help="which ones, in this order")
    parser.add_argument("--shapes", nargs="*", default=SHAPES, help="inputs and hidden layers, as in 2-4-4")
    arguments = parser.parse_args()
    everything: dict[str, list[Rung]] = {name: [] for name in arguments.systems}
    print("Gaps to the truth, relative to 1 + |truth|; exact: the gap is at most", PRECISION)
    print(f"{'shape':<10}  {'system':<12}  nets    mean gap     largest    exact   seconds")
    for text in arguments.shapes:
        shape = tuple(map(int, text.split("-")))
        found: dict[str, list[Rung]] = {name: [] for name in arguments.systems}
        for seed in range(arguments.nets):
            net = network(shape, seed)
            truth = activation_patterns.true_minimum(net, question(shape, 0.0))
            for name, rungs in found.items():
                with single_threaded_blas():
                    rungs.append(climb(name, net, shape, truth))
        report(text, found)
        for name, rungs in found.items():
            everything[name] += rungs
    report("all", everything)
    violations = sum(rung.violation for found in everything.values() for rung in found)
    disorder, steps = 0, 0
    for (name, lower), (above, upper) in itertools.pairwise(everything.items()):
        for k, (a, b) in enumerate(zip(lower, upper, strict=True)):
            steps += 1
            if b.gap > a.gap + 2 * PRECISION:
                disorder += 1
                print(f"{above} is below {name} by {b.gap - a.gap:.5f} on network {k}")
    failed = [(name, k) for name, found in everything.items() for k, rung in enumerate(found) if rung.rejected]
    for name, k in failed:
        print(f"A proof of {name} was rejected on network {k}")
    print(f"violations: {violations} of {sum(map(len, everything.values()))} audited bounds above the truth; ", end="")
    print(f"{disorder} of {steps} steps out of order; {len(failed)} proofs rejected")
    return int(violations + disorder + len(failed) > 0)


if __name__ == "__main__":
    print(f"pydual {pydual.__version__}")
    sys.exit(main())
