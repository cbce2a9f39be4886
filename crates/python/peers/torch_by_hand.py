"""PyTorch, tuned by hand: spawned processes, data as tensors, no DataLoader, no torch.optim.

One process a client up to 4 clients, otherwise as many as cores, each serving the clients whose number is its own
modulo their count.
"""

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from torch.nn import functional

import common
import mlp


def logits(weights, inputs):
    """The MLP's class scores."""
    w1, b1, w2, b2, w3, b3 = weights
    hidden = torch.addmm(b2, torch.addmm(b1, inputs, w1).relu_(), w2).relu_()
    return torch.addmm(b3, hidden, w3)


def train(weights, images, labels, rows, options):
    """One local epoch of SGD; returns new weights."""
    weights = [weight.clone().requires_grad_() for weight in weights]
    for batch in rows.split(options.batch_size):
        loss = functional.cross_entropy(logits(weights, images[batch]), labels[batch])
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            torch._foreach_add_(weights, gradients, alpha=-options.lr)
    return [weight.detach() for weight in weights]


def load(path):
    """Scaled images and labels as tensors."""
    images, labels = common.read(path)
    return torch.from_numpy(common.scaled(images)), torch.from_numpy(labels)


def serve(pipe, options, process, processes):
    """A client process."""
    torch.set_num_threads(1)
    held = {client: load(options.train[client]) for client in range(process, len(options.train), processes)}
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        client, round_number, arrays = order
        images, labels = held[client]
        random = torch.Generator().manual_seed(options.seed * 1_000_003 + round_number * 1009 + client)
        rows = torch.randperm(len(labels), generator=random)
        weights = train([torch.from_numpy(array) for array in arrays], images, labels, rows, options)
        pipe.send((len(labels), [weight.numpy() for weight in weights]))


@torch.no_grad()
def accuracy(arrays, images, labels):
    """The share of test examples whose class is predicted."""
    predicted = logits([torch.from_numpy(array) for array in arrays], images).argmax(dim=1)
    return (predicted == labels).float().mean().item()


def main():
    """FedAvg over spawned processes."""
    options = common.arguments()
    common.say_versions(torch=torch.__version__, numpy=np.__version__)
    clients = len(options.train)
    processes = clients if clients <= 4 else options.jobs
    context, pipes = multiprocessing.get_context("spawn"), []
    for process in range(processes):
        ours, theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, options, process, processes), daemon=True).start()
        pipes.append(ours)
    (images, labels), arrays = load(options.test), mlp.initial(options.seed)
    common.federate(pipes, options, arrays, lambda arrays: accuracy(arrays, images, labels))


if __name__ == "__main__":
    main()
