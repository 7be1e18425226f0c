"""Intervals whose ends have lines of their own: sound, tighter, found again from the lines alone, and used by the search."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import activation_patterns
import numpy as np
import pytest
from cases import Case
from random_instances import random_network
from reference_audit import Reference

from pydual import Checker, Network, Region, Y, certificate, robustness
from pydual.audit import EXACT, ROUNDED, audit, query
from pydual.audit.query import query_digest
from pydual.certificate import MOST_REFINEMENTS, Proof, ProofTree
from pydual.errors import CertificateError
from pydual.problem import normalize
from pydual.proof_systems.base import Snapshot, resume, take_snapshot
from pydual.proof_systems.crown import Crown
from pydual.proof_systems.duals import leaf_proof, root_nodes
from pydual.proof_systems.neuron_splitting import NeuronSplitting
from pydual.proof_systems.partial_tree import partial_tree
from pydual.proof_systems.recorder import TreeRecorder
from pydual.relax import cases
from pydual.relax.engine import single_threaded_blas
from pydual.relax.frame import Frame, Group, group, make_frame
from pydual.relax.refine import ends_to_refine, rederive, refine

EAGER = NeuronSplitting(refine_steps=1, batch=2)
EAGER_CASES = NeuronSplitting(refine_steps=1, batch=2, cases=2)


def deep(seed: int, width: int = 8, depth: int = 4, inputs: int = 3) -> Network:
    return Network.from_layers(layers(seed, width, depth, inputs))


def layers(seed: int, width: int, depth: int, inputs: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    sizes = [inputs, *[width] * depth, 2]
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return [(rng.normal(size=(n, m)) * np.sqrt(2 / m), 0.1 * rng.normal(size=n)) for m, n in pairs]


def asked(network: Network, ball: str | None = None) -> Group:
    size = network.input_size
    checker = Checker(Region(-np.ones(size), np.ones(size)), Y[0] <= Y[1])
    if ball is not None:
        checker = robustness(np.zeros(size), 0, 1.0, ball, classes=2)
    return group(normalize(network, checker))[0]


def found(network: Network, ball: str | None = None, most: int = 1) -> Frame:
    with single_threaded_blas():
        return refine(asked(network, ball), 30, 0.2, most_cases=most)


@pytest.mark.parametrize("most", [1, 6])
@pytest.mark.parametrize("ball", [None, "l1", "l2"])
def test_refined_intervals_hold_and_are_tighter(ball: str | None, most: int) -> None:
    ratios = []
    for seed in range(6):
        network = deep(seed)
        frame, adaptive = found(network, ball, most), make_frame(asked(network, ball), certificate.ADAPTIVE)
        points = np.random.default_rng(seed).uniform(-1, 1, (5000, 3))
        points = points[[frame.group.region.contains(p) for p in points]]
        values = network.values(points.T)
        read = np.concatenate([values[p.source] for p in network.primitives if not hasattr(p, "terms")])
        assert len(points) and (read >= frame.lower[:, None] - 1e-9).all() and (read <= frame.upper[:, None] + 1e-9).all()
        ratios.append((frame.upper - frame.lower).sum() / (adaptive.upper - adaptive.lower).sum())
    assert max(ratios) < 1.01 and np.mean(ratios) < (0.95 if most == 1 else 0.7)


def test_cases_close_most_of_the_gap_to_the_true_ends() -> None:
    """The true ends are those of enumeration; ends of decided signs may be wide, since no line depends on them."""
    gaps = {1: 0.0, 64: 0.0}
    for seed in range(6):
        component = Network.from_layers(layers(seed, 4, 2, 2)[:2])
        frames = {most: found(deep(seed, width=4, depth=2, inputs=2), most=most) for most in gaps}
        for neuron in range(4, 8):
            checker = [Checker(frames[1].group.region, sign * Y[neuron - 4] <= 0) for sign in (1, -1)]
            low, minus_high = (activation_patterns.true_minimum(component, c) for c in checker)
            high = -minus_high
            for most, frame in frames.items():
                assert frame.lower[neuron] <= low + 1e-9 and frame.upper[neuron] >= high - 1e-9
                if low < 0 < high:
                    gaps[most] += low - frame.lower[neuron] + frame.upper[neuron] - high
    assert gaps[1] > 0.5 and gaps[64] < 0.3 * gaps[1], gaps


Grown = tuple[list[int], list[float]]  # a tree in preorder: what is split, -1 for a case; one multiplier a split above a case


def grown(rng: np.random.Generator, depth: int = 0) -> Grown:
    if depth == 4 or rng.random() < 0.3:
        return [-1], rng.random(depth).astype(np.float32).tolist()
    (left, left_multipliers), (right, right_multipliers) = grown(rng, depth + 1), grown(rng, depth + 1)
    return [int(rng.integers(9)), *left, *right], left_multipliers + right_multipliers


@pytest.mark.parametrize("seed", range(5))
def test_trees_of_cases_are_found_in_their_columns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trees = [*(grown(rng) for _ in range(5)), ([3, -1, -1], [0.5, 0.25])]
    splits = np.array(sum((tree[0] for tree in trees), []), dtype=np.int32)
    multipliers = np.array(sum((tree[1] for tree in trees), []), dtype=np.float32)
    found = cases.read(splits, multipliers, names=9)
    assert len(found) == len(trees)
    for order in ([0, 1, 2, 3, 4, 5], [4, 2, 2]):
        taken = found.take(np.array(order))
        for k, number in enumerate(order):
            one = taken.take(np.array([k]))
            assert (one.splits.tolist(), one.multipliers.tolist()) == trees[number]
    for bad in (
        (splits[:-1], multipliers),
        (splits, multipliers[:-1]),
        (splits, np.append(multipliers, 1)),
        (splits + 9, multipliers),
    ):
        with pytest.raises(ValueError):
            cases.read(*bad, names=9)


def test_ends_are_split_as_often_as_asked_and_no_more_once_signs_are_decided() -> None:
    (weights, biases), *others = layers(2, 8, 4, 3)
    network = Network.from_layers([(0.2 * weights, biases), *others])  # few signs are open
    for most in (2, 5, 40):
        frame = found(network, most=most)
        refinement = frame.refinement
        assert refinement is not None
        trees = cases.read(refinement.case_splits, refinement.case_multipliers, names=len(refinement.lines[0]))
        counts = np.array([(trees.take(np.array([t])).splits < 0).sum() for t in range(len(trees))])
        assert len(counts) and (counts > 1).all() and counts.max() <= most
        open_ = (frame.lower < 0) & (frame.upper > 0)
        decided = ~open_[frame.group.program.neuron_units] & (refinement.case_trees >= 0)
        if most > 2:
            assert decided.any() and counts[refinement.case_trees[decided]].min() < most


def test_a_case_has_a_limited_number_of_splits_above_it() -> None:
    def comb(depth: int) -> tuple[np.ndarray, np.ndarray]:
        splits = [*range(depth), *[-1] * (depth + 1)]
        return np.array(splits, np.int32), np.zeros(depth + sum(range(depth + 1)), np.float32)

    most = certificate.MOST_CASE_SPLITS
    assert len(cases.read(*comb(most), names=most)) == 1
    with pytest.raises(ValueError):
        cases.read(*comb(most + 1), names=most + 1)


@pytest.mark.parametrize("most", [1, 6])
@pytest.mark.parametrize("ball", [None, "l1", "l2"])
def test_the_lines_give_the_intervals_again(ball: str | None, most: int) -> None:
    for network in (deep(1), deep(2, depth=2), random_network(np.random.default_rng(5), 2)):
        frame = found(network, ball, most)
        assert frame.refinement is not None
        again = rederive(frame.group, frame.refinement)
        np.testing.assert_allclose(again.lower, frame.lower, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(again.upper, frame.upper, rtol=1e-9, atol=1e-9)


def at_the_best_stage(frame: Frame) -> float:
    """The bound of the only margin by adaptive lines."""
    g, units = frame.group, frame.group.program.units
    free, single = np.full((1, units), -1.0), cases.single_cases(1)
    (bound,) = g.program.core.bound_ends(
        g.core_margins, g.core_region, frame.lower, frame.upper, free, single.splits, single.multipliers, deepest=0, threads=1
    )
    return float(bound)


@pytest.mark.parametrize("most", [1, 6])
@pytest.mark.parametrize("ball", [None, "l1", "l2"])
def test_audits_derive_what_the_prover_believes(ball: str | None, most: int) -> None:
    """A bound of CROWN with refined intervals, and margins that are raised until it is just positive."""
    for seed in range(4):
        frame = found(deep(seed), ball, most)
        assert frame.refinement is not None and (frame.refinement.case_splits >= 0).any() == (most > 1)
        with single_threaded_blas():
            duals = Crown().evaluate(frame, root_nodes(frame), 1.0)
        (problem,) = frame.group.problems
        case = Case(problem.network, _checker(frame.group)).raised(0.01 - float(duals.bound[0]))
        with single_threaded_blas():
            raised = replace(frame, group=group(case.problems)[0])
            tree = leaf_proof(raised, 0, Crown().evaluate(raised, root_nodes(raised), 1.0), 0)
            assert at_the_best_stage(raised) >= 0.01 - 1e-6
        assert tree.anchor.tolist() == [certificate.REFINED]
        for level in (EXACT, ROUNDED):
            margin = audit(proof_of(case, (tree,)), case.network, case.checker, level=level).margin
            assert margin == pytest.approx(at_the_best_stage(raised), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("most", [1, 6])
@pytest.mark.parametrize("ball", [None, "l1", "l2"])
def test_the_rules_derive_the_intervals_of_the_prover(ball: str | None, most: int) -> None:
    """Better intervals than the prover's would not do: the Gram matrix of a leaf is chosen for one set of lines."""
    for seed in range(6):
        frame = found(deep(seed, width=4, depth=3, inputs=2), ball, most)
        with single_threaded_blas():
            tree = leaf_proof(frame, 0, Crown().evaluate(frame, root_nodes(frame), 1.0), 0)
        (problem,) = query.problems(_checker(frame.group))
        derived = Reference(frame.group.problems[0].network, problem, tree).derived(int(tree.anchor[0]))
        ends = [[float(low), float(high)] for low, high in derived]
        believed = np.c_[frame.lower, frame.upper]
        assert (np.array(ends) * [-1, 1] <= believed * [-1, 1] + 1e-9).all()
        if most == 1:  # audits take the best stage of a case
            np.testing.assert_allclose(ends, believed, atol=1e-9)


