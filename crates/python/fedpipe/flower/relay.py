"""A relay between the host and a node: the pipe protocol on one side, Flower's messages on the other."""

from __future__ import annotations

import hashlib
import select
import socket
from typing import Any, BinaryIO, Dict

from ..protocol import MOST_VECTORS, PROTOCOL, EndOfPipe, Malformed, read_request, write
from .courier import Courier, Unanswered
from .nodes import Nodes, Place
from .records import count

TIMEOUT = 3600.0
"""The seconds that a node's worker has for one answer. The host's --client-timeout holds if it is shorter."""


def converse(connection: socket.socket, nodes: Nodes, courier: Courier) -> None:
    """Talks to the host until the host closes the connection or the client has failed."""
    with connection, connection.makefile("rwb") as stream:
        try:
            write(stream, {"type": "hello", "protocol": PROTOCOL})
            setup = _for_nodes(read_request(stream, 0).body)
            [held] = setup["purpose"]["serve"]["partitions"]
            # The host sends nothing while it waits for `ready`. Readable input is thus the end of the connection.
            waits = lambda: not select.select([connection], [], [], 0)[0]  # noqa: E731
            place = nodes.claim(held["client"], setup, TIMEOUT, waits)
            try:
                _serve(stream, setup, place, nodes, courier)
            finally:
                nodes.release(place)
        except (OSError, EndOfPipe, Malformed):
            pass  # The host has ended the client, or the host itself has ended.


def _for_nodes(setup: Dict[str, Any]) -> Dict[str, Any]:
    """Returns the setup for nodes, with the hash of the dylib instead of its path, since each node has its own copy."""
    with open(setup["dylib"], "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {**setup, "dylib": None, "dylib_sha256": digest}


def _serve(stream: BinaryIO, setup: Dict[str, Any], place: Place, nodes: Nodes, courier: Courier) -> None:
    plain = place.reply["type"] == "plain"
    # A plain node does not report its examples in advance, and has no feature. The isolation is that of a worker.
    unsaid: Dict[str, Any] = {"examples": [], "features": [], "in_force": {"level": "off"}}
    ready = {**nodes.worker().reply, **unsaid} if plain else {**place.reply}
    # Each request may reach another process of the node, or another node, so that no weights are kept.
    ready["features"] = [name for name in ready.get("features", []) if name != "keeps-weights"]
    write(stream, ready)
    if ready["type"] == "failed":
        return
    layout = ready["layout"]
    while True:
        request = read_request(stream, MOST_VECTORS * 4 * count(layout))
        # Only a training and an evaluation of the partition need this client's own node.
        needs_own = request.type == "train" or request.body.get("client") is not None
        node = nodes.worker().node if plain and not needs_own else place.node
        try:
            body, _, parts = courier.ask(node, setup, request.body, TIMEOUT, (request.parts, layout))
        except Unanswered as why:
            body, parts = {"type": "failed", "kind": "protocol", "message": str(why)}, {}
        write(stream, body, parts)
        if body["type"] == "failed":
            return
