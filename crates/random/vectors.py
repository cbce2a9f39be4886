"""Prints the test vectors of this crate from their definitions: ChaCha8, the key layout, orders and partitions.

Usage: python3 vectors.py
The first half is a reference for a client in another language. The program needs only Python. Its Dirichlet shares use the
system's libm, whose last bits may differ from those of this crate.
"""

import hashlib
import math
import statistics
import struct

PARTITION, SAMPLE, SHUFFLE = 1, 3, 4
# With the client field `nit\0`: the tag `nn-init\0` of a tensor's initial weights.
INITIALISE, INITIAL = struct.unpack("<II", b"nn-init\0")
WORD = 0xFFFFFFFF


def rotate(x, n):
    return ((x << n) | (x >> (32 - n))) & WORD


def block(key, counter):
    """One ChaCha8 block: 16 words."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key)]
    start += [counter & WORD, counter >> 32, 0, 0]
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
    def __init__(self, seed, use, client=0, round=0, epoch=0):
        self.key = struct.pack("<QIIQQ", seed, use, client, round, epoch)
        self.words = self.generate()

    def generate(self):
        counter = 0
        while True:
            yield from block(self.key, counter)
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

    def unit(self):
        low = next(self.words)
        return (((low | next(self.words) << 32) >> 12) + 0.5) / 2**52

    def normal(self):
        while True:
            x, y = 2 * self.unit() - 1, 2 * self.unit() - 1
            s = x * x + y * y
            if 0 < s < 1:
                return x * math.sqrt(-2 * math.log(s) / s)

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

    def shares(self, alpha, n):
        logs = [self.log_gamma_sample(alpha) for _ in range(n)]
        weights = [math.exp(log - max(logs)) for log in logs]
        total = 0.0
        for weight in weights:
            total += weight
        return [weight / total for weight in weights]


def iid(n, clients, seed):
    """Where `clients` divides `n`."""
    order, size = Stream(seed, PARTITION).order(n), n // clients
    return [sorted(order[k * size : (k + 1) * size]) for k in range(clients)]


def shards(labels, per_client, clients, seed):
    """Where `clients * per_client` divides the number of labels."""
    rows = sorted(range(len(labels)), key=lambda row: labels[row])
    size = len(labels) // (clients * per_client)
    dealt = Stream(seed, PARTITION).order(clients * per_client)
    mine = [dealt[k * per_client : (k + 1) * per_client] for k in range(clients)]
    return [sorted(row for shard in shards for row in rows[shard * size : (shard + 1) * size]) for shards in mine]


def dirichlet(labels, alpha, clients, seed):
    """The first attempt, whatever its sizes."""
    stream, parts = Stream(seed, PARTITION), [[] for _ in range(clients)]
    for label in sorted(set(labels)):
        rows = stream.shuffle([row for row in range(len(labels)) if labels[row] == label])
        total, start = 0.0, 0
        for k, share in enumerate(stream.shares(alpha, clients)):
            total += share
            cut = len(rows) if k == clients - 1 else int(total * len(rows))
            parts[k] += rows[start:cut]
            start = cut
    return [sorted(part) for part in parts]


if __name__ == "__main__":
    # The published first words of ChaCha8 under the zero key.
    assert struct.pack("<4I", *block(bytes(32), 0)[:4]).hex() == "3e00ef2f895f40d67f5bb8e81f09a5a1"
    stream = Stream(1, SHUFFLE, client=3, round=5, epoch=2)
    print("key", stream.key.hex())
    print("words", [f"{next(stream.words):08x}" for _ in range(4)])
    print("order", Stream(1, SHUFFLE, client=3, round=5, epoch=2).order(10))
    print("order", Stream(0, SHUFFLE, round=1, epoch=1).order(10))
    long = Stream(2**64 - 1, SAMPLE, client=2**32 - 1, round=2**63, epoch=7).order(60000)
    print("long order", long[:5], hashlib.sha256(struct.pack("<60000I", *long)).hexdigest())
    initial = Stream(0, INITIALISE, client=INITIAL, round=0)
    print("initial", initial.key.hex(), [statistics.NormalDist().inv_cdf(initial.unit()) for _ in range(4)])
    labels = [0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 0, 1]
    print("iid", iid(12, 3, seed=1))
    print("shards", shards(labels, 2, 3, seed=1))
    print("dirichlet", dirichlet(labels, 0.5, 3, seed=1))
    print("shares", [struct.pack(">d", share).hex() for share in Stream(1, PARTITION).shares(0.3, 3)])
