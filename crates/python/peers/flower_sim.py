"""Flower's simulation on Ray, with its own FedAvg; the clients train by hand in NumPy, so that no time is a framework's.

One core a virtual client, as many at once as there are cores. A partition is read anew for each message, as Flower's
examples do: a ClientApp keeps no memory.
"""

import os
import sys

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

import common
import mlp

OPTIONS = common.arguments()
client_app, server_app = ClientApp(), ServerApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """One local epoch on the node's partition."""
    images, labels = common.read(OPTIONS.train[context.node_config["partition-id"]])
    arrays = [array.copy() for array in message.content["arrays"].to_numpy_ndarrays()]
    rows = np.random.default_rng().permutation(len(labels))
    mlp.train_sgd(arrays, common.scaled(images), labels, rows, OPTIONS.batch_size, OPTIONS.lr)
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": len(labels)})}
    return Message(content=RecordDict(content), reply_to=message)


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    """FedAvg, evaluated by the server after each round."""
    images, labels = common.read(OPTIONS.test)
    images = common.scaled(images)
    common.say_ready()

    def evaluate(round_number, arrays):
        accuracy = mlp.accuracy(arrays.to_numpy_ndarrays(), images, labels)
        if round_number > 0:
            common.say_round(round_number, accuracy)
        return MetricRecord({"accuracy": accuracy})

    strategy = FedAvg(fraction_train=OPTIONS.fraction, fraction_evaluate=0.0)
    initial = ArrayRecord(mlp.initial(OPTIONS.seed))
    strategy.start(grid, initial, num_rounds=OPTIONS.rounds, evaluate_fn=evaluate)


def main():
    """The simulation."""
    from importlib.metadata import version

    common.say_versions(flwr=version("flwr"), ray=version("ray"), numpy=np.__version__)
    # Ray's workers import this module anew, and read its command line.
    os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))
    backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0}, "init_args": {"num_cpus": OPTIONS.jobs}}
    run_simulation(server_app, client_app, num_supernodes=len(OPTIONS.train), backend_config=backend)


if __name__ == "__main__":
    sys.exit(main())
