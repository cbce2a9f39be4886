"""Prints the test vectors of `README.md` and of `../data/README.md` from their definitions.

Usage: python3 vectors.py
The first half is a reference for a client in another language. The program needs only Python. Its logarithms come from
the system's libm, whose last bits may differ from those of this crate: the tables have 12 digits.
"""

import hashlib
import itertools
import math
import statistics
import struct

PARTITION, SAMPLE, SHUFFLE, HOLDOUT, GENERATE, DROPOUT, TEST_SPLIT = 1, 3, 4, 5, 9, 10, 11
# With the client field `nit\0`: the tag `nn-init\0` of a tensor's initial weights.
INITIALISE, INITIAL = struct.unpack("<II", b"nn-init\0")
WORD = 0xFFFFFFFF


def rotate(x, n):
    return ((x << n) | (x >> (32 - n))) & WORD


def block(key, counter, nonce=(0, 0)):
    """One ChaCha8 block: 16 words."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key)]
    start += [counter & WORD, counter >> 32, *nonce]
    w = start[:]

    def quarter(a, b, c, d):
        for x, y, z, n in (a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7):
            w[x] = (w[x] + w[y]) & WORD
            w[z] = rotate(w[z] ^ w[x], n)

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(a + b) & WORD for a, b in zip(w, start)]


class Stream:
    def __init__(self, seed, use, client=0, round=0, epoch=0, nonce=(0, 0)):
        self.key = struct.pack("<QIIQQ", seed, use, client, round, epoch)
        self.nonce = nonce
        self.words = self.generate()

    def generate(self):
        counter = 0
        while True:
            yield from block(self.key, counter, self.nonce)
            counter += 1

    def below(self, n):
        return (next(self.words) * n) >> 32

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items

    def order(self, n):
        return self.shuffle(list(range(n)))

    def weighted_order(self, weights):
        """Successive draws without replacement (Efraimidis and Spirakis 2006)."""
        keys = [math.log(self.unit()) / weight for weight in weights]
        return sorted(range(len(keys)), key=lambda k: (-keys[k], k))

    def unit(self):
        low = next(self.words)
        return (((low | next(self.words) << 32) >> 12) + 0.5) / 2**52

    def normal(self):
        """By inversion. Python's quantile is algorithm AS 241, as that of this crate."""
        return statistics.NormalDist().inv_cdf(self.unit())

    def log_gamma_sample(self, shape):
        if shape < 1:
            boost = math.log(self.unit()) / shape
            return self.log_gamma_sample(shape + 1) + boost
        d = shape - 1 / 3
        c = 1 / math.sqrt(9 * d)
        while True:
            x = self.normal()
            t = 1 + c * x
            if t <= 0:
                continue
            v = t * t * t
            if math.log(self.unit()) < 0.5 * x * x + d * (1 - v + math.log(v)):
                return math.log(d) + math.log(v)

    def shares(self, alpha, is_open):
        """Shares of a symmetric Dirichlet distribution; a sample is drawn for a closed place, too."""
        logs = [self.log_gamma_sample(alpha) for _ in is_open]
        largest = max(log for log, open in zip(logs, is_open) if open)
        weights = [math.exp(log - largest) if open else 0.0 for log, open in zip(logs, is_open)]
        total = 0.0
        for weight in weights:
            total += weight
        return [weight / total for weight in weights]


def parts_of(items, parts):
    """Consecutive parts whose sizes differ by at most 1, larger parts first."""
    size, larger = divmod(len(items), parts)
    ends = list(itertools.accumulate((size + (k < larger) for k in range(parts)), initial=0))
    return [items[start:end] for start, end in itertools.pairwise(ends)]


def hold_out(rows, share, seed, client):
    """Returns the training rows and the held-out rows of a client."""
    order = Stream(seed, HOLDOUT, client=client).order(len(rows))
    held = set(order[: int(share * len(rows))])
    kept = [place for place in range(len(rows)) if place not in held]
    return [rows[place] for place in kept], [rows[place] for place in sorted(held)]


