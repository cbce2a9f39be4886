"""The example order agrees with the test vectors of `crates/random/README.md` and with the independent `vectors.py`."""

import importlib.util

import numpy as np

from conftest import REPOSITORY
from fedpipe.init import he_normal
from fedpipe.order import chacha8, order

_spec = importlib.util.spec_from_file_location("vectors", REPOSITORY / "crates/random/vectors.py")
vectors = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(vectors)


def test_the_first_words_are_the_published_ones():
    assert chacha8(bytes(32), 4).tobytes().hex() == "3e00ef2f895f40d67f5bb8e81f09a5a1"
    key = vectors.Stream(1, 4, client=3, round=5, epoch=2).key
    assert [f"{word:08x}" for word in chacha8(key, 4)] == ["be4368b3", "bbbfa2a1", "1f62f619", "2529ca7a"]


def test_orders_are_those_of_the_specification():
    assert order(1, 3, 5, 2, 10).tolist() == [5, 4, 2, 9, 3, 8, 1, 0, 6, 7]
    for seed, client, round, epoch, n in (0, 0, 1, 1, 10), (2**64 - 1, 2**32 - 1, 2**63, 7, 1001), (3, 1, 2, 0, 17):
        assert order(seed, client, round, epoch, n).tolist() == vectors.Stream(seed, 4, client, round, epoch).order(n)
    assert order(0, 0, 1, 0, 0).tolist() == [] and order(0, 0, 1, 0, 1).tolist() == [0]


def test_a_long_order_is_that_of_the_specification():
    expected = vectors.Stream(2**64 - 1, 4, client=2**32 - 1, round=2**63, epoch=7).order(60_000)
    assert order(2**64 - 1, 2**32 - 1, 2**63, 7, 60_000).tolist() == expected


def test_initial_weights_are_those_of_nn():
    # As in crates/nn/src/init.rs.
    assert he_normal((4,), 2, 0, 0).tolist() == np.array([1.4010118, 0.92432547, 1.8502575, -0.3338481], np.float32).tolist()
