"""Queries: what the engines are asked, a network and a condition, and how it came from a model and a catastrophe checker.

A checker that is only a condition asks about the model itself. One that computes (a Python function, another network) is a
*judge*: its computation becomes a network of its own, which is appended to the model, so that the adversary relaxes both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pydual.checker import Checker
from pydual.errors import InputError
from pydual.network import Network
from pydual.region import Region


@dataclass(frozen=True, eq=False)
class Runs:
    """Several runs of a model at inputs that depend on one ``u``: run ``k`` reads ``inputs[k] @ u``, and ``u`` is ``found``
    times these inputs, one after the other. Entries are -1, 0 and 1. The inputs of all runs lie in ``region``.
    """

    inputs: tuple[np.ndarray, ...]
    found: np.ndarray
    region: Region


@dataclass(frozen=True, eq=False)
class Query:
    """Is there an input of ``checker.region`` at which ``checker.catastrophe`` holds of inputs and outputs of ``network``?

    ``model`` is what is asked about, and ``runs`` how often and where it runs. ``judge`` maps the input of ``network``,
    followed by the outputs of all runs, to what the checker computes of them; the outputs of ``network`` are those of all
    runs, followed by those of the judge. Without a judge and with one run, ``network`` is the model.
    """

    network: Network
    checker: Checker
    model: Network
    judge: Network | None = None
    runs: Runs | None = None


@runtime_checkable
class Judge(Protocol):
    """A catastrophe checker that computes: what ``solve`` and ``audit`` take beside a ``Checker``."""

    @property
    def region(self) -> Region: ...

    def query(self, model: Network) -> Query:
        """The question that it asks about ``model``; InputError where they do not fit. The same for the same model."""
        ...


@dataclass(frozen=True, eq=False)
class Lemma:
    """One of the questions whose answers make a proof together; ``name`` is that of its certificate."""

    name: str
    model: Network
    checker: Checker | Judge


@runtime_checkable
class Composed(Protocol):
    """The question ``checker`` about a model, answered by others: if no lemma has a catastrophe, nor has the model.

    The margin that is proved of the last lemma is one of the model.
    """

    @property
    def checker(self) -> Checker | Judge: ...

    def lemmas(self, model: Network) -> tuple[Lemma, ...]:
        """In the order in which they are asked. Raises InputError where they do not fit the model."""
        ...


class PosedOnce(ABC):
    """A judge that remembers what it asked: the same query for the same model."""

    @cached_property
    def _queries(self) -> dict[Network, Query]:
        return {}

    def query(self, model: Network) -> Query:
        """What it asks about ``model``. Raises InputError where they do not fit."""
        if model not in self._queries:
            self._queries[model] = self._posed(model)
        return self._queries[model]

    @abstractmethod
    def _posed(self, model: Network) -> Query: ...


def pose(model: Network, checker: Any) -> Query:
    """The query of a ``Checker`` or ``Judge`` about a model. Raises InputError for anything else, or where they do not fit."""
    if not isinstance(model, Network):
        raise InputError(f"The model is a {type(model).__name__}; load it with pydual.load, from_torch or from_sklearn.")
    if isinstance(checker, Checker):
        return Query(model, checker, model)
    if not isinstance(checker, Judge):
        kind = type(checker).__name__
        raise InputError(f"The checker is a {kind}; make one with pydual.load_checker, pydual.robustness or @pydual.checker.")
    return checker.query(model)
