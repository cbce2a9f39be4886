"""The transforms of a request: rules that alter the change, in order, and at most one encoding, which is last."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple, Type, Union

import numpy as np

from .clip import Clip
from .int8 import Int8
from .top_k import TopK

_KINDS = {"clip": Clip, "int8": Int8, "topk": TopK}
# The use of the random numbers of a transform.
_TRANSFORM = 6


@dataclass(frozen=True)
class Transforms:
    """A chain of transforms."""

    rules: Tuple[Clip, ...] = ()
    encoding: Union[Int8, TopK, None] = None

    @classmethod
    def read(cls, texts: Sequence[str]) -> "Transforms":
        """Returns the chain of a request. Raises `ValueError` for an unknown transform or a wrong order."""
        chain = [_kind(text).parse(_values(text)) for text in texts]
        encoding = chain.pop() if chain and not isinstance(chain[-1], Clip) else None
        rules = tuple(rule for rule in chain if isinstance(rule, Clip))
        if len(rules) < len(chain):
            raise ValueError(f"the transforms {'+'.join(texts)} have an encoding that is not the last")
        return cls(rules, encoding)

    def encode(
        self, change: np.ndarray, residual: Optional[np.ndarray], seed: int, client: int, round: int
    ) -> Dict[str, np.ndarray]:
        """Returns the parts of a change (weights), float32, with the client's new residual if it has one."""
        for rule in self.rules:
            change = rule.apply(change)
        if self.encoding is None:
            return {"change": change}
        return self.encoding.encode(change, residual, struct.pack("<QIIQQ", seed, _TRANSFORM, client, round, 0))


def _kind(text: str) -> Union[Type[Clip], Type[Int8], Type[TopK]]:
    name = text.partition(":")[0]
    if name not in _KINDS:
        raise ValueError(f"the transform {text!r} is not known here; known are {', '.join(_KINDS)}")
    return _KINDS[name]


def _values(text: str) -> Dict[str, str]:
    """Returns the values of `name:key=value,key=value` by key."""
    pairs = [pair.partition("=") for pair in text.partition(":")[2].split(",")]
    return {key: value for key, _, value in pairs if key}
