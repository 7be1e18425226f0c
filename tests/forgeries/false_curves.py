"""No hint makes the lines of a curve prove what its values at the ends of the box refute."""

import numpy as np
from forging import CURVES, Forge, Question, model, spec, tree

QUESTION = CURVES
REASON = "bound"
HINTS = {
    "adaptive": tree(),
    "parallel": tree(anchor=[2], lines=[-2]),
    "interval": tree(anchor=[1], lines=[-1]),
    "split at 0": tree(kind=[1, 0, 0], index=[0], threshold=[0.0], anchor=[3, 0, 3], lines=[-3, -2], multipliers=[[1.0]] * 2),
    "rows of slopes without columns": tree(lines=[1], slopes=np.zeros((2, 0))),
}


def asked(kind: str, bound: str, hints: str) -> Forge:
    """Whether sigma(x) may be at least ``bound`` on [-1, 1], which it is at x = 1."""
    question = Question(model([([[1.0]], [0.0]), ([[1.0]], [0.0])], kind), spec("-1", "1", bound), (HINTS[hints],))
    return lambda true: (question.file, question)


FORGERIES = {
    f"{kind} {bound}, {hints}": asked(kind, bound, hints)
    for kind, bounds in {
        "Sigmoid": ("(>= Y_0 0.731058578630)", "(<= Y_0 0.268941421370)"),
        "Tanh": ("(>= Y_0 0.761594155955)", "(<= Y_0 -0.761594155955)"),
    }.items()
    for bound in bounds
    for hints in HINTS
}
