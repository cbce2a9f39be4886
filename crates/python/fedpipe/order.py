"""The random choices of a client: the order of its examples, the rows of its scores, and uniform numbers. The choices
are part of the protocol (`crates/random/README.md`)."""

from __future__ import annotations

import struct

import numpy as np

_SHUFFLE = 4
_SCORE = 7
_SCORED_ROWS = 512


def order(seed: int, client: int, round: int, epoch: int, n: int) -> np.ndarray:
    """Returns the rows 0 to `n` - 1 in the order of local epoch `epoch` (from 0) of `client` in `round`: shape (n),
    int64.

    The order is a Fisher–Yates shuffle, from the last index down. The random words are those of ChaCha8 under a key of
    the other arguments. A shuffle of 60,000 rows takes about 20 ms, nearly all of it for the swaps.
    """
    return _shuffled(struct.pack("<QIIQQ", seed, _SHUFFLE, client, round, epoch), n)


def scored_rows(seed: int, client: int, n: int) -> np.ndarray:
    """Returns the rows on which `client` scores the weights that it received: at most 512, the same in each round."""
    return _shuffled(struct.pack("<QIIQQ", seed, _SCORE, client, 0, 0), n)[:_SCORED_ROWS]


def unit(key: bytes, count: int) -> np.ndarray:
    """Returns the first `count` uniform numbers in (0, 1) under a 32-byte `key`: (count), float64."""
    words = chacha8(key, 2 * count).astype(np.uint64)
    top = (words[::2] | words[1::2] << np.uint64(32)) >> np.uint64(12)
    return (top.astype(np.float64) + 0.5) * 2.0**-52


def _shuffled(key: bytes, n: int) -> np.ndarray:
    last = np.arange(n - 1, 0, -1, dtype=np.uint64)
    others = (chacha8(key, len(last)).astype(np.uint64) * (last + np.uint64(1))) >> np.uint64(32)
    rows = list(range(n))
    # Each swap depends on the one before. Swaps in a list are four times as fast as in an array.
    for i, j in zip(last.tolist(), others.tolist()):
        rows[i], rows[j] = rows[j], rows[i]
    return np.array(rows, dtype=np.int64)


def chacha8(key: bytes, count: int) -> np.ndarray:
    """Returns the first `count` words of ChaCha8 under a 32-byte `key`, with a 64-bit counter from 0: (count),
    uint32."""
    blocks = -(-count // 16)
    start = np.empty((16, blocks), np.uint32)
    start[:4] = np.array([0x61707865, 0x3320646E, 0x79622D32, 0x6B206574], np.uint32)[:, None]
    start[4:12] = np.frombuffer(key, "<u4")[:, None]
    counter = np.arange(blocks, dtype=np.uint64)
    start[12], start[13] = counter & np.uint64(0xFFFFFFFF), counter >> np.uint64(32)
    start[14:] = 0
    a, b, c, d = (start[row : row + 4].copy() for row in (0, 4, 8, 12))  # (4, blocks) each
    for _ in range(4):
        _quarters(a, b, c, d)
        b, c, d = (np.roll(x, -by, axis=0) for x, by in ((b, 1), (c, 2), (d, 3)))
        _quarters(a, b, c, d)
        b, c, d = (np.roll(x, by, axis=0) for x, by in ((b, 1), (c, 2), (d, 3)))
    # The words of a block follow one another.
    return (np.concatenate([a, b, c, d]) + start).T.ravel()[:count]


def _quarters(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> None:
    """Does four quarter rounds of all blocks at once, in place."""
    for x, y, z, by in (a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7):
        x += y
        z ^= x
        z[...] = (z << np.uint32(by)) | (z >> np.uint32(32 - by))
