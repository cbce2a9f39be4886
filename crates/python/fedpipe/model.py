"""The interface for the author of a client: `Model` to subclass, and the types of its methods."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from .data import Batch, Examples
from .errors import ModelError

Arrays = Mapping[str, np.ndarray]
"""Arrays by the names in the layout."""

TERMS = ("proximal", "linear", "frozen")
"""The client terms that `Epoch.correct` applies, for `Model.terms`."""


@dataclass(frozen=True)
class Option:
    """One option of a model, as in `--model-option key=value`."""

    key: str
    default: str
    help: str


@dataclass(frozen=True)
class Task:
    """The task of a model: the shape of its examples and the kind of their targets."""

    shape: Tuple[int, ...]
    """The shape of one example, such as (28, 28)."""
    class_count: Optional[int]
    """The number of classes. None if the targets are real numbers (regression)."""

    @property
    def is_real(self) -> bool:
        """True if the targets are real numbers."""
        return self.class_count is None

    @property
    def classes(self) -> int:
        """The number of classes; a label is below it. Raises `ModelError` if the targets are real numbers."""
        if self.class_count is None:
            raise ModelError(
                "the model predicts classes, but the targets of the data are real numbers; take a model of regression, "
                "such as linreg or mlp"
            )
        return self.class_count

    @property
    def outputs(self) -> int:
        """The number of scores of one example: that of the classes, or 1 for a real target."""
        return 1 if self.class_count is None else self.class_count

    @property
    def inputs(self) -> int:
        """The number of values in one example."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Tensor:
    """A named tensor of the weights."""

    name: str
    shape: Tuple[int, ...]
    kind: str = "param"
    """`param`: trained by gradients. `buffer`: a running statistic, which is averaged and not changed by a server
    optimiser."""
    place: str = "shared"
    """`shared`: averaged over the clients. `local`: kept by the host for each client, and in no average."""

    @property
    def size(self) -> int:
        """The number of weights in the tensor."""
        return math.prod(self.shape)


class Options(Dict[str, str]):
    """The options of a model, with defaults for those that are not set. The methods raise `ModelError` for a wrong
    value."""

    def integer(self, key: str) -> int:
        """Returns the option as a whole number."""
        return self._parse(key, self[key], int)

    def number(self, key: str) -> float:
        """Returns the option as a number."""
        return self._parse(key, self[key], float)

    def integers(self, key: str) -> List[int]:
        """Returns the option as a list of whole numbers, which commas separate. An empty value is an empty list."""
        return [self._parse(key, item, int) for item in self[key].split(",") if self[key]]

    @staticmethod
    def _parse(key: str, text: str, kind):
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ModelError(f'model option {key}: "{text}" is not {what}') from None


@dataclass
class RegressionSums:
    """Sums over predictions of a real target and over the targets. RMSE, MAE and R² follow from them."""

    squared_error: float = 0.0
    """The sum of (prediction - target)²."""
    absolute_error: float = 0.0
    """The sum of |prediction - target|."""
    target_sum: float = 0.0
    """The sum of the targets."""
    target_square_sum: float = 0.0
    """The sum of the squares of the targets."""


@dataclass
class Sums:
    """Sums over examples: the losses, the correct predictions and the number of examples."""

    loss_sum: float = 0.0
    correct: int = 0
    examples: int = 0
    regression: Optional[RegressionSums] = None
    """The sums over a real target. None for classes."""

    def add(self, loss_sum: float, correct: int, examples: int) -> None:
        """Adds a batch. Raises `ModelError` if the loss is not finite, since ReLU may hide NaN in the weights."""
        if not math.isfinite(loss_sum):
            raise ModelError(f"the loss became {float(loss_sum)} after {self.examples} of the examples; try a lower --lr")
        self.loss_sum += float(loss_sum)
        self.correct += int(correct)
        self.examples += int(examples)

    def add_predictions(self, loss_sum: float, predictions: np.ndarray, targets: np.ndarray) -> None:
        """Adds a batch of predictions of a real target, with as many targets. Raises as `add` does."""
        given, due = np.asarray(predictions, np.float64).reshape(-1), np.asarray(targets, np.float64).reshape(-1)
        if given.shape != due.shape:
            raise ModelError(f"{len(given)} predictions were added with {len(due)} targets; give one for each")
        self.add(loss_sum, 0, len(due))
        sums, errors = self.regression or RegressionSums(), given - due
        sums.squared_error += float((errors * errors).sum())
        sums.absolute_error += float(np.abs(errors).sum())
        sums.target_sum += float(due.sum())
        sums.target_square_sum += float((due * due).sum())
        self.regression = sums


@dataclass
class Report:
    """The report of an epoch of training."""

    sums: Sums = field(default_factory=Sums)
    """The sums over the examples. Each example is scored before its own step."""
    steps: int = 0
    """The number of mini-batches of the training."""
    accumulation: Optional[float] = None
    """‖a‖₁ in this round so far, for a solver that does not follow `Epoch.optimiser`. None stands for
    `Epoch.accumulation`."""


