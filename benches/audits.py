"""Audits of certificates, beside the solves that made them: python benches/audits.py [--timeout S] [--exact N] [FAMILY ...]

For every public instance (../shared/bench/truth.csv) that pydual proves safe: seconds of the search and of the rounded audit
of the certificate file, their ratio, the size of the file, and for a sample also the seconds of the exact audit, which is
given up after --exact-seconds. With --marabou (and maraboupy installed) the same instances are put to Marabou with proof
production, one process each. All in one run; compare ratios. Exit code 1 if an audit rejects a certificate.

With --depth D, instead: the rounded audit of a tree of 2**D cells of a small random network, and the memory that it takes.
"""

from __future__ import annotations

import argparse
import csv
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peers

import pydual
from pydual.audit.query import query_digest
from pydual.certificate import PARALLEL, PARALLEL_LINES, Proof, ProofTree
from pydual.errors import CertificateError

BENCH = Path(__file__).parents[1].parent / "shared" / "bench"


@dataclass(frozen=True)
class Row:
    """Seconds of search (attack, proof, no audit) and of the audits (``exact`` None: not asked or given up), and sizes."""

    search: float
    rounded: float
    exact: float | None
    size: int
    leaves: int
    margin: float
    marabou: str


class _GivenUp(Exception):
    pass


def prove(family: Path, instance: dict[str, str], timeout: float, path: Path) -> tuple[float, pydual.Certificate] | None:
    """Search seconds and the certificate, saved; None if there is none."""
    network, checker = pydual.load(family / instance["onnx"]), pydual.load_checker(family / instance["vnnlib"])
    outcome = pydual.solve(network, checker, timeout=timeout)
    if not isinstance(outcome, pydual.Certificate):
        return None
    outcome.save(path)
    seconds = outcome.statistics["seconds"]
    return seconds["total"] - seconds.get("audit", 0.0), outcome


def audit_seconds(path: Path, family: Path, instance: dict[str, str], level: str, patience: float) -> float | None:
    """Seconds of one audit of the file, with the network at hand; None if it was given up."""
    network, checker = pydual.load(family / instance["onnx"]), pydual.load_checker(family / instance["vnnlib"])
    begin = time.perf_counter()

    def deadline() -> None:
        if time.perf_counter() - begin > patience:
            raise _GivenUp

    try:
        pydual.audit(path, network, checker, level=level, deadline=deadline)
    except _GivenUp:
        return None
    return time.perf_counter() - begin


def grown_tree(depth: int) -> ProofTree:
    """The cells of [-1, 1]^4 after ``depth`` rounds of bisection, each an anchor."""
    kinds, index, threshold = [], [], []
    stack = [(0, -np.ones(4), np.ones(4))]
    while stack:
        level, lower, upper = stack.pop()
        kinds.append(int(level < depth))
        if level == depth:
            continue
        i = level % 4
        middle = (lower[i] + upper[i]) / 2
        index.append(i)
        threshold.append(middle)
        left, right = upper.copy(), lower.copy()
        left[i] = right[i] = middle
        stack += [(level + 1, right, upper), (level + 1, lower, left)]
    kind, leaves = np.array(kinds, np.uint8), 2**depth
    return ProofTree(
        kind=kind,
        index=np.array(index, np.int32),
        threshold=np.array(threshold),
        anchor=np.where(kind == 0, PARALLEL, 0).astype(np.uint8),
        lines=np.full(leaves, PARALLEL_LINES, np.int32),
        slopes=np.zeros((0, 0), np.uint8),
        slope_neurons=np.zeros(0, np.int32),
        multipliers=np.ones((leaves, 1), np.uint8),
        split_multipliers=np.zeros(0),
    )


