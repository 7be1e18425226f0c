"""Constants that are folded when the model is read are computed otherwise by a machine: float32 does not cover them."""

import numpy as np
import onnx
from forging import Question, in_proof, model, spec, tree
from onnx import helper, numpy_helper


def with_a_folded_constant() -> bytes:
    """A model whose last sum has a constant that is itself a sum of constants."""
    proto = onnx.load_from_string(model([([[1.0]], [0.0]), ([[1.0]], [0.0])], "Relu"))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([0.1]), "c"))
    last = proto.graph.node.pop()
    proto.graph.node.append(helper.make_node("Add", ["c", "c"], ["d"]))
    proto.graph.node.append(helper.make_node("Add", [last.input[0], "d"], ["y"]))
    return proto.SerializeToString()


QUESTION = Question(with_a_folded_constant(), spec("-1", "1", "(<= Y_0 -1)"), (tree(),))
REASON = "constants|Constants"
FORGERIES = {"a sum of constants": in_proof(arithmetic="float32")}
