"""Degree 4 on subsets: what holds for points, bounds between those of degree 2 and the truth, certificates, choices.

The truth is enumerated (activation_patterns). Networks are small, and so is the limit of matrices here: the cliques of most
of them are above it, so that degree 4 on all of them is out of reach.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
from cases import Case
from test_sos import NOISE, game, proof_of, residual, run, truth_of

import pydual
from pydual.audit import EXACT, ROUNDED, audit
from pydual.certificate import ADAPTIVE
from pydual.checker import Checker, Y
from pydual.errors import CertificateError, InputError
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder
from pydual.outcome import Certificate
from pydual.problem import normalize
from pydual.proof_systems import SOS
from pydual.proof_systems import sos as module
from pydual.proof_systems.products import cell_of
from pydual.region import Ball, Region
from pydual.relax.frame import Frame, group, make_frame
from pydual.relax.moments import MomentProblem
from pydual.relax.polynomials import Polynomial, monomials
from pydual.relax.sos_cell import SosCell
from pydual.relax.subsets import SublevelRing, Subset, of_neurons, sublevel_problem, widest

NEARLY = 1e-4  # what a conic solver leaves
LOOSE = (12, 2, 5, 3)  # a game where degree 2 with products is 0.018 below the truth


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 20)


def sublevel(**options: Any) -> SOS:
    return SOS(**{"dense": 6, "subset_size": 6, **options})


def framed(network: Network, region: Region) -> tuple[SosCell, Frame, list[Polynomial]]:
    (members,) = group(normalize(network, Checker(region, Y[0] <= 100.0)))
    frame = make_frame(members, ADAPTIVE)
    cell = cell_of(frame)
    return cell, frame, cell.written(cell.reduced.write(members.margins)[members.columns(0)])


def box(size: int, ball: Ball | None = None) -> Region:
    return Region(-np.ones(size), np.ones(size), ball)


def squared() -> Network:
    """Neurons that read inputs, neurons that read squares and these, and a margin that does."""
    rng, graph = np.random.default_rng(2), GraphBuilder((2,))
    first = graph.relu(graph.affine([(graph.input, rng.normal(size=(3, 2)))], 0.2 * rng.normal(size=3), (3,)))
    square = graph.curve(graph.affine([(graph.input, rng.normal(size=(1, 2)))], rng.normal(size=1), (1,)), "square")
    terms = [(first, rng.normal(size=(2, 3))), (square, rng.normal(size=(2, 1)))]
    second = graph.relu(graph.affine(terms, rng.normal(size=2), (2,)))
    out = [(second, rng.normal(size=(1, 2))), (first, rng.normal(size=(1, 3))), (square, rng.normal(size=(1, 1)))]
    return Network.from_graph(graph, graph.affine(out, rng.normal(size=1), (1,)))


CELLS: dict[str, Callable[[], tuple[Network, Region]]] = {
    "two layers": lambda: (game(0, 2, 4, 3).network, box(2)),
    "three layers": lambda: (game(3, 3, 3, 3, 2).network, box(3)),
    "residual": lambda: (residual(), box(2)),
    "an input that stands still": lambda: (residual(), Region([-1.0, 0.5], [1.0, 0.5])),
    "a ball": lambda: (game(2, 2, 4, 3).network, box(2, Ball(np.zeros(2), 0.9, "l2"))),
    "squares": lambda: (squared(), box(2)),
    "more inputs than there is room for": lambda: (game(1, 7, 3, 3).network, box(7)),
}


def values(cell: SosCell, x: np.ndarray) -> list[float]:
    """The scaled variables at an input, then what neurons read, on the scale of these."""
    s = [float(v) for v in (x - cell.region.lower)[cell.moving] / cell.scale[: len(cell.moving)]]
    reads: dict[int, float] = {}
    for v, source in cell.sources.items():
        reads[v] = evaluated(source, s) / float(cell.scale[v])
        s.append(max(reads[v], 0.0))
    return [*s, *(reads.get(v, np.nan) for v in range(cell.size))]


def evaluated(polynomial: Polynomial, s: list[float]) -> float:
    return sum(c * prod(s[v] for v in m) for m, c in polynomial.items())


def points(region: Region, count: int) -> np.ndarray:
    found = np.random.default_rng(5).uniform(region.lower, region.upper, (count, region.size))
    if region.ball is not None:
        found = found[np.linalg.norm(found - region.ball.center, axis=1) <= region.ball.radius]
    return found


def relaxation(cell: SosCell, margins: list[Polynomial], subsets: list[Subset]) -> MomentProblem:
    return sublevel_problem(cell, margins, cell.cliques(0, margins), cell.products(), subsets)


@pytest.mark.parametrize("name", CELLS)
def test_the_moments_of_points_satisfy_everything(name: str) -> None:
    network, region = CELLS[name]()
    cell, frame, margins = framed(network, region)
    problem = relaxation(cell, margins, widest(cell, 99, 6))
    assert problem.subsets >= 1 and problem.highest == 4 and problem.degree == 2
    for x in points(region, 12):
        s = values(cell, x)
        moments = np.array([prod(s[v] for v in m) for m in problem.moments])
        for block in problem.blocks:
            matrix = (block.matrix @ moments).reshape(len(block.basis), -1)
            weight = evaluated(block.weight.polynomial, s) / block.norm
            b = np.array([prod(s[v] for v in m) for m in block.basis])
            assert matrix == pytest.approx(weight * np.outer(b, b), rel=1e-6, abs=1e-6)
            assert weight >= -1e-7
        assert problem.forms @ moments == pytest.approx(frame.group.margins_at(x[None])[0], abs=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_what_is_written_out_is_equal_at_points(name: str) -> None:
    network, region = CELLS[name]()
    cell, _, _ = framed(network, region)
    subsets = widest(cell, 99, 6)
    ring = SublevelRing(cell, subsets)
    for subset in subsets:
        rng = np.random.default_rng(1)
        polynomial = {m: float(rng.normal()) for m in monomials(ring.variables(subset), 4)}
        reduced, written = ring.reduce(polynomial), ring.written(polynomial)
        assert all(v < cell.size for m in written for v in m)
        assert not any(ring.has_square(m) for m in reduced)
        for x in points(region, 5):
            s = values(cell, x)
            assert evaluated(reduced, s) == pytest.approx(evaluated(polynomial, s), rel=1e-6, abs=1e-6)
            assert evaluated(written, s) == pytest.approx(evaluated(polynomial, s), rel=1e-6, abs=1e-6)


# ---- bounds


def test_subsets_reach_the_truth_where_degree_2_with_products_does_not() -> None:
    case = game(*LOOSE)
    truth, without, state = truth_of(case), run(sublevel(subsets=0), case), run(sublevel(), case)
    assert without.statistics["degree"] == state.statistics["degree"] == 2
    assert without.statistics["subsets"] == 0 < state.statistics["subsets"]
    assert without.bound < truth - 0.015
    assert truth - 1e-3 < state.bound <= truth + NOISE


@pytest.mark.parametrize("seed", range(4))
def test_bounds_lie_between_those_of_degree_2_and_the_truth(seed: int) -> None:
    case = game(seed, 2, 4, 3) if seed % 2 else game(seed, 3, 4, 2)
    without, state = run(sublevel(subsets=0, products=0), case), run(sublevel(products=0), case)
    assert without.bound - NEARLY <= state.bound <= truth_of(case) + NOISE


def test_subsets_are_worth_something_without_products() -> None:
    case = game(*LOOSE)
    none, one = (run(sublevel(products=0, subsets=number), case).bound for number in (0, 1))
    assert none + 0.2 < one <= truth_of(case) + NOISE


@pytest.mark.parametrize("name", CELLS)
def test_every_kind_of_question(name: str) -> None:
    network, region = CELLS[name]()
    case = Case(network, Checker(region, Y[0] <= 64))
    state = run(sublevel(subsets=2), case)
    assert state.statistics["subsets"] <= 2
    least = network.evaluate(points(region, 2000))[:, 0].min() - 64
    assert state.bound <= least + NOISE
    above = case.raised(0.125 - state.bound)
    again = run(sublevel(subsets=2), above)
    if again.proved:
        assert 0 < audit(proof_of(above, again), above.network, above.checker).margin <= 0.125 + least - state.bound + NOISE


def test_what_degree_2_proves_is_not_solved_again() -> None:
    case = game(*LOOSE)
    case = case.raised(0.1 - truth_of(case))
    state = run(sublevel(), case)
    assert state.proved and state.statistics["subsets"] == 0 and state.statistics["programs"] == 1


def test_many_variables_have_no_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit would refuse their polynomials of degree 2."""
    monkeypatch.setattr(module, "MOST_VARIABLES", 5)
    state = run(sublevel(), game(*LOOSE))
    assert state.statistics["subsets"] == 0 and state.statistics["degree"] == 2


