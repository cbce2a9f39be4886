"""A strategy of your own: `Strategy` to subclass, and `serve_strategy`."""

from __future__ import annotations

import json
import operator
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Callable, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import faults, protocol
from .client import serve_pipes
from .data import tensors
from .errors import Failure, ModelError, ProtocolError
from .faults import wrong_result
from .model import Tensor
from .protocol import PROTOCOL, WEIGHTS, Frame

State = Mapping[str, np.ndarray]
"""The state of a strategy between rounds: arrays by name. The state is empty before the first round."""

_STATE = "state"
_HEADER = ("client", "examples", "steps", "accumulation", "loss_sum", "scored")
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
    """The accumulation ‖a‖₁ of the local optimiser (FedNova); None if it is unknown."""
    loss_sum: float
    """The sum of the training losses in the last local epoch. Each example is scored before its own step."""
    scored: int
    """The number of examples that `loss_sum` is over."""
    weights: np.ndarray
    """The client's new weights: flat, in layout order, float32, read-only."""
    state: State = field(default_factory=dict)
    """The client's state before the round, for a strategy with `keeps_client_state`; empty before the first one."""

    @property
    def loss(self) -> float:
        """The mean training loss over the scored examples."""
        return self.loss_sum / self.scored


@dataclass(frozen=True)
class Phase:
    """One phase of a client's training. Each field except `epochs` needs the feature that the protocol names."""

    epochs: int
    """The number of local epochs, at least 1."""
    steps: Optional[int] = None
    """The most mini-batches of the phase."""
    start: str = "received"
    """The weights from which the phase starts: `received`, `previous`, or `slot` for those in `Prepared.starts`."""
    proximal: float = 0.0
    """The strength μ of the term μ/2 ‖w - anchor‖². Without an anchor, the term pulls to the received weights."""
    linear: bool = False
    """The linear term: True adds `Prepared.linear` to each gradient."""
    frozen: Sequence[str] = ()
    """The names of tensors that keep their bits."""

    def body(self) -> Dict[str, Any]:
        """Returns the phase as it is in a message."""
        given = {"steps": self.steps, "proximal": self.proximal, "linear": self.linear, "frozen": list(self.frozen)}
        return {"epochs": self.epochs, "start": self.start, **{key: value for key, value in given.items() if value}}


@dataclass(frozen=True)
class Prepared:
    """The part of a client's request that a strategy decides. Each vector is flat, in layout order."""

    phases: Sequence[Phase]
    linear: Optional[np.ndarray] = None
    anchor: Optional[np.ndarray] = None
    starts: Mapping[int, np.ndarray] = field(default_factory=dict)
    """The weights from which phases with the start `slot` begin, by the number of the phase."""

    def parts(self) -> Dict[str, np.ndarray]:
        """Returns the vectors as the parts of a message."""
        vectors = {"linear": self.linear, "anchor": self.anchor}
        vectors.update({f"start/{number}": values for number, values in self.starts.items()})
        return {name: np.asarray(values, np.float32).reshape(-1) for name, values in vectors.items() if values is not None}


