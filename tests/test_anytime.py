"""A search that is stopped at any moment, by time, memory, a signal or a kill, says where it stood and goes on from there."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupting import Stopping

import pydual
from pydual import Certificate, Checker, Network, Region, Unknown, X, Y
from pydual.audit.query import query_digest
from pydual.budget import resident_memory
from pydual.certificate import LEAF
from pydual.checkpoint import VERSION, Binding, Checkpoint, Keeper
from pydual.cli import main
from pydual.problem import normalize
from pydual.proof_systems import BY_NAME, Auto, BranchAndBound, Crown, Portfolio
from pydual.proof_systems.base import Snapshot, State, resume, take_snapshot

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX's")


def weights(seed: int, *sizes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return [(rng.normal(size=(n, m)) / np.sqrt(m), 0.3 * rng.normal(size=n)) for m, n in pairs]


def instance(seed: int, inputs: int, width: int, slack: float) -> tuple[Network, Checker]:
    """Output 0 falls below what is found at 20,000 points by ``slack`` times its spread."""
    network = Network.from_layers(weights(seed, inputs, width, width, 2))
    values = network.evaluate(np.random.default_rng(0).uniform(-1, 1, (20_000, inputs)))[:, 0]
    region = Region(-np.ones(inputs), np.ones(inputs))
    return network, Checker(region, Y[0] <= float(values.min() - slack * np.ptp(values)))


# both take dozens of steps, a second or two, and end in a certificate
INSTANCES = {"input": (1, 6, 50, 0.1), "neuron": (3, 8, 13, 0.06)}
OF_BOXES = [name for name in BY_NAME if name != "enumeration"]  # which needs finite regions
SYSTEMS = {"input": BranchAndBound(split="input", batch=64), "neuron": BranchAndBound(split="neuron", batch=16)}
WORK = {"input": "cells", "neuron": "nodes"}
SPLITTINGS = list(INSTANCES)


def work(outcome: Any, splitting: str) -> int:
    return outcome.statistics["bab"][WORK[splitting]]


def accepted(outcome: Any, network: Network, checker: Checker) -> None:
    assert isinstance(outcome, Certificate)
    assert pydual.audit(outcome, network, checker, level="rounded").margin > 0
    assert outcome.statistics["open_fraction"] == 0


def monotone(outcome: Any) -> None:
    for before, after in itertools.pairwise(outcome.trace):
        noise = 1e-9 * (1 + abs(after.upper))  # an attained value may lie below a bound by the rounding of both
        assert before.lower - noise <= after.lower <= after.upper <= before.upper


# stopping and going on


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_two_interrupts_two_resumes(splitting: str, tmp_path: Path) -> None:
    network, checker = instance(*INSTANCES[splitting])
    system, path = SYSTEMS[splitting], tmp_path / "checkpoint"
    fresh = pydual.solve(network, checker, system)
    accepted(fresh, network, checker)
    total, shares, lower = 0, [1.0], -np.inf
    for steps in (20, 12):  # the first is after the search has begun anew with its last intervals
        stopped = pydual.solve(network, checker, Stopping(system, steps), checkpoint=path)
        assert isinstance(stopped, Unknown) and stopped.reason == "interrupted"
        assert stopped.open_fraction is not None and 0 < stopped.open_fraction <= shares[-1]
        assert lower <= stopped.bracket.lower <= stopped.bracket.upper < np.inf
        monotone(stopped)
        shares.append(stopped.open_fraction)
        lower = stopped.bracket.lower
        total += work(stopped, splitting)
    resumed = pydual.solve(network, checker, system, checkpoint=path)
    accepted(resumed, network, checker)
    monotone(resumed)
    assert resumed.bracket.lower > 0
    assert resumed.statistics["resumed"]["closed_leaves"] > 0
    assert work(resumed, splitting) < work(fresh, splitting)
    # nothing is lost, but open leaves are bounded anew
    assert total + work(resumed, splitting) < 2 * work(fresh, splitting)
    again = pydual.solve(network, checker, system, checkpoint=path)
    accepted(again, network, checker)


@pytest.mark.parametrize("splitting", SPLITTINGS)
@settings(max_examples=2, deadline=None, derandomize=True)
@given(data=st.data())
def test_timeouts_at_any_moment_until_it_is_decided(
    splitting: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    network, checker = instance(*INSTANCES[splitting])
    path = tmp_path_factory.mktemp("anytime") / "checkpoint"
    share = 1.0
    for _ in range(60):
        timeout = data.draw(st.floats(0.05, 1.0))
        outcome = pydual.solve(network, checker, SYSTEMS[splitting], timeout=timeout, checkpoint=path)
        monotone(outcome)
        if not isinstance(outcome, Unknown):
            break
        assert outcome.reason == "timeout"
        if "bab" not in outcome.statistics:  # on a busy machine the clock may strike before the search begins
            assert path.exists() or share == 1.0
            continue
        assert path.exists()
        assert outcome.open_fraction is not None and outcome.open_fraction <= share + 1e-9
        share = outcome.open_fraction
    else:
        outcome = pydual.solve(network, checker, SYSTEMS[splitting], checkpoint=path)
    accepted(outcome, network, checker)
    assert not list(path.parent.glob(".*partial"))


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
import pydual, pydual.checkpoint, test_anytime
pydual.checkpoint.INTERVAL, pydual.checkpoint.SHARE = 0.02, 0.5
splitting, path = sys.argv[2:]
print("searching", flush=True)
network, checker = test_anytime.instance(*test_anytime.INSTANCES[splitting])
pydual.solve(network, checker, test_anytime.SYSTEMS[splitting], checkpoint=path)
"""


