"""Independent samples: how likely is a catastrophe at most (Clopper and Pearson 1934)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pydual.errors import InputError
from pydual.outcome import Attack, Bracket, Statistical, Unknown
from pydual.sampling.binomial import samples_needed, upper_bound
from pydual.sampling.sampler import Points, Uniform
from pydual.sampling.system import BATCH, Question, attack_at, out_of_time
from pydual.sampling.verdicts import catastrophes


@dataclass(frozen=True)
class Counting:
    """So many samples that ``failures`` catastrophes among them still show, with ``confidence``, a ``probability`` at most.

    The number is fixed in advance, so the confidence is exact. The probability is that of a catastrophe at a point that
    the sampler draws.

    Where no failures are allowed, the first catastrophe is an attack. ``sampler`` is a function of a numpy generator and a
    number of points; by default points are uniform in the region.
    """

    probability: float = 1e-3
    confidence: float = 0.99
    failures: int = 0
    sampler: Points | None = None

    name = "statistical"

    def __post_init__(self) -> None:
        for name in ("probability", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"The {name} is {getattr(self, name)}; give a number between 0 and 1.")
        if not (isinstance(self.failures, int) and self.failures >= 0):
            raise InputError(f"The number of failures is {self.failures!r}; give an integer that is at least 0.")

    def estimate(self, question: Question) -> Statistical | Attack | Unknown:
        points = self.sampler or Uniform(question.region)
        wanted = samples_needed(self.failures, self.probability, self.confidence)
        done = failures = 0
        rng = np.random.default_rng(question.seed)
        while done < wanted:
            if not question.lasts():
                return out_of_time(question, self.name, "timeout", f"{failures} of {done} samples are catastrophes.")
            x = checked(points(rng, min(BATCH, wanted - done)), question)
            bad = catastrophes(question.model, question.checker, x)[1]
            for row in np.flatnonzero(bad)[:8] if self.failures == 0 else ():
                hit = attack_at(question, self.name, x[row], done + int(row) + 1)
                if hit is not None:
                    return hit
            done, failures = done + len(x), failures + int(bad.sum())
            question.show(question.elapsed(), -np.inf, np.inf)
        return self._outcome(question, failures, done, getattr(points, "name", getattr(points, "__name__", "sampler")))

    def _outcome(self, question: Question, failures: int, samples: int, sampler: str) -> Statistical:
        bound = upper_bound(failures, samples, self.confidence)
        return Statistical(
            bracket=Bracket(-np.inf, np.inf), proof_system=self.name, trace=(),
            statistics={"samples": samples, "seconds": {"total": question.elapsed()}},
            statement=f"a point of the sampler '{sampler}' is a catastrophe with a probability of at most {bound:.3g}",
            holds=bound <= self.probability, probability=bound, estimate=failures / samples, confidence=self.confidence,
            samples=samples, failures=failures, sampler=sampler, seed=question.seed,
        )  # fmt: skip


def checked(x: Any, question: Question) -> np.ndarray:
    """Points of a sampler; InputError if they are none of the region."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != question.model.input_size or not np.isfinite(x).all():
        raise InputError(f"The sampler returned an array of shape {x.shape}; give finite points of shape (points, inputs).")
    if not ((x >= question.region.lower) & (x <= question.region.upper)).all():
        raise InputError("The sampler returned points outside of the region's box; clip them, or give a larger region.")
    return x
