"""The statistical systems by name."""

from __future__ import annotations

from collections.abc import Callable

from pydual.sampling.counting import Counting
from pydual.sampling.relaxed import Relaxed
from pydual.sampling.smoothing import Smoothing
from pydual.sampling.splitting import Splitting
from pydual.sampling.system import StatisticalSystem

STATISTICAL: dict[str, Callable[[], StatisticalSystem]] = {
    "statistical": Counting,
    "splitting": Splitting,
    "smoothing": Smoothing,
    "relaxed": Relaxed,
}