@pytest.mark.parametrize("eager", [EAGER, EAGER_CASES])
def test_the_search_begins_anew_with_refined_intervals(eager: NeuronSplitting) -> None:
    """Verdicts at margins just above and below the true minimum, which enumeration of activation patterns knows."""
    used = 0
    for seed in range(8):
        network = deep(seed, width=4, depth=3, inputs=2)
        region = Region(-np.ones(2), np.ones(2))
        least = activation_patterns.true_minimum(network, Checker(region, Y[0] <= Y[1]))
        for gap, proved in ((1e-3, True), (-1e-3, False)):
            case = Case(network, Checker(region, Y[0] - Y[1] <= Fraction(least - gap)))
            state = eager.init(case.problems)
            with single_threaded_blas():
                while not state.finished:
                    state = eager.step(state, 10.0)
            assert (0 in state.trees) == proved
            if proved:
                used += bool(state.trees[0].refinements)
                assert audit(proof_of(case, (state.trees[0],)), network, case.checker).margin > 0
    assert used >= 3


@pytest.mark.parametrize("most", [1, 64])
def test_a_search_goes_on_in_its_refined_frame(most: int) -> None:
    eager = replace(EAGER_CASES, most_cases=most)
    network = deep(0, width=10)
    case = Case(network, Checker(Region(-np.ones(3), np.ones(3)), Y[0] <= Y[1]))
    y = network.evaluate(np.random.default_rng(0).uniform(-1, 1, (20_000, 3)))
    case = case.raised(0.3 - float((y[:, 0] - y[:, 1]).min()))
    state = eager.init(case.problems)
    with single_threaded_blas():
        anchor = certificate.REFINED
        while state.searches[0].frame.anchor != anchor or state.searches[0].cases < 2 <= most:
            state = eager.step(state, 10.0)
        for _ in range(3):
            state = eager.step(state, 10.0)
        snapshot = take_snapshot(eager, state)
        again = resume(eager, case.problems, snapshot)
        assert again.searches[0].frame.anchor == certificate.REFINED and again.searches[0].unseen[0].path
        np.testing.assert_allclose(again.searches[0].frame.lower, state.searches[0].frame.lower, atol=1e-9)
        while not again.finished:
            again = eager.step(again, 10.0)
    for tree in again.trees.values():
        assert audit(proof_of(case, (tree,)), network, case.checker).margin > 0


