"""The readers of certificates, models and properties on files whose structure was changed: they give an object or an error
of pydual, no other exception, within 5 seconds and a gigabyte. Where two readers take a file, they read the same.

``tests/test_audit_readers.py`` changes bytes; here, what they say is changed. ``PYDUAL_NIGHTLY`` draws fifty times as much.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import test_audit_readers as models
import test_vnnlib as properties
from forging import LINE, NAMES, SPLITS, joined, parts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS
from sandbox import Sandbox

import pydual
from pydual.audit.exact_file import COLUMNS, open_proof
from pydual.audit.exact_network import Network as IntegerNetwork
from pydual.audit.exact_onnx import read_network
from pydual.audit.exact_vnnlib import read_checker
from pydual.audit.query import query_digest
from pydual.errors import CertificateError, InputError

TIMES = 50 if os.environ.get("PYDUAL_NIGHTLY") else 1
SECONDS = 5  # of processor time
ODD = [0, 1, -1, 2, 3, 7, 127, 128, 255, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**62, 2**63 - 1, 2**64 - 1, 2**64, 10**30]


def often(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(max_examples=TIMES * examples, deadline=None, suppress_health_check=slow)


@contextmanager
def watched() -> Iterator[None]:
    """Fails after 5 seconds of processor time."""

    def expired(*_: object) -> None:
        raise AssertionError(f"a reader took more than {SECONDS} seconds")

    previous = signal.signal(signal.SIGVTALRM, expired)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


# ---- certificates

TEXT, DATA = parts(SPLITS.file)
HEADER = json.loads(TEXT)
values = st.one_of(
    st.sampled_from([*ODD, *NAMES.values(), *HEADER, None, True, 1.0, float("nan"), "", "7", "\0", [], {}]),
    st.lists(st.sampled_from(ODD), max_size=3),
    st.integers(-10, 400),
)
steps = st.lists(
    st.tuples(
        st.sampled_from([*HEADER]), st.sampled_from(["dtype", "shape", "data_offsets", "problems", "name", "more"]), values
    ),
    max_size=3,
)


def header_of(changes: list[tuple[str, str, Any]]) -> dict[str, Any]:
    """The header with members set, tensors renamed or taken out."""
    header = json.loads(TEXT)
    for name, member, value in changes:
        if name not in header:
            continue
        if member == "name":
            header[str(value)] = header.pop(name)
        elif member == "more" and value is None:
            del header[name]
        elif isinstance(header[name], dict):
            header[name][member] = value
    return header


@often(250)
@given(steps, st.binary(max_size=20), st.integers(0, len(DATA)))
def test_certificates(folder: Path, changes: list[tuple[str, str, Any]], patch: bytes, at: int) -> None:
    """What the audit's reader takes, the other one takes too, and reads the same numbers."""
    path = folder / "c"
    path.write_bytes(
        joined(json.dumps(header_of(changes)).encode(), (DATA[:at] + patch + DATA[at + len(patch) :])[: len(DATA)])
    )
    with watched():
        try:
            with open_proof(path) as proof:
                found = [getattr(tree, name)[0:99] for tree in proof.trees for name in COLUMNS]
        except CertificateError as error:
            assert "\n" not in str(error)
            return read_or_refused(path)
        other = pydual.load_proof(path)
    expected = [getattr(tree, name).tolist() for tree in other.trees for name in COLUMNS]
    assert repr(found) == repr(expected) and (proof.network, proof.query) == (other.network, other.query)


def read_or_refused(path: Path) -> None:
    try:
        assert pydual.load_proof(path).leaves >= 0
    except CertificateError as error:
        assert str(path) in str(error)


# ---- models

FIELDS = ["dims", "data_type", "raw_data", "name", "input", "output", "op_type", "i", "f", "ints", "type", "drop", "twice"]
edits = st.lists(st.tuples(st.sampled_from(FIELDS), st.integers(0, 2**20), st.sampled_from(ODD)), min_size=1, max_size=3)
SMALL = [make().SerializeToString() for make in models.MODELS.values()]
OPERATORS = sorted(models.OPERATORS)


