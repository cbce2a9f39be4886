"""Prints the test vectors of `README.md` from their definitions.

Usage: python3 vectors.py
The program needs only Python, and `../random/vectors.py` for the streams. A Python float is an f64; `f32` rounds.
"""

import hashlib
import importlib.util
import math
import pathlib
import struct

_path = pathlib.Path(__file__).parents[1] / "random/vectors.py"
_spec = importlib.util.spec_from_file_location("random_vectors", _path)
streams = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(streams)

# Of two rounds: the examples and the weights of each update, in client order.
ROUNDS = [
    [(3, [1.5, -0.25, 0.7]), (5, [0.5, -0.75, 0.1]), (2, [2.0, 0.0, -0.3])],
    [(3, [1.0, -1.0, 0.2]), (2, [0.5, 0.5, 0.4])],
]
START = [1.0, -0.5, 0.3]


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def sampled_clients(clients, fraction):
    """Rounds half away from zero; Python's `round` takes the even neighbour."""
    return min(max(math.floor(clients * fraction + 0.5), 1), clients)


def sample(seed, round, clients, count):
    return sorted(streams.Stream(seed, streams.SAMPLE, round=round).order(clients)[:count])


def mean(updates):
    means = []
    for values in zip(*(weights for _, weights in updates)):
        total = 0.0
        for (examples, _), value in zip(updates, values):
            total += examples * f32(value)
        means.append(f32(total / sum(examples for examples, _ in updates)))
    return means


def fedavg(state, w, mean):
    return state, mean


def fedavgm(state, w, mean, rate=1.0, beta=0.9, nesterov=False):
    v = state or 0.0
    delta = mean - w
    v = f32(beta * v + delta)
    return v, f32(w + rate * (delta + beta * v if nesterov else v))


def fedadam(state, w, mean, rate=0.01, beta1=0.9, beta2=0.99, tau=1e-3):
    m, v = state or (0.0, f32(tau * tau))
    delta = mean - w
    m = f32(beta1 * m + (1 - beta1) * delta)
    v = f32(beta2 * v + (1 - beta2) * delta * delta)
    return (m, v), f32(w + rate * m / (math.sqrt(v) + tau))


def run(rule, **parameters):
    """The weights after the two rounds."""
    weights = [f32(w) for w in START]
    states = [None] * len(weights)
    for updates in ROUNDS:
        stepped = [rule(*element, **parameters) for element in zip(states, weights, mean(updates))]
        states, weights = zip(*stepped)
    return weights


STRATEGIES = [
    ("fedavg", fedavg, {}),
    ("fedavgm", fedavgm, {}),
    ("fedavgm:rate=0.5,beta=0.7,nesterov=true", fedavgm, {"rate": 0.5, "beta": 0.7, "nesterov": True}),
    ("fedadam", fedadam, {}),
    (
        "fedadam:rate=0.1,beta1=0.8,beta2=0.95,tau=0.01",
        fedadam,
        {"rate": 0.1, "beta1": 0.8, "beta2": 0.95, "tau": 0.01},
    ),
]


def numbers(values):
    """Nine digits name an f32."""
    return " ".join(f"{value:.9g}" for value in values)


def vectors():
    """The table of `README.md`."""
    counts = [(10, 0.25), (10, 0.35), (100, 0.285), (10, 0.04), (3, 0.5), (7, 1.0)]
    samples = [(1, 1, 10, 3), (1, 2, 10, 3), (7, 1, 1000, 5)]
    state = b"m" + struct.pack("<Qf", 4, 1.0)
    return streams.table(
        *((f"clients of a round: {n} · {fraction}", sampled_clients(n, fraction)) for n, fraction in counts),
        *(
            (f"sample: seed {seed}, round {number}, {count} of {n}", " ".join(map(str, sample(seed, number, n, count))))
            for seed, number, n, count in samples
        ),
        *((f"mean of round {number}", numbers(mean(updates))) for number, updates in enumerate(ROUNDS, 1)),
        *((f"weights after `{text}`", numbers(run(rule, **parameters))) for text, rule, parameters in STRATEGIES),
        ("`weights_sha256` of 1, −2", hashlib.sha256(struct.pack("<2f", 1.0, -2.0)).hexdigest()),
        ("`server_sha256` of m = 1", hashlib.sha256(state).hexdigest()),
    )


if __name__ == "__main__":
    print(vectors())
