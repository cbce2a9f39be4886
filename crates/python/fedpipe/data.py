"""Mapped partition files: safetensors with `examples` U8 or F32 (n, shape…), and `labels` U32 (n) or `targets` F32 (n)."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional, Tuple, Union

import numpy as np

from .errors import DataError, ModelError

_DTYPES: Dict[str, np.dtype] = {
    "U8": np.dtype("u1"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


@dataclass(frozen=True)
class Batch:
    """Examples that the model trains on, or evaluates, together."""

    inputs: np.ndarray
    """The scaled examples: (batch, shape…), float32."""
    given: np.ndarray
    """The labels (batch), int64, or the real targets (batch), float32."""

    def __len__(self) -> int:
        return len(self.given)

    @property
    def labels(self) -> np.ndarray:
        """The labels: (batch), int64. Raises `ModelError` if the targets are real."""
        if self.given.dtype == np.float32:
            raise ModelError("the examples have real targets and no labels; use batch.targets")
        return self.given

    @property
    def targets(self) -> np.ndarray:
        """The real targets: (batch), float32. Raises `ModelError` if the examples have labels."""
        if self.given.dtype != np.float32:
            raise ModelError("the examples have labels and no real targets; use batch.labels")
        return self.given


class Examples:
    """Examples with their targets and the order in which to visit them. A row is read from the mapped file when it is
    needed."""

    def __init__(self, rows: np.ndarray, targets: np.ndarray, order: np.ndarray) -> None:
        """`rows` (n, shape…) uint8 or float32, `targets` (n): labels or float32, `order` (visited) row indices."""
        self._rows, self._targets, self._order = rows, targets, order

    def __len__(self) -> int:
        return len(self._order)

    @property
    def shape(self) -> Tuple[int, ...]:
        """The shape of one example, such as (28, 28)."""
        return self._rows.shape[1:]

    def all(self) -> Batch:
        """Returns all examples at once, in order. The batch takes memory for len(self) rows of float32."""
        return self._batch(self._order)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yields batches of `size` examples in order; the last may be shorter. Training uses `Epoch.batches`
        instead."""
        for start in range(0, len(self._order), size):
            yield self._batch(self._order[start : start + size])

    def flipped(self, classes: int) -> "Examples":
        """Returns the same examples with the label `classes` - 1 - y in the place of y."""
        return Examples(self._rows, np.uint32(classes - 1) - self._targets, self._order)

    def _batch(self, order: np.ndarray) -> Batch:
        inputs = self._rows[order]
        if inputs.dtype == np.uint8:
            # One division is rounded in the same way on every machine.
            inputs = inputs.astype(np.float32) / np.float32(255)
        targets = self._targets[order]
        return Batch(inputs, targets.astype(np.float32 if targets.dtype.kind == "f" else np.int64))


