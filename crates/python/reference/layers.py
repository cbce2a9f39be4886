"""Makes the NumPy values that the layers of `crates/nn` are tested against: outputs, losses, gradients, statistics.

    pip install numpy
    python3 crates/python/reference/layers.py > crates/nn/src/layer/reference.json

All arithmetic is float64. Layers are plain loops over their definitions. Gradients are central differences of the loss,
so that no rule of differentiation is assumed. Inputs and weights are multiples of 1/64, exact in float32. Biases are
odd multiples of 2⁻¹³, so that no ReLU has the input 0, where it has no derivative.
"""

import json
import platform

import numpy as np

EPSILON = 1e-5
SHARE = 0.1
STEP = 1e-6

# Name, shape of an example (channels, height, width), order of its values, layers, classes, batch.
CASES = [
    ("conv", (1, 6, 5), "planes", [("conv", 3, 2), ("relu",), ("dense", 4)], 3),
    ("conv on pixels", (3, 5, 6), "pixels", [("conv", 2, 3), ("relu",), ("dense", 3)], 2),
    ("two convs and pools", (2, 14, 13), "planes",
     [("conv", 3, 3), ("pool", 2), ("relu",), ("conv", 2, 3), ("pool", 3), ("relu",), ("dense", 3)], 3),
    ("a wide conv", (1, 12, 12), "planes", [("conv", 5, 3), ("pool", 5), ("dense", 3)], 2),
    ("batch norm of rows", (7, 1, 1), "planes", [("dense", 5), ("batch",), ("relu",), ("dense", 3)], 6),
    ("batch norm of images", (2, 5, 4), "planes", [("conv", 3, 2), ("batch",), ("relu",), ("dense", 3)], 3),
    ("layer norm of rows", (7, 1, 1), "planes", [("dense", 18), ("layer",), ("relu",), ("dense", 3)], 4),
    ("layer norm of images", (2, 5, 4), "planes", [("conv", 3, 2), ("layer",), ("relu",), ("dense", 3)], 3),
    ("norms first", (3, 4, 3), "planes", [("batch",), ("layer",), ("dense", 3)], 4),
]


def dyadic(random, *shape, scale):
    return np.round(random.standard_normal(shape) * scale * 64) / 64


def bias(random, count):
    return dyadic(random, count, scale=0.2) + 2.0**-13


class Net:
    """The layers of a case. Values between them have shape (batch, channels, height, width)."""

    def __init__(self, shape, layers, random):
        self.layers, self.weights, self.trained = layers, [], []
        for kind, *numbers in layers:
            channels, height, width = shape
            made = []
            if kind == "conv":
                outputs, side = numbers
                scale = (2 / (channels * side * side)) ** 0.5
                made = [dyadic(random, outputs, channels, side, side, scale=scale), bias(random, outputs)]
                shape = outputs, height - side + 1, width - side + 1
            elif kind == "dense":
                inputs = channels * height * width
                made = [dyadic(random, inputs, numbers[0], scale=(2 / inputs) ** 0.5), bias(random, numbers[0])]
                shape = numbers[0], 1, 1
            elif kind == "pool":
                shape = channels, height // numbers[0], width // numbers[0]
            elif kind in ("batch", "layer"):
                made = [1 + dyadic(random, channels, scale=0.2), dyadic(random, channels, scale=0.2)]
            self.add(made, True)
            if kind == "batch":
                self.add([dyadic(random, channels, scale=0.2), 1 + abs(dyadic(random, channels, scale=0.2))], False)

    def add(self, made, is_trained):
        self.trained += [is_trained] * sum(tensor.size for tensor in made)
        self.weights += made

    def flat(self):
        return np.concatenate([tensor.ravel() for tensor in self.weights])

    def forward(self, flat, x, is_training):
        """Returns the logits, and the weights with new running statistics."""
        flat, at = flat.copy(), 0

        def take(*shape):
            nonlocal at
            at += int(np.prod(shape))
            return flat[at - int(np.prod(shape)) : at].reshape(shape)

        for kind, *numbers in self.layers:
            channels = x.shape[1]
            if kind == "conv":
                x = conv(x, take(numbers[0], channels, numbers[1], numbers[1]), take(numbers[0]))
            elif kind == "dense":
                rows = x.reshape(len(x), -1)
                x = (rows @ take(rows.shape[1], numbers[0]) + take(numbers[0]))[:, :, None, None]
            elif kind == "relu":
                x = np.maximum(x, 0)
            elif kind == "pool":
                x = pool(x, numbers[0])
            elif kind == "layer":
                mean, variance = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
                x = affine((x - mean) / np.sqrt(variance + EPSILON), take(channels), take(channels))
            elif kind == "batch":
                factor, shift, mean, variance = (take(channels) for _ in range(4))
                used = (x.mean((0, 2, 3)), x.var((0, 2, 3))) if is_training else (mean.copy(), variance.copy())
                if is_training:
                    count = x.size // channels
                    mean += SHARE * (used[0] - mean)
                    variance += SHARE * (used[1] * count / (count - 1) - variance)
                x = affine(affine(x, np.ones(channels), -used[0]) / np.sqrt(used[1] + EPSILON)[:, None, None], factor, shift)
        return x[:, :, 0, 0], flat


def affine(x, factor, shift):
    return x * factor[:, None, None] + shift[:, None, None]


def conv(x, weight, shift):
    batch, _, height, width = x.shape
    outputs, _, side, _ = weight.shape
    out = np.empty((batch, outputs, height - side + 1, width - side + 1))
    for n, o, row, column in np.ndindex(*out.shape):
        out[n, o, row, column] = (x[n, :, row : row + side, column : column + side] * weight[o]).sum() + shift[o]
    return out


def pool(x, side):
    batch, channels, height, width = x.shape
    out = np.empty((batch, channels, height // side, width // side))
    for n, c, row, column in np.ndindex(*out.shape):
        out[n, c, row, column] = x[n, c, row * side : (row + 1) * side, column * side : (column + 1) * side].max()
    return out


def losses(logits, labels):
    top = logits.max(1)
    return np.log(np.exp(logits - top[:, None]).sum(1)) + top - logits[np.arange(len(labels)), labels]


def case(name, shape, order, layers, batch, random):
    net = Net(shape, layers, random)
    x = dyadic(random, batch, *shape, scale=1.0)
    labels = random.integers(0, layers[-1][1], batch)
    start = net.flat()

    def loss(flat):
        return losses(net.forward(flat, x, True)[0], labels).mean()

    gradient = np.zeros(start.size)
    for i in np.flatnonzero(net.trained):
        step = np.zeros(start.size)
        step[i] = STEP
        gradient[i] = (loss(start + step) - loss(start - step)) / (2 * STEP)
    stored = x.transpose(0, 2, 3, 1) if order == "pixels" else x
    return {
        "name": name,
        "shape": shape,
        "order": order,
        "layers": layers,
        "inputs": stored.ravel().tolist(),
        "labels": labels.tolist(),
        "weights": start.tolist(),
        "logits": net.forward(start, x, False)[0].ravel().tolist(),
        "training_loss": losses(net.forward(start, x, True)[0], labels).sum(),
        "gradient": [round(value, 8) for value in gradient.tolist()],
        "moved": net.forward(start, x, True)[1].tolist(),
    }


def main():
    random = np.random.default_rng(1)
    cases = [case(*rules, random) for rules in CASES]
    made_by = f"numpy {np.__version__}, Python {platform.python_version()}"
    print('{"made_by": ' + json.dumps(made_by) + ',\n"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}")


if __name__ == "__main__":
    main()
