"""A program that was started: greeted, or ready with its partitions."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..protocol import WEIGHTS, Frame
from .child import Child, Wrong
from .world import World


class Session:
    """A program that is ready."""

    def __init__(self, child: Child, ready: Frame) -> None:
        self.child, self.layout = child, ready.body["layout"]
        self.features = ready.body.get("features", [])
        self.counts = {name: ready.body[name] for name in ("examples", "held_out") if name in ready.body}
        sizes = [math.prod(tensor["shape"]) for tensor in self.layout]
        self.payload = 4 * sum(sizes)

    def weights(self) -> np.ndarray:
        """Returns the answer to `get_weights`."""
        return self.weights_of(self.child.ask({"type": "get_weights"}, None, self.payload), "weights")

    def train(self, weights: Optional[np.ndarray], **changes: Any) -> Tuple[Dict[str, Any], np.ndarray]:
        """Returns the update of a request to train, and its weights. Under `None` the client uses the weights of the
        request before."""
        frame = self.attempt(weights, **changes)
        # The times of the epochs differ from training to training.
        frame.body.pop("epochs", None)
        return frame.body, self.weights_of(frame, "update")

    def phases(self, weights: np.ndarray, *phases: Dict[str, Any], **changes: Any) -> np.ndarray:
        """Returns the weights of the update after these phases."""
        return self.train(weights, phases=list(phases), **changes)[1]

    def evaluate(self, weights: Optional[np.ndarray], blocks: List[int], **changes: Any) -> List[Dict[str, Any]]:
        """Returns the blocks in the answer to a request to evaluate."""
        frame = self.child.ask(World.evaluate(blocks, **changes), weights)
        expect(frame, "evaluated")
        return frame.body.get("blocks") or []

    def attempt(
        self, weights: Optional[np.ndarray], parts: Optional[Dict[str, np.ndarray]] = None, **changes: Any
    ) -> Frame:
        """Returns the answer to a request to train; the answer may be `failed`. `parts` are further parts of the
        request."""
        return self.child.ask(World.train(**changes), weights, 3 * self.payload + 1024, parts)

    def vector(self, value: float) -> np.ndarray:
        """Returns a part that is as long as the weights."""
        return np.full(self.payload // 4, value, np.float32)

    def weights_of(self, frame: Frame, kind: str) -> np.ndarray:
        """Returns the weights of an answer of this kind."""
        expect(frame, kind)
        weights = frame.parts.get(WEIGHTS)
        if weights is None or weights.dtype != np.float32:
            raise Wrong(f'its {kind!r} has no part "{WEIGHTS}" of the type f32')
        if 4 * weights.size != self.payload:
            raise Wrong(f"its {kind!r} has {weights.size} weights, its layout {self.payload // 4}")
        if not np.isfinite(weights).all():
            raise Wrong(f"its {kind!r} has weights that are NaN or infinite")
        return weights


def expect(frame: Frame, kind: str) -> None:
    """Refuses an answer of another kind."""
    if frame.type != kind:
        raise Wrong(f"it answered with {frame.body!r}, expected {kind!r}")


@contextmanager
def greeted(world: World) -> Iterator[Child]:
    """Starts the program and receives its `hello`."""
    with Child(world.command, world.timeout) as child:
        expect(child.receive(), "hello")
        yield child


@contextmanager
def ready(
    world: World, files: Sequence[str] = ("0", "1"), setup: Optional[Dict[str, Any]] = None
) -> Iterator[Session]:
    """Starts the program with the partitions in `files`, or another setup, and receives its `ready`."""
    with greeted(world) as child:
        frame = child.ask(world.setup(files) if setup is None else setup)
        expect(frame, "ready")
        yield Session(child, frame)
