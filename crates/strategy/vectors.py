"""Prints the test vectors of `README.md` from their definitions.

Usage: python3 vectors.py
The program needs only Python, and `../random/vectors.py` for the streams and `f32`.
"""

import fractions
import hashlib
import json
import math
import pathlib
import runpy
import struct
import types

streams = types.SimpleNamespace(**runpy.run_path(str(pathlib.Path(__file__).parents[1] / "random/vectors.py")))
f32, numbers = streams.f32, streams.exactly

# Of two rounds: the examples and the weights of each update, in client order. Client 1 sits out round 2.
ROUNDS = [
    [(3, [1.5, -0.25, 0.7]), (5, [0.5, -0.75, 0.1]), (2, [2.0, 0.0, -0.3])],
    [(3, [1.0, -1.0, 0.2]), (2, [0.5, 0.5, 0.4])],
]
START = [1.0, -0.5, 0.3]
# The clients of the updates, and the local steps of each client at the rate 0.1.
CLIENTS = [[0, 1, 2], [0, 2]]
STEPS = [2, 4, 8]
RATE = 0.1
ALPHA = 0.5
# The slots of a client's state: a vector, and a byte of a strategy program.
STATE = {"program": bytes([7]), "c": [1.0, -2.0]}


def sampled_clients(clients, fraction):
    """Rounds half away from zero; Python's `round` takes the even neighbour."""
    return min(max(math.floor(clients * fraction + 0.5), 1), clients)


def sample(seed, round, clients, count):
    return sorted(streams.Stream(seed, streams.SAMPLE, round=round).order(clients)[:count])


def sample_by_size(seed, round, sizes, count):
    return sorted(streams.Stream(seed, streams.SAMPLE, round=round).weighted_order(sizes)[:count])


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


def exact(value):
    """The rational number that an f32 is."""
    return fractions.Fraction(f32(value))


def rounded(value):
    return f32(float(value))


def round_of(number):
    """The clients of a round, with their examples and their exact weights."""
    updates = zip(CLIENTS[number], ROUNDS[number])
    return [(client, examples, [exact(w) for w in weights]) for client, (examples, weights) in updates]


def weighted(weight):
    """The mean of round 1 under a weighting of (client, examples)."""
    members = [(weight(client, examples), weights) for client, examples, weights in round_of(0)]
    total = sum(n for n, _ in members)
    return [rounded(sum(n * w for n, w in zip([n for n, _ in members], column)) / total) for column in columns(members)]


def columns(members):
    return zip(*(weights for _, weights in members))


