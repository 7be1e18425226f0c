"""A bound that is negative by less than any float shows, and positive where sums are rounded to nearest, is no proof."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
from forging import Forge, Question, model, spec, tree

WEIGHTS = np.float32([0.1, 0.2, 0.3, 0.7, 0.11, 0.13])
LEAST = sum(map(Fraction, WEIGHTS.tolist())) + Fraction(float(np.float32(1) / np.float32(3)))  # the least output, at x = 1
NETWORK = model([([[1.0]] * 6, [0.0] * 6), ([WEIGHTS.tolist()], [1.0 / 3.0])], "Relu")


def below(constant: Fraction) -> str:
    return spec("1", "2", f"(<= Y_0 (/ {constant.numerator}.0 {constant.denominator}.0))")


QUESTION = Question(NETWORK, below(LEAST - Fraction(1, 10**6)), (tree(multipliers=[[1.0]]),))
REASON = "bound"


def asked(above: Fraction, weight: float) -> Forge:
    other = replace(QUESTION, spec=below(LEAST + above), trees=(tree(multipliers=[[weight]]),))
    return lambda true: (other.file, other)


FORGERIES = {
    f"{above or 'nothing'} above, weight {weight}": asked(Fraction(above or 0), weight)
    for above in ("", "1e-320", "1e-40", "1e-17", "1e-16")
    for weight in (1.0, 3.0, 0.1, 1e300, 1e-300)
}
