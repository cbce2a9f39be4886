"""A client's end of the pipe: `serve` answers the requests of the host."""

from __future__ import annotations

import json
import math
import numbers
import operator
import os
import sys
import traceback
from contextlib import contextmanager
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

import numpy as np

from . import faults, protocol
from .data import DataError, Partition
from .errors import Failure, ModelError, ProtocolError, Refused
from .faults import wrong_result
from .model import Epoch, Model, Option, Options, Report, Sums, Task, Tensor
from .order import order
from .protocol import EVALUATION_BLOCK, PROTOCOL, WEIGHTS, Frame

Answer = Tuple[Dict[str, Any], Optional[Dict[str, np.ndarray]]]


def serve(model: Type[Model], arguments: Optional[Sequence[str]] = None) -> None:
    """Answers the host's requests with `model` until the pipe ends. It is the last line of a client's program.

    The last three `arguments` are those that the host adds to the command, `<read-fd> <write-fd> <number>`. The default
    is `sys.argv`. The output of the model goes to the run's log. The process exits with code 1 if the pipe breaks or a
    frame is malformed, and with code 2 if no host started it. Raises `TypeError` if `model` is not a subclass of
    `Model`.
    """
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise TypeError(f"serve takes a subclass of fedpipe.Model, the class itself, and got {model!r}")
    reader, writer = pipes(sys.argv if arguments is None else arguments)
    # Lines that were printed before a crash must be in the log.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with reader, writer:
        try:
            converse(model, reader, writer)
        except (OSError, protocol.Malformed) as error:
            sys.exit(f"error: the pipe to the host broke: {error}")


def pipes(arguments: Sequence[str]) -> Tuple[BinaryIO, BinaryIO]:
    """Opens the two pipes that the last three arguments name. Child processes do not inherit them."""
    try:
        read, write, _number = (int(argument) for argument in arguments[-3:])
        if min(read, write) < 3 or read == write:
            raise ValueError(f"descriptors {read} and {write} cannot be a client's pipes")
        for descriptor in read, write:
            os.set_inheritable(descriptor, False)
    except (ValueError, OSError) as error:
        program = os.path.basename(sys.argv[0])
        print(
            f'error: {program} is started by fedpipe run --client "python3 {program}", which adds three arguments; a '
            f'script in between passes them on as "$@": {error}',
            file=sys.stderr,
        )
        sys.exit(2)
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")


def converse(model: Type[Model], reader: BinaryIO, writer: BinaryIO) -> None:
    """Holds the whole conversation over any two streams. A failure is reported to the host and ends it."""
    protocol.write(writer, {"type": "hello", "protocol": PROTOCOL})
    try:
        setup = protocol.read(reader, 0)
        session, ready = _start(model, setup.body)
        protocol.write(writer, ready)
        while True:
            protocol.write(writer, *_answer(session, protocol.read(reader, session.payload if session else 0)))
    except protocol.EndOfPipe:
        return
    except Failure as failure:
        protocol.write(writer, {"type": "failed", "kind": failure.kind, "message": str(failure)})


def _start(model: Type[Model], setup: Mapping[str, Any]) -> Tuple[Optional["Session"], Dict[str, Any]]:
    if setup.get("type") != "setup" or "purpose" not in setup:
        raise ProtocolError(f"the first request is {setup.get('type')!r}, not a whole 'setup'")
    _check_class(model)
    ready = {
        "type": "ready",
        "name": _name(model),
        "version": model.version,
        "summary": model.summary,
        "options": [{"key": o.key, "default": o.default, "help": o.help} for o in model.options],
        "layout": [],
    }
    if setup["purpose"] == "describe":
        return None, ready
    with _understood():
        session = Session(model, setup, setup["purpose"]["serve"])
    ready["layout"] = [
        {"name": t.name, "shape": list(t.shape), "kind": t.kind, "place": t.place} for t in session.layout
    ]
    ready["examples"] = [len(partition) for partition in session.partitions.values()]
    return session, ready


def _answer(session: Optional["Session"], request: Frame) -> Answer:
    if session is None:
        raise ProtocolError("a client that describes its model has no data")
    body = request.body
    if request.type == "get_weights":
        return {"type": "weights"}, {WEIGHTS: session.weights()}
    if request.type not in ("train", "evaluate"):
        raise ProtocolError(f"a request of the type {request.type!r} is not known")
    if WEIGHTS not in request.parts:
        raise ProtocolError(f'the request has no part "{WEIGHTS}"')
    session.set_weights(request.parts[WEIGHTS])
    with _understood():
        if request.type == "train":
            return session.train(body), {WEIGHTS: session.weights()}
        return {"type": "evaluated", "blocks": [session.evaluate(block) for block in body["blocks"]]}, None


