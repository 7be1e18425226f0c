"""A certificate of one network says nothing of another, however near: by a bit of a weight, a bias, a node more."""

from dataclasses import replace

import numpy as np
from forging import SPLITS, Forge, model

QUESTION = SPLITS
REASON = "another network"
FIRST, LAST = ([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [1.0])
ONE_BIT = float(np.nextafter(np.float32(1), np.float32(2)))


def against(other: bytes) -> Forge:
    return lambda true: (true.file, replace(true, model=other))


FORGERIES = {
    "a weight": against(model([([[ONE_BIT], [-1.0]], [0.0, 0.0]), LAST], "Relu")),
    "a bias": against(model([([[1.0], [-1.0]], [0.0, 1e-45]), LAST], "Relu")),
    "neurons exchanged": against(model([([[-1.0], [1.0]], [0.0, 0.0]), ([[-1.0, 1.0]], [1.0])], "Relu")),
    "another activation": against(model([FIRST, LAST], "Sigmoid")),
    "one more layer": against(model([FIRST, LAST, ([[1.0]], [0.0])], "Relu", "Identity")),
}
