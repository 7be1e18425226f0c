"""The demo: what it shows comes from the solver, and its classifier is worth showing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import pydual
from pydual.cli import main
from pydual.demo import demo

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_demo_shows_all_three_outcomes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["demo", "--output", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"The model reads\s+\d", text)
    assert "accepted at level" in text
    assert "the adversary wins with a margin of" in text
    attacks = list(tmp_path.glob("attack-on-*.png"))
    assert attacks and list(tmp_path.glob("relaxed-attack-on-*.png"))
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.glob("*.png"))
    for path in tmp_path.glob("*.certificate"):
        assert f"{path.stat().st_size:,} bytes" in text


def test_the_classifier_reads_the_images_that_ship() -> None:
    images, labels = demo.load_images()
    assert images.min() >= 0 and images.max() <= 1
    scores = demo.load_network().evaluate(images)
    assert (scores.argmax(axis=1) == labels).all()


def test_the_classifier_is_accurate_on_the_whole_data() -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    scores = demo.load_network().evaluate(digits.data / 16.0)
    assert (scores.argmax(axis=1) == digits.target).mean() > 0.95


def test_the_attacks_shown_are_real() -> None:
    """Replayed on the training code's own forward pass, which shares nothing with the solver."""
    from pydual.demo.train import forward

    onnx, numpy_helper = pytest.importorskip("onnx"), pytest.importorskip("onnx.numpy_helper")
    model = onnx.load(Path(demo.__file__).parent / "digits.onnx")
    weights = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    layers = [(weights[f"W{k}"], weights[f"b{k}"]) for k in (1, 2, 3)]
    from rich.console import Console

    games = demo.play(demo.load_network(), Console(quiet=True), radii=(0.2,))
    attacks = [game for game in games if isinstance(game.outcome, pydual.Attack)]
    assert attacks
    for game in attacks:
        assert np.abs(game.outcome.x - game.image).max() <= 0.2
        scores, _ = forward(layers, np.asarray(game.outcome.x)[None])
        assert np.delete(scores[0], game.label).max() >= scores[0, game.label] - 1e-5  # float32 against float64
