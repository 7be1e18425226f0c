"""Marabou's JSON proofs: what is read, what is refused, which ReLU is which neuron."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_proofs import marabou, query, text
from hypothesis import given, settings
from hypothesis import strategies as st

from pydual.certificate import LEAF, NEURON_SPLIT
from pydual.errors import InputError, UnsupportedError
from pydual.io.marabou_proof import marabou_tree
from pydual.network import Network
from pydual.proof_systems.case_tree import CaseTree

WRITTEN = Path(__file__).parent / "foreign" / "marabou_proof.json"  # by Marabou 2.0.0 with --prove-unsat


def small() -> Network:
    """4 + 3 neurons: b 2-5, f 6-9, b 10-12, f 13-15."""
    return SMALL


SMALL, _ = query(0, 0.1)
TREE = CaseTree((2, 0, 2, 0, 2, 0, 0), (5, 0, 1, 0, 6, 0, 0), (0.0,) * 7, ("a", "b", "c", "d"))


def sample(**changes: Any) -> dict[str, Any]:
    return {**marabou(small(), TREE), **changes}


def read(document: dict[str, Any] | str, network: Network | None = None) -> CaseTree:
    return marabou_tree("proof.json", document if isinstance(document, str) else text(document), network or small())


def test_a_tree_in_the_schema_is_read() -> None:
    tree = read(sample())
    assert (tree.kind, tree.index) == (TREE.kind, TREE.index)
    assert tree.names == ("leaf 1", "leaf 2", "leaf 3", "leaf 4")


def test_what_marabou_wrote_is_read() -> None:
    """Two stable ReLUs of the second layer are missing there; the splits are b = 5 and b = 4, its fourth and third neuron."""
    network = Network.from_layers(
        [(np.ones((6, 2)), np.zeros(6)), (np.ones((6, 6)), np.zeros(6)), (np.ones((2, 6)), np.zeros(2))]
    )
    tree = read(WRITTEN.read_text(encoding="utf-8"), network)
    assert tree.kind == (NEURON_SPLIT, LEAF, NEURON_SPLIT, LEAF, LEAF) and tree.index[0::2][:2] == (3, 2)


def test_the_order_of_children_does_not_matter() -> None:
    document = sample()
    document["proof"]["children"].reverse()
    tree = read(document)
    assert (tree.kind, tree.index) == (TREE.kind, TREE.index)


def test_a_case_that_was_not_visited_or_is_not_there_is_missing() -> None:
    unvisited, absent = sample(), sample()
    unvisited["proof"]["children"][0] = {}
    absent["proof"]["children"].pop(0)
    for document in (unvisited, absent):
        tree = read(document)
        assert tree.kind == TREE.kind and tree.names[0] == "the missing case"


def test_relus_that_preprocessing_decided_may_be_missing() -> None:
    tree = read(marabou(small(), TREE, keep={1, 5, 6}))
    assert tree.index == TREE.index


def test_without_a_tableau_all_relus_are_taken_in_order() -> None:
    assert read(sample(tableau=[])).index == TREE.index


def test_relus_that_nobody_can_tell_apart_are_refused() -> None:
    document = marabou(small(), TREE, keep={1, 5, 6})
    del document["tableau"][5:]
    with pytest.raises(InputError, match="3 ReLUs and the network 7 neurons"):
        read(document)


def split(**changes: Any) -> dict[str, Any]:
    document = sample()
    document["proof"]["children"][0]["split"][0] |= changes
    return document


def with_children(children: Any) -> dict[str, Any]:
    return sample(proof={"children": children})


BOUND = {"var": 3, "val": 0.0, "bound": "U"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no 'proof'"),
        (text(sample())[:-20], "damaged"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
        ('{"a": NaN}', "not finite"),
        ('{"a": 1e999}', "not finite"),
        ('{"a": 1' + "0" * 5000 + "}", "too large"),
        ('{"a": ' + "[" * 100_000, "nested too deep"),
        ('{"a": ' + '{"b": ' * 100_000, "nested too deep"),
        (sample(proof=[]), "no 'proof'"),
        (sample(constraints=[{"constraintType": 0, "vars": [1]}]), "without its variables"),
        (sample(constraints=[{"constraintType": 0, "vars": [1, "2"]}]), "without its variables"),
        (sample(constraints=[{"constraintType": 0, "vars": [1, 2, 3]}] * 2), "same input variable"),
        (split(var=99), "no case of a ReLU"),
        (split(val=1.5), "no case of a ReLU"),
        (split(bound="X"), "no case of a ReLU"),
        (with_children([{"split": [BOUND]}] * 2), "not the two cases"),
        (with_children([{"split": [BOUND]}, {"split": [{**BOUND, "var": 4, "bound": "L"}]}]), "not the two cases"),
        (with_children([{"split": [BOUND]}] * 3), "not one or two nodes"),
        (with_children([1, 2]), "not one or two nodes"),
        (with_children({"split": []}), "not one or two nodes"),
        (with_children([{"split": [BOUND], "children": [{"split": [BOUND]}]}]), "neuron 1 twice"),
    ],
)
def test_what_is_refused_is_refused_in_one_sentence(document: dict[str, Any] | str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(document)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_other_activations_are_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="type 2"):
        read(sample(constraints=[{"constraintType": 2, "vars": [1, 2, 3]}]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.sampled_from(["L", "U", "var"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["var", "val", "bound", "split", "children"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_json_is_refused_or_read(data: st.DataObject) -> None:
    """Values anywhere in the document are replaced, or its text is cut up."""
    document = sample()
    for _ in range(data.draw(st.integers(0, 3))):
        at: Any = document
        while isinstance(at, dict | list) and at:
            key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else list(range(len(at)))))
            if data.draw(st.integers(0, 4)) == 0 or not isinstance(at[key], dict | list):
                at[key] = data.draw(json_values)
                break
            at = at[key]
    damaged = json.dumps(document)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(damaged)))
        damaged = damaged[:at] + data.draw(st.text(max_size=3)) + damaged[at + data.draw(st.integers(0, 5)) :]
    try:
        tree = read(damaged)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        tree.check_fit(small())
