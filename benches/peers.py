"""Other verifiers on the same instances, where they are installed; each run has a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """What a peer says ("sat", "unsat", "timeout", "crashed", or a word of its own) after so many seconds."""

    verdict: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.verdict} {self.seconds:.2f}"


def marabou(onnx: Path, vnnlib: Path, timeout: float, proofs: bool) -> Answer:
    """Marabou (maraboupy) with one worker, seconds from start to exit of its process."""
    answers: multiprocessing.Queue[str] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_marabou, args=(str(onnx), str(vnnlib), int(timeout), proofs, answers))
    begin = time.perf_counter()
    process.start()
    process.join(timeout + 10)
    if process.is_alive():
        process.kill()
        process.join()
        return Answer("timeout", time.perf_counter() - begin)
    verdict = answers.get() if not answers.empty() else "crashed"
    return Answer(verdict, time.perf_counter() - begin)


def _marabou(onnx: str, vnnlib: str, timeout: int, proofs: bool, answers: multiprocessing.Queue[str]) -> None:
    from maraboupy import Marabou

    options = Marabou.createOptions(verbosity=0, timeoutInSeconds=timeout, produceProofs=proofs, numWorkers=1)
    network = Marabou.read_onnx(onnx)
    answers.put(network.solve(options=options, propertyFilename=vnnlib, verbose=False)[0])
