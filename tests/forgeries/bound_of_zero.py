"""F = 0 is no proof where the catastrophe includes equality: with a strict margin it is one only if that has weight."""

from dataclasses import replace

from forging import Forge, Question, file_of, model, spec, tree

RELU = model([([[1.0]], [0.0]), ([[1.0]], [0.0])], "Relu")
# y >= 0 is reached at x <= 0
QUESTION = Question(RELU, spec("-0.5", "1", "(< Y_0 0)"), (tree(anchor=[1], lines=[-1]),))
REASON = "bound"


def asked(*asserted: str) -> Forge:
    other = replace(QUESTION, spec=spec("-0.5", "1", *asserted), trees=(tree(multipliers=[[1.0, 0.0][: len(asserted)]]),))
    return lambda true: (other.file, other)


FORGERIES = {
    "equality": asked("(<= Y_0 0)"),
    "equality, with a strict margin of no weight": asked("(<= Y_0 0)", "(< (+ X_0 Y_0) 9)"),
    "equality, with another margin": asked("(<= Y_0 0)", "(<= (+ X_0 Y_0) 9)"),
    "less than the least float": asked("(< Y_0 1e-999)"),
    "strict, without weight": lambda true: file_of(replace(true.proof, trees=(tree(multipliers=[[0.0]]),))),
}
