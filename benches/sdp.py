"""Sums of squares beside branching on the MNIST networks of the SDP literature: python benches/sdp.py [NET ...] [--first N]

For every image that is classified right and not attacked: `sdp` alone, `bab` over linear bounds and `bab` over `sdp`, one call
of `pydual.solve` each, in one run; verified counts, seconds, leaves, bytes and audits by network. With --prototype the same
images go to ../shared/reference/dual_elim.py (numpy) as well: verified if its bound is positive for every target. With --plot,
instead, every proof system on one network: the verified fraction against seconds, as PNG and SVG.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from images import NETS, Entry, entries

import pydual
from pydual import Certificate, Checker, Network
from pydual.operators.primitives import Affine
from pydual.problem import normalize
from pydual.proof_systems import BY_NAME, SDP, BranchAndBound, ProofSystem
from pydual.relax.engine import single_threaded_blas

DEFAULT = {
    "salman19_adv_mlp_b": "mnist_sdp",
    "raghunathan18_pgdnn": "mnist_sdp",
    "salman19_nor_mlp_b": "mnist_sdp",
    "eran_mnist_6_100": "mnist_eran",
    "sdpcrown_mnist_mlp": "mnist_sdp",
}
SYSTEMS: dict[str, Callable[[], ProofSystem]] = {
    "sdp": SDP,
    "bab": BranchAndBound,
    "bab over sdp": lambda: BranchAndBound(bound=SDP()),
}
REFERENCE = NETS.parents[1] / "reference"
PROTOTYPE = "prototype"


@dataclass(frozen=True)
class Run:
    """One call: seconds of attack and search, of the rounded and (if asked for) the exact audit of the file; its leaves and
    bytes."""

    verdict: str
    search: float
    audit: float = 0.0
    exact: float | None = None
    leaves: int = 0
    size: int = 0

    @property
    def seconds(self) -> float:
        return self.search + self.audit


@dataclass
class Tally:
    """What is known of the images of one entry, by proof system and image. ``attacked`` images count for none, ``easy``
    ones are verified by CROWN."""

    entry: Entry
    images: int = 0
    right: int = 0
    attacked: set[int] = field(default_factory=set)
    easy: set[int] = field(default_factory=set)
    runs: dict[str, dict[int, Run]] = field(default_factory=dict)

    def of(self, name: str) -> list[Run]:
        return [run for image, run in self.runs.get(name, {}).items() if image not in self.attacked]

    @property
    def open(self) -> int:
        return self.right - len(self.attacked)


def run(system: ProofSystem, network: Network, checker: Checker, timeout: float, exact: bool) -> Run:
    begin = time.perf_counter()
    try:
        outcome = pydual.solve(network, checker, system, timeout=timeout)
    except pydual.UnsupportedError:  # too large
        return Run("unsupported", time.perf_counter() - begin)
    total = time.perf_counter() - begin
    if not isinstance(outcome, Certificate):
        return Run("attacked" if isinstance(outcome, pydual.Attack) else "open", total)
    search = total - outcome.statistics["seconds"].get("audit", 0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate"
        outcome.save(path)
        rounded = audit_seconds(path, network, checker, "rounded")
        patient = audit_seconds(path, network, checker, "exact") if exact else None
        return Run("verified", search, rounded, patient, outcome.certificate.leaves, path.stat().st_size)


def audit_seconds(path: Path, network: Network, checker: Checker, level: str) -> float:
    begin = time.perf_counter()
    pydual.audit(path, network, checker, level=level)
    return time.perf_counter() - begin


def prototype(network: Network, checker: Checker) -> Run:
    """The numerical prototype as its notes run it; it ends with the first target that it cannot verify. No audit."""
    if str(REFERENCE) not in sys.path:
        sys.path.insert(0, str(REFERENCE))  # first, as there is a ladder.py here, too
    ladder, dual_elim = (importlib.import_module(name) for name in ("ladder", "dual_elim"))
    layers = [(p.terms[0][1], p.bias) for p in network.primitives if isinstance(p, Affine)]
    (*hidden, (last, bias)) = [(m if isinstance(m, np.ndarray) else m.toarray(), b) for m, b in layers]
    lower, upper = checker.region.lower, checker.region.upper
    begin, verdict = time.perf_counter(), "verified"
    intervals = ladder.crown_bounds(hidden, lower, upper)
    for problem in normalize(network, checker):
        (atom,) = problem.margins
        row = np.zeros(network.output_size)
        row[list(atom.margin.y)] = [float(c) for c in atom.margin.y.values()]
        target = hidden, row @ last, float(row @ bias) + float(atom.margin.constant), lower, upper
        if ladder.crown(*target, intervals) > 0:
            continue
        if dual_elim.Dual(*target, intervals).solve(eps0=2e-3, epsf=8.1e-5, it=2500, stop0=True)["gamma"] <= 0:
            verdict = "open"
            break
    return Run(verdict, time.perf_counter() - begin)


def tally(entry: Entry, systems: dict[str, Callable[[], ProofSystem]], args: argparse.Namespace) -> Tally:
    result = Tally(entry, runs={name: {} for name in systems})
    for image, checker in entry.checkers(args.first):
        result.images += 1
        result.right += checker is not None
        if checker is None:
            continue
        outcome = pydual.solve(entry.network, checker, "crown", timeout=args.timeout)
        if isinstance(outcome, pydual.Attack):
            result.attacked.add(image)
            continue
        if isinstance(outcome, Certificate):
            result.easy.add(image)
        for name, found in image_runs(entry, checker, systems, args):
            result.runs.setdefault(name, {})[image] = found
            print(f"{entry}, image {image}, {name}: {found}", file=sys.stderr, flush=True)
            if found.verdict == "attacked":
                result.attacked.add(image)
                break
    return result


def image_runs(
    entry: Entry, checker: Checker, systems: dict[str, Callable[[], ProofSystem]], args: argparse.Namespace
) -> Iterator[tuple[str, Run]]:
    for name, system in systems.items():
        yield name, run(system(), entry.network, checker, args.timeout, args.exact)
    if args.prototype and entry.norm == "linf":
        with single_threaded_blas():
            yield PROTOTYPE, prototype(entry.network, checker)


def report(result: Tally) -> None:
    print(
        f"\n{result.entry}: {result.images} images, {result.right} classified right, {len(result.attacked)} attacked,", end=""
    )
    print(f" {len(result.easy)} verified by CROWN")
    print(f"  {'':<14}  verified  median s    mean s     sum s    leaves     bytes   audit s   exact s")
    for name in result.runs:
        runs = result.of(name)
        won = [r for r in runs if r.verdict == "verified"]
        print(f"  {name:<14}  {len(won):>3} / {result.open:<2}", end="")
        if won:
            times = [r.search for r in won]
            print(f"  {statistics.median(times):>8.2f}  {statistics.mean(times):>8.2f}", end="")
        else:
            print(f"  {'-':>8}  {'-':>8}", end="")
        print(f"  {sum(r.search for r in runs):>8.1f}", end="")
        print("".join(f"  {value:>8}" for value in certificates(won)), flush=True)
    if PROTOTYPE in result.runs:
        print(f"  {against_prototype(result)}", flush=True)


def certificates(won: list[Run]) -> Iterator[str]:
    """Means over the verified images: leaves, bytes, seconds of audits."""
    if not any(run.leaves for run in won):
        yield from ("-", "-", "-", "-")
        return
    yield f"{statistics.mean(run.leaves for run in won):.0f}"
    yield f"{statistics.mean(run.size for run in won):.0f}"
    yield f"{statistics.mean(run.audit for run in won):.3f}"
    exact = [run.exact for run in won if run.exact is not None]
    yield f"{statistics.mean(exact):.2f}" if exact else "-"


def against_prototype(result: Tally) -> str:
    """Ratios of the prototype's seconds to those of `sdp` with its audit, where both verify and CROWN does not."""
    ours, theirs = result.runs["sdp"], result.runs[PROTOTYPE]
    hard = [i for i in theirs if i in ours and i not in result.attacked | result.easy]
    both = [i for i in hard if ours[i].verdict == theirs[i].verdict == "verified"]
    counts = [sum(run.verdict == "verified" for run in result.of(name)) for name in ("sdp", PROTOTYPE)]
    text = f"sdp verifies {counts[0]}, the prototype {counts[1]}"
    if not both:
        return f"{text}; no image beyond CROWN by both"
    ratio = statistics.median(theirs[i].seconds / ours[i].seconds for i in both)
    sums = sum(theirs[i].seconds for i in both) / sum(ours[i].seconds for i in both)
    text = f"{text}; on the {len(both)} images beyond CROWN by both"
    return f"{text}, prototype / sdp: {ratio:.1f} in the median, {sums:.1f} in the sum"


