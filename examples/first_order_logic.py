"""First-order logic: the network as axioms, and which of them a proof needs.

z3 looks for a model of the axioms in which there is an attack. With all axioms, that is an attack on the network; with some
left out, perhaps one on a network of which less is known. Where z3 finds none, its refutation names the neurons that matter,
and pydual proves it again, in a form that an audit checks. Run it: python examples/first_order_logic.py
"""

import warnings

import numpy as np
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import pydual
from pydual import SMT, robustness


def trained(data: np.ndarray, target: np.ndarray) -> pydual.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return pydual.from_sklearn(MLPClassifier((6, 6), alpha=0.1, max_iter=1500, random_state=0).fit(data, target))


def main() -> None:
    data, target = load_iris(return_X_y=True)
    model = trained(data, target)
    flower, label = data[0], int(target[0])
    for radius in (0.3, 0.8, 1.0):
        checker = robustness(flower, label, radius, classes=3)
        print(f"Setosa, all lengths changed by up to {radius} cm:")
        for axioms in ("exact", "triangle", {0: "bounds"}, "bounds", "dropped"):
            outcome = pydual.solve(model, checker, SMT(axioms=axioms), timeout=30)
            says = type(outcome).__name__
            if isinstance(outcome, pydual.Certificate):
                used = outcome.statistics.get("smt", {}).get("refutations", {})
                neurons = sorted({name for names in used.values() for name in names})
                says += f", audit {outcome.level}; cases of {', '.join(neurons) or 'no neuron'} distinguished"
            print(f"  axioms {axioms}: {says}")
            if isinstance(outcome, pydual.Attack):
                break
            if isinstance(outcome, pydual.RelaxedAttack) and axioms == "dropped":
                print("  " + outcome.explain().replace("\n", "\n  "))


if __name__ == "__main__":
    main()
