"""For each proof system and instance of a list: bound, seconds, audit; and the triangle LP side by side with cvxpy.

python benches/proof_systems.py [--list NAME] [--timeout S]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cvxpy
import instances
import numpy as np

import pydual
from pydual import Certificate, certificate
from pydual.operators.primitives import Relu
from pydual.problem import Problem, normalize
from pydual.proof_systems import BY_NAME, TriangleLP
from pydual.relax.engine import single_threaded_blas
from pydual.relax.frame import Frame, group, make_frame

COLUMNS = ("instance", "proof system", "outcome", "bound", "seconds", "audit s", "level", "bytes", "leaves")
LP_COLUMNS = ("instance", "neurons", "unstable", "pydual lp", "seconds", "cvxpy", "seconds", "ratio", "difference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", default="small", choices=instances.LISTS, help="named list in instances.py")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for each run")
    arguments = parser.parse_args()
    chosen = list(instances.instances(arguments.list))
    if len(chosen) < len(instances.LISTS[arguments.list]):
        print("The folder ../shared/bench is not here: random networks only.\n")
    show(COLUMNS, (row for instance in chosen for row in runs(instance, arguments.timeout)))
    print("\nThe triangle LP of each instance's first problem, the same intervals on both sides:\n")
    with single_threaded_blas():
        show(LP_COLUMNS, (compare(instance, arguments.timeout) for instance in chosen))


def show(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    """A table, printed row by row as the results come in."""
    widths = [42, *(max(13, len(column)) for column in columns[1:])]
    for row in (columns, tuple("-" * width for width in widths)):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    for row in rows:
        print("  ".join(cell[:width].ljust(width) for cell, width in zip(row, widths, strict=True)), flush=True)


def runs(instance: instances.Instance, timeout: float) -> Iterator[tuple[str, ...]]:
    """One row a proof system: a whole run of solve, and what its outcome is worth."""
    for name in BY_NAME:
        try:
            outcome = pydual.solve(instance.network, instance.checker, name, timeout=timeout)
        except pydual.InputError:  # not for such networks or regions
            yield (instance.name, name, "Unsupported", *["-"] * 6)
            continue
        seconds = outcome.statistics["seconds"]
        known = (instance.name, name, type(outcome).__name__, f"{outcome.bracket.lower:.5g}", f"{seconds['total']:.3f}")
        if not isinstance(outcome, Certificate):
            yield (*known, "-", "-", "-", "-")
            continue
        leaves = str(outcome.certificate.leaves)
        yield (*known, f"{seconds['audit']:.3f}", outcome.level, str(size(outcome)), leaves)


def size(outcome: Certificate) -> int:
    with tempfile.TemporaryDirectory() as folder:
        outcome.save(Path(folder) / "certificate")
        return (Path(folder) / "certificate").stat().st_size


def compare(instance: instances.Instance, timeout: float) -> tuple[str, ...]:
    """The same LP by pydual (HiGHS, duals evaluated anew) and by cvxpy with its default solver, Clarabel."""
    problem = normalize(instance.network, instance.checker)[0]
    frame = make_frame(group([problem])[0], certificate.ADAPTIVE)
    system = TriangleLP()
    begin = time.perf_counter()
    ours = system.step(system.init((problem,)), timeout).bound
    middle = time.perf_counter()
    theirs = triangle(problem, frame).solve(solver=cvxpy.CLARABEL)
    end = time.perf_counter()
    return (
        instance.name,
        str(len(frame.lower)),
        str(len(frame.unstable)),
        f"{ours:.7g}",
        f"{middle - begin:.3f}",
        f"{theirs:.7g}",
        f"{end - middle:.3f}",
        f"{(end - middle) / (middle - begin):.1f}",
        f"{ours - theirs:+.1e}",
    )


def triangle(problem: Problem, frame: Frame) -> cvxpy.Problem:
    """The LP as a user of cvxpy writes it: one variable a layer, one constraint a line."""
    x = cvxpy.Variable(problem.region.size)
    constraints = [x >= problem.region.lower, x <= problem.region.upper]
    values, begin = [x], 0
    for primitive in problem.network.primitives:
        if isinstance(primitive, Relu):
            lower, upper = (end[begin : begin + primitive.size] for end in (frame.lower, frame.upper))
            begin += primitive.size
            y, z = values[primitive.source], cvxpy.Variable(primitive.size)
            unstable = (lower < 0) & (upper > 0)
            slope = np.where(unstable, upper / np.where(unstable, upper - lower, 1.0), lower >= 0)
            above = z <= cvxpy.multiply(slope, y) + np.where(unstable, -slope * lower, 0.0)
            constraints += [z >= 0, z >= y, above]
            values.append(z)
        else:
            values.append(sum((m @ values[s] for s, m in primitive.terms), primitive.bias))
    t, y = cvxpy.Variable(), values[problem.network.output]
    for atom in problem.margins:
        linear = sum(float(c) * x[i] for i, c in atom.margin.x.items())
        linear += sum(float(c) * y[j] for j, c in atom.margin.y.items())
        constraints.append(t >= linear + float(atom.margin.constant))
    return cvxpy.Problem(cvxpy.Minimize(t), constraints)


if __name__ == "__main__":
    main()
