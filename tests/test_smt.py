"""First-order logic: verdicts agree with enumeration, refutations become audited trees, axioms can be left out."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from activation_patterns import true_minimum

import pydual
from pydual import SMT, Attack, Ball, Certificate, Checker, InputError, Network, Region, RelaxedAttack, Unknown, X, Y

pytest.importorskip("z3", reason="z3 is not installed")

LINE = Region([-1.0], [1.0])
ABSOLUTE = Network.from_layers([(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))])


def random_network(rng: np.random.Generator) -> Network:
    sizes = [int(rng.integers(1, 4)), *rng.integers(2, 6, size=int(rng.integers(1, 3))), 2]
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    return Network.from_layers([(rng.normal(size=shape).round(2), rng.normal(size=shape[0]).round(2)) for shape in shapes])


@pytest.mark.parametrize("seed", range(50))
def test_verdicts_are_those_of_enumeration(seed: int) -> None:
    """Thresholds on both sides of the true minimum; every certificate is audited in rational arithmetic."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    size = network.input_size
    ball = Ball(np.zeros(size), 1.0, "l1") if seed % 5 == 0 else None
    region = Region(-np.ones(size), np.ones(size), ball)
    lines = [lambda t: (Y[0] <= t) & (Y[1] <= t), lambda t: (Y[0] + X[0] <= t) | (Y[1] <= t), lambda t: Y[0] - Y[1] < t]
    condition = lines[seed % 3]
    least = true_minimum(network, Checker(region, condition(0)))
    for side in (-0.05, 0.05):
        checker = Checker(region, condition(Fraction(round(least + side, 6))))
        outcome = pydual.solve(network, checker, "smt")
        assert isinstance(outcome, Certificate if side < 0 else Attack), (least, side, outcome)
        if isinstance(outcome, Certificate):
            assert pydual.audit(outcome, network, checker, level="exact").level == "exact"


def test_the_boundary_is_a_catastrophe_unless_it_is_strict() -> None:
    """|x| on [-1, 1] attains 1 and 0."""
    for condition, strict in ((Y[0] >= 1, Y[0] > 1), (Y[0] <= 0, Y[0] < 0)):
        assert isinstance(pydual.solve(ABSOLUTE, Checker(LINE, condition), "smt"), Attack)
        outcome = pydual.solve(ABSOLUTE, Checker(LINE, strict), "smt")
        assert isinstance(outcome, Certificate), outcome
        pydual.audit(outcome, ABSOLUTE, Checker(LINE, strict), level="exact")


def test_the_tree_splits_what_the_refutation_distinguishes() -> None:
    """Beside a random network, two neurons that cannot matter: z3's refutation needs no case of them, nor does the tree."""
    rng = np.random.default_rng(3)
    hidden, final = rng.normal(size=(6, 2)), rng.normal(size=(1, 6))
    first = np.block([[hidden, np.zeros((6, 1))], [np.zeros((2, 2)), np.array([[1.0], [-1.0]])]])
    network = Network.from_layers([(first, np.zeros(8)), (np.hstack([final, np.zeros((1, 2))]), np.zeros(1))])
    cube = Region(-np.ones(3), np.ones(3))
    least = true_minimum(network, Checker(cube, Y[0] <= 0))
    checker = Checker(cube, Y[0] <= Fraction(round(least - 1e-4, 6)))
    outcome = pydual.solve(network, checker, "smt")
    assert isinstance(outcome, Certificate)
    used = outcome.statistics["smt"]["refutations"][0]
    assert used and not {"layer 1[6]", "layer 1[7]"} & set(used)
    splits = set(outcome.certificate.trees[0].index.tolist())
    assert splits and splits <= {int(name.removeprefix("layer 1[").rstrip("]")) for name in used}


def deep() -> Network:
    """relu(relu(x) + relu(-x) - 2) = relu(|x| - 2): 0 on [-1, 1], already by the bounds of the first layer ([0, 1] each)."""
    layers = [(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 2)), np.full(1, -2.0)), (np.ones((1, 1)), np.zeros(1))]
    return Network.from_layers(layers)


def test_axioms_that_a_proof_does_not_need_can_be_left_out() -> None:
    network, checker = deep(), Checker(LINE, Y[0] >= "0.5")
    for axioms in ("exact", "triangle", "bounds", {0: "bounds"}, {0: "bounds", 1: "triangle"}):
        assert isinstance(pydual.solve(network, checker, SMT(axioms=axioms)), Certificate), axioms


