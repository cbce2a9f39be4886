"""Times epochs of `models/cnn` with `channels=6,16` on one thread, in PyTorch or JAX: batches of 32, SGD at rate 0.01.

    python3 crates/python/peers/lenet_epoch.py torch      # or jax; with the packages of requirements-torch.txt, -fedjax.txt

Prints the seconds of each of three epochs over 60,000 random images; the first of JAX has the time of its compiler. The
process is kept on one CPU, since JAX has no flag for its threads.
"""

import os
import sys
import time

import numpy as np

EXAMPLES, BATCH, RATE, EPOCHS = 60_000, 32, 0.01, 3


def torch_epochs(images, labels):
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )
    solver = torch.optim.SGD(model.parameters(), RATE)
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)

    def epoch():
        for start in range(0, EXAMPLES, BATCH):
            solver.zero_grad()
            batch = slice(start, start + BATCH)
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            solver.step()

    return epoch


def jax_epochs(images, labels):
    import jax
    from jax import lax, numpy as jnp

    random = np.random.default_rng(0)
    shapes = [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (256, 120), (120,), (120, 84), (84,), (84, 10), (10,)]
    weights = [random.standard_normal(shape).astype(np.float32) * 0.1 for shape in shapes]
    state = [weights]

    def conv(x, weight, bias):
        x = lax.conv_general_dilated(x, weight, (1, 1), "VALID") + bias[:, None, None]
        return jax.nn.relu(lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"))

    def loss(w, x, labels):
        x = conv(conv(x, w[0], w[1]), w[2], w[3]).reshape(len(x), -1)
        x = jax.nn.relu(jax.nn.relu(x @ w[4] + w[5]) @ w[6] + w[7]) @ w[8] + w[9]
        return -jax.nn.log_softmax(x)[jnp.arange(len(labels)), labels].mean()

    @jax.jit
    def step(w, x, labels):
        return [value - RATE * slope for value, slope in zip(w, jax.grad(loss)(w, x, labels))]

    def epoch():
        for start in range(0, EXAMPLES, BATCH):
            state[0] = step(state[0], images[start : start + BATCH], labels[start : start + BATCH])
        jax.block_until_ready(state[0])

    return epoch


def main():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    random = np.random.default_rng(1)
    images = random.random((EXAMPLES, 1, 28, 28), dtype=np.float32)
    labels = random.integers(0, 10, EXAMPLES)
    epoch = {"torch": torch_epochs, "jax": jax_epochs}[sys.argv[1]](images, labels)
    for _ in range(EPOCHS):
        wall, used = time.perf_counter(), time.process_time()
        epoch()
        print(f"{time.perf_counter() - wall:.2f} s, of which {time.process_time() - used:.2f} s on the CPU", flush=True)


if __name__ == "__main__":
    main()
