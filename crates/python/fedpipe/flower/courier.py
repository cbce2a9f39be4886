"""Sends messages to nodes and waits for the replies, for many threads over one grid."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from .records import Layout, add_parts, parts_of

Parts = Mapping[str, np.ndarray]

KINDS = {None: MessageType.QUERY, "train": MessageType.TRAIN}
"""The message type of each request. A node answers all types alike; Flower shows them in its logs."""


class Unanswered(Exception):
    """A message without a reply. The text is Flower's reason."""


def _parsed(text: str) -> Any:
    """Parses JSON. Raises `ValueError` also for NaN and infinities, which Python's parser accepts and the pipe does
    not."""

    def refuse(number: str) -> None:
        raise ValueError(f"it has the number {number}")

    return json.loads(text, parse_constant=refuse)


class Courier:
    """Sends messages and receives replies. One thread must call `fetch` repeatedly."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._lock = threading.Lock()
        self._waiting: Dict[str, "queue.SimpleQueue[Message]"] = {}

    def nodes(self) -> Iterable[int]:
        """Returns the nodes that Flower lists as present."""
        with self._lock:
            return list(self._grid.get_node_ids())

    def ask(
        self,
        node: int,
        setup: Dict[str, Any],
        request: Optional[Dict[str, Any]],
        timeout: float,
        parts: Tuple[Parts, Layout] = ({}, []),
    ) -> Tuple[Dict[str, Any], int, Parts]:
        """Sends a request with its parts. Returns the body, the partition and the parts of the reply. The request None
        asks only for `ready`."""
        config: Dict[str, Any] = {"setup": json.dumps(setup), "request": json.dumps(request), "timeout": timeout}
        content = RecordDict({"fedpipe": ConfigRecord(config)})
        add_parts(content, *parts)
        kind = KINDS.get(request["type"] if request else None, MessageType.EVALUATE)
        group = str(request.get("round", "")) if request else ""
        reply: "queue.SimpleQueue[Message]" = queue.SimpleQueue()
        with self._lock:
            try:
                [number] = self._grid.push_messages([Message(content, node, kind, group_id=group)])
            except Exception as error:  # The errors of Flower and of its HTTP client have no common base.
                raise Unanswered(f"node {node}: the SuperLink took no message: {error}") from error
            if number is None:
                raise Unanswered(f"node {node}: the SuperLink took no message")
            self._waiting[number] = reply
        message = reply.get()
        if message.has_error():
            raise Unanswered(f"node {node}: {message.error.reason or f'Flower reports error {message.error.code}'}")
        try:
            answer = message.content.config_records["fedpipe"]
            body, partition = _parsed(str(answer["reply"])), int(str(answer["partition-id"]))
            if not isinstance(body, dict) or "type" not in body:
                raise ValueError(body)
        except (KeyError, ValueError) as error:
            raise Unanswered(f"node {node}: its reply is not that of a client_app(): {error!r}") from error
        return body, partition, parts_of(message.content)

    def fetch(self) -> None:
        """Receives replies and passes each to the thread that waits for it."""
        with self._lock:
            messages = self._grid.pull_messages(list(self._waiting)) if self._waiting else []
            for message in messages:
                self._waiting.pop(message.metadata.reply_to_message_id).put(message)
