"""Randomized smoothing: what a noisy majority says of a whole l2 ball (Cohen, Rosenfeld, Kolter, ICML 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydual.errors import InputError
from pydual.outcome import Bracket, Statistical, Unknown
from pydual.sampling.binomial import lower_bound
from pydual.sampling.system import BATCH, Question, out_of_time
from pydual.sampling.verdicts import catastrophes


@dataclass(frozen=True)
class Smoothing:
    """Noise of standard deviation ``sigma`` on the center of an l2 ball, ``samples`` times.

    If the checker finds no catastrophe in a share that proves ``p > 1/2`` with ``confidence`` (their algorithm CERTIFY,
    with ``p`` for ``p_A``), the majority under such noise is the same at every input within ``sigma`` times the quantile of
    ``p`` of the standard normal distribution (their theorem 1). That speaks of the majority, the *smoothed* model, and not
    of the model.
    """

    sigma: float = 0.25
    samples: int = 10_000
    confidence: float = 0.999

    name = "smoothing"

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and self.samples >= 1 and 0 < self.confidence < 1):
            raise InputError("Smoothing needs a positive sigma, a number of samples, and a confidence between 0 and 1.")

    def estimate(self, question: Question) -> Statistical | Unknown:
        ball = question.region.ball
        if ball is None or ball.norm != "l2":
            raise InputError("Smoothing looks at l2 balls; make the checker with norm='l2', or use 'statistical'.")
        rng, done, failures = np.random.default_rng(question.seed), 0, 0
        while done < self.samples:
            if not question.lasts():
                return out_of_time(question, self.name, "timeout", f"{failures} of {done} samples are catastrophes.")
            x = ball.center + self.sigma * rng.normal(size=(min(BATCH, self.samples - done), len(ball.center)))
            failures += int(catastrophes(question.model, question.checker, x)[1].sum())
            done += len(x)
            question.show(question.elapsed(), -np.inf, np.inf)
        return self._outcome(question, failures, ball.radius)

    def _outcome(self, question: Question, failures: int, wanted: float) -> Statistical:
        from scipy.special import ndtri

        least = lower_bound(self.samples - failures, self.samples, self.confidence)
        radius = float(self.sigma * ndtri(least)) if least > 0.5 else None
        if radius is None:
            said = f"nothing: the majority under noise of {self.sigma} is not certain at the center"
        else:
            said = f"the majority under noise of {self.sigma} finds no catastrophe within {radius:.4g} of the center"
        return Statistical(
            bracket=Bracket(-np.inf, np.inf), proof_system=self.name, trace=(),
            statistics={"samples": self.samples, "seconds": {"total": question.elapsed()}},
            statement=said, holds=radius is not None and radius >= wanted, probability=1.0 - least,
            estimate=failures / self.samples, confidence=self.confidence, samples=self.samples, failures=failures,
            sampler=f"normal, sigma {self.sigma}", seed=question.seed, radius=radius,
        )  # fmt: skip
