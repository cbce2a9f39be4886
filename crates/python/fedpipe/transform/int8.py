"""Stochastic quantisation of the change to 8 bits (Alistarh 2017, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional

import numpy as np

from ..order import unit
from .values import count, flag, read

_LEVELS = 127.0


@dataclass(frozen=True)
class Int8:
    """The parameters of the transform."""

    bucket: int = 512
    """The number of values that share a scale."""
    l2: bool = False
    """The norm that scales a bucket: True is the Euclidean norm, False the greatest magnitude."""

    @classmethod
    def parse(cls, given: Dict[str, str]) -> "Int8":
        """Returns the transform with these values."""
        values: Dict[str, Any] = read("int8", given, {"bucket": count, "l2": flag})
        return cls(**values)

    def encode(self, change: np.ndarray, residual: Optional[np.ndarray], key: bytes) -> Dict[str, np.ndarray]:
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
            levels = np.fmin(whole + (unit(key, len(change)) < exact - whole), _LEVELS)
        signed = np.where(change < 0, -levels, levels).astype(np.int8)
        return {"levels": signed.view(np.uint8), "scales": scales}

    def _scales(self, values: np.ndarray) -> np.ndarray:
        """Returns the scale of each bucket (buckets, bucket): (buckets), float32."""
        if self.l2:
            # A cumulative sum adds one value after the other, which `sum` does not.
            return np.sqrt(np.cumsum(values * values, axis=1)[:, -1]).astype(np.float32)
        return np.fmax.reduce(np.abs(values), axis=1, initial=0.0).astype(np.float32)
