"""A catastrophe as a Python function: can a flower with small petals be called virginica?

The model is a small classifier of irises. The checker is a function of its input and output that multiplies two inputs; it is
run once, on symbols, and becomes part of the network that is searched. Run it: python examples/traced_checker.py [FOLDER]
"""

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import pydual

VIRGINICA = 2


def trained() -> pydual.Network:
    """Four lengths in centimeters to three scores."""
    data, target = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = MLPClassifier((10, 10), alpha=0.01, max_iter=1500, random_state=0).fit(data, target)
    print(f"The classifier is right on {classifier.score(data, target):.0%} of the data.")
    return pydual.from_sklearn(classifier)


def small_petals_virginica(area: float) -> Any:
    """Catastrophe: the petals' length times width is at most ``area`` (cm^2), and virginica wins."""
    data, _ = load_iris(return_X_y=True)

    @pydual.checker(pydual.Region(data.min(axis=0), data.max(axis=0)))
    def catastrophe(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x[2] * x[3] <= area) & (y[VIRGINICA] >= np.maximum(y[0], y[1]))

    return catastrophe


def main(folder: Path) -> None:
    model = trained()
    for area in (0.2, 5.0):
        checker = small_petals_virginica(area)
        outcome = pydual.solve(model, checker, timeout=60)
        match outcome:
            case pydual.Certificate():
                outcome.save(folder / "petals.cert")
                accepted = pydual.audit(folder / "petals.cert", model, checker)
                print(f"Petals of at most {area} cm^2: never. {outcome.certificate.leaves} leaves, audit: {accepted.level}.")
            case pydual.Attack(x=x, y=y):
                agreed = bool(checker(x, y))  # the same function, on numbers
                print(f"Petals of at most {area} cm^2: {np.round(x, 3)} has {x[2] * x[3]:.2f}. The function says {agreed}.")
            case _:
                print(f"Petals of at most {area} cm^2: open. {outcome}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