def test_cases_of_another_network_are_no_frame_to_go_on_from() -> None:
    """A checkpoint is a hint: neurons that its cases split may not come before the end."""
    network = deep(0, width=10)
    case = Case(network, Checker(Region(-np.ones(3), np.ones(3)), Y[0] <= Y[1])).raised(0.0)
    frame = found(network, most=6)
    assert frame.refinement is not None
    later = np.where(frame.refinement.case_splits >= 0, network.neurons - 1, -1).astype(np.int32)
    wrong = replace(frame.refinement, case_splits=later)
    with pytest.raises(ValueError, match="before its end"):
        rederive(frame.group, wrong)
    recorder = TreeRecorder(certificate.REFINED, anchor_cells=False, refinements=(wrong,))
    tree = partial_tree(recorder, 1)
    tree.check()
    state = resume(EAGER, case.problems, Snapshot(partial={0: tree}))
    assert state.searches[0].frame.anchor == certificate.ADAPTIVE


def test_first_layers_and_decided_signs_need_no_lines() -> None:
    one = asked(Network.from_layers([([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0]), ([[1.0, 1.0], [0.0, 1.0]], [0.0, 0.0])]))
    assert ends_to_refine(make_frame(one, certificate.ADAPTIVE)) == 0
    frame = found(deep(3))
    assert frame.refinement is not None and (frame.refinement.lines[:, :8] == certificate.ADAPTIVE_LINES).all()


