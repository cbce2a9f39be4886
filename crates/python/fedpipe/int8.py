"""The transform `int8` of an update: stochastic quantisation to 8 bits (Alistarh 2017, section 3.1).

The protocol (`crates/protocol/README.md`) specifies the bits, with test vectors.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Dict

import numpy as np

from .order import unit

_TRANSFORM = 6
_LEVELS = 127.0


@dataclass(frozen=True)
class Int8:
    """The parameters of the transform."""

    bucket: int = 512
    """The number of values that share a scale."""
    l2: bool = False
    """The norm that scales a bucket: True is the Euclidean norm, False the greatest magnitude."""

    @classmethod
    def parse(cls, text: str) -> "Int8":
        """Returns the transform of a request, such as `int8:bucket=512,l2=false`. Raises `ValueError` for another."""
        name, _, given = text.partition(":")
        values = dict(pair.split("=", 1) for pair in given.split(",") if "=" in pair)
        bucket, l2 = values.pop("bucket", str(cls.bucket)), values.pop("l2", "false")
        if name != "int8" or values or not bucket.isdecimal() or int(bucket) == 0 or l2 not in ("true", "false"):
            raise ValueError(f"the transform {text!r} is not known here; known is int8:bucket=B,l2=BOOL")
        return cls(int(bucket), l2 == "true")

    def encode(self, change: np.ndarray, seed: int, client: int, round: int) -> Dict[str, np.ndarray]:
        """Returns the parts `levels` and `scales` of a change (weights), float32."""
        buckets = -(-len(change) // self.bucket)
        values = np.zeros(buckets * self.bucket)
        values[: len(change)] = change
        values = values.reshape(buckets, self.bucket)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            scales = self._scales(values)
            divisors = scales.astype(np.float64)[:, None]
            exact = np.where(divisors > 0, np.abs(values) * _LEVELS / divisors, 0.0).ravel()[: len(change)]
            whole = np.floor(exact)
            key = struct.pack("<QIIQQ", seed, _TRANSFORM, client, round, 0)
            levels = np.fmin(whole + (unit(key, len(change)) < exact - whole), _LEVELS)
        signed = np.where(change < 0, -levels, levels).astype(np.int8)
        return {"levels": signed.view(np.uint8), "scales": scales}

    def _scales(self, values: np.ndarray) -> np.ndarray:
        """Returns the scale of each bucket (buckets, bucket): (buckets), float32."""
        if self.l2:
            # A cumulative sum adds one value after the other, which `sum` does not.
            return np.sqrt(np.cumsum(values * values, axis=1)[:, -1]).astype(np.float32)
        return np.fmax.reduce(np.abs(values), axis=1, initial=0.0).astype(np.float32)
