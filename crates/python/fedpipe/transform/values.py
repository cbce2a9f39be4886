"""Reads the values of a transform's parameters."""

from __future__ import annotations

import math
from typing import Callable, Dict, TypeVar

T = TypeVar("T")


def read(name: str, given: Dict[str, str], readers: Dict[str, Callable[[str], T]]) -> Dict[str, T]:
    """Returns the values by key, of which each key that is not given is left out. Raises `ValueError` for another key or
    value."""
    for key, value in given.items():
        if key not in readers:
            raise ValueError(f"the transform {name} has no parameter {key}={value}; known are {', '.join(readers)}")
    return {key: readers[key](value) for key, value in given.items()}


def count(text: str) -> int:
    """Returns a whole number from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{text!r} is not a whole number from 1")
    return int(text)


def positive(text: str) -> float:
    """Returns a number above 0."""
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{text!r} is not a number above 0")
    return value


def share(text: str) -> float:
    """Returns a number above 0 and at most 1."""
    value = positive(text)
    if value > 1:
        raise ValueError(f"{text!r} is not a number above 0 and at most 1")
    return value


def flag(text: str) -> bool:
    """Returns the value of `true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"
