"""A tree that does not cover the region says nothing of the rest, where the catastrophe may be."""

from forging import EASY, shaped

QUESTION = EASY
REASON = "the tree ends before it covers|The tree ends before it covers|'kind' is empty|'(anchor|lines|multipliers|index)'"
FORGERIES = {
    "an empty tree": shaped([], [], [], 0),
    "a split without children": shaped([1], [3], [0], 0),
    "the second child": shaped([1, 0], [3, 3], [0], 0),
    "the second child of a neuron": shaped([2, 0], [3, 3], [0], 1),
    "a grandchild": shaped([1, 2, 0, 0], [3, 0, 0, 0], [0, 0], 2),
    "all but the first child, ten splits deep": shaped([1] * 10 + [0], [3] * 11, [0] * 10, 0),
}
