"""Questions with true certificates, as files, and tools to forge the files; what the tricks in ``forgeries`` are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pydual.audit.exact_network import Network
from pydual.audit.exact_onnx import read_network
from pydual.audit.exact_vnnlib import read_checker
from pydual.audit.query import query_digest
from pydual.certificate import COLUMNS, FORMAT, GRAM_COLUMNS, PARTS, SOS_COLUMNS, Proof, ProofTree, Refinement

Header = dict[str, Any]
Layers = list[tuple[list[list[float]], list[float]]]


@dataclass(frozen=True, eq=False)
class Question:
    """A model file, a property file, and the trees that answer it (none, if there is a catastrophe)."""

    model: bytes
    spec: str
    trees: tuple[ProofTree, ...] = ()
    arithmetic: str = "real"

    @cached_property
    def network(self) -> str:
        """The digest of the network."""
        return Network(read_network(self.model)).digest

    @cached_property
    def query(self) -> str:
        """The digest of the query."""
        return query_digest(read_checker(self.spec.encode()))

    @property
    def proof(self) -> Proof:
        return Proof.of(self.network, self.query, self.trees, self.arithmetic)

    @property
    def file(self) -> bytes:
        return file_of(self.proof)


# What a trick makes: the bytes of a certificate file, a proof in memory, or what to do at the path of the file; and, if the
# question is another one than that of the true certificate, the question.
Forged = bytes | Proof | Callable[[Path], object]
Forge = Callable[[Question], Forged | tuple[Forged, Question]]


# ---- questions


def model(layers: Layers, *between: str) -> bytes:
    """An ONNX model: affine maps with the operator ``between`` (or one for each gap) between them."""
    nodes, constants, value = [], [], "x"
    gaps = [*between] * (len(layers) - 1) if len(between) == 1 else [*between]
    for i, (weight, bias) in enumerate(layers):
        for name, array in ((f"w{i}", np.array(weight, np.float32)), (f"b{i}", np.array(bias, np.float32))):
            constants.append(numpy_helper.from_array(array, name))
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"h{i}"], transB=1))
        value = f"h{i}"
        if i < len(gaps):
            nodes.append(helper.make_node(gaps[i], [value], [f"r{i}"]))
            value = f"r{i}"
    shape = [1, len(layers[0][0][0])]
    nodes.append(helper.make_node("Identity", [value], ["y"]))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def spec(lower: str, upper: str, *asserted: str) -> str:
    """A property of one input and one output."""
    bounds = f"(assert (>= X_0 {lower})) (assert (<= X_0 {upper}))"
    rest = " ".join(f"(assert {condition})" for condition in asserted)
    return f"(declare-const X_0 Real) (declare-const Y_0 Real) {bounds} {rest}"


def tree(**columns: Any) -> ProofTree:
    """A tree: a single leaf without hints for one margin, but for the columns that are given as lists or arrays."""
    types = {"index": np.int32, "lines": np.int32, "slope_neurons": np.int32, "kind": np.uint8, "anchor": np.uint8}
    leaf = {"kind": [0], "index": [], "threshold": [], "anchor": [3], "lines": [-3], "slopes": np.zeros((0, 0)),
            "slope_neurons": [], "multipliers": [[1.0]], "split_multipliers": []}  # fmt: skip
    given = {name: columns.get(name, value) for name, value in leaf.items()}
    return ProofTree(**{n: np.asarray(c, types.get(n, None if hasattr(c, "dtype") else float)) for n, c in given.items()})


def _splits(multipliers: list[list[float]]) -> ProofTree:
    """Input 0 at 1/4; below, at its anchor, the left side splits neuron 0, and its active side neuron 1."""
    return tree(
        kind=[1, 2, 0, 2, 0, 0, 0], index=[0, 0, 1], threshold=[0.25], anchor=[0, 3, 0, 0, 0, 0, 2], lines=[0, 1, -2, -3],
        slopes=[[0.5], [1.0]], slope_neurons=[1], multipliers=multipliers, split_multipliers=[0.25, 0.0, 0.5, 1.0, 0.0],
    )  # fmt: skip


LINE = model([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [1.0])], "Relu")
NEVER = "(or (<= Y_0 {}) (and (>= Y_0 {}) (> (- Y_0 X_0) 0)))"
TREES = (_splits([[1.0]] * 4), _splits([[1.0, 0.0]] * 4))

# y = relu(x) - relu(-x) + 1 = x + 1 is never <= 0, nor both >= 9/4 and > x, on [-1/2, 1]: two problems, with all columns
SPLITS = Question(LINE, spec("-0.5", "1", NEVER.format("0", "2.25")), TREES)
# the same in float32
FLOAT32 = replace(SPLITS, arithmetic="float32")
# the same of what is far away: each leaf holds, whatever its hints are
EASY = replace(SPLITS, spec=spec("-0.5", "1", NEVER.format("-99", "99")))
# y <= 1/2 happens, at x = -1/2 only
REACHED = replace(SPLITS, spec=spec("-0.5", "1", NEVER.format("0.5", "2.25")))
# relu(x) >= x - 1/4 on [-1, 2], for which a leaf needs the phase of neuron 0 and its multiplier
PHASES = Question(
    model([([[1.0]], [0.0]), ([[1.0]], [0.0])], "Relu"),
    spec("-1", "2", "(<= (- Y_0 X_0) -0.25)"),
    (
        tree(
            kind=[2, 0, 0], index=[0], anchor=[3, 0, 0], lines=[-3] * 2, multipliers=[[1.0]] * 2, split_multipliers=[1.0, 0.0]
        ),
    ),
)
# 4 sigmoid(x) - sigmoid(-x) lies between -0.41 and 3.41 on [-2, 2]
CURVES = Question(
    model([([[1.0], [-1.0]], [0.0, 0.0]), ([[4.0, -1.0]], [0.0])], "Sigmoid"),
    spec("-2", "2", "(or (<= Y_0 -1) (>= Y_0 5))"),
    (tree(kind=[1, 0, 0], index=[0], threshold=[0.0], anchor=[0, 3, 2], lines=[-3, -2], multipliers=[[1.0]] * 2),) * 2,
)

# -relu(r) is 0 on [-1, 1], as r = -relu(x - 1/4) + relu(x + 2) - 5/2 <= -1/4; that needs the slope 1 below neuron 0
REFINED = Question(
    model([([[1.0], [1.0]], [-0.25, 2.0]), ([[-1.0, 1.0]], [-2.5]), ([[-1.0]], [0.0])], "Relu"),
    spec("-1", "1", "(<= Y_0 -0.1)"),
    (
        replace(
            tree(anchor=[4]),
            refinements=(
                Refinement(
                    np.array([[-3, -3, -3], [-3, -3, 0]], np.int32), np.array([[128]], np.uint8), np.zeros(1, np.int32)
                ),
            ),
        ),
    ),
)

# the same by cases: where neuron 0 is inactive, -r >= 1/2 - x and 1/4 - x >= 0; where it is active, r is -1/4
CASES = replace(
    REFINED,
    trees=(
        replace(
            tree(anchor=[4]),
            refinements=(
                Refinement(
                    np.full((2, 3), -3, np.int32), np.zeros((0, 0), np.uint8), np.zeros(0, np.int32),
                    np.array([[-1, -1, -1], [-1, -1, 0]], np.int32), np.array([0, -1, -1], np.int32), np.array([1.0, 0.0]),
                ),
            ),
        ),
    ),
)  # fmt: skip


# relu(x) >= x - 1/4 on [-1, 2] by one leaf with the fact relu(x) - x >= 0, number 4; a second neuron does nothing
PRODUCTS = replace(
    PHASES,
    model=model([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 0.0]], [0.0])], "Relu"),
    trees=(
        replace(
            tree(kind=[3], lines=[-1]),
            products=np.array([[0, 4], [3, 4]], np.int32),
            product_multipliers=np.array([1.0, -(2.0**-10)]),
            product_counts=np.array([2], np.int32),
        ),
    ),
)

# 3 z + 5/4 > 4 x for z = relu(x) on [-1, 1], as it is 4 (z - x) + (z - 1)^2 + z (1 - x) - z (z - x) + 1/4
SQUARES = Question(
    model([([[1.0], [-1.0]], [0.0, 0.0]), ([[3.0, 0.0]], [1.25])], "Relu"),
    spec("-1", "1", "(<= Y_0 (* 4 X_0))"),
    (
        replace(
            tree(kind=[4]),
            sos_sizes=np.array([[2, 4]], np.int32),
            sos_variables=np.array([0, 1], np.int32),
            sos_terms=np.array([[0, 0, 1], [3, 2, 0], [3, 4, 1], [0, 4, 0]], np.int32),
            sos_coefficients=np.array([-1.0, 0.0, 1.0, 1.0, -1.0, 0.0, 0.0, 2.0]),
        ),
    ),
)


# ---- files

NAMES = {
    "uint8": "U8", "int8": "I8", "bool": "BOOL", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "float32": "F32", "float64": "F64", "complex64": "C64",
}  # fmt: skip


def file_of(proof: Proof) -> bytes:
    """A certificate file of columns of any type; the numbers are written as they are in memory."""
    header: Header = {"__metadata__": {
        "format": FORMAT, "network": proof.network, "query": proof.query, "arithmetic": proof.arithmetic,
        "problems": str(len(proof.trees)),
    }}  # fmt: skip
    data = b""
    groups = [(f"{i}", proven, COLUMNS + _columns_of_leaves(proven)) for i, proven in enumerate(proof.trees)]
    groups += [(f"refinement/{t}", refinement, PARTS) for t, refinement in enumerate(proof.refinements)]
    for place, group, names in groups:
        for name in names:
            array = getattr(group, name)
            offsets = [len(data), len(data) + array.nbytes]
            entry = {"dtype": NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
            header[f"{place}/{name}"] = entry
            data += array.tobytes()
    return joined(json.dumps(header).encode(), data)


def _columns_of_leaves(proven: ProofTree) -> tuple[str, ...]:
    groups = (GRAM_COLUMNS, SOS_COLUMNS)
    return sum((names for names in groups if any(getattr(proven, name).size for name in names)), ())


def joined(text: bytes, data: bytes, length: int | None = None) -> bytes:
    """A file of a header and the numbers after it; ``length`` is what it says of its header."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def parts(file: bytes) -> tuple[bytes, bytes]:
    """The text of the header, and the numbers after it."""
    end = 8 + int.from_bytes(file[:8], "little")
    return file[8:end], file[end:]


