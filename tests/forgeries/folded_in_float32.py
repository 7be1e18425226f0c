"""Constants that are folded when the model is read are computed otherwise by a machine: float32 does not cover them."""

import onnx
from forging import Question, in_proof, model, spec, tree
from onnx import helper


def with_a_folded_constant() -> bytes:
    """A model whose last weights are the product of a matrix and a number."""
    proto = onnx.load_from_string(model([([[1.0]], [0.0]), ([[1.0]], [0.1])], "Relu"))
    last = [node for node in proto.graph.node if node.op_type == "Gemm"][-1]
    last.attribute.append(helper.make_attribute("alpha", 0.1))
    return proto.SerializeToString()


QUESTION = Question(with_a_folded_constant(), spec("-1", "1", "(<= Y_0 -1)"), (tree(),))
REASON = "constants|Constants"
FORGERIES = {"a product of constants": in_proof(arithmetic="float32")}
