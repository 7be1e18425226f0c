"""The trees of a true certificate under the digests of a false question: the audit derives every bound anew."""

from dataclasses import replace

from forging import REACHED, SPLITS, Forge, Question, file_of, model, spec

QUESTION = SPLITS
REASON = "bound"
HIGH = "(and (>= Y_0 2.25) (> (- Y_0 X_0) 0))"


def moved(other: Question) -> Forge:
    return lambda true: (file_of(replace(true.proof, network=other.network, query=other.query)), other)


def asked(lower: str, upper: str, *asserted: str) -> Question:
    return replace(SPLITS, spec=spec(lower, upper, *asserted))


def weighing(weights: list[float], bias: float) -> Question:
    return replace(SPLITS, model=model([([[1.0], [-1.0]], [0.0, 0.0]), ([weights], [bias])], "Relu"))


FORGERIES = {
    "constants shifted": moved(REACHED),
    "a box that reaches a catastrophe": moved(asked("-1", "1", f"(or (<= Y_0 0) {HIGH})")),
    "a larger box on the other side": moved(asked("-0.5", "1.25", f"(or (<= Y_0 0) {HIGH})")),
    "an inequality turned round": moved(asked("-0.5", "1", f"(or (>= Y_0 0) {HIGH})")),
    "a larger weight": moved(weighing([1.0, -2.0], 1.0)),
    "a smaller bias": moved(weighing([1.0, -1.0], 0.5)),
}
