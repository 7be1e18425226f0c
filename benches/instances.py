"""Named lists of instances: public ones from ../shared/bench where that is, and random networks made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pydual
from pydual import Checker, Network, Region, Y

BENCH = Path(__file__).parents[1].parent / "shared" / "bench"


@dataclass(frozen=True, eq=False)
class Instance:
    name: str
    network: Network
    checker: Checker


def public(folder: str, onnx: str, vnnlib: str) -> Callable[[], Instance]:
    """An instance of the benchmark folder, read when it is needed."""

    def load() -> Instance:
        base = BENCH / folder
        name = f"{folder.split('_')[0]} {Path(onnx).stem} {Path(vnnlib).stem}"
        return Instance(name, pydual.load(base / onnx), pydual.load_checker(base / vnnlib))

    return load


def random(seed: int, sizes: tuple[int, ...], radius: float) -> Callable[[], Instance]:
    """A random network; the second output must not fall to ``least sampled value - 1`` below the first."""

    def make() -> Instance:
        rng = np.random.default_rng(seed)
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        network = Network.from_layers(
            [(rng.normal(size=(n, m)) / np.sqrt(m), 0.1 * rng.normal(size=n)) for m, n in pairs]
        )
        region = Region(-radius * np.ones(sizes[0]), radius * np.ones(sizes[0]))
        points = rng.uniform(-radius, radius, (1000, sizes[0]))
        outputs = network.evaluate(points)
        least = float((outputs[:, 1] - outputs[:, 0]).min())
        name = f"random {'-'.join(map(str, sizes))} radius {radius}"
        return Instance(name, network, Checker(region, Y[1] - Y[0] <= least - 1))

    return make


ACAS = "onnx/ACASXU_run2a_{}_batch_2000.onnx"
LISTS: dict[str, list[Callable[[], Instance]]] = {
    "random": [
        random(1, (5, 20, 20, 2), 0.5),
        random(2, (10, 50, 50, 50, 2), 0.1),
        random(3, (100, 100, 100, 2), 0.05),
    ],
    "small": [
        random(1, (5, 20, 20, 2), 0.5),
        random(3, (100, 100, 100, 2), 0.05),
        public("acasxu_2023", ACAS.format("1_1"), "vnnlib/prop_3.vnnlib"),
        public("acasxu_2023", ACAS.format("2_2"), "vnnlib/prop_4.vnnlib"),
        public("rl_benchmarks", "onnx/cartpole.onnx", "vnnlib/cartpole_case_safe_14.vnnlib"),
        public("safenlp_2024", "onnx/medical/perturbations_0.onnx", "vnnlib/medical/hyperrectangle_843.vnnlib"),
        public("mnist_fc", "onnx/mnist-net_256x2.onnx", "vnnlib/prop_11_0.03.vnnlib"),
        public("collins_rul_cnn_2022", "onnx/NN_rul_small_window_20.onnx", "vnnlib/monotonicity_CI_shift20_w20.vnnlib"),
    ],
}


def instances(name: str) -> Iterator[Instance]:
    """The instances of a list; public ones only where the benchmark folder is."""
    for make in LISTS[name]:
        if BENCH.is_dir() or "random" in make.__qualname__:
            yield make()