def grown(depth: int, path: Path) -> None:
    """One audit of a tree of 2**depth leaves."""
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(n, m)), rng.normal(size=n)) for m, n in ((4, 20), (20, 20), (20, 1))]
    network = pydual.Network.from_layers(layers)
    checker = pydual.Checker(pydual.Region(-np.ones(4), np.ones(4)), pydual.Y[0] <= -200)
    Proof(network.digest, query_digest(checker), (grown_tree(depth),)).save(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    pydual.audit(path, network, checker, level="rounded")
    seconds = time.perf_counter() - begin
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{2**depth} leaves, {path.stat().st_size / 1e6:.1f} MB: {seconds:.2f} s, {memory:.0f} MB more memory at the peak")


def report(family: str, rows: list[Row]) -> None:
    ratio = statistics.median(row.rounded / row.search for row in rows)
    slower = sum(row.rounded > row.search for row in rows)
    sizes = [row.size for row in rows]
    print(f"{family}: {len(rows)} certificates, rounded audit / search {ratio:.3f} in the median ({slower} above 1),", end=" ")
    print(f"bytes {statistics.median(sizes):.0f} in the median, {max(sizes)} at most,", end=" ")
    print(f"leaves {statistics.median(row.leaves for row in rows):.0f}, {max(row.leaves for row in rows)},", end=" ")
    print(f"seconds {sum(r.search for r in rows):.1f} search, {sum(r.rounded for r in rows):.1f} rounded", end="")
    exact = [row.exact for row in rows if row.exact is not None]
    if exact:
        print(f"; exact: {len(exact)}, {statistics.median(exact):.2f} in the median, {max(exact):.1f} at most", end="")
    print(flush=True)


def run(args: argparse.Namespace, instances: list[dict[str, str]], folder: Path) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for number, instance in enumerate(instances):
        family, path = BENCH / instance["benchmark"], folder / f"{number}.certificate"
        try:
            proved = prove(family, instance, args.timeout, path)
        except pydual.UnsupportedError:
            continue
        if proved is None:
            continue
        search, outcome = proved
        rounded = audit_seconds(path, family, instance, "rounded", float("inf"))
        sampled = len(rows[family.name]) < args.exact
        exact = audit_seconds(path, family, instance, "exact", args.exact_seconds) if sampled else None
        files = family / instance["onnx"], family / instance["vnnlib"]
        peer = str(peers.marabou(*files, args.timeout, proofs=True)) if args.marabou else ""
        assert rounded is not None
        row = Row(search, rounded, exact, path.stat().st_size, outcome.certificate.leaves, outcome.margin, peer)
        rows[family.name].append(row)
        path.unlink()
        print(f"{family.name} {instance['onnx']} {instance['vnnlib']}: {row}", file=sys.stderr, flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="folders of the benchmark data (default: all)")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds a solve")
    parser.add_argument("--first", type=int, default=10**9, help="only the first so many instances of a family")
    parser.add_argument("--exact", type=int, default=2, help="certificates of a family that are audited exactly too")
    parser.add_argument("--exact-seconds", type=float, default=60.0, help="patience with an exact audit")
    parser.add_argument("--marabou", action="store_true", help="ask Marabou with proof production as well")
    parser.add_argument("--depth", type=int, help="audit a tree of 2**DEPTH leaves instead")
    args = parser.parse_args()
    if args.depth is not None:
        with tempfile.TemporaryDirectory() as folder:
            grown(args.depth, Path(folder) / "grown.certificate")
        return 0
    if not BENCH.is_dir():
        print("The benchmark folder ../shared/bench is not here.", file=sys.stderr)
        return 2
    by_family: dict[str, list[dict[str, str]]] = defaultdict(list)
    with open(BENCH / "truth.csv", newline="") as file:
        for instance in csv.DictReader(file):
            if instance["truth"] != "sat" and (not args.families or instance["benchmark"] in args.families):
                by_family[instance["benchmark"]].append(instance)
    chosen = [instance for group in by_family.values() for instance in group[: args.first]]
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = run(args, chosen, Path(folder))
        except CertificateError as error:
            print(f"REJECTED: {error}")
            return 1
    for family, found in rows.items():
        report(family, found)
    everything = [row for found in rows.values() for row in found]
    if everything:
        report("all", everything)
    return 0


if __name__ == "__main__":
    sys.exit(main())
