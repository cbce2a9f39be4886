"""A whole federation in NumPy, from the READMEs of `random`, `data`, `strategy` and `nn` alone, against `fedpipe run`."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from conftest import FIXTURES, REPOSITORY, load, python

streams, server, local = (load(f"crates/{crate}/vectors.py") for crate in ("random", "strategy", "nn"))
program = load("crates/python/tests/fixtures/phases.py")
SEED, CLIENTS, FRACTION, ROUNDS, EPOCHS, BATCH, RATE = 11, 5, 0.5, 3, 2, 30, 0.01
WIDTHS, MOMENTUM, DECAY = [784, 16, 10], 0.9, 0.001


def idx(name, header):
    return np.frombuffer(gzip.decompress((REPOSITORY / "crates/data/sample" / name).read_bytes())[header:], np.uint8)


def layers(weights):
    """Views of the flat weights: a weight matrix (inputs, outputs) and the biases of each layer."""
    start = 0
    for inputs, outputs in zip(WIDTHS, WIDTHS[1:]):
        end = start + inputs * outputs
        yield weights[start:end].reshape(inputs, outputs), weights[end : end + outputs]
        start = end + outputs


def losses_and_gradient(weights, x, labels):
    """The loss of each example, and the gradient of their mean."""
    (w1, b1), (w2, b2) = layers(weights)
    hidden = np.maximum(x @ w1 + b1, 0)
    logits = hidden @ w2 + b2
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    rows = np.arange(len(labels))
    losses = np.log(powers.sum(axis=1)) - logits[rows, labels]
    errors = powers / powers.sum(axis=1, keepdims=True)
    errors[rows, labels] -= 1
    errors /= len(labels)
    below = (errors @ w2.T) * (hidden > 0)
    parts = [x.T @ below, below.sum(axis=0), hidden.T @ errors, errors.sum(axis=0)]
    return losses, np.concatenate([part.ravel() for part in parts])


def train(weights, images, labels, client, number):
    """One request: the weights after it, and the `loss_sum` of its last epoch."""
    velocity = np.zeros_like(weights)
    for epoch in range(EPOCHS):
        order = streams.Stream(SEED, streams.SHUFFLE, client, number, epoch).order(len(labels))
        loss_sum = 0.0
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            losses, gradient = losses_and_gradient(weights, images[batch], labels[batch])
            loss_sum += losses.sum()
            velocity = MOMENTUM * velocity + gradient + DECAY * weights
            weights = weights - RATE * velocity
    return weights, loss_sum


def federate(images, labels, parts):
    """The participants, the training loss and the weights of each round, under `fedavgm`."""
    weights, velocity = np.array(local.initial(WIDTHS, SEED)), 0.0
    for number in range(1, ROUNDS + 1):
        clients = server.sample(SEED, number, CLIENTS, server.sampled_clients(CLIENTS, FRACTION))
        updates = [train(weights, images[parts[k]], labels[parts[k]], k, number) for k in clients]
        sizes = np.array([len(parts[k]) for k in clients], float)
        mean = sum(size * update for size, (update, _) in zip(sizes, updates)) / sizes.sum()
        velocity = 0.9 * velocity + mean - weights
        weights = weights + velocity
        yield clients, sum(loss for _, loss in updates) / sizes.sum(), weights


@pytest.mark.parametrize(
    ("partition", "deal"),
    [
        ("iid", lambda labels: streams.iid(len(labels), CLIENTS, SEED)),
        ("shards:per-client=3", lambda labels: streams.shards(labels, 3, CLIENTS, SEED)),
        ("dirichlet:alpha=0.3", lambda labels: streams.dirichlet(labels, 0.3, CLIENTS, SEED)[1]),
        ("dirichlet:alpha=0.3,balance=true", lambda labels: streams.dirichlet(labels, 0.3, CLIENTS, SEED, balance=True)[1]),
    ],
)
def test_a_run_is_that_of_its_twin(run, partition, deal):
    done = run(
        "mlp", clients=CLIENTS, fraction=FRACTION, rounds=ROUNDS, epochs=EPOCHS, batch_size=BATCH, lr=RATE,
        partition=partition, strategy="fedavgm", optimiser=f"sgd:momentum={MOMENTUM},weight-decay={DECAY}",
        model_options={"hidden": WIDTHS[1]}, set={"seed": SEED},
    )
    pixels, labels = idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 784), idx("train-labels-idx1-ubyte.gz", 8)
    parts = deal(labels.tolist())
    dealt = [line.split()[0] for line in Path(done.directory, "partitions.sha256").read_text().splitlines()]
    assert dealt[:CLIENTS] == [hashlib.sha256(labels[p].astype("<u4").tobytes() + pixels[p].tobytes()).hexdigest() for p in parts]

    rounds = done.events("round")
    twin = list(federate((pixels / 255).astype(np.float32), labels.astype(int), parts))
    assert [event["participants"] for event in rounds] == [clients for clients, _, _ in twin]
    assert [event["training_loss"] for event in rounds] == pytest.approx([loss for _, loss, _ in twin], rel=1e-6)
    names = [f"dense{layer}.{kind}" for layer in (1, 2) for kind in ("weight", "bias")]
    flat = np.concatenate([done.weights()[name].ravel() for name in names])
    np.testing.assert_allclose(flat, twin[-1][2], atol=1e-5)
    assert hashlib.sha256(flat.astype("<f4").tobytes()).hexdigest() == rounds[-1]["weights_sha256"]


def train_phases(weights, images, labels, client, number):
    """One request of `fixtures/phases.py`: the weights after it, and the `loss_sum` and `scored` of its last epoch."""
    anchor, linear, weights = program.vectors(weights.astype(np.float32), client)
    velocity, epoch = np.zeros_like(weights), 0
    for phase in program.PHASES[1:]:
        trained = np.ones(len(weights))
        for frozen in phase.frozen:
            assert frozen == "dense2.weight"
            trained[-WIDTHS[1] * WIDTHS[2] - WIDTHS[2] : -WIDTHS[2]] = 0
        steps, left = 0, phase.steps or 10**9
        for _ in range(phase.epochs):
            order = streams.Stream(SEED, streams.SHUFFLE, client, number, epoch).order(len(labels))
            epoch, loss_sum, scored = epoch + 1, 0.0, 0
            for start in range(0, len(order), BATCH)[: left - steps]:
                batch = order[start : start + BATCH]
                losses, gradient = losses_and_gradient(weights, images[batch], labels[batch])
                loss_sum, scored, steps = loss_sum + losses.sum(), scored + len(batch), steps + 1
                gradient += phase.proximal * (weights - anchor) + phase.linear * linear
                velocity = MOMENTUM * velocity + trained * (gradient + DECAY * weights)
                weights = weights - RATE * trained * velocity
    return weights, loss_sum, scored


def test_a_program_that_uses_the_whole_of_a_request_is_that_of_its_twin(run):
    """Its last epoch ends at a step limit, so that the training loss is over fewer examples than the clients have."""
    done = run(
        "mlp", clients=CLIENTS, batch_size=BATCH, lr=RATE, strategy_program=python(FIXTURES / "phases.py"),
        optimiser=f"sgd:momentum={MOMENTUM},weight-decay={DECAY}", model_options={"hidden": WIDTHS[1]}, set={"seed": SEED},
    )  # fmt: skip
    pixels, labels = idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 784), idx("train-labels-idx1-ubyte.gz", 8)
    images, labels, weights = (pixels / 255).astype(np.float32), labels.astype(int), np.array(local.initial(WIDTHS, SEED))
    parts = streams.iid(len(labels), CLIENTS, SEED)
    for number, event in enumerate(done.events("round"), 1):
        updates = [train_phases(weights, images[part], labels[part], k, number) for k, part in enumerate(parts)]
        weights = sum(update for update, _, _ in updates) / CLIENTS
        assert event["training_loss"] == pytest.approx(sum(loss for _, loss, _ in updates) / (90 * CLIENTS), rel=1e-5)
        assert {scored for _, _, scored in updates} == {90}
    names = [f"dense{layer}.{kind}" for layer in (1, 2) for kind in ("weight", "bias")]
    np.testing.assert_allclose(np.concatenate([done.weights()[name].ravel() for name in names]), weights, atol=1e-5)
