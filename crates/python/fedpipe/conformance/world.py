"""What the program under test is given: two partitions, a test set, and the messages of a host."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..order import order

SIZES = (130, 70)
"""Examples of clients 0 and 1, which the program serves both: neither is a multiple of the batch size."""

TEST = 1234
"""Test examples: two whole blocks and one of 234."""

SEED = 2**63 + 11
"""More than a signed integer or a double holds."""

BATCH = 32


@dataclass
class World:
    """The suite's choices, and its folder."""

    command: List[str]
    folder: str
    shape: Tuple[int, ...] = (28, 28)
    classes: int = 10
    options: Dict[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    own_randomness: bool = False
    """The model draws numbers of its own each round, such as dropout's."""
    hashes: Dict[str, str] = field(default_factory=dict)
    """Of the contents of the partition files."""

    def __post_init__(self) -> None:
        random = np.random.default_rng(1)
        for name, count in [("0", SIZES[0]), ("1", SIZES[1]), ("test", TEST)]:
            labels = random.integers(0, self.classes, count)
            # Each class has a brightness of its own: something can be learnt.
            noise = random.integers(0, 64, (count, *self.shape))
            mean = (labels * (190 // self.classes)).reshape(-1, *[1] * len(self.shape))
            examples, labels = (noise + mean).astype(np.uint8), labels.astype("<u4")
            self._write(name, examples, labels)
            if name == "0":
                # What stands where, so that round 2 visits the same examples one after the other as round 1 of "0".
                place = np.empty(count, np.int64)
                place[order(SEED, 0, 2, 0, count)] = order(SEED, 0, 1, 0, count)
                self._write("0 for round 2", examples[place], labels[place])

    def path(self, name: str) -> str:
        """Of a partition file."""
        return os.path.join(self.folder, f"{name}.safetensors")

    def setup(self, files: Sequence[str] = ("0", "1"), **changes: Any) -> Dict[str, Any]:
        """The setup of a client that is to serve the partitions in `files`; `changes` replace fields of it."""
        held = [{"client": client, **self._held(name)} for client, name in enumerate(files)]
        task = {"shape": list(self.shape), "classes": self.classes}
        purpose = {"serve": {"task": task, "partitions": held, "test": self.path("test")}}
        setup = {"type": "setup", "dylib": None, "options": self.options, "seed": SEED, "purpose": purpose}
        return {**setup, "test_sha256": self.hashes["test"], **changes}

    def _held(self, name: str) -> Dict[str, str]:
        """A partition file, with its hash unless the suite has written none."""
        sha256 = {"sha256": self.hashes[name]} if name in self.hashes else {}
        return {"path": self.path(name), **sha256}

    @staticmethod
    def train(**changes: Any) -> Dict[str, Any]:
        """A request to train client 0; `changes` replace fields of it."""
        request = {"type": "train", "client": 0, "round": 1, "epochs": 1, "batch_size": BATCH, "learning_rate": 0.1}
        return {**request, "optimiser": '{"name":"sgd"}', **changes}

    def _write(self, name: str, examples: np.ndarray, labels: np.ndarray) -> None:
        header = {
            "__metadata__": {"client": name},
            "labels": {"dtype": "U32", "shape": list(labels.shape), "data_offsets": [0, labels.nbytes]},
            "examples": {
                "dtype": "U8",
                "shape": list(examples.shape),
                "data_offsets": [labels.nbytes, labels.nbytes + examples.nbytes],
            },
        }
        self.hashes[name] = hashlib.sha256(labels.tobytes() + examples.tobytes()).hexdigest()
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % 64)
        with open(self.path(name), "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + labels.tobytes() + examples.tobytes())
