"""The examples run, and what they print is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'example("{path.stem}")' in text for path in EXAMPLES.glob("*.py"))


def test_traced_checker(tmp_path: Path, capsys: Any) -> None:
    module = example("traced_checker")
    module.main(tmp_path)
    right, small, large = capsys.readouterr().out.splitlines()
    assert float(re.findall(r"(\d+)%", right)[0]) > 90
    assert "never" in small and "audit: exact" in small and (tmp_path / "petals.cert").is_file()
    assert large.endswith("says True.") and float(re.findall(r"has ([\d.]+)\. The", large)[0]) <= 5
    # the corner with the smallest petals, and points between: the network does not say virginica there
    model, checker = module.trained(), module.small_petals_virginica(0.2)
    points = np.random.default_rng(0).uniform(checker.region.lower, checker.region.upper, (20_000, 4))
    points[:, 2:] = np.random.default_rng(1).uniform([1.0, 0.1], [2.0, 0.2], (20_000, 2))
    points = points[points[:, 2] * points[:, 3] <= 0.2]
    assert len(points) > 1000 and (model.evaluate(points).argmax(axis=1) != module.VIRGINICA).all()


def test_overseer(capsys: Any) -> None:
    from sklearn.datasets import load_iris

    module = example("overseer")
    module.main()
    safe, spare, attacked, found = capsys.readouterr().out.splitlines()
    assert ": Certificate, " in safe and "audit: exact" in spare and ": Attack, " in attacked
    assert float(found.rsplit(" ", 1)[1]) >= module.THRESHOLD
    data, target = load_iris(return_X_y=True)
    model, judge = module.trained(data, target)
    x = data[0] + np.random.default_rng(0).uniform(-0.1, 0.1, (5000, 4))
    worst = judge.evaluate(np.hstack([x, model.evaluate(x)])).max()
    assert worst <= module.THRESHOLD - float(re.findall(r"at least ([\d.]+)", spare)[0]) + 1e-3


def test_black_box(capsys: Any) -> None:
    example("black_box").main()
    near, far, relaxed, rare, smooth = capsys.readouterr().out.splitlines()
    for line in (near, relaxed, rare, smooth):
        assert "it is not a proof" in line
    network, forest = re.findall(r"says (\d), the forest (\d)", far)[0]
    assert "Attack" in far and network != forest
    bound = float(re.findall(r"at most ([\d.e-]+)", rare)[0].rstrip("."))
    assert 0.5e-6 <= bound <= 1e-5  # the triangle's area is 0.001^2 / 2
    assert float(re.findall(r"within ([\d.]+) of", smooth)[0]) > 0.3 and "0 of 4603" in near


def test_first_order_logic(capsys: Any) -> None:
    pytest.importorskip("z3", reason="z3 is not installed")
    example("first_order_logic").main()
    text = capsys.readouterr().out
    near, middle, far = text.split("Setosa, ")[1:]
    for said in ("axioms exact: Certificate", "axioms bounds: Certificate", "axioms dropped: RelaxedAttack"):
        assert said in near
    assert "axioms exact: Certificate" in middle and "axioms bounds: RelaxedAttack" in middle
    assert "axioms exact: Attack" in far and "audit exact" in near


def test_distillation(tmp_path: Path, capsys: Any) -> None:
    from sklearn.datasets import load_diabetes

    module = example("distillation")
    module.main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert "Certificate" in lines[2] and "audit: exact" in lines[3] and "Attack" in lines[4]
    allowed, refuted = (float(re.findall(r"less than ([\d.]+)\?", lines[k])[0]) for k in (2, 4))
    assert float(re.findall(r"differ by ([\d.]+) at", lines[5])[0]) >= refuted
    data, target = load_diabetes(return_X_y=True)
    data, target = data / data.std(axis=0), (target - target.mean()) / target.std()
    slow, fast = module.trained(data, target)
    x = data[0] + np.random.default_rng(0).uniform(-0.1, 0.1, (5000, 10))
    assert np.abs(slow.evaluate(x) - fast.evaluate(x)).max() < allowed
    assert "Certificate" in lines[6] and "audit of the chain: exact" in lines[7] and (tmp_path / "chain.cert").is_file()
    limit, spare = float(re.findall(r"predicts ([-\d.]+) or", lines[6])[0]), float(re.findall(r"and ([\d.]+) to", lines[7])[0])
    assert fast.evaluate(x).max() <= limit - spare + 5e-4


def test_enumeration(tmp_path: Path, capsys: Any) -> None:
    from sklearn.datasets import load_digits

    module = example("enumeration")
    module.main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert "15625 images: Certificate" in lines[0] and "24137569 images: Attack" in lines[2]
    assert "audit: rounded" in lines[1] and "0.25: Certificate" in lines[4] and "4.0: Attack" in lines[5]
    data, target = load_digits(return_X_y=True)
    model, image = module.trained(data, target), data[0].copy()
    image[[19, 20, 27, 28, 35, 36]] = [int(v) for v in re.findall(r"\[([\d ]+)\]", lines[3])[0].split()]
    assert model.evaluate(image).argmax() != target[0]
