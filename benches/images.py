"""Networks, images and radii of the SDP literature, from ../shared/bench/sdp_nets beside the checkout."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import pydual
from pydual import Checker, Network

NETS = Path(__file__).parents[1].parent / "shared" / "bench" / "sdp_nets"


@dataclass(frozen=True)
class Entry:
    """A network with a set of images and what the adversary may do."""

    net: str
    dataset: str
    norm: str
    radius: float

    def __str__(self) -> str:
        return f"{self.net} on {self.dataset}, {self.norm} {self.radius:g}"

    @cached_property
    def network(self) -> Network:
        return pydual.load(NETS / "onnx" / f"{self.net}.onnx")

    def checkers(self, first: int) -> Iterator[tuple[int, Checker | None]]:
        """The first images with their numbers; None for one that is classified wrong."""
        data = np.load(NETS / f"{self.dataset}.npz")
        for image, (pixels, label) in enumerate(zip(data["X"][:first], data["y"][:first].tolist(), strict=True)):
            x = pixels.astype(np.float64).ravel()
            right = int(self.network.evaluate(x[None])[0].argmax()) == label
            yield image, pydual.robustness(x, label, self.radius, self.norm, clip=(0.0, 1.0)) if right else None


def entries(nets: list[str], images: str = "") -> list[Entry]:
    """The listed ones, of these networks (all, if none is named) and of sets of images whose name contains ``images``."""
    with open(NETS / "nets.csv", newline="") as file:
        listed = [Entry(row["net"], row["dataset"], row["norm"], float(row["eps"])) for row in csv.DictReader(file)]
    return [entry for entry in listed if (not nets or entry.net in nets) and images in entry.dataset]
