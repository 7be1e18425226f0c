"""What a search has seen of its tree, and how large it expects the tree to become.

Best first, the worst bound rises about linearly in the logarithm of the number of nodes: each level doubles the nodes and
gains as much as the one before. So a tree whose root is at ``-r`` and has risen by ``g`` in ``n`` nodes needs
``n ** (r / g)`` of them; several trees are taken for equally large.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log2

import numpy as np

FEWEST = 16  # nodes of a tree that tell something
MOST_LEVELS = 1000.0  # of a tree that counts as finite
HOPED = 0.5  # what is left of a root's distance from zero with the next intervals, before any have been seen


@dataclass
class Outlook:
    """``root``: the worst bound of the roots in the present frame; ``before``: in the last one; ``nodes``: bounded so far;
    ``trees``: that are not proved by their roots."""

    root: float = inf
    before: float = -inf
    nodes: int = 0
    trees: int = 0

    def seen_roots(self, bounds: np.ndarray) -> None:
        """The roots of trees."""
        self.nodes += len(bounds)
        self.trees += int((bounds <= 0).sum())
        self.root = float(min(self.root, bounds.min(initial=inf)))

    def restarted(self) -> Outlook:
        """In a new frame."""
        return Outlook(before=self.root)

    def saved(self, worst: float) -> float:
        """The nodes that other intervals are expected to save if they help as much as the last ones did, from the worst bound
        that is open."""
        left = self.root / self.before if -inf < self.before < 0 else HOPED
        if self.nodes < FEWEST * self.trees or self.root >= 0 or left >= 1:
            return 0.0
        gained = worst - self.root
        levels = log2(self.nodes / self.trees) * -self.root / gained if gained > 0 else inf
        return inf if levels > MOST_LEVELS else self.trees * (2.0**levels - 2.0 ** (left * levels))
