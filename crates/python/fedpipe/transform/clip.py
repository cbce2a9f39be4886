"""A bound on the Euclidean norm of the change (McMahan 2018, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict

import numpy as np

from .values import positive, read


@dataclass(frozen=True)
class Clip:
    """The parameters of the transform."""

    norm: float
    """The greatest norm of the change."""

    @classmethod
    def parse(cls, given: Dict[str, str]) -> "Clip":
        """Returns the transform with these values."""
        if "norm" not in given:
            raise ValueError("the transform clip needs the parameter norm")
        values: Dict[str, Any] = read("clip", given, {"norm": positive})
        return cls(**values)

    def apply(self, change: np.ndarray) -> np.ndarray:
        """Returns the change (weights), float32, at most as long as the norm."""
        exact = change.astype(np.float64)
        # A cumulative sum adds one value after the other, which `sum` does not.
        norm = np.sqrt(np.cumsum(exact * exact)[-1])
        if not norm > self.norm:
            return change
        with np.errstate(invalid="ignore"):
            exact *= self.norm / norm
            clipped = exact.astype(np.float32)
            is_farther = np.abs(clipped.astype(np.float64)) > np.abs(exact)
        clipped[is_farther] = np.nextafter(clipped[is_farther], np.float32(0))
        return clipped
