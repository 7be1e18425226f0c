"""The statistical systems by name. Each is loaded on first use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from pydual.sampling.system import StatisticalSystem


def _default(module: str, name: str) -> Callable[[], StatisticalSystem]:
    def make() -> StatisticalSystem:
        made: StatisticalSystem = getattr(import_module(f"pydual.sampling.{module}"), name)()
        return made

    return make


STATISTICAL: dict[str, Callable[[], StatisticalSystem]] = {
    "statistical": _default("counting", "Counting"),
    "splitting": _default("splitting", "Splitting"),
    "smoothing": _default("smoothing", "Smoothing"),
    "relaxed": _default("relaxed", "Relaxed"),
}
