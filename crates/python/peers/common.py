"""The shared code of the peers: the command line, fedpipe's partition files, and the lines for the driver.

A peer prints a line of JSON when its clients are ready and one after each round; the driver (crates/cli/benches/whole)
stamps them as they arrive, as it does with fedpipe's own lines, so that no clock of a peer's is involved.
"""

import argparse
import json
from multiprocessing import connection

import numpy as np


def arguments(**more):
    """Parses the command line, which is the same for every peer. `more` are further flags with their defaults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", nargs="+", required=True, help="partition files, in client order")
    parser.add_argument("--test", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="the machine's cores")
    for flag, default in more.items():
        parser.add_argument("--" + flag, default=default, type=type(default))
    return parser.parse_args()


def read(path):
    """Returns the images, uint8 (n, 784), and the labels, int64 (n,), of a partition file (safetensors)."""
    data = np.memmap(path, np.uint8, "r")
    length = int(data[:8].view("<u8")[0])
    header, data = json.loads(data[8 : 8 + length].tobytes()), data[8 + length :]

    def tensor(name, dtype):
        start, end = header[name]["data_offsets"]
        return np.frombuffer(data[start:end].tobytes(), dtype).reshape(header[name]["shape"])

    images, labels = tensor("examples", np.uint8), tensor("labels", "<u4")
    return images.reshape(len(labels), -1), labels.astype(np.int64)


def scaled(images):
    """Returns the pixels from 0 to 1."""
    return images.astype(np.float32) / np.float32(255)


def sample(options, round_number):
    """Returns the clients of a round, ascending. Each peer draws from the same stream, which is not fedpipe's."""
    clients = len(options.train)
    count = max(1, round(options.fraction * clients))
    chosen = np.random.default_rng([options.seed, round_number]).choice(clients, count, replace=False)
    return sorted(int(client) for client in chosen)


def train_all(pipes, sampled, order):
    """Yields the results of the sampled clients, in client order. Pipe k modulo the number of pipes serves client k.

    A process has one order at a time: two that wait for each other to take what they send would wait for ever.
    """
    waiting = {pipe: [client for client in sampled if pipes[client % len(pipes)] is pipe] for pipe in pipes}
    busy = {pipe: clients.pop(0) for pipe, clients in waiting.items() if clients}
    for pipe, client in busy.items():
        pipe.send(order(client))
    replies = {}
    while busy:
        for pipe in connection.wait(list(busy)):
            replies[busy.pop(pipe)] = pipe.recv()
            if waiting[pipe]:
                busy[pipe] = waiting[pipe].pop(0)
                pipe.send(order(busy[pipe]))
    return [replies[client] for client in sampled]


def weighted_mean(updates):
    """Returns the mean of the clients' lists of arrays, weighted by examples. `updates` are (examples, arrays)."""
    total = sum(examples for examples, _ in updates)
    columns = zip(*(arrays for _, arrays in updates))
    shares = [examples / total for examples, _ in updates]
    return [sum(np.float32(share) * array for share, array in zip(shares, column)) for column in columns]


def say_versions(**versions):
    """Reports the versions of the system to the driver."""
    print(json.dumps({"versions": versions}), flush=True)


def say_ready():
    """Reports to the driver that every client has its model."""
    print('{"ready": true}', flush=True)


def say_round(round_number, accuracy):
    """Reports to the driver that a round and its evaluation have ended."""
    print(json.dumps({"round": round_number, "accuracy": float(accuracy)}), flush=True)


def federate(pipes, options, arrays, accuracy):
    """Runs FedAvg over worker processes behind `pipes`. Each round trains, averages and reports `accuracy(arrays)`."""
    assert all(pipe.recv() == "ready" for pipe in pipes)
    say_ready()
    for round_number in range(1, options.rounds + 1):
        sampled = sample(options, round_number)
        arrays = weighted_mean(train_all(pipes, sampled, lambda client: (client, round_number, arrays)))
        say_round(round_number, accuracy(arrays))
    for pipe in pipes:
        pipe.send(None)
