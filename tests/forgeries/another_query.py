"""A certificate of one query says nothing of another: of a box wider by a bit, other constants, strictness or order."""

from dataclasses import replace

from forging import SPLITS, Forge, spec

QUESTION = SPLITS
REASON = "another query"
LOW, HIGH = "(<= Y_0 0)", "(and (>= Y_0 2.25) (> (- Y_0 X_0) 0))"


def against(lower: str, upper: str, *asserted: str) -> Forge:
    return lambda true: (true.file, replace(true, spec=spec(lower, upper, *asserted)))


FORGERIES = {
    "a wider box": against("-0.5", "1.0000000000000001", f"(or {LOW} {HIGH})"),
    "a narrower box": against("-0.5", "0.5", f"(or {LOW} {HIGH})"),
    "another constant": against("-0.5", "1", f"(or (<= Y_0 1e-300) {HIGH})"),
    "another strictness": against("-0.5", "1", f"(or (< Y_0 0) {HIGH})"),
    "another order of the problems": against("-0.5", "1", f"(or {HIGH} {LOW})"),
    "another order of the margins": against("-0.5", "1", f"(or {LOW} (and (> (- Y_0 X_0) 0) (>= Y_0 2.25)))"),
    "another scale": against("-0.5", "1", f"(or (<= (* 2 Y_0) 0) {HIGH})"),
    "one problem less": against("-0.5", "1", LOW),
}
