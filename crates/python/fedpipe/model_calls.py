"""Calls of the user's model, and checks of what it returns. A fault of the model is one sentence for the host."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any, Callable, List, Mapping, Type

import numpy as np

from . import faults
from .data import DataError
from .errors import Failure, ModelError, ProtocolError, Refused
from .faults import wrong_result
from .model import Model, Options, Report, Sums, Tensor


def model_name(model: Type[Model]) -> str:
    return model.name or model.__name__.lower()


def of_model(what: str, call: Callable[..., Any], *arguments: Any, kind: Type[Failure] = ModelError) -> Any:
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


def checked_options(model: Type[Model], given: Mapping[str, str]) -> Options:
    known = {option.key: option.default for option in model.options}
    for key in given:
        if key not in known:
            names = f"known: {', '.join(known)}" if known else "it has none"
            raise Refused(f'model {model_name(model)} has no option "{key}" ({names})')
    return Options({**known, **given})


def checked_layout(model: Model) -> List[Tensor]:
    """Returns the model's layout. The shape of each tensor has whole numbers."""
    due = "a list of fedpipe.Tensor(name, shape)"
    # The default layout is made of the weights.
    if type(model).layout is Model.layout:
        arrays = of_model("weights", model.weights)
        if not isinstance(arrays, Mapping):
            raise wrong_result(model, "weights", arrays, "the arrays of the weights by name")
        return [Tensor(str(name), np.shape(values)) for name, values in arrays.items()]
    layout = of_model("layout", model.layout)
    if not isinstance(layout, (list, tuple)) or not all(isinstance(tensor, Tensor) for tensor in layout):
        raise wrong_result(model, "layout", layout, due)
    try:
        return [Tensor(t.name, tuple(operator.index(n) for n in t.shape), t.kind, t.place) for t in layout]
    except TypeError as error:
        raise ModelError(f"{type(model).__name__}.layout has a tensor whose shape is not a tuple of whole numbers: {error}") from None


def check_report(model: Model, report: Any) -> None:
    """Raises `ModelError` if `report` is not a whole report of `train_epoch`."""
    if not isinstance(report, Report):
        raise wrong_result(model, "train_epoch", report, "its fedpipe.Report")
    name, steps, accumulation = type(model).__name__, report.steps, report.accumulation
    if not isinstance(steps, numbers.Integral) or steps < 0:
        raise ModelError(f"{name}.train_epoch reports {steps!r} as steps, and must count them in whole numbers")
    if accumulation is not None and not (isinstance(accumulation, numbers.Real) and math.isfinite(accumulation)):
        raise ModelError(f"{name}.train_epoch reports the accumulation {accumulation!r}, and must give a finite number or None")


def checked_sums(model: Model, method: str, sums: Any) -> Sums:
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