def closed_leaves(path: Path, binding: Binding) -> float:
    saved = Keeper(path, binding).load()
    return 0 if saved is None else saved.summary["closed_leaves"]


@posix
@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_a_killed_process_loses_only_the_last_seconds(splitting: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    network, checker = instance(*INSTANCES[splitting])
    fresh = pydual.solve(network, checker, SYSTEMS[splitting])
    binding = Binding(network.digest, query_digest(checker), "real", "bab")
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), splitting, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"searching\n"
        while process.poll() is None and closed_leaves(path, binding) < 0.3 * fresh.statistics["leaves"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    resumed = pydual.solve(network, checker, SYSTEMS[splitting], checkpoint=path)
    accepted(resumed, network, checker)
    assert work(resumed, splitting) < work(fresh, splitting)


@pytest.mark.parametrize("system", ["bab", "auto", "crown", "milp"])
def test_every_proof_system_takes_a_checkpoint(system: str, tmp_path: Path) -> None:
    network, checker = instance(2, 4, 12, 0.2)
    path = tmp_path / "checkpoint"
    for timeout in (0.02, 0.1, 60):
        outcome = pydual.solve(network, checker, system, timeout=timeout, checkpoint=path)
    assert isinstance(outcome, Certificate) or system == "crown"


def test_several_problems_of_which_some_are_proved(tmp_path: Path) -> None:
    network, checker = instance(3, 8, 13, 0.1)
    threshold = float(-checker.catastrophe.margin.constant)
    checker = Checker(checker.region, (Y[0] <= threshold - 100) | (Y[0] <= threshold) | (Y[0] <= threshold - 0.01))
    path = tmp_path / "checkpoint"
    system = Portfolio((Crown(), SYSTEMS["neuron"]), name="bab")
    fresh = pydual.solve(network, checker, system)
    stopped = pydual.solve(network, checker, Stopping(system, 18), checkpoint=path)
    assert isinstance(stopped, Unknown) and 0 < stopped.open_fraction < 2 / 3 + 1e-9
    resumed = pydual.solve(network, checker, system, checkpoint=path)
    accepted(resumed, network, checker)
    assert resumed.statistics["resumed"]["proved_problems"] >= 1
    count = [outcome.statistics["bab"]["bab"]["nodes"] for outcome in (resumed, fresh)]
    assert count[0] < count[1] and "crown" not in resumed.statistics["bab"]


def test_float32_goes_on_with_its_reserve(tmp_path: Path) -> None:
    network, checker = instance(*INSTANCES["neuron"])
    network, path = replace(network, element_type="float32"), tmp_path / "checkpoint"
    stopped = pydual.solve(network, checker, Stopping(SYSTEMS["neuron"], 12), arithmetic="float32", checkpoint=path)
    assert isinstance(stopped, Unknown)
    resumed = pydual.solve(network, checker, SYSTEMS["neuron"], arithmetic="float32", checkpoint=path)
    accepted(resumed, network, checker)
    assert resumed.arithmetic == "float32" and resumed.statistics["resumed"]["closed_leaves"] > 0
    with pytest.raises(pydual.InputError, match="another arithmetic"):
        pydual.solve(network, checker, SYSTEMS["neuron"], checkpoint=path)


@pytest.mark.parametrize("system", OF_BOXES)
def test_the_bracket_tightens_in_every_proof_system(system: str) -> None:
    network, checker = instance(1, 4, 3 if system == "sos" else 12, 0.2)  # sos is for small networks
    region = checker.region
    for condition in (checker.catastrophe, (Y[0] <= Y[1]) & (Y[0] <= 0) | (Y[1] <= -2) & (X[0] >= 0.5)):
        outcome = pydual.solve(network, Checker(region, condition), system, timeout=3)
        monotone(outcome)
        assert outcome.trace


# limits


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_a_memory_limit_ends_the_search_and_another_call_goes_on(splitting: str, tmp_path: Path) -> None:
    network, checker = instance(*INSTANCES[splitting])
    path = tmp_path / "checkpoint"
    outcome = pydual.solve(network, checker, SYSTEMS[splitting], memory_limit=1 << 20, checkpoint=path)
    assert isinstance(outcome, Unknown) and outcome.reason.startswith("memory limit")
    assert outcome.open_fraction == 1 and outcome.bracket.upper < np.inf and path.exists()
    accepted(pydual.solve(network, checker, SYSTEMS[splitting], memory_limit=1 << 40, checkpoint=path), network, checker)


def test_the_memory_of_this_process_is_measured() -> None:
    before = resident_memory()
    array = np.ones(1 << 27, dtype=np.uint8)  # more than an allocator keeps of what was freed
    assert resident_memory() >= before + array.size // 2 or sys.platform == "darwin"


@pytest.mark.parametrize("limit", [0, -1, 1.5, "1G", float("nan")])
def test_a_memory_limit_is_a_number_of_bytes(limit: Any) -> None:
    with pytest.raises(pydual.InputError, match="positive number of bytes"):
        pydual.solve(*instance(1, 2, 3, 1.0), memory_limit=limit)


def test_memory_without_proc_is_the_peak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    monkeypatch.setattr("pydual.budget.STATM", tmp_path / "none")
    assert resident_memory() > 1 << 20


def test_the_handler_of_ctrl_c_is_given_back() -> None:
    handler = signal.getsignal(signal.SIGINT)
    pydual.solve(*instance(1, 2, 3, 1.0), "bab")
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_breaks_a_step_off() -> None:
    class Patient(Stopping):
        def step(self, state: Any, seconds: float) -> Any:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the step goes on")

    outcome = pydual.solve(*instance(*INSTANCES["neuron"]), Patient(SYSTEMS["neuron"], 0))
    assert isinstance(outcome, Unknown) and outcome.reason == "interrupted"


def test_a_step_that_does_not_end_is_broken_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Endless(Stopping):
        def step(self, state: Any, seconds: float) -> Any:
            if self._left == 0:
                signal.raise_signal(signal.SIGINT)
                time.sleep(30)
                raise AssertionError("the step goes on")
            self._left -= 1
            return self._inner.step(state, seconds)

    monkeypatch.setattr("pydual.budget.GRACE", 0.05)
    monkeypatch.setattr("pydual.checkpoint.INTERVAL", 0.0)
    monkeypatch.setattr("pydual.checkpoint.SHARE", np.inf)
    network, checker = instance(*INSTANCES["neuron"])
    outcome = pydual.solve(network, checker, Endless(SYSTEMS["neuron"], 4), checkpoint=tmp_path / "c")
    assert isinstance(outcome, Unknown) and outcome.reason == "interrupted"
    resumed = pydual.solve(network, checker, SYSTEMS["neuron"], checkpoint=tmp_path / "c")
    assert resumed.statistics["resumed"]["open_leaves"] > 1  # what was saved before that step


def test_another_handler_is_left_alone() -> None:
    class Stop(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGINT, stop)
    try:
        with pytest.raises(Stop):
            pydual.solve(*instance(*INSTANCES["neuron"]), Stopping(SYSTEMS["neuron"], 2))
    finally:
        signal.signal(signal.SIGINT, before)


# the file


def searched(splitting: str, steps: int) -> tuple[Any, tuple[Any, ...], State]:
    problems = normalize(*instance(*INSTANCES[splitting]))
    system: Any = SYSTEMS[splitting]
    state = system.init(problems)
    for _ in range(steps):
        state = system.step(state, np.inf)
    return system, problems, state


BINDING = Binding("n", "q", "real", "bab")


def saved(path: Path, splitting: str = "neuron", steps: int = 6) -> Snapshot:
    system, _, state = searched(splitting, steps)
    snapshot = take_snapshot(system, state)
    Keeper(path, BINDING).save(lambda: Checkpoint(snapshot, 0, np.zeros((1, 8)), 1.0), now=True)
    return snapshot


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("steps", [0, 1, 9])
def test_a_file_gives_back_what_was_saved(splitting: str, steps: int, tmp_path: Path) -> None:
    before = saved(tmp_path / "c", splitting, steps)
    loaded = Keeper(tmp_path / "c", BINDING).load()
    assert loaded is not None and loaded.snapshot.lower == before.lower and loaded.snapshot.place == before.place
    for index, tree in before.partial.items():
        for column in fields(tree):
            old, new = getattr(tree, column.name), getattr(loaded.snapshot.partial[index], column.name)
            assert old.dtype == new.dtype and np.array_equal(old, new)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_open_and_closed_leaves_are_the_whole_region(splitting: str) -> None:
    """Counted from the columns: the share of every leaf, by the splits above it."""
    system, problems, state = searched(splitting, 9)
    ((index, tree),) = take_snapshot(system, state).partial.items()
    share = np.ones(len(tree.kind))
    for node in np.flatnonzero(tree.kind != LEAF):
        share[tree.first[node] : tree.first[node] + 2] = share[node] / 2
    leaves = np.flatnonzero(tree.kind == LEAF)
    assert share[leaves].sum() == 1 and set(tree.open) | set(tree.closed) == set(leaves)
    assert state.open_shares[index] == state.open_fraction == pytest.approx(share[tree.open].sum())
    again = resume(system, problems, take_snapshot(system, state))
    assert again.open_fraction == pytest.approx(state.open_fraction)
    ((_, same),) = take_snapshot(system, again).partial.items()
    assert all(np.array_equal(getattr(tree, c.name), getattr(same, c.name)) for c in fields(tree))


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_a_tree_of_the_other_kind_starts_anew(splitting: str) -> None:
    other = SPLITTINGS[1 - SPLITTINGS.index(splitting)]
    system, problems, state = searched(splitting, 6)
    begun = resume(SYSTEMS[other], problems, take_snapshot(system, state))
    assert begun.open_fraction == 1


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_in_one_sentence(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    original = path.with_name("whole")
    if not original.exists():
        saved(original)
    content = bytearray(original.read_bytes())
    match data.draw(st.sampled_from(["cut", "flip", "fill", "append"])):
        case "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        case "flip":
            at = data.draw(st.one_of(st.integers(0, 3000), st.integers(0, len(content) - 1)))
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        case "fill":
            begin = data.draw(st.integers(0, len(content) - 1))
            content[begin : begin + 64] = data.draw(st.binary(min_size=64, max_size=64))
        case "append":
            content += data.draw(st.binary(min_size=1, max_size=64))
    path.write_bytes(content)
    try:
        loaded = Keeper(path, BINDING).load()
    except pydual.InputError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:  # what was changed has no meaning
        assert loaded is not None
        whole = Keeper(original, BINDING).load()
        assert whole is not None and loaded.snapshot.lower == whole.snapshot.lower
        assert bytes(content[8:]).strip() != b"" and same_partials(loaded.snapshot, whole.snapshot)


def same_partials(a: Snapshot, b: Snapshot) -> bool:
    return all(
        np.array_equal(getattr(tree, c.name), getattr(b.partial[i], c.name))
        for i, tree in a.partial.items()
        for c in fields(tree)
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_forged_checkpoint_proves_nothing_wrong(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Entries changed under a correct digest: refused, or what the audit rejects is searched anew, to the end."""
    path = tmp_path_factory.mktemp("forged") / "c"
    splitting = data.draw(st.sampled_from(SPLITTINGS))
    network, checker = instance(1 if splitting == "input" else 2, 4, 12, 0.2)
    problems = normalize(network, checker)
    system: Any = replace(SYSTEMS[splitting], batch=2)
    state = system.init(problems)
    for _ in range(3 if splitting == "input" else 10):
        state = state if state.finished else system.step(state, np.inf)
    snapshot = take_snapshot(system, state)
    if not snapshot.partial:
        return
    tree = snapshot.partial[0]
    name = data.draw(st.sampled_from([c.name for c in fields(tree)]))
    column = getattr(tree, name).copy()
    if column.size:
        at = data.draw(st.integers(0, column.size - 1))
        column.reshape(-1)[at] = data.draw(st.integers(0, 3) if column.dtype.kind in "iu" else st.floats(-2, 2))
    forged = replace(snapshot, partial={0: replace(tree, **{name: column})})
    binding = Binding(network.digest, query_digest(checker), "real", "bab")
    Keeper(path, binding).save(lambda: Checkpoint(forged, 0, np.zeros((0, 8)), 1.0), now=True)
    try:
        outcome = pydual.solve(network, checker, system, checkpoint=path, timeout=20)
    except pydual.InputError:
        return
    accepted(outcome, network, checker)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_a_checkpoint_full_of_lies_hides_no_attack(splitting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole proof of a weaker property, the highest of bounds, and an adversary who is asleep until the search."""
    network, safe = instance(2, 4, 12, 0.2)
    system = SYSTEMS[splitting]
    proved = pydual.solve(network, safe, system)
    assert isinstance(proved, Certificate)
    unsafe = Checker(safe.region, Y[0] <= float(-safe.catastrophe.margin.constant) + 1.3 * proved.bracket.upper)
    monkeypatch.setattr("pydual.attack.search.Adversary.search", lambda *_, **__: [])
    lies = Snapshot({0: proved.certificate.trees[0]}, lower={0: 1e9})
    binding = Binding(network.digest, query_digest(unsafe), "real", "bab")
    Keeper(tmp_path / "c", binding).save(lambda: Checkpoint(lies, 0, np.zeros((0, 4)), 1.0), now=True)
    outcome = pydual.solve(network, unsafe, system, checkpoint=tmp_path / "c")
    assert isinstance(outcome, pydual.Attack) and outcome.margin <= 0
    again = pydual.solve(network, unsafe, system, checkpoint=tmp_path / "c")
    assert isinstance(again, pydual.Attack) and "bab" not in again.statistics


def test_a_checkpoint_is_no_certificate(tmp_path: Path) -> None:
    network, checker = instance(*INSTANCES["neuron"])
    pydual.solve(network, checker, Stopping(SYSTEMS["neuron"], 6), checkpoint=tmp_path / "c")
    for level in ("exact", "rounded"):
        with pytest.raises(pydual.CertificateError):
            pydual.audit(tmp_path / "c", network, checker, level=level)


REFUSED = {
    "another network": ("n2", "q", "real", "bab"),
    "another query": ("n", "q2", "real", "bab"),
    "another arithmetic": ("n", "q", "float32", "bab"),
    "another proof system": ("n", "q", "real", "auto"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_checkpoint_belongs_to_its_query(what: str, tmp_path: Path) -> None:
    saved(tmp_path / "c", steps=1)
    with pytest.raises(pydual.InputError, match=what):
        Keeper(tmp_path / "c", Binding(*REFUSED[what])).load()


def test_another_version_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "c", steps=1)
    content = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(content.replace(f"pydual-checkpoint-{VERSION}".encode(), b"pydual-checkpoint-X"))
    with pytest.raises(pydual.InputError, match="unknown version 'pydual-checkpoint-X'"):
        Keeper(tmp_path / "c", BINDING).load()


def test_a_checkpoint_that_cannot_be_written_is_said_before_the_search(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "c"):
        with pytest.raises(pydual.InputError, match="cannot be written"):
            pydual.solve(*instance(1, 2, 3, 1.0), checkpoint=path)


def test_a_full_disk_does_not_end_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    network, checker = instance(*INSTANCES["neuron"])
    stopping = Stopping(SYSTEMS["neuron"], 4)
    monkeypatch.setattr("pydual.checkpoint.os.replace", full)
    outcome = pydual.solve(network, checker, stopping, checkpoint=tmp_path / "c")
    assert isinstance(outcome, Unknown) and "No space left" in outcome.statistics["checkpoint"]
    assert list(tmp_path.iterdir()) == []


def test_easy_queries_leave_no_file(tmp_path: Path) -> None:
    network, checker = instance(3, 8, 8, 1.0)
    accepted(pydual.solve(network, checker, Auto(), checkpoint=tmp_path / "c"), network, checker)
    assert not (tmp_path / "c").exists()


# the command line


def written(folder: Path, splitting: str) -> list[str]:
    from onnx import TensorProto, helper, numpy_helper, save

    seed, inputs, width, slack = INSTANCES[splitting]
    nodes, initializers, last = [], [], "X"
    layers = weights(seed, inputs, width, width, 2)
    for k, (w, b) in enumerate(layers):
        initializers += [numpy_helper.from_array(np.ascontiguousarray(w.T), f"w{k}"), numpy_helper.from_array(b, f"b{k}")]
        nodes += [helper.make_node("MatMul", [last, f"w{k}"], [f"m{k}"])]
        nodes += [helper.make_node("Add", [f"m{k}", f"b{k}"], [last := "Y" if k == len(layers) - 1 else f"a{k}"])]
        if last != "Y":
            nodes += [helper.make_node("Relu", [last], [last := f"r{k}"])]
    kinds = {"X": inputs, "Y": 2}
    ends = [[helper.make_tensor_value_info(name, TensorProto.DOUBLE, [1, n])] for name, n in kinds.items()]
    graph = helper.make_graph(nodes, "random", *ends, initializers)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "m.onnx")
    _, checker = instance(*INSTANCES[splitting])
    threshold = float(-checker.catastrophe.margin.constant)
    lines = [f"(declare-const {name}_{i} Real)" for name, n in kinds.items() for i in range(n)]
    lines += [f"(assert (>= X_{i} -1.0)) (assert (<= X_{i} 1.0))" for i in range(inputs)]
    lines += [f"(assert (<= Y_0 {threshold!r}))"]
    (folder / "q.vnnlib").write_text("\n".join(lines), encoding="utf-8")
    return ["verify", str(folder / "q.vnnlib"), "--network", str(folder / "m.onnx"), "--proof-system", "bab"]


def test_the_command_line_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*written(tmp_path, "input"), "--checkpoint", str(tmp_path / "c")]
    assert main([*command, "--memory-limit", "1M"]) == 0
    out, err = capsys.readouterr()
    assert out == "unknown\n" and "memory limit" in err and "with 1 of the region open" in err
    assert main([*command, "--memory-limit", "100G", "--certificate", str(tmp_path / "proof")]) == 0
    out, err = capsys.readouterr()
    assert out == "unsat\n" and "resumed" in err
    audit = ["audit", str(tmp_path / "proof"), "--network", command[3], "--query", command[1]]
    assert main(audit) == 0
    (tmp_path / "c").write_bytes(b"nothing")
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("limit", ["0", "-1", "", "M", "lots", "1.5G", "１"])
def test_the_command_line_wants_bytes(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["verify", "q", "--network", "m", "--memory-limit", limit])
    assert stopped.value.code == 2 and "positive number of bytes" in capsys.readouterr().err


@posix
def test_ctrl_c_prints_the_bracket(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMAND, *written(tmp_path, "input"), "--checkpoint", str(tmp_path / "c")]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None and process.stderr.readline() == "searching\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "unknown\n"
    assert "bracket" in err and "interrupted" in err and "Traceback" not in err and (tmp_path / "c").exists()


COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pydual.cli import main
from pydual.proof_systems import input_splitting
step = input_splitting.InputSplitting.step
def announced(self, state, seconds):
    if not state.trees and not state.plays:
        print("searching", file=sys.stderr, flush=True)
    return step(self, state, seconds)
input_splitting.InputSplitting.step = announced
sys.exit(main(sys.argv[1:]))
"""