def test_axioms_that_a_proof_needs_cannot() -> None:
    """|x| <= 1 is known, but of the sum of both bounds only that it is at most 2: y >= 1.5 has a model then."""
    checker = Checker(LINE, Y[0] >= "1.5")
    assert isinstance(pydual.solve(ABSOLUTE, checker, SMT()), Certificate)
    assert isinstance(pydual.solve(ABSOLUTE, checker, SMT(axioms="triangle")), Certificate)
    for axioms in ("bounds", "dropped", {0: "bounds"}):
        system = SMT(axioms=axioms)
        outcome = pydual.solve(ABSOLUTE, checker, system)
        assert isinstance(outcome, RelaxedAttack) and not system.complete, axioms
        assert "model of the axioms" in outcome.explain() or "relaxed" in outcome.explain()
    # two negative outputs cannot be: without any axiom of the layer they are a model
    negative = Checker(LINE, Y[0] <= -1)
    assert isinstance(pydual.solve(ABSOLUTE, negative, SMT(axioms="bounds")), Certificate)
    assert isinstance(pydual.solve(ABSOLUTE, negative, SMT(axioms="dropped")), RelaxedAttack)


def test_a_real_attack_is_one_also_with_weak_axioms() -> None:
    assert isinstance(pydual.solve(ABSOLUTE, Checker(LINE, Y[0] >= "0.9"), SMT(axioms="triangle")), Attack)


def test_products_are_axioms_too() -> None:
    """x0 x1 <= 1 on the square; 1.1 has no attack, 0.9 has one."""
    square = Region([-1.0, -1.0], [1.0, 1.0])
    network = Network.from_layers([(np.eye(2), np.zeros(2))])
    none = pydual.checker(square)(lambda x, y: x[0] * y[1] >= 1.1)
    outcome = pydual.solve(network, none, "smt")
    assert isinstance(outcome, Certificate)
    assert isinstance(pydual.solve(network, pydual.checker(square)(lambda x, y: x[0] * y[1] >= 0.9), "smt"), Attack)


def test_balls_of_both_norms() -> None:
    """x0 + x1 on the unit balls: at most 1 and sqrt(2)."""
    network = Network.from_layers([(np.eye(2), np.zeros(2))])
    for norm, least in (("l1", 1.0), ("l2", 2**0.5)):
        region = Region([-2.0, -2.0], [2.0, 2.0], Ball(np.zeros(2), 1.0, norm))
        assert isinstance(pydual.solve(network, Checker(region, Y[0] + Y[1] >= round(least + 0.01, 6)), "smt"), Certificate)
        assert isinstance(pydual.solve(network, Checker(region, Y[0] + Y[1] >= round(least - 0.01, 6)), "smt"), Attack)


def test_a_timeout_is_kept() -> None:
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=shape), rng.normal(size=shape[0])) for shape in ((40, 10), (40, 40), (40, 40), (1, 40))]
    network = Network.from_layers(layers)
    outcome = pydual.solve(network, Checker(Region(-np.ones(10), np.ones(10)), Y[0] >= 1e4), "smt", timeout=1.0)
    assert isinstance(outcome, Unknown | Certificate) and outcome.statistics["seconds"]["total"] < 30


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: SMT(solver="yices"), "Unknown solver 'yices'"), (lambda: SMT(axioms=3), "The axioms are 3"),  # type: ignore[arg-type]
     (lambda: pydual.solve(ABSOLUTE, Checker(LINE, Y[0] >= 2), SMT(axioms={"fc9": "bounds"})), "name the layer 'fc9'"),
     (lambda: pydual.solve(ABSOLUTE, Checker(LINE, Y[0] >= 2), SMT(axioms={0: "vague"})), "Unknown axioms 'vague'")],
)  # fmt: skip
def test_bad_options_are_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]


def test_z3_is_not_imported_before_it_is_used() -> None:
    code = "import sys, pydual; pydual.SMT(); from pydual import solve; sys.exit('z3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    missing = (
        "import sys; sys.modules['z3'] = None\n"
        "import pydual, numpy as np\n"
        "n = pydual.Network.from_layers([(np.eye(1), np.zeros(1))])\n"
        "try: pydual.solve(n, pydual.Checker(pydual.Region([0.0], [1.0]), pydual.Y[0] >= 2), 'smt')\n"
        "except pydual.InputError as e: print(e)\n"
    )
    said = subprocess.run([sys.executable, "-c", missing], check=True, capture_output=True, text=True).stdout
    assert said == "The proof system 'smt' needs z3; install it with pip install 'pydual[smt]'.\n"
