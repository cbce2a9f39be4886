"""The ClientApp of a node: it forwards each message to the worker on the node's socket (`fedpipe serve`).

Flower starts a process for every message, so that this code keeps no state. The worker keeps running, with its model
and data.
"""

from __future__ import annotations

import json
import socket
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from ..protocol import WEIGHTS, EndOfPipe, Malformed, read, write
from .records import count, flat, named

if TYPE_CHECKING:
    from flwr.client import NumPyClient


def client_app(numpy_client: Optional[Callable[[Context], "NumPyClient"]] = None) -> ClientApp:
    """Returns the app of all nodes. A node whose configuration names no `socket` trains the result of
    `numpy_client`."""

    def answer(message: Message, context: Context) -> Message:
        config = message.content.config_records["fedpipe"]
        setup, request = json.loads(str(config["setup"])), json.loads(str(config["request"]))
        arrays = message.content.array_records.get("arrays", ArrayRecord())
        if "socket" not in context.node_config:
            content = _by_numpy(numpy_client, context, request, arrays)
        else:
            # The node's configuration says which client of the run it is.
            [held] = setup["purpose"]["serve"]["partitions"]
            if held["client"] != context.node_config["partition-id"]:
                # The hash belongs to another node's partition. The host is still looking for the node with that one.
                held.pop("sha256", None)
            held["client"] = context.node_config["partition-id"]
            content = _by_worker(str(context.node_config["socket"]), setup, request, arrays, config["timeout"])
        content.config_records["fedpipe"]["partition-id"] = context.node_config["partition-id"]
        return Message(content, reply_to=message)

    app = ClientApp()
    for kind in (app.query, app.train, app.evaluate):
        kind()(answer)
    return app


def _by_worker(path: str, setup: Dict[str, Any], request: Any, arrays: ArrayRecord, timeout: Any) -> RecordDict:
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
                    return _content(ready.body, ArrayRecord())
                layout = ready.body["layout"]
                write(stream, request, {WEIGHTS: flat(arrays)} if arrays else None)
                reply = read(stream, 4 * count(layout))
                weights = reply.parts.get(WEIGHTS)
                return _content(reply.body, ArrayRecord() if weights is None else named(weights, layout))
    except (OSError, EndOfPipe, Malformed) as error:
        why = error or "it ended"
        return _failed("protocol", f"the worker on {path} gave no answer ({why}); is `fedpipe serve` running?")


def _by_numpy(make: Any, context: Context, request: Any, arrays: ArrayRecord) -> RecordDict:
    """Returns the answer of a Flower client of the user's, in the form of a worker's answer."""
    if make is None:
        return _failed("refused", "the node's configuration names no `socket`, and the app has no `numpy_client`")
    if request is None:
        return _content({"type": "plain"}, ArrayRecord())
    if request["type"] != "train":
        return _failed("protocol", f"a NumPyClient is asked to train only, not to {request['type']}")
    result = make(context).fit([array.numpy() for array in arrays.values()], dict(request))
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        what = "None" if result is None else f"a {type(result).__name__}"
        return _failed("model", f"fit() returned {what}, and must return the tensors, the number of examples and the metrics")
    weights, examples, metrics = result
    if "loss" not in metrics:
        return _failed("model", "fit() returned no metric `loss`, the mean over its training examples")
    # JSON has no NaN.
    if not isfinite(metrics["loss"]):
        return _failed("model", f"fit() returned a loss of {float(metrics['loss'])}; try a lower --lr")
    steps = request["epochs"] * ceil(examples / request["batch_size"])
    sums = {"loss_sum": float(metrics["loss"]) * examples, "correct": int(metrics.get("correct", 0))}
    update = {"type": "update", "client": request["client"], "round": request["round"], "accumulation": None}
    update.update(sums, steps=int(metrics.get("steps", steps)), examples=examples)
    return _content(update, ArrayRecord({name: Array(array) for name, array in zip(arrays, weights)}))


def _content(body: Dict[str, Any], arrays: ArrayRecord) -> RecordDict:
    content = RecordDict({"fedpipe": ConfigRecord({"reply": json.dumps(body)})})
    if arrays:
        content["arrays"] = arrays
        content["metrics"] = MetricRecord({"num-examples": body.get("examples", 0)})
    return content


def _failed(kind: str, message: str) -> RecordDict:
    return _content({"type": "failed", "kind": kind, "message": message}, ArrayRecord())
