"""Weights as Flower carries them: an array a tensor, by name, in the order of the layout."""

from __future__ import annotations

from math import prod
from typing import Any, Dict, List

import numpy as np
from flwr.app import Array, ArrayRecord

Layout = List[Dict[str, Any]]
"""As `ready` has it."""


def count(layout: Layout) -> int:
    """How many weights there are."""
    return sum(prod(tensor["shape"]) for tensor in layout)


def named(flat: np.ndarray, layout: Layout) -> ArrayRecord:
    """The record of flat weights."""
    ends = np.cumsum([prod(tensor["shape"]) for tensor in layout])
    pieces = zip(layout, np.split(flat, ends[:-1]))
    return ArrayRecord({tensor["name"]: Array(piece.reshape(tensor["shape"])) for tensor, piece in pieces})


def flat(record: ArrayRecord) -> np.ndarray:
    """The weights of a record, in its order; what is no array of float32 is made one."""
    arrays = [np.asarray(array.numpy(), np.float32).ravel() for array in record.values()]
    return np.concatenate(arrays) if arrays else np.empty(0, np.float32)
