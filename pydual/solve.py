"""The door: ``solve`` checks what it is given, and lets the game begin."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

from pydual.audit import FOLDED
from pydual.audit.query import query_digest
from pydual.budget import Budget
from pydual.certificate import FLOAT32, REAL
from pydual.checker import Checker
from pydual.checkpoint import Binding, Keeper
from pydual.errors import InputError, UnsupportedError
from pydual.game import Game
from pydual.network import Network
from pydual.operators.primitives import Curve
from pydual.outcome import Attack, Certificate, Outcome, RelaxedAttack, Statistical, Unknown
from pydual.progress import Progress
from pydual.proof_systems import ProofSystem, by_name
from pydual.query import Composed, Judge, Lemma, pose
from pydual.relax.engine import single_threaded_blas
from pydual.sampling.system import Question, StatisticalSystem
from pydual.sampling.table import STATISTICAL
from pydual.sampling.verdicts import Judging

if TYPE_CHECKING:
    from concurrent.futures import Executor


def solve(
    model: Network,
    checker: Checker | Judge | Composed,
    proof_system: str | ProofSystem | StatisticalSystem = "auto",
    *,
    arithmetic: str = REAL,
    timeout: float | None = None,
    memory_limit: int | None = None,
    seed: int = 0,
    progress: bool = False,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Attack | RelaxedAttack | Certificate | Statistical | Unknown:
    """Decide whether ``model`` has a catastrophe in the sense of ``checker``.

    ``proof_system`` is a name ("interval", "crown", "alpha-crown", "lp", "sdp", "sos", "bab", "milp", "smt", "enumeration",
    "auto") or an object with its options. ``arithmetic`` "real" speaks of the model as a function of real numbers,
    "float32" of every execution of it in 32-bit floating point, sums taken in any order (PROOFS.md, section 6). ``timeout``
    is in seconds, for search and audit together; ``progress`` shows the bracket on stderr. The result is the same for the
    same seed as long as no timeout strikes. ``executor``, any of ``concurrent.futures``, gets parts of the search
    (proof_systems/subtrees.py): the verdict is as certain, but which proof or attack is found may differ; parts that run at
    the end are not waited for.

    ``memory_limit`` (bytes of this process, looked at between steps), the timeout and Ctrl-C end in ``Unknown`` with the
    bracket. A search that lasts is saved every few seconds in the file ``checkpoint``, and goes on from there if that file
    exists; the file stays, also after a verdict, which the same call then finds again at once.

    A checker that only judges (``black_box``) can only be sampled: "statistical" (``Counting``), "relaxed", and, of
    checkers with margins, "splitting" and "smoothing" end in a ``Statistical``, which is no proof.

    A ``chain`` of trusted models is asked lemma by lemma, each in the time that is left and with a checkpoint of its own
    (``checkpoint``.NAME); its certificate is one file.

    Returns an ``Attack`` (a replayed input), a ``Certificate`` (audited), a ``RelaxedAttack`` (an incomplete proof system
    cannot exclude a catastrophe and none was found) or ``Unknown`` (the budget ended first). Raises InputError for models,
    checkers, checkpoints and options that do not fit.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"The seed is {seed!r}; give an integer that is at least 0.")
    statistical = _statistical(proof_system, checker)
    if isinstance(checker, Composed):
        if statistical is not None or arithmetic != REAL:
            raise InputError("A chain is proved, in real arithmetic; ask anything else of the model and its checker alone.")
        from pydual.composed import solve_lemmas

        options = {"memory_limit": memory_limit, "seed": seed, "progress": progress, "executor": executor}
        return solve_lemmas(model, checker, partial(_ask, proof_system, checkpoint, options), timeout)
    if statistical is not None:
        return _estimate(model, checker, statistical, seed, progress, timeout)
    query, system = pose(model, checker), _system(proof_system)
    _check(query.network, arithmetic)
    keeper = Keeper(checkpoint, Binding(query.network.digest, query_digest(query.checker), arithmetic, system.name))
    with (
        Budget(timeout, memory_limit) as budget,
        single_threaded_blas(),
        _handed(system, executor) as system,
        Progress(progress, system.name) as display,
    ):
        return _played(Game(query, system, arithmetic, seed, display, budget, keeper), budget)


def _played(game: Game, budget: Budget) -> Attack | RelaxedAttack | Certificate | Unknown:
    try:
        return game.play()
    except KeyboardInterrupt:
        if not budget.interrupted:
            raise
        return game.ended_early()  # in the middle of a step: what was saved before it stands


def _handed(system: ProofSystem, executor: Executor | None) -> AbstractContextManager[ProofSystem]:
    """The proof system, at work in an executor's processes if one is given."""
    if executor is None:
        return nullcontext(system)
    from pydual.proof_systems.subtrees import handed_to

    return handed_to(executor, system)


def _ask(proof_system: Any, checkpoint: Any, options: dict[str, Any], lemma: Lemma, left: float | None) -> Outcome:
    """Solve a lemma in the time that is left."""
    place = None if checkpoint is None else f"{os.fspath(checkpoint)}.{lemma.name}"
    return solve(lemma.model, lemma.checker, proof_system, timeout=left, checkpoint=place, **options)


def _statistical(proof_system: object, checker: object) -> StatisticalSystem | None:
    """The statistical system that was asked for, if one was; "auto" is one for a checker that only judges."""
    only_judges = isinstance(checker, Judging) and not isinstance(checker, Judge)
    name = "statistical" if only_judges and proof_system == "auto" else proof_system
    if isinstance(name, str) and name in STATISTICAL:
        return STATISTICAL[name]()
    if isinstance(proof_system, StatisticalSystem):
        return proof_system
    if only_judges:
        raise InputError(f"A black box can only be sampled; use one of the systems {', '.join(STATISTICAL)}.")
    return None


def _estimate(
    model: Network, checker: Any, system: StatisticalSystem, seed: int, progress: bool, timeout: float | None
) -> Attack | Statistical | Unknown:
    if not isinstance(checker, Judging):
        pose(model, checker)
    if checker.region.size != model.input_size:
        raise InputError(
            f"The checker's region has {checker.region.size} inputs, the network {model.input_size}; make them equal."
        )
    with Budget(timeout) as budget, single_threaded_blas(), Progress(progress, system.name) as display:
        question = Question(model, checker, int(seed), budget.left, budget.lasts, budget.elapsed, display.show)
        return system.estimate(question)


def _system(proof_system: object) -> ProofSystem:
    if isinstance(proof_system, str):
        return by_name(proof_system)
    parts = ("name", "complete", "init", "step")
    if isinstance(proof_system, type) or not all(hasattr(proof_system, part) for part in parts):
        raise InputError(f"The proof system is {proof_system!r}; give a name such as 'auto', or an object.")
    return proof_system  # type: ignore[return-value]


def _check(model: Network, arithmetic: str) -> None:
    if arithmetic not in (REAL, FLOAT32):
        raise InputError(f"Unknown arithmetic {arithmetic!r}; use '{REAL}' or '{FLOAT32}'.")
    if arithmetic == FLOAT32 and model.element_type != FLOAT32:
        raise InputError(f"The model computes in {model.element_type}; use arithmetic '{REAL}', or cast it to float32.")
    if arithmetic == FLOAT32 and any(isinstance(p, Curve) and p.kind == "square" for p in model.primitives):
        raise UnsupportedError("Squares and products have no float32 arithmetic here; use arithmetic 'real' for this checker.")
    if arithmetic == FLOAT32 and model.folded:
        raise UnsupportedError(FOLDED.format(model.folded[0]))
