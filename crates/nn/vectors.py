"""Prints the test vectors of `README.md` from their definitions.

Usage: python3 vectors.py
The program needs only Python, and `../random/vectors.py` for the orders and `f32`.
"""

import json
import math
import pathlib
import runpy
import types
from fractions import Fraction

streams = types.SimpleNamespace(**runpy.run_path(str(pathlib.Path(__file__).parents[1] / "random/vectors.py")))
f32, numbers = streams.f32, streams.exactly

OPTIMISERS = [
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.9},
    {"name": "sgd", "weight_decay": 0.1},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"name": "adam"},
    {"name": "adam", "beta1": 0.8, "beta2": 0.95, "epsilon": 0.001, "weight_decay": 0.1},
    {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"name": "adamw"},
    {"name": "adamw", "beta1": 0.8, "beta2": 0.95, "epsilon": 0.001, "weight_decay": 0.1},
]
# Of the three steps of two weights.
GRADIENTS = [[0.5, -0.25], [-0.125, 0.75], [0.3, 0.1]]
START = [1.0, -2.0]

# Of the local epochs: inputs and label of each example.
EXAMPLES = [([0.5, 1.0], 0), ([1.0, 0.0], 2), ([0.0, 0.25], 1), ([0.75, 0.5], 1), ([1.0, 1.0], 0)]
CLASSES = 3
# `dense1.weight`, shape (2, 3), and `dense1.bias`, shape (3).
DENSE = [0.5, -0.5, 0.25, -0.25, 0.75, 0.0, 0.1, -0.2, 0.3]


def fma(a, b, c):
    """a · b + c in f32, rounded once."""
    return f32(float(Fraction(a) * Fraction(b) + Fraction(c)))


