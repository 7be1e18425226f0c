"""solve: its four outcomes, its clock, its trace, and its verdicts against enumeration, onnxruntime and known truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import activation_patterns
import numpy as np
import pytest
import random_instances as instances
from hypothesis import given, settings
from hypothesis import strategies as st

import pydual
from pydual import Attack, Certificate, Checker, Network, Region, RelaxedAttack, Unknown, X, Y
from pydual.attack.search import QUICK, THOROUGH, Adversary
from pydual.audit import EXACT, ROUNDED, audit
from pydual.certificate import SOS_LEAF
from pydual.errors import CertificateError
from pydual.problem import normalize
from pydual.proof_systems import BY_NAME, MILP, BranchAndBound, Crown, TriangleLP

OF_BOXES = [name for name in BY_NAME if name != "enumeration"]  # which needs finite regions
NETWORKS = 2000 if os.environ.get("PYDUAL_NIGHTLY") else 200
CLOSE = 1e-6  # true minima nearer to zero than this may stay undecided

# y = |x| on [-1, 1]: the least y is 0, and intervals see -1
ABSOLUTE = Network.from_layers([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])])
LINE = Region([-1.0], [1.0])


def layers(seed: int, *sizes: int) -> Network:
    rng = np.random.default_rng(seed)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return Network.from_layers([(rng.normal(size=(n, m)) / np.sqrt(m), 0.3 * rng.normal(size=n)) for m, n in pairs])


def confirm(outcome: Any, network: Network, checker: Checker) -> None:
    """Whatever an outcome claims is checked outside of solve."""
    points = outcome.trace
    assert all(point.lower <= point.upper for point in points)
    for before, after in zip(points[:-1], points[1:], strict=True):
        noise = 1e-9 * (1 + abs(after.upper))  # a bound is a float: a point may lie below it by its rounding
        assert before.seconds <= after.seconds and before.upper >= after.upper
        assert before.lower <= after.lower + noise
    assert outcome.bracket.lower <= outcome.bracket.upper
    if isinstance(outcome, Certificate):
        assert outcome.margin > 0
        squares = any((tree.kind == SOS_LEAF).any() for tree in outcome.certificate.trees)  # which only one audit knows
        for level in ("exact",) if squares else ("exact", "rounded"):
            assert pydual.audit(outcome, network, checker, level=level).margin > 0
    if isinstance(outcome, Attack):
        assert outcome.margin <= 0
        y = instances.exact_values(network, [Fraction(v) for v in outcome.x.tolist()])[network.output]
        assert checker.region.contains(outcome.x)
        assert checker.catastrophe.holds([Fraction(v) for v in outcome.x.tolist()], y)
    if isinstance(outcome, RelaxedAttack):
        assert outcome.value <= 0 < outcome.lifted


# the four outcomes


def test_attack() -> None:
    checker = Checker(LINE, Y[0] >= "0.9")
    outcome = pydual.solve(ABSOLUTE, checker)
    assert isinstance(outcome, Attack)
    assert abs(outcome.x[0]) >= 0.9 and outcome.y[0] == abs(outcome.x[0])
    confirm(outcome, ABSOLUTE, checker)


@pytest.mark.parametrize("system", OF_BOXES)
def test_certificate(system: str) -> None:
    checker = Checker(LINE, Y[0] >= "2.5")
    outcome = pydual.solve(ABSOLUTE, checker, system)
    assert isinstance(outcome, Certificate)
    assert outcome.level == "exact" and outcome.proof_system == system
    assert 0 < outcome.margin <= 1.5  # |x| is at most 1
    confirm(outcome, ABSOLUTE, checker)


@pytest.mark.parametrize("system", ["interval", "crown", "alpha-crown", "lp"])
def test_relaxed_attack(system: str) -> None:
    """|x| + |x - 1/2| / 2 is at least 1/4; each of these relaxations lets it go below 1/5."""
    network = Network.from_layers(
        [([[1.0], [-1.0], [1.0], [-1.0]], [0.0, 0.0, -0.5, 0.5]), ([[1.0, 1.0, 0.5, 0.5]], [0.0])]
    )
    checker = Checker(Region([-1.0], [1.5]), (Y[0] <= "0.2") & (X[0] + Y[0] <= 3))
    outcome = pydual.solve(network, checker, system)
    if system in ("alpha-crown", "lp", "crown") and isinstance(outcome, Certificate):
        confirm(outcome, network, checker)
        return
    assert isinstance(outcome, RelaxedAttack)
    confirm(outcome, network, checker)
    assert outcome.cheats and outcome.cheats[0].error != 0
    assert system in outcome.explain()
    assert isinstance(pydual.solve(network, checker, "bab"), Certificate)


def test_unknown_by_timeout() -> None:
    outcome = pydual.solve(layers(1, 20, 60, 60, 60, 2), hard(20), "bab", timeout=0.3)
    assert isinstance(outcome, Unknown) and outcome.reason == "timeout"
    assert outcome.advice and outcome.x is not None
    assert -np.inf < outcome.bracket.lower <= outcome.bracket.upper < np.inf


def hard(inputs: int) -> Checker:
    """With ``layers(1, inputs, 60, 60, 60, 2)``: no attack that a search finds, and no proof within a second."""
    region = Region(-np.ones(inputs), np.ones(inputs))
    network = layers(1, inputs, 60, 60, 60, 2)
    points = np.random.default_rng(0).uniform(-1, 1, (2000, inputs))
    spread = float(np.ptp(network.evaluate(points)[:, 0]))
    least = float(network.evaluate(points)[:, 0].min())
    return Checker(region, Y[0] <= least - 2 * spread)


def test_an_outcome_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="match on Attack"):
        bool(pydual.solve(ABSOLUTE, Checker(LINE, Y[0] >= 3)))


# verdicts


@pytest.mark.parametrize("block", range(10))
def test_no_wrong_verdict_on_random_networks(block: int) -> None:
    """Against enumeration of activation patterns; every certificate is audited, every attack evaluated exactly."""
    decided = 0
    for seed in range(block * NETWORKS // 10, (block + 1) * NETWORKS // 10):
        rng = np.random.default_rng(50_000 + seed)
        inputs = int(rng.integers(1, 4))
        network = instances.random_network(rng, inputs, width=4)
        region = instances.random_region(rng, inputs)
        checker = instances.random_checker(rng, network, region)
        system = OF_BOXES[seed % len(OF_BOXES)]
        outcome = pydual.solve(network, checker, system, timeout=5)
        confirm(outcome, network, checker)
        if region.ball is not None and region.ball.norm == "l2":
            continue
        true = activation_patterns.true_minimum(network, checker)
        if true > CLOSE:
            assert not isinstance(outcome, Attack)
        if true < -CLOSE:
            assert not isinstance(outcome, Certificate)
        if BY_NAME[system]().complete and abs(true) > CLOSE * 1000:
            assert isinstance(outcome, Certificate if true > 0 else Attack), (seed, system, true, outcome)
        decided += isinstance(outcome, Attack | Certificate)
    assert decided > NETWORKS / 20


@pytest.mark.parametrize("system", OF_BOXES)
def test_deterministic(system: str, tmp_path: Path) -> None:
    """The same outcome for the same seed, to the last byte of proof or attack."""
    network = layers(3, 4, 8, 6, 3)
    for shift in (-4.0, -2.0, -0.2, 0.2):
        checker = Checker(
            Region(-np.ones(4), np.ones(4)), (Y[0] <= Y[1] + shift) | (Y[0] <= Y[2] + shift) & (Y[1] <= 5)
        )
        first, second = (pydual.solve(network, checker, system, seed=7) for _ in range(2))
        assert type(first) is type(second)
        assert first.bracket == second.bracket
        assert [(p.lower, p.upper) for p in first.trace] == [(p.lower, p.upper) for p in second.trace]
        if isinstance(first, Certificate) and isinstance(second, Certificate):
            first.save(tmp_path / "first")
            second.save(tmp_path / "second")
            assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
        elif isinstance(first, Attack | RelaxedAttack):
            np.testing.assert_array_equal(first.x, second.x)


def test_strict_inequalities() -> None:
    """y = |x| is never below 0, but it is 0."""
    assert isinstance(pydual.solve(ABSOLUTE, Checker(LINE, Y[0] <= 0)), Attack)
    assert not isinstance(pydual.solve(ABSOLUTE, Checker(LINE, Y[0] < 0), timeout=2), Attack)
    identity = Network.from_layers([([[1.0]], [0.0])])
    assert isinstance(pydual.solve(identity, Checker(Region([0.0], [1.0]), Y[0] <= 0)), Attack)
    outcome = pydual.solve(identity, Checker(Region([0.0], [1.0]), Y[0] < 0), timeout=2)
    assert not isinstance(outcome, Attack)
    confirm(outcome, identity, Checker(Region([0.0], [1.0]), Y[0] < 0))


@pytest.mark.parametrize("system", OF_BOXES)
def test_a_box_that_is_a_point(system: str) -> None:
    region = Region([0.25], [0.25])
    safe, unsafe = Checker(region, Y[0] <= "0.2"), Checker(region, Y[0] <= "0.25")
    confirm(outcome := pydual.solve(ABSOLUTE, safe, system), ABSOLUTE, safe)
    assert isinstance(outcome, Certificate)
    assert isinstance(pydual.solve(ABSOLUTE, unsafe, system), Attack)


def test_a_box_without_any_float32() -> None:
    """The only points are beside every float32: an attack stays a float64 of the box, and nothing outside counts."""
    weights = np.ones((1, 1)), np.zeros(1)
    network = Network.from_layers([weights])
    network = Network(network.primitives, network.output, (1,), (1,), "float32")
    low = np.nextafter(1.0, 2.0)
    region = Region([low], [np.nextafter(low, 2.0)])
    outcome = pydual.solve(network, Checker(region, Y[0] <= 2))
    assert isinstance(outcome, Attack) and region.contains(outcome.x)
    assert not isinstance(pydual.solve(network, Checker(region, Y[0] <= 1), timeout=0.5), Attack)
    assert isinstance(pydual.solve(network, Checker(region, Y[0] <= "0.5")), Certificate)


def test_no_margins_left() -> None:
    """Bounds on single inputs become part of the region: then every point of it is a catastrophe, or there is none."""
    outcome = pydual.solve(ABSOLUTE, Checker(LINE, X[0] >= "0.5"))
    assert isinstance(outcome, Attack) and outcome.x[0] >= 0.5
    outcome = pydual.solve(ABSOLUTE, Checker(LINE, (X[0] >= 2) & (Y[0] <= 5)))
    assert isinstance(outcome, Certificate) and outcome.margin == np.inf
    assert pydual.audit(outcome, ABSOLUTE, Checker(LINE, (X[0] >= 2) & (Y[0] <= 5))).margin == np.inf


@pytest.mark.parametrize("system", OF_BOXES)
@pytest.mark.parametrize("inputs", [3, 20])
def test_a_network_without_relu(system: str, inputs: int) -> None:
    network = layers(4, inputs, 2)
    region = Region(-np.ones(inputs), np.ones(inputs))
    least = activation_patterns.true_minimum(network, Checker(region, Y[0] <= Y[1]))
    for gap, kind in ((0.01, Certificate), (-0.01, Attack)):
        checker = Checker(region, Y[0] - Y[1] <= Fraction(least - gap))
        confirm(outcome := pydual.solve(network, checker, system), network, checker)
        assert isinstance(outcome, kind)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("system", OF_BOXES)
def test_balls(system: str, norm: str) -> None:
    """y = sum x over a ball around 0 in three dimensions: the least y is -r, or -sqrt(3) r."""
    network = Network.from_layers([(np.eye(3), np.full(3, 5.0)), (np.ones((1, 3)), [-15.0])])
    region = Region(-np.ones(3), np.ones(3), pydual.Ball(np.zeros(3), 0.5, norm))
    least = -0.5 if norm == "l1" else -0.5 * np.sqrt(3)
    below, above = Checker(region, Y[0] <= least - 0.01), Checker(region, Y[0] <= least + 0.05)
    if BY_NAME[system]().complete or system == "alpha-crown":
        assert isinstance(pydual.solve(network, below, system), Certificate)
    assert isinstance(pydual.solve(network, above, system), Attack)


# the clock

SYSTEMS: dict[str, Any] = {
    **{name: name for name in OF_BOXES},
    "inputs": BranchAndBound(split="input"),
    "milp object": MILP(),
}


AT_ONCE = ("interval", "crown", "alpha-crown", "sdp-crown", "lp", "sos")  # and so without regard to timeouts


@pytest.mark.parametrize("system", [n for n in SYSTEMS if n not in AT_ONCE])
def test_timeouts(system: str) -> None:
    """Within a second: measured as processor time, which a busy machine does not stretch."""
    network, checker = layers(1, 8, 60, 60, 60, 2), hard(8)
    begin = time.process_time()
    outcome = pydual.solve(network, checker, SYSTEMS[system], timeout=0.5)
    used = time.process_time() - begin
    confirm(outcome, network, checker)
    assert isinstance(outcome, Unknown | Certificate)
    assert used <= (os.cpu_count() or 1) * 1.5
    if isinstance(outcome, Unknown):
        assert outcome.reason == "timeout"
        assert outcome.bracket.upper < np.inf


INTERRUPTED = """
import signal, sys
sys.path.insert(0, sys.argv[2])
signal.signal(signal.SIGINT, signal.default_int_handler)
import pydual, test_solve
from pydual.proof_systems import by_name

