"""Decide public instances with known truth, and count: python benches/verdicts.py [--timeout S] [--marabou] [FAMILY ...]

The instances and their truth are those of ../shared/bench/truth.csv beside the checkout. A verdict that contradicts the truth
is printed as WRONG; every "unsat" carries an audited certificate, or it would not be one. With --marabou (and maraboupy
installed) the same instances are put to Marabou, in the same run; seconds are then those of whole processes for both.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import peers

import pydual

BENCH = Path(__file__).parents[1].parent / "shared" / "bench"


@dataclass(frozen=True)
class Row:
    """One instance; ``audit`` is the part of the ``seconds`` that the audits took, ``whole`` the time of a process for it."""

    truth: str
    verdict: str
    seconds: float
    audit: float
    leaves: int
    whole: float = 0.0
    marabou: peers.Answer | None = None


def decide(family: Path, instance: dict[str, str], timeout: float) -> Row:
    network = pydual.load(family / instance["onnx"])
    checker = pydual.load_checker(family / instance["vnnlib"])
    begin = time.perf_counter()
    outcome = pydual.solve(network, checker, timeout=timeout)
    seconds = time.perf_counter() - begin
    verdict = "sat" if isinstance(outcome, pydual.Attack) else "unknown"
    verdict = "unsat" if isinstance(outcome, pydual.Certificate) else verdict
    audit = outcome.statistics["seconds"].get("audit", 0.0)
    return Row(instance["truth"], verdict, seconds, audit, outcome.statistics.get("leaves", 0))


def beside_marabou(row: Row, family: Path, instance: dict[str, str], timeout: float) -> Row:
    """The row with the seconds of pydual as a command, start and loading included, and with Marabou's answer."""
    files = family / instance["onnx"], family / instance["vnnlib"]
    question = [str(files[1]), "--network", str(files[0]), "--timeout", str(timeout)]
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pydual", "verify", *question], capture_output=True, check=True)
    whole = time.perf_counter() - begin
    return replace(row, whole=whole, marabou=peers.marabou(*files, timeout, proofs=False))


def compare(rows: list[Row]) -> None:
    """Both on the same instances: what they decide, and the ratio of the times where both do."""
    answers = [(row, row.marabou) for row in rows if row.marabou is not None]
    if not answers:
        return
    both = [(row, peer) for row, peer in answers if row.verdict != "unknown" and peer.verdict in ("sat", "unsat")]
    decided = sum(peer.verdict in ("sat", "unsat") for _, peer in answers)
    seconds = sum(row.whole for row, _ in answers), sum(peer.seconds for _, peer in answers)
    print(f"  whole processes: pydual {seconds[0]:.1f} s, Marabou {seconds[1]:.1f} s, which decides {decided}", end="")
    if both:
        ratios = [peer.seconds / row.whole for row, peer in both]
        print(f"; where both decide, Marabou takes {statistics.median(ratios):.2f} times as long in the median", end="")
    print()


def report(family: str, rows: list[Row]) -> None:
    counts = Counter((row.truth, row.verdict) for row in rows)
    decided = [row for row in rows if row.verdict != "unknown"]
    audited = [row for row in rows if row.verdict == "unsat"]
    print(f"{family}: {len(decided)} of {len(rows)} decided, {sum(row.seconds for row in rows):.1f} s in all", end="")
    if decided:
        times = [row.seconds for row in decided]
        print(f", median {statistics.median(times):.2f} s, most {max(times):.2f} s", end="")
    if audited:
        share = statistics.median(row.audit / max(row.seconds - row.audit, 1e-3) for row in audited)
        print(f", audit/rest {share:.2f}, leaves {statistics.median(r.leaves for r in audited):.0f}", end="")
    print()
    for (truth, verdict), count in sorted(counts.items()):
        wrong = "  WRONG" if {truth, verdict} == {"sat", "unsat"} else ""
        print(f"  truth {truth:8} verdict {verdict:8} {count:5}{wrong}")
    compare(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help="folders of the benchmark data (default: all)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds an instance")
    parser.add_argument("--only", default="", help="only instances whose property file name contains this")
    parser.add_argument("--marabou", action="store_true", help="ask Marabou as well")
    parser.add_argument("--first", type=int, default=10**9, help="only the first so many instances of a family")
    args = parser.parse_args()
    if not BENCH.is_dir():
        print("The benchmark folder ../shared/bench is not here.", file=sys.stderr)
        return 2
    rows: dict[str, list[Row]] = defaultdict(list)
    refused: Counter[str] = Counter()
    with open(BENCH / "truth.csv", newline="") as file:
        instances = [i for i in csv.DictReader(file) if not args.families or i["benchmark"] in args.families]
    for instance in instances:
        family = instance["benchmark"]
        if args.only not in instance["vnnlib"] or len(rows[family]) >= args.first:
            continue
        try:
            row = decide(BENCH / family, instance, args.timeout)
            rows[family].append(beside_marabou(row, BENCH / family, instance, args.timeout) if args.marabou else row)
        except pydual.UnsupportedError as error:
            refused[f"{family}: {error}"] += 1
            continue
        row = rows[family][-1]
        print(f"{family} {instance['onnx']} {instance['vnnlib']}: {row.verdict} (truth {row.truth}) {row.seconds:.2f} s",
              file=sys.stderr, flush=True)  # fmt: skip
    for family, found in rows.items():
        report(family, found)
    for reason, count in refused.items():
        print(f"refused {count}: {reason}")
    return int(any({row.truth, row.verdict} == {"sat", "unsat"} for found in rows.values() for row in found))


if __name__ == "__main__":
    sys.exit(main())
