"""Trains FedAvg in NumPy on the generated datasets, without fedpipe: the accuracies that `README.md` compares with.

Usage: python3 generated.py
The examples are those of `../random/vectors.py`. Starts and orders are NumPy's own, five seeds of each.
"""

import importlib.util
import pathlib

import numpy as np

SEEDS = 5


def load(path):
    spec = importlib.util.spec_from_file_location("vectors", pathlib.Path(__file__).parent / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arrays(examples):
    return np.array([x for x, _ in examples], np.float32), np.array([label for _, label in examples])


def forward(layers, x):
    """The inputs of each layer, and the logits."""
    inputs = []
    for index, (weight, bias) in enumerate(layers):
        inputs.append(x)
        x = x @ weight + bias
        if index + 1 < len(layers):
            x = np.maximum(x, 0)
    return inputs, x


def gradients(layers, x, y):
    inputs, logits = forward(layers, x)
    error = np.exp(logits - logits.max(1, keepdims=True))
    error /= error.sum(1, keepdims=True)
    error[np.arange(len(y)), y] -= 1
    error /= len(y)
    found = []
    for index in reversed(range(len(layers))):
        found.insert(0, [inputs[index].T @ error, error.sum(0)])
        if index:
            error = (error @ layers[index][0].T) * (inputs[index] > 0)
    return found


def train(layers, x, y, work, rng):
    """Local epochs of SGD; the momentum begins at 0."""
    layers = [[weight.copy(), bias.copy()] for weight, bias in layers]
    velocity = [[np.zeros_like(tensor) for tensor in layer] for layer in layers]
    for _ in range(work["epochs"]):
        order = rng.permutation(len(y))
        for start in range(0, len(y), work["batch"]):
            rows = order[start : start + work["batch"]]
            for layer, speeds, slopes in zip(layers, velocity, gradients(layers, x[rows], y[rows])):
                for tensor, speed, slope in zip(layer, speeds, slopes):
                    speed *= work["momentum"]
                    speed += slope + work["decay"] * tensor
                    tensor -= work["rate"] * speed
    return layers


def fedavg(clients, test, hidden, work, seed):
    rng = np.random.default_rng(seed)
    sizes = [clients[0][0].shape[1], *hidden, work["classes"]]
    # He normal, or 0 for the only layer.
    scales = [np.sqrt(2 / inputs) * bool(hidden) for inputs in sizes]
    layers = [
        [(scale * rng.standard_normal((a, b))).astype(np.float32), np.zeros(b, np.float32)]
        for a, b, scale in zip(sizes, sizes[1:], scales)
    ]
    for _ in range(work["rounds"]):
        taken = rng.choice(len(clients), work["sampled"], replace=False)
        shares = np.array([len(clients[k][1]) for k in taken], np.float64)
        results = [train(layers, *clients[k], work, rng) for k in taken]
        shares /= shares.sum()
        layers = [
            [sum(p * result[i][j] for p, result in zip(shares, results)).astype(np.float32) for j in (0, 1)]
            for i in range(len(layers))
        ]
    _, logits = forward(layers, test[0])
    return (logits.argmax(1) == test[1]).mean()


def cell(name, generated, hidden, work):
    clients, test = [arrays(client) for client in generated[0]], arrays(generated[1])
    found = [100 * fedavg(clients, test, hidden, work, seed) for seed in range(SEEDS)]
    print(f"{name}: {np.mean(found):.2f} ± {np.std(found, ddof=1):.2f} %, lowest {min(found):.2f}, highest {max(found):.2f}")


if __name__ == "__main__":
    vectors = load("../random/vectors.py")
    cell(
        "fcube",
        vectors.fcube(),
        [32, 16, 8],
        {"classes": 2, "rounds": 50, "epochs": 10, "batch": 64, "rate": 0.01, "momentum": 0.9, "decay": 1e-5, "sampled": 4},
    )
    cell(
        "synthetic",
        vectors.synthetic(1, 1, 30),
        [],
        {"classes": 10, "rounds": 100, "epochs": 1, "batch": 10, "rate": 0.01, "momentum": 0, "decay": 0, "sampled": 30},
    )
