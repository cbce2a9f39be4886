"""A client as the host meets it: the pipe protocol on one side, messages to a node on the other."""

from __future__ import annotations

import hashlib
import select
import socket
from typing import Any, BinaryIO, Dict

from flwr.app import ArrayRecord

from ..protocol import PROTOCOL, WEIGHTS, EndOfPipe, Malformed, read, write
from .courier import Courier, Unanswered
from .nodes import Nodes, Place
from .records import count, flat, named

TIMEOUT = 3600.0
"""Seconds a node's worker has for one answer. The host's own --client-timeout is what counts, if it is shorter."""


def converse(connection: socket.socket, nodes: Nodes, courier: Courier) -> None:
    """Speaks with the host until it hangs up or the client has failed."""
    with connection, connection.makefile("rwb") as stream:
        try:
            write(stream, {"type": "hello", "protocol": PROTOCOL})
            setup = _for_nodes(read(stream, 0).body)
            [held] = setup["purpose"]["serve"]["partitions"]
            # While it waits for `ready` the host says nothing: what is there to read is the end.
            waits = lambda: not select.select([connection], [], [], 0)[0]  # noqa: E731
            place = nodes.claim(held["client"], setup, TIMEOUT, waits)
            try:
                _serve(stream, setup, place, nodes, courier)
            finally:
                nodes.release(place)
        except (OSError, EndOfPipe, Malformed):
            pass  # The host has ended the client, or itself.


def _for_nodes(setup: Dict[str, Any]) -> Dict[str, Any]:
    """A node has a dylib of its own, which must be the run's."""
    with open(setup["dylib"], "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {**setup, "dylib": None, "dylib_sha256": digest}


def _serve(stream: BinaryIO, setup: Dict[str, Any], place: Place, nodes: Nodes, courier: Courier) -> None:
    plain = place.reply["type"] == "plain"
    # A plain node says nothing of its partition beforehand, and a worker's isolation is not its own.
    unsaid: Dict[str, Any] = {"examples": [], "in_force": {"level": "off"}}
    ready = {**nodes.worker().reply, **unsaid} if plain else {**place.reply}
    # Each request may find another process behind a node, and another node.
    ready.pop("keeps_weights", None)
    write(stream, ready)
    if ready["type"] == "failed":
        return
    layout = ready["layout"]
    while True:
        request = read(stream, 4 * count(layout))
        # Only training needs this client's partition.
        node = nodes.worker().node if plain and request.type != "train" else place.node
        weights = request.parts.get(WEIGHTS)
        arrays = ArrayRecord() if weights is None else named(weights, layout)
        try:
            body, _, record = courier.ask(node, setup, request.body, arrays, TIMEOUT)
        except Unanswered as why:
            body, record = {"type": "failed", "kind": "protocol", "message": str(why)}, ArrayRecord()
        write(stream, body, {WEIGHTS: flat(record)} if record else None)
        if body["type"] == "failed":
            return
