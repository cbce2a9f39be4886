"""A client checks that its data are those that the run has: its partitions at once, the test set before it is used."""

import io

import numpy as np
import pytest

import fedpipe
from fedpipe import protocol
from fedpipe.client import converse
from fedpipe.conformance.world import World


class Still(fedpipe.Model):
    """One weight, which stays as it is."""

    def __init__(self, task, options, seed):
        self.weight = np.zeros(1, np.float32)

    def weights(self):
        return {"weight": self.weight}

    def set_weights(self, weights):
        self.weight = weights["weight"].copy()

    def train_epoch(self, examples, epoch):
        return fedpipe.Report()

    def evaluate(self, examples):
        sums = fedpipe.Sums()
        sums.add(0.0, 0, len(examples))
        return sums


def replies(setup):
    """What a client says to `setup` and two evaluations."""
    requests, replies = io.BytesIO(), io.BytesIO()
    protocol.write(requests, setup)
    for block in 0, 1:
        protocol.write(requests, {"type": "evaluate", "blocks": [block]}, {"weights": np.zeros(1, np.float32)})
    for stream in requests, replies:
        stream.seek(0)
    converse(Still, requests, replies)
    replies.seek(0)
    said = []
    while len(said) < 4 and (not said or said[-1]["type"] != "failed"):
        said.append(protocol.read(replies, 4).body)
    return said


@pytest.fixture
def world(tmp_path):
    return World([], str(tmp_path))


def damage(path):
    """Changes the last byte of a file."""
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))


def types(said):
    return [body["type"] for body in said]


def test_data_that_have_their_hashes_are_used(world):
    assert types(replies(world.setup())) == ["hello", "ready", "evaluated", "evaluated"]


def test_a_host_that_sends_no_hashes_is_served(world):
    damage(world.path("1"))
    damage(world.path("test"))
    world.hashes = {"test": None}
    assert types(replies(world.setup())) == ["hello", "ready", "evaluated", "evaluated"]


def test_a_partition_that_is_another_is_refused_at_once(world):
    damage(world.path("1"))
    hello, failed = replies(world.setup())
    assert (failed["type"], failed["kind"]) == ("failed", "data")
    says = f"{world.path('1')} has contents with SHA-256 "
    assert failed["message"].startswith(says) and world.hashes["1"][:16] in failed["message"]


def test_a_test_set_that_is_another_is_refused_before_it_is_used(world):
    damage(world.path("test"))
    hello, ready, failed = replies(world.setup())
    assert (ready["type"], failed["type"], failed["kind"]) == ("ready", "failed", "data")
    assert failed["message"].startswith(f"{world.path('test')} has contents with SHA-256 ")