def edited(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    """A model with fields of its nodes, attributes and tensors changed."""
    model = onnx.load_from_string(data)
    for kind, at, value in changes:
        edit(model.graph, kind, at, value)
    return model.SerializeToString()


def edit(graph: Any, kind: str, at: int, value: int) -> None:
    node = graph.node[at % len(graph.node)] if graph.node else onnx.NodeProto()
    tensor = graph.initializer[at % len(graph.initializer)] if graph.initializer else onnx.TensorProto()
    attribute = node.attribute[at % len(node.attribute)] if node.attribute else node.attribute.add(name="axis", type=2)
    name = graph.node[value % len(graph.node)].output[0] if graph.node else "x"
    clipped = min(max(value, -(2**63)), 2**63 - 1)
    match kind:
        case "dims" if tensor.dims:
            tensor.dims[at % len(tensor.dims)] = clipped
        case "dims" | "ints":
            (tensor.dims if kind == "dims" else attribute.ints).append(clipped)
        case "data_type":
            tensor.data_type = value % 20
        case "raw_data":
            tensor.raw_data = tensor.raw_data[: at % (len(tensor.raw_data) + 1)]
        case "name":
            tensor.name = name
        case "input" | "output" if getattr(node, kind):
            getattr(node, kind)[0] = name
        case "op_type":
            node.op_type = OPERATORS[at % len(OPERATORS)]
        case "i" | "f":
            setattr(attribute, kind, clipped if kind == "i" else float(value))
        case "type":
            attribute.type = value % 9
        case "drop" if graph.node:
            graph.node.remove(node)
        case "twice":
            graph.node.add().CopyFrom(node)


@often(200)
@given(st.sampled_from(SMALL), edits)
def test_models(folder: Path, data: bytes, changes: list[tuple[str, int, int]]) -> None:
    data = edited(data, changes)
    (folder / "m.onnx").write_bytes(data)
    digests = []
    for read in (lambda: IntegerNetwork(read_network(data)).digest, lambda: pydual.load(folder / "m.onnx").digest):
        with watched():
            try:
                digests.append(read())
            except InputError as error:
                assert "\n" not in str(error)
    assert len(set(digests)) <= 1


# ---- properties

WORDS = [
    "(", ")", "and", "or", "not", "<=", "<", ">=", ">", "=", "+", "-", "*", "/", "X_0", "X_1", "Y_0", "Y_1", "X_00", "Y_7",
    "X_999999999", "Y_-1", "0", "-0", "1e400", "1e-400", "1e9999", "-.5e-3", "1e", "0x1", "nan", "inf", "\u0661", "9" * 1001,
    ";", '"', "|", "assert", "declare-const", "Real", "Int", "true", "check-sat", "let", "\0", "\u00a0",
]  # fmt: skip


def tokens(text: str) -> list[str]:
    return text.replace("(", " ( ").replace(")", " ) ").split()


@often(250)
@given(
    st.sampled_from(properties.SEEDS),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 2), st.lists(st.sampled_from(WORDS), max_size=4)), max_size=4),
)
def test_properties(folder: Path, text: str, changes: list[tuple[int, int, list[str]]]) -> None:
    words = tokens(text)
    for at, removed, added in changes:
        at %= len(words) + 1
        words[at : at + removed] = added
    data = " ".join(words).encode()
    (folder / "p.vnnlib").write_bytes(data)
    digests = []
    for read in (lambda: read_checker(data), lambda: pydual.load_checker(folder / "p.vnnlib")):
        with watched():
            try:
                digests.append(query_digest(read()))
            except InputError as error:
                assert "\n" not in str(error)
    assert len(set(digests)) <= 1


# ---- in bounded memory


def bomb(prefix: bytes, times: int) -> bytes:
    """A gzipped file of ``times`` megabytes, which begins with ``prefix``."""
    chunk = gzip.compress(b" " * 2**20, 9)
    return gzip.compress(prefix) + chunk * times


def tensor(dims: list[int], **members: Any) -> bytes:
    """A model with an initializer of these dimensions."""
    model = onnx.load_from_string(LINE)
    model.graph.initializer[0].CopyFrom(onnx.TensorProto(dims=dims, data_type=1, name="w0", **members))
    return model.SerializeToString()


def many(form: str, times: int) -> bytes:
    return (properties.HEAD + properties.BOX + form * times).encode()


