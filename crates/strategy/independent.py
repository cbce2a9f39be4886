"""Computes rules of this crate in NumPy and SciPy, for `independent.csv`.

Usage: python3 independent.py > independent.csv
The formulas are those of the papers that the tables name; nothing here is derived from the crate. A line is a name and
the values, such as `median;0.1 0.2`. The lines `received` and `update` are the inputs of the lines after them.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm, trim_mean

rng = np.random.default_rng(19)
N, D = 11, 6
# Values that f32 holds.
received = np.float32(rng.normal(size=D)).astype(float)
updates = np.float32(received + rng.normal(size=(N, D)) * rng.uniform(0.2, 3, size=(N, 1))).astype(float)


def show(name, values):
    print(f"{name};{' '.join(repr(float(value)) for value in np.atleast_1d(values))}")


def squares(rows):
    return ((rows[:, None, :] - rows[None, :, :]) ** 2).sum(axis=-1)


def krum_scores(rows, f, neighbours=None):
    count = len(rows) - f - 2 if neighbours is None else neighbours
    return np.array([np.sort(np.delete(line, i))[:count].sum() for i, line in enumerate(squares(rows))])


def krum(rows, f):
    return rows[np.argmin(krum_scores(rows, f))]


def multi_krum(rows, f, m):
    return rows[np.argsort(krum_scores(rows, f), kind="stable")[:m]].mean(axis=0)


def trimmed(rows, f):
    return np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0)


def bulyan(rows, f):
    left, picked = list(range(len(rows))), []
    for _ in range(len(rows) - 2 * f):
        scores = krum_scores(rows[left], f, max(1, len(left) - f - 2))
        picked.append(left.pop(int(np.argmin(scores))))
    chosen = rows[picked]
    median = np.median(chosen, axis=0)
    kept = len(picked) - 2 * f
    nearest = np.argsort(np.abs(chosen - median), axis=0, kind="stable")[:kept]
    return np.take_along_axis(chosen, nearest, axis=0).mean(axis=0)


def rfa(rows, start, nu, iterations, tolerance):
    point = start
    lengths = np.linalg.norm(rows - point, axis=1)
    for _ in range(iterations):
        before = lengths.mean()
        beta = 1 / np.maximum(nu, lengths)
        point = (beta[:, None] * rows).sum(axis=0) / beta.sum()
        lengths = np.linalg.norm(rows - point, axis=1)
        if abs(before - lengths.mean()) < tolerance * lengths.mean():
            break
    return point


def clipped_mean(changes, v, tau):
    lengths = np.linalg.norm(changes - v, axis=1, keepdims=True)
    return v + ((changes - v) * np.minimum(1, tau / lengths)).mean(axis=0)


def centred_clipping(rows, tau, iterations, v=0.0):
    changes = rows - received
    if tau == "median":
        tau = np.median(np.linalg.norm(changes - v, axis=1))
    for _ in range(iterations):
        v = clipped_mean(changes, v, tau)
    return received + v


def nnm(rows, f):
    order = np.argsort(squares(rows), axis=1, kind="stable")[:, : len(rows) - f]
    return rows[order].mean(axis=1)


def arc(rows, f):
    changes = rows - received
    lengths = np.linalg.norm(changes, axis=1)
    count = int(2 * f * (len(rows) - f) / len(rows))
    most = np.sort(lengths)[::-1][count]
    return received + changes * np.minimum(1, most / lengths)[:, None]


show("received", received)
for update in updates:
    show("update", update)
show("median", np.median(updates, axis=0))
show("trimmed-mean:f=2", trimmed(updates, 2))
show("trimmed-mean:beta=0.3", trim_mean(updates, 0.3, axis=0))
for f in (0, 1, 2, 4):
    show(f"krum:f={f}", krum(updates, f))
show("multi-krum:f=2", multi_krum(updates, 2, N - 4))
show("multi-krum:f=3,m=3", multi_krum(updates, 3, 3))
for f in (1, 2):
    show(f"bulyan:f={f}", bulyan(updates, f))
show("geometric-median", rfa(updates, updates.mean(axis=0), 1e-5, 4, 1e-6))
show("geometric-median:start=zero,nu=0.1,iterations=3,tolerance=0", rfa(updates, received, 0.1, 3, 0))
least = minimize(lambda x: np.linalg.norm(updates - x, axis=1).sum(), updates.mean(axis=0), tol=1e-14)
show("geometric-median:iterations=1000,tolerance=0", least.x)
show("norm-bounding:norm=1.5", received + clipped_mean(updates - received, 0.0, 1.5))
show("centred-clipping:tau=1.5", centred_clipping(updates, 1.5, 1))
show("centred-clipping:tau=0.7,iterations=5", centred_clipping(updates, 0.7, 5))
show("centred-clipping:tau=median", centred_clipping(updates, "median", 1))
show("nnm+trimmed-mean:f=2", trimmed(nnm(updates, 2), 2))
show("nnm:f=3+median", np.median(nnm(updates, 3), axis=0))
show("arc+krum:f=2", krum(arc(updates, 2), 2))
show("arc+trimmed-mean:f=3", trimmed(arc(updates, 3), 3))
show("arc:f=2+nnm:f=2+geometric-median", rfa(nnm(arc(updates, 2), 2), nnm(arc(updates, 2), 2).mean(axis=0), 1e-5, 4, 1e-6))

# Attacks: all updates but the first three are honest, and clients 0 to 2 attack.
honest, own = updates[3:], updates[:3]
mean, deviation = honest.mean(axis=0), honest.std(axis=0, ddof=1)
z = norm.ppf((N - (N // 2 + 1)) / (N - 3))
show("attack alie:fraction=0.3", mean - z * deviation)
show("attack alie:fraction=0.3,z=1.5", mean - 1.5 * deviation)
show("attack ipm:fraction=0.3,epsilon=0.5", received - 0.5 * (mean - received))
show("attack ipm:fraction=0.3,epsilon=2", received - 2 * (mean - received))
show("attack sign-flip:fraction=0.3,scale=2", received - 2 * (own[0] - received))
show("attack mimic:fraction=0.3,client=5", updates[5])
show("attack zero:fraction=0.3", received)


# Server optimisers: the weights after three rounds towards three aggregates, from `received`.
def adaptive(second, rate, beta1, tau, v0, corrected=False, beta2=0.99):
    w, m, v = received.copy(), np.zeros(D), np.full(D, v0)
    for t, aggregate in enumerate(updates[:3], 1):
        delta = aggregate - w
        m = beta1 * m + (1 - beta1) * delta
        v = second(v, delta**2)
        eta = rate * np.sqrt(1 - beta2**t) / (1 - beta1**t) if corrected else rate
        w = w + eta * m / (np.sqrt(v) + tau)
    return w


def adam(v, square):
    return 0.99 * v + 0.01 * square


def yogi(v, square):
    return v - 0.01 * square * np.sign(v - square)


def adagrad(v, square):
    return v + square


def momentum(nesterov):
    w, v = received.copy(), np.zeros(D)
    for aggregate in updates[:3]:
        delta = aggregate - w
        v = 0.9 * v + delta
        w = w + 0.5 * (delta + 0.9 * v if nesterov else v)
    return w


show("server momentum:rate=0.5", momentum(False))
show("server momentum:rate=0.5,nesterov=true", momentum(True))
show("server adam:rate=0.1", adaptive(adam, 0.1, 0.9, 1e-3, 1e-6))
show("server adam:rate=0.1,v0=0", adaptive(adam, 0.1, 0.9, 1e-3, 0.0))
show("server adam:rate=0.1,v0=0,bias-correction=true", adaptive(adam, 0.1, 0.9, 1e-3, 0.0, True))
show("server yogi:rate=0.1,tau=0.01", adaptive(yogi, 0.1, 0.9, 0.01, 1e-4))
show("server yogi:rate=0.1,v0=0,bias-correction=true", adaptive(yogi, 0.1, 0.9, 1e-3, 0.0, True))
show("server adagrad", adaptive(adagrad, 0.1, 0.0, 1e-3, 1e-6))
show("server adagrad:beta1=0.9,v0=0.1", adaptive(adagrad, 0.1, 0.9, 1e-3, 0.1))
changes = updates - received
ratio = (changes**2).sum() / (2 * N * ((changes.mean(axis=0) ** 2).sum() + 1e-3))
moved = received + max(1, ratio) * changes.mean(axis=0)
show("fedexp", moved)


# Schedules: a buffer of all updates, of which update k received `received` moved by 0.1 k and is k versions old. The
# weights are those of update 0's version.
def buffered(scale):
    start = received + 0.1 * np.arange(N)[:, None]
    return received + sum(scale(k) * (updates[k] - start[k]) for k in range(N)) / N


def mixed(alpha, scale):
    w = received
    for k in range(N):
        share = alpha * scale(k)
        w = (1 - share) * w + share * updates[k]
    return w


def hinge(a, b):
    return lambda s: 1.0 if s <= b else 1 / (a * (s - b) + 1)


show("buffered:size=11", buffered(lambda s: (1 + s) ** -0.5))
show("buffered:size=11,staleness=hinge,a=0.25,b=2", buffered(hinge(0.25, 2)))
show("buffered:size=11,staleness=constant", buffered(lambda s: 1.0))
show("asynchronous", mixed(0.6, lambda s: (1 + s) ** -0.5))
show("asynchronous:alpha=0.9,staleness=polynomial,a=1.5", mixed(0.9, lambda s: (1 + s) ** -1.5))
show("asynchronous:alpha=0.8,staleness=hinge", mixed(0.8, hinge(10, 4)))
show("fedexp output", (received + moved) / 2)
losses = updates[:, 0]
show("power-of-choice of 4", np.sort(np.argsort(-losses, kind="stable")[:4]))
show("normal quantile", norm.ppf([4 / 9, 5 / 8, 9 / 16, 4 / 7, 9 / 14]))

# Personal methods: three rounds of three clients with the losses ½ Σ a (w − b)² + ½ c (Σ w)², two full-batch steps a
# round at η = 0.1. The values are body.weight (2), norm.scale, norm.mean (a buffer that counts the steps) and
# head.weight. A line has the global weights and then the personal model of each client.
ETA, BUFFER = 0.1, 3
BODY, NORM, HEAD = [0, 1, 2, 3], [2, 3], [4]
curvatures = np.float32(rng.uniform(0.5, 2, size=(3, 5))).astype(float)
targets = np.float32(rng.normal(size=(3, 5))).astype(float)
couplings = np.float32(rng.uniform(0.1, 0.5, size=3)).astype(float)
start = np.float32(rng.normal(size=5)).astype(float)
shares = np.array([3, 5, 2]) / 10


def descend(client, w, count, moving=range(5), anchor=None, pull=0.0):
    w, moving = w.copy(), np.isin(np.arange(5), moving)
    for _ in range(count):
        gradient = curvatures[client] * (w - targets[client]) + couplings[client] * np.delete(w, BUFFER).sum()
        if anchor is not None:
            gradient = gradient + pull * (w - anchor)
        gradient[BUFFER] = -1 / ETA
        w = np.where(moving, w - ETA * gradient, w)
    return w


def with_own(w, own, places):
    w = w.copy()
    w[places] = own[places]
    return w


def ditto(pull):
    w, own = start.copy(), [start.copy() for _ in range(3)]
    for _ in range(3):
        own = [descend(k, v, 2, anchor=w, pull=pull) for k, v in enumerate(own)]
        w = np.mean([descend(k, w, 2) for k in range(3)], axis=0)
    return [w, *own]


def keeping(places, weights, train):
    """Each client keeps its own values in `places`; the others are averaged."""
    w, own = start.copy(), [start.copy() for _ in range(3)]
    for _ in range(3):
        own = [train(k, with_own(w, own[k], places)) for k in range(3)]
        w = with_own(np.average(own, axis=0, weights=weights), start, places)
    return [w, *(with_own(w, values, places) for values in own)]


def head_then_body(epochs):
    return lambda k, w: descend(k, descend(k, w, epochs, HEAD), 2, BODY)


def babu(epochs):
    w = start.copy()
    for _ in range(3):
        w = np.average([descend(k, w, 2, BODY) for k in range(3)], axis=0, weights=shares)
    return [w, *(descend(k, w, epochs, HEAD) for k in range(3))]


def jointly(k, w):
    return descend(k, w, 2)


equal = np.ones(3) / 3
show("personal start", start)
for k in range(3):
    show("personal client", [*curvatures[k], *targets[k], couplings[k]])
for name, lines in [
    ("ditto:lambda=0", ditto(0.0)),
    ("ditto:lambda=0.75", ditto(0.75)),
    ("fedper:head=1", keeping(HEAD, shares, jointly)),
    ("fedper:head=norm+head", keeping(NORM + HEAD, shares, jointly)),
    ("fedrep:head=head.weight,head-epochs=5", keeping(HEAD, equal, head_then_body(5))),
    ("fedbn", keeping(NORM, equal, jointly)),
    ("lg-fedavg", keeping(BODY, shares, jointly)),
    ("fedbabu", babu(3)),
]:
    show(f"personal {name}", np.concatenate(lines))