def median():
    """The weights after the two rounds."""
    for number in range(len(ROUNDS)):
        columns = [sorted(column) for column in zip(*(weights for _, _, weights in round_of(number)))]
        middle = [(column[(len(column) - 1) // 2] + column[len(column) // 2]) / 2 for column in columns]
    return [rounded(value) for value in middle]


def fednova():
    """Equation 6 of Wang 2020 for plain SGD, whose ‖a‖₁ is the number of steps: w ← w − τ Σ p_k (w − w_k) / K_k."""
    w = [exact(value) for value in START]
    for number in range(len(ROUNDS)):
        updates = round_of(number)
        total = sum(examples for _, examples, _ in updates)
        share = [(fractions.Fraction(examples, total), STEPS[client], weights) for client, examples, weights in updates]
        tau = sum(p * steps for p, steps, _ in share)
        w = [exact(w[i] - tau * sum(p * (w[i] - weights[i]) / steps for p, steps, weights in share)) for i in range(3)]
    return [float(value) for value in w]


def equal_mean(updates):
    return [exact(sum(column) / len(updates)) for column in zip(*(weights for _, _, weights in updates))]


def scaffold():
    """Option II of Karimireddy 2020: the weights, c, c of client 0, and its correction c − c_k for a third round."""
    zero = [fractions.Fraction(0)] * 3
    w, server, own = [exact(value) for value in START], zero, {0: zero, 1: zero, 2: zero}
    for number in range(len(ROUNDS)):
        updates, before = round_of(number), dict(own)
        for client, _, weights in updates:
            way = exact(RATE) * STEPS[client]
            own[client] = [exact(before[client][i] - server[i] + (w[i] - weights[i]) / way) for i in range(3)]
        changed = [client for client, _, _ in updates]
        server = [server[i] + sum(own[k][i] - before[k][i] for k in changed) / 3 for i in range(3)]
        # c, and what its rounding leaves.
        server = [exact(c) + exact(c - exact(c)) for c in server]
        w = equal_mean(updates)
    return w, [exact(c) for c in server], own[0], [exact(c - own[0][i]) for i, c in enumerate(server)]


def feddyn():
    """Algorithm 1 of Acar 2021: the weights, h, and g of client 0."""
    zero, alpha = [fractions.Fraction(0)] * 3, exact(ALPHA)
    w, h, own = [exact(value) for value in START], zero, {0: zero, 1: zero, 2: zero}
    for number in range(len(ROUNDS)):
        updates = round_of(number)
        for client, _, weights in updates:
            own[client] = [exact(own[client][i] - alpha * (weights[i] - w[i])) for i in range(3)]
        moved = [sum(weights[i] - w[i] for _, _, weights in updates) / 3 for i in range(3)]
        h = [exact(h[i] - alpha * moved[i]) for i in range(3)]
        w = [exact(mean - h[i] / alpha) for i, mean in enumerate(equal_mean(updates))]
    return w, h, own[0]


def state_file(slots):
    """The file of a client's state: vectors of f32 by name, then bytes by name, without metadata."""
    header, data = {}, b""
    for name, value in sorted(slots.items(), key=lambda slot: (isinstance(slot[1], bytes), slot[0])):
        is_bytes = isinstance(value, bytes)
        content = value if is_bytes else struct.pack(f"<{len(value)}f", *value)
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": "U8" if is_bytes else "F32", "shape": [len(value)], "data_offsets": offsets}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def clients_sha256(states):
    """The hash of the states that a round changed, by client."""
    hashes = {client: hashlib.sha256(state_file(slots)).hexdigest() for client, slots in states.items()}
    pieces = [struct.pack("<I", client) + hashes[client].encode() for client in sorted(hashes)]
    return hashlib.sha256(b"".join(pieces)).hexdigest()


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


def after(strategy, names, vectors):
    """The rows of some vectors after the two rounds."""
    return [(f"{name} after `{strategy}`", numbers(map(float, vector))) for name, vector in zip(names, vectors)]


def vectors():
    """The table of `README.md`."""
    counts = [(10, 0.25), (10, 0.35), (100, 0.285), (10, 0.04), (3, 0.5), (7, 1.0)]
    samples = [(1, 1, 10, 3), (1, 2, 10, 3), (7, 1, 1000, 5)]
    sizes = [3, 1, 4, 1, 5, 9, 2, 6]
    by_size = "sample by the sizes 3, 1, 4, 1, 5, 9, 2, 6: seed 1, round {}, 3 of 8"
    state = b"m" + struct.pack("<Qf", 4, 1.0)
    return streams.table(
        *((f"clients of a round: {n} · {fraction}", sampled_clients(n, fraction)) for n, fraction in counts),
        *(
            (f"sample: seed {seed}, round {number}, {count} of {n}", " ".join(map(str, sample(seed, number, n, count))))
            for seed, number, n, count in samples
        ),
        *((by_size.format(number), " ".join(map(str, sample_by_size(1, number, sizes, 3)))) for number in (1, 2)),
        *((f"mean of round {number}", numbers(mean(updates))) for number, updates in enumerate(ROUNDS, 1)),
        *((f"weights after `{text}`", numbers(run(rule, **parameters))) for text, rule, parameters in STRATEGIES),
        ("mean of round 1, weighting `steps`", numbers(weighted(lambda client, _: STEPS[client]))),
        ("mean of round 1, weighting `equal`", numbers(weighted(lambda client, _: 1))),
        ("weights after `median`", numbers(median())),
        ("weights after `fednova`", numbers(fednova())),
        *after("scaffold", ["weights", "c", "c of client 0", "c − c of client 0"], scaffold()),
        *after(f"feddyn:alpha={ALPHA}", ["weights", "h", "g of client 0"], feddyn()),
        ("`weights_sha256` of 1, −2", hashlib.sha256(struct.pack("<2f", 1.0, -2.0)).hexdigest()),
        ("`server_sha256` of m = 1", hashlib.sha256(state).hexdigest()),
        ("SHA-256 of the file of a state: c = 1, −2 and program = 7", hashlib.sha256(state_file(STATE)).hexdigest()),
        (
            "`clients_sha256` of client 0 with c = 1, and client 3 with that file",
            clients_sha256({0: {"c": [1.0]}, 3: STATE}),
        ),
    )


if __name__ == "__main__":
    print(vectors())