def plot(result: Tally, path: Path) -> None:
    """The fraction of the images that are classified right against seconds an image, search and audit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.5, 4.5))
    axes.set_prop_cycle(color=pyplot.get_cmap("tab20").colors[::2] + pyplot.get_cmap("tab20").colors[1::2])
    longest = max((r.seconds for name in result.runs for r in result.of(name)), default=1.0)
    for name, runs in result.runs.items():
        if all(r.verdict == "unsupported" for r in runs.values()):
            continue
        times = sorted(r.seconds for r in result.of(name) if r.verdict == "verified")
        shares = np.arange(len(times) + 1) / max(result.right, 1)
        axes.step([1e-3, *times, 2 * longest], [*shares, shares[-1]], where="post", label=f"{name} ({len(times)})")
    bound = result.open / max(result.right, 1)
    axes.axhline(bound, color="gray", linestyle=":", label=f"not attacked ({result.open})")
    axes.set(xscale="log", xlim=(1e-2, 1.2 * longest), ylim=(0, 1.03), title=str(result.entry))
    axes.set(xlabel="seconds an image (search and audit)", ylabel="verified fraction of the images classified right")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=150)


def rank(entry: Entry) -> int:
    """The order of the networks here; others come last."""
    return [*DEFAULT, entry.net].index(entry.net)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", help="networks (default: the five of the SDP literature; with --plot, the first)")
    parser.add_argument("--first", type=int, default=20, help="images of each network")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for each proof system and image")
    parser.add_argument("--exact", action="store_true", help="audit every certificate in rational arithmetic as well")
    parser.add_argument("--prototype", action="store_true", help="the numerical prototype on the same images (linf)")
    parser.add_argument("--plot", type=Path, help="plot every proof system on one network, to this file as PNG and SVG")
    args = parser.parse_args()
    if not NETS.is_dir():
        print("The benchmark folder ../shared/bench is not here.", file=sys.stderr)
        return 2
    chosen = [e for e in entries(args.nets or list(DEFAULT)) if e.dataset == DEFAULT.get(e.net, e.dataset)]
    if args.plot:
        everything = {**{name: BY_NAME[name] for name in BY_NAME if name != "enumeration"}, **SYSTEMS}
        result = tally(min(chosen, key=rank), everything, args)
        report(result)
        plot(result, args.plot)
        return 0
    for entry in sorted(chosen, key=rank):
        report(tally(entry, SYSTEMS, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
