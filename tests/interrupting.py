"""A proof system whose user loses patience."""

from __future__ import annotations

import signal
from typing import Any


class Stopping:
    """A proof system whose user presses Ctrl-C after so many steps."""

    name, complete = "bab", True

    def __init__(self, inner: Any, steps: int) -> None:
        self._inner, self._left = inner, steps
        self.init, self.snapshot, self.resume = inner.init, inner.snapshot, inner.resume

    def step(self, state: Any, seconds: float) -> Any:
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(signal.SIGINT)
        return self._inner.step(state, seconds)
