"""A proof in real arithmetic proves nothing of float32, where rounding may make the catastrophe true."""

from forging import Question, in_proof, model, spec, tree

# y = (x + 2^25) - 2^25 is at least 1 on [1, 2] in real numbers, and 0 at x = 1 in float32
QUESTION = Question(
    model([([[1.0]], [2.0**25]), ([[1.0]], [-(2.0**25)])], "Relu"),
    spec("1", "2", "(<= Y_0 0.5)"),
    (tree(),),
)
REASON = "bound|arithmetic|float32|overflow|2\\^127|2\\*\\*127|too large"


def huge() -> tuple[bytes, Question]:
    """y = 2^100 x - 2^100 x with weights whose products overflow in float32."""
    layers = [([[2.0**100], [2.0**100]], [0.0, 0.0]), ([[2.0**100, -(2.0**100)]], [1.0])]
    other = Question(model(layers, "Relu"), spec("1", "2", "(<= Y_0 -1e90)"), (tree(),), "float32")
    return other.file, other


FORGERIES = {
    "float32 for real": in_proof(arithmetic="float32"),
    "float32 that overflows": lambda true: huge(),
    **{repr(word): in_proof(arithmetic=word) for word in ("float16", "FLOAT32", "Real", "", "real ", "exact")},
}
