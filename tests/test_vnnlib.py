"""VNN-LIB 1.0: meaning against a naive evaluation of the text, exact numbers, damaged files, the benchmark's files."""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydual import Checker, InputError, Network, PydualError, UnsupportedError, load_checker
from pydual.checker import MAX_DEPTH, And, Or
from pydual.io.witness import witness_text
from pydual.problem import normalize

HEAD = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
BOX = "(assert (>= X_0 -1))\n(assert (<= X_0 1))\n(assert (>= X_1 0))\n(assert (<= X_1 0.5))\n"

Read = Callable[[str], Checker]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    path = tmp_path_factory.mktemp("vnnlib") / "p.vnnlib"

    def read_text(text: str) -> Checker:
        path.write_text(text, encoding="utf-8")
        return load_checker(path)

    return read_text


# ---- meaning: the text, evaluated naively

Form = str | list


def forms(text: str) -> list[Form]:
    words = iter(text.replace("(", " ( ").replace(")", " ) ").split())

    def until_closed() -> list[Form]:
        found: list[Form] = []
        for word in words:
            if word == ")":
                return found
            found.append(until_closed() if word == "(" else word)
        return found

    return until_closed()


def evaluate(form: Form, point: dict[str, Fraction]) -> Any:
    if isinstance(form, str):
        return point[form] if form in point else Fraction(form)
    word, *parts = form
    values = [evaluate(part, point) for part in parts]
    match word, values:
        case "and", _:
            return all(values)
        case "or", _:
            return any(values)
        case "not", [a]:
            return not a
        case ("<=" | "<" | ">=" | ">" | "="), [a, b]:
            return {"<=": a <= b, "<": a < b, ">=": a >= b, ">": a > b, "=": a == b}[word]
        case "-", [a]:
            return -a
        case "+", _:
            return sum(values)
        case "-", _:
            return values[0] - sum(values[1:])
        case "*", _:
            return math.prod(values)
        case "/", [a, b]:
            return a / b
    raise AssertionError(form)


def truth(text: str, x: list[float], y: list[float]) -> bool:
    names = [(f"X_{i}", v) for i, v in enumerate(x)] + [(f"Y_{j}", v) for j, v in enumerate(y)]
    point = {name: Fraction(v) for name, v in names}
    return all(evaluate(form[1], point) for form in forms(text) if form[0] == "assert")


decimals = st.sampled_from(["0", "0.1", "-0.1", "0.25", "1e-1", "2.5E-1", ".5", "1.", "-1", "(/ 1 3)", "(- 0.1)"])
terms: st.SearchStrategy[str] = st.recursive(
    st.one_of(decimals, st.sampled_from(["X_0", "X_1", "Y_0", "Y_1"])),
    lambda inner: st.one_of(
        st.builds("(+ {} {} {})".format, inner, inner, inner),
        st.builds("(- {} {})".format, inner, inner),
        st.builds("(- {})".format, inner),
        st.builds("(* {} {})".format, decimals, inner),
        st.builds("(* {} {})".format, inner, decimals),
        st.builds("(/ {} 3)".format, inner),
    ),
    max_leaves=4,
)
comparisons = st.builds("({} {} {})".format, st.sampled_from(["<=", "<", ">=", ">", "="]), terms, terms)
conditions: st.SearchStrategy[str] = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(
            lambda word, parts: f"({word} {' '.join(parts)})",
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=6,
)
neighbors = [math.nextafter(0.1, 0), math.nextafter(0.3, 1)]
values = st.sampled_from([0.0, 0.1, 0.25, 0.5, -0.1, 1.0, -1.0, 0.3, 1 / 3, *neighbors])


@settings(max_examples=300)
@given(st.lists(conditions, min_size=1, max_size=3), st.lists(st.tuples(*[values] * 4), min_size=1, max_size=4))
def test_the_checker_means_what_the_text_says(read: Read, asserts: list[str], points: list[tuple[float, ...]]) -> None:
    text = BOX + "\n".join(f"(assert {condition})" for condition in asserts)
    try:
        checker = read(HEAD + text)
    except InputError as error:  # the bounds of the inputs contradict each other
        assert "empty interval" in str(error)
        assert not any(truth(text, list(p[:2]), list(p[2:])) for p in points)
        return
    for point in points:
        x, y = list(point[:2]), list(point[2:])
        edges = zip(x, checker.region.inner_lower, checker.region.inner_upper, strict=True)
        if any(v in (low, high) for v, low, high in edges):
            continue  # bounds of the box are read as the nearest float64, the text is not
        assert checker.is_catastrophe(x, y) == truth(text, x, y)


