"""Trees as deep as they have nodes, for readers that go down by recursion or copy the path at each node."""

import numpy as np
from forging import EASY, Forge, with_columns

QUESTION = EASY
REASON = "ends before it covers|bound"
SPLITS = 50_000


def caterpillar(kind: list[int], weight: float = 1.0, threshold: float = 2.0) -> Forge:
    leaves, splits = kind.count(0), kind.count(1)
    weights = np.ones((leaves, 2))
    weights[-1] = weight
    return with_columns(
        kind=kind, index=np.zeros(splits, np.int32), threshold=np.full(splits, threshold), anchor=[3] + [0] * (len(kind) - 1),
        lines=np.full(leaves, -1), multipliers=weights, split_multipliers=[],
    )  # fmt: skip


DOWN, RIGHT = [1] * SPLITS + [0] * SPLITS, [1, 0] * SPLITS
FORGERIES = {
    "to the left, without its last leaf": caterpillar(DOWN),
    "to the right, without its last leaf": caterpillar(RIGHT),
    "the box is in its last leaf, which proves nothing": caterpillar([*RIGHT, 0], weight=0.0, threshold=-2.0),
}
