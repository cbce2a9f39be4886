"""The multi-layer perceptron of `models/mlp` in Keras: `just run keras`.

It has the same layers, initial weights and order of examples, and the training loop of Keras, on JAX. The Adam of Keras adds
epsilon before the bias correction, so that it differs from that of PyTorch and fedpipe where gradients are almost 0.
"""

import os

# Set before Keras is imported. JAX is the lightest back end that trains fast.
os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"

import fedpipe

with fedpipe.requirements("requirements.txt"):
    import keras
    import numpy as np


def corrected(base):
    """Returns a Keras optimiser that adds the client terms and the weight decay to each gradient. It shrinks the weights
    by the share `shrink` of the rate before each step, as AdamW does.

    The terms are variables, so that a round with other terms needs no new compilation.
    """

    class Corrected(base):
        def __init__(self, rate, decay=0.0, shrink=0.0, **rules):
            super().__init__(rate, **rules)
            self.decay, self.shrink, self.terms = decay, shrink, {}
            self.proximal = self.add_variable((), name="proximal")

        def build(self, variables):
            super().build(variables)
            for v in variables:
                names = "anchor", "linear", "trained"
                self.terms[v.path] = [self.add_variable_from_reference(v, name) for name in names]

        def correct(self, epoch, tensors):
            """Sets the terms of an epoch. `tensors` has pairs of a name in the layout and a variable."""
            self.proximal.assign(epoch.proximal)
            for name, v in tensors:
                anchor, linear, trained = self.terms[v.path]
                anchor.assign(np.zeros(v.shape) if epoch.anchor is None else epoch.anchor[name])
                linear.assign(np.zeros(v.shape) if epoch.linear is None else epoch.linear[name])
                trained.assign(np.full(v.shape, name not in epoch.frozen))

        def update_step(self, gradient, v, rate):
            anchor, linear, trained = self.terms[v.path]
            gradient = gradient + self.decay * v + self.proximal * (v - anchor) + linear
            before, trained = (keras.ops.convert_to_tensor(values) for values in (v, trained))
            self.assign(v, before * (1 - rate * self.shrink))
            super().update_step(gradient * trained, v, rate)
            # The momentum of an earlier phase moves no frozen tensor, either.
            self.assign(v, keras.ops.where(trained > 0, keras.ops.convert_to_tensor(v), before))

    return Corrected


def optimiser(rules, rate, own):
    """Returns the Keras optimiser for the rules of the host. `own` names the one under `--optimiser own`."""
    rules = dict(rules)
    name, decay = rules.pop("name"), rules.pop("weight_decay", None)
    if name == "own":
        return corrected(getattr(keras.optimizers, own))(rate)
    if name in ("adam", "adamw"):
        words = {"beta1": "beta_1", "beta2": "beta_2", "epsilon": "epsilon"}
        rules = {words[key]: value for key, value in {"epsilon": 1e-8, **rules}.items()}
        decays = {"decay": decay or 0.0} if name == "adam" else {"shrink": 0.01 if decay is None else decay}
        return corrected(keras.optimizers.Adam)(rate, **decays, **rules)
    if name == "sgd":
        # A momentum is never kept: the client lacks the feature `keeps-momentum`.
        rules.pop("keep", False)
        return corrected(keras.optimizers.SGD)(rate, decay or 0.0, **rules)
    raise fedpipe.ModelError(f"the local optimiser {name!r} is not known here; known are sgd, adam, adamw, own")


class Mlp(fedpipe.Model):
    name = "keras-mlp"
    summary = "multi-layer perceptron with ReLU in Keras"
    options = [
        fedpipe.Option("hidden", "128,64", "widths of the hidden layers, from the inputs on"),
        fedpipe.Option("own", "RMSprop", "the optimiser of keras.optimizers under --optimiser own, with its defaults"),
    ]
    terms = fedpipe.TERMS
    own_optimiser = True

    def __init__(self, task, options, seed):
        widths = [*options.integers("hidden"), task.classes]
        layers = [keras.layers.Dense(width, "relu") for width in widths[:-1]] + [keras.layers.Dense(widths[-1])]
        self.net = keras.Sequential([keras.Input(task.shape), keras.layers.Flatten(), *layers])
        start = fedpipe.dense_layers([task.inputs, *widths], seed)
        # Each layer has first the kernel, then the bias.
        self.tensors = list(zip(start, self.net.trainable_variables))
        self.set_weights(start)
        self.rules, self.own = None, options["own"]
        base = getattr(keras.optimizers, self.own, None)
        if not (isinstance(base, type) and issubclass(base, keras.optimizers.Optimizer)):
            raise fedpipe.ModelError(f"model option own: keras.optimizers has no {self.own!r}; give one such as RMSprop")

    def weights(self):
        return {name: v.numpy() for name, v in self.tensors}

    def set_weights(self, weights):
        for name, v in self.tensors:
            v.assign(weights[name])

    def compile(self, rules):
        """Compiles the training loop if the optimiser has changed; compiling takes longer than a round of training."""
        if self.rules != rules:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self.net.compile(optimiser(rules, 0.1, self.own), loss, metrics=["accuracy"])
            self.net.optimizer.build(self.net.trainable_variables)
            self.fresh = [v.numpy() for v in self.net.optimizer.variables]
            self.rules = rules

    def train_epoch(self, examples, epoch):
        self.compile(epoch.optimiser)
        if epoch.epoch == 0:
            for v, start in zip(self.net.optimizer.variables, self.fresh):
                v.assign(start)
        # A round may have a rate of its own.
        self.net.optimizer.learning_rate = epoch.learning_rate
        self.net.optimizer.correct(epoch, self.tensors)
        batch = examples.all()
        # The examples are shuffled already, in the order of the protocol.
        fitted = self.net.fit(batch.inputs, batch.labels, epoch.batch_size, epochs=1, shuffle=False, verbose=0).history
        report = fedpipe.Report(steps=-(-len(batch) // epoch.batch_size))
        report.sums.add(fitted["loss"][-1] * len(batch), round(fitted["accuracy"][-1] * len(batch)), len(batch))
        return report

    def evaluate(self, examples):
        if self.rules is None:
            self.compile({"name": "sgd"})
        batch, sums = examples.all(), fedpipe.Sums()
        loss, accuracy = self.net.evaluate(batch.inputs, batch.labels, 500, verbose=0)
        sums.add(loss * len(batch), round(accuracy * len(batch)), len(batch))
        return sums


if __name__ == "__main__":
    fedpipe.serve(Mlp)
