"""What the author of a client sees: `Model` to subclass, and what its methods take and give."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from .data import Batch, Examples
from .errors import ModelError

Arrays = Mapping[str, np.ndarray]
"""Arrays by the names of the layout."""


@dataclass(frozen=True)
class Option:
    """One option of a model, as in `--model-option key=value`."""

    key: str
    default: str
    help: str


@dataclass(frozen=True)
class Task:
    """What the data ask of a model."""

    shape: Tuple[int, ...]
    """Of one example, such as (28, 28)."""
    classes: int
    """Labels are below this."""

    @property
    def inputs(self) -> int:
        """How many values one example has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Tensor:
    """A named tensor of the weights."""

    name: str
    shape: Tuple[int, ...]
    kind: str = "param"
    """`param`: trained by gradients. `buffer`: a running statistic, averaged, never moved by a server optimiser."""
    place: str = "shared"
    """`shared`: averaged over the clients. `local`, kept by each client for itself, is refused by this version."""

    @property
    def size(self) -> int:
        """How many weights it has."""
        return math.prod(self.shape)


class Options(Dict[str, str]):
    """The options of a model, defaults filled in. The methods raise `ModelError` for a value that does not fit."""

    def integer(self, key: str) -> int:
        """The option as a whole number."""
        return self._parse(key, self[key], int)

    def number(self, key: str) -> float:
        """The option as a number."""
        return self._parse(key, self[key], float)

    def integers(self, key: str) -> List[int]:
        """The option as whole numbers between commas; an empty value is an empty list."""
        return [self._parse(key, item, int) for item in self[key].split(",") if self[key]]

    @staticmethod
    def _parse(key: str, text: str, kind):
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ModelError(f'model option {key}: "{text}" does not fit: it is not {what}') from None


@dataclass
class Sums:
    """Sums over examples, so that parts can be merged."""

    loss_sum: float = 0.0
    correct: int = 0
    examples: int = 0

    def add(self, loss_sum: float, correct: int, examples: int) -> None:
        """Adds a batch. Raises `ModelError` for a loss that is not finite: ReLU hides NaN from the weights."""
        if not math.isfinite(loss_sum):
            raise ModelError(f"the loss became {float(loss_sum)} after {self.examples} of the examples; try a lower --lr")
        self.loss_sum += float(loss_sum)
        self.correct += int(correct)
        self.examples += int(examples)


@dataclass
class Report:
    """What an epoch of training did."""

    sums: Sums = field(default_factory=Sums)
    """Over the examples, each scored before the step that it took part in."""
    steps: int = 0
    """Mini-batches trained on."""
    accumulation: Optional[float] = None
    """‖a‖₁ in this round so far, of a solver that does not follow `Epoch.optimiser`; None: as `Epoch.accumulation` has it."""


@dataclass(frozen=True)
class Epoch:
    """The rules of one local epoch.

    A model needs three things of it: `batches`, `correct` between gradient and step, and the learning rate with the
    optimiser. With these it supports every algorithm of the host.
    """

    learning_rate: float
    batch_size: int
    optimiser: Dict[str, Any] = field(default_factory=lambda: {"name": "sgd"})
    """Such as {"name": "sgd", "momentum": 0.9}; refuse one that the model does not know."""
    seed: int = 0
    """The run's, for the model's own randomness (such as dropout), to be keyed with the next three."""
    client: int = 0
    round: int = 1
    """From 1."""
    epoch: int = 0
    """Within the round, from 0: the optimiser starts afresh at 0, and goes on at the others."""
    step_limit: Optional[int] = None
    proximal: float = 0.0
    """μ of FedProx, 0 without the term."""
    anchor: Optional[Arrays] = None
    """Where the proximal term pulls to."""
    linear: Optional[Arrays] = None
    """Added to every gradient: SCAFFOLD's c - c_k, FedDyn's -g_k."""
    frozen: Tuple[str, ...] = ()
    """Tensors that are not trained."""

    def batches(self, examples: Examples) -> Iterator[Batch]:
        """The mini-batches to train on, in order, as many as this epoch allows."""
        return itertools.islice(examples.batches(self.batch_size), self.step_limit)

    @property
    def is_plain(self) -> bool:
        """Whether `correct` has nothing to do."""
        return self.proximal == 0.0 and not self.linear and not self.frozen

    def correct(self, weights: Arrays, gradient: Arrays) -> None:
        """Turns the gradient of the loss at `weights` into that of the round's local objective, in place.

        Adds μ(w - anchor) (FedProx, Li 2020, eq. 2) and the linear term, and zeroes what is not trained. Both hold float32
        arrays by the names of the layout, or what NumPy sees as such without a copy (a PyTorch tensor on the CPU).
        """
        for name, values in gradient.items():
            g = np.asarray(values)
            # Skipped, not multiplied by 0, so that μ = 0 has the bits of a run without the term.
            if self.proximal != 0.0 and self.anchor is not None:
                g += np.float32(self.proximal) * (np.asarray(weights[name]) - self.anchor[name])
            if self.linear:
                g += self.linear[name]
            if name in self.frozen:
                g[...] = 0

    def accumulation(self, steps: int) -> Optional[float]:
        """‖a‖₁ (FedNova, Wang 2020, §3) after `steps` steps of this round under the optimiser; None for other than SGD.

        It is the solver itself on a constant gradient 1, from 0.
        """
        if self.optimiser.get("name") != "sgd":
            return None
        momentum, pull = float(self.optimiser.get("momentum", 0.0)), self.learning_rate * self.proximal
        total = velocity = 0.0
        for _ in range(steps):
            velocity = momentum * velocity + 1.0 - pull * total
            total += velocity
        return total


class Model(ABC):
    """A model of your own: set the class's attributes, and implement the four abstract methods.

    A client process builds it once. Each request gives the weights anew, and only what they and the request say may
    decide the result: a fresh process must give the same bits.
    """

    name: ClassVar[str] = ""
    """As the run's summary has it; the class's name in lower case where it is empty."""
    version: ClassVar[str] = "0.1.0"
    summary: ClassVar[str] = ""
    """One line."""
    options: ClassVar[Sequence[Option]] = ()
    """Every key that `--model-option key=value` may name."""

    @abstractmethod
    def __init__(self, task: Task, options: Options, seed: int) -> None:
        """Builds the model with its initial weights, which may depend on the three arguments alone.

        Raise `ModelError` for options or a task that make no sense.
        """

    @abstractmethod
    def weights(self) -> Arrays:
        """The weights by name, always the same names and shapes in the same order; they are sent as float32."""

    @abstractmethod
    def set_weights(self, weights: Arrays) -> None:
        """Takes weights of the names and shapes that `weights` gives. The arrays are float32 and read-only."""

    @abstractmethod
    def train_epoch(self, examples: Examples, epoch: Epoch) -> Report:
        """One pass over the examples, which come in the order in which to visit them."""

    @abstractmethod
    def evaluate(self, examples: Examples) -> Sums:
        """Sums of loss and of correct predictions over the examples."""

    def layout(self) -> List[Tensor]:
        """The tensors of the weights, in order; all of them trained and shared, unless a subclass says otherwise."""
        return [Tensor(name, np.shape(values)) for name, values in self.weights().items()]
