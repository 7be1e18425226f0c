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
    """The search over one frame; a step consumes it. ``queues`` of the problems are ordered by bound, the worst first.

    ``open_share`` of each problem: the sum of ``2^-depth`` over its open leaves. ``work``: evaluations of a network's lines
    in this frame, which took ``seconds``.
    """

    frame: Frame
    recorders: list[TreeRecorder]
    unseen: list[Unseen]
    open_share: list[float] = field(init=False)
    queues: list[list[tuple[float, int, Node]]] = field(init=False)
    stuck: set[int] = field(default_factory=set)
    pushed: int = 0
    outlook: Outlook = field(default_factory=Outlook)
    work: float = 0.0
    seconds: float = 0.0
    cases: int = 1

    def __post_init__(self) -> None:
        self.open_share = [0.0] * len(self.recorders)
        self.queues = [[] for _ in self.recorders]
        for node in self.unseen:
            self.open_share[node.problem] += ldexp(1.0, -len(node.path))

    def restart(self, frame: Frame, cases: int) -> None:
        """Begin anew in a frame with other intervals, of so many cases, with the problems that are not proved."""
        self.frame, self.cases, self.outlook, self.work = frame, cases, self.outlook.restarted(), 0.0
        self.seconds = 0.0
        problems = {p for p, queue in enumerate(self.queues) if queue} | self.stuck | {node.problem for node in self.unseen}
        self.unseen = [Unseen(problem, 0) for problem in sorted(problems)]
        for problem in problems:
            self.recorders[problem] = new_recorder(frame)
            self.open_share[problem] = 1.0
            self.queues[problem].clear()
        self.stuck.clear()

    @property
    def is_new(self) -> bool:
        """Whether nothing is bounded yet, with intervals by adaptive lines."""
        untouched = not self.pushed and not any(node.path for node in self.unseen)
        return untouched and self.frame.anchor == certificate.ADAPTIVE

    @property
    def ended(self) -> bool:
        return not self.open_nodes and not self.unseen

    @property
    def open_nodes(self) -> int:
        return sum(map(len, self.queues))

    def worst(self, problem: int) -> float:
        """The worst bound of the problem's open nodes, of which there must be some."""
        return self.queues[problem][0][0]

    @property
    def worst_of_all(self) -> float:
        return min(queue[0][0] for queue in self.queues if queue)

    def close(self, problem: int, place: int, leaf: Leaf) -> None:
        self.recorders[problem].close(place, leaf)
        self.open_share[problem] -= ldexp(1.0, -len(leaf.betas))

    def push(self, node: Node) -> None:
        self.pushed += 1
        heapq.heappush(self.queues[node.problem], (node.bound, self.pushed, node))

    def drop(self, problems: set[int]) -> None:
        """Forget the open nodes of these problems."""
        for problem in problems:
            self.queues[problem].clear()
        self.unseen = [node for node in self.unseen if node.problem not in problems]

    def pop(self, count: int) -> list[Node]:
        """So many of the nodes with the worst bounds."""
        heads = [(queue[0][0], problem) for problem, queue in enumerate(self.queues) if queue]
        heapq.heapify(heads)
        popped: list[Node] = []
        while heads and len(popped) < count:
            queue = self.queues[heads[0][1]]
            popped.append(heapq.heappop(queue)[2])
            if queue:
                heapq.heapreplace(heads, (queue[0][0], heads[0][1]))
            else:
                heapq.heappop(heads)
        return popped