# ---- forging


def in_tree(change: Callable[[ProofTree], ProofTree]) -> Forge:
    """Change the tree of the last problem."""

    def forge(true: Question) -> bytes:
        return file_of(replace(true.proof, trees=(*true.trees[:-1], change(true.trees[-1]))))

    return forge


def in_column(name: str, change: Callable[[np.ndarray], Any]) -> Forge:
    """Change a column of the last tree."""
    return in_tree(lambda true: replace(true, **{name: change(getattr(true, name))}))


def with_entry(name: str, at: int | tuple[int, int], value: float) -> Forge:
    """Change a number in a column of the last tree."""

    def change(column: np.ndarray) -> np.ndarray:
        column = column.copy()
        column[at] = value
        return column

    return in_column(name, change)


def with_columns(**columns: Any) -> Forge:
    """Give columns of the last tree anew, as lists or arrays."""
    return in_tree(lambda true: tree(**{name: getattr(true, name) for name in COLUMNS} | columns))


def in_proof(**members: Any) -> Forge:
    """Change members of the proof."""
    return lambda true: file_of(replace(true.proof, **members))


def in_header(change: Callable[[Header], Any]) -> Forge:
    """Change the header, as JSON."""

    def forge(true: Question) -> bytes:
        text, data = parts(true.file)
        header = json.loads(text)
        change(header)
        return joined(json.dumps(header).encode(), data)

    return forge


def in_entry(name: str, **members: Any) -> Forge:
    """Change what the header says of a tensor."""
    return in_header(lambda header: header[name].update(members))


def in_metadata(**members: Any) -> Forge:
    return in_header(lambda header: header["__metadata__"].update(members))


def in_text(old: bytes, new: bytes) -> Forge:
    """Replace a part of the header's text where it first occurs."""

    def forge(true: Question) -> bytes:
        text, data = parts(true.file)
        assert old in text
        return joined(text.replace(old, new, 1), data)

    return forge


def shaped(kind: list[int], anchor: list[int], index: list[int], betas: int, threshold: float = 0.25) -> Forge:
    """Another shape for the last tree, of two margins; its columns have the right lengths."""
    leaves = kind.count(0)
    return with_columns(
        kind=kind, anchor=anchor, index=index, threshold=[threshold] * kind.count(1), lines=[-3] * leaves,
        multipliers=np.ones((leaves, 2)), split_multipliers=np.zeros(betas),
    )  # fmt: skip
