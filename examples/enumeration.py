"""Enumeration: pixels are integers from 0 to 16, so an attack on a few of them is one of finitely many.

All values of six pixels of a handwritten digit are tried, and the list is the certificate. Then two pixels are integers, and
the brightness of all others moves continuously: branch and bound. Run it: python examples/enumeration.py [FOLDER]
"""

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import pydual
from pydual import Checker, Region, Y


def trained(data: np.ndarray, target: np.ndarray) -> pydual.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return pydual.from_sklearn(MLPClassifier((16,), alpha=1.0, max_iter=150, random_state=0).fit(data, target))


def misread(region: Region, label: int) -> Checker:
    """Catastrophe: another digit's score reaches that of the label."""
    others = [Y[j] >= Y[label] for j in range(10) if j != label]
    condition = others[0]
    for other in others[1:]:
        condition = condition | other
    return Checker(region, condition)


def main(folder: Path) -> None:
    data, target = load_digits(return_X_y=True)
    model = trained(data, target)
    image, label = data[0], int(target[0])
    pixels = [19, 20, 27, 28, 35, 36]
    for most in (4, 16):
        lower, upper = image.copy(), image.copy()
        lower[pixels], upper[pixels] = 0, most
        checker = misread(Region(lower, upper, integers=np.ones(64, dtype=bool)), label)
        outcome = pydual.solve(model, checker, "enumeration")
        print(f"The {label} with six pixels from 0 to {most}, {checker.region.count} images: {type(outcome).__name__}")
        if isinstance(outcome, pydual.Attack):
            print(f"  read as {outcome.y.argmax()} with the pixels {outcome.x[pixels].astype(int)}")
        if isinstance(outcome, pydual.Certificate):
            outcome.save(folder / "images.cert")
            accepted = pydual.audit(folder / "images.cert", model, checker, level="rounded")
            size = (folder / "images.cert").stat().st_size
            print(f"  {size} bytes, audit: {accepted.level}, every image is read rightly with {accepted.margin:.2f} to spare")

    for reach in (0.25, 4.0):
        low, high = np.clip(image - reach, 0, 16), np.clip(image + reach, 0, 16)
        low[pixels[:2]], high[pixels[:2]] = 0, 4
        region = Region(low, high, integers=np.isin(np.arange(64), pixels[:2]))
        outcome = pydual.solve(model, misread(region, label), "bab", timeout=30)
        print(f"Two of them, and all brightness within {reach}: {type(outcome).__name__}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
