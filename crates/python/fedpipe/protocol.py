"""Reads and writes frames of the pipe protocol (`crates/protocol/README.md`). The module knows no message."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Dict, List, Mapping, NoReturn, Optional, Tuple

import numpy as np

PROTOCOL = 2
"""The version that `hello` carries."""

EVALUATION_BLOCK = 500
"""The number of test examples in a block. The last block may be shorter."""

WEIGHTS = "weights"
"""The name of the part that holds the flat weights."""

MOST_VECTORS = 8
"""The most parts of a request that are as long as the weights."""

FEATURES = (
    "keeps-weights",
    "phases",
    "step-limit",
    "proximal",
    "linear",
    "frozen",
    "score-start",
    "local-tensors",
    "accumulation",
    "keeps-momentum",
    "own-optimiser",
    "evaluate-partition",
    "predict",
    "flip-labels",
    "phase-batch",
    "clip",
    "compress:int8",
    "compress:topk",
)
"""The features that a client may list in `ready`."""

MAGIC = b"fdp1"
MAX_HEADER = 1 << 20
"""The longest header of a client, in bytes."""

MAX_REQUEST_HEADER = 64 << 20
"""The longest header of a host, in bytes."""

_PREAMBLE = struct.Struct("<4sIQ")
_DTYPES: Dict[str, np.dtype] = {"f32": np.dtype("<f4"), "u8": np.dtype("u1"), "u32": np.dtype("<u4")}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class EndOfPipe(Exception):
    """The pipe ended between two frames."""


class Malformed(Exception):
    """The bytes are no frame, or no frame that was expected."""


@dataclass(frozen=True)
class Frame:
    """A message and its payload."""

    body: Dict[str, Any]
    parts: Dict[str, np.ndarray] = field(default_factory=dict)
    """The parts by name: float32, uint8 or uint32, one-dimensional."""

    @property
    def type(self) -> str:
        """The name of the message."""
        return str(self.body.get("type"))


def write(stream: BinaryIO, body: Mapping[str, Any], parts: Optional[Mapping[str, np.ndarray]] = None) -> None:
    """Writes one frame. `parts` are flat arrays of float32, uint8 or uint32.

    Raises `ValueError` for NaN and infinities in `body`, for a header above 1 MiB, and for an array of another type.
    Raises `OSError` if the pipe broke.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in (parts or {}).items()}
    header: Dict[str, Any] = {"body": body}
    if arrays:
        header["parts"] = [_describe(name, array) for name, array in arrays.items()]
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > MAX_HEADER:
        raise ValueError(f"a header of {len(text)} bytes, at most {MAX_HEADER} are allowed")
    # The preamble and the header are one write, which a pipe delivers whole.
    stream.write(_PREAMBLE.pack(MAGIC, len(text), sum(array.nbytes for array in arrays.values())) + text)
    for array in arrays.values():
        stream.write(array.view(np.uint8).data)
    stream.flush()


def read_request(stream: BinaryIO, most_payload: int) -> Frame:
    """Reads one frame of a host, as `read` does."""
    return read(stream, most_payload, MAX_REQUEST_HEADER)


def read(stream: BinaryIO, most_payload: int, most_header: int = MAX_HEADER) -> Frame:
    """Reads one frame with a payload of at most `most_payload` bytes. The lengths are checked before memory is allocated.

    Raises `EndOfPipe` if the pipe ended before the first byte, `Malformed` for other bytes that are not a frame, and
    `OSError` if the pipe broke.
    """
    start = stream.read(_PREAMBLE.size)
    if not start:
        raise EndOfPipe
    if len(start) < _PREAMBLE.size:
        _refuse("the pipe ended within a frame")
    magic, header_length, payload = _PREAMBLE.unpack(start)
    if magic != MAGIC:
        _refuse(f"it starts with {magic!r} instead of {MAGIC!r}")
    if header_length > most_header:
        _refuse(f"a header of {header_length} bytes, at most {most_header} are allowed")
    if payload > most_payload:
        _refuse(f"a payload of {payload} bytes, at most {most_payload} were asked for")
    body, parts = _parse(_exactly(stream, header_length))
    if sum(length * dtype.itemsize for _, dtype, length in parts) != payload:
        _refuse(f"its parts do not add up to its payload of {payload} bytes")
    arrays: Dict[str, np.ndarray] = {}
    for name, dtype, length in parts:
        # If two parts have one name, the first counts.
        arrays.setdefault(name, _exactly(stream, length * dtype.itemsize).view(dtype))
    return Frame(body, arrays)


def _describe(name: str, array: np.ndarray) -> Dict[str, Any]:
    if array.dtype not in _NAMES or array.ndim != 1:
        raise ValueError(f"part {name!r} is {array.dtype} with {array.ndim} dimensions, not flat float32, uint8 or uint32")
    return {"name": name, "dtype": _NAMES[array.dtype], "len": array.size}


def _parse(header: np.ndarray) -> Tuple[Dict[str, Any], List[Tuple[str, np.dtype, int]]]:
    """Returns the body of a header, and its parts as (name, dtype, elements)."""
    try:
        whole = json.loads(header.tobytes())
        body, parts = whole["body"], whole.get("parts", [])
        described = [(str(part["name"]), _DTYPES[part["dtype"]], part["len"]) for part in parts]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _refuse(f"its header is not understood: {type(error).__name__}: {error}")
    if not isinstance(body, dict) or not all(type(length) is int and length >= 0 for _, _, length in described):
        _refuse("its header is not understood: the body is not an object, or the length of a part is not a number")
    return body, described


def _exactly(stream: BinaryIO, length: int) -> np.ndarray:
    array = np.empty(length, np.uint8)
    view, filled = memoryview(array.data), 0
    while filled < length:
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            _refuse("the pipe ended within a frame")
        filled += count
    return array


def _refuse(why: str) -> NoReturn:
    raise Malformed(why)