def new_clients(clients, share, seed):
    return sorted(Stream(seed, HOLDOUT, epoch=1).order(clients)[: int(share * clients)])


def iid(n, clients, seed):
    return [sorted(part) for part in parts_of(Stream(seed, PARTITION).order(n), clients)]


def shards(labels, per_client, clients, seed):
    rows = sorted(range(len(labels)), key=lambda row: labels[row])
    cut = parts_of(rows, clients * per_client)
    dealt = parts_of(Stream(seed, PARTITION).order(len(cut)), clients)
    return [sorted(row for shard in mine for row in cut[shard]) for mine in dealt]


def sorted_parts(parts):
    return [sorted(part) for part in parts]


def classes_of(labels):
    """The rows of each label, ascending."""
    return [[row for row in range(len(labels)) if labels[row] == label] for label in sorted(set(labels))]


def cut(rows, sizes):
    ends = list(itertools.accumulate(sizes, initial=0))
    return [rows[start:end] for start, end in itertools.pairwise(ends)]


def labels_of_clients(labels, k, clients, seed):
    stream, by_label = Stream(seed, PARTITION), classes_of(labels)
    holders = [[] for _ in by_label]
    for client in range(clients):
        first = client % len(by_label)
        others = stream.shuffle([label for label in range(len(by_label)) if label != first])
        for label in [first, *others[: k - 1]]:
            holders[label].append(client)
    parts = [[] for _ in range(clients)]
    for rows, mine in zip(by_label, holders):
        rows = stream.shuffle(rows)
        for client, part in zip(mine, parts_of(rows, len(mine)) if mine else []):
            parts[client] += part
    return sorted_parts(parts)