class Strategy(ABC):
    """A strategy of your own. A strategy must keep the values for later rounds in its state, or in a client's. It may
    override `sample` and `prepare`. Otherwise the host samples, and each client does one plain phase."""

    features: ClassVar[Sequence[str]] = ()
    """The features that each client needs for the phases of `prepare`, such as `linear`. A run whose clients lack one
    is refused by name."""
    keeps_client_state: ClassVar[bool] = False
    """The choice of a state for each client. If it is True, `aggregate` returns the states of the round's clients,
    too."""

    sample_seed: int = 0
    """The seed for `sample`: that of the run, unless `--sample-seed` gives another. This and the next three are set
    before the first round."""
    class_count: Optional[int] = None
    """The number of classes; None if the targets are real numbers."""
    batch_size: int = 32
    optimiser: Mapping[str, Any] = {"name": "sgd"}
    learning_rate: float = 0.1
    """The local learning rate of the round, rounded to float32 as the clients have it. It is set before `prepare` and
    `aggregate`."""
    phase: Phase = Phase(1)
    """The work of the client that the experiment asks for, with its local epochs and its step limit. It is set before
    `prepare`."""

    def __init__(self, layout: Sequence[Tensor], clients: int, seed: int) -> None:
        """`layout` has the tensors of the flat weights, `clients` is the number of all clients, `seed` is that of the
        run."""
        self.layout, self.clients, self.seed = layout, clients, seed

    @abstractmethod
    def aggregate(
        self, round: int, weights: np.ndarray, updates: Sequence[Update], state: State
    ) -> Union[Tuple[np.ndarray, State], Tuple[np.ndarray, State, Mapping[int, State]]]:
        """Returns the new global weights and the new state.

        `weights` are the global weights before the round. They and the weights of the updates are flat float32. The
        updates are in the order of the clients' numbers. The result may depend only on the arguments, since a resumed
        run takes the state from its checkpoint. The state may have 64 bytes for each weight, and 1 MiB more.

        A strategy with `keeps_client_state` returns a third value: the new state of each client by its number, of the
        same size at most. A client that is left out keeps its state.
        """

    def sample(self, round: int, clients: int, count: int, state: State) -> Sequence[int]:
        """Returns the clients of a round: at least one of the numbers below `clients`, each once, in any order.

        `count` is the number that the experiment asks for. The result may depend only on the arguments.
        """
        raise NotImplementedError

    def prepare(self, round: int, client: int, weights: np.ndarray, state: State, client_state: State) -> Prepared:
        """Returns the phases of a client's training, and the vectors that they need.

        `weights` are the global weights, flat float32. The result may depend only on the arguments.
        """
        raise NotImplementedError

    @classmethod
    def abilities(cls) -> List[str]:
        """Returns the abilities as the protocol names them: those of the methods that the class overrides."""
        overrides = [name for name in ("sample", "prepare") if getattr(cls, name) is not getattr(Strategy, name)]
        return overrides + ["client-state"] * cls.keeps_client_state

    def params(self) -> np.ndarray:
        """Returns flat booleans, True for a weight of the kind `param`. A server optimiser changes only these
        weights."""
        return np.repeat([tensor.kind == "param" for tensor in self.layout], [tensor.size for tensor in self.layout])


def weighted_mean(updates: Sequence[Update]) -> np.ndarray:
    """Returns the mean of FedAvg, Σ n_k w_k / Σ n_k, flat and in float64. The number n_k is that of the examples of
    update k."""
    total = np.zeros(len(updates[0].weights))
    for update in updates:
        total += float(update.examples) * update.weights.astype(np.float64)
    return total / sum(update.examples for update in updates)


def serve_strategy(
    strategy: Callable[[Sequence[Tensor], int, int], Strategy], arguments: Optional[Sequence[str]] = None
) -> None:
    """Answers the host's requests with `strategy` until the pipe ends. The call is the last line of a strategy's
    program.

    `strategy` is a subclass of `Strategy`, or a function of the layout, the number of clients and the seed that returns
    an instance. `arguments` are as for `serve`: the program's own arguments, and then the three of the host.
    """
    serve_pipes(lambda reader, writer: converse(strategy, reader, writer), arguments)


def converse(strategy: Callable[..., Strategy], reader: BinaryIO, writer: BinaryIO) -> None:
    """Holds the whole conversation over any two streams. A failure is reported to the host and ends the
    conversation."""
    protocol.write(writer, {"type": "hello", "protocol": PROTOCOL})
    try:
        made = _start(strategy, protocol.read_request(reader, 0))
        ready = {"type": "ready_strategy", "abilities": made.abilities(), "features": list(made.features)}
        protocol.write(writer, ready)
        while True:
            protocol.write(writer, *_answer(made, protocol.read_request(reader, _LARGEST)))
    except protocol.EndOfPipe:
        return
    except Failure as failure:
        protocol.write(writer, {"type": "failed", "kind": failure.kind, "message": str(failure)})


