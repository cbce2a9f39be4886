"""A client compares its data with the run's hashes: an only partition at once, other data before their first use."""

import io

import numpy as np
import pytest

import fedpipe
from fedpipe import protocol
from fedpipe.client import converse
from fedpipe.conformance.world import World


class Still(fedpipe.Model):
    """A model with one weight, which never changes."""

    def __init__(self, task, options, seed):
        self.weight = np.zeros(1, np.float32)

    def weights(self):
        return {"weight": self.weight}

    def set_weights(self, weights):
        self.weight = weights["weight"].copy()

    def train_epoch(self, examples, epoch):
        return fedpipe.Report(fedpipe.Sums(0.0, 0, len(examples)))

    def evaluate(self, examples):
        sums = fedpipe.Sums()
        sums.add(0.0, 0, len(examples))
        return sums


EVALUATE = World.evaluate([0])


def replies(setup, *asked):
    """Returns the replies of a client to `setup` and to the requests `asked`."""
    requests, replies = io.BytesIO(), io.BytesIO()
    protocol.write(requests, setup)
    for request in asked:
        protocol.write(requests, request, {"weights": np.zeros(1, np.float32)})
    requests.seek(0)
    converse(Still, requests, replies)
    replies.seek(0)
    said = []
    while len(said) < 2 + len(asked) and (not said or said[-1]["type"] != "failed"):
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
    said = replies(world.setup(), world.train(), EVALUATE, world.train(client=1), EVALUATE)
    assert types(said) == ["hello", "ready", "update", "evaluated", "update", "evaluated"]
    assert types(replies(world.setup(["0"]), world.train())) == ["hello", "ready", "update"]


def test_a_host_that_sends_no_hashes_is_served(world):
    damage(world.path("1"))
    damage(world.path("test"))
    world.hashes = {"test": None}
    assert types(replies(world.setup(), world.train(client=1), EVALUATE)) == ["hello", "ready", "update", "evaluated"]


def test_a_partition_that_is_another_is_refused(world):
    damage(world.path("0"))
    alone = replies(world.setup(["0"]))
    pooled = replies(world.setup(), world.train(client=1), world.train(client=0))
    assert (types(alone), types(pooled)) == (["hello", "failed"], ["hello", "ready", "update", "failed"])
    assert alone[-1] == pooled[-1] and alone[-1]["kind"] == "data"
    says = f"{world.path('0')} has contents with SHA-256 "
    assert alone[-1]["message"].startswith(says) and world.hashes["0"][:16] in alone[-1]["message"]


def test_a_test_set_that_is_another_is_refused_before_it_is_used(world):
    damage(world.path("test"))
    _hello, _ready, update, failed = replies(world.setup(), world.train(), EVALUATE)
    assert (update["type"], failed["type"], failed["kind"]) == ("update", "failed", "data")
    assert failed["message"].startswith(f"{world.path('test')} has contents with SHA-256 ")
