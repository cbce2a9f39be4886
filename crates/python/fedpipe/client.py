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
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

import numpy as np

from . import faults, protocol
from .data import DataError, Examples, Partition
from .errors import Failure, ModelError, ProtocolError, Refused
from .faults import wrong_result
from .model import TERMS, Arrays, Epoch, Model, Option, Options, Report, Sums, Task, Tensor
from .order import order, scored_rows
from .protocol import EVALUATION_BLOCK, MOST_VECTORS, PROTOCOL, WEIGHTS, Frame
from .transform import Transforms

Parts = Dict[str, np.ndarray]
Answer = Tuple[Dict[str, Any], Optional[Parts]]

FEATURES = tuple(name for name in protocol.FEATURES if name not in (*TERMS, "predict", "keeps-momentum", "own-optimiser"))
"""The features of every model. `_features` returns those of one model."""


def serve(model: Type[Model], arguments: Optional[Sequence[str]] = None) -> None:
    """Answers the host's requests with `model` until the pipe ends. The call is the last line of a client's program.

    The host adds the last three `arguments` to the command: `<read-fd> <write-fd> <number>`. The default is `sys.argv`.
    The output of the model goes to the run's log. The process exits with code 1 if the pipe breaks or a frame is
    malformed, and with code 2 if no host started it. Raises `TypeError` if `model` is not a subclass of `Model`.
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
    """Holds the whole conversation over any two streams. A failure is reported to the host and ends the
    conversation."""
    protocol.write(writer, {"type": "hello", "protocol": PROTOCOL})
    try:
        setup = protocol.read_request(reader, 0)
        session, ready = _start(model, setup.body)
        protocol.write(writer, ready)
        most = MOST_VECTORS * session.payload if session else 0
        while True:
            protocol.write(writer, *_answer(session, protocol.read_request(reader, most)))
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
        "features": _features(model),
    }
    if setup["purpose"] == "describe":
        return None, ready
    with _understood():
        session = Session(model, setup, setup["purpose"]["serve"])
    ready["layout"] = [
        {"name": t.name, "shape": list(t.shape), "kind": t.kind, "place": t.place} for t in session.layout
    ]
    partitions = session.partitions.values()
    ready["examples"] = [partition.training for partition in partitions]
    if any(partition.held_out for partition in partitions):
        ready["held_out"] = [partition.held_out for partition in partitions]
    return session, ready


def _features(model: Type[Model]) -> List[str]:
    of_model = {
        "predict": model.predict is not Model.predict,
        "keeps-momentum": model.momentum is not Model.momentum,
        "own-optimiser": model.own_optimiser,
    }
    return [*FEATURES, *model.terms, *(name for name, has in of_model.items() if has)]


def _answer(session: Optional["Session"], request: Frame) -> Answer:
    if session is None:
        raise ProtocolError("a client that describes its model has no data")
    body = request.body
    if request.type == "get_weights":
        return {"type": "weights"}, {WEIGHTS: session.weights()}
    if request.type not in ("train", "evaluate"):
        raise ProtocolError(f"a request of the type {request.type!r} is not known")
    with _understood():
        session.receive(request.parts.get(WEIGHTS), body["weights_version"])
        if request.type == "train":
            return session.train(body, request.parts)
        return session.evaluate(body["blocks"], body.get("client"), body.get("predictions"))


@contextmanager
def _understood() -> Iterator[None]:
    """Turns an exception into a `ProtocolError`. An exception of the model is a failure of another kind already."""
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
    if not isinstance(model.terms, (list, tuple)) or not set(model.terms) <= set(TERMS):
        raise Refused(f"{model.__name__}.terms is {model.terms!r}, and must be a list of {', '.join(TERMS)}")
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
        target = data["task"]["target"]
        task = Task(tuple(data["task"]["shape"]), None if target == "real" else target["classes"])
        self.task = task
        self.partitions = {held["client"]: _open(held["path"], task) for held in data["partitions"]}
        self.test = _open(data["test"], task)
        # The expected hashes of data that are not checked yet. An only partition is checked at once, other data at their
        # first use, since many clients are never sampled and many processes never evaluate.
        self._unchecked: Dict[int, Optional[str]] = {held["client"]: held.get("sha256") for held in data["partitions"]}
        self._unchecked_test: Optional[str] = setup.get("test_sha256")
        if len(self.partitions) == 1:
            for client in self.partitions:
                self._check(client)
        options = _options(model, setup["options"])
        init_seed = setup.get("init_seed", self.seed)
        try:
            self.model: Model = _of_model("build", model, task, options, init_seed, kind=Refused)
        except Refused as failure:
            # The refusal of a task names the model.
            raise Refused(str(failure).replace("the model predicts", f"the model {_name(model)} predicts", 1)) from failure
        self.layout: List[Tensor] = _layout(self.model)
        self.payload = 4 * sum(tensor.size for tensor in self.layout)
        # The weights that the host sent last, and their version.
        self._received: Optional[np.ndarray] = None
        self._version: Optional[int] = None

    def receive(self, weights: Optional[np.ndarray], version: int) -> None:
        """Takes the weights of a request, or keeps earlier weights that have this version."""
        if weights is not None:
            self._received, self._version = self._vector(WEIGHTS, weights), version
        if self._received is None:
            raise ProtocolError(f'the request has no part "{WEIGHTS}"')
        if self._version != version:
            raise ProtocolError(
                f'the request has no part "{WEIGHTS}" and names version {version}; this client has version {self._version}'
            )

    def weights(self) -> np.ndarray:
        """Returns the model's current weights: flat, in layout order."""
        return self._flat("weights", self.model.weights)

    def _flat(self, what: str, method: Callable[[], Any]) -> np.ndarray:
        """Returns the arrays of a method of the model: flat, in layout order."""
        arrays = _of_model(what, method)
        if not isinstance(arrays, Mapping):
            raise wrong_result(self.model, what, arrays, f"the arrays of the {what} by name")
        flat = np.empty(self.payload // 4, np.float32)
        start = 0
        for tensor in self.layout:
            values = np.asarray(arrays[tensor.name]) if tensor.name in arrays else None
            if values is None or values.shape != tensor.shape:
                why = "is missing" if values is None else f"has the shape {values.shape}"
                raise ModelError(f"the {what} {tensor.name!r} {why}, the layout says {tensor.shape}")
            if values.dtype.kind not in "fiub":
                raise ModelError(f"the {what} {tensor.name!r} are of the type {values.dtype}, not of numbers")
            flat[start : start + tensor.size] = values.reshape(-1)
            start += tensor.size
        return flat

    def set_weights(self, flat: np.ndarray) -> None:
        """Sets the model's weights, which are flat."""
        _of_model("set_weights", self.model.set_weights, self._arrays(flat))

    def _vector(self, name: str, values: np.ndarray) -> np.ndarray:
        """Returns a part that has one float32 for each weight, read-only."""
        if values.dtype != np.float32 or 4 * values.size != self.payload:
            raise ProtocolError(
                f'the part "{name}" has {values.size} values of {values.dtype}, expected {self.payload // 4} of float32'
            )
        values.flags.writeable = False
        return values

    def _arrays(self, flat: np.ndarray) -> Arrays:
        """Returns the tensors of flat weights by name, without a copy."""
        arrays, start = {}, 0
        for tensor in self.layout:
            arrays[tensor.name] = flat[start : start + tensor.size].reshape(tensor.shape)
            start += tensor.size
        return arrays

    def _check(self, client: int) -> None:
        self.partitions[client].check_sha256(self._unchecked.pop(client, None))

    def _held(self, client: int) -> Partition:
        """Returns the partition of a client after its first check."""
        if client not in self.partitions:
            raise ProtocolError(f"this client does not hold the partition of client {client}")
        self._check(client)
        return self.partitions[client]

    def train(self, asked: Mapping[str, Any], parts: Parts) -> Answer:
        """Does the phases of a request and returns the update with its parts."""
        start = self._start(parts)
        transforms = Transforms.read(asked.get("transforms", ()))
        residual = self._part(parts, "residual") if "residual" in parts else None
        partition = self._held(asked["client"])
        self.set_weights(start)
        score = self._score_start(asked) if asked.get("score_start") else None
        update, weights, replied, training = None, start, {}, Training()
        for number, phase in enumerate(asked["phases"]):
            begin = phase.get("start", "received")
            if begin == "slot":
                self.set_weights(self._part(parts, f"start/{number}"))
            elif begin == "received" and number > 0:
                self.set_weights(start)
            elif begin not in ("received", "previous"):
                raise ProtocolError(f"a phase with the start {begin!r} is not known")
            training = training if begin == "previous" else Training()
            sums = self._do_phase(asked, phase, self._terms(phase, parts, start), training)
            if phase.get("update", True):
                update, weights = sums, self.weights()
                if asked.get("keeps_momentum"):
                    replied["momentum"] = self._flat("momentum", self.model.momentum)
            else:
                replied[f"slot/{number}"] = self.weights()
        head = {"type": "update", "client": asked["client"], "round": asked["round"], "examples": partition.training}
        if score is not None:
            head["start"] = score
        if transforms == Transforms():
            replied[WEIGHTS] = weights
        else:
            replied.update(transforms.encode(weights - start, residual, self.seed, asked["client"], asked["round"]))
        return {**head, **(update or _no_epochs())}, replied

    def _start(self, parts: Parts) -> np.ndarray:
        """Returns the weights from which a client starts: the received weights, with the client's own values of local
        tensors."""
        assert self._received is not None
        if "local" not in parts:
            return self._received
        own, start, at, taken = parts["local"], self._received.copy(), 0, 0
        local = sum(tensor.size for tensor in self.layout if tensor.place == "local")
        if own.dtype != np.float32 or own.size != local:
            raise ProtocolError(f'the part "local" has {own.size} values of {own.dtype}, expected {local} of float32')
        for tensor in self.layout:
            if tensor.place == "local":
                start[at : at + tensor.size] = own[taken : taken + tensor.size]
                taken += tensor.size
            at += tensor.size
        start.flags.writeable = False
        return start

    def _part(self, parts: Parts, name: str) -> np.ndarray:
        if name not in parts:
            raise ProtocolError(f'the request has no part "{name}"')
        return self._vector(name, parts[name])

    def _terms(self, phase: Mapping[str, Any], parts: Parts, start: np.ndarray) -> Dict[str, Any]:
        """Returns the client terms of a phase, as `Epoch` has them."""
        terms: Dict[str, Any] = {}
        if "momentum" in parts:
            terms["momentum"] = self._arrays(self._part(parts, "momentum"))
        if phase.get("proximal"):
            anchor = self._part(parts, "anchor") if "anchor" in parts else start
            terms.update(proximal=float(np.float32(phase["proximal"])), anchor=self._arrays(anchor))
        if phase.get("linear"):
            terms["linear"] = self._arrays(self._part(parts, "linear"))
        if phase.get("frozen"):
            terms["frozen"] = tuple(phase["frozen"])
            unknown = set(terms["frozen"]) - {tensor.name for tensor in self.layout}
            if unknown:
                raise ProtocolError(f"the phase freezes the tensor {min(unknown)!r}, which the model does not have")
        for term in TERMS:
            if term in terms and term not in self.model.terms:
                raise ProtocolError(f"the model {_name(type(self.model))} lacks the feature {term!r}")
        return terms

    def _do_phase(
        self, asked: Mapping[str, Any], phase: Mapping[str, Any], terms: Mapping[str, Any], training: "Training"
    ) -> Dict[str, Any]:
        """Trains one phase and returns the sums of its update."""
        client, round, size = asked["client"], asked["round"], asked["batch_size"]
        partition, steps, sums, accumulation = self.partitions[client], 0, Sums(), None
        if phase.get("batch_size") is not None:
            size = min(phase["batch_size"], partition.training)
        frozen = {name: values.copy() for name, values in self._arrays(self.weights()).items() if name in terms.get("frozen", ())}
        for _ in range(phase["epochs"]):
            rows = order(self.seed, client, round, training.epochs, partition.training)
            if phase.get("steps") is not None:
                rows = rows[: (phase["steps"] - steps) * size]
            if len(rows) == 0:
                break
            epoch = _epoch({**asked, "batch_size": size}, terms, self.seed, training.epochs)
            report = _of_model("train_epoch", self.model.train_epoch, self._training_examples(asked, rows), epoch)
            _check_report(self.model, report)
            sums = _checked(self.model, "train_epoch", report.sums)
            steps += report.steps
            training.epochs += 1
            training.steps += report.steps
            given = report.accumulation
            accumulation = epoch.accumulation(training.steps) if given is None else float(given)
        self._check_frozen(frozen)
        return {"steps": int(steps), "accumulation": accumulation, **_sums(sums, "scored")}

    def _check_frozen(self, frozen: Arrays) -> None:
        """Raises `ModelError` if the training changed a frozen tensor."""
        now = self._arrays(self.weights()) if frozen else {}
        for name, before in frozen.items():
            if now[name].tobytes() != before.tobytes():
                raise ModelError(
                    f"{type(self.model).__name__}.train_epoch changed the tensor {name!r}, which epoch.frozen names; leave "
                    "it out of the optimiser, or remove `frozen` from the terms"
                )

    def _training_examples(self, asked: Mapping[str, Any], rows: np.ndarray) -> Examples:
        """Returns training rows of a client, with flipped labels if the request asks for them."""
        examples = self.partitions[asked["client"]].examples(rows)
        if not asked.get("flip_labels"):
            return examples
        if self.task.classes is None:
            raise ProtocolError("the request flips labels, and a real target has none")
        return examples.flipped(self.task.classes)

    def _score_start(self, asked: Mapping[str, Any]) -> Dict[str, Any]:
        """Scores the model's weights on rows of a client's partition, before the training."""
        rows, client = asked["score_start"], asked["client"]
        partition = self.partitions[client]
        if rows not in ("rows", "all"):
            raise ProtocolError(f"the start cannot be scored on {rows!r}")
        count = partition.training
        visited = np.arange(count) if rows == "all" else scored_rows(self.seed, client, count)
        sums = self._score(self._training_examples(asked, visited))
        return {"loss_sum": sums.loss_sum, "examples": int(sums.examples)}

    def evaluate(self, blocks: Sequence[int], client: Optional[int], predictions: Optional[str]) -> Answer:
        """Scores the received weights on blocks of the test set, or of a client's held-out examples."""
        assert self._received is not None
        self.set_weights(self._received)
        if client is None:
            self.test.check_sha256(self._unchecked_test)
            self._unchecked_test = None
        scored = self.test if client is None else self._held(client)
        first = 0 if client is None else scored.training
        rows = {block: _rows(block, first, len(scored)) for block in blocks}
        sums = [self._block(block, scored, rows[block]) for block in blocks]
        parts = self._predictions(scored, rows.values(), predictions) if predictions else None
        return {"type": "evaluated", "blocks": sums}, parts

    def _block(self, block: int, scored: Partition, rows: np.ndarray) -> Dict[str, Any]:
        sums = self._score(scored.examples(rows))
        regression = {} if sums.regression is None else {"regression": asdict(sums.regression)}
        return {"block": block, **_sums(sums, "examples"), **regression}

    def _predictions(self, scored: Partition, blocks: Iterable[np.ndarray], asked: str) -> Parts:
        """Returns the outputs of these rows, or their confusion matrix and, for two classes, the scores by label."""
        classes = self.task.classes or 0
        scores = np.concatenate([self._predict(scored.examples(rows)) for rows in blocks])
        if asked == "outputs":
            return {"outputs": scores.reshape(-1)}
        labels = np.concatenate([scored.labels[rows] for rows in blocks])
        confusion = np.zeros((classes, classes), np.uint32)
        np.add.at(confusion, (labels, np.argmax(scores, axis=1)), 1)
        parts = {"confusion": confusion.reshape(-1)}
        if asked == "scores" and classes == 2:
            parts.update({f"scores/{label}": (scores[:, 1] - scores[:, 0])[labels == label] for label in (0, 1)})
        return parts

    def _predict(self, examples: Examples) -> np.ndarray:
        scores, due = _of_model("predict", self.model.predict, examples), (len(examples), self.task.classes or 1)
        if np.shape(scores) != due:
            raise ModelError(f"{type(self.model).__name__}.predict returned scores of the shape {np.shape(scores)}, and must return {due}")
        return np.asarray(scores, np.float32)

    def _score(self, examples: Examples) -> Sums:
        sums = _checked(self.model, "evaluate", _of_model("evaluate", self.model.evaluate, examples))
        if sums.examples != len(examples):
            name = type(self.model).__name__
            raise ModelError(f"{name}.evaluate returned sums over {sums.examples} examples, and was given {len(examples)}")
        if self.task.is_real and sums.regression is None:
            add = "sums.add_predictions(loss, predictions, targets)"
            raise ModelError(f"{type(self.model).__name__}.evaluate summed no errors of the real target; call {add}")
        return sums


@dataclass
class Training:
    """The progress of consecutive phases, over which the optimiser keeps its state."""

    epochs: int = 0
    steps: int = 0


def _sums(sums: Sums, count: str) -> Dict[str, Any]:
    """Returns the fields of sums in a message. `count` names the number of examples."""
    return {"loss_sum": sums.loss_sum, "correct": int(sums.correct), count: int(sums.examples)}


def _no_epochs() -> Dict[str, Any]:
    """Returns the sums of an update without a phase."""
    return {"steps": 0, "accumulation": None, **_sums(Sums(), "scored")}


def _rows(block: int, first: int, end: int) -> np.ndarray:
    """Returns the rows of a block of the examples from `first` to before `end`."""
    start = first + EVALUATION_BLOCK * block
    if start >= end:
        raise ProtocolError(f"block {block} is beyond the {end - first} examples that are scored")
    return np.arange(start, min(start + EVALUATION_BLOCK, end))


def _open(path: str, task: Task) -> Partition:
    partition = Partition(path)
    partition.check(task.shape, task.class_count)
    return partition


def _options(model: Type[Model], given: Mapping[str, str]) -> Options:
    known = {option.key: option.default for option in model.options}
    for key in given:
        if key not in known:
            names = f"known: {', '.join(known)}" if known else "it has none"
            raise Refused(f'model {_name(model)} has no option "{key}" ({names})')
    return Options({**known, **given})


def _epoch(asked: Mapping[str, Any], terms: Mapping[str, Any], seed: int, number: int) -> Epoch:
    return Epoch(
        learning_rate=asked["learning_rate"],
        batch_size=asked["batch_size"],
        optimiser=json.loads(asked["optimiser"]),
        seed=seed,
        client=asked["client"],
        round=asked["round"],
        epoch=number,
        **terms,
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
        checked = Sums(float(sums.loss_sum), int(sums.correct), int(sums.examples), sums.regression)
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