@dataclass(frozen=True)
class Epoch:
    """The rules of one local epoch.

    A model uses three parts of it: `batches`, `correct` between gradient and step, and the learning rate with the
    optimiser. If its class has `terms = fedpipe.TERMS`, it then supports every algorithm of the host.
    """

    learning_rate: float
    batch_size: int
    optimiser: Dict[str, Any] = field(default_factory=lambda: {"name": "sgd"})
    """The local optimiser, such as {"name": "sgd", "momentum": 0.9}. A model must refuse one that it does not know."""
    seed: int = 0
    """The run's seed. With the next three fields, the seed is the key of the model's own randomness, such as
    dropout."""
    client: int = 0
    round: int = 1
    """The number of the round, from 1."""
    epoch: int = 0
    """The number of the epoch in the training, from 0. At 0 the optimiser starts with a fresh state, which later epochs
    keep. A request may have several trainings; the terms may differ from one epoch to the next."""
    proximal: float = 0.0
    """The strength μ of FedProx's term; 0 without the term."""
    anchor: Optional[Arrays] = None
    """The weights towards which the proximal term pulls."""
    linear: Optional[Arrays] = None
    """A term that is added to every gradient: c - c_k of SCAFFOLD, -g_k of FedDyn."""
    momentum: Optional[Arrays] = None
    """The momentum with which the optimiser begins at epoch 0, under `"keep": true`; None for zeros."""
    frozen: Tuple[str, ...] = ()
    """The names of tensors that keep their bits. An optimiser with momentum or weight decay must leave them out."""

    def batches(self, examples: Examples) -> Iterator[Batch]:
        """Yields the mini-batches to train on, in order."""
        return examples.batches(self.batch_size)

    @property
    def is_plain(self) -> bool:
        """Returns True if `correct` changes nothing."""
        return self.proximal == 0.0 and not self.linear and not self.frozen

    def correct(self, weights: Arrays, gradient: Arrays) -> None:
        """Turns the gradient of the loss at `weights` into that of the round's local objective, in place.

        Adds μ(w - anchor) (FedProx, Li 2020, eq. 2) and the linear term, and sets the gradient of frozen tensors to 0.
        Both arguments hold float32 arrays by the names in the layout. NumPy must see each array without a copy, as it
        sees a PyTorch tensor on the CPU.
        """
        for name, values in gradient.items():
            g = np.asarray(values)
            # The term is skipped and not multiplied by 0, so that μ = 0 has the bits of a run without the term.
            if self.proximal != 0.0 and self.anchor is not None:
                g += np.float32(self.proximal) * (np.asarray(weights[name]) - self.anchor[name])
            if self.linear:
                g += self.linear[name]
            if name in self.frozen:
                g[...] = 0

    def accumulation(self, steps: int) -> Optional[float]:
        """Returns ‖a‖₁ (FedNova, Wang 2020, §3) after `steps` steps of this round; None for an optimiser other than SGD,
        and for a momentum of earlier rounds.

        The value is the distance that the solver moves from 0 under a constant gradient of 1.
        """
        momentum, pull = float(self.optimiser.get("momentum", 0.0)), self.learning_rate * self.proximal
        if self.optimiser.get("name") != "sgd" or (self.optimiser.get("keep") and momentum > 0):
            return None
        total = velocity = 0.0
        for _ in range(steps):
            gradient = 1.0 - pull * total
            velocity = momentum * velocity + gradient
            total += gradient + momentum * velocity if self.optimiser.get("nesterov") else velocity
        return total


class Model(ABC):
    """A model of your own: set the class's attributes, and implement the four abstract methods.

    A client process builds the model once. Each request brings the weights. The result may depend only on the weights
    and the request, since a fresh process must give the same bits.
    """

    name: ClassVar[str] = ""
    """The name in the run's summary. If it is empty, the name of the class in lower case is used."""
    version: ClassVar[str] = "0.1.0"
    summary: ClassVar[str] = ""
    """A description in one line."""
    options: ClassVar[Sequence[Option]] = ()
    """The options that `--model-option key=value` may set."""
    terms: ClassVar[Sequence[str]] = ()
    """The client terms that `train_epoch` applies. A model that calls `Epoch.correct` for each gradient and keeps the
    bits of frozen tensors has `fedpipe.TERMS`. A run that needs another term is refused by name."""

    own_optimiser: ClassVar[bool] = False
    """The choice of an optimiser of the model's own. If it is True, `--optimiser own` has the model train by it."""

    @abstractmethod
    def __init__(self, task: Task, options: Options, seed: int) -> None:
        """Builds the model with its initial weights, which may depend only on the three arguments.

        Raises `ModelError` for options or a task that the model cannot use.
        """

    @abstractmethod
    def weights(self) -> Arrays:
        """Returns the weights by name, always with the same names and shapes in the same order. The client sends them
        as float32."""

    @abstractmethod
    def set_weights(self, weights: Arrays) -> None:
        """Sets the weights. The arrays have the names and shapes of `weights`. All arrays are float32 and read-only."""

    @abstractmethod
    def train_epoch(self, examples: Examples, epoch: Epoch) -> Report:
        """Trains one pass over the examples, which are in the order of the visit. The examples end at the step limit,
        if the host sets one."""

    @abstractmethod
    def evaluate(self, examples: Examples) -> Sums:
        """Returns the sums of loss and of correct predictions over the examples, or of the errors of a real target."""

    def predict(self, examples: Examples) -> np.ndarray:
        """Returns the class scores: (examples, classes). A model without this method has no scores by class."""
        raise ModelError(f"{type(self).__name__} has no method predict; add it, or leave --by-class out")

    def momentum(self) -> Arrays:
        """Returns the momentum of the optimiser after `train_epoch`, with the names and shapes of `weights`. A model that
        overrides it, and begins with `Epoch.momentum`, trains under `--optimiser sgd:momentum=0.9,keep=true`."""
        raise NotImplementedError

    def layout(self) -> List[Tensor]:
        """Returns the tensors of the weights, in order. By default all tensors are trained and shared."""
        return [Tensor(name, np.shape(values)) for name, values in self.weights().items()]