class Partition:
    """A mapped partition file. The file must not change while it is mapped."""

    def __init__(self, path: Union[str, os.PathLike]) -> None:
        """Maps the file. Raises `DataError` if it cannot be read, or is not a partition."""
        tensors, metadata = _read(path)
        self.path = os.fspath(path)
        names = [name for name in ("labels", "targets") if name in tensors]
        if len(names) != 1 or "examples" not in tensors:
            missing = "examples" if names else "labels"
            why = "it has both `labels` and `targets`" if len(names) == 2 else f"it has no tensor `{missing}`"
            raise DataError(f"{self.path} is not a partition: {why}")
        name = names[0]
        self.rows, self.targets = tensors["examples"], tensors[name]
        self.is_real = name == "targets"
        """True if the targets are real numbers, False if they are labels."""
        due = "F32" if self.is_real else "U32"
        if self.rows.dtype not in (_DTYPES["U8"], _DTYPES["F32"]) or self.targets.dtype != _DTYPES[due]:
            raise DataError(f"{self.path} is not a partition: `examples` must be U8 or F32, `{name}` {due}")
        if self.rows.ndim == 0 or self.targets.ndim != 1 or len(self.rows) != len(self.targets):
            shapes = f"`examples` has the shape {self.rows.shape} and `{name}` {self.targets.shape}"
            raise DataError(f"{self.path} is not a partition: {shapes}, not (n, …) and (n)")
        self.held_out = _held_out(metadata.get("held_out", "0"), len(self.targets))
        """The number of rows at the end that are held out: they are scored and never trained on."""
        if self.held_out is None:
            raise DataError(
                f"{self.path} is not a partition: its metadata say that {metadata['held_out']!r} rows are held out, of {len(self)}"
            )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def training(self) -> int:
        """The number of training rows, which come first."""
        return len(self) - self.held_out

    @property
    def labels(self) -> np.ndarray:
        """The labels (n). Raises `DataError` if the targets are real numbers."""
        if self.is_real:
            raise DataError(f"{self.path} has real targets and no labels; use `targets`")
        return self.targets

    def check(self, shape: Tuple[int, ...], classes: Optional[int]) -> None:
        """Raises `DataError` if the examples have another shape than `shape`, a label is not below `classes`, or the
        targets are of the other kind. `classes` is None for real targets, which must be finite."""
        if self.rows.shape[1:] != shape:
            raise DataError(f"{self.path} has examples of shape {self.rows.shape[1:]}, the task says {shape}")
        if self.is_real != (classes is None):
            has, due = ("real targets", "classes") if self.is_real else ("labels", "a real target")
            raise DataError(f"{self.path} has {has}, the task says {due}")
        wrong = np.flatnonzero(~np.isfinite(self.targets) if classes is None else self.targets >= classes)
        if len(wrong):
            value = self.targets[wrong[0]]
            what = f"the target {value} at row {wrong[0]}, only finite numbers can be learned"
            if classes is not None:
                what = f"the label {value} at row {wrong[0]}, only 0 to {classes - 1} exist"
            raise DataError(f"{self.path} has {what}")

    def sha256(self) -> str:
        """Returns the SHA-256 of the targets and then the examples, little-endian, in hexadecimal. The hash is over no
        other bytes."""
        digest = hashlib.sha256(np.ascontiguousarray(self.targets))
        digest.update(np.ascontiguousarray(self.rows))
        return digest.hexdigest()

    def check_sha256(self, expected: Optional[str]) -> None:
        """Raises `DataError` if `sha256` differs from `expected`. Checks nothing if `expected` is None."""
        if expected is None:
            return
        found = self.sha256()
        if found != expected:
            entry = os.path.dirname(self.path)
            raise DataError(
                f"{self.path} has contents with SHA-256 {found[:16]}, the run's have {expected[:16]}: the file was "
                f"changed since it was dealt; delete the cache entry {entry} and run again"
            )

    def examples(self, order: Optional[np.ndarray] = None) -> Examples:
        """Returns the rows that `order` names, in that order. Without `order`, returns all rows in the file's order."""
        return Examples(self.rows, self.targets, np.arange(len(self)) if order is None else order)


def safetensors(path: Union[str, os.PathLike]) -> Dict[str, np.ndarray]:
    """Returns the tensors of a safetensors file by name, read-only. A tensor is mapped, or copied if it is not aligned.

    Raises `DataError` with the fault of the file.
    """
    return _read(path)[0]


def _read(path: Union[str, os.PathLike]) -> Tuple[Dict[str, np.ndarray], Dict[str, Any]]:
    """Returns the tensors and the metadata of a safetensors file."""
    try:
        size = os.path.getsize(path)
        raw = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
    except OSError as error:
        raise DataError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    try:
        return tensors(raw), _header(raw)[0].get("__metadata__", {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{os.fspath(path)} is not a safetensors file: {error}") from error


def tensors(raw: np.ndarray) -> Dict[str, np.ndarray]:
    """Returns the tensors in the bytes of a safetensors file. Raises `ValueError` or the like for other bytes."""
    header, data = _header(raw)
    return {name: _tensor(data, about) for name, about in header.items() if name != "__metadata__"}


def _header(raw: np.ndarray) -> Tuple[Dict[str, Any], np.ndarray]:
    """Returns the header, and the data after it. Raises as `tensors` does."""
    length = int.from_bytes(raw[:8].tobytes(), "little")
    if len(raw) < 8 or length > len(raw) - 8:
        raise ValueError(f"a header of {length} bytes in {len(raw)}")
    return json.loads(raw[8 : 8 + length].tobytes()), raw[8 + length :]


def _held_out(text: Any, rows: int) -> Optional[int]:
    """Returns the number of held-out rows that the metadata name; None if there are not so many."""
    count = int(text) if isinstance(text, str) and text.isdecimal() else rows + 1
    return count if count <= rows else None


def _tensor(data: np.ndarray, about: Dict[str, Any]) -> np.ndarray:
    dtype, shape, (start, end) = _DTYPES[about["dtype"]], tuple(about["shape"]), about["data_offsets"]
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"a tensor at {start} to {end} in {len(data)} bytes of data")
    values = data[start:end].view(dtype).reshape(shape).view(np.ndarray)
    return values if values.flags.aligned else values.copy()
