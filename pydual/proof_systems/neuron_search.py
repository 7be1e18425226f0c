"""A search over the phases of neurons, as data: its frame, its open nodes, its proofs so far."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from math import ldexp

import numpy as np

from pydual import certificate
from pydual.proof_systems.duals import Nodes, new_recorder
from pydual.proof_systems.outlook import Outlook
from pydual.proof_systems.recorder import Leaf, TreeRecorder
from pydual.relax.frame import Frame
from pydual.relax.gram_inherited import Ended


@dataclass(frozen=True, eq=False)
class Node:
    """An open node: its problem and place in the tree, the units of the fixed neurons with their phases, the duals found
    so far, the units that may be split next, -1 for none, and where an ascent in degree 2 ended, if there was one."""

    problem: int
    place: int
    path: tuple[int, ...]
    phases: tuple[int, ...]
    alpha: np.ndarray
    beta: np.ndarray
    weights: np.ndarray
    curvature: np.ndarray
    bound: float
    candidates: np.ndarray
    ended: Ended | None = None


@dataclass(frozen=True, eq=False)
class Unseen:
    """A node that is still to be bounded: a root, or an open leaf of a tree that is resumed."""

    problem: int
    place: int
    path: tuple[int, ...] = ()
    phases: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Batch:
    """Nodes to be bounded, with their places in the trees, and the neurons split above them with their phases."""

    nodes: Nodes
    places: list[int]
    paths: list[tuple[int, ...]]
    phases: list[tuple[int, ...]]


@dataclass(eq=False)
class Search:
    """The search over one frame; a step consumes it. ``queue`` is ordered by bound, the worst first.

    ``open_share`` of each problem: the sum of ``2^-depth`` over its open leaves.
    """

    frame: Frame
    recorders: list[TreeRecorder]
    unseen: list[Unseen]
    open_share: list[float] = field(init=False)
    queue: list[tuple[float, int, Node]] = field(default_factory=list)
    open_nodes: dict[int, int] = field(default_factory=dict)
    stuck: set[int] = field(default_factory=set)
    pushed: int = 0
    outlook: Outlook = field(default_factory=Outlook)
    cases: int = 1

    def __post_init__(self) -> None:
        self.open_share = [0.0] * len(self.recorders)
        for node in self.unseen:
            self.open_share[node.problem] += ldexp(1.0, -len(node.path))

    def restart(self, frame: Frame, cases: int) -> None:
        """Begin anew in a frame with other intervals, of so many cases, with the problems that are not proved."""
        self.frame, self.cases, self.outlook = frame, cases, self.outlook.restarted()
        problems = {p for p, count in self.open_nodes.items() if count} | self.stuck | {node.problem for node in self.unseen}
        self.unseen = [Unseen(problem, 0) for problem in sorted(problems)]
        for problem in problems:
            self.recorders[problem] = new_recorder(frame)
            self.open_share[problem] = 1.0
        self.queue.clear()
        self.open_nodes.clear()
        self.stuck.clear()

    @property
    def is_new(self) -> bool:
        """Whether nothing is bounded yet, with intervals by adaptive lines."""
        untouched = not self.pushed and not any(node.path for node in self.unseen)
        return untouched and self.frame.anchor == certificate.ADAPTIVE

    @property
    def ended(self) -> bool:
        return not self.queue and not self.unseen

    def close(self, problem: int, place: int, leaf: Leaf) -> None:
        self.recorders[problem].close(place, leaf)
        self.open_share[problem] -= ldexp(1.0, -len(leaf.betas))

    def push(self, node: Node) -> None:
        self.pushed += 1
        self.open_nodes[node.problem] = self.open_nodes.get(node.problem, 0) + 1
        heapq.heappush(self.queue, (node.bound, self.pushed, node))

    def drop(self, problems: set[int]) -> None:
        """Forget the open nodes of these problems."""
        self.queue = [entry for entry in self.queue if entry[2].problem not in problems]
        self.unseen = [node for node in self.unseen if node.problem not in problems]
        heapq.heapify(self.queue)
        self.open_nodes |= dict.fromkeys(problems, 0)

    def pop(self, count: int) -> list[Node]:
        popped = [heapq.heappop(self.queue)[2] for _ in range(min(count, len(self.queue)))]
        for node in popped:
            self.open_nodes[node.problem] -= 1
        return popped
