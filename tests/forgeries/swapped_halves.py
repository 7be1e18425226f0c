"""The first child of an input split lies below the threshold: proofs of the halves in the other order prove neither."""

from forging import LINE, Question, spec, tree, with_columns

# y = x + 1 is not both at least 5/4, which the first margin refutes on the left, and at most 3/4, the second on the right
QUESTION = Question(
    LINE,
    spec("-0.5", "1", "(>= Y_0 1.25)", "(<= Y_0 0.75)"),
    (
        tree(
            kind=[1, 0, 0], index=[0], threshold=[0.0], anchor=[0, 3, 3], lines=[-3] * 2, multipliers=[[1.0, 0.0], [0.0, 1.0]]
        ),
    ),
)
REASON = "bound"
FORGERIES = {
    "exchanged": with_columns(multipliers=[[0.0, 1.0], [1.0, 0.0]]),
    "the threshold left of the box": with_columns(threshold=[-3.0]),
    "the threshold right of the box": with_columns(threshold=[3.0]),
    "the threshold in the right half": with_columns(threshold=[0.5]),
}
