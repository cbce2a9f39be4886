"""The nodes of a federation and their partitions."""

from __future__ import annotations

import copy
import math
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Set

from ..protocol import EndOfPipe
from .courier import Courier, Unanswered

AGAIN = 5.0
"""The seconds between two requests to a node that gave no answer, and between two searches for new nodes."""

AWAY = 60.0
"""The seconds that a run waits for a node that was present before. In later rounds it waits for `AGAIN`, so that a node
that returns takes part in the next round."""


@dataclass
class Place:
    """A node that has answered, and its partition."""

    node: int
    partition: int
    reply: Dict[str, Any]
    """The answer: `ready`, `failed`, or `plain` for a node without a worker."""


class Nodes:
    """The nodes that are present. A node has a new number each time it connects. Each new number is asked for its
    partition."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._changed = threading.Condition()
        self._asked: Set[int] = set()
        self._asking = 0
        self._patience: Dict[int, float] = {}
        self._free: Dict[int, Place] = {}
        self._workers: List[Place] = []

    def claim(self, partition: int, setup: Dict[str, Any], timeout: float, wanted: Callable[[], bool]) -> Place:
        """Waits for the node with the partition while it is `wanted`. The caller owns the node until it releases it.

        Raises `EndOfPipe` if the node is no longer wanted, or if it left and does not return in time.
        """
        with self._changed:
            end = time.monotonic() + self._patience.get(partition, math.inf)
            # Each node that was asked answers, even on a busy machine, or Flower reports that the node has left.
            while wanted() and partition not in self._free and (time.monotonic() < end or self._asking):
                # After the deadline no further node is asked, so that the wait ends.
                if time.monotonic() < end:
                    self._ask_newcomers(setup, timeout)
                self._changed.wait(AGAIN)
            if not wanted():
                raise EndOfPipe
            if partition not in self._free:
                print(f"warning: no node with partition {partition} is connected", flush=True)
                self._patience[partition] = AGAIN
                raise EndOfPipe
            self._patience[partition] = AWAY
            return self._free.pop(partition)

    def release(self, place: Place) -> None:
        """Releases a node. The node is asked again before the next claim, since it may have left or have another
        worker."""
        with self._changed:
            self._asked.discard(place.node)
            self._workers = [worker for worker in self._workers if worker.node != place.node]
            self._changed.notify_all()

    def worker(self) -> Place:
        """Waits for a node with a worker and returns it, for requests that a plain node cannot answer."""
        with self._changed:
            while not self._workers:
                self._changed.wait()
            return self._workers[0]

    def _ask_newcomers(self, setup: Dict[str, Any], timeout: float) -> None:
        for node in set(self._courier.nodes()) - self._asked:
            self._asked.add(node)
            self._asking += 1
            threading.Thread(target=self._ask, args=(node, setup, timeout), daemon=True).start()

    def _ask(self, node: int, setup: Dict[str, Any], timeout: float) -> None:
        place = self._answer(node, copy.deepcopy(setup), timeout)
        with self._changed:
            self._asking -= 1
            if place is None:
                self._changed.wait(AGAIN)
                self._asked.discard(node)
            else:
                if place.partition in self._free:
                    print(f"warning: two nodes have partition {place.partition}; one of them is not asked", flush=True)
                self._free[place.partition] = place
                if place.reply["type"] == "ready":
                    self._workers.append(place)
                self._changed.notify_all()

    def _answer(self, node: int, setup: Dict[str, Any], timeout: float) -> Optional[Place]:
        try:
            reply, partition, _ = self._courier.ask(node, setup, None, timeout)
        except Unanswered as why:
            print(f"warning: {why}", flush=True)
            return None
        if reply["type"] == "failed":
            reply["message"] = f"the node of partition {partition}: {reply.get('message')}"
        if reply.get("kind") == "protocol":
            # The node has no worker at the moment.
            print(f"warning: {reply['message']}", flush=True)
            return None
        return Place(node, partition, reply)
