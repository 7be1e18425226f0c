"""Pictures of what an adversary did to an image: as PNG, and in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pydual.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

SHADES = " ░▒▓█"


def require_matplotlib() -> None:
    """Raise InputError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("The demo draws with matplotlib, which is missing; run: pip install 'pydual[demo]'") from None


def save_triple(before: np.ndarray, after: np.ndarray, titles: tuple[str, str], difference: str, path: Path) -> None:
    """Save an image, the changed image and their difference side by side; arrays (64,) with pixels in [0, 1]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 2.9), layout="constrained")
    FigureCanvasAgg(figure)
    change = np.reshape(after - before, (8, 8))
    spread = max(float(np.abs(change).max()), 1e-9)
    panels = (
        (np.reshape(before, (8, 8)), titles[0], "gray_r", (0.0, 1.0)),
        (np.reshape(after, (8, 8)), titles[1], "gray_r", (0.0, 1.0)),
        (change, difference, "RdBu", (-spread, spread)),
    )
    for axes, (image, title, colors, (low, high)) in zip(figure.subplots(1, 3), panels, strict=True):
        drawn = axes.imshow(image, cmap=colors, vmin=low, vmax=high)
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    figure.colorbar(drawn, ax=figure.axes, shrink=0.8)
    figure.savefig(path, dpi=110)


def draw(console: Console, *images: np.ndarray) -> None:
    """Print images (64,) side by side, two characters a pixel; in ASCII where the terminal knows nothing better."""
    shades = SHADES if console.encoding.lower().startswith("utf") else " .:*#"
    levels = [np.rint(np.reshape(image, (8, 8)) * (len(shades) - 1)).astype(int) for image in images]
    for row in range(8):
        panels = ("".join(2 * shades[level] for level in image[row]) for image in levels)
        console.print("  " + "   ->   ".join(panels) if row == 4 else "  " + "        ".join(panels))
