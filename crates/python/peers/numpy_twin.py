"""NumPy by hand: forked clients and pipes, or with `--epoch sgd|adam` the time of epochs in one process.

One BLAS thread a process (the driver sets OPENBLAS_NUM_THREADS). As many processes as cores, each serving the clients
whose number is its own modulo their count.
"""

import json
import multiprocessing
import time

import numpy as np

import common
import mlp


def serve(pipe, options, process, processes):
    """A client process: keeps its partitions, trains on one of them from the weights it is sent."""
    mine = range(process, len(options.train), processes)
    held = {client: common.read(options.train[client]) for client in mine}
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        client, round_number, arrays = order
        images, labels = held[client]
        rows = np.random.default_rng([options.seed, round_number, client]).permutation(len(labels))
        mlp.train_sgd(arrays, common.scaled(images), labels, rows, options.batch_size, options.lr)
        pipe.send((len(labels), arrays))


def federate(options):
    """FedAvg over forked processes."""
    processes = min(len(options.train), max(options.jobs, 4))
    pipes = []
    for process in range(processes):
        ours, theirs = multiprocessing.Pipe()
        serving = multiprocessing.Process(target=serve, args=(theirs, options, process, processes), daemon=True)
        serving.start()
        pipes.append(ours)
    test_images, test_labels = common.read(options.test)
    test_images, arrays = common.scaled(test_images), mlp.initial(options.seed)
    common.federate(pipes, options, arrays, lambda arrays: mlp.accuracy(arrays, test_images, test_labels))


def time_epochs(options, train, rate):
    """Seconds of each of `rounds` epochs over all partitions together, from uint8 images as fedpipe has them."""
    parts = [common.read(path) for path in options.train]
    images, labels = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    for seed in range(options.rounds):
        arrays = mlp.initial(seed)
        start = time.perf_counter()
        rows = np.random.default_rng(seed).permutation(len(labels))
        train(arrays, common.scaled(images), labels, rows, options.batch_size, rate)
        print(json.dumps({"epoch_seconds": time.perf_counter() - start}), flush=True)


def main():
    """Runs what the command line asks for."""
    options = common.arguments(epoch="")
    common.say_versions(numpy=np.__version__)
    match options.epoch:
        case "sgd":
            time_epochs(options, mlp.train_sgd, options.lr)
        case "adam":
            time_epochs(options, mlp.train_adam, 0.001)
        case _:
            federate(options)


if __name__ == "__main__":
    main()
