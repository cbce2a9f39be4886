"""The greatest values of the change, with error feedback (Stich 2018; Aji & Heafield 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, Optional

import numpy as np

from .values import flag, read, share


@dataclass(frozen=True)
class TopK:
    """The parameters of the transform."""

    fraction: float
    """The share of the weights that is sent."""
    feedback: bool = True
    """True adds what was not sent to the client's next change."""

    @classmethod
    def parse(cls, given: Dict[str, str]) -> "TopK":
        """Returns the transform with these values."""
        if "fraction" not in given:
            raise ValueError("the transform topk needs the parameter fraction")
        values: Dict[str, Any] = read("topk", given, {"fraction": share, "feedback": flag})
        return cls(**values)

    def encode(self, change: np.ndarray, residual: Optional[np.ndarray], key: bytes) -> Dict[str, np.ndarray]:
        """Returns the parts `indices` and `values` of a change (weights), float32, and with feedback the new `residual`."""
        with np.errstate(invalid="ignore", over="ignore"):
            left = change + residual if self.feedback and residual is not None else change.copy()
        count = math.ceil(self.fraction * len(left))
        # The bits of a magnitude have its order, and NaN is the greatest.
        magnitudes = (left.view(np.uint32) & np.uint32(0x7FFFFFFF)).astype(np.int64)
        indices = np.sort(np.argsort(-magnitudes, kind="stable")[:count])
        parts = {"indices": indices.astype(np.uint32), "values": left[indices]}
        left[indices] = 0
        return {**parts, "residual": left} if self.feedback else parts
