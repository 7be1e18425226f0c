"""What follows a finished tree belongs to nothing; a reader that stops early and one that does not would disagree."""

from forging import EASY, shaped

QUESTION = EASY
REASON = "the tree has ended"
FORGERIES = {
    "a second leaf": shaped([0, 0], [3, 3], [], 0),
    "a second tree": shaped([0, 1, 0, 0], [3, 3, 0, 0], [0], 0),
    "a thousand leaves": shaped([0] * 1000, [3] * 1000, [], 0),
    "leaves first": shaped([0, 0, 0, 0, 2, 2, 1], [3] * 7, [0, 0, 1], 5),
}
