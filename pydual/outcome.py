"""The four outcomes of a query, as values: Attack, RelaxedAttack, Certificate, Unknown.

An ``Attack`` cannot exist without an input, a ``Certificate`` not without an audited proof; everything else says what is
known. People write ``match``::

    match pydual.solve(model, checker):
        case Attack(x=x): ...
        case Certificate(margin=margin): ...
        case RelaxedAttack() as relaxed: print(relaxed.explain())
        case Unknown(reason=reason): ...
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from pydual.certificate import Proof
from pydual.chain_file import ChainProof
from pydual.whole_file import write_whole


@dataclass(frozen=True)
class Bracket:
    """The two players' scores for the worst margin: ``lower`` is the prover's bound, ``upper`` an attained value.

    ``lower`` is computed in floating point and is a proof only where it stands in a ``Certificate``.
    """

    lower: float
    upper: float

    def __str__(self) -> str:
        return f"[{self.lower:.6g}, {self.upper:.6g}]"


@dataclass(frozen=True)
class TracePoint:
    """The bracket after ``seconds`` since the call."""

    seconds: float
    lower: float
    upper: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What all outcomes share. ``statistics`` counts what the proof system did; ``trace`` is the bracket over time."""

    bracket: Bracket
    proof_system: str
    statistics: dict[str, Any]
    trace: tuple[TracePoint, ...]

    def __bool__(self) -> bool:
        raise TypeError("An outcome has no truth value; match on Attack, RelaxedAttack, Certificate and Unknown.")


@dataclass(frozen=True, eq=False, kw_only=True)
class Attack(Outcome):
    """A real input at which the catastrophe happens, re-evaluated outside the search.

    ``x`` (inputs,) lies in the region, in the model's element type where the region has such numbers; ``y`` (outputs,)
    is what the replay gave;
    ``margin`` is at most 0; ``replay`` says what evaluated the model: "onnxruntime" if it came from ONNX; else "exact",
    "float32" if that is the arithmetic, or "float64" where sigmoid and tanh have no exact values.
    """

    x: np.ndarray
    y: np.ndarray
    margin: float
    replay: str


TIGHTER = {
    "interval": "crown, alpha-crown, lp, sdp, bab",
    "crown": "alpha-crown, lp, sdp, bab",
    "alpha-crown": "lp, sdp, bab",
    "lp": "sdp, bab",
    "sdp": "bab, or BranchAndBound(bound=SDP()), whose cells know the phases of some neurons",
    "smt": "smt with exact axioms, bab",
    "sos": "sos of a higher degree, bab",
}


@dataclass(frozen=True)
class Cheat:
    """A neuron whose relaxed output differs from ``max(input, 0)``.

    If the adversary plays a pseudo-distribution, these are means, and ``variance`` is the pseudo-variance of the output: no
    single input has one.
    """

    neuron: str
    pre_activation: float
    relaxed_output: float
    variance: float | None = None

    @property
    def error(self) -> float:
        return self.relaxed_output - max(self.pre_activation, 0.0)

    @property
    def violation(self) -> float:
        """How far the relaxed output is from the real one at the mean input, as the root of the mean square."""
        return math.hypot(self.error, math.sqrt(self.variance or 0.0))

    def __str__(self) -> str:
        output = f"{self.relaxed_output:.4g}"
        if self.variance is not None:
            output += f" with a pseudo-standard deviation of {math.sqrt(self.variance):.2g}"
        real = max(self.pre_activation, 0.0)
        return f"{self.neuron}: input {self.pre_activation:.4g}, real output {real:.4g}, relaxed output {output}"