@contextmanager
def _understood() -> Iterator[None]:
    """Turns an exception into a `ProtocolError`. The exceptions of the model are failures of its own already."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        traceback.print_exc()
        raise ProtocolError(f"the request is not understood: {type(error).__name__}: {error}") from error


def _check_class(model: Type[Model]) -> None:
    """Raises `Refused` if an attribute of the class has another type than in `Model`."""
    for attribute in "name", "version", "summary":
        value = getattr(model, attribute)
        if not isinstance(value, str):
            raise Refused(f"{model.__name__}.{attribute} is {value!r}, and must be a text")
    options = model.options
    if not isinstance(options, (list, tuple)) or not all(isinstance(option, Option) for option in options):
        raise Refused(f"{model.__name__}.options must be a list of fedpipe.Option(key, default, help)")
    for option in options:
        if not all(isinstance(text, str) for text in (option.key, option.default, option.help)):
            raise Refused(f"{model.__name__}.options has {option!r}, whose key, default and help must be texts")


def _name(model: Type[Model]) -> str:
    return model.name or model.__name__.lower()


class Session:
    """A model and its data, from `ready` to the end of the pipe."""

    def __init__(self, model: Type[Model], setup: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        self.seed: int = setup["seed"]
        task = Task(tuple(data["task"]["shape"]), data["task"]["classes"])
        self.partitions = {held["client"]: _open(held["path"], task) for held in data["partitions"]}
        self.test = _open(data["test"], task)
        # The expected hashes of data that are not checked yet. An only partition is checked at once, other data at their
        # first use: most of many clients are not sampled, and few of many processes evaluate.
        self._unchecked: Dict[int, Optional[str]] = {held["client"]: held.get("sha256") for held in data["partitions"]}
        self._unchecked_test: Optional[str] = setup.get("test_sha256")
        if len(self.partitions) == 1:
            for client in self.partitions:
                self._check(client)
        options = _options(model, setup["options"])
        self.model: Model = _of_model("build", model, task, options, setup.get("init_seed", self.seed), kind=Refused)
        self.layout: List[Tensor] = _layout(self.model)
        self.payload = 4 * sum(tensor.size for tensor in self.layout)

    def weights(self) -> np.ndarray:
        """Returns the model's current weights: flat, in layout order."""
        arrays = _of_model("weights", self.model.weights)
        if not isinstance(arrays, Mapping):
            raise wrong_result(self.model, "weights", arrays, "the arrays of the weights by name")
        flat = np.empty(self.payload // 4, np.float32)
        start = 0
        for tensor in self.layout:
            values = np.asarray(arrays[tensor.name]) if tensor.name in arrays else None
            if values is None or values.shape != tensor.shape:
                what = "is missing" if values is None else f"has the shape {values.shape}"
                raise ModelError(f"the weights {tensor.name!r} {what}, the layout says {tensor.shape}")
            if values.dtype.kind not in "fiub":
                raise ModelError(f"the weights {tensor.name!r} are of the type {values.dtype}, not of numbers")
            flat[start : start + tensor.size] = values.reshape(-1)
            start += tensor.size
        return flat

    def set_weights(self, flat: np.ndarray) -> None:
        if flat.dtype != np.float32 or 4 * flat.size != self.payload:
            raise ProtocolError(f"got {flat.size} weights of {flat.dtype}, expected {self.payload // 4} of float32")
        flat.flags.writeable = False
        arrays, start = {}, 0
        for tensor in self.layout:
            arrays[tensor.name] = flat[start : start + tensor.size].reshape(tensor.shape)
            start += tensor.size
        _of_model("set_weights", self.model.set_weights, arrays)

    def _check(self, client: int) -> None:
        self.partitions[client].check_sha256(self._unchecked.pop(client, None))

    def train(self, asked: Mapping[str, Any]) -> Dict[str, Any]:
        """Trains the local epochs of one round and returns the update. `weights` then returns the new weights."""
        client, round = asked["client"], asked["round"]
        if client not in self.partitions:
            raise ProtocolError(f"this client does not hold the partition of client {client}")
        self._check(client)
        partition, steps, report, accumulation = self.partitions[client], 0, Report(), None
        for number in range(asked["epochs"]):
            examples = partition.examples(order(self.seed, client, round, number, len(partition)))
            epoch = _epoch(asked, self.seed, number)
            report = _of_model("train_epoch", self.model.train_epoch, examples, epoch)
            _check_report(self.model, report)
            steps += report.steps
            accumulation = epoch.accumulation(steps) if report.accumulation is None else float(report.accumulation)
        sums = _checked(self.model, "train_epoch", report.sums)
        return {
            "type": "update",
            "client": client,
            "round": round,
            "steps": int(steps),
            "accumulation": accumulation,
            "loss_sum": sums.loss_sum,
            "correct": int(sums.correct),
            "examples": len(partition),
        }

    def evaluate(self, block: int) -> Dict[str, Any]:
        """Scores one block of the test set."""
        self.test.check_sha256(self._unchecked_test)
        self._unchecked_test = None
        start = EVALUATION_BLOCK * block
        rows = np.arange(start, min(start + EVALUATION_BLOCK, len(self.test)))
        if len(rows) == 0:
            raise ProtocolError(f"block {block} is beyond the test set of {len(self.test)} examples")
        examples = self.test.examples(rows)
        sums = _checked(self.model, "evaluate", _of_model("evaluate", self.model.evaluate, examples))
        if sums.examples != len(examples):
            name = type(self.model).__name__
            raise ModelError(f"{name}.evaluate returned sums over {sums.examples} examples, and was given {len(examples)}")
        return {"block": block, "loss_sum": sums.loss_sum, "correct": int(sums.correct), "examples": int(sums.examples)}


def _open(path: str, task: Task) -> Partition:
    partition = Partition(path)
    partition.check(task.shape, task.classes)
    return partition


def _options(model: Type[Model], given: Mapping[str, str]) -> Options:
    known = {option.key: option.default for option in model.options}
    for key in given:
        if key not in known:
            names = f"known: {', '.join(known)}" if known else "it has none"
            raise Refused(f'model {_name(model)} has no option "{key}" ({names})')
    return Options({**known, **given})


def _epoch(asked: Mapping[str, Any], seed: int, number: int) -> Epoch:
    return Epoch(
        learning_rate=asked["learning_rate"],
        batch_size=asked["batch_size"],
        optimiser=json.loads(asked["optimiser"]),
        seed=seed,
        client=asked["client"],
        round=asked["round"],
        epoch=number,
    )


def _layout(model: Model) -> List[Tensor]:
    """Returns the model's layout. The shape of each tensor has whole numbers."""
    due = "a list of fedpipe.Tensor(name, shape)"
    # The default layout is made of the weights.
    if type(model).layout is Model.layout:
        arrays = _of_model("weights", model.weights)
        if not isinstance(arrays, Mapping):
            raise wrong_result(model, "weights", arrays, "the arrays of the weights by name")
        return [Tensor(str(name), np.shape(values)) for name, values in arrays.items()]
    layout = _of_model("layout", model.layout)
    if not isinstance(layout, (list, tuple)) or not all(isinstance(tensor, Tensor) for tensor in layout):
        raise wrong_result(model, "layout", layout, due)
    try:
        return [Tensor(t.name, tuple(operator.index(n) for n in t.shape), t.kind, t.place) for t in layout]
    except TypeError as error:
        raise ModelError(f"{type(model).__name__}.layout has a tensor whose shape is not a tuple of whole numbers: {error}") from None


def _check_report(model: Model, report: Any) -> None:
    """Raises `ModelError` if `report` is not a whole report of `train_epoch`."""
    if not isinstance(report, Report):
        raise wrong_result(model, "train_epoch", report, "its fedpipe.Report")
    name, steps, accumulation = type(model).__name__, report.steps, report.accumulation
    if not isinstance(steps, numbers.Integral) or steps < 0:
        raise ModelError(f"{name}.train_epoch reports {steps!r} as steps, and must count them in whole numbers")
    if accumulation is not None and not (isinstance(accumulation, numbers.Real) and math.isfinite(accumulation)):
        raise ModelError(f"{name}.train_epoch reports the accumulation {accumulation!r}, and must give a finite number or None")


def _checked(model: Model, method: str, sums: Any) -> Sums:
    """Returns the sums as numbers of Python. Raises `ModelError` if a sum is not a number or the loss is not finite."""
    if not isinstance(sums, Sums):
        due = "its fedpipe.Sums" if method == "evaluate" else "a fedpipe.Report whose `sums` are fedpipe.Sums"
        raise wrong_result(model, method, sums, due)
    try:
        checked = Sums(float(sums.loss_sum), int(sums.correct), int(sums.examples))
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{type(model).__name__}.{method} returned sums that are not numbers: {sums!r}") from error
    if not math.isfinite(checked.loss_sum):
        raise ModelError(f"the loss became {checked.loss_sum} in {method}; try a lower --lr")
    if checked.examples == 0:
        add = "report.sums.add" if method == "train_epoch" else "sums.add"
        raise ModelError(f"{type(model).__name__}.{method} returned sums over no examples; call {add}(loss, correct, n)")
    return checked


def _of_model(what: str, call: Callable[..., Any], *arguments: Any, kind: Type[Failure] = ModelError) -> Any:
    """Calls the model's code. An exception becomes one sentence for the host, and its traceback goes to the log."""
    try:
        return call(*arguments)
    except (DataError, ProtocolError):
        raise
    except Failure as failure:
        raise kind(str(failure)) from failure
    except Exception as error:
        faults.log(error)
        raise kind(faults.raised("the model", what, error)) from error


faults.log_uncaught()
