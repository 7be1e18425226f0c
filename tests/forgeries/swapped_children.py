"""The hints of one side of a split are none for the other: with the children exchanged, no inequality follows."""

from forging import PHASES, with_columns

QUESTION = PHASES
REASON = "node [12]: .*bound"
FORGERIES = {
    "their multipliers": with_columns(split_multipliers=[0.0, 1.0]),
    "the multiplier on both sides": with_columns(split_multipliers=[1.0, 1.0]),
    "the multiplier on no side": with_columns(split_multipliers=[0.0, 0.0]),
}
