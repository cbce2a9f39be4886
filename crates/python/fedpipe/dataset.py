"""Writes arrays as a dataset that `fedpipe run --data` takes."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, Optional, Tuple, Union

import numpy as np

from .errors import DataError

ALIGNMENT = 64


def write_dataset(
    x: Any,
    y: Any,
    directory: Union[str, os.PathLike],
    *,
    test: Optional[Tuple[Any, Any]] = None,
    clients: Optional[Any] = None,
) -> pathlib.Path:
    """Writes examples `x` (n, shape…) and targets `y` (n) into a new or empty directory, and returns its path.

    Without `clients` the files are `x_train.npy` and `y_train.npy`, with `test` also `x_test.npy` and `y_test.npy`, for
    `--data DIRECTORY`. Without `test` they are `x.npy` and `y.npy`, for `--test-split`.

    `clients` (n) names the client of each row. The files are then one partition for each client, in the order of the
    names, and `test.safetensors`, for `--partition files:DIRECTORY`.

    Examples of uint8 stay bytes, which a model sees as x / 255; others become float32. Whole numbers are labels,
    and floats are real targets, for `--target real`. Raises `DataError` for arrays that do not belong together.
    """
    place = pathlib.Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        raise DataError(f"{place} is not empty; give a new directory")
    train = _checked(x, y, "the training set")
    tested = None if test is None else _checked(*test, "the test set")
    if clients is not None:
        _write_partitions(place, train, tested, np.asarray(clients))
        return place
    halves = [("", train)] if tested is None else [("_train", train), ("_test", tested)]
    for half, (examples, targets) in halves:
        np.save(place / f"x{half}.npy", examples)
        np.save(place / f"y{half}.npy", targets)
    return place


def _checked(x: Any, y: Any, what: str) -> Tuple[np.ndarray, np.ndarray]:
    """Returns examples as uint8 or float32, and targets as uint32, float32 or texts."""
    examples, targets = np.asarray(x), np.asarray(y)
    if targets.ndim != 1 or examples.ndim == 0 or len(examples) != len(targets) or len(targets) == 0:
        shapes = f"examples of the shape {examples.shape} and targets of {targets.shape}"
        raise DataError(f"{what} has {shapes}; give (n, …) and (n) with n of at least 1")
    if examples.dtype != np.uint8:
        examples = examples.astype(np.float32)
        if not np.isfinite(examples).all():
            row = np.argwhere(~np.isfinite(examples))[0][0]
            raise DataError(f"{what} has a value that is not finite in row {row}; remove the row")
    if targets.dtype.kind in "iub":
        if targets.dtype.kind == "i" and targets.min() < 0:
            raise DataError(f"{what} has the label {targets.min()}; number the classes from 0")
        targets = targets.astype(np.uint32)
    elif targets.dtype.kind == "f":
        targets = targets.astype(np.float32)
    return np.ascontiguousarray(examples), targets


def _write_partitions(
    place: pathlib.Path,
    train: Tuple[np.ndarray, np.ndarray],
    test: Optional[Tuple[np.ndarray, np.ndarray]],
    clients: np.ndarray,
) -> None:
    examples, targets = train
    if targets.dtype.kind not in "uf":
        raise DataError("the labels of partitions are texts; number the classes from 0")
    if test is None:
        raise DataError("partitions need a test set; give test=(x, y)")
    if clients.shape != targets.shape:
        raise DataError(f"the clients have the shape {clients.shape} and the targets {targets.shape}; give one a row")
    for number, name in enumerate(np.unique(clients)):
        rows = clients == name
        _write_partition(place / f"{number:06}.safetensors", examples[rows], targets[rows])
    _write_partition(place / "test.safetensors", *test)


def _write_partition(path: pathlib.Path, examples: np.ndarray, targets: np.ndarray) -> None:
    """Writes a partition file. The header is padded, so that a reader can map the data."""
    name, dtype = ("labels", "U32") if targets.dtype.kind == "u" else ("targets", "F32")
    kind = "U8" if examples.dtype == np.uint8 else "F32"
    end = targets.nbytes + examples.nbytes
    header = {
        name: {"dtype": dtype, "shape": list(targets.shape), "data_offsets": [0, targets.nbytes]},
        "examples": {"dtype": kind, "shape": list(examples.shape), "data_offsets": [targets.nbytes, end]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with open(path, "xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(targets.astype(targets.dtype.newbyteorder("<")).tobytes())
        file.write(examples.astype(examples.dtype.newbyteorder("<")).tobytes())
