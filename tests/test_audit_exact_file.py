"""Certificate files for the exact audit: the same verdicts as in memory, bounded memory, and no malformed file gets in."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_instances as instances
from random_proofs import certify, judged, random_case, random_gram_case, single_leaf

from pydual.audit import query
from pydual.audit.exact import audit_exact
from pydual.audit.exact_file import COLUMNS, GRAM_COLUMNS, PARTS, open_proof
from pydual.certificate import GRAM_LEAF, INPUT_SPLIT, LEAF, Proof, ProofTree
from pydual.checker import Checker, Y
from pydual.errors import CertificateError
from pydual.network import Network
from pydual.region import Region


@pytest.mark.parametrize("kind", ["dense", "branches", "curves"])
def test_files_are_judged_like_memory(kind: str, tmp_path: Path) -> None:
    verdicts = set()
    for seed in range(20):
        for constant, arithmetic in ((0, "real"), (2**10, "real"), (2**10, "float32")):
            case = random_case if seed % 2 else random_gram_case
            network, checker, trees = case(seed, kind, "both", None, Fraction(constant))
            proof = certify(network, checker, trees, arithmetic)
            proof.save(tmp_path / "proof.cert")
            with open_proof(tmp_path / "proof.cert") as opened:
                found = judged(audit_exact, opened, network, checker)
            assert found == judged(audit_exact, proof, network, checker)
            verdicts.add(found is not None)
    assert verdicts == {True, False}


def test_columns_are_those_of_the_proof(tmp_path: Path) -> None:
    network, checker, trees = random_gram_case(1, "dense", "both", None)
    assert sum(len(tree.products) for tree in trees) > 5
    proof = certify(network, checker, (*trees, single_leaf(1)))
    proof.save(tmp_path / "proof.cert")
    with open_proof(tmp_path / "proof.cert") as opened:
        groups = [(*pair, COLUMNS + GRAM_COLUMNS) for pair in zip(opened.trees, proof.trees, strict=True)]
        groups += [(*pair, PARTS) for pair in zip(opened.refinements, proof.refinements, strict=True)]
        assert len(groups) > len(trees)
        for read, tree, names in groups:
            for name in names:
                found, wanted = getattr(read, name), getattr(tree, name)
                assert (found.dtype, found.shape) == (str(wanted.dtype), wanted.shape)
                assert found[0 : 10**9] == wanted.tolist() and found[1:2] == wanted[1:2].tolist()


# memory


RELU = Network.from_layers([([[1.0]], [0.0]), ([[1.0]], [0.0])])
CHECKER = Checker(Region([0.0], [1.0]), Y[0] <= -1)


def comb(leaves: int, *, deep: bool) -> ProofTree:
    """A tree of splits at 2, outside of the box: each second child is empty; the first (``deep``) or second goes on."""
    splits = leaves - 1
    kind = [INPUT_SPLIT] * splits + [LEAF] * leaves if deep else [INPUT_SPLIT, LEAF] * splits + [LEAF]
    anchor = np.zeros(len(kind), np.uint8)
    anchor[0] = 1
    return replace(
        single_leaf(1),
        kind=np.array(kind, np.uint8),
        index=np.zeros(splits, np.int32),
        threshold=np.full(splits, 2.0),
        anchor=anchor,
        lines=np.full(leaves, -1, np.int32),
        multipliers=np.ones((leaves, 1), np.uint8),
    )


def test_a_large_tree_needs_little_memory(tmp_path: Path) -> None:
    """The peak, without what the columns themselves take, stays far below 200,000 nodes times anything."""
    peaks = []
    for leaves in (10_000, 100_000):
        Proof(RELU.digest, certify(RELU, CHECKER, ()).query, (comb(leaves, deep=False),)).save(tmp_path / "proof.cert")
        with open_proof(tmp_path / "proof.cert") as opened:
            tracemalloc.start()
            try:
                assert audit_exact(opened, RELU, CHECKER) == 1
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    assert max(peaks) < 5_000_000 and peaks[1] < peaks[0] + 1_000_000


def test_a_deep_tree_needs_no_recursion() -> None:
    assert audit_exact(certify(RELU, CHECKER, (comb(20_000, deep=True),)), RELU, CHECKER) == 1


def test_many_rows_without_columns_are_not_counted(tmp_path: Path) -> None:
    """A shape (2**62, 0) takes no bytes: neither is it allocated nor walked through."""
    header, data = parts(saved(tmp_path, single_leaf(1)))
    assert header["0/slopes"]["shape"] == [0, 0]
    header["0/slopes"]["shape"] = [2**62, 0]
    with open_proof(written(tmp_path, header, data)) as opened:
        assert audit_exact(opened, RELU, CHECKER) == 1


# malformed files


def saved(folder: Path, *trees: ProofTree) -> Path:
    certify(RELU, CHECKER, trees).save(folder / "proof.cert")
    return folder / "proof.cert"


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    file = path.read_bytes()
    size = int.from_bytes(file[:8], "little")
    return json.loads(file[8 : 8 + size]), file[8 + size :]


def written(folder: Path, header: dict[str, Any] | bytes, data: bytes, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "forged.cert"
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def refused(path: Any) -> str:
    with pytest.raises(CertificateError) as caught:
        open_proof(path)
    return str(caught.value)


def entry(name: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(changes)


def metadata(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return entry("__metadata__", **changes)


def moved(name: str, by: int) -> Callable[[dict[str, Any]], None]:
    def move(header: dict[str, Any]) -> None:
        header[name]["data_offsets"] = [offset + by for offset in header[name]["data_offsets"]]

    return move


HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a tensor is missing": lambda h: h.pop("0/lines"),
    "a tensor too many": lambda h: h.update({"0/more": h["0/slopes"]}),
    "another name for a problem": lambda h: h.update({"00/slopes": h.pop("0/slopes")}),
    "no metadata": lambda h: h.pop("__metadata__"),
    "metadata too many": metadata(more=""),
    "metadata that are no strings": metadata(problems=1),
    "metadata null": metadata(network=None),
    "another format": metadata(format="pydual-certificate-2"),
    **{f"{n!r} problems": metadata(problems=n) for n in ("0", "2", "-1", "01", "1.0", "", "1 ", "\u0661", "9" * 900)},
    **{f"the type {t!r}": entry("0/lines", dtype=t) for t in ("U8", "I64", "i32", "", 5, None, ["I32"], {})},
    **{
        f"the shape {shape!r}": entry("0/lines", shape=shape)
        for shape in ([2], [0], [], [1, 1, 1], [-1], [1.0], [True], ["1"], [None], [[1]], 1, "1", None, [2**62, 4],
                      [2**63], [2**64 + 1], [10**500], [2**32, 2**32], {"0": 1}, [-1, -1])
    },
    **{
        f"the offsets {offsets!r}": entry("0/lines", data_offsets=offsets)
        for offsets in ([0], [], [0, 4, 4], [0, 0], [4, 0], [-4, 0], [0, 4.0], [10**6, 10**6 + 4], [2**64, 2**64 + 4],
                        ["0", "4"], [False, 4], None, 4, [10**500, 10**500 + 4])
    },
    "another member": entry("0/lines", more=1),
    "a member is missing": lambda h: h["0/lines"].pop("dtype"),
    "a tensor overlaps another": moved("0/lines", -1),
    "a tensor leaves a gap": moved("0/lines", 1),
    "an empty tensor lies outside": moved("0/slopes", 10**9),
    "a tensor is a list": lambda h: h.update({"0/lines": []}),
    "a tensor is a number": lambda h: h.update({"0/lines": 1}),
    "an object in an object": entry("0/lines", shape={"a": {"b": 1}}),
    "an endless name": lambda h: h.update({"0/lines" * 100: h.pop("0/lines")}),
}  # fmt: skip


@pytest.mark.parametrize("trick", HEADERS)
def test_forged_header(trick: str, tmp_path: Path) -> None:
    header, data = parts(saved(tmp_path, single_leaf(1)))
    HEADERS[trick](header)
    assert "is not a certificate" in refused(written(tmp_path, header, data))


def test_the_unforged_header_is_accepted(tmp_path: Path) -> None:
    header, data = parts(saved(tmp_path, single_leaf(1)))
    for text in (header, json.dumps(header, indent=3).encode() + b"  "):
        with open_proof(written(tmp_path, text, data)) as opened:
            assert audit_exact(opened, RELU, CHECKER) == 1
    with open_proof(saved(tmp_path)) as opened:
        assert opened.trees == ()


BOMB = b'{"0/lines": {"shape": ' + b"[" * 900 + b"]" * 90 + b"}}"
TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "a tensor twice": lambda t: t[:-1] + b", " + t[t.index(b'"0/lines"') : t.index(b"}", t.index(b'"0/lines"')) + 1] + b"}",
    "metadata twice": lambda t: t[:-1] + b', "__metadata__": {}}',
    "a key twice": lambda t: t.replace(b'"dtype": "I32"', b'"dtype": "I32", "dtype": "I32"', 1),
    "metadata with a key twice": lambda t: t.replace(b'"format"', b'"format": "", "format"', 1),
    "escapes in a name": lambda t: t.replace(b'"0/lines"', rb'"\u0030/lines"'),
    "something after it": lambda t: t + b"{}",
    "line ends after it": lambda t: t + b"\n",
    "nested lists": lambda t: BOMB,
    "nested lists without end": lambda t: b"[" * 100_000,
    "nested objects": lambda t: b'{"a":' * 100_000,
    "spaces without end": lambda t: b"{" + b" " * 10**6,
    "no JSON": lambda t: t.replace(b'"shape"', b"shape", 1),
    "infinity": lambda t: t.replace(b'"shape": [1]', b'"shape": [Infinity]', 1),
    "an empty object": lambda t: b"{}",
    "an empty header": lambda t: b"",
    "a list": lambda t: b"[" + t + b"]",
    "null bytes": lambda t: b"\0" * 50,
    "no text": lambda t: t.replace(b"0/lines", b"0/l\xffnes"),
    "UTF-8": lambda t: t.replace(b"0/lines", "0/lin\u00e9s".encode()),
    "a byte order mark": lambda t: b"\xef\xbb\xbf" + t,
    "cut short": lambda t: t[:-1],
}


GRAM = replace(
    single_leaf(1),
    kind=np.full(1, GRAM_LEAF, np.uint8),
    products=np.array([[0, 3]], np.int32),
    product_multipliers=np.array([0.5], np.float32),
    product_counts=np.ones(1, np.int32),
)
PRODUCTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "products are missing": lambda h: h.pop("0/products"),
    "multipliers are missing": lambda h: h.pop("0/product_multipliers"),
    "counts are missing": lambda h: h.pop("0/product_counts"),
    "products alone": lambda h: (h.pop("0/product_counts"), h.pop("0/product_multipliers")),
    "products of another tree": lambda h: [h.update({f"1/{name}": h.pop(f"0/{name}")}) for name in GRAM_COLUMNS],
    "products without a place": lambda h: h.update({"0/products_": h.pop("0/products")}),
    "no Gram leaf": lambda h: [
        h[f"0/{name}"].update(shape=[0, 2] if name == "products" else [0], data_offsets=[0, 0]) for name in GRAM_COLUMNS
    ],
}


@pytest.mark.parametrize("trick", PRODUCTS)
def test_forged_products(trick: str, tmp_path: Path) -> None:
    """All three tensors of products, or none, and none without Gram leaves."""
    header, data = parts(saved(tmp_path, GRAM))
    with open_proof(tmp_path / "proof.cert") as opened:
        assert audit_exact(opened, RELU, CHECKER) > 0
    PRODUCTS[trick](header)
    refused(retiled(tmp_path, header, data))


def retiled(folder: Path, header: dict[str, Any], data: bytes) -> Path:
    """The file with the tensors of a header one after the other, none left out, so that they alone decide."""
    pieces = []
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            entry["data_offsets"] = [sum(map(len, pieces)), sum(map(len, pieces)) + end - begin]
            pieces.append(data[begin:end])
    return written(folder, header, b"".join(pieces))


def test_products_without_tensors_are_too_short(tmp_path: Path) -> None:
    header, data = parts(saved(tmp_path, GRAM))
    for name in GRAM_COLUMNS:
        header.pop(f"0/{name}")
    with open_proof(retiled(tmp_path, header, data)) as opened:
        assert [getattr(opened.trees[0], name).shape for name in GRAM_COLUMNS] == [(0, 2), (0,), (0,)]
        with pytest.raises(CertificateError, match="'product_counts' is too short"):
            audit_exact(opened, RELU, CHECKER)


def test_retiling_alone_changes_nothing(tmp_path: Path) -> None:
    with open_proof(retiled(tmp_path, *parts(saved(tmp_path, GRAM)))) as opened:
        assert audit_exact(opened, RELU, CHECKER) > 0


@pytest.mark.parametrize("trick", TEXTS)
def test_forged_text(trick: str, tmp_path: Path) -> None:
    header, data = parts(saved(tmp_path, single_leaf(1)))
    text = json.dumps(header).encode()
    assert TEXTS[trick](text) != text
    assert "is not a certificate" in refused(written(tmp_path, TEXTS[trick](text), data))


def test_forged_lengths(tmp_path: Path) -> None:
    header, data = parts(saved(tmp_path, single_leaf(1)))
    size = len(json.dumps(header).encode())
    for length in (0, 1, size - 1, size + 1, size + len(data) + 1, 100_000_001, 2**63, 2**64 - 1):
        refused(written(tmp_path, header, data, length))
    for forged in (data + b"\0", data[:-1], b"", data * 2):
        assert "do not fill" in refused(written(tmp_path, header, forged))
    for content in (b"", b"\0" * 7, b"\0" * 8, b"\xff" * 8, b"\xff" * 100):
        (tmp_path / "short").write_bytes(content)
        refused(tmp_path / "short")


def test_things_that_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", "\0", None, tmp_path / ("x" * 5000)):
        refused(path)


def test_a_file_that_shrinks_is_rejected(tmp_path: Path) -> None:
    path = saved(tmp_path, comb(1000, deep=False))
    with open_proof(path) as opened:
        path.write_bytes(path.read_bytes()[:-900])
        with pytest.raises(CertificateError, match="cut"):
            audit_exact(opened, RELU, CHECKER)
    with pytest.raises(CertificateError, match="closed"):
        audit_exact(opened, RELU, CHECKER)


@pytest.mark.parametrize("case", [random_case, random_gram_case])
def test_mutated_files_are_rejected_or_true(case: Callable[..., Any], tmp_path: Path) -> None:
    """A byte changed, cut out or put in, anywhere: no other exception than CertificateError; what passes is true."""
    network, checker, trees = case(5, "dense", "both", None, Fraction(2**10))
    certify(network, checker, trees).save(tmp_path / "proof.cert")
    file = (tmp_path / "proof.cert").read_bytes()
    rng = np.random.default_rng(0)
    accepted = 0
    for _ in range(1000):
        at = int(rng.integers(len(file)))
        forged = [file[:at], bytes([int(rng.integers(256))]), file[at + 1 :]]
        if rng.random() < 0.2:
            forged[1] *= int(rng.integers(0, 3))
        (tmp_path / "forged.cert").write_bytes(b"".join(forged))
        try:
            with open_proof(tmp_path / "forged.cert") as opened:
                margin = audit_exact(opened, network, checker)
        except CertificateError:
            continue
        accepted += 1
        for problem in query.problems(checker):
            for x in instances.random_points(rng, problem, 2):
                assert margin <= max(instances.margins_at(problem, network, x))
    assert 0 < accepted < 900
