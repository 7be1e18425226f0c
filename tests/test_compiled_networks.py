"""A network multiplied out for the core: it says what the network says, whatever is done to its matrices later."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse

from pydual import Network, robustness
from pydual.operators.primitives import Affine, Relu
from pydual.problem import normalize
from pydual.relax.frame import group
from pydual.relax.program import compile_network
from pydual.relax.refine import refine


def scaled_convolution(seed: int) -> Network:
    """Scaled inputs, a sparse map of neighbors, and a dense one: the first two are multiplied out to an unsorted matrix."""
    rng = np.random.default_rng(seed)
    places = np.array([rng.permutation(60)[:4] for _ in range(10)])
    kernel = sparse.csr_array((rng.normal(size=40), places.ravel(), np.arange(0, 41, 4)), shape=(10, 60))
    kernel.sort_indices()
    mixing = sparse.csr_array(sparse.eye_array(60)) + sparse.csr_array(sparse.eye_array(60, k=-1)) * 0.5
    primitives = (
        Affine(((0, sparse.csr_array(mixing)),), rng.normal(size=60)),
        Affine(((1, kernel),), rng.normal(size=10)),
        Relu(2, 10),
        Affine(((3, rng.normal(size=(3, 10))),), rng.normal(size=3)),
    )
    return Network(primitives, 4, (60,), (3,))


def test_sorting_a_matrix_later_changes_nothing() -> None:
    network = scaled_convolution(0)
    center = np.linspace(-1.0, 1.0, 60)
    label = int(network.evaluate(center).argmax())
    g = group(normalize(network, robustness(center, label, 0.5, "l2", classes=3)))[0]
    points = center + 0.1 * np.random.default_rng(1).normal(size=(5, 60))
    outputs = network.evaluate(points)
    truth = outputs[:, [label]] - np.delete(outputs, label, axis=1)
    np.testing.assert_allclose(g.margins_at(points), truth, rtol=1e-12, atol=1e-12)
    (matrix,) = compile_network(network).layers[0].terms.values()
    matrix.sort_indices()
    np.testing.assert_allclose(g.margins_at(points), truth, rtol=1e-12, atol=1e-12)
    refine(g, 5, 0.2)
    np.testing.assert_allclose(g.margins_at(points), truth, rtol=1e-12, atol=1e-12)
