"""A case tree: the case distinctions of somebody else's proof, without anything that proves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from pydual.certificate import INPUT_SPLIT, LEAF, NEURON_SPLIT
from pydual.errors import InputError
from pydual.network import Network

MAX_NODES = 2**20
LITERALS = 12  # of a leaf's assumptions that are written out
MAX_PATHS = 2**24  # splits above leaves, over all leaves: what a certificate stores a multiplier for


@dataclass(frozen=True, eq=False)
class CaseTree:
    """Splits of neurons and inputs in preorder, with kinds, numbers and order of children as in PROOFS.md, section 3.

    ``kind`` (N,); ``index`` (N,) is the neuron or input of a split, from 0, and 0 at leaves; ``threshold`` (N,) counts
    only where an input is split; ``names`` (leaves,) say what each leaf is called where the tree comes from, as in
    "leaf 17"; ``source`` names the origin for people. Raises InputError where this is no tree, where a path splits a
    neuron twice, for thresholds that are not finite, and for more than 2**20 nodes.
    """

    kind: tuple[int, ...]
    index: tuple[int, ...]
    threshold: tuple[float, ...]
    names: tuple[str, ...]
    source: str = "a case tree"

    def __post_init__(self) -> None:
        if len(self.kind) > MAX_NODES:
            raise InputError(f"The proof has more than {MAX_NODES} cases; split the property and prove its parts.")
        fits = len(self.kind) == len(self.index) == len(self.threshold)
        if not fits or set(self.kind) - {LEAF, INPUT_SPLIT, NEURON_SPLIT} or min(self.index, default=0) < 0:
            raise InputError("A case tree needs a kind (0, 1 or 2), an index and a threshold for each node.")
        if not all(isfinite(t) for t in self.threshold):
            raise InputError("A case tree splits an input at NaN or infinity; give finite thresholds.")
        self._check_form()

    def _check_form(self) -> None:
        """One pass in preorder; ``path`` are the nodes above, with the number of their children that are still to come."""
        path: list[list[int]] = []
        taken: set[int] = set()
        total = leaves = 0
        for node, kind in enumerate(self.kind):
            if node and not path:
                raise InputError(f"The case tree ends before its node {node}; every split has two children.")
            if kind == NEURON_SPLIT:
                if self.index[node] in taken:
                    raise InputError(f"The case tree splits neuron {self.index[node]} twice on one path.")
                taken.add(self.index[node])
            if kind != LEAF:
                path.append([node, 2])
                continue
            leaves, total = leaves + 1, total + len(taken)
            while path:
                path[-1][1] -= 1
                if path[-1][1]:
                    break
                done, _ = path.pop()
                taken -= {self.index[done]} if self.kind[done] == NEURON_SPLIT else set()
        if path or not self.kind:
            raise InputError("The case tree breaks off; every split has two children.")
        if total > MAX_PATHS:
            raise InputError(f"The paths of the case tree have more than {MAX_PATHS} splits; split the property.")
        if leaves != len(self.names):
            raise InputError(f"The case tree has {leaves} leaves and {len(self.names)} names; name every leaf.")

    @property
    def leaves(self) -> int:
        return len(self.names)

    def check_fit(self, network: Network) -> None:
        """Raises InputError if the tree splits a neuron or an input that the network does not have."""
        for kind, count, what in ((NEURON_SPLIT, network.neurons, "neurons"), (INPUT_SPLIT, network.input_size, "inputs")):
            highest = max((i for i, k in zip(self.index, self.kind, strict=True) if k == kind), default=-1)
            if highest >= count:
                raise InputError(
                    f"The proof splits number {highest + 1} of the {what}, but the network has {count}; "
                    "use the network that the proof belongs to."
                )

    def assumptions(self, leaf: int, neuron_name: Callable[[int], str]) -> str:
        """What holds in a leaf, for people: "relu_1[3] active, x[0] <= 0.5"; the last 12 splits of a longer path."""
        path: list[tuple[int, bool]] = []  # the splits above, and whether their second child is next or under way
        leaves = -1
        for node, kind in enumerate(self.kind):
            if kind != LEAF:
                path.append((node, False))
                continue
            leaves += 1
            if leaves == leaf:
                break
            while path and path[-1][1]:
                path.pop()
            if path:
                path[-1] = (path[-1][0], True)
        words = [self._literal(node, second, neuron_name) for node, second in path[-LITERALS:]]
        return ", ".join(["..."] * (len(path) > LITERALS) + words)

    def _literal(self, node: int, second: bool, neuron_name: Callable[[int], str]) -> str:
        if self.kind[node] == NEURON_SPLIT:
            return f"{neuron_name(self.index[node])} {'active' if second else 'inactive'}"
        return f"x[{self.index[node]}] {'>=' if second else '<='} {self.threshold[node]:.6g}"