class Announced:
    def __init__(self, inner):
        self.inner, self.name, self.complete = inner, inner.name, inner.complete
    def init(self, problems):
        return self.inner.init(problems)
    def step(self, state, seconds):
        print("searching", flush=True)
        return self.inner.step(state, seconds)

system = Announced(by_name(sys.argv[1]))
outcome = pydual.solve(test_solve.layers(1, 20, 60, 60, 60, 2), test_solve.hard(20), system, timeout=120)
print(outcome.reason, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX's")
@pytest.mark.parametrize("system", ["bab", "milp"])
def test_keyboard_interrupt(system: str) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", INTERRUPTED, system, here]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "searching\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "interrupted", err
    assert process.returncode == 0 and err == ""


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    pydual.solve(ABSOLUTE, Checker(LINE, Y[0] >= 3), progress=True)
    assert capsys.readouterr().out == ""


# bad input

BAD: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "a path as the model": (("m.onnx", Checker(LINE, Y[0] <= 0)), {}, "load it with pydual.load"),
    "a function as the checker": ((ABSOLUTE, lambda x, y: True), {}, "make one with pydual.load_checker"),
    "an unknown proof system": (
        (ABSOLUTE, Checker(LINE, Y[0] <= 0), "oracle"),
        {},
        "Unknown proof system 'oracle'; use one of",
    ),
    "a negative timeout": ((ABSOLUTE, Checker(LINE, Y[0] <= 0)), {"timeout": -1}, "positive number of seconds"),
    "a timeout of zero": ((ABSOLUTE, Checker(LINE, Y[0] <= 0)), {"timeout": 0}, "positive number of seconds"),
    "a timeout that is no number": ((ABSOLUTE, Checker(LINE, Y[0] <= 0)), {"timeout": float("nan")}, "positive number"),
    "another input size": ((ABSOLUTE, Checker(Region([0, 0], [1, 1]), Y[0] <= 0)), {}, "has 2 inputs, the network 1"),
    "an output that is not there": ((ABSOLUTE, Checker(LINE, Y[1] <= 0)), {}, r"uses Y\[1\]"),
    "a timeout as text": ((ABSOLUTE, Checker(LINE, Y[0] <= 0)), {"timeout": "60"}, "timeout"),
    "a class as the proof system": ((ABSOLUTE, Checker(LINE, Y[0] <= 0), Crown), {}, "proof system"),
    "a number as the proof system": ((ABSOLUTE, Checker(LINE, Y[0] <= 0), 3), {}, "proof system"),
    "a seed that is no number": ((ABSOLUTE, Checker(LINE, Y[0] <= 0)), {"seed": "today"}, "seed"),
    "a negative seed": ((ABSOLUTE, Checker(LINE, Y[0] <= 0)), {"seed": -1}, "seed"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_sentence(what: str) -> None:
    arguments, options, message = BAD[what]
    with pytest.raises(pydual.InputError, match=message) as caught:
        pydual.solve(*arguments, **options)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


# properties


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    system=st.sampled_from(["interval", "crown", "alpha-crown", "lp", "bab"]),
    data=st.data(),
)
def test_points_never_beat_the_bracket(seed: int, system: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    network = instances.random_network(rng, 2, width=3)
    region = Region(-np.ones(2), rng.random(2))
    checker = Checker(region, (Y[0] <= Y[1]) & (Y[0] + X[0] <= 1) | (Y[1] <= -2))
    outcome = pydual.solve(network, checker, system, timeout=5)
    share = data.draw(st.lists(st.floats(0, 1), min_size=2, max_size=2))
    x = np.clip(region.lower + share * (region.upper - region.lower), region.lower, region.upper)
    margin = float(checker.margin(x, network.evaluate(x)))
    assert margin >= outcome.bracket.lower - 1e-9 * (1 + abs(margin))
    if isinstance(outcome, Certificate):
        assert margin >= outcome.margin - 1e-9


@pytest.mark.parametrize("system", OF_BOXES)
def test_an_exact_replay_does_not_round_its_outputs(system: str) -> None:
    """y = x + 1e-20 at x = 1 rounds to 1, but is above it."""
    network = Network.from_layers([([[1.0]], [1e-20])])
    checker = Checker(Region([1.0], [1.0]), Y[0] <= 1)
    assert not isinstance(pydual.solve(network, checker, system), Attack)


@pytest.mark.parametrize("norm, center", [("l1", [0.0, 0.0]), ("l2", [0.0, 0.0]), ("l1", [0.0, -1.25]), ("l2", [0.0, -1.25])])
@pytest.mark.parametrize("system", OF_BOXES)
def test_the_bracket_of_a_ball_is_attained_in_it(system: str, norm: str, center: list[float]) -> None:
    """x_0 + 3 is at least 1.5 in the ball, 1 in the box. The center may lie outside of the box."""
    network = Network.from_layers([([[1.0, 0.0], [-1.0, 0.0]], [3.0, -3.0]), ([[1.0, -1.0]], [0.0])])
    region = Region([-2.0, -1.0], [2.0, 1.0], pydual.Ball(np.array(center), 1.5, norm))
    outcome = pydual.solve(network, Checker(region, Y[0] <= 1.25), system)
    assert not isinstance(outcome, Attack)
    assert outcome.bracket.lower <= outcome.bracket.upper
    assert all(point.upper >= 0.25 - 1e-9 for point in outcome.trace)


def test_a_search_ends_with_its_time() -> None:
    """Without time, one problem is searched, with one batch; later problems and restarts only while time is left."""
    network = layers(1, 4, 8, 3)
    checker = Checker(Region(-np.ones(4), np.ones(4)), (Y[0] <= -100) | (Y[1] <= -100) | (Y[2] <= -100))
    problems = normalize(network, checker)
    assert len(Adversary(problems, 0).search(QUICK)) == len(Adversary(problems, 0).polish(np.zeros((1, 4)), QUICK)) == 3
    assert len(Adversary(problems, 0, lambda: 0.0).search(THOROUGH)) == 1
    assert len(Adversary(problems, 0, lambda: 0.0).polish(np.zeros((9, 4)), THOROUGH)) == 1


def test_lp_without_time_is_crown(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("no program may be solved")

    monkeypatch.setattr("pydual.proof_systems.lp.minimize", forbidden)
    problems = normalize(layers(1, 4, 8, 3), Checker(Region(-np.ones(4), np.ones(4)), Y[0] <= 0.1))
    bounds = [system.step(system.init(problems), 0.0).bound for system in (TriangleLP(), Crown())]
    assert bounds[0] == bounds[1] > -np.inf


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("system", ["crown", "alpha-crown", "bab", "auto"])
@pytest.mark.parametrize("seed", range(3))
def test_a_linear_network_over_ball_and_box_is_decided(system: str, norm: str, seed: int) -> None:
    """Both bound and attack are exact there, wherever the ball's center lies; the truth comes from cvxpy."""
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    slope, center = rng.normal(size=6), rng.normal(size=6)
    lower = center + 0.3 * rng.normal(size=6)
    upper = lower + rng.random(6)
    nearest = np.clip(center, lower, upper) - center
    radius = float(np.linalg.norm(nearest, 1 if norm == "l1" else 2)) + 0.3
    x = cp.Variable(6)
    ball = cp.norm(x - center, 1 if norm == "l1" else 2) <= radius
    least = float(cp.Problem(cp.Minimize(slope @ x), [ball, x >= lower, x <= upper]).solve())
    network = Network.from_layers([(slope[None, :], np.zeros(1))])
    region = Region(lower, upper, pydual.Ball(center, radius, norm))
    assert isinstance(pydual.solve(network, Checker(region, Y[0] <= least - 1e-3), system), Certificate)
    assert isinstance(pydual.solve(network, Checker(region, Y[0] <= least + 1e-3), system), Attack)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("seed", range(6))
def test_descent_over_ball_and_box_reaches_the_minimum_of_a_linear_network(norm: str, seed: int) -> None:
    """Interval arithmetic has no minimizer to offer there, so the attack is the projected descent's own."""
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    slope, center = rng.normal(size=6), rng.normal(size=6)
    lower, upper = center - rng.random(6), center + rng.random(6)
    x = cp.Variable(6)
    ball = cp.norm(x - center, 1 if norm == "l1" else 2) <= 0.5
    least = float(cp.Problem(cp.Minimize(slope @ x), [ball, x >= lower, x <= upper]).solve())
    network = Network.from_layers([(slope[None, :], np.zeros(1))])
    checker = Checker(Region(lower, upper, pydual.Ball(center, 0.5, norm)), Y[0] <= least + 1e-2)
    assert isinstance(pydual.solve(network, checker, "interval"), Attack)


ONE = np.ones((1, 1))
REFUSED = {
    "layers of text": (lambda: Network.from_layers([("a", "b")]), "no pair"),
    "layers of three parts": (lambda: Network.from_layers([(ONE, ONE[0], ONE)]), "no pair"),
    "complex weights": (lambda: Network.from_layers([(1j * ONE, ONE[0])]), "real numbers"),
    "a layer without outputs": (lambda: Network.from_layers([(ONE[:0], ONE[0, :0])]), "Layer 0"),
    "a checker without a region": (lambda: Checker(None, Y[0] <= 0), "needs a Region"),
    "nothing to audit": (lambda: pydual.audit(None, ABSOLUTE, Checker(LINE, Y[0] <= 0)), "no certificate"),
    "an audit of text": (lambda: pydual.audit("proof", "model", Checker(LINE, Y[0] <= 0)), "The model is a str"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_query_is_refused(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(pydual.InputError, match=message):
        call()


def test_a_claim_of_highs_without_a_proof_is_reported_as_not_certified() -> None:
    """The proof that would follow is cut off: its branch and bound never gets beyond what it is given at the start."""

    class Idle:
        name, complete = "idle", True

        def init(self, problems: Any) -> Any:
            return pydual.MILP().proof.init(problems)

        def step(self, state: Any, seconds: float) -> Any:
            return replace(state, finished=True)

    network = Network.from_layers([(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))])
    checker = Checker(Region(np.array([-1.0]), np.array([1.0])), Y[0] >= 1.5)
    outcome = pydual.solve(network, checker, pydual.MILP(proof=Idle()))  # type: ignore[arg-type]
    assert isinstance(outcome, Unknown)
    assert "not certified" in outcome.advice


def test_what_rounding_spoils_is_audited_exactly_even_if_no_other_proof_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiling(*args: Any, level: str, **options: Any) -> Any:
        if level == ROUNDED:
            raise CertificateError("Spoiled by rounding.")
        return audit(*args, level=level, **options)

    network = Network.from_layers([(np.eye(2), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))])
    checker = Checker(Region(-np.ones(2), np.ones(2)), Y[0] >= 3)
    monkeypatch.setattr("pydual.game.EXACT_SHARE", 0.0)
    monkeypatch.setattr("pydual.game.EXACT_PATIENCE", 0.0)
    monkeypatch.setattr("pydual.game.EXACT_SPEED", 1e12)
    assert pydual.solve(network, checker, "crown").level == ROUNDED
    monkeypatch.setattr("pydual.game.audit", spoiling)
    assert pydual.solve(network, checker, "crown").level == EXACT
