"""ACAS Xu beside measured yardsticks: python benches/yardsticks.py [--timeout S]

The last table of ../shared/bench/INDEX.md has CPU seconds of other verifiers, imports included, on instances of ACAS Xu. Here
pydual decides the same instances as a command of its own, on all cores: CPU seconds of the whole process (user and system),
seconds on the wall, and the ratio of the sums for every verifier that has a number. The yardsticks were measured elsewhere:
they say how much work the instances are, not more. Exit code 1 if an instance is not decided.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path

BENCH = Path(__file__).parents[1].parent / "shared" / "bench"
FAMILY = BENCH / "acasxu_2023"


def table() -> tuple[list[str], list[tuple[str, str, list[float | None]]]]:
    """The verifiers, and by property and network their seconds; "over 120" counts as 120, parentheses do not count."""
    lines = (BENCH / "INDEX.md").read_text(encoding="utf-8").splitlines()
    last = max(k for k, line in enumerate(lines) if line.startswith("| instance"))
    rows = []
    for line in lines[last + 2 :]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        named = re.search(r"prop_(\d+) (\d_\d)", cells[0])
        if named is None:
            break
        numbers = [re.match(r"(?:over )?([\d.]+)", cell) for cell in cells[1:]]
        rows.append((named[1], named[2], [None if number is None else float(number[1]) for number in numbers]))
    return [cell.strip() for cell in lines[last].strip("|").split("|")][1:], rows


def truths() -> dict[tuple[str, str], str]:
    with open(BENCH / "truth.csv", newline="") as file:
        return {(row["onnx"], row["vnnlib"]): row["truth"] for row in csv.DictReader(file)}


def decide(onnx: str, vnnlib: str, timeout: float) -> tuple[str, float, float]:
    """The verdict, and CPU and wall seconds of the process."""
    command = [sys.executable, "-m", "pydual", "verify", str(FAMILY / vnnlib), "--network", str(FAMILY / onnx)]
    before, begin = os.times(), time.perf_counter()
    done = subprocess.run([*command, "--timeout", str(timeout)], capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - begin, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout.split("\n", 1)[0], used, seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=float, default=116.0, help="seconds an instance")
    timeout = parser.parse_args().timeout
    if not BENCH.is_dir():
        print("The benchmark folder ../shared/bench is not here.", file=sys.stderr)
        return 2
    (verifiers, rows), truth, undecided = table(), truths(), 0
    sums = {name: [0.0, 0.0, 0.0] for name in verifiers}  # of the verifier, and pydual's CPU and wall seconds there
    print("  ".join(f"{cell:>14}" for cell in ("instance", "verdict", "CPU s", "wall s", *verifiers)))
    for prop, net, others in rows:
        onnx, vnnlib = f"onnx/ACASXU_run2a_{net}_batch_2000.onnx", f"vnnlib/prop_{prop}.vnnlib"
        verdict, used, seconds = decide(onnx, vnnlib, timeout)
        undecided += verdict != truth[onnx, vnnlib]
        for name, other in zip(verifiers, others, strict=True):
            if other is not None:
                sums[name] = [a + b for a, b in zip(sums[name], (other, used, seconds), strict=True)]
        cells = [f"prop_{prop} {net}", verdict, f"{used:.2f}", f"{seconds:.2f}"]
        cells += ["-" if other is None else f"{other:g}" for other in others]
        print("  ".join(f"{cell:>14}" for cell in cells), flush=True)
    for name, (other, used, seconds) in sums.items():
        print(f"{name}: {other:.1f} s; pydual there {used:.1f} CPU s ({other / used:.1f} times), {seconds:.1f} s on the wall "
              f"({other / seconds:.1f} times)")  # fmt: skip
    return int(undecided > 0)


if __name__ == "__main__":
    sys.exit(main())
