"""Weights as records of Flower: one array for each tensor, by name, in the order of the layout."""

from __future__ import annotations

from math import prod
from typing import Any, Dict, List

import numpy as np
from flwr.app import Array, ArrayRecord

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
