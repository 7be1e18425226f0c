"""Models of PyTorch and scikit-learn against the libraries themselves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pydual.errors import InputError, UnsupportedError
from pydual.io.sklearn import from_sklearn
from pydual.io.torch import from_torch
from pydual.operators.primitives import Relu

torch = pytest.importorskip("torch")
sklearn = pytest.importorskip("sklearn")
nn, F = torch.nn, torch.nn.functional

LAYERS = {
    "mlp": (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)), (4,)),
    "nested": (nn.Sequential(nn.Sequential(nn.Identity(), nn.Linear(4, 8, bias=False)), nn.LeakyReLU(0.1)), (4,)),
    "conv2d": (nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()), (2, 6, 5)),
    "conv2d groups": (nn.Conv2d(4, 6, (3, 2), padding=(1, 0), dilation=(1, 2), groups=2), (4, 6, 5)),
    "conv2d same": (nn.Conv2d(2, 3, (4, 3), padding="same", dilation=(1, 2)), (2, 6, 5)),
    "conv2d valid": (nn.Conv2d(2, 3, 2, padding="valid", bias=False), (2, 6, 5)),
    "conv1d": (nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU()), (2, 9)),
    "batch norm": (nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, affine=False)), (4,)),
    "max pool": (nn.Sequential(nn.Conv2d(2, 2, 1), nn.MaxPool2d(3, 2, 1)), (2, 8, 7)),
    "max pool ceil": (nn.Sequential(nn.Conv2d(2, 2, 1), nn.MaxPool2d(2, ceil_mode=True)), (2, 9, 8)),
    "average pool": (nn.Sequential(nn.Conv2d(2, 2, 1), nn.AvgPool2d(3, 2, 1, True)), (2, 8, 7)),
    "average pool no pad": (nn.Sequential(nn.Conv2d(2, 2, 1), nn.AvgPool2d(2, None, 1, False, False)), (2, 8, 7)),
    "pools 1d": (nn.Sequential(nn.Conv1d(2, 2, 1), nn.MaxPool1d(3, 2, 1, 2), nn.AvgPool1d(2)), (2, 12)),
    "adaptive": (nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(3, 2)), (3, 4, 5)),
    "activations": (nn.Sequential(nn.Linear(4, 40), nn.ReLU6(), nn.PReLU(), nn.Hardtanh(-0.5, 0.25)), (4,)),
    "curves": (nn.Sequential(nn.Linear(4, 40), nn.Sigmoid(), nn.Linear(40, 20), nn.Tanh()), (4,)),
    "prelu of channels": (nn.PReLU(3), (3, 4)),
    "unflatten": (nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)), nn.Flatten(0)), (4,)),
}


def randomized(module, dtype):
    """The module with random parameters and running statistics."""
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.05 if tensor.dim() == 1 else torch.randn_like(tensor))
    return module.to(dtype)


def agree(network, module, dtype):
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    module.eval()
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(network.input_shape, dtype=dtype)
        with torch.no_grad():
            expected = module(x.clone()).numpy()
        assert network.output_shape == expected.shape
        result = network.evaluate(x.double().numpy().ravel())
        np.testing.assert_allclose(result, expected.ravel(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_modules(name, dtype):
    module, shape = LAYERS[name]
    module = randomized(module, dtype)
    network = from_torch(module, shape)
    assert network.input_shape == (1, *shape) and network.element_type == str(dtype).removeprefix("torch.")
    agree(network, module, dtype)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.norm, self.relu, self.last = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Linear(45, 4)
        self.register_buffer("mean", torch.zeros(2, 1, 1))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        x = (x - self.mean) / 0.3
        y = self.second(self.relu(self.norm(self.first(x))))
        y += x
        y = F.max_pool2d(F.relu(y), 2).view(x.size(0), -1)
        y = torch.cat([y, -y, 2 * y[:, :6], torch.flatten(F.avg_pool2d(x, 2), 1)[:, 1:7:2]], dim=1)
        y = F.dropout(y, training=self.training).reshape(y.shape[0], -1)
        return 1 - self.last(y) * self.scale + torch.relu(self.last(y))


class Functions(nn.Module):
    def forward(self, x):
        a = F.leaky_relu(x, 0.2).permute(0, 2, 1).contiguous().squeeze(0).unsqueeze(0)
        b = torch.clamp(x.transpose(1, 2), min=-0.5, max=0.5) + a.abs() + torch.maximum(a, 0 * a)
        c = b.sub(a, alpha=0.5).mean(dim=1, keepdim=True) * 3 + F.relu6(a).sum(2)[..., None] / 2
        d = torch.matmul(c, torch.arange(9.0).reshape(3, 3)) + F.linear(a, torch.ones(3, 3), torch.ones(3))
        return F.hardtanh(d, -2.0, 2.0).flatten(1) + d.tanh().flatten(1) - torch.sigmoid(torch.tanh(d)).flatten(1), x


class First(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)[0]


@pytest.mark.parametrize("module, shape", [(Residual(), (2, 6, 6)), (First(Functions()), (3, 4))])
def test_functions_and_residual_connections(module, shape):
    module = randomized(module, torch.float32)
    agree(from_torch(module, shape), module, torch.float32)


def test_input_shape_of_a_linear_first_layer_is_known():
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    assert from_torch(module).digest == from_torch(module, (4,)).digest
    with pytest.raises(InputError, match="pass input_shape"):
        from_torch(nn.Conv2d(1, 1, 3))


def test_the_module_is_left_as_it_is():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    from_torch(module)
    assert module.training and all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_weights_are_exact_and_constants_have_the_element_type():
    layer = nn.Linear(3, 2)
    ((_, matrix),) = from_torch(layer).primitives[0].terms
    assert np.array_equal(matrix, layer.weight.detach().numpy().astype(np.float64))
    primitives = from_torch(nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.1))).primitives
    assert primitives[-1].terms[0][1].diagonal().tolist() == [float(np.float32(0.1))] * 2


class Products(nn.Module):
    """A rounded product of parameters, and one that only moves numbers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor([0.1, 0.7])), nn.Parameter(torch.tensor([0.3, 1.1]))

    def forward(self, x):
        return x * (self.a * self.b) + self.a.reshape(1, 2)