class Optimiser:
    """A local optimiser over one request, in f32."""

    def __init__(self, name, momentum=0.0, nesterov=False, weight_decay=None, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.rule, decay = {"sgd": (self.sgd, 0), "adam": (self.adam, 0), "adamw": (self.adamw, 0.01)}[name]
        self.momentum, self.nesterov, self.epsilon = f32(momentum), nesterov, f32(epsilon)
        self.decay = f32(decay if weight_decay is None else weight_decay)
        self.betas, self.powers, self.states = (beta1, beta2), [1.0, 1.0], {}

    def step(self, weights, gradient, rate):
        self.powers = [power * beta for power, beta in zip(self.powers, self.betas)]
        return [self.rule(i, w, f32(g), f32(rate)) for i, (w, g) in enumerate(zip(weights, gradient))]

    def sgd(self, i, w, g, rate):
        g = fma(self.decay, w, g)
        v = fma(self.momentum, self.states.get(i, 0.0), g)
        self.states[i] = v
        return fma(-rate, fma(self.momentum, v, g) if self.nesterov else v, w)

    def adam(self, i, w, g, rate):
        return self.moved(i, w, fma(self.decay, w, g), rate)

    def adamw(self, i, w, g, rate):
        return self.moved(i, f32(f32(1 - rate * self.decay) * w), g, rate)

    def moved(self, i, w, g, rate):
        m, v = self.states.get(i, (0.0, 0.0))
        (beta1, beta2), (power1, power2) = self.betas, self.powers
        m = fma(f32(beta1), m, f32(f32(1 - beta1) * g))
        v = fma(f32(beta2), v, f32(f32(1 - beta2) * f32(g * g)))
        m = 0.0 if abs(m) < 2.0**-126 else m
        self.states[i] = (m, v)
        root = fma(f32(math.sqrt(v)), f32(1 / math.sqrt(1 - power2)), self.epsilon)
        return fma(-f32(rate / (1 - power1)), f32(m / root), w)


def stepped(rules):
    """The weights after the three steps."""
    optimiser, weights = Optimiser(**rules), START
    for gradient in GRADIENTS:
        weights = optimiser.step(weights, gradient, 0.1)
    return weights


def score(weights, inputs, label):
    """Loss and gradient of an example; the gradient is flat, in the order of the weights."""
    logits = [sum(x * weights[i * CLASSES + c] for i, x in enumerate([*inputs, 1.0])) for c in range(CLASSES)]
    powers = [math.exp(z - max(logits)) for z in logits]
    errors = [power / sum(powers) - (c == label) for c, power in enumerate(powers)]
    correct = logits.index(max(logits)) == label
    return math.log(sum(powers)) + max(logits) - logits[label], correct, [x * e for x in [*inputs, 1.0] for e in errors]


def trained(rules, epochs=2, batch_size=2, rate=0.5):
    """The weights after a request, and the numbers of its update."""
    optimiser, weights, steps = Optimiser(**rules), [f32(w) for w in DENSE], 0
    for epoch in range(epochs):
        order = streams.Stream(1, streams.SHUFFLE, client=0, round=1, epoch=epoch).order(len(EXAMPLES))
        loss_sum, correct = 0.0, 0
        for start in range(0, len(order), batch_size):
            scores = [score(weights, *EXAMPLES[row]) for row in order[start : start + batch_size]]
            loss_sum += sum(loss for loss, _, _ in scores)
            correct += sum(is_correct for _, is_correct, _ in scores)
            gradient = [sum(values) / len(scores) for values in zip(*(values for _, _, values in scores))]
            weights, steps = optimiser.step(weights, gradient, rate), steps + 1
    return weights, steps, loss_sum, correct


def accumulation(momentum, steps):
    velocity, total = 0.0, 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1.0
        total += velocity
    return total


def initial(widths, seed):
    """The weights of dense layers from each of `widths` to the next: the biases, which have odd numbers, are 0."""
    weights = []
    for layer, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        stream = streams.Stream(seed, streams.INITIALISE, client=streams.INITIAL, round=2 * layer)
        weights += [f32(math.sqrt(2 / inputs) * stream.normal()) for _ in range(inputs * outputs)] + [0.0] * outputs
    return weights


def initial_images(seed):
    """The weights of a convolution, a batch norm and a dense layer, whose tensors have the numbers 0, 2 and 6."""
    conv, dense = (streams.Stream(seed, streams.INITIALISE, client=streams.INITIAL, round=tensor) for tensor in (0, 6))
    drawn = [[f32(math.sqrt(2 / inputs) * stream.normal()) for _ in range(8)] for stream, inputs in ((conv, 4), (dense, 8))]
    return [*drawn[0], 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, *drawn[1], 0]


def kept(rate, count):
    """1 for each value that the first dropout of a network keeps in step 3."""
    stream = streams.Stream(1, streams.DROPOUT, client=3, round=5, epoch=2, nonce=(3, 0))
    return [int(stream.unit() >= rate) for _ in range(count)]


def text(rules):
    return json.dumps(rules, separators=(",", ":"))


def vectors():
    """The table of `README.md`."""
    rules = OPTIMISERS[3]
    weights, steps, loss_sum, correct = trained(rules)
    return streams.table(
        ("initial weights of 3 inputs, 2 hidden, 2 classes: seed 7", numbers(initial([3, 2, 2], 7))),
        (
            "initial weights of a convolution of 3×3 grey pixels to 2 channels by kernels of 2×2, a batch norm, 1 class: seed 7",
            numbers(initial_images(7)),
        ),
        ("kept by a dropout of 0.25: seed 1, client 3, round 5, epoch 2, step 3", numbers(kept(0.25, 24))),
        *((f"steps of `{text(rules)}`", numbers(stepped(rules))) for rules in OPTIMISERS),
        ("weights after the request", " ".join(f"{w:.6f}" for w in weights)),
        ("`steps`, `correct` of the request", f"{steps} {correct}"),
        ("`loss_sum` of the request", f"{loss_sum:.6f}"),
        ("`accumulation` of the request", f"{accumulation(rules['momentum'], steps):.6f}"),
    )


if __name__ == "__main__":
    print(vectors())
