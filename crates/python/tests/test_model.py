"""The types that a model's author uses."""

import numpy as np
import pytest

from fedpipe import Epoch, ModelError, Options, RegressionSums, Sums, Task


def arrays(*tensors):
    return {name: np.array(values, np.float32) for name, values in zip("ab", tensors)}


def test_correct_applies_every_term():
    # As in crates/model/src/epoch.rs.
    anchor, linear = arrays([1, 1], [1]), arrays([10, 20], [30])
    epoch = Epoch(0.1, 1, proximal=0.5, anchor=anchor, linear=linear, frozen=("b",))
    gradient = arrays([1, 2], [3])
    epoch.correct(arrays([3, 1], [0]), gradient)
    assert gradient["a"].tolist() == [12, 22] and gradient["b"].tolist() == [0]
    assert not epoch.is_plain and Epoch(0.1, 1).is_plain


def test_without_terms_no_bit_is_changed():
    gradient = arrays([-0.0, 1e-45])
    before = gradient["a"].tobytes()
    Epoch(0.1, 1).correct(arrays([np.inf, 1]), gradient)
    assert gradient["a"].tobytes() == before


def test_accumulation_is_that_of_fednova():
    assert Epoch(0.1, 1).accumulation(5) == 5
    assert Epoch(0.1, 1, {"name": "sgd", "momentum": 0.5}).accumulation(2) == 1 + 1.5
    assert Epoch(0.5, 1, proximal=1.0).accumulation(2) == 1 + 0.5
    assert Epoch(0.1, 1, {"name": "adam"}).accumulation(5) is None
    assert Epoch(0.1, 1, {"name": "sgd", "momentum": 0.5, "keep": True}).accumulation(5) is None
    assert Epoch(0.1, 1, {"name": "sgd", "keep": True}).accumulation(5) == 5, "without a momentum nothing is kept"


def test_a_loss_that_is_not_finite_is_refused():
    sums = Sums()
    sums.add(1.5, 1, 2)
    with pytest.raises(ModelError, match="the loss became nan after 2 of the examples; try a lower --lr"):
        sums.add(float("nan"), 0, 1)


def test_options_are_parsed_or_named():
    options = Options(hidden="12,x", lr="0.5", none="")
    assert options.number("lr") == 0.5 and options.integers("none") == []
    with pytest.raises(ModelError, match='model option hidden: "x" is not a whole number'):
        options.integers("hidden")


def test_predictions_of_a_real_target_are_summed():
    # As in crates/model/src/epoch.rs.
    sums = Sums()
    sums.add_predictions(5.0, np.array([[1], [3]], np.float32), np.array([2, 1], np.float32))
    sums.add_predictions(0.25, np.array([-1.5]), np.array([-2.0]))
    assert sums == Sums(5.25, 0, 3, RegressionSums(5.25, 3.5, 1.0, 9.0))
    with pytest.raises(ModelError, match="2 predictions were added with 1 targets"):
        sums.add_predictions(1.0, np.zeros(2), np.zeros(1))


def test_a_task_of_a_real_target_has_no_classes():
    assert (Task((2, 3), 4).outputs, Task((2, 3), 4).classes, Task((2, 3), 4).is_real) == (4, 4, False)
    real = Task((2, 3), None)
    assert real.is_real and (real.inputs, real.outputs) == (6, 1)
    with pytest.raises(ModelError, match="such as linreg or mlp"):
        real.classes
