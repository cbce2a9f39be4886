"""A client in NumPy alone: linear regression. fedpipe run --client "python3 least_squares.py" --data … """

import numpy as np

import fedpipe


class LeastSquares(fedpipe.Model):
    summary = "linear regression in NumPy"
    terms = fedpipe.TERMS

    def __init__(self, task, options, seed):
        if not task.is_real:
            raise fedpipe.ModelError(f"the data have {task.classes} classes, not a real target; take softmax.py")
        self.weight, self.bias = np.zeros((task.inputs, 1), np.float32), np.zeros(1, np.float32)

    def weights(self):
        return {"weight": self.weight, "bias": self.bias}

    def set_weights(self, weights):
        self.weight, self.bias = weights["weight"].copy(), weights["bias"].copy()

    def score(self, batch, sums):
        """Adds to the sums; returns the inputs (batch, inputs) and the gradient by the predictions (batch, 1)."""
        inputs = batch.inputs.reshape(len(batch), -1)
        predictions = inputs @ self.weight + self.bias
        errors = predictions - batch.targets[:, None]
        sums.add_predictions(np.square(errors, dtype=np.float64).sum(), predictions, batch.targets)
        return inputs, 2 * errors / np.float32(len(batch))

    def train_epoch(self, examples, epoch):
        if epoch.optimiser != {"name": "sgd"}:
            raise fedpipe.ModelError(f"the local optimiser {epoch.optimiser} is not known; only sgd is")
        report, rate = fedpipe.Report(), np.float32(epoch.learning_rate)
        for batch in epoch.batches(examples):
            inputs, by_prediction = self.score(batch, report.sums)
            gradient = {"weight": inputs.T @ by_prediction, "bias": by_prediction.sum(axis=0)}
            epoch.correct(self.weights(), gradient)
            self.weight -= rate * gradient["weight"]
            self.bias -= rate * gradient["bias"]
            report.steps += 1
        return report

    def evaluate(self, examples):
        sums = fedpipe.Sums()
        for batch in examples.batches(500):
            self.score(batch, sums)
        return sums


if __name__ == "__main__":
    fedpipe.serve(LeastSquares)
