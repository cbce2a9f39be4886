"""The ClientApp of a node, which forwards each message to the worker on the node's socket (`fedpipe serve`).

Flower starts a process for every message, so that this code keeps no state. The worker keeps running, with its model
and data.
"""

from __future__ import annotations

import json
import socket
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from ..protocol import EVALUATION_BLOCK, EndOfPipe, Malformed, read, write
from .records import ARRAYS, Layout, add_parts, count, parts_of

if TYPE_CHECKING:
    from flwr.client import NumPyClient


def client_app(numpy_client: Optional[Callable[[Context], "NumPyClient"]] = None) -> ClientApp:
    """Returns the app of all nodes. A node whose configuration names no `socket` trains the result of
    `numpy_client`."""

    def answer(message: Message, context: Context) -> Message:
        config = message.content.config_records["fedpipe"]
        setup, request = json.loads(str(config["setup"])), json.loads(str(config["request"]))
        if "socket" not in context.node_config:
            content = _by_numpy(numpy_client, context, request, message.content.array_records)
        else:
            # The node's configuration says which client of the run it is.
            [held] = setup["purpose"]["serve"]["partitions"]
            if held["client"] != context.node_config["partition-id"]:
                # The hash belongs to another node's partition. The host still searches the node with that partition.
                held.pop("sha256", None)
            held["client"] = context.node_config["partition-id"]
            parts = parts_of(message.content)
            content = _by_worker(str(context.node_config["socket"]), setup, request, parts, config["timeout"])
        content.config_records["fedpipe"]["partition-id"] = context.node_config["partition-id"]
        return Message(content, reply_to=message)

    app = ClientApp()
    for kind in (app.query, app.train, app.evaluate):
        kind()(answer)
    return app


def _by_worker(
    path: str, setup: Dict[str, Any], request: Any, parts: Mapping[str, np.ndarray], timeout: Any
) -> RecordDict:
    """Returns the answer of the worker on the socket. If there is no worker, the answer is a failure."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            with connection.makefile("rwb") as stream:
                read(stream, 0)  # hello
                write(stream, setup)
                ready = read(stream, 0)
                if request is None or ready.type == "failed":
                    return _content(ready.body)
                layout = ready.body["layout"]
                write(stream, request, parts)
                target = setup["purpose"]["serve"]["task"]["target"]
                classes = 0 if target == "real" else target["classes"]
                reply = read(stream, _most_payload(request, layout, classes))
                return _content(reply.body, reply.parts, layout)
    except (OSError, EndOfPipe, Malformed) as error:
        why = error or "it ended"
        return _failed("protocol", f"the worker on {path} gave no answer ({why}); is `fedpipe serve` running?")


def _most_payload(request: Mapping[str, Any], layout: Layout, classes: int) -> int:
    """Returns the most bytes of a reply: the weights or the parts of transforms, each slot, a momentum, and predictions."""
    vectors = sum(not phase.get("update", True) for phase in request.get("phases", ())) + request.get("keeps_momentum", False)
    # An encoding may have an index, a value and a residual for each weight.
    predicted = 4 * (classes**2 + EVALUATION_BLOCK * len(request["blocks"])) if request.get("predictions") else 0
    return (12 + 4 * vectors) * count(layout) + predicted


def _by_numpy(make: Any, context: Context, request: Any, records: Mapping[str, ArrayRecord]) -> RecordDict:
    """Returns the answer of a Flower client of the user's, in the form of a worker's answer."""
    if make is None:
        return _failed("refused", "the node's configuration names no `socket`, and the app has no `numpy_client`")
    if request is None:
        return _content({"type": "plain"})
    if request["type"] != "train":
        return _failed("protocol", f"a NumPyClient is asked to train only, not to {request['type']}")
    arrays, epochs = records.get(ARRAYS, ArrayRecord()), request["phases"][0]["epochs"]
    result = make(context).fit([array.numpy() for array in arrays.values()], {**request, "epochs": epochs})
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        what = "None" if result is None else f"a {type(result).__name__}"
        return _failed("model", f"fit() returned {what}, and must return the tensors, the number of examples and the metrics")
    weights, examples, metrics = result
    if "loss" not in metrics:
        return _failed("model", "fit() returned no metric `loss`, the mean over its training examples")
    # JSON has no NaN.
    if not isfinite(metrics["loss"]):
        return _failed("model", f"fit() returned a loss of {float(metrics['loss'])}; try a lower --lr")
    steps = epochs * ceil(examples / request["batch_size"])
    sums = {"loss_sum": float(metrics["loss"]) * examples, "correct": int(metrics.get("correct", 0)), "scored": examples}
    update = {"type": "update", "client": request["client"], "round": request["round"], "accumulation": None}
    update.update(sums, steps=int(metrics.get("steps", steps)), examples=examples)
    content = _content(update)
    content[ARRAYS] = ArrayRecord({name: Array(array) for name, array in zip(arrays, weights)})
    content["metrics"] = MetricRecord({"num-examples": examples})
    return content


def _content(body: Dict[str, Any], parts: Mapping[str, np.ndarray] = {}, layout: Layout = []) -> RecordDict:  # noqa: B006
    content = RecordDict({"fedpipe": ConfigRecord({"reply": json.dumps(body)})})
    add_parts(content, parts, layout)
    if parts:
        content["metrics"] = MetricRecord({"num-examples": body.get("examples", 0)})
    return content


def _failed(kind: str, message: str) -> RecordDict:
    return _content({"type": "failed", "kind": kind, "message": message})
