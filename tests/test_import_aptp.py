"""APTP files: what is read, what is refused, and that cells in any order give the tree that they come from."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_proofs import Cell, all_patterns, aptp, cells_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pydual.certificate import INPUT_SPLIT, LEAF, NEURON_SPLIT
from pydual.errors import InputError
from pydual.io.aptp import aptp_tree
from pydual.io.cover import Case, cover
from pydual.network import Network
from pydual.proof_systems.case_tree import CaseTree

# the example of the format's own documentation
SAMPLE = """
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(declare-pwl N_1 ReLU)
(declare-pwl N_2 ReLU)
(declare-pwl N_3 N_4 relu)   ; several at once
(assert (>= X_0 -2.0))
(assert (<= X_0  2.0))
(assert (>= X_1 -1.0))
(assert (<= X_1  1.0))
; Hidden constraints
(assert (or
    (and (<  N_4 0))
    (and (<  N_2 0) (>= N_4 0))
    (and (>= N_2 0) (>= N_1 0) (>= N_4 0))
    (and (>= N_2 0) (<  N_1 0) (>= N_4 0))
))
(assert (<= Y_0 Y_1))
"""
HEAD = "(declare-const X_0 X_1 Real)(declare-const Y_0 Y_1 Real)(declare-pwl N_1 N_2 N_3 N_4 ReLU)"


def network(neurons: int = 4, inputs: int = 2) -> Network:
    return Network.from_layers([(np.ones((neurons, inputs)), np.zeros(neurons)), (np.ones((2, neurons)), np.zeros(2))])


def read(text: str) -> CaseTree:
    return aptp_tree("proof.aptp", text, network())


def test_the_example_of_the_format() -> None:
    tree = read(SAMPLE)
    assert tree.kind == (NEURON_SPLIT, LEAF, NEURON_SPLIT, LEAF, NEURON_SPLIT, LEAF, LEAF)
    assert [i for i, kind in zip(tree.index, tree.kind, strict=True) if kind] == [3, 1, 0]
    assert tree.names == ("leaf 1", "leaf 2", "leaf 4", "leaf 3")


def test_input_cells_with_rounded_numbers_are_a_tree_without_slivers() -> None:
    cells = [
        "(>= X_0 0.0) (<= X_0 0.3333333333)",
        "(>= X_0 0.33333333334) (<= X_0 1) (<= X_1 0.5)",
        "(>= X_0 0.3333333333) (<= X_0 1.00000001) (>= X_1 0.5)",
    ]
    tree = read(f"{HEAD}(assert (or {' '.join(f'(and {cell})' for cell in cells)}))")
    assert tree.kind == (INPUT_SPLIT, LEAF, INPUT_SPLIT, LEAF, LEAF)
    assert tree.index == (0, 0, 1, 0, 0) and tree.names == ("leaf 1", "leaf 2", "leaf 3")


def test_the_bounds_of_the_property_tell_where_an_input_cell_is_missing() -> None:
    bounds = "(assert (>= X_0 0))(assert (<= X_0 2))"
    cells = "(assert (or (and (<= X_0 0.5)) (and (>= X_0 0.5) (<= X_0 1))))"
    assert read(HEAD + cells).names == ("leaf 1", "leaf 2")
    assert sorted(read(HEAD + bounds + cells).names) == ["leaf 1", "leaf 2", "the missing case"]


def test_a_missing_case_is_a_leaf_of_its_own() -> None:
    tree = read(SAMPLE.replace("(and (<  N_2 0) (>= N_4 0))", ""))
    assert "the missing case" in tree.names
    (missing,) = [cell for cell, name in zip(cells_of(tree), tree.names, strict=True) if name == "the missing case"]
    assert missing.phases == {3: True, 1: False}


def test_a_disjunction_of_outputs_is_part_of_the_property() -> None:
    assert read(SAMPLE + "(assert (or (and (<= Y_0 Y_1)) (and (>= Y_1 2.5))))").names == read(SAMPLE).names


def test_assumptions_are_written_out() -> None:
    tree = read(SAMPLE)
    assert tree.assumptions(2, lambda n: f"n{n}") == "n3 active, n1 active, n0 inactive"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no proof"),
        (HEAD, "contains no proof"),
        (HEAD + "(assert (or (and (< N_1 0))", "ends inside of 'or'"),
        (SAMPLE + ")", "no opening one"),
        (HEAD + "(assert (or (and (< N_9 0))))", "N_9 is not declared"),
        (HEAD + "(declare-pwl N_1 ReLU)", "declared twice"),
        (HEAD + "(declare-pwl N_0 ReLU)", "neurons are N_1"),
        (HEAD + "(declare-pwl N_5 Sigmoid)", "has the form"),
        (HEAD + "(declare-pwl N_5 ReLU)(assert (or (and (< N_5 0)) (and (>= N_5 0))))", "has 4 neurons"),
        (HEAD.replace("X_1", "X_1 X_2") + "(assert (or (and (< N_1 0))))", "declares 3 inputs"),
        (HEAD + "(assert (or (and (< N_1 0) (>= N_1 0))))", "speaks of N_1 twice"),
        (HEAD + "(assert (or (and (< N_1 1))))", "split at its sign"),
        (HEAD + "(assert (or (and (<= N_1 0))))", "split at its sign"),
        (HEAD + "(assert (or (and (< N_1 N_2))))", "compared with N_2"),
        (HEAD + "(assert (or (and (>= X_0 1) (<= X_0 0))))", "no value of X_0"),
        (HEAD + "(assert (or (and (>= X_0 1e9999))))", "not a finite number"),
        (HEAD + "(assert (or (and (>= X_0 nan))))", "not understood"),
        (HEAD + "(assert (or))", "is empty"),
        (HEAD + "(assert (and (< N_1 0)))", "'and' does not stand here"),
        (HEAD + "(assert (or (or (and (< N_1 0)))))", "'or' does not stand here"),
        (HEAD + "(assert (< N_1 0))", "outside of a proof"),
        (HEAD + "(assert)", "has one condition"),
        (HEAD + "(assert (or " + "(and " * 100_000, "'and' does not stand here"),
        ("(" * 100_000, "not understood"),
    ],
)
def test_what_is_refused_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_cases_that_are_no_tree_are_given_up_before_they_fill_the_memory() -> None:
    rng = np.random.default_rng(0)
    cases = [Case("", dict.fromkeys(rng.permutation(60)[:30].tolist(), bool(k % 2)), {}, {}) for k in range(300)]
    with pytest.raises(InputError, match="are no tree"):
        cover(cases, "proof")


# cells of random trees


@st.composite
def random_cells(draw: st.DrawFn) -> list[Cell]:
    """The leaves of a random tree over 5 neurons and 2 inputs in [0, 1], in random order."""
    finished: list[Cell] = []
    pending = [Cell({}, {0: 0.0, 1: 0.0}, {0: 1.0, 1: 1.0})]
    while pending:
        cell = pending.pop()
        free = [n for n in range(5) if n not in cell.phases]
        choice = draw(st.integers(0, 3 + len(cell.phases))) if len(pending) + len(finished) < 30 else 9
        if choice in (0, 1) and free:
            neuron = draw(st.sampled_from(free))
            pending += [Cell({**cell.phases, neuron: phase}, cell.lower, cell.upper) for phase in (False, True)]
        elif choice == 2:
            i = draw(st.integers(0, 1))
            t = cell.lower[i] + (cell.upper[i] - cell.lower[i]) * draw(st.sampled_from([0.25, 0.5, 0.75]))
            pending.append(Cell(cell.phases, cell.lower, {**cell.upper, i: t}))
            pending.append(Cell(cell.phases, {**cell.lower, i: t}, cell.upper))
        else:
            finished.append(cell)
    return draw(st.permutations(finished))


@settings(max_examples=150, deadline=None)
@given(random_cells(), st.integers(0, 2**32))
def test_the_cells_of_a_tree_give_a_tree_of_the_same_cells(cells: list[Cell], seed: int) -> None:
    cases = [Case(str(k), cell.phases, cell.lower, cell.upper) for k, cell in enumerate(cells)]
    tree = cover(cases, "proof")
    assert sorted(tree.names, key=str) == sorted(map(str, range(len(cells))), key=str)
    found = dict(zip(tree.names, cells_of(tree), strict=True))
    for k, cell in enumerate(cells):
        other = found[str(k)]
        assert other.phases == cell.phases
        for i in range(2):
            assert other.lower.get(i, 0.0) == cell.lower[i] and other.upper.get(i, 1.0) == cell.upper[i]


@settings(max_examples=100, deadline=None)
@given(random_cells(), st.data())
def test_every_point_lies_in_a_cell_that_its_leaf_is_named_after(cells: list[Cell], data: st.DataObject) -> None:
    """Also where cells are missing, or overlap."""
    kept = data.draw(st.lists(st.sampled_from(cells), min_size=1, max_size=len(cells)))
    tree = cover([Case(str(k), c.phases, c.lower, c.upper) for k, c in enumerate(kept)], "proof", {0: (0, 1), 1: (0, 1)})
    for leaf, name in zip(cells_of(tree), tree.names, strict=True):
        phases = {n: leaf.phases.get(n, data.draw(st.booleans())) for n in range(5)}
        middle = [(leaf.lower.get(i, 0.0) + leaf.upper.get(i, 1.0)) / 2 for i in range(2)]
        holders = [
            str(k)
            for k, c in enumerate(kept)
            if all(phases[n] == p for n, p in c.phases.items())
            and all(c.lower[i] <= middle[i] <= c.upper[i] for i in range(2))
        ]
        assert name in holders if name != "the missing case" else not holders


# fuzz


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_read(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([SAMPLE, aptp(network(), all_patterns(4))]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.text(max_size=3)
            | st.sampled_from(["(", ")", "(and ", "(or ", "(assert ", "N_1", "X_0", "-1e400", "< ", ";", "\0"])
        )
        text = text[:at] + piece + text[at + data.draw(st.integers(0, 12)) :]
    try:
        tree = read(text)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert tree.leaves == tree.kind.count(LEAF)
        tree.check_fit(network())
