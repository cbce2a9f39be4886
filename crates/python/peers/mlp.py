"""The MLP 784-128-64-10 in plain NumPy, tuned for speed: one buffer for each tensor, few temporaries."""

import numpy as np

WIDTHS = (784, 128, 64, 10)


def initial(seed):
    """He normal weights and zero biases: [w1, b1, w2, b2, w3, b3]."""
    random = np.random.default_rng(seed)
    arrays = []
    for inputs, outputs in zip(WIDTHS, WIDTHS[1:]):
        arrays.append((random.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32))
        arrays.append(np.zeros(outputs, np.float32))
    return arrays


def forward(arrays, inputs):
    """The two hidden activations and the logits."""
    w1, b1, w2, b2, w3, b3 = arrays
    first = inputs @ w1
    first += b1
    np.maximum(first, 0, out=first)
    second = first @ w2
    second += b2
    np.maximum(second, 0, out=second)
    logits = second @ w3
    logits += b3
    return first, second, logits


def gradients(arrays, inputs, labels):
    """The gradient of the mean cross-entropy, in the order of `arrays`."""
    first, second, logits = forward(arrays, inputs)
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    logits[np.arange(len(labels)), labels] -= 1
    logits /= len(labels)
    d_second = logits @ arrays[4].T
    d_second *= second > 0
    d_first = d_second @ arrays[2].T
    d_first *= first > 0
    return [
        inputs.T @ d_first, d_first.sum(axis=0),
        first.T @ d_second, d_second.sum(axis=0),
        second.T @ logits, logits.sum(axis=0),
    ]  # fmt: skip


def train_sgd(arrays, images, labels, order, batch_size, rate):
    """One epoch of plain SGD over scaled images, in place."""
    rate = np.float32(rate)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        for array, gradient in zip(arrays, gradients(arrays, images[rows], labels[rows])):
            gradient *= rate
            array -= gradient


def train_adam(arrays, images, labels, order, batch_size, rate):
    """One epoch of Adam (Kingma 2015), in place, its state fresh."""
    means, squares = [np.zeros_like(a) for a in arrays], [np.zeros_like(a) for a in arrays]
    for step, start in enumerate(range(0, len(order), batch_size), 1):
        rows = order[start : start + batch_size]
        root = np.sqrt(1 - 0.999**step)
        size = np.float32(rate * root / (1 - 0.9**step))
        epsilon = np.float32(1e-7 * root)
        for i, gradient in enumerate(gradients(arrays, images[rows], labels[rows])):
            means[i] += np.float32(0.1) * (gradient - means[i])
            gradient *= gradient
            squares[i] += np.float32(0.001) * (gradient - squares[i])
            arrays[i] -= size * means[i] / (np.sqrt(squares[i]) + epsilon)


def accuracy(arrays, images, labels):
    """The share of examples whose class is predicted."""
    return float((forward(arrays, images)[2].argmax(axis=1) == labels).mean())
