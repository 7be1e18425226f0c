"""In float32, a margin that rounding may use up is none: the bound must pay for every rounding."""

from dataclasses import replace

from forging import FLOAT32, Forge, spec

QUESTION = FLOAT32
REASON = "bound"
HIGH = "(and (>= Y_0 2.25) (> (- Y_0 X_0) 0))"


def asked(low: str) -> Forge:
    other = replace(FLOAT32, spec=spec("-0.5", "1", f"(or (<= Y_0 {low}) {HIGH})"))
    return lambda true: (other.file, other)


# y is at least 1/2, so all of these are true in real arithmetic; but an intermediate sum may be off by 2^-24
FORGERIES = {f"below {low}": asked(low) for low in ("0.499999999999", "0.49999999", "0.49999997")}