def pat(labels, k, clients, seed, balance=False):
    stream, by_label = Stream(seed, PARTITION), classes_of(labels)
    room, parts = [k] * clients, [[] for _ in range(clients)]
    for rows in by_label:
        mine = [client for client in range(clients) if room[client] > 0][: math.ceil(clients * k / len(by_label))]
        if not mine:
            break
        most = len(rows) // len(mine)
        least = min(max(1, most // 10), most)
        sizes = [most if balance else least + stream.below(most - least) for _ in mine[1:]]
        for client, part in zip(mine, cut(rows, [*sizes, len(rows) - sum(sizes)])):
            room[client] -= 1
            parts[client] += part
    return sorted_parts(parts)


def exdir(labels, k, alpha, clients, seed, min_size=10):
    by_label = classes_of(labels)
    least = max(1, clients * k // len(by_label) // 2)
    for attempt in itertools.count():
        stream = Stream(seed, PARTITION, epoch=attempt)
        held = [stream.order(len(by_label))[:k] for _ in range(clients)]
        holders = [[label in mine for mine in held] for label in range(len(by_label))]
        if min(map(sum, holders)) < least:
            continue
        parts = [[] for _ in range(clients)]
        for rows, holds in zip(by_label, holders):
            below = [holds[j] and len(parts[j]) * clients < len(labels) for j in range(clients)]
            deal_class(stream, rows, below if any(below) else holds, alpha, parts)
        if min(map(len, parts)) >= min_size:
            return attempt, sorted_parts(parts)


def gamma_similarity(labels, gamma, clients, seed):
    rows = Stream(seed, PARTITION).order(len(labels))
    iid_rows = rows[: int(gamma * len(rows))]
    rest = sorted(rows[len(iid_rows) :], key=lambda row: (labels[row], row))
    return sorted_parts(a + b for a, b in zip(parts_of(iid_rows, clients), parts_of(rest, clients)))


def dirichlet_client(labels, alpha, clients, seed):
    stream, left = Stream(seed, PARTITION), classes_of(labels)
    left = [stream.shuffle(rows) for rows in left]
    priors = [[stream.log_gamma_sample(alpha) for _ in left] for _ in range(clients)]
    sizes = [len(part) for part in parts_of(range(len(labels)), clients)]
    parts = [[] for _ in range(clients)]
    for turn in range(max(sizes)):
        for client in (client for client in range(clients) if turn < sizes[client]):
            is_open = [bool(rows) for rows in left]
            largest = max(log for log, open in zip(priors[client], is_open) if open)
            weights = [math.exp(log - largest) if open else 0.0 for log, open in zip(priors[client], is_open)]
            drawn = stream.unit() * sum(weights)
            sums = list(itertools.accumulate(weights))
            parts[client].append(left[next(j for j, total in enumerate(sums) if drawn < total)].pop())
    return sorted_parts(parts)


def quantity(n, alpha, clients, seed, min_size=10):
    for attempt in itertools.count():
        stream = Stream(seed, PARTITION, epoch=attempt)
        sums = list(itertools.accumulate(stream.shares(alpha, [True] * clients)))
        ends = [int(total * n) for total in sums[:-1]] + [n]
        sizes = [end - start for start, end in zip([0, *ends], ends)]
        if min(sizes) >= min_size:
            return attempt, sorted_parts(cut(stream.order(n), sizes))


def in_sizes(rows, weights):
    sizes = [int(len(rows) * weight / sum(weights)) for weight in weights]
    sizes[-1] += len(rows) - sum(sizes)
    return sorted_parts(cut(rows, sizes))


def log_normal(n, sigma, clients, seed):
    stream = Stream(seed, PARTITION)
    weights = [math.exp(sigma * stream.normal()) for _ in range(clients)]
    return in_sizes(stream.order(n), weights)


def growing(n, weight, clients, seed):
    return in_sizes(Stream(seed, PARTITION).order(n), [weight(i) for i in range(1, clients + 1)])


def continuous(column, strictness, clients, seed):
    """Sorts rows by a standardised column and normal noise."""
    n, total, squares = len(column), 0.0, 0.0
    for value in column:
        total += value
    mean = total / n
    for value in column:
        squares += (value - mean) * (value - mean)
    sd = math.sqrt(squares / n)
    stream = Stream(seed, PARTITION)
    blended = [strictness * ((value - mean) / sd) + (1 - strictness) * stream.normal() for value in column]
    return sorted_parts(parts_of(sorted(range(n), key=lambda row: (blended[row], row)), clients))


def dirichlet(labels, alpha, clients, seed, min_size=10, balance=False):
    """Returns the attempt, from 0, and its parts. (This crate gives up after 1,000 attempts.)"""
    for attempt in itertools.count():
        parts = draw(labels, alpha, clients, Stream(seed, PARTITION, epoch=attempt), balance)
        if min(map(len, parts)) >= min_size:
            return attempt, [sorted(part) for part in parts]


def draw(labels, alpha, clients, stream, balance):
    parts = [[] for _ in range(clients)]
    for rows in classes_of(labels):
        is_open = [not balance or len(part) * clients < len(labels) for part in parts]
        deal_class(stream, rows, is_open, alpha, parts)
    return parts


def deal_class(stream, rows, is_open, alpha, parts):
    rows = stream.shuffle(rows)
    last = max(k for k in range(len(parts)) if is_open[k])
    total, start = 0.0, 0
    for k, share in enumerate(stream.shares(alpha, is_open)):
        total += share
        end = min(int(total * len(rows)), len(rows)) if k < last else len(rows)
        parts[k] += rows[start:end]
        start = end


def fcube():
    """The training points of each client with their labels, and the test points."""
    clients = []
    for client in range(4):
        stream = Stream(0, GENERATE, client=client)
        signs = [1, -1 if client > 1 else 1, -1 if client % 2 else 1]
        points = [[(-1) ** i * sign * stream.unit() for sign in signs] for i in range(1000)]
        clients.append([(point, int(point[0] <= 0)) for point in points])
    stream = Stream(0, GENERATE, round=1)
    test = [[2 * stream.unit() - 1 for _ in range(3)] for _ in range(1000)]
    return clients, [(point, int(point[0] <= 0)) for point in test]


def synthetic(alpha, beta, clients):
    """The training examples of each client with their labels, and the test examples of all."""
    train, test = [], []
    for client in range(clients):
        stream = Stream(0, GENERATE, client=client)
        count = int(math.exp(4 + 2 * stream.normal())) + 50
        of_model, of_features = alpha * stream.normal(), beta * stream.normal()
        means = [of_features + stream.normal() for _ in range(60)]
        weights = [[of_model + stream.normal() for _ in range(10)] for _ in range(60)]
        biases = [of_model + stream.normal() for _ in range(10)]
        examples = []
        for _ in range(count):
            x = [mean + (j + 1) ** -0.6 * stream.normal() for j, mean in enumerate(means)]
            logits = [b + sum(x[j] * weights[j][c] for j in range(60)) for c, b in enumerate(biases)]
            examples.append((x, logits.index(max(logits))))
        train.append(examples[: count * 9 // 10])
        test += examples[count * 9 // 10 :]
    return train, test


LABELS = [0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 0, 1, 2, 2]


def f32(x):
    """The f32 that is nearest to x. A Python float is an f64."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def exactly(values):
    """The text of some f32, which nine digits name."""
    return " ".join(f"{value:.9g}" for value in values)


def numbers(values):
    return ", ".join(f"{value:.12g}" for value in values)


def words_of(stream):
    return " ".join(f"{next(stream.words):08x}" for _ in range(4))


def rows_of(parts):
    return " · ".join(" ".join(map(str, part)) for part in parts)


def table(*rows):
    return "\n".join(["| vector | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def streams():
    """The table of `README.md`."""

    def a():
        return Stream(1, SHUFFLE, client=3, round=5, epoch=2)

    def b():
        return Stream(0, INITIALISE, client=INITIAL)

    def c():
        return Stream(1, PARTITION)

    first = Stream(0, SHUFFLE, round=1, epoch=1)
    dropout = Stream(1, DROPOUT, client=3, round=5, epoch=2, nonce=(7, 2))
    long = Stream(2**64 - 1, SAMPLE, client=2**32 - 1, round=2**63, epoch=7).order(60_000)
    words, below, uniform, normal, gamma = a(), a(), b(), b(), c()
    return table(
        ("key A: seed 1, use 4, client 3, round 5, epoch 2", words.key.hex()),
        ("words under A", words_of(words)),
        ("`below` 10, 100, 1000, 4294967295 under A", " ".join(str(below.below(n)) for n in (10, 100, 1000, 2**32 - 1))),
        ("order of 10 under A", " ".join(map(str, a().order(10)))),
        ("order of 10: seed 0, use 4, client 0, round 1, epoch 1", " ".join(map(str, first.order(10)))),
        ("order of 10: seed 1, use 11", " ".join(map(str, Stream(1, TEST_SPLIT).order(10)))),
        (
            "order of 60,000: seed 2⁶⁴ − 1, use 3, client 2³² − 1, round 2⁶³, epoch 7; SHA-256 of its u32",
            hashlib.sha256(struct.pack("<60000I", *long)).hexdigest(),
        ),
        (
            "order by the weights 3, 1, 4, 1, 5, 9, 2, 6 under A",
            " ".join(map(str, a().weighted_order([3, 1, 4, 1, 5, 9, 2, 6]))),
        ),
        ("words of step 7, dropout 2: seed 1, use 10, client 3, round 5, epoch 2", words_of(dropout)),
        ("key B: initial weights, seed 0, tensor 0", b().key.hex()),
        ("uniform numbers under B", numbers([uniform.unit() for _ in range(3)])),
        ("normal numbers under B", numbers([normal.normal() for _ in range(4)])),
        ("quantile of 2⁻⁵³", numbers([statistics.NormalDist().inv_cdf(2**-53)])),
        ("rows 10 to 19 of client 2 with 0.25 held out: seed 1", rows_of(hold_out(range(10, 20), 0.25, 1, 2))),
        ("0.2 of 15 clients held out: seed 1", " ".join(map(str, new_clients(15, 0.2, 1)))),
        ("key C: seed 1, use 1", c().key.hex()),
        (
            "logarithms of gamma samples of shape 0.1, 0.5, 1 and 5 under C",
            numbers([gamma.log_gamma_sample(shape) for shape in (0.1, 0.5, 1, 5)]),
        ),
        ("shares of alpha 0.3 among 3 under C", numbers(c().shares(0.3, [True] * 3))),
        ("shares of alpha 0.3 among 3 under C, the second closed", numbers(c().shares(0.3, [True, False, True]))),
    )


def partitions():
    """The table of `../data/README.md`."""

    def dealt(name, seed, *rules):
        attempt, parts = dirichlet(LABELS, *rules)
        return f"`dirichlet:{name}`, seed {seed}; attempt {attempt}", rows_of(parts)

    def redrawn(name, seed, deal):
        attempt, parts = deal
        return f"`{name}`, seed {seed}; attempt {attempt}", rows_of(parts)

    return table(
        ("`iid`, seed 1", rows_of(iid(len(LABELS), 3, 1))),
        ("`shards:per-client=2`, seed 1", rows_of(shards(LABELS, 2, 3, 1))),
        dealt("alpha=0.5,min-size=1", 1, 0.5, 3, 1, 1),
        dealt("alpha=0.5,min-size=1,balance=true", 1, 0.5, 3, 1, 1, True),
        dealt("alpha=5,min-size=3", 2, 5, 3, 2, 3),
        ("`dirichlet-client:alpha=0.5`, seed 1", rows_of(dirichlet_client(LABELS, 0.5, 3, 1))),
        ("`labels:k=2`, seed 1", rows_of(labels_of_clients(LABELS, 2, 3, 1))),
        ("`pat:k=2`, seed 1", rows_of(pat(LABELS, 2, 3, 1))),
        ("`pat:k=2,balance=true`, seed 1", rows_of(pat(LABELS, 2, 3, 1, True))),
        redrawn("exdir:k=2,alpha=0.5,min-size=1", 1, exdir(LABELS, 2, 0.5, 3, 1, 1)),
        redrawn("exdir:k=2,alpha=0.5,min-size=3", 7, exdir(LABELS, 2, 0.5, 3, 7, 3)),
        ("`gamma-similarity:gamma=0.4`, seed 1", rows_of(gamma_similarity(LABELS, 0.4, 3, 1))),
        redrawn("quantity:alpha=0.5,min-size=2", 2, quantity(len(LABELS), 0.5, 3, 2, 2)),
        ("`log-normal:sigma=0.5`, seed 1", rows_of(log_normal(len(LABELS), 0.5, 3, 1))),
        ("`continuous:strictness=0.5`, seed 1", rows_of(continuous(LABELS, 0.5, 3, 1))),
        ("`continuous:strictness=1`, seed 1", rows_of(continuous(LABELS, 1, 3, 1))),
        ("`feature-noise:sigma=0.1`, seed 1", rows_of(iid(len(LABELS), 3, 1))),
        ("`linear`, seed 1", rows_of(growing(len(LABELS), lambda i: i, 3, 1))),
        ("`square`, seed 1", rows_of(growing(len(LABELS), lambda i: i * i, 3, 1))),
        ("`exponential`, seed 1", rows_of(growing(len(LABELS), math.exp, 3, 1))),
    )


def generated():
    """The table of generated datasets of `../data/README.md`."""

    def shown(examples):
        return "; ".join(f"{label}: " + " ".join(f"{value:.6f}" for value in x[:3]) for x, label in examples[:3])

    points, _ = fcube()
    clients, test = synthetic(1, 1, 30)
    counts = [sum(label == c for client in clients for _, label in client) for c in range(10)]
    return table(
        ("`fcube`, client 2: labels and points", shown(points[2])),
        ("`synthetic`, client 1: labels and first features", shown(clients[1])),
        ("`synthetic`: training examples of each class", " ".join(map(str, counts))),
        ("`synthetic`: test examples", len(test)),
    )


if __name__ == "__main__":
    # The published first words of ChaCha8 under the zero key.
    assert struct.pack("<4I", *block(bytes(32), 0)[:4]).hex() == "3e00ef2f895f40d67f5bb8e81f09a5a1"
    print(streams(), partitions(), generated(), sep="\n\n")