def test_rounded_constants_are_noted():
    assert from_torch(Products(), (2,)).folded == ("mul",)
    norm = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert from_torch(norm).folded == ("_1",)
    assert from_torch(nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(0.1), nn.Linear(2, 1))).folded == ()


def test_neurons_carry_names():
    (name,) = [p.name for p in from_torch(nn.Sequential(nn.Linear(2, 2), nn.ReLU())).primitives if isinstance(p, Relu)]
    assert name == "_1"


class Renamed(nn.Linear):
    def forward(self, x):
        return super().forward(x).erf()


class Wrong(nn.Module):
    """Reads a tensor after an in-place change that torch.fx does not see."""

    def forward(self, x):
        y = x * 2
        z = y
        z += 1
        return y


class InPlace(nn.Module):
    def forward(self, x):
        y = x * 2
        return F.relu(y, inplace=True) + y


class Misfit(nn.Module):
    def forward(self, x):
        return x + torch.ones(2, 3).matmul(torch.ones(2, x.shape[1]))


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class TwoInputs(nn.Module):
    def forward(self, x, z):
        return x + z


class Loses(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    "module, message",
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Softsign()), "Softsign, which is not supported; supported are AdaptiveAvg"),
        (Renamed(2, 2), "erf"),
        (nn.Sequential(Renamed(2, 2)), "erf"),
        (nn.GELU(), "GELU|gelu"),
        (Wrong(), "does not compute what torch.fx recorded"),
        (InPlace(), "in place"),
        (Branching(), "cannot trace"),
        (TwoInputs(), "second input 'z'"),
        (Loses(), "must return one tensor"),
        (nn.BatchNorm1d(2, track_running_stats=False), "batch statistics"),
        (nn.Linear(2, 2).half(), "float16"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()), "float32.*float64"),
        (nn.utils.spectral_norm(nn.Linear(2, 2)), "hooks"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "not supported"),
    ],
)
def test_what_is_not_supported_is_refused(module, message):
    with pytest.raises(UnsupportedError, match=message):
        from_torch(module, (2,))