def test_shared_refinements_are_numbered_once() -> None:
    first, second = (found(deep(seed)).refinement for seed in (1, 2))
    assert first is not None and second is not None
    nothing = np.zeros(0)
    leaf = ProofTree(*[nothing] * 3, np.array([4], np.uint8), *[nothing] * 5)
    given = [replace(leaf, refinements=r) for r in ((first,), (second,), (), (first,))]
    given[2] = replace(given[2], anchor=np.array([3], np.uint8))
    proof = Proof.of("", "", given)
    assert proof.refinements == (first, second) and [t.anchor.tolist() for t in proof.trees] == [[4], [5], [3], [4]]


def test_more_refinements_than_a_file_can_number_are_refused() -> None:
    refinement = found(deep(1)).refinement
    assert refinement is not None
    nothing = np.zeros(0)
    leaf = ProofTree(*[nothing] * 3, np.array([4], np.uint8), *[nothing] * 5)
    trees = [replace(leaf, refinements=(replace(refinement),)) for _ in range(MOST_REFINEMENTS + 1)]
    assert Proof.of("", "", trees[1:]).trees[-1].anchor.tolist() == [255]
    with pytest.raises(CertificateError, match="253 refinements"):
        Proof.of("", "", trees)


def proof_of(case: Case, trees: tuple[ProofTree, ...]) -> Proof:
    return Proof.of(case.network.digest, query_digest(case.checker), trees)


def _checker(g: Group) -> Checker:
    return Checker(g.region, Y[1] - Y[0] >= 0)


@pytest.mark.parametrize("seed", range(6))
def test_intervals_by_cases_are_those_of_the_rules(seed: int) -> None:
    """At the best stage of each case, as audits derive them: products chosen for the prover's numbers hold in the audit's."""
    network = deep(seed, width=5, depth=4, inputs=2)
    checker = Checker(Region(-0.6 * np.ones(2), 0.6 * np.ones(2)), Y[0] <= -100)
    (g,) = group(normalize(network, checker))
    found = refine(g, 10, 0.2, most_cases=8).refinement
    assert found is not None and found.case_trees.size
    frame = rederive(g, found)
    tree = leaf_proof(frame, 0, Crown().evaluate(frame, root_nodes(frame), np.inf), 0)
    derived = Reference(network, query.problems(checker)[0], tree).derived(4)
    for (low, high), lower, upper in zip(derived, frame.lower, frame.upper, strict=True):
        assert (float(low), float(high)) == pytest.approx((lower, upper), abs=1e-9)
