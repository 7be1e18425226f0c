"""The game: the one loop between the players, and the only place that makes verdicts; the clock is the budget's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pydual.attack.lift import Hit, Lifter
from pydual.attack.scatter import Scatter
from pydual.attack.search import NORMAL, QUICK, THOROUGH, Adversary, Effort, Find, may_polish
from pydual.audit import EXACT, ROUNDED, Accepted, audit
from pydual.audit.query import query_digest
from pydual.budget import Budget
from pydual.certificate import FLOAT32, REAL, Proof
from pydual.checkpoint import Checkpoint, Keeper
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.operators.primitives import Affine
from pydual.outcome import Attack, Bracket, Certificate, Cheat, RelaxedAttack, TracePoint, Unknown
from pydual.problem import Problem, normalize
from pydual.progress import Progress
from pydual.proof_systems import ProofSystem
from pydual.proof_systems.base import Play, Snapshot, State, resume, take_snapshot
from pydual.query import Query
from pydual.relax.program import compile_network
from pydual.relax.slack import with_reserve

EXACT_PATIENCE = 0.2  # seconds that an exact audit may always take
EXACT_SHARE = 0.25  # of the time of the solve, that it may take as well
EXACT_SPEED = 5e7  # products a second that an exact audit may hope for; one that is hopeless is not begun
REJECTED = {
    REAL: "The margin may be too small for floating point; please report the model.",
    FLOAT32: "The proof may hold in real arithmetic only: rounding errors of float32 can use up its margin.",
}
CHEAT = 1e-6  # a relaxed output further from the real one than this is reported
LONG = 4.0  # times as long take the products of the numbers in squares
ROW = 4e4  # products in the time that a row takes in any case
RESERVES = (2.0, 16.0, 256.0, 4096.0)  # times the estimated error of float32


class _OutOfTime(Exception):
    """The budget ended inside an audit."""


class _Rejected(Exception):
    """An audit did not accept what the search found."""


@dataclass
class Game:
    """One call of ``solve``: what both players know so far."""

    query: Query
    system: ProofSystem
    arithmetic: str
    seed: int
    display: Progress
    budget: Budget
    keeper: Keeper
    trace: list[TracePoint] = field(default_factory=list)
    lower: float = -np.inf
    upper: float = np.inf
    best: Find | None = None
    claim: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    state: State | None = None
    attempt: int = 0

    def __post_init__(self) -> None:
        self._left, self._elapsed = self.budget.left, self.budget.elapsed
        self.network, self.checker = self.query.network, self.query.checker
        self.problems = normalize(self.network, self.checker)
        self.adversary = Adversary(self.problems, self.seed, self._left)
        self.scatter = Scatter(self.problems, self.seed, self._left)
        self.lifter = Lifter(self.query, self.arithmetic)
        self.statistics: dict[str, Any] = {"problems": len(self.problems), "neurons": compile_network(self.network).neurons}
        if (saved := self.keeper.load()) is not None:
            self.statistics["resumed"] = saved.summary
        self.saved = saved

    def play(self) -> Attack | RelaxedAttack | Certificate | Unknown:
        if hit := self._known_attack() or self._attack(lambda: self.adversary.search(QUICK)) or self._attack_by_rounding():
            return self._attacked(hit)
        if any(not problem.margins for problem in self.problems):
            reason = "The property calls every input of a region a catastrophe, but no input could be replayed."
            return self._unknown(reason, "Look at the bounds of the inputs: perhaps no number of the model's type fits.")
        saved = self.saved
        for attempt, problems in self._questions():
            self.attempt = attempt
            try:
                return self._decide(problems, saved.snapshot if saved else Snapshot())
            except _Rejected as error:
                rejection, saved = error, None
        return self._unknown(str(rejection), REJECTED[self.arithmetic])

    def _questions(self) -> Iterator[tuple[int, tuple[Problem, ...]]]:
        """The problems as they are, twice after a checkpoint: the audit may reject what was in that. For float32 with more
        and more in reserve, from where the checkpoint was, until an audit accepts what was proved."""
        if self.arithmetic == REAL:
            yield from [(0, self.problems)] * (2 if self.saved else 1)
            return
        first = min(max(self.saved.attempt, 0), len(RESERVES) - 1) if self.saved else 0
        for attempt in range(first, len(RESERVES)):
            yield attempt, with_reserve(self.problems, RESERVES[attempt])

    def _decide(self, problems: tuple[Problem, ...], known: Snapshot) -> Attack | RelaxedAttack | Certificate | Unknown:
        state = self.state = resume(self.system, problems, known)
        self._note(state)
        while self.budget.lasts() and not state.finished:
            with self._timed("search"):
                state = self.system.step(state, self._left())
            self.state = state
            self._note(state)
            hit = self._answer(state)
            self.keeper.save(self._checkpoint, now=hit is not None and self.keeper.exists)
            if hit:
                return self._attacked(hit)
        self.keeper.save(self._checkpoint, now=not state.finished or self.keeper.exists)
        return self._end(state)

    # what is saved

    def _checkpoint(self) -> Checkpoint:
        assert self.state is not None
        best = np.zeros((0, self.network.input_size)) if self.best is None else self.best.x[None, :]
        before = self.saved.seconds if self.saved else 0.0
        return Checkpoint(take_snapshot(self.system, self.state), self.attempt, best, before + self._elapsed())

    def _known_attack(self) -> Hit | None:
        """The best input of the search that was saved."""
        best = self.saved.best if self.saved else np.zeros((0, 0))
        return self._attack(lambda: self.adversary.evaluate(best)) if best.shape == (1, self.network.input_size) else None

    # the clock

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - begin

    # the bracket

    def _note(self, state: State) -> None:
        self.statistics[self.system.name] = state.statistics
        self.statistics["open_fraction"] = state.open_fraction
        self.claim = state.claim
        self._bracket(max(self.lower, min(state.bound, self.upper)), self.upper)

    def _bracket(self, lower: float, upper: float) -> None:
        if not self.trace or (lower, upper) != (self.lower, self.upper):
            self.lower, self.upper = lower, upper
            self.trace.append(TracePoint(self._elapsed(), lower, upper))
        self.display.show(self._elapsed(), self.lower, self.upper)

    # the primal player

    def _attack(self, search: Callable[[], list[Find]]) -> Hit | None:
        """Search, keep the best find, and lift what looks like an attack."""
        with self._timed("attack"):
            finds = search()
            if finds and (self.best is None or finds[0].margin < self.best.margin):
                self.best = finds[0]
                self._bracket(min(self.lower, finds[0].margin), min(self.upper, finds[0].margin))
            for find in finds:
                if find.margin <= 0 and (hit := self._lift(find)):
                    return hit
        return None

    def _lift(self, find: Find) -> Hit | None:
        """Replay; where rounding spoils a narrow attack, dig deeper from there."""
        if hit := self.lifter.lift(find.x, find.problem.region):
            return hit
        deeper = self.adversary.polish(find.x[None, :], NORMAL, goal=-np.inf)
        for other in deeper:
            if other.margin <= 0 and (hit := self.lifter.lift(other.x, other.problem.region)):
                return hit
        return None

    def _answer(self, state: State) -> Hit | None:
        """Play the candidates of the last step; polish them, and look elsewhere, while the primal player's shares of the
        time last."""
        hit, proved = None, frozenset(state.trees)
        if len(state.candidates):
            if hit := self._attack(lambda: self.adversary.evaluate(state.candidates)):
                return hit
            if may_polish(self.seconds.get("attack", 0.0) - self.scatter.spent, self._elapsed()):
                hit = self._attack(lambda: self.adversary.polish(state.candidates[:8], Effort(8, 15)))
        return hit or self._attack(lambda: self.scatter.search(self._elapsed(), skip=proved))

    # the verdicts

    def _end(self, state: State) -> RelaxedAttack | Certificate | Attack | Unknown:
        if state.proved:
            return self._certify(state)
        if not state.finished:
            return self.ended_early()
        play = state.relaxed_attack
        if hit := self._last_attempt(play, state):
            return self._attacked(hit)
        if play is not None and not self.system.complete and np.isfinite(play.value):
            return self._relaxed(play)
        reason = state.obstacle or "The search ended without a proof: some cells could neither be proved nor attacked."
        return self._unknown(reason, "The margin may be zero or too small for floating point; try another proof system.")

    def _last_attempt(self, play: Play | None, state: State) -> Hit | None:
        if self._left() <= 0:
            return None
        proved = frozenset(state.trees)
        if play is not None and (hit := self._attack(lambda: self.adversary.polish(play.x[None, :], THOROUGH))):
            return hit
        return self._attack(lambda: self.adversary.search(THOROUGH, skip=proved))

    def _certify(self, state: State) -> Certificate | Unknown:
        trees = tuple(state.trees[problem.index] for problem in self.problems)
        try:
            proof = Proof.of(self.network.digest, query_digest(self.checker), trees, self.arithmetic)
            with self._timed("audit"):
                accepted = self._audited(proof)
        except _OutOfTime:
            return self.ended_early()
        except CertificateError as error:
            raise _Rejected(f"The search believes in a proof, but the audit rejects it: {error}") from None
        self.statistics["leaves"] = proof.leaves
        self._bracket(max(self.lower, min(accepted.margin, self.upper)), self.upper)
        common = self._common(Bracket(min(accepted.margin, self.upper), self.upper))
        return Certificate(**common, certificate=proof, margin=accepted.margin, level=accepted.level)

    def _attack_by_rounding(self) -> Hit | None:
        """The best input in real arithmetic, replayed: in float32, rounding errors alone may make it a catastrophe."""
        if self.best is None or self.arithmetic == REAL:
            return None
        return self.lifter.lift(self.best.x, self.best.problem.region)

    def _audited(self, proof: Proof) -> Accepted:
        """Rounded first; exact too where that takes much less than the solve did, or where rounding spoils the proof."""
        solved = self._elapsed()
        allowed = max(EXACT_SHARE * solved, EXACT_PATIENCE)

        def in_time() -> None:
            if self._left() <= 0:
                raise _OutOfTime

        if any(len(tree.sos_sizes) for tree in proof.trees):  # which the rounded audit does not know
            return audit(proof, self.network, self.checker, level=EXACT, deadline=in_time)

        def patient() -> None:
            in_time()
            if self._elapsed() - begin > allowed:
                raise _OutOfTime

        anchors = sum(int(np.count_nonzero(tree.anchor)) for tree in proof.trees)
        cases = sum(int(np.count_nonzero(refinement.case_splits < 0)) for refinement in proof.refinements)
        rows = 2 * anchors * compile_network(self.network).units + cases + proof.leaves  # to be substituted back, at most
        work = float(rows * self.network.connections)
        work += _norm_work(self.network) if any(len(tree.curvatures) for tree in proof.trees) else 0.0
        grams = sum(_gram_work(tree.product_counts, self.network) for tree in proof.trees)
        try:
            rounded = audit(proof, self.network, self.checker, level=ROUNDED, deadline=in_time)
        except CertificateError:
            if work > EXACT_SPEED * max(solved, EXACT_PATIENCE):
                raise
            return audit(proof, self.network, self.checker, level=EXACT, deadline=in_time)
        if work + grams > EXACT_SPEED * allowed:
            return rounded
        begin = self._elapsed()
        try:
            return audit(proof, self.network, self.checker, level=EXACT, deadline=patient)
        except _OutOfTime:
            return rounded

    def _attacked(self, hit: Hit) -> Attack:
        upper = min(self.upper, hit.margin)
        common = self._common(Bracket(min(self.lower, upper), upper))
        return Attack(**common, x=hit.x, y=hit.y, margin=hit.margin, replay=hit.replay)

    def _relaxed(self, play: Play) -> RelaxedAttack:
        lifted = self.best.margin if self.best is not None else np.inf
        cheats = _cheats(self.network, play)
        common = self._common()
        return RelaxedAttack(**common, x=play.x, value=play.value, lifted=lifted, cheats=cheats, claim=self.claim)

    def ended_early(self) -> Unknown:
        """The budget was used up."""
        return self._unknown(self.budget.reason, self.budget.advice)

    def _unknown(self, reason: str, advice: str) -> Unknown:
        advice = f"{self.claim} {advice}".strip()
        x = None if self.best is None else self.best.x
        share = None if self.state is None else self.state.open_fraction
        return Unknown(**self._common(), reason=reason, advice=advice, x=x, open_fraction=share)

    def _common(self, bracket: Bracket | None = None) -> dict[str, Any]:
        if self.keeper.error:
            self.statistics["checkpoint"] = self.keeper.error
        self.statistics["seconds"] = {**self.seconds, "total": self._elapsed()}
        return {
            "bracket": bracket or Bracket(self.lower, self.upper),
            "proof_system": self.system.name,
            "statistics": self.statistics,
            "trace": tuple(self.trace),
        }


def _norm_work(network: Network) -> float:
    """Of the norms of all matrices: products of their rows, and a Cholesky factor."""
    sides = (sorted(m.shape) for p in network.primitives if isinstance(p, Affine) for _, m in p.terms)
    return float(sum(less**2 * (more / 2 + less / 3) for less, more in sides))


def _gram_work(products: np.ndarray, network: Network) -> float:
    """Of Gram leaves with so many products, five for each kept neuron and one for each input at most: kept neurons' rows, and
    squares below them."""
    kept = np.maximum(products - network.input_size, 0) / 5.0
    return float(np.sum(kept * (network.connections + ROW) + LONG * kept**2 * (network.input_size + kept)))


def _cheats(network: Network, play: Play) -> tuple[Cheat, ...]:
    """The neurons at which the play leaves the real model, the largest error first."""
    program = compile_network(network)
    variances = [None] * len(play.y) if play.spread is None else (play.spread**2).tolist()
    neurons = zip(range(len(play.y)), play.y.tolist(), play.z.tolist(), variances, strict=True)
    cheats = [Cheat(program.neuron_name(n), y, z, variance) for n, y, z, variance in neurons]
    return tuple(sorted((c for c in cheats if c.violation > CHEAT), key=lambda c: -c.violation))