def _start(strategy: Callable[..., Strategy], setup: Frame) -> Strategy:
    if setup.type != "setup_strategy":
        raise ProtocolError(f"this program is a strategy, for --strategy-program; the first request is {setup.type!r}")
    body = setup.body
    layout = [Tensor(t["name"], tuple(t["shape"]), t["kind"], t["place"]) for t in body["layout"]]
    made = _of_strategy("__init__", strategy, layout, body["clients"], body["seed"])
    if not isinstance(made, Strategy):
        raise ModelError(f"serve_strategy takes a subclass of fedpipe.Strategy, or a function that returns an instance, and got {made!r} from it")
    made.sample_seed, made.batch_size = body["sample_seed"], body["batch_size"]
    made.class_count = None if body["target"] == "real" else body["target"]["classes"]
    made.optimiser = json.loads(body["optimiser"])
    return made


def _answer(strategy: Strategy, request: Frame) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    """Returns the reply to a request and its parts."""
    kinds = {"sample": _sample, "prepare": _prepare, "aggregate": _aggregate}
    if request.type not in kinds:
        raise ProtocolError(f"a request of the type {request.type!r} is not known")
    for part in request.parts.values():
        part.flags.writeable = False
    return kinds[request.type](strategy, request)


def _sample(strategy: Strategy, request: Frame) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    body, state = request.body, load_state(request.parts[_STATE])
    sampled = _of_strategy("sample", strategy.sample, body["round"], body["clients"], body["count"], state)
    try:
        clients = [operator.index(client) for client in sampled]
    except TypeError:
        raise wrong_result(strategy, "sample", sampled, "a list of the clients' numbers") from None
    return {"type": "sampled", "clients": clients}, {}


def _prepare(strategy: Strategy, request: Frame) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    round, client, parts = request.body["round"], request.body["client"], request.parts
    strategy.learning_rate = float(np.float32(request.body["learning_rate"]))
    strategy.phase = Phase(request.body["phase"]["epochs"], request.body["phase"].get("steps"))
    arguments = (round, client, parts[WEIGHTS], load_state(parts[_STATE]), _client_state(parts, client))
    prepared = _of_strategy("prepare", strategy.prepare, *arguments)
    if not isinstance(prepared, Prepared):
        raise wrong_result(strategy, "prepare", prepared, "a fedpipe.Prepared")
    try:
        return {"type": "prepared", "phases": [phase.body() for phase in prepared.phases]}, prepared.parts()
    except (AttributeError, TypeError, ValueError) as error:
        name = type(strategy).__name__
        raise ModelError(f"{name}.prepare must return a fedpipe.Prepared with a list of fedpipe.Phase: {error}") from error


def _aggregate(strategy: Strategy, request: Frame) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    round, parts = request.body["round"], request.parts
    updates = [
        Update(
            **{key: header[key] for key in _HEADER},
            weights=parts[f"update/{header['client']}"],
            state=_client_state(parts, header["client"]),
        )
        for header in request.body["updates"]
    ]
    strategy.learning_rate = float(np.float32(request.body["learning_rate"]))
    answer = _of_strategy("aggregate", strategy.aggregate, round, parts[WEIGHTS], updates, load_state(parts[_STATE]))
    return {"type": "aggregated"}, _aggregated(strategy, answer)


def _client_state(parts: Mapping[str, np.ndarray], client: int) -> Dict[str, np.ndarray]:
    name = f"client_state/{client}"
    return load_state(parts[name]) if name in parts else {}


def _aggregated(strategy: Strategy, answer: Any) -> Dict[str, np.ndarray]:
    """Returns the parts of the reply. Raises `ModelError` if `aggregate` returned a value of another form."""
    pair = "the new weights, and the state as a mapping of arrays by name ({} for none)"
    due, count = f"a pair: {pair}", 2
    if strategy.keeps_client_state:
        due, count = f"three values: {pair}; and a mapping of the clients' states by number", 3
    if not isinstance(answer, (tuple, list)) or len(answer) != count or not all(isinstance(a, Mapping) for a in answer[1:]):
        raise wrong_result(strategy, "aggregate", answer, due)
    moved, state = answer[:2]
    try:
        weights = np.asarray(moved)
        if weights.dtype.kind not in "fiub":
            raise TypeError(f"the weights are of the type {weights.dtype}, not of numbers")
        parts = {WEIGHTS: weights.astype(np.float32).reshape(-1), _STATE: save_state(state)}
        for client, of_client in answer[2].items() if count == 3 else ():
            parts[f"client_state/{operator.index(client)}"] = save_state(of_client)
        return parts
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
