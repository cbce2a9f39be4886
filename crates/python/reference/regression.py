"""Makes a small regression set, and the values of NumPy that `crates/cli/tests/e2e/regression.rs` compares runs with.

    pip install numpy
    python3 crates/python/reference/regression.py > crates/cli/tests/e2e/regression/set.json

Inputs and targets are multiples of 1/64: exact in float32. The target is linear but for a small square, so that linear
regression has an R² below that of a network. The least-squares solution is that of `numpy.linalg.lstsq` over all
training examples, in float64: a column of ones has the bias.
"""

import json

import numpy as np

TRAINING, TEST = 160, 60


def dyadic(values):
    """Multiples of 1/64."""
    return np.round(values * 64) / 64


def errors(predictions, targets):
    """The RMSE, the MAE and R², as scikit-learn defines them."""
    squares = np.square(predictions - targets)
    total = np.square(targets - targets.mean())
    return {
        "rmse": float(np.sqrt(squares.mean())),
        "mae": float(np.abs(predictions - targets).mean()),
        "r2": float(1 - squares.sum() / total.sum()),
    }


def main():
    random = np.random.default_rng(17)
    inputs = dyadic(random.normal(size=(TRAINING + TEST, 3)))
    targets = inputs @ [2.0, -1.5, 0.5] + 1.25 + 0.5 * inputs[:, 0] ** 2 + 0.25 * random.normal(size=len(inputs))
    targets = dyadic(targets)
    ones = np.hstack([inputs, np.ones((len(inputs), 1))])
    solution = np.linalg.lstsq(ones[:TRAINING], targets[:TRAINING], rcond=None)[0]
    values = {
        "made_by": f"NumPy {np.__version__}",
        "train_inputs": inputs[:TRAINING].flatten().tolist(),
        "train_targets": targets[:TRAINING].tolist(),
        "test_inputs": inputs[TRAINING:].flatten().tolist(),
        "test_targets": targets[TRAINING:].tolist(),
        "solution": solution.tolist(),
        "test_errors": errors(ones[TRAINING:] @ solution, targets[TRAINING:]),
        "initial_errors": errors(np.zeros(TEST), targets[TRAINING:]),
    }
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
