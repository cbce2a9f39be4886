"""A client in NumPy alone: multinomial logistic regression. fedpipe run --client "python3 softmax.py" """

import numpy as np

import fedpipe


class Softmax(fedpipe.Model):
    summary = "logistic regression in NumPy"
    terms = fedpipe.TERMS

    def __init__(self, task, options, seed):
        self.weight = np.zeros((task.inputs, task.classes), np.float32)
        self.bias = np.zeros(task.classes, np.float32)

    def weights(self):
        return {"weight": self.weight, "bias": self.bias}

    def set_weights(self, weights):
        self.weight, self.bias = weights["weight"].copy(), weights["bias"].copy()

    def score(self, batch, sums):
        """Adds to the sums; returns the inputs (batch, inputs) and the gradient by the logits (batch, classes)."""
        inputs, rows = batch.inputs.reshape(len(batch), -1), np.arange(len(batch))
        logits = inputs @ self.weight + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        loss, correct = -np.log(shares[rows, batch.labels]).sum(), (logits.argmax(axis=1) == batch.labels).sum()
        sums.add(loss, correct, len(batch))
        shares[rows, batch.labels] -= 1
        return inputs, shares / np.float32(len(batch))

    def train_epoch(self, examples, epoch):
        if epoch.optimiser != {"name": "sgd"}:
            raise fedpipe.ModelError(f"the local optimiser {epoch.optimiser} is not known; only sgd is")
        report, rate = fedpipe.Report(), np.float32(epoch.learning_rate)
        for batch in epoch.batches(examples):
            inputs, by_output = self.score(batch, report.sums)
            gradient = {"weight": inputs.T @ by_output, "bias": by_output.sum(axis=0)}
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
    fedpipe.serve(Softmax)
