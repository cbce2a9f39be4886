"""The input of the program under test: two partitions, a test set, and the messages of a host."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..order import order, scored_rows

SIZES = (130, 70)
"""The numbers of examples of clients 0 and 1, which the program serves. Neither is a multiple of the batch size."""

TEST = 1234
"""The test examples: two whole blocks and a block of 234."""

SEED = 2**63 + 11
"""A seed that neither a signed integer nor a double can hold."""

BATCH = 32

LARGE = 600
"""The number of examples of a partition with more rows than a score before the training has."""


@dataclass
class World:
    """The settings of the suite, and its folder."""

    command: List[str]
    folder: str
    shape: Tuple[int, ...] = (28, 28)
    classes: Optional[int] = 10
    """The number of classes; None for a real target."""
    options: Dict[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    own_randomness: bool = False
    """True if the model draws its own random numbers, as dropout does."""
    features: Optional[List[str]] = None
    """The features that the program lists, once they are known."""
    hashes: Dict[str, str] = field(default_factory=dict)
    """The SHA-256 of the contents of each partition file."""
    targets: Dict[str, np.ndarray] = field(default_factory=dict)
    """The labels or real targets of each partition file."""

    def __post_init__(self) -> None:
        random = np.random.default_rng(1)
        for name, count in [("0", SIZES[0]), ("1", SIZES[1]), ("test", TEST), ("large", LARGE)]:
            classes = self.classes or 10
            labels = random.integers(0, classes, count)
            # Each class has its own brightness, so that a model can learn. A real target is a number for each class.
            noise = random.integers(0, 64, (count, *self.shape))
            mean = (labels * (190 // classes)).reshape(-1, *[1] * len(self.shape))
            examples = (noise + mean).astype(np.uint8)
            labels = (labels / 8 - 0.5).astype("<f4") if self.classes is None else labels.astype("<u4")
            self.targets[name] = labels
            self._write(name, examples, labels)
            if name == "0":
                # The places at which round 2 visits the same sequence of examples as round 1 in "0".
                place = np.empty(count, np.int64)
                place[order(SEED, 0, 2, 0, count)] = order(SEED, 0, 1, 0, count)
                self._write("0 for round 2", examples[place], labels[place])
            if name == "large":
                rows = scored_rows(SEED, 0, count)
                self._write("scored", examples[rows], labels[rows])

    def path(self, name: str) -> str:
        """Returns the path of a partition file."""
        return os.path.join(self.folder, f"{name}.safetensors")

    def setup(self, files: Sequence[str] = ("0", "1"), **changes: Any) -> Dict[str, Any]:
        """Returns the setup of a client that serves the partitions in `files`. `changes` replace fields."""
        held = [{"client": client, **self.held(name)} for client, name in enumerate(files)]
        task = {"shape": list(self.shape), "target": "real" if self.classes is None else {"classes": self.classes}}
        purpose = {"serve": {"task": task, "partitions": held, "test": self.path("test")}}
        setup = {"type": "setup", "dylib": None, "options": self.options, "seed": SEED, "purpose": purpose}
        return {**setup, "test_sha256": self.hashes["test"], **changes}

    def held(self, name: str) -> Dict[str, str]:
        """Returns the path of a partition file, and its hash if the suite wrote the file."""
        sha256 = {"sha256": self.hashes[name]} if name in self.hashes else {}
        return {"path": self.path(name), **sha256}

    @staticmethod
    def train(**changes: Any) -> Dict[str, Any]:
        """Returns a request to train client 0. `changes` replace fields; `epochs` are those of the only phase."""
        phases = [{"epochs": changes.pop("epochs", 1)}]
        request = {"type": "train", "client": 0, "round": 1, "batch_size": BATCH, "learning_rate": 0.1}
        return {**request, "optimiser": '{"name":"sgd"}', "phases": phases, "weights_version": 1, **changes}

    @staticmethod
    def evaluate(blocks: Sequence[int], **changes: Any) -> Dict[str, Any]:
        """Returns a request to evaluate blocks of the test set. `changes` replace fields."""
        return {"type": "evaluate", "blocks": list(blocks), "weights_version": 1, **changes}

    def _write(self, name: str, examples: np.ndarray, labels: np.ndarray) -> None:
        header = {
            "__metadata__": {"client": name},
            "targets" if self.classes is None else "labels": {
                "dtype": "F32" if self.classes is None else "U32",
                "shape": list(labels.shape),
                "data_offsets": [0, labels.nbytes],
            },
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
