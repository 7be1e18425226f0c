"""Train the classifier that the demo ships: ``python -m pydual.demo.train`` rewrites digits.onnx and digits.npz.

A 64-32-32-10 ReLU network on the digits data of scikit-learn (pixels 0 .. 16, divided by 16), trained on the worst
inputs that a few steps of projected gradient ascent find, so that there is something to certify. Needs scikit-learn;
the demo itself does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

HIDDEN = (32, 32)
RADIUS = 0.1  # of the inputs trained on, in the linf norm
ASCENT_STEPS = 4
EPOCHS = 80
BATCH = 64
RATE = 2e-3
HELD_OUT = 297
SHOWN = 6  # images that ship

Layers = list[tuple[np.ndarray, np.ndarray]]


def forward(layers: Layers, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The scores (batch, classes), and the input of every layer."""
    inputs = [x]
    for weight, bias in layers[:-1]:
        inputs.append(np.maximum(inputs[-1] @ weight.T + bias, 0.0))
    weight, bias = layers[-1]
    return inputs[-1] @ weight.T + bias, inputs


def backward(layers: Layers, inputs: list[np.ndarray], gradient: np.ndarray) -> tuple[Layers, np.ndarray]:
    """Gradients of weights and of the input, from the gradient of the scores."""
    gradients: Layers = []
    for (weight, _), x in zip(reversed(layers), reversed(inputs), strict=True):
        gradients.append((gradient.T @ x, gradient.sum(axis=0)))
        gradient = (gradient @ weight) * (x > 0) if x is not inputs[0] else gradient @ weight
    return gradients[::-1], gradient


def loss_gradient(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Gradient of the mean cross entropy with respect to the scores."""
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    probabilities[np.arange(len(labels)), labels] -= 1.0
    return probabilities / len(labels)


def worst_inputs(
    layers: Layers, x: np.ndarray, labels: np.ndarray, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """Projected gradient ascent of the loss within ``radius`` of ``x`` and within the pixel range [0, 1]."""
    point = np.clip(x + rng.uniform(-radius, radius, x.shape), 0.0, 1.0)
    for _ in range(ASCENT_STEPS):
        scores, inputs = forward(layers, point)
        _, gradient = backward(layers, inputs, loss_gradient(scores, labels))
        point = np.clip(point + 0.5 * radius * np.sign(gradient), x - radius, x + radius).clip(0.0, 1.0)
    return point


def train(x: np.ndarray, labels: np.ndarray, seed: int = 0) -> Layers:
    """Adam on the worst inputs; the radius grows over the first half of the epochs."""
    rng = np.random.default_rng(seed)
    sizes = (x.shape[1], *HIDDEN, 10)
    layers = [(rng.normal(0, np.sqrt(2 / n), (m, n)), np.zeros(m)) for n, m in zip(sizes[:-1], sizes[1:], strict=True)]
    parameters = [array for layer in layers for array in layer]
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    step = 0
    for epoch in range(EPOCHS):
        radius = RADIUS * min(1.0, 2 * epoch / EPOCHS)
        for batch in np.array_split(rng.permutation(len(x)), len(x) // BATCH):
            step += 1
            scores, inputs = forward(layers, worst_inputs(layers, x[batch], labels[batch], radius, rng))
            gradients, _ = backward(layers, inputs, loss_gradient(scores, labels[batch]))
            rate = RATE * (1 - epoch / EPOCHS) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            flat = [array for layer in gradients for array in layer]
            for p, g, m, v in zip(parameters, flat, first, second, strict=True):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= rate * m / (np.sqrt(v) + 1e-8)
    return layers


def save_onnx(layers: Layers, path: Path) -> None:
    """Write the layers as Gemm and Relu nodes in float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, value = [], [], "image"
    for number, (weight, bias) in enumerate(layers, start=1):
        for name, array in ((f"W{number}", weight), (f"b{number}", bias)):
            weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        last = number == len(layers)
        result = "scores" if last else f"z{number}"
        nodes.append(
            helper.make_node("Gemm", [value, f"W{number}", f"b{number}"], [result], f"layer{number}", transB=1)
        )
        if not last:
            value = f"h{number}"
            nodes.append(helper.make_node("Relu", [result], [value], f"relu{number}"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, layers[0][0].shape[1]])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(layers[-1][1])])
    graph = helper.make_graph(nodes, "digits", [image], [scores], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="pydual")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pixels, labels = digits.data[order] / 16.0, digits.target[order]
    layers = train(pixels[HELD_OUT:], labels[HELD_OUT:])
    held_out, truth = pixels[:HELD_OUT], labels[:HELD_OUT]
    right = forward(layers, held_out)[0].argmax(axis=1) == truth
    attacked = worst_inputs(layers, held_out, truth, RADIUS, np.random.default_rng(1))
    robust = forward(layers, attacked)[0].argmax(axis=1) == truth
    print(f"held-out accuracy {right.mean():.3f}, under attack at radius {RADIUS}: {robust.mean():.3f}")
    folder = Path(__file__).parent
    save_onnx(layers, folder / "digits.onnx")
    shown = [int(np.flatnonzero(truth == label)[0]) for label in range(SHOWN)]
    images = (held_out[shown] * 16).astype(np.uint8).reshape(-1, 8, 8)
    np.savez(folder / "digits.npz", images=images, labels=truth[shown].astype(np.int64))


if __name__ == "__main__":
    main()