@dataclass(frozen=True, eq=False, kw_only=True)
class RelaxedAttack(Outcome):
    """The adversary wins in the proof system, and no real attack was found.

    ``x`` is the input that the relaxed adversary plays, ``value`` the relaxed worst margin there (at most 0), ``lifted``
    the least margin of the real model that polishing it found (in float64, before rounding; a margin that rounding or the
    replay spoils is no Attack, however small); ``cheats`` are
    the neurons at which the relaxed adversary leaves the real model, worst first; ``claim`` is what the proof system says
    beside that, without proof.
    """

    x: np.ndarray
    value: float
    lifted: float
    cheats: tuple[Cheat, ...]
    claim: str = ""

    def explain(self) -> str:
        """A few sentences: what the relaxed adversary plays, what it is worth, where it cheats, what lifting gave."""
        lines = [
            f"In the proof system '{self.proof_system}' the adversary wins with a margin of {self.value:.6g}.",
            f"The real model at that input, after polishing, keeps a margin of {self.lifted:.6g}: no real attack was found.",
        ]
        if self.cheats:
            lines.append(f"The relaxed play leaves the real model at {len(self.cheats)} neurons; the worst of them:")
            lines += [f"  {cheat}" for cheat in self.cheats[:5]]
        if self.claim:
            lines.append(self.claim)
        lines.append(f"A tighter proof system ({TIGHTER.get(self.proof_system, 'bab')}) restricts the adversary further.")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, kw_only=True)
class Certificate(Outcome):
    """There is no catastrophe, and ``certificate`` proves it; an audit has accepted it.

    ``margin`` is the proven worst margin (above 0), ``level`` how it was checked: "exact" (rational arithmetic) or "rounded"
    (floating point with directed rounding). ``arithmetic`` is "real" if it is about the network as a function of real
    numbers, "float32" if about every execution of it in 32-bit floating point (PROOFS.md, section 6).
    """

    certificate: Proof | ChainProof
    margin: float
    level: str

    @property
    def arithmetic(self) -> str:
        return self.certificate.arithmetic

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate file (PROOFS.md, section 7)."""
        self.certificate.save(path)


@dataclass(frozen=True, eq=False, kw_only=True)
class Statistical(Outcome):
    """What samples say: a statement that holds with a confidence. It is no proof, and there is no way from it to one.

    ``statement`` is what is claimed, ``holds`` whether that is what was asked for. ``probability`` is the bound,
    ``estimate`` the share that was seen, ``confidence`` how often, at least, such a bound is right (``assuming`` what, if
    anything). Of ``samples`` points of ``sampler``, drawn with ``seed``, ``failures`` were catastrophes: the same call
    finds the same numbers again. ``radius`` is that of randomized smoothing.
    """

    statement: str
    holds: bool
    probability: float
    estimate: float
    confidence: float
    samples: int
    failures: int
    sampler: str
    seed: int
    assuming: str = ""
    radius: float | None = None

    def explain(self) -> str:
        """The statement and how far it can be trusted."""
        assumed = f", assuming that {self.assuming}" if self.assuming else ""
        return (
            f"With {self.confidence:.6g} confidence{assumed}: {self.statement}. ({self.failures} of {self.samples} samples "
            f"were catastrophes; seed {self.seed}.) This is statistical: it is not a proof."
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the numbers as a JSON file, whole or not at all."""
        fields = ("statement", "holds", "probability", "estimate", "confidence", "samples", "failures", "sampler", "seed")
        record = {"kind": "statistical", "proof_system": self.proof_system}
        record |= {name: getattr(self, name) for name in (*fields, "assuming", "radius")}
        write_whole(path, f"{json.dumps(record, indent=1)}\n".encode(), "statement")


@dataclass(frozen=True, eq=False, kw_only=True)
class Unknown(Outcome):
    """The budget ended first: ``reason`` is "timeout", "interrupted", "memory limit: ..." or a sentence.

    ``x`` is the input with the least margin found, or None; ``advice`` says what to try. ``open_fraction``, in [0, 1], is
    how much of the region is not proved, on average over the problems of the query, 0 for those that are: of a search that
    splits inputs the share of the volume of the region's box, of one that splits neurons the sum of 2^-depth over the
    open leaves, 1 before anything is split; None if no search began. Nothing of it is audited.
    """

    reason: str
    advice: str
    x: np.ndarray | None = None
    open_fraction: float | None = None
