"""A strategy of your own: `Strategy` to subclass, and `serve_strategy`."""

from __future__ import annotations

import json
import struct
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from . import faults, protocol
from .client import pipes
from .data import tensors
from .errors import Failure, ModelError, ProtocolError
from .faults import wrong_result
from .model import Tensor
from .protocol import PROTOCOL, WEIGHTS, Frame

State = Mapping[str, np.ndarray]
"""What a strategy remembers from one round to the next: arrays by name, empty before the first round."""

_STATE = "state"
_HEADER = ("client", "examples", "steps", "accumulation", "loss_sum")
_LARGEST = 1 << 40
_NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint32": "U32", "uint64": "U64", "uint8": "U8"}


@dataclass(frozen=True)
class Update:
    """What one client gave in a round."""

    client: int
    examples: int
    """Of its partition."""
    steps: int
    """Mini-batches trained on."""
    accumulation: Optional[float]
    """‖a‖₁ of the local optimiser (FedNova); None where it has none."""
    loss_sum: float
    """Σ of the examples' training losses in the last local epoch, each scored before the step that it took part in."""
    weights: np.ndarray
    """Flat, in layout order: float32, read-only."""

    @property
    def loss(self) -> float:
        """The mean training loss over the client's examples."""
        return self.loss_sum / self.examples


class Strategy(ABC):
    """A strategy of your own. One instance serves a run; all that it is to remember goes through `state`."""

    def __init__(self, layout: Sequence[Tensor], clients: int, seed: int) -> None:
        """`layout`: the tensors of the flat weights; `clients`: all there are; `seed`: the run's."""
        self.layout, self.clients, self.seed = layout, clients, seed

    @abstractmethod
    def aggregate(
        self, round: int, weights: np.ndarray, updates: Sequence[Update], state: State
    ) -> Tuple[np.ndarray, State]:
        """The new global weights, and what is to be remembered.

        `weights` are the global ones that the round began with; they and those of the updates are flat float32. The updates
        come in the order of the clients' numbers. The result may depend on nothing but the arguments: a run that is
        resumed has the state from its checkpoint. The state may have 16 values of 4 bytes a weight, and 1 MiB.
        """

    def params(self) -> np.ndarray:
        """Which weights a server optimiser may move, as flat booleans: those of kind `param`; buffers are only averaged."""
        return np.repeat([tensor.kind == "param" for tensor in self.layout], [tensor.size for tensor in self.layout])


def weighted_mean(updates: Sequence[Update]) -> np.ndarray:
    """Σ n_k w_k / Σ n_k over the updates' examples n_k, in float64, as FedAvg has it; flat."""
    total = np.zeros(len(updates[0].weights))
    for update in updates:
        total += float(update.examples) * update.weights.astype(np.float64)
    return total / sum(update.examples for update in updates)


def serve_strategy(
    strategy: Callable[[Sequence[Tensor], int, int], Strategy], arguments: Optional[Sequence[str]] = None
) -> None:
    """Answers the host's requests with `strategy` until the pipe ends; the last line of a strategy's program.

    `strategy` is a class, or what makes one of the layout, the number of clients and the seed. `arguments` are as for
    `serve`: the program's own come first, three of the host's last.
    """
    reader, writer = pipes(sys.argv if arguments is None else arguments)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with reader, writer:
        try:
            converse(strategy, reader, writer)
        except (OSError, protocol.Malformed) as error:
            sys.exit(f"error: the pipe to the host broke: {error}")


def converse(strategy: Callable[..., Strategy], reader: BinaryIO, writer: BinaryIO) -> None:
    """The whole conversation over any two streams; a failure is told to the host and ends it."""
    protocol.write(writer, {"type": "hello", "protocol": PROTOCOL})
    try:
        setup = protocol.read(reader, 0)
        if setup.type != "setup_strategy":
            raise ProtocolError(f"this is a strategy, for --strategy-program; the first request is {setup.type!r}")
        layout = [Tensor(t["name"], tuple(t["shape"]), t["kind"], t["place"]) for t in setup.body["layout"]]
        made = _of_strategy("__init__", strategy, layout, setup.body["clients"], setup.body["seed"])
        if not isinstance(made, Strategy):
            raise ModelError(f"serve_strategy takes a subclass of fedpipe.Strategy, or what makes one, and got {made!r} of it")
        protocol.write(writer, {"type": "ready_strategy"})
        while True:
            parts = _aggregate(made, protocol.read(reader, _LARGEST))
            protocol.write(writer, {"type": "aggregated"}, parts)
    except protocol.EndOfPipe:
        return
    except Failure as failure:
        protocol.write(writer, {"type": "failed", "kind": failure.kind, "message": str(failure)})


def _aggregate(strategy: Strategy, request: Frame) -> Dict[str, np.ndarray]:
    if request.type != "aggregate":
        raise ProtocolError(f"a request of the type {request.type!r} is not known")
    for part in request.parts.values():
        part.flags.writeable = False
    updates = [
        Update(**{key: header[key] for key in _HEADER}, weights=request.parts[f"update/{header['client']}"])
        for header in request.body["updates"]
    ]
    weights, state = request.parts[WEIGHTS], load_state(request.parts[_STATE])
    answer = _of_strategy("aggregate", strategy.aggregate, request.body["round"], weights, updates, state)
    return _answer(strategy, answer)


def _answer(strategy: Strategy, answer: Any) -> Dict[str, np.ndarray]:
    """The parts of an answer; raises `ModelError` for a result of `aggregate` that is no pair of weights and state."""
    due = "a pair: the new weights, and the state as a mapping of arrays by name ({} for none)"
    if not isinstance(answer, (tuple, list)) or len(answer) != 2 or not isinstance(answer[1], Mapping):
        raise wrong_result(strategy, "aggregate", answer, due)
    moved, state = answer
    try:
        weights = np.asarray(moved)
        if weights.dtype.kind not in "fiub":
            raise TypeError(f"the weights are of the type {weights.dtype}, not of numbers")
        return {WEIGHTS: weights.astype(np.float32).reshape(-1), _STATE: save_state(state)}
    except (TypeError, ValueError) as error:
        raise ModelError(f"{type(strategy).__name__}.aggregate must return {due}: {error}") from error


def save_state(state: State) -> np.ndarray:
    """A state as bytes, in the format of safetensors; none for an empty one: flat uint8."""
    if not state:
        return np.empty(0, np.uint8)
    header: Dict[str, Any] = {}
    data: List[bytes] = []
    start = 0
    for name, values in state.items():
        array = np.asarray(values)
        if not isinstance(name, str):
            raise TypeError(f"a name of the state is {name!r}, and must be a text")
        if array.dtype.name not in _NAMES:
            raise TypeError(f"{name!r} is of {array.dtype}, not of {', '.join(_NAMES)}")
        end = start + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": array.shape, "data_offsets": [start, end]}
        data.append(np.ascontiguousarray(array).tobytes())
        start = end
    text = json.dumps(header).encode()
    return np.frombuffer(struct.pack("<Q", len(text)) + text + b"".join(data), np.uint8)


def load_state(data: np.ndarray) -> Dict[str, np.ndarray]:
    """What `save_state` made bytes of."""
    return tensors(data) if data.size else {}


def _of_strategy(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Failure:
        raise
    except Exception as error:
        faults.log(error)
        raise ModelError(faults.raised("the strategy", what, error)) from error