NASTY: dict[str, Callable[[], bytes]] = {
    "a gzip bomb": lambda: bomb(b"", 4096),
    "a gzip bomb that begins like a property": lambda: bomb(properties.HEAD.encode(), 4096),
    "a gzip bomb that begins like a model": lambda: bomb(LINE, 4096),
    "a gzip bomb in a gzip bomb": lambda: gzip.compress(bomb(b"", 1024)),
    "a cut gzip file": lambda: gzip.compress(LINE)[:-9],
    "zeros": lambda: bytes(50 * 2**20),
    "opening parentheses": lambda: b"(" * 2**22,
    "assertions in assertions": lambda: b"(assert " * 2**19,
    "closing parentheses": lambda: b")" * 2**22,
    "a number without end": lambda: many("(assert (<= Y_0 ", 1) + b"1" * 2**22,
    "many numbers": lambda: many("(assert (<= (+ Y_0 1e9999) (* 1e-9999 Y_1)))", 20),
    "a product of products": lambda: many("(assert (<= Y_0 " + "(* 1e999 " * 150 + "1" + ")" * 152, 1),
    "a million declarations": lambda: b"".join(b"(declare-const X_%d Real)" % i for i in range(2**18)),
    "a gap in declarations": lambda: many("(declare-const X_999999999 Real)", 1),
    "a string without end": lambda: many('(set-info "', 1) + b"a" * 2**22,
    "a tensor of 2^62 entries": lambda: tensor([2**31, 2**31]),
    "a tensor of 2^40 entries and some data": lambda: tensor([2**40], raw_data=bytes(64)),
    "a tensor of overflowing size": lambda: tensor([2**32, 2**32, 4], raw_data=bytes(16)),
    "a tensor of negative size": lambda: tensor([-1, -2], raw_data=bytes(8)),
    "a field of 2^60 bytes": lambda: LINE + b"\x3a" + b"\xff" * 8 + b"\x0f",
    "fields without end": lambda: b"\x08\x00" * 2**21,
    "messages in messages": lambda: b"\x3a\x80\x80\x40" * 2**18,
    "a header of 100 MB": lambda: joined(b"{" + b" " * 10**8, b""),
    "a header that is larger than the file": lambda: (10**8).to_bytes(8, "little") + b"{",
    "a hundred thousand tensors": lambda: joined(
        json.dumps({f"{i}/kind": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(10**5)}).encode(), b""
    ),
    "a tensor of 2^62 rows": lambda: joined(TEXT.replace(b'"shape": [7]', b'"shape": [4611686018427387904]'), DATA),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    server = Sandbox()
    yield server
    server.close()


@pytest.mark.parametrize("name", NASTY)
def test_nasty_files(name: str, sandbox: Sandbox, folder: Path) -> None:
    """Each reader refuses each of them, with an error of pydual."""
    (folder / "nasty").write_bytes(NASTY[name]())
    for reader in READERS:
        code, printed = sandbox.run("read", reader, folder / "nasty")
        assert (code, printed) == (1, ""), (reader, code, printed)


@pytest.mark.parametrize("part", range(TIMES))
def test_damaged_files_in_bounded_memory(part: int, sandbox: Sandbox, folder: Path) -> None:
    """Files of each kind with pieces replaced, repeated or exchanged, for each reader."""
    rng = np.random.default_rng(part)
    seeds = [SPLITS.file, *SMALL, *(seed.encode() for seed in properties.SEEDS)]
    paths = []
    for number in range(60):
        file = seeds[number % len(seeds)]
        for _ in range(int(rng.integers(1, 4))):
            at, other = (int(i) for i in rng.integers(len(file), size=2))
            size, kind = int(rng.integers(1, 30)), rng.integers(4)
            pieces = [rng.bytes(size), file[other : other + size], file[at : at + size] * int(rng.integers(2, 300)), b""]
            file = file[:at] + pieces[kind] + file[at + size :]
        paths.append(folder / f"damaged{number}")
        paths[-1].write_bytes(file)
    for reader in READERS:
        code, printed = sandbox.run("read", reader, *paths)
        assert code in (0, 1) and not printed, (reader, code, printed)