def test_without_time_the_bound_of_degree_2_stands() -> None:
    case, system = game(*LOOSE), sublevel()
    state = system.init(case.problems)
    while not state.statistics.get("programs"):
        state = system.step(state, np.inf)
    last = system.step(state, 0.0)
    assert not state.finished and last.finished
    assert last.bound == state.bound == run(sublevel(subsets=0), case).bound


def test_a_certificate_from_subsets_is_audited_exactly() -> None:
    case = game(*LOOSE)
    case = case.raised(0.008 - truth_of(case))
    assert not run(sublevel(subsets=0), case).proved
    outcome = pydual.solve(case.network, case.checker, sublevel())
    assert isinstance(outcome, Certificate) and outcome.level == EXACT
    assert 0.006 < outcome.margin <= 0.008 + NOISE
    assert audit(outcome.certificate, case.network, case.checker, level=EXACT).margin == outcome.margin
    with pytest.raises(CertificateError, match="exact audit alone"):
        audit(outcome.certificate, case.network, case.checker, level=ROUNDED)


# ---- choices


def test_a_subset_has_the_inputs_that_fit_and_what_neurons_read_if_it_must() -> None:
    cell, _, _ = framed(game(1, 7, 3, 3).network, box(7))
    for size in (2, 5, 8, 10):
        ring = SublevelRing(cell, subsets := widest(cell, 99, size))
        assert {v for subset in subsets for v in subset.neurons} == set(cell.sources)
        assert all(len(ring.variables(subset)) <= size for subset in subsets)
        for subset in subsets:
            whole = all(cell.reads(v) <= {*subset.inputs, *subset.neurons} for v in subset.neurons)
            assert whole == (len(ring.variables(subset)) == len(subset.inputs) + len(subset.neurons))
    assert len(widest(cell, 1, 8)) == 1


