"""One instance alone, on a process pool, and on Dask with a worker killed: python benches/executors.py [MODEL PROPERTY]

Prints the verdict, its seconds, and their ratio to those of the search in one process, which uses all cores by threads: on
one machine, expect that to be faster (ratios above 1), since parts that do not end in time are begun anew. Dask's local
cluster has two worker processes, one of which is killed in the middle of the search; it needs the extra "dask". Without
arguments, a random network is taken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import numpy as np

import pydual
from pydual import Checker, Network, Region, Y

TASKS_BEFORE_THE_KILL = 5


def random_instance() -> tuple[Network, Checker]:
    """A random network with six inputs, and a bound that is a little above what sampling and descent find."""
    rng = np.random.default_rng(5)
    sizes = (6, 50, 50, 50, 1)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    network = Network.from_layers([(rng.normal(size=(n, m)) / np.sqrt(m), 0.3 * rng.normal(size=n)) for m, n in pairs])
    region = Region(-np.ones(sizes[0]), np.ones(sizes[0]))
    hopeless = pydual.solve(network, Checker(region, Y[0] >= 100), "interval", seed=1)
    greatest = max(float(network.evaluate(rng.uniform(-1, 1, (200_000, sizes[0]))).max()), 100 - hopeless.bracket.upper)
    return network, Checker(region, Y[0] >= greatest + 0.02)


class Murderous(Executor):
    """A Dask client's executor that kills one worker of the local cluster after a few submissions."""

    def __init__(self, client: Any) -> None:
        self._executor = client.get_executor()
        self._workers = sorted(client.run(os.getpid).values())
        self._submitted = 0
        self.killed = 0

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        self._submitted += 1
        if self._submitted > TASKS_BEFORE_THE_KILL and not self.killed:
            self.killed = self._workers[0]
            os.kill(self.killed, signal.SIGKILL)
        return self._executor.submit(*args, **kwargs)


def decide(title: str, network: Network, checker: Checker, executor: Executor | None, timeout: float, alone: float) -> float:
    """Solve, print a line, return the seconds."""
    begin = time.perf_counter()
    outcome = pydual.solve(network, checker, timeout=timeout, executor=executor)
    seconds = time.perf_counter() - begin
    search = outcome.statistics["seconds"].get("search", 0.0)
    tasks = outcome.statistics.get(outcome.proof_system, {}).get("tasks", 0)
    leaves = outcome.statistics.get("leaves", 0)
    ratio = seconds / (alone or seconds)
    print(f"{title:24} {type(outcome).__name__:12} {seconds:7.2f} s, search {search:7.2f} s, ratio {ratio:5.2f}", end="")
    print(f", tasks {tasks}, leaves {leaves}", flush=True)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="an ONNX model and a VNN-LIB property")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds a call")
    args = parser.parse_args()
    if len(args.files) not in (0, 2):
        parser.error("give a model and a property, or nothing")
    pair = (pydual.load(args.files[0]), pydual.load_checker(args.files[1])) if args.files else random_instance()
    alone = decide("one process", *pair, None, args.timeout, 0.0)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(abs, range(8)))  # start the processes
        decide("two processes", *pair, pool, args.timeout, alone)
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        print("Dask is not installed: pip install 'pydual[dask]'", file=sys.stderr)
        return 0
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        murderous = Murderous(client)
        decide("Dask, one worker killed", *pair, murderous, args.timeout, alone)
        print(f"killed: process {murderous.killed}" if murderous.killed else "nothing was killed: too few tasks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
