"""The parts of a message as records of Flower. The weights are one array for each tensor, by name, in the order of the
layout. Each other part is a flat array."""

from __future__ import annotations

from math import prod
from typing import Any, Dict, List, Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from ..protocol import WEIGHTS

ARRAYS, PARTS = "arrays", "parts"
"""The records of the weights and of all other parts."""

Layout = List[Dict[str, Any]]
"""The layout in a `ready` message."""


def count(layout: Layout) -> int:
    """Returns the number of weights."""
    return sum(prod(tensor["shape"]) for tensor in layout)


def named(flat: np.ndarray, layout: Layout) -> ArrayRecord:
    """Returns the record of flat weights."""
    ends = np.cumsum([prod(tensor["shape"]) for tensor in layout])
    pieces = zip(layout, np.split(flat, ends[:-1]))
    return ArrayRecord({tensor["name"]: Array(piece.reshape(tensor["shape"])) for tensor, piece in pieces})


def flat(record: ArrayRecord) -> np.ndarray:
    """Returns the weights of a record as float32, in its order."""
    arrays = [np.asarray(array.numpy(), np.float32).ravel() for array in record.values()]
    return np.concatenate(arrays) if arrays else np.empty(0, np.float32)


def add_parts(content: RecordDict, parts: Mapping[str, np.ndarray], layout: Layout) -> None:
    """Adds the parts of a message to the content of a Flower message."""
    if WEIGHTS in parts:
        content[ARRAYS] = named(parts[WEIGHTS], layout)
    others = {name: Array(values) for name, values in parts.items() if name != WEIGHTS}
    if others:
        content[PARTS] = ArrayRecord(others)


def parts_of(content: RecordDict) -> Dict[str, np.ndarray]:
    """Returns the parts that `add_parts` added."""
    others = content.array_records.get(PARTS, ArrayRecord())
    parts = {name: np.ascontiguousarray(array.numpy()) for name, array in others.items()}
    weights = content.array_records.get(ARRAYS)
    return {WEIGHTS: flat(weights), **parts} if weights else parts