def test_the_inputs_that_change_most_come_first() -> None:
    weights = np.array([[0.1, -3.0, 0.2, 2.0], [0.2, 4.0, 0.1, -1.0]])
    network = Network.from_layers([(weights, np.zeros(2)), (np.ones((1, 2)), np.zeros(1))])
    cell, _, _ = framed(network, box(4))
    assert {subset.inputs for subset in widest(cell, 9, 4)} == {(1, 3)}


def test_neurons_that_are_named() -> None:
    case = game(*LOOSE)
    cell, _, _ = framed(case.network, case.checker.region)
    opened, stable = cell.neurons.tolist(), [j for j in range(8) if j not in cell.neurons]
    assert stable
    (first, second) = of_neurons(cell, ((opened[0], stable[0]), (stable[0],), (opened[-1], opened[1], opened[1])), 6)
    assert first == Subset((0, 1), (2,)) and second == Subset((0, 1), (3, len(opened) + 1))
    bounds = [run(sublevel(products=0, neurons=named), case) for named in ((tuple(stable[:1]),), (tuple(opened[:3]),))]
    assert [state.statistics["subsets"] for state in bounds] == [0, 1]
    assert bounds[0].bound + 0.01 < bounds[1].bound <= truth_of(case) + NOISE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subsets": -1}, "subsets=-1.*from 0 on"),
        ({"subset_size": 11}, "subset_size=11.*2 to 10"),
        ({"subset_size": 1}, "subset_size=1.*2 to 10"),
        ({"neurons": ((0, 1, 2),), "subset_size": 5}, r"\(0, 1, 2\).*subset_size=5.*at most 2 together"),
        ({"neurons": (0, 1)}, r"\(0, 1\); give tuples"),
        ({"neurons": ((),)}, "give tuples"),
        ({"neurons": ((0,),), "degree": 2}, "degree 2 has no subsets"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SOS(**options)


@pytest.mark.parametrize("number", [8, -1, "a"])
def test_neurons_that_are_not_there(number: Any) -> None:
    with pytest.raises(InputError, match=f"name {number!r}; the network has 8 neurons, numbered from 0"):
        SOS(neurons=((0,), (number,))).init(game(*LOOSE).problems)
