"""An overseer: a second network judges what the first one says, and its judgement is the specification.

The model scores irises. The overseer has seen pairs of a flower and scores, right ones and exchanged ones, and says how
implausible a pair is. Nobody wrote down what a wrong answer is. Run it: python examples/overseer.py
"""

import warnings

import numpy as np
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

import pydual

THRESHOLD = 0.9


def trained(data: np.ndarray, target: np.ndarray) -> tuple[pydual.Network, pydual.Network]:
    """The model, four lengths to three scores, and the overseer, lengths and scores to how implausible they are (0 to 1)."""
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = MLPClassifier((8,), alpha=0.1, max_iter=1000, random_state=0).fit(data, target)
        model = pydual.from_sklearn(classifier)
        scores = model.evaluate(data)
        noise = 0.1 * rng.normal(size=(4, *data.shape))
        others = [rng.permutation(len(data)) for _ in noise]
        plausible = [np.hstack([data + n, scores]) for n in noise]
        exchanged = [np.hstack([data + n, scores[order]]) for n, order in zip(noise, others, strict=True)]
        wrong = np.concatenate([target[order] != target for order in others])
        pairs = np.concatenate([*plausible, *exchanged])
        says = np.concatenate([np.zeros(len(pairs) // 2), wrong])
        judge = MLPRegressor(hidden_layer_sizes=(16,), max_iter=800, random_state=0).fit(pairs, says)
    return model, pydual.from_sklearn(judge)


def main() -> None:
    data, target = load_iris(return_X_y=True)
    model, judge = trained(data, target)
    clear, doubtful = data[0], data[target == 1].mean(axis=0)
    for name, flower, radius in (("a setosa", clear, 0.1), ("between versicolor and virginica", doubtful, 1.5)):
        checker = pydual.overseer(judge, pydual.Region(flower - radius, flower + radius), THRESHOLD)
        outcome = pydual.solve(model, checker, timeout=60)
        print(f"Around {name}, within {radius} cm: {type(outcome).__name__}, bracket of the margin {outcome.bracket}")
        if isinstance(outcome, pydual.Attack):
            score = judge.evaluate(np.concatenate([outcome.x, outcome.y]))[0]
            print(f"  lengths {np.round(outcome.x, 3)}, scores {np.round(outcome.y, 2)}: implausible to {score:.3f}")
        if isinstance(outcome, pydual.Certificate):
            accepted = pydual.audit(outcome, model, checker)
            print(f"  the overseer stays below {THRESHOLD} by at least {accepted.margin:.3f}, audit: {accepted.level}")


if __name__ == "__main__":
    main()