def test_bounds_that_are_no_floats_are_read_as_the_nearest_ones(read: Read) -> None:
    """As in the competition's checker; a proof covers the decimals too."""
    bounds = "(>= X_0 0.1)", "(<= X_0 0.7)", "(>= X_1 (/ 1 3))", "(<= X_1 9e-1)", "(<= Y_0 0)"
    text = "".join(f"(assert {bound})" for bound in bounds)
    checker = read(HEAD + text)
    assert not [i for i in (0, 1) if i in checker.catastrophe.margin.x]  # type: ignore[union-attr]
    for start in (0.1, 0.7, 0.4, 1 / 3, 0.9):
        for v in (start, math.nextafter(start, 0), math.nextafter(start, 1)):
            for x in ([v, 0.5], [0.5, v]):
                assert checker.is_catastrophe(x, [0.0, 0.0]) == (0.1 <= x[0] <= 0.7 and 1 / 3 <= x[1] <= 0.9)
    assert Fraction(checker.region.lower[0]) <= Fraction("0.1") and Fraction(checker.region.upper[0]) >= Fraction("0.7")
    assert checker.region.inner_lower.tolist() == [0.1, 1 / 3] and checker.region.inner_upper.tolist() == [0.7, 0.9]


def test_the_tightest_of_several_bounds_counts(read: Read) -> None:
    more = "(assert (<= X_0 0.75)) (assert (<= X_0 0.8)) (assert (and (>= 0.25 X_1) (<= (* -4 X_0) 2)))"
    checker = read(HEAD + BOX + more)
    assert checker.region.upper.tolist() == [0.75, 0.25] and checker.region.lower.tolist() == [-0.5, 0.0]


def test_a_property_without_outputs_is_true_everywhere_in_the_box(read: Read) -> None:
    checker = read(HEAD + BOX)
    assert checker.is_catastrophe([0.0, 0.0], [9.0, -9.0]) and not checker.is_catastrophe([2.0, 0.0], [9.0, -9.0])
    (problem,) = normalize(Network.from_layers([(np.ones((2, 2)), np.zeros(2))]), checker)
    assert problem.margins == ()


def test_several_boxes_become_their_hull_and_one_problem_each(read: Read) -> None:
    boxes = "(and (>= X_0 0) (<= X_0 1) (<= Y_0 0)) (and (>= X_0 2) (<= X_0 3.5) (<= Y_1 0))"
    checker = read(HEAD + f"(assert (>= X_1 0)) (assert (<= X_1 1)) (assert (or {boxes}))")
    assert checker.region.lower.tolist() == [0, 0] and checker.region.upper.tolist() == [3.5, 1]
    problems = normalize(Network.from_layers([(np.ones((2, 2)), np.zeros(2))]), checker)
    assert [(p.region.lower[0], p.region.upper[0]) for p in problems] == [(0, 1), (2, 3.5)]
    assert checker.is_catastrophe([0.5, 0], [0, 1]) and not checker.is_catastrophe([0.5, 0], [1, 0])
    assert checker.is_catastrophe([2.5, 0], [1, 0]) and not checker.is_catastrophe([1.5, 0], [0, 0])


def test_an_alternative_that_is_empty_does_not_widen_the_hull(read: Read) -> None:
    boxes = "(and (>= X_0 9) (<= X_0 8)) (and (>= X_0 2) (<= X_0 3))"
    checker = read(HEAD + f"(assert (>= X_1 0)) (assert (<= X_1 1)) (assert (or {boxes}))")
    assert (checker.region.lower[0], checker.region.upper[0]) == (2, 3)


def test_strict_bounds_of_inputs_exclude_the_boundary(read: Read) -> None:
    checker = read(HEAD + BOX + "(assert (< X_0 0.5)) (assert (<= Y_0 0))")
    assert checker.region.upper[0] == 0.5
    assert not checker.is_catastrophe([0.5, 0.0], [0.0, 0.0])
    assert checker.is_catastrophe([math.nextafter(0.5, 0), 0.0], [0.0, 0.0])


