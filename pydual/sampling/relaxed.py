"""Relaxed attacks before an external judge: the adversary samples from a relaxation, the checker sees what it plays.

A black box has no margin to be minimized. So the adversary minimizes random linear functions of inputs and outputs over the
relaxation of a proof system, and plays the best points, and mixtures of them: a relaxation is convex. Where its best plays are
pseudo-distributions, as in "sdp" and "sos", it draws from the Gaussian distributions that have their moments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from pydual.checker import Atom, Checker, Linear
from pydual.errors import InputError, UnsupportedError
from pydual.network import Network
from pydual.outcome import Attack, Bracket, Statistical, Unknown
from pydual.problem import normalize
from pydual.proof_systems.base import Play, ProofSystem
from pydual.proof_systems.lp import TriangleLP
from pydual.relax.program import compile_network
from pydual.sampling.binomial import upper_bound
from pydual.sampling.system import Question, attack_at, out_of_time
from pydual.sampling.verdicts import Judging


@dataclass(frozen=True)
class Relaxed:
    """``directions`` random linear functions, minimized by ``system``, and ``samples`` mixtures of two best points, or draws
    from best pseudo-distributions. ReLU networks only.

    Says how many of these *relaxed* pairs the checker calls a catastrophe. If the real output at such an input is one, too, it
    is an attack. If none is, no attack on the relaxation of this kind was met: that is a statement about the sampler.
    """

    system: ProofSystem = field(default_factory=TriangleLP)
    directions: int = 20
    samples: int = 1000
    confidence: float = 0.99

    name = "relaxed"

    def estimate(self, question: Question) -> Statistical | Attack | Unknown:
        if not isinstance(question.checker, Judging):
            raise InputError(
                "The system 'relaxed' needs a checker that judges outputs itself: a black box or a traced function."
            )
        if not question.model.piecewise_linear:
            raise UnsupportedError("The system 'relaxed' knows ReLU networks only; use 'statistical'.")
        rng, plays = np.random.default_rng(question.seed), list[Play]()
        for done in range(self.directions):
            if not question.lasts():
                return out_of_time(question, self.name, "timeout", f"{done} of {self.directions} directions were played.")
            plays += self._play(question, rng.normal(size=question.region.size), rng.normal(size=question.model.output_size))
        if not plays:
            raise InputError(f"The proof system '{self.system.name}' left no relaxed play; use another one, such as 'lp'.")
        x, y = self._pairs(plays, rng)
        bad = question.checker.judge(x, y)
        for row in np.flatnonzero(bad)[:100]:
            hit = attack_at(question, self.name, x[row], len(x))
            if hit is not None:
                return hit
        return self._outcome(question, int(bad.sum()), len(x))

    def _pairs(self, plays: list[Play], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The best plays' inputs and outputs, and those of the samples."""
        network = plays[0].problem.network
        x, z = np.array([play.x for play in plays]), np.array([play.z for play in plays])
        drawn = [play.draw for play in plays if play.draw is not None]
        if drawn:
            often = rng.multinomial(self.samples, np.full(len(drawn), 1 / len(drawn)))
            more = [draw(rng, int(n)) for draw, n in zip(drawn, often, strict=True) if n]
            x, z = (np.concatenate([best, *rest]) for best, rest in zip((x, z), zip(*more, strict=True), strict=True))
        else:
            (i, j), share = rng.integers(len(x), size=(2, self.samples)), rng.random((self.samples, 1))
            x, z = (np.concatenate([best, share * best[i] + (1 - share) * best[j]]) for best in (x, z))
        return x, _outputs(network, x, z)

    def _play(self, question: Question, inputs: np.ndarray, outputs: np.ndarray) -> list[Play]:
        """The relaxed play at which a linear function of inputs and outputs is least; the center attains its threshold."""
        region, model = question.region, question.model
        middle = (region.lower + region.upper) / 2 if region.ball is None else region.ball.center
        center = np.clip(middle, region.lower, region.upper)
        value = float(inputs @ center + outputs @ model.evaluate(center))
        margin = Linear(_terms(inputs), _terms(outputs), Fraction(-value))
        problems = normalize(model, Checker(region, Atom(margin)))
        state = self.system.init(problems)
        while not state.finished and question.lasts():
            state = self.system.step(state, question.left())
        return list(state.plays.values())

    def _outcome(self, question: Question, failures: int, samples: int) -> Statistical:
        bound = upper_bound(failures, samples, self.confidence)
        return Statistical(
            bracket=Bracket(-np.inf, np.inf), proof_system=self.name, trace=(),
            statistics={"samples": samples, "seconds": {"total": question.elapsed()}},
            statement=f"a relaxed pair of '{self.system.name}' is a catastrophe with a probability of at most {bound:.3g}",
            holds=failures == 0, probability=bound, estimate=failures / samples, confidence=self.confidence,
            assuming="relaxed pairs are drawn as here: in random directions", samples=samples,
            failures=failures, sampler=f"relaxed by {self.system.name}", seed=question.seed,
        )  # fmt: skip


def _terms(weights: np.ndarray) -> dict[int, Fraction]:
    return {i: Fraction(c) for i, c in enumerate(weights.tolist())}


def _outputs(network: Network, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The outputs (points, outputs) where the inputs are ``x`` and the neurons' outputs ``z``, whatever they read."""
    program = compile_network(network)
    values = [x, *np.split(z, np.cumsum(program.sizes)[:-1], axis=1)] if program.sizes else [x]
    terms = [values[s] if m is None else (m @ values[s].T).T for s, m in program.outputs.terms.items()]
    return np.asarray(program.outputs.bias + sum(terms))
