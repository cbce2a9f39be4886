"""The original design: a parent process, two pipes a client, Keras in every child, one thread a child.

`--backend tensorflow` is what it was; `--backend jax` is the same with the lighter of Keras's backends. `--steps` is
Keras's `steps_per_execution`, 1 as it was.
"""

import os
import pickle
import struct
import subprocess
import sys

import numpy as np

import common
import mlp


def one_thread():
    """Sets the environment. It must run before a backend is imported."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"], os.environ["JAX_PLATFORMS"] = "3", "cpu"


def build(options):
    """The MLP, compiled."""
    os.environ["KERAS_BACKEND"] = options.backend
    import keras

    layers = [keras.Input((784,))]
    layers += [keras.layers.Dense(width, "relu", kernel_initializer="he_normal") for width in mlp.WIDTHS[1:-1]]
    layers += [keras.layers.Dense(mlp.WIDTHS[-1])]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimiser = keras.optimizers.SGD(options.lr)
    model.compile(optimiser, loss, metrics=["accuracy"], steps_per_execution=options.steps)
    return model


def send(pipe, thing):
    """Writes a pickled object after its length."""
    data = pickle.dumps(thing, protocol=5)
    pipe.write(struct.pack("<Q", len(data)) + data)
    pipe.flush()


def receive(pipe):
    """Returns the object, or None at the end of the pipe."""
    head = pipe.read(8)
    return pickle.loads(pipe.read(struct.unpack("<Q", head)[0])) if head else None


def serve(options):
    """Runs a child, whose standard input and output are its pipes."""
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    images, labels = common.read(options.train[options.child])
    images, model = common.scaled(images), build(options)
    send(outgoing, model.get_weights())
    while (weights := receive(incoming)) is not None:
        model.set_weights(weights)
        model.fit(images, labels, batch_size=options.batch_size, epochs=1, verbose=0)
        send(outgoing, (len(labels), model.get_weights()))


def parent(options):
    """Runs FedAvg. The parent evaluates with its own model."""
    command = [sys.executable, *sys.argv, "--child"]
    pipes = subprocess.PIPE
    children = [
        subprocess.Popen([*command, str(child)], stdin=pipes, stdout=pipes) for child in range(len(options.train))
    ]
    images, labels = common.read(options.test)
    images, model = common.scaled(images), build(options)
    weights = [receive(child.stdout) for child in children][0]
    common.say_ready()
    for round_number in range(1, options.rounds + 1):
        for child in children:
            send(child.stdin, weights)
        weights = common.weighted_mean([receive(child.stdout) for child in children])
        model.set_weights(weights)
        common.say_round(round_number, model.evaluate(images, labels, batch_size=500, verbose=0)[1])
    for child in children:
        child.stdin.close()
        child.wait()


def main():
    """Runs the parent, or one of its children with `--child N`."""
    one_thread()
    options = common.arguments(backend="tensorflow", steps=1, child=-1)
    if options.child >= 0:
        return serve(options)
    from importlib.metadata import version

    engine = {"tensorflow": "tensorflow-cpu"}.get(options.backend, options.backend)
    common.say_versions(keras=version("keras"), **{options.backend: version(engine)}, numpy=np.__version__)
    return parent(options)


if __name__ == "__main__":
    main()