@pytest.mark.parametrize(
    "module, shape, message",
    [
        (nn.Linear(2, 2), (3,), "do not fit"),
        (nn.Conv2d(1, 1, 5), (1, 3, 3), "larger than"),
        (lambda x: x, (2,), "takes a torch.nn.Module"),
        (Misfit(), (2,), "matmul.*fails"),
    ],
)
def test_what_does_not_fit_is_refused(module, shape, message):
    with pytest.raises(InputError, match=message):
        from_torch(module, shape)


def test_nan_parameters_are_refused():
    layer = nn.Linear(2, 2)
    torch.nn.init.constant_(layer.bias, float("nan"))
    with pytest.raises(InputError, match="NaN"):
        from_torch(layer)


def data(classes: int = 3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((60, 4)), np.arange(60) % classes


def fitted(model, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(data()[0], y)


@pytest.mark.parametrize("activation", ["relu", "identity", "logistic", "tanh"])
@pytest.mark.parametrize("layers", [(), (5,), (6, 5)])
def test_regressor(activation, layers):
    from sklearn.neural_network import MLPRegressor

    x = data()[0]
    for y in (x[:, 0] * 2 + 1, x[:, :2]):
        model = fitted(MLPRegressor(hidden_layer_sizes=layers, activation=activation, max_iter=5, random_state=0), y)
        network = from_sklearn(model)
        expected = model.predict(x).reshape(len(x), -1)
        np.testing.assert_allclose(network.evaluate(x), expected, atol=1e-12)
        assert network.neurons == (sum(layers) if activation == "relu" else 0)
        assert network.folded == ()


def test_classifier_gives_logits():
    from sklearn.neural_network import MLPClassifier

    x, y = data()
    model = fitted(MLPClassifier((6, 5), max_iter=5, random_state=0), y)
    logits = from_sklearn(model).evaluate(x)
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(exp / exp.sum(axis=1, keepdims=True), model.predict_proba(x), atol=1e-12)


def test_binary_classifier_gives_one_logit():
    from sklearn.neural_network import MLPClassifier

    x, y = data(2)
    model = fitted(MLPClassifier((6,), max_iter=20, random_state=0), np.array(["no", "yes"])[y])
    logits = from_sklearn(model).evaluate(x)
    assert logits.shape == (60, 1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 0])), model.predict_proba(x)[:, 1], atol=1e-12)
    assert np.array_equal(np.where(logits[:, 0] > 0, "yes", "no"), model.predict(x))


def test_pipeline_with_scalers():
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    x = data()[0]
    model = make_pipeline(MinMaxScaler(), "passthrough", StandardScaler(), MLPRegressor(max_iter=5, random_state=0))
    fitted(model, x[:, 0])
    np.testing.assert_allclose(from_sklearn(model).evaluate(x)[:, 0], model.predict(x), atol=1e-12)


def test_unsupported_models_of_scikit_learn():
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline

    y = data()[0][:, 0]
    with pytest.raises(InputError, match="call fit"):
        from_sklearn(MLPRegressor())
    with pytest.raises(UnsupportedError, match="'poisson'"):
        from_sklearn(fitted(MLPRegressor(loss="poisson", max_iter=2), y - y.min()))
    with pytest.raises(UnsupportedError, match="LinearRegression"):
        from_sklearn(fitted(LinearRegression(), y))
    with pytest.raises(UnsupportedError, match="PCA"):
        from_sklearn(fitted(make_pipeline(PCA(), MLPRegressor(max_iter=2)), y))
