"""Distillation: a slow trusted network is the specification of a small fast one. No other specification is written down.

Catastrophe: some output of the fast network differs from that of the slow one by the tolerance or more. Both read the same
input, in one network, so that bounds see their difference. That is one link of a chain: the slow network never predicts more
than a limit, with a margin, so the fast one does not either, in one certificate.

Run it: python examples/distillation.py [FOLDER]
"""

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

import pydual


def trained(data: np.ndarray, target: np.ndarray) -> tuple[pydual.Network, pydual.Network]:
    """The slow network learns from the data, the fast one from the slow one."""
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        slow = MLPRegressor(hidden_layer_sizes=(64, 64), alpha=0.1, max_iter=300, random_state=0).fit(data, target)
        more = np.concatenate([data, *(data + 0.3 * rng.normal(size=data.shape) for _ in range(4))])
        fast = MLPRegressor(hidden_layer_sizes=(12,), max_iter=800, random_state=0).fit(more, slow.predict(more))
    return pydual.from_sklearn(slow), pydual.from_sklearn(fast)


def main(folder: Path) -> None:
    data, target = load_diabetes(return_X_y=True)
    data, target = data / data.std(axis=0), (target - target.mean()) / target.std()
    slow, fast = trained(data, target)
    print(f"The slow network has {slow.connections} connections, the fast one {fast.connections}.")
    patient = data[0]
    region = pydual.Region(patient - 0.1, patient + 0.1)
    apart = float(abs(fast.evaluate(patient) - slow.evaluate(patient))[0])
    print(f"At a patient's values they differ by {apart:.3f} standard deviations of the disease's progression.")
    for tolerance in (round(apart + 0.3, 2), round(apart / 2, 2)):
        checker = pydual.equivalence(slow, region, tolerance)
        outcome = pydual.solve(fast, checker, timeout=60)
        print(f"Everywhere near it, by less than {tolerance}? {type(outcome).__name__}")
        if isinstance(outcome, pydual.Certificate):
            outcome.save(folder / "distillation.cert")
            accepted = pydual.audit(folder / "distillation.cert", fast, checker)
            print(f"  audit: {accepted.level}, and {accepted.margin:.1g} to spare")
        if isinstance(outcome, pydual.Attack):
            far = abs(fast.evaluate(outcome.x) - slow.evaluate(outcome.x))[0]
            print(f"  they differ by {far:.3f} at {np.round(outcome.x, 2)}")
    chained(folder, slow, fast, region, round(apart + 0.3, 2))


def chained(folder: Path, slow: pydual.Network, fast: pydual.Network, region: pydual.Region, tolerance: float) -> None:
    limit = round(float(slow.evaluate(region.upper)[0]) + tolerance + 1, 1)
    question = pydual.chain(pydual.Checker(region, pydual.Y[0] >= limit), (slow, tolerance))
    outcome = pydual.solve(fast, question, timeout=60)
    print(f"The fast network never predicts {limit} or more, by way of the slow one: {type(outcome).__name__}")
    if isinstance(outcome, pydual.Certificate):
        outcome.save(folder / "chain.cert")
        accepted = pydual.audit(folder / "chain.cert", fast, question)
        print(f"  audit of the chain: {accepted.level}, and {accepted.margin:.3f} to spare")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