def test_layout_comments_and_other_commands_are_harmless(read: Read) -> None:
    plain = read(HEAD + BOX + "(assert (or (<= Y_0 0) (< Y_1 Y_0)))")
    other = read(
        "\ufeff; (assert (<= X_0 0)) a comment (\n(set-logic QF_LRA)\r\n"
        '(set-info :source |a ( b|)\n(set-info :x "c ) d")\n'
        + HEAD.replace("(declare-const X_1 Real)", "( declare-fun\tX_1 ( ) Real )")
        + BOX.replace("(assert (<= X_0 1))", "(assert;comment\n(and\n(<= ; comment (\n X_0 1.0e0)))")
        + "(assert(or(<= Y_0 0)(< Y_1 Y_0)))(check-sat)(get-model)\n(exit) ; the end"
    )
    assert other.catastrophe == plain.catastrophe and other.outputs == plain.outputs == 2
    assert other.region.upper.tolist() == plain.region.upper.tolist()


def test_gzip_is_recognized_by_content(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib"  # not called .gz
    path.write_bytes(gzip.compress((HEAD + BOX + "(assert (<= Y_0 0))").encode()))
    assert load_checker(path).region.upper.tolist() == [1.0, 0.5]


# ---- damage


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not declare X_0"),
        ("; nothing", "does not declare X_0"),
        ("(declare-const X_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))", "does not declare Y_0"),
        (HEAD + "(declare-const X_3 Real)" + BOX, "does not declare X_2"),
        (HEAD + "(declare-const X_1 Real)", "line 5: X_1 is declared twice"),
        (HEAD + "(declare-const X_01 Real)", "line 5: write a declaration as"),
        (HEAD + "(declare-const Z_0 Real)", "line 5: write a declaration as"),
        (HEAD + "(declare-const X_2 Int)", "line 5: write a declaration as"),
        (HEAD + BOX + "(assert (<= X_7 1))", "line 9: X_7 is not declared"),
        (HEAD + BOX + "(assert (<= (+ Y_0 Y_7) 1))", "line 9: Y_7 is not declared"),
        (HEAD + BOX + "(assert (<= Y_7 1))", "line 9: Y_7 is not declared"),
        (HEAD + BOX + "(assert (or (<= Y_7 Y_7)))", "line 9: Y_7 is not declared"),
        (HEAD + BOX + "\n(assert (or (<= Y_0 1)", r"line 10: '\(assert' is never closed"),
        (HEAD + BOX + "\n(assert (<= Y_0 1)\n(assert (<= X_0 1))", "line 11: an assertion starts inside"),
        (HEAD + BOX + "\n(assert (<= Y_0 1)\n(assert (or (<= X_0 1)))", r"line 11: '\(assert' cannot stand inside"),
        ("(assert\n" + HEAD, "line 2: a declaration starts inside"),
        (HEAD + BOX + "(assert (<= Y_0 1)))", "line 9: a closing parenthesis has no opening one"),
        (HEAD + BOX + "(assert (<= Y_0 ))", "line 9: '<=' compares 1 terms"),
        (HEAD + BOX + "(assert (<= 0 Y_0 1))", "line 9: '<=' compares 3 terms"),
        (HEAD + BOX + "(assert (<= Y_0 1_000))", "line 9: '1_000' is no variable"),
        (HEAD + BOX + "(assert (<= Y_0 nan))", "line 9: 'nan' is no variable"),
        (HEAD + BOX + "(assert (<= Y_0 1e99999999))", "line 9: '1e99999999' is no variable"),
        (HEAD + BOX + '(assert (<= Y_0 "1"))', "line 9: '\"1\"' is no variable"),
        (HEAD + BOX + '(assert (<= Y_0 "1))', "line 9: '\"' does not belong here"),
        (HEAD + BOX + "(assert (and))", "line 9: 'and' has 0 parts"),
        (HEAD + BOX + "(assert)", "line 9: 'assert' has 0 parts"),
        (HEAD + BOX + "(assert (not (<= Y_0 0) (<= Y_1 0)))", "line 9: 'not' has 2 parts"),
        (HEAD + BOX + "(assert (<= Y_0 0) (<= Y_1 0))", "line 9: 'assert' has 2 parts"),
        (HEAD + BOX + "(assert true)", "line 9: 'true' stands where a parenthesis has to open"),
        (HEAD + BOX + "(<= Y_0 0)", r"line 9: '\(<=' cannot stand inside of 'file'"),
        (HEAD + BOX + "(assert (<= (<= Y_0 1) 0))", r"line 9: '\(<=' cannot stand inside of '<='"),
        (HEAD + BOX + "(assert (<= (and Y_0) 0))", r"line 9: '\(and' cannot stand inside of '<='"),
        (HEAD + BOX + "(assert (+ Y_0 1))", r"line 9: '\(\+' cannot stand inside of 'assert'"),
        (HEAD + BOX + "(assert ((<= Y_0 1)))", r"line 9: '\(' cannot stand inside of 'assert'"),
        (HEAD + BOX + "(assert (<= (+) 1))", "line 9: '\\+' lacks terms"),
        (HEAD + BOX + "(assert (<= Y_0 (/ 1 0)))", "line 9: a division by zero"),
        (HEAD + BOX + "(assert (<= X_0 -1.5))", "X_0 the empty interval \\[-1.0, -1.5\\]"),
        (HEAD + BOX + "(assert (or (>= X_1 2) (and (>= X_1 3) (<= Y_0 0))))", "X_1 the empty interval"),
        (HEAD + BOX + "(assert (or (and (>= X_1 2) (<= X_1 1))))", "X_1 the empty interval"),
        (HEAD + BOX + "(assert (or (and (>= X_1 2) (<= X_1 1)) (and (>= X_0 2) (<= X_0 1))))", "allows no input"),
        (HEAD + BOX.replace("(assert (<= X_0 1))", ""), "X_0 no upper bound"),
        (HEAD + BOX.replace("(assert (<= X_0 1))", "(assert (or (<= X_0 1) (<= Y_0 1)))"), "X_0 no upper bound"),
        (HEAD + BOX.replace("(<= X_0 1)", "(<= X_0 1e400)"), "Input 0 .* finite"),
    ],
)
def test_damage_is_one_sentence_with_file_and_line(read: Read, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(text)
    assert "p.vnnlib" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(vnnlib-version <2.0>)\n(declare-network f)", "line 1: this is VNN-LIB 2; VNN-LIB 1.0 is supported"),
        (HEAD + BOX + "(assert (<= (* Y_0 Y_1) 0))", "line 9: a product or quotient of variables"),
        (HEAD + BOX + "(assert (<= (/ 1 Y_1) 0))", "line 9: a product or quotient of variables"),
        (HEAD + BOX + "(assert (<= (sin Y_1) 0))", "line 9: 'sin' is not supported in '<=', which takes"),
        (HEAD + BOX + "(assert (=> (<= Y_0 0) (<= Y_1 0)))", "line 9: '=>' is not supported in 'assert'"),
        (HEAD + BOX + "(push 1)", "line 9: 'push' is not supported in 'file'"),
        (HEAD + BOX + "(define-fun f () Real 1)", "line 9: 'define-fun' is not supported"),
    ],
)
def test_what_is_not_covered_is_named(read: Read, text: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        read(text)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib"
    with pytest.raises(InputError, match="p.vnnlib cannot be read: No such file"):
        load_checker(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_checker(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        load_checker("a\0b")
    path.write_bytes(b"\x08\x07\x12\xff\xfe")
    with pytest.raises(InputError, match="not a text file"):
        load_checker(path)
    zipped = gzip.compress((HEAD + BOX).encode())
    for damaged in (zipped[:-12], zipped[:9], zipped[:20] + b"\0\0\0\0" + zipped[24:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged gzip"):
            load_checker(path)


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydual.io.vnnlib.MAX_BYTES", 10_000)
    path = tmp_path / "p.vnnlib.gz"
    path.write_bytes(gzip.compress(b" " * 100_000))
    with pytest.raises(InputError, match="more than 10000 bytes"):
        load_checker(path)


# ---- nesting and size


def nested(opening: str, inner: str, depth: int) -> str:
    left_open = opening.count("(") - opening.count(")")
    return HEAD + BOX + "(assert " + opening * depth + inner + ")" * (left_open * depth) + ")"


@pytest.mark.parametrize("opening", ["(and ", "(or ", "(not (not ", "(and (<= Y_1 0) ", "(or (<= Y_1 0) "])
def test_nesting_of_one_connective_is_unlimited(read: Read, opening: str) -> None:
    checker = read(nested(opening, "(<= Y_0 0)", 20_000))
    assert checker.is_catastrophe([0, 0], [0, 0]) and not checker.is_catastrophe([0, 0], [1, 1])
    assert not any(isinstance(part, And | Or) for part in getattr(checker.catastrophe, "parts", ()))


def test_nesting_of_terms_is_unlimited(read: Read) -> None:
    term = "(+ 1 (- " * 20_001 + "Y_0" + "))" * 20_001  # 1 - (1 - (... - Y_0)), an odd number of times
    checker = read(HEAD + BOX + f"(assert (<= {term} 0))")
    assert checker.catastrophe == read(HEAD + BOX + "(assert (<= (- 1 Y_0) 0))").catastrophe
    wide = "(+ X_0 (- " * 20_000 + "X_1" + "))" * 20_000
    assert read(HEAD + BOX + f"(assert (<= Y_0 {wide}))").catastrophe.margin.x == {1: Fraction(-1)}  # type: ignore[union-attr]


def test_alternating_connectives_have_a_limit(read: Read) -> None:
    opening = "(and (<= Y_0 0) (or (<= Y_1 0) "
    checker = read(nested(opening, "(= Y_0 0)", (MAX_DEPTH - 2) // 2))
    assert checker.is_catastrophe([0, 0], [0, 0])
    for depth in (MAX_DEPTH // 2, 100_000):
        with pytest.raises(UnsupportedError, match="alternate"):
            read(nested(opening, "(<= Y_0 0)", depth))


@pytest.mark.parametrize("opening", ["(", "(and ", "(or (and ", "(assert ", "(not ", "(set-info "])
def test_ten_megabytes_of_parentheses_are_refused(read: Read, opening: str) -> None:
    for text in (opening * (10_000_000 // len(opening)), HEAD + BOX + "(assert " + opening * 1_000_000):
        with pytest.raises(InputError):
            read(text)


def test_long_numbers_are_refused(read: Read) -> None:
    power = "(* 1e9999 " * 2000 + "Y_0" + ")" * 2000
    denominators = "(+ Y_0 " + " ".join(f"(/ 1 {10**50 + k})" for k in range(2000)) + ")"
    for term in (power, denominators):
        with pytest.raises(UnsupportedError, match="line 9: a coefficient has more than 20000 bits"):
            read(HEAD + BOX + f"(assert (<= {term} 0))")
    for text in ("(assert (<= Y_0 {}))", "(assert (<= X_0 {}))"):
        with pytest.raises(InputError, match="line 9: '1111.* is no variable"):
            read(HEAD + BOX + text.format("1" * 1_000_000))


SEEDS = [
    HEAD + BOX + "(assert (or (and (<= Y_0 Y_1) (< (+ (* 2 Y_0) X_0) 0.5)) (not (= Y_1 (/ 1 3)))))\n",
    "; c\n(declare-fun X_0 () Real)(declare-fun Y_0 () Real)\n(assert (or (and (>= X_0 -1) (<= X_0 1e0) (>= Y_0 9))))",
    "(set-logic QF_LRA)\n" + HEAD + BOX + "(assert (<= Y_0 -1.5e-3))\n(check-sat)",
]
PIECES = ["(", ")", "))", "((", "X_0", "Y_9", "X_9999999", "<=", "=", "and", "or", "not", "assert", "-", "+", "*", "/"]
PIECES += ["1e9999", "1e-9999", "0", "-0.0", "1/3", ";", "|", '"', "\0", "é", "\n", " "]
PIECES += ["(declare-const X_2 Real)", "(assert (<= X_0 0))", "(assert"]


def test_a_quotation_that_spans_lines_is_quoted_on_one(read: Read) -> None:
    with pytest.raises(PydualError, match=r"'\|a b\|' stands where a parenthesis has to open") as caught:
        read("|a\nb|\n" + HEAD + BOX)
    assert "\n" not in str(caught.value)


@settings(max_examples=400)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_mutated_files_give_a_checker_or_an_error_of_ours(read: Read, text: str, seed: int, count: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        a, b = sorted(rng.choices(range(len(text) + 1), k=2))
        text = rng.choice(
            [
                text[:a] + text[min(b, a + 12) :],
                text[:a] + rng.choice(PIECES) + text[a:],
                text[:a] + text[a : a + 20] * 2 + text[a + 20 :],
                text[:a],
            ]
        )
    try:
        checker = read(text)
    except PydualError as error:
        assert "\n" not in str(error)
        return
    point = np.clip(0.0, checker.region.lower, checker.region.upper)
    assert checker.is_catastrophe(point, np.zeros(checker.outputs or 0)) in (True, False)


# ---- the benchmark's files

FOLDERS = ["acasxu_2023", "cersyve", "cifar10_resnet_2021", "collins_rul_cnn_2022", "cora_2024", "dist_shift_2023"]
FOLDERS += ["drones_1d_hovering", "linearizenn_2024", "lsnc", "malbeware", "mnist_fc", "oval21", "reach_prob_density"]
FOLDERS += ["rl_benchmarks", "safenlp_2024", "sat_relu", "test", "tllverifybench_2023"]


def model_sizes(path: Path) -> tuple[int, int]:
    """The numbers of inputs and outputs that an ONNX file declares; a symbolic dimension is a batch of one."""
    import onnx

    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    shapes = [[d.dim_value or 1 for d in side[0].type.tensor_type.shape.dim] for side in (inputs, graph.output)]
    return math.prod(shapes[0]), math.prod(shapes[1])


@pytest.mark.parametrize("folder", FOLDERS)
def test_benchmark_files_fit_their_networks(bench: Path, folder: str) -> None:
    with open(bench / folder / "instances.csv", newline="") as file:
        rows = [(row[0], row[1]) for row in csv.reader(file) if row]
    sizes: dict[str, tuple[int, int]] = {}
    for model, spec in sorted(set(rows)):
        if not (bench / folder / model).exists() or not (bench / folder / spec).exists():
            continue
        sizes.setdefault(model, model_sizes(bench / folder / model))
        checker = load_checker(bench / folder / spec)
        assert (checker.region.size, checker.outputs) == sizes[model]
    assert sizes


@pytest.mark.parametrize(
    "spec", ["acasxu_2023/vnnlib/prop_2.vnnlib", "test/test_small.vnnlib", "sat_relu", "lsnc", "reach_prob_density"]
)
def test_benchmark_files_mean_what_their_text_says(bench: Path, spec: str) -> None:
    path = bench / spec if spec.endswith("lib") else min((bench / spec / "vnnlib").iterdir())
    text = "\n".join(line.partition(";")[0] for line in path.read_text().splitlines())
    checker = load_checker(path)
    rng = np.random.default_rng(7)
    found = set()
    for _ in range(200):
        x = rng.uniform(checker.region.lower, checker.region.upper)
        y = rng.choice([-200.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 200.0], checker.outputs)
        i = rng.integers(len(x))
        low, high = checker.region.inner_lower[i], checker.region.inner_upper[i]  # the float64 nearest to the text's decimals
        x[i] = rng.choice([np.nextafter(low, high), np.nextafter(high, low), np.nextafter(low, -np.inf), x[i]])
        assert checker.is_catastrophe(x, y) == truth(text, x.tolist(), y.tolist())
        found.add(checker.is_catastrophe(x, y))
    assert False in found


# ---- witnesses


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.data())
def test_witnesses_read_back_exactly(x: list[float], data: st.DataObject) -> None:
    single = st.floats(width=32, allow_nan=False, allow_infinity=False)
    y = np.array(data.draw(st.lists(single, min_size=1)), dtype=np.float32)
    lines = witness_text(np.array(x), y).splitlines()
    assert lines[0].startswith("((X_0 ") and lines[-1].endswith("))")
    assert all(line.startswith(" (") for line in lines[1:])
    pairs = [line.strip("() ").split() for line in lines]
    assert [name for name, _ in pairs] == [f"X_{i}" for i in range(len(x))] + [f"Y_{j}" for j in range(len(y))]
    numbers = [number for _, number in pairs]
    assert [float(v) for v in numbers[: len(x)]] == x
    assert np.array(numbers[len(x) :], dtype=np.float32).tobytes() == y.tobytes()
    assert [float(v) for v in numbers[len(x) :]] == y.astype(np.float64).tolist()


def test_the_witness_of_the_convention() -> None:
    assert witness_text(np.array([[0.025, 0.5]]), np.array([-1.25])) == "((X_0 0.025)\n (X_1 0.5)\n (Y_0 -1.25))"


def test_a_witness_is_finite() -> None:
    with pytest.raises(InputError, match="Y contains NaN"):
        witness_text(np.zeros(1), np.array([np.nan]))
