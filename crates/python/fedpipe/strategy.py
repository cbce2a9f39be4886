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
"""The state of a strategy between rounds: arrays by name. It is empty before the first round."""

_STATE = "state"
_HEADER = ("client", "examples", "steps", "accumulation", "loss_sum")
_LARGEST = 1 << 40
_NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint32": "U32", "uint64": "U64", "uint8": "U8"}


@dataclass(frozen=True)
class Update:
    """The update of one client in a round."""

    client: int
    examples: int
    """The number of examples in the client's partition."""
    steps: int
    """The number of mini-batches that the client trained on."""
    accumulation: Optional[float]
    """‖a‖₁ of the local optimiser (FedNova); None if it is not known."""
    loss_sum: float
    """The sum of the training losses in the last local epoch. Each example is scored before the step that it took part
    in."""
    weights: np.ndarray
    """The new weights: flat, in layout order, float32, read-only."""

    @property
    def loss(self) -> float:
        """The mean training loss over the client's examples."""
        return self.loss_sum / self.examples


class Strategy(ABC):
    """A strategy of your own. Everything that it needs in a later round must be in `state`."""

    def __init__(self, layout: Sequence[Tensor], clients: int, seed: int) -> None:
        """`layout` has the tensors of the flat weights, `clients` is the number of all clients, `seed` is that of the
        run."""
        self.layout, self.clients, self.seed = layout, clients, seed

    @abstractmethod
    def aggregate(
        self, round: int, weights: np.ndarray, updates: Sequence[Update], state: State
    ) -> Tuple[np.ndarray, State]:
        """Returns the new global weights and the new state.

        `weights` are the global weights before the round. They and the weights of the updates are flat float32. The
        updates are in the order of the clients' numbers. The result may depend only on the arguments, since a resumed
        run takes the state from its checkpoint. The state may have 64 bytes for each weight, and 1 MiB more.
        """

    def params(self) -> np.ndarray:
        """Returns flat booleans, True for a weight of the kind `param`. A server optimiser changes only these
        weights."""
        return np.repeat([tensor.kind == "param" for tensor in self.layout], [tensor.size for tensor in self.layout])


def weighted_mean(updates: Sequence[Update]) -> np.ndarray:
    """Returns the mean of FedAvg, Σ n_k w_k / Σ n_k, flat and in float64. n_k are the examples of an update."""
    total = np.zeros(len(updates[0].weights))
    for update in updates:
        total += float(update.examples) * update.weights.astype(np.float64)
    return total / sum(update.examples for update in updates)


def serve_strategy(
    strategy: Callable[[Sequence[Tensor], int, int], Strategy], arguments: Optional[Sequence[str]] = None
) -> None:
    """Answers the host's requests with `strategy` until the pipe ends. It is the last line of a strategy's program.

    `strategy` is a subclass of `Strategy`, or a function of the layout, the number of clients and the seed that returns
    an instance. `arguments` are as for `serve`: the program's own arguments, and then the three of the host.
    """
    reader, writer = pipes(sys.argv if arguments is None else arguments)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with reader, writer:
        try:
            converse(strategy, reader, writer)
        except (OSError, protocol.Malformed) as error:
            sys.exit(f"error: the pipe to the host broke: {error}")


def converse(strategy: Callable[..., Strategy], reader: BinaryIO, writer: BinaryIO) -> None:
    """Holds the whole conversation over any two streams. A failure is reported to the host and ends it."""
    protocol.write(writer, {"type": "hello", "protocol": PROTOCOL})
    try:
        setup = protocol.read(reader, 0)
        if setup.type != "setup_strategy":
            raise ProtocolError(f"this program is a strategy, for --strategy-program; the first request is {setup.type!r}")
        layout = [Tensor(t["name"], tuple(t["shape"]), t["kind"], t["place"]) for t in setup.body["layout"]]
        made = _of_strategy("__init__", strategy, layout, setup.body["clients"], setup.body["seed"])
        if not isinstance(made, Strategy):
            raise ModelError(f"serve_strategy takes a subclass of fedpipe.Strategy, or a function that returns an instance, and got {made!r} from it")
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
    """Returns the parts of the reply. Raises `ModelError` if `aggregate` returned no pair of weights and state."""
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
    """Returns a state as bytes in the format of safetensors: flat uint8. An empty state has no bytes."""
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
    """Returns the state that `save_state` turned into these bytes."""
    return tensors(data) if data.size else {}


def _of_strategy(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Failure:
        raise
    except Exception as error:
        faults.log(error)
        raise ModelError(faults.raised("the strategy", what, error)) from error
