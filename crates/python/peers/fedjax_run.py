"""FedJAX: one process, its own federated averaging, XLA's own threads."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import fedjax
import jax
import jax.numpy as jnp
import numpy as np
from fedjax.algorithms import fed_avg

import common
import mlp

# FedJAX 0.0.17, its last version, calls functions that JAX has renamed.
jax.tree_map = jax.tree.map


def logits(arrays, images):
    """The MLP's class scores of uint8 images."""
    w1, b1, w2, b2, w3, b3 = arrays
    hidden = jax.nn.relu(images.astype(jnp.float32) / 255 @ w1 + b1)
    return jax.nn.relu(hidden @ w2 + b2) @ w3 + b3


def loss(arrays, batch):
    """The mean cross-entropy."""
    scores = jax.nn.log_softmax(logits(arrays, batch["x"]))
    return -jnp.take_along_axis(scores, batch["y"][:, None], axis=1).mean()


def main():
    """Runs FedAvg with FedJAX's algorithm and its default for_each_client."""
    from importlib.metadata import version

    options = common.arguments()
    common.say_versions(fedjax=version("fedjax"), jax=jax.__version__, numpy=np.__version__)
    parts = [common.read(path) for path in options.train]
    data = [fedjax.ClientDataset({"x": images, "y": labels.astype(np.int32)}) for images, labels in parts]
    images, labels = common.read(options.test)
    correct = jax.jit(lambda arrays: (logits(arrays, images).argmax(axis=1) == labels).mean())

    gradient = jax.grad(loss)
    algorithm = fed_avg.federated_averaging(
        lambda arrays, batch, _: gradient(arrays, batch),
        fedjax.optimizers.sgd(options.lr),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=options.batch_size, num_epochs=1, seed=None),
    )
    state = algorithm.init([jnp.asarray(array) for array in mlp.initial(options.seed)])
    common.say_ready()
    for round_number in range(1, options.rounds + 1):
        sampled = common.sample(options, round_number)
        keys = jax.random.split(jax.random.PRNGKey(round_number), len(sampled))
        state, _ = algorithm.apply(state, [(client, data[client], key) for client, key in zip(sampled, keys)])
        common.say_round(round_number, correct(state.params))


if __name__ == "__main__":
    main()
