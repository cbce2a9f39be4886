"""Which node holds which partition."""

from __future__ import annotations

import copy
import math
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Set

from flwr.app import ArrayRecord

from ..protocol import EndOfPipe
from .courier import Courier, Unanswered

AGAIN = 5.0
"""Seconds after which a node that gave no answer is asked again, and between two looks for new nodes."""

AWAY = 60.0
"""Seconds that a run waits for a node that was there before. After that it waits for `AGAIN` in every round: the node
takes part in the first one after it came back."""


@dataclass
class Place:
    """A node that has answered."""

    node: int
    partition: int
    reply: Dict[str, Any]
    """`ready`, `failed`, or `plain` for a node without a worker."""


class Nodes:
    """Nodes come and go, and have a new number each time: each is asked which partition it holds."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._changed = threading.Condition()
        self._asked: Set[int] = set()
        self._asking = 0
        self._patience: Dict[int, float] = {}
        self._free: Dict[int, Place] = {}
        self._workers: List[Place] = []

    def claim(self, partition: int, setup: Dict[str, Any], timeout: float, wanted: Callable[[], bool]) -> Place:
        """Waits for the node with the partition, as long as it is `wanted`; it is the caller's until it is released.

        Raises `EndOfPipe` where nobody wants it any more, and for a node that went away and does not come back.
        """
        with self._changed:
            end = time.monotonic() + self._patience.get(partition, math.inf)
            # A node that was asked answers, however busy its machine is, or Flower says that it is gone.
            while wanted() and partition not in self._free and (time.monotonic() < end or self._asking):
                # Later nobody is asked any more, so that what is waited for ends.
                if time.monotonic() < end:
                    self._ask_newcomers(setup, timeout)
                self._changed.wait(AGAIN)
            if not wanted():
                raise EndOfPipe
            if partition not in self._free:
                print(f"warning: no node with partition {partition} is there", flush=True)
                self._patience[partition] = AGAIN
                raise EndOfPipe
            self._patience[partition] = AWAY
            return self._free.pop(partition)

    def release(self, place: Place) -> None:
        """The node is asked anew before it is claimed again: it may be gone, or have another worker."""
        with self._changed:
            self._asked.discard(place.node)
            self._workers = [worker for worker in self._workers if worker.node != place.node]
            self._changed.notify_all()

    def worker(self) -> Place:
        """A node with a worker, for what a plain node cannot do."""
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
            reply, partition, _ = self._courier.ask(node, setup, None, ArrayRecord(), timeout)
        except Unanswered as why:
            print(f"warning: {why}", flush=True)
            return None
        if reply["type"] == "failed":
            reply["message"] = f"the node of partition {partition}: {reply.get('message')}"
        if reply.get("kind") == "protocol":
            # There is no worker behind the node, yet or any more.
            print(f"warning: {reply['message']}", flush=True)
            return None
        return Place(node, partition, reply)
