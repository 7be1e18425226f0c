"""A checker that nobody can look into: a random forest judges a network. Statistics answer, and say that they do.

Catastrophe: network and forest disagree. Trees do not trace, so the forest is called on pairs of input and output, by samples,
and the answer is a bound on a probability with a confidence: never a proof. Run it: python examples/black_box.py
"""

import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import pydual
from pydual import Ball, Checker, Counting, Region, Relaxed, Smoothing, Splitting, X


def main() -> None:
    data, target = load_wine(return_X_y=True)
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network = MLPClassifier((10,), max_iter=500, random_state=0).fit(data, target)
    forest = RandomForestClassifier(50, random_state=0).fit(data, target)
    model, wine = pydual.from_sklearn(network), data[target == 0].mean(axis=0)

    def disagree(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return forest.predict(x) != y.argmax(axis=1)

    def around(radius: float) -> Any:
        return pydual.black_box(Region(wine - radius, wine + radius), disagree, batches=True)

    near = pydual.solve(model, around(0.2), Counting(probability=1e-3, confidence=0.99))
    print(f"Near a wine. {near.explain()}")
    far = pydual.solve(model, around(3.0))
    print(f"Far around it: {type(far).__name__}, the network says {far.y.argmax()}, the forest {forest.predict([far.x])[0]}.")
    relaxed = pydual.solve(model, around(0.2), Relaxed(directions=8, samples=500))
    print(f"Relaxed pairs. {relaxed.explain()}")

    square = Region([0.0, 0.0], [1.0, 1.0])
    identity = pydual.Network.from_layers([(np.eye(2), np.zeros(2))])
    rare = pydual.solve(identity, Checker(square, X[0] + X[1] <= "0.001"), Splitting(particles=2000))
    print(f"A corner of probability 5e-07. {rare.explain()}")

    ball = Region(wine - 5, wine + 5, Ball(wine, 0.3, "l2"))
    wrong = pydual.checker(ball)(lambda x, y: np.maximum(y[1], y[2]) >= y[0])
    smooth = pydual.solve(model, wrong, Smoothing(sigma=0.5, samples=5000))
    print(f"Under noise. {smooth.explain()}")


if __name__ == "__main__":
    main()
