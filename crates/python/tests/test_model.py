"""The types that a model's author uses."""

import numpy as np
import pytest

from fedpipe import Epoch, ModelError, Options, Sums


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
