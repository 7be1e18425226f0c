"""Multilevel splitting: the probability of catastrophes that samples never meet (Webb, Rainforth, Teh, Kumar, ICLR 2019).

Levels ``L_1 > L_2 > ... > 0`` of the margin are chosen so that a share ``keep`` of the points of one level is below the next:
``P(margin <= 0)`` is the product of the conditional probabilities (their section 3.2, with our margin for ``-s(x)``).
Points of a level are moved by Metropolis-Hastings steps that leave the uniform distribution on that level as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydual.errors import InputError
from pydual.outcome import Attack, Bracket, Statistical, Unknown
from pydual.sampling.binomial import upper_bound
from pydual.sampling.sampler import Uniform, near
from pydual.sampling.system import Question, attack_at, out_of_time
from pydual.sampling.verdicts import scores


@dataclass(frozen=True)
class Splitting:
    """``particles`` points a level, of which a share ``keep`` goes on, and ``moves`` steps of each to the next level.

    Ends where the estimate falls below ``least``, or where no point gets below a level (a plateau of the margin, or a least
    margin that is above 0). Checkers need margins: a black box has none.

    The bound multiplies those of the levels, each with its share of what ``confidence`` leaves: it assumes that the points
    of a level are independent, which Markov chains only approach.
    """

    particles: int = 1000
    keep: float = 0.1
    moves: int = 20
    confidence: float = 0.99
    least: float = 1e-30

    name = "splitting"

    def __post_init__(self) -> None:
        if not (self.particles >= 10 and self.moves >= 1):
            raise InputError("Splitting needs at least 10 particles and 1 move a level.")
        if not (0 < self.keep < 1 and 0 < self.confidence < 1 and 0 < self.least < 1):
            raise InputError("The share to keep, the confidence and the least probability are numbers between 0 and 1.")

    def estimate(self, question: Question) -> Statistical | Attack | Unknown:
        if question.region.points is not None:
            raise InputError("Splitting moves points a little, and a list has none in between; use 'statistical' or 'auto'.")
        rng = np.random.default_rng(question.seed)
        x = Uniform(question.region)(rng, self.particles)
        margin = scores(question.model, question.checker, x)
        counts, width, drawn, level = list[int](), 0.5, self.particles, np.inf
        while True:
            below, last, level = int((margin <= 0).sum()), level, max(float(np.quantile(margin, self.keep)), 0.0)
            if below >= self.keep * self.particles or self._estimate(counts) < self.least or level >= last:
                return self._outcome(question, counts, below, drawn, x[margin.argmin()])
            if not question.lasts():
                done = f"The probability is below about {self._estimate(counts):.1e}, as far as it was looked at."
                return out_of_time(question, self.name, "timeout", done)
            kept = np.flatnonzero(margin <= level)
            counts.append(len(kept))
            chosen = rng.choice(kept, self.particles)
            x, margin, width = self._moved(question, rng, x[chosen], margin[chosen], level, width)
            drawn += self.moves * self.particles
            question.show(question.elapsed(), -np.inf, np.inf)

    def _estimate(self, counts: list[int]) -> float:
        return float(np.prod([count / self.particles for count in counts]))

    def _moved(
        self, question: Question, rng: np.random.Generator, x: np.ndarray, margin: np.ndarray, level: float, width: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Steps of a random walk in the region, at or below the level; the width aims at a third of them accepted."""
        region = question.region
        size = region.upper - region.lower
        for _ in range(self.moves):
            new = x + width * size * rng.normal(size=x.shape)
            if region.integers is not None:
                new = np.where(region.integers, np.rint(new), new)
            inside = ((new >= region.lower) & (new <= region.upper)).all(axis=1)
            if region.ball is not None:
                inside &= near(new, region.ball)
            found = np.full(len(x), np.inf)
            found[inside] = scores(question.model, question.checker, new[inside]) if inside.any() else found[inside]
            taken = found <= level
            x, margin = np.where(taken[:, None], new, x), np.where(taken, found, margin)
            width = float(np.clip(width * np.exp(taken.mean() - 1 / 3), 1e-9, 1.0))
        return x, margin, width

    def _outcome(self, question: Question, counts: list[int], below: int, drawn: int, worst: np.ndarray) -> Statistical:
        share = 1.0 - (1.0 - self.confidence) / (len(counts) + 1)
        bound = float(np.prod([upper_bound(n, self.particles, share) for n in [*counts, below]]))
        found = self._estimate(counts) * below / self.particles
        real = attack_at(question, self.name, worst, drawn) is not None
        if below:
            said = (
                f"a uniform point of the region is a catastrophe with a probability of at most {bound:.3g}; about {found:.3g}"
            )
        else:
            said = f"a uniform point of the region is a catastrophe with a probability of at most {bound:.3g}; none was met"
        return Statistical(
            bracket=Bracket(-np.inf, np.inf), proof_system=self.name, trace=(),
            statistics={"levels": len(counts), "samples": drawn, "attacked": real, "seconds": {"total": question.elapsed()}},
            statement=said, holds=not below, probability=bound, estimate=found, confidence=self.confidence,
            assuming="the points of each level are independent", samples=drawn, failures=below, sampler="uniform",
            seed=question.seed,
        )  # fmt: skip
