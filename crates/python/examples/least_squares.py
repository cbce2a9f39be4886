"""A client in NumPy alone: linear regression. fedpipe run --client "python3 least_squares.py" --data … """

import numpy as np

import fedpipe
from softmax import Softmax


class LeastSquares(Softmax):
    """The model of `softmax.py` beside this file, with one output and the squared error."""

    summary = "linear regression in NumPy"

    def __init__(self, task, options, seed):
        if not task.is_real:
            raise fedpipe.ModelError(f"the data have {task.classes} classes, not a real target; take softmax.py")
        self.weight, self.bias = np.zeros((task.inputs, 1), np.float32), np.zeros(1, np.float32)

    def score(self, batch, sums):
        """Adds to the sums; returns the inputs (batch, inputs) and the gradient by the predictions (batch, 1)."""
        inputs = batch.inputs.reshape(len(batch), -1)
        predictions = inputs @ self.weight + self.bias
        errors = predictions - batch.targets[:, None]
        sums.add_predictions(np.square(errors, dtype=np.float64).sum(), predictions, batch.targets)
        return inputs, 2 * errors / np.float32(len(batch))


if __name__ == "__main__":
    fedpipe.serve(LeastSquares)
