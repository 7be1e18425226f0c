"""A live line on stderr with the bracket."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Progress:
    """A context manager; shows nothing unless ``enabled``."""

    def __init__(self, enabled: bool, name: str) -> None:
        self._name = name
        self._status: Any = None
        if enabled:
            from rich.console import Console

            self._status = Console(stderr=True).status(f"{name}: looking for an attack", spinner="dots")

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, seconds: float, lower: float, upper: float) -> None:
        """The bracket after ``seconds``."""
        if self._status is not None:
            self._status.update(f"{self._name}: {seconds:6.1f} s  worst margin in [{lower:.5g}, {upper:.5g}]")
