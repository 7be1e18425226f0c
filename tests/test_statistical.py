"""Statistical systems: bounds cover known probabilities as often as they say, and nothing turns them into proofs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, binom, norm

import pydual
from pydual import (
    Attack,
    Ball,
    Checker,
    Counting,
    InputError,
    Network,
    Region,
    Relaxed,
    Smoothing,
    Splitting,
    Statistical,
    Unknown,
    X,
    Y,
    certificate,
)
from pydual.operators.primitives import GraphBuilder
from pydual.problem import normalize
from pydual.proof_systems import SDP, SOS, by_name
from pydual.relax.frame import group, make_frame
from pydual.sampling.binomial import lower_bound, samples_needed, upper_bound
from pydual.sampling.sampler import Uniform

IDENTITY = Network.from_layers([(np.eye(2), np.zeros(2))])
SQUARE = Region([0.0, 0.0], [1.0, 1.0])
REPETITIONS = 1000


def most_misses(confidence: float) -> int:
    """How many of the repetitions may miss before something is wrong: exceeded with a chance below 1e-6."""
    return int(binom.isf(1e-6, REPETITIONS, 1 - confidence))


# the binomial bounds


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    for failures, samples, confidence in ((0, 10, 0.99), (3, 50, 0.9), (49, 50, 0.95), (7, 10_000, 0.999)):
        bound = upper_bound(failures, samples, confidence)
        assert bound == pytest.approx(beta.ppf(confidence, failures + 1, samples - failures), rel=1e-9)
        # at the bound, so few failures have a chance of just 1 - confidence
        assert binom.cdf(failures, samples, bound) == pytest.approx(1 - confidence, rel=1e-6)
        assert lower_bound(samples - failures, samples, confidence) == pytest.approx(1 - bound)
    assert upper_bound(0, 100, 0.99) == pytest.approx(1 - 0.01 ** (1 / 100)) and upper_bound(5, 5, 0.9) == 1.0


def test_the_number_of_samples_is_the_least() -> None:
    for failures, probability, confidence in ((0, 1e-3, 0.99), (2, 0.01, 0.95), (10, 0.2, 0.5)):
        n = samples_needed(failures, probability, confidence)
        assert upper_bound(failures, n, confidence) <= probability < upper_bound(failures, n - 1, confidence)
    assert samples_needed(0, 1e-3, 0.99) == math.ceil(math.log(0.01) / math.log(1 - 1e-3))


@pytest.mark.parametrize(("confidence", "true"), [(0.9, 0.02), (0.99, 0.05), (0.5, 0.01)])
def test_counts_cover_the_probability_as_often_as_they_say(confidence: float, true: float) -> None:
    """1,000 calls, each with a seed of its own, on the catastrophe x0 <= p of the unit square, whose probability is p."""
    checker = Checker(SQUARE, X[0] <= Fraction(true))
    system = Counting(probability=2 * true, confidence=confidence, failures=5)
    misses = 0
    for seed in range(REPETITIONS):
        outcome = pydual.solve(IDENTITY, checker, system, seed=seed)
        assert isinstance(outcome, Statistical)
        misses += outcome.probability < true
    assert misses <= most_misses(confidence)
    assert misses > 0, "a bound that never misses is none of this confidence"


def test_smoothing_covers_the_radius_that_is_known() -> None:
    """Of a half space at distance d, the smoothed radius is d: P(no catastrophe) = Phi(d / sigma)."""
    distance, sigma, confidence = 0.3, 0.25, 0.9
    region = Region(np.full(2, -1.0), np.full(2, 1.0), Ball(np.zeros(2), 0.2, "l2"))
    checker = Checker(region, Y[0] >= Fraction(distance))
    misses, radii = 0, []
    for seed in range(REPETITIONS):
        outcome = pydual.solve(IDENTITY, checker, Smoothing(sigma, samples=500, confidence=confidence), seed=seed)
        assert isinstance(outcome, Statistical) and outcome.radius is not None
        radii.append(outcome.radius)
        misses += outcome.radius > distance
        assert outcome.holds == (outcome.radius >= 0.2)
    assert 0 < misses <= most_misses(confidence) and np.mean(radii) > 0.8 * distance
    share = float(norm.cdf(distance / sigma))
    assert abs(1 - outcome.estimate - share) < 5 * math.sqrt(share * (1 - share) / 500)


@pytest.mark.parametrize("true", [1e-2, 1e-4, 1e-8])
def test_splitting_covers_rare_events_of_known_probability(true: float) -> None:
    """x0 <= p in the unit square: levels in one coordinate, which the chain mixes well."""
    checker = Checker(SQUARE, X[0] <= Fraction(true))
    misses, logs = 0, []
    for seed in range(REPETITIONS):
        outcome = pydual.solve(IDENTITY, checker, Splitting(particles=200, moves=10, confidence=0.9), seed=seed)
        assert isinstance(outcome, Statistical) and outcome.failures and outcome.assuming
        misses += outcome.probability < true
        logs.append(math.log(outcome.estimate / true))
    assert misses <= most_misses(0.9) and abs(np.mean(logs)) < 0.5


def test_splitting_says_so_where_it_met_nothing() -> None:
    outcome = pydual.solve(IDENTITY, Checker(SQUARE, X[0] + X[1] <= "-0.5"), Splitting(particles=100, moves=5, least=1e-9))
    assert isinstance(outcome, Statistical) and outcome.holds and outcome.failures == 0 and "none was met" in outcome.statement


# samplers


@pytest.mark.parametrize("ball_norm", ["l1", "l2"])
def test_balls_are_sampled_uniformly(ball_norm: str) -> None:
    """Halves have half of the points, and a ball of half the radius a quarter (in two dimensions)."""
    ball = Ball(np.array([0.5, 0.5]), 0.25, ball_norm)
    points = Uniform(Region([0.0, 0.0], [1.0, 1.0], ball))(np.random.default_rng(0), 20_000) - 0.5
    sizes = np.linalg.norm(points, 1 if ball_norm == "l1" else 2, axis=1)
    assert sizes.max() <= 0.25 + 1e-12
    halves = ((points[:, 0] > 0).mean(), (points.sum(axis=1) > 0).mean())
    for share, expected in (((sizes <= 0.125).mean(), 0.25), (halves[0], 0.5), (halves[1], 0.5)):
        assert abs(share - expected) < 5 * math.sqrt(0.25 / 20_000)


def test_a_ball_cut_by_a_box_stays_in_both() -> None:
    region = Region([0.0, 0.0], [1.0, 1.0], Ball(np.zeros(2), 0.5, "l2"))
    points = Uniform(region)(np.random.default_rng(0), 1000)
    assert len(points) == 1000 and (points >= 0).all() and (np.linalg.norm(points, axis=1) <= 0.5).all()
    with pytest.raises(InputError, match="hardly meet"):
        Uniform(Region([0.9, 0.9], [1.0, 1.0], Ball(np.zeros(2), 0.5, "l2")))(np.random.default_rng(0), 10)


def test_lists_and_integers_are_sampled_uniformly() -> None:
    rng, count = np.random.default_rng(0), 20_000
    listed = Uniform(Region.listed([[0.0, 1.0], [0.25, 0.5], [3.0, 0.0]]))(rng, count)
    mask = np.array([True, False])
    mixed = Uniform(Region([-1.0, 0.0], [2.0, 1.0], integers=mask))(rng, count)
    disk = Uniform(Region([-2.0, -2.0], [2.0, 2.0], Ball(np.zeros(2), 1.0, "l1"), integers=np.array([True, True])))(rng, count)
    for points, different in ((listed, 3), (mixed[:, :1], 4), (disk, 5)):  # the l1 ball has five integer points
        found, often = np.unique(points, axis=0, return_counts=True)
        share = 1 / different
        assert len(found) == different and (abs(often / count - share) < 5 * math.sqrt(share * (1 - share) / count)).all()
    assert abs((mixed[:, 1] < 0.5).mean() - 0.5) < 5 * math.sqrt(0.25 / count)


@pytest.mark.parametrize("system", [Counting(probability=0.01), Splitting(particles=100, moves=5)])
def test_integer_inputs_stay_integers(system: Any) -> None:
    """x0 is 0 or 1, so x0 in [0.25, 0.75] does not happen, and x0 = 1 does for half of the points."""
    region = Region([0.0, 0.0], [1.0, 1.0], integers=np.array([True, False]))
    between = pydual.solve(IDENTITY, Checker(region, (Y[0] >= 0.25) & (Y[0] <= 0.75)), system)
    assert isinstance(between, Statistical) and between.holds and between.failures == 0
    happens = pydual.solve(IDENTITY, Checker(region, Y[0] >= 0.75), system)
    if isinstance(happens, Attack):
        assert happens.x[0] == 1.0
    else:
        assert happens.statistics["attacked"] and abs(happens.estimate - 0.5) < 0.2
    with pytest.raises(InputError, match="a list has none in between"):
        pydual.solve(IDENTITY, Checker(Region.listed([[0.0, 0.0]]), Y[0] >= 0.75), "splitting")


# attacks


@pytest.mark.parametrize("of", ["condition", "traced function"])
def test_a_sampled_attack_is_one_by_the_exact_condition(of: str) -> None:
    """In float64, 0.1 + 0.2 > 0.3; of real numbers, y = x is 0.1 + 0.2 nowhere above the sum of these two floats."""
    limit = Fraction(0.1) + Fraction(0.2)  # the nearest float64 is above it
    assert Fraction(0.1 + 0.2) > limit
    region, network = Region.listed([[0.1, 0.2]]), Network.from_layers([([[1.0, 1.0]], [0.0])])
    condition = Checker(region, Y[0] > limit)

    @pydual.checker(region)
    def traced(x: Any, y: Any) -> Any:
        return y[0] > limit

    checker: Any = condition if of == "condition" else traced
    outcome = pydual.solve(network, checker, Counting(probability=0.1))
    assert isinstance(outcome, Statistical) and not isinstance(outcome, Attack)


def test_a_function_that_does_not_trace_can_be_sampled() -> None:
    @pydual.checker(SQUARE)
    def rounded(x: Any, y: Any) -> Any:
        return math.floor(float(y[0]) * 10) == 7

    with pytest.raises(InputError, match="does not trace|fails at"):
        pydual.solve(IDENTITY, rounded)
    outcome = pydual.solve(IDENTITY, rounded, "statistical")
    assert isinstance(outcome, Attack) and 0.7 <= outcome.y[0] < 0.8


def test_a_sampled_attack_is_an_input_of_the_models_type() -> None:
    model = Network.from_layers([(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32))])
    model = replace(model, element_type="float32")
    for checker in (Checker(SQUARE, Y[0] >= 0.9), black_box(0.2)):
        outcome = pydual.solve(model, checker, Counting(probability=1e-3))
        assert isinstance(outcome, Attack) and np.array_equal(outcome.x, outcome.x.astype(np.float32))


# black boxes


LOOKUP = {True: "harmless", False: "harmful"}


def black_box(limit: float) -> Any:
    def judge(x: np.ndarray, y: np.ndarray) -> bool:
        return LOOKUP[bool(math.floor(x[0] * 1000) / 1000 < limit)] == "harmful"

    return pydual.black_box(SQUARE, judge)


def test_a_black_box_is_sampled_by_default() -> None:
    outcome = pydual.solve(IDENTITY, black_box(2.0))
    assert isinstance(outcome, Statistical) and outcome.holds and outcome.proof_system == "statistical"
    assert outcome.probability <= 1e-3 and outcome.failures == 0 and outcome.samples == samples_needed(0, 1e-3, 0.99)
    assert "not a proof" in outcome.explain()


def test_a_catastrophe_that_is_met_is_an_attack() -> None:
    outcome = pydual.solve(IDENTITY, black_box(0.5))
    assert isinstance(outcome, Attack) and outcome.x[0] >= 0.5 and (outcome.y == outcome.x).all()
    allowed = pydual.solve(IDENTITY, black_box(0.5), Counting(probability=0.6, failures=40))
    assert isinstance(allowed, Statistical) and abs(allowed.estimate - 0.5) < 0.3


def test_batches_are_judged_at_once() -> None:
    box = pydual.black_box(SQUARE, lambda x, y: x[:, 0] > 2, batches=True)
    assert isinstance(pydual.solve(IDENTITY, box), Statistical)
    with pytest.raises(InputError, match="one truth value for each"):
        pydual.solve(IDENTITY, pydual.black_box(SQUARE, lambda x, y: x > 2, batches=True))


def test_other_systems_refuse_a_black_box() -> None:
    for system in ("bab", "crown", "sdp"):
        with pytest.raises(InputError, match="can only be sampled; use one of the systems statistical"):
            pydual.solve(IDENTITY, black_box(2.0), system)
    with pytest.raises(InputError, match="checker is a BlackBox"):
        pydual.solve(IDENTITY, black_box(2.0), "splitting")


def test_every_checker_can_be_sampled() -> None:
    traced = pydual.checker(SQUARE)(lambda x, y: np.abs(y).sum() > 2.5)
    judge = Network.from_layers([(np.ones((1, 4)), np.zeros(1))])
    for check in (Checker(SQUARE, Y[0] + Y[1] >= 3), traced, pydual.overseer(judge, SQUARE, 5.0)):
        for system in ("statistical", "splitting"):
            outcome = pydual.solve(IDENTITY, check, system)
            assert isinstance(outcome, Statistical) and outcome.holds, (check, system)


def test_own_samplers_are_used_and_looked_at() -> None:
    def corner(rng: np.random.Generator, count: int) -> np.ndarray:
        return 1 - 0.01 * rng.random((count, 2))

    outcome = pydual.solve(IDENTITY, black_box(2.0), Counting(sampler=corner))
    assert isinstance(outcome, Statistical) and outcome.sampler == "corner"
    outside = (lambda rng, n: np.full((n, 2), 7.0), "outside of the region")
    for bad, message in (outside, (lambda rng, n: np.zeros(n), "shape")):
        with pytest.raises(InputError, match=message):
            pydual.solve(IDENTITY, black_box(2.0), Counting(sampler=bad))


def test_relaxed_pairs_are_judged() -> None:
    """|x| over [-1, 1]: the triangle lets the output be 1 at x = 0, which no real pair does."""
    model = Network.from_layers([(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))])
    line = Region([-1.0], [1.0])
    impossible = pydual.black_box(line, lambda x, y: abs(x[0]) < 0.5 and y[0] > 0.75)
    outcome = pydual.solve(model, impossible, "relaxed", seed=1)
    assert isinstance(outcome, Statistical) and outcome.failures > 0 and not outcome.holds
    harmless = pydual.black_box(line, lambda x, y: y[0] > 1.001)
    outcome = pydual.solve(model, harmless, "relaxed")
    assert isinstance(outcome, Statistical) and outcome.holds and outcome.failures == 0
    real = pydual.black_box(line, lambda x, y: y[0] > 0.9)
    assert isinstance(pydual.solve(model, real, "relaxed"), Attack)


def test_draws_have_the_moments_of_the_pseudo_distribution() -> None:
    state, model = open_state("sos")
    (play,) = state.plays.values()
    assert play.draw is not None
    x, z = play.draw(np.random.default_rng(0), 40_000)
    assert x.shape == (40_000, 2) and z.shape == (40_000, model.neurons) and (np.abs(x) <= 1).all()
    deviations = z.std(axis=0)
    assert (np.abs(z.mean(axis=0) - play.z) <= 5 * deviations / 200 + 1e-6).all() and deviations.max() > 0.1


def test_draws_of_sdp_stay_where_inputs_and_neurons_can_be() -> None:
    state, model = open_state("sdp")
    (play,) = state.plays.values()
    assert play.draw is not None
    x, z = play.draw(np.random.default_rng(0), 1000)
    assert (np.abs(x) <= 1).all() and (z >= 0).all() and z.shape == (1000, model.neurons) and (z.std(axis=0) > 0).any()
    frame = make_frame(group([play.problem])[0], certificate.ADAPTIVE)
    assert (z <= np.maximum(frame.upper, 0) + 1e-9).all()


def open_state(name: str) -> tuple[Any, Network]:
    """A game that the adversary wins in the relaxation, where moments are not those of one point."""
    rng = np.random.default_rng(4)
    shapes = ((4, 2), (4, 4), (1, 4))
    model = Network.from_layers([(rng.normal(size=s), 0.3 * rng.normal(size=s[0])) for s in shapes])
    region = Region([-1.0, -1.0], [1.0, 1.0])
    system = SOS(degree=2) if name == "sos" else by_name(name)
    state = system.init(normalize(model, Checker(region, Y[0] <= 0)))
    while not state.finished:
        state = system.step(state, math.inf)
    return state, model


@pytest.mark.parametrize("system", [SDP(), SOS(degree=2)])
def test_pseudo_distributions_are_judged(system: Any) -> None:
    """What no real pair does: to be half a unit away from the real output."""
    _, model = open_state("sdp")
    region = Region([-1.0, -1.0], [1.0, 1.0])
    away = pydual.black_box(region, lambda x, y: abs(y - model.evaluate(x))[0] > 0.5)
    outcome = pydual.solve(model, away, Relaxed(system=system, directions=4, samples=300))
    assert isinstance(outcome, Statistical) and outcome.failures > 0 and not outcome.holds and outcome.samples <= 304
    assert outcome.sampler == f"relaxed by {system.name}"
    again = pydual.solve(model, away, Relaxed(system=system, directions=4, samples=300))
    assert isinstance(again, Statistical) and again.failures == outcome.failures
    never = pydual.black_box(region, lambda x, y: abs(y[0]) > 1e6)
    holds = pydual.solve(model, never, Relaxed(system=system, directions=4, samples=300))
    assert isinstance(holds, Statistical) and holds.holds and holds.failures == 0


def test_relaxed_pairs_are_those_of_relus() -> None:
    graph = GraphBuilder((2,))
    model = Network.from_graph(graph, graph.curve(graph.input, "tanh"))
    with pytest.raises(pydual.UnsupportedError, match="ReLU networks only"):
        pydual.solve(model, black_box(2.0), "relaxed")


# what it is not


def test_nothing_turns_a_statistic_into_a_proof(tmp_path: Any) -> None:
    outcome = pydual.solve(IDENTITY, black_box(2.0))
    assert isinstance(outcome, Statistical) and not hasattr(outcome, "certificate") and not hasattr(outcome, "margin")
    with pytest.raises(InputError, match="no certificate to audit in a Statistical"):
        pydual.audit(outcome, IDENTITY, Checker(SQUARE, Y[0] >= 2))
    with pytest.raises(TypeError, match="no truth value"):
        bool(outcome)
    outcome.save(tmp_path / "sample.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sample.json"]
    record = json.loads((tmp_path / "sample.json").read_text())
    assert record["kind"] == "statistical" and record["seed"] == 0 and record["samples"] == outcome.samples
    with pytest.raises(pydual.PydualError):
        pydual.audit(tmp_path / "sample.json", IDENTITY, Checker(SQUARE, Y[0] >= 2))


def test_the_same_seed_finds_the_same_numbers() -> None:
    checker = Checker(SQUARE, X[0] <= "0.01")
    for system in (Counting(failures=20, probability=0.05), Splitting(particles=100, moves=3)):
        first, again, other = (pydual.solve(IDENTITY, checker, system, seed=seed) for seed in (3, 3, 4))
        assert isinstance(first, Statistical) and isinstance(again, Statistical) and isinstance(other, Statistical)
        assert (first.estimate, first.probability, first.failures) == (again.estimate, again.probability, again.failures)
        assert first.estimate != other.estimate


def test_splitting_ends_on_a_plateau_of_the_margin() -> None:
    """relu(x0 - 2) is 0 in the square: half a unit above the threshold everywhere."""
    model = Network.from_layers([(np.eye(2), np.array([-2.0, -2.0])), (np.ones((1, 2)), np.zeros(1))])
    outcome = pydual.solve(model, Checker(SQUARE, Y[0] <= "-0.5"), Splitting(particles=50, moves=2))
    assert isinstance(outcome, Statistical) and outcome.holds and outcome.statistics["levels"] == 1


def test_a_timeout_ends_in_unknown() -> None:
    outcome = pydual.solve(IDENTITY, black_box(2.0), Counting(probability=1e-9), timeout=0.2)
    assert isinstance(outcome, Unknown) and "samples are catastrophes" in outcome.advice


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: Counting(probability=0.0), "probability is 0.0"), (lambda: Counting(confidence=1.0), "confidence is 1.0"),
     (lambda: Counting(failures=-1), "failures is -1"), (lambda: Splitting(particles=3), "at least 10 particles"),
     (lambda: Smoothing(sigma=-1.0), "positive sigma"), (lambda: pydual.black_box(SQUARE, "f"), "black box is a str"),
     (lambda: pydual.black_box("r", print), "needs a Region"),
     (lambda: pydual.solve(IDENTITY, Checker(SQUARE, Y[0] >= 2), "smoothing"), "l2 balls"),
     (lambda: pydual.solve(Network.from_layers([(np.eye(3), np.zeros(3))]), black_box(2.0)), "region has 2 inputs"),
     (lambda: pydual.solve(IDENTITY, black_box(2.0), seed=-1), "seed is -1")],
)  # fmt: skip
def test_bad_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
