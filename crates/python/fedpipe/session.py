"""A model and its data: training, evaluation and prediction, as the requests of the host ask for them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Type

import numpy as np

from .data import Examples, Partition
from .errors import ModelError, ProtocolError, Refused
from .faults import wrong_result
from .model import TERMS, Arrays, Epoch, Model, Sums, Task, Tensor
from .model_calls import check_report, checked_layout, checked_options, checked_sums, model_name, of_model
from .order import order, scored_rows
from .protocol import EVALUATION_BLOCK, WEIGHTS
from .transform import Transforms

Parts = Dict[str, np.ndarray]
Answer = Tuple[Dict[str, Any], Optional[Parts]]


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
        options = checked_options(model, setup["options"])
        init_seed = setup.get("init_seed", self.seed)
        try:
            self.model: Model = of_model("build", model, task, options, init_seed, kind=Refused)
        except Refused as failure:
            # The refusal of a task names the model.
            raise Refused(str(failure).replace("the model predicts", f"the model {model_name(model)} predicts", 1)) from failure
        self.layout: List[Tensor] = checked_layout(self.model)
        self.payload = 4 * sum(tensor.size for tensor in self.layout)
        # The weights that the host sent last, and their version.
        self._received: Optional[np.ndarray] = None
        self._version: Optional[int] = None
        # When the training was asked for, and the begin and the end of each local epoch since, in microseconds.
        self._asked = 0
        self._epochs: List[List[int]] = []

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
        arrays = of_model(what, method)
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
        of_model("set_weights", self.model.set_weights, self._arrays(flat))

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
        self._asked, self._epochs = time.perf_counter_ns(), []
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
        return {**head, **(update or _no_epochs()), "epochs": self._epochs}, replied

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
                raise ProtocolError(f"the model {model_name(type(self.model))} lacks the feature {term!r}")
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
            begin = self._microseconds()
            report = of_model("train_epoch", self.model.train_epoch, self._training_examples(asked, rows), epoch)
            self._epochs.append([begin, self._microseconds()])
            check_report(self.model, report)
            sums = checked_sums(self.model, "train_epoch", report.sums)
            steps += report.steps
            training.epochs += 1
            training.steps += report.steps
            given = report.accumulation
            accumulation = epoch.accumulation(training.steps) if given is None else float(given)
        self._check_frozen(frozen)
        return {"steps": int(steps), "accumulation": accumulation, **_sums(sums, "scored")}

    def _microseconds(self) -> int:
        """Returns the time since the training was asked for."""
        return (time.perf_counter_ns() - self._asked) // 1000

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
        scores, due = of_model("predict", self.model.predict, examples), (len(examples), self.task.classes or 1)
        if np.shape(scores) != due:
            raise ModelError(f"{type(self.model).__name__}.predict returned scores of the shape {np.shape(scores)}, and must return {due}")
        return np.asarray(scores, np.float32)

    def _score(self, examples: Examples) -> Sums:
        sums = checked_sums(self.model, "evaluate", of_model("evaluate", self.model.evaluate, examples))
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
