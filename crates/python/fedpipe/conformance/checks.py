"""The list of the checks. Each check starts a fresh program, so that a fault is reported only once."""

from __future__ import annotations

from typing import Callable, List, Tuple

from .world import World

Check = Callable[[World], None]

CHECKS: List[Tuple[str, bool, Check]] = []
"""The checks: the name, True if the later checks depend on it, and the function."""


def check(name: str, basic: bool = False) -> Callable[[Check], Check]:
    """Adds a check to the list."""

    def add(function: Check) -> Check:
        CHECKS.append((name, basic, function))
        return function

    return add
