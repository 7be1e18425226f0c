"""A neuron split twice on a path would have two phases at once, and its cells no meaning."""

from forging import EASY, shaped

QUESTION = EASY
REASON = "is split twice"
FORGERIES = {
    "at once": shaped([2, 2, 0, 0, 0], [3, 0, 0, 0, 0], [1, 1], 5),
    "far apart": shaped([2, 0, 2, 0, 2, 0, 0], [3] * 7, [0, 1, 0], 9),
    "with an input split between": shaped([2, 1, 2, 0, 0, 0, 0], [3] * 7, [0, 0, 0], 6),
    "in an empty cell": shaped([1, 0, 2, 2, 0, 0, 0], [3] * 7, [0, 0, 0], 5, threshold=2.0),
}
