"""Multi-layer perceptrons of scikit-learn as networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydual.errors import InputError, UnsupportedError
from pydual.network import Network
from pydual.operators.add import add, subtract
from pydual.operators.curve import sigmoid, tanh
from pydual.operators.gemm import gemm
from pydual.operators.multiply import divide, multiply
from pydual.operators.positions import Tensor
from pydual.operators.primitives import GraphBuilder, Value
from pydual.operators.relu import relu

ACTIVATIONS = {"relu": relu, "logistic": sigmoid, "tanh": tanh, "identity": lambda graph, x: x}


def from_sklearn(model: Any) -> Network:
    """The network of a fitted MLPClassifier or MLPRegressor, in float64, or of a Pipeline that scales in front of one.

    ``activation`` may be "relu", "logistic", "tanh" or "identity"; scalers may be StandardScaler and MinMaxScaler
    (without clip). The outputs of a classifier are the logits, before softmax, in the order of ``classes_``; a binary
    classifier has a single logit, positive for ``classes_[1]``. Raises InputError if not fitted, UnsupportedError for
    anything else.
    """
    from sklearn.pipeline import Pipeline

    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    *scalers, mlp = [step for step in steps if step not in (None, "passthrough")] or [model]
    _check(mlp)
    graph = GraphBuilder((1, _fitted(scalers[0] if scalers else mlp).n_features_in_))
    x: Tensor = graph.input
    for scaler in scalers:
        graph.name = type(scaler).__name__
        x = _scale(graph, x, _fitted(scaler))
    for number, (weight, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
        graph.name = f"layer {number}"
        if number:
            x = ACTIVATIONS[mlp.activation](graph, x)
        x = gemm(graph, x, np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64))
    assert isinstance(x, Value)
    return Network.from_graph(graph, x)


def _check(mlp: Any) -> None:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    if not isinstance(mlp, MLPClassifier | MLPRegressor):
        raise UnsupportedError(f"{type(mlp).__name__} is not supported; use MLPClassifier or MLPRegressor.")
    if mlp.activation not in ACTIVATIONS:
        raise UnsupportedError(f"The activation '{mlp.activation}' is not supported; use one of {list(ACTIVATIONS)}.")
    _fitted(mlp)
    if isinstance(mlp, MLPRegressor) and mlp.out_activation_ != "identity":
        raise UnsupportedError(
            f"The loss '{mlp.loss}' makes a regressor whose output is not linear in its last layer; use another."
        )


def _fitted(step: Any) -> Any:
    if not hasattr(step, "n_features_in_"):
        raise InputError(f"The {type(step).__name__} is not fitted; call fit first.")
    return step


def _scale(graph: GraphBuilder, x: Tensor, scaler: Any) -> Tensor:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    if isinstance(scaler, StandardScaler):
        x = subtract(graph, x, scaler.mean_) if scaler.mean_ is not None else x
        return divide(graph, x, scaler.scale_) if scaler.scale_ is not None else x
    if isinstance(scaler, MinMaxScaler) and not scaler.clip:
        return add(graph, multiply(graph, x, scaler.scale_), scaler.min_)
    raise UnsupportedError(f"The step {scaler} is not supported; use StandardScaler, or MinMaxScaler without clip.")
