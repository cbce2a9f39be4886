"""The multi-layer perceptron of `models/mlp` in PyTorch: `just run torch`.

It has the same layers, initial weights and order of examples. Weights have the shape (inputs, outputs), as in fedpipe.
"""

import fedpipe

with fedpipe.requirements("requirements.txt"):
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy

# Parallelism comes from client processes, so that each has one thread.
torch.set_num_threads(1)


def optimiser(rules, rate, parameters, own):
    """Returns the PyTorch optimiser for the rules of the host. `own` names the one under `--optimiser own`."""
    rules = dict(rules)
    name, _keep = rules.pop("name"), rules.pop("keep", False)
    if name == "own":
        return getattr(torch.optim, own)(parameters, rate)
    if name == "sgd":
        return torch.optim.SGD(parameters, rate, **rules)
    if name in ("adam", "adamw"):
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        betas = (rules.pop("beta1", 0.9), rules.pop("beta2", 0.999))
        return kind(parameters, rate, betas, rules.pop("epsilon", 1e-8), **rules)
    raise fedpipe.ModelError(f"the local optimiser {name!r} is not known here; known are sgd, adam, adamw, own")


class Mlp(fedpipe.Model):
    name = "torch-mlp"
    summary = "multi-layer perceptron with ReLU in PyTorch"
    options = [
        fedpipe.Option("hidden", "128,64", "widths of the hidden layers, from the inputs on"),
        fedpipe.Option("own", "RMSprop", "the optimiser of torch.optim under --optimiser own, with its defaults"),
    ]
    terms = fedpipe.TERMS
    own_optimiser = True

    def __init__(self, task, options, seed):
        widths = [task.inputs, *options.integers("hidden"), task.classes]
        start = fedpipe.dense_layers(widths, seed)
        self.tensors = {name: torch.from_numpy(values).requires_grad_() for name, values in start.items()}
        self.solver, self.own = None, options["own"]
        if not isinstance(getattr(torch.optim, self.own, None), type):
            raise fedpipe.ModelError(f"model option own: torch.optim has no {self.own!r}; give one such as RMSprop")

    def weights(self):
        return {name: tensor.detach().numpy() for name, tensor in self.tensors.items()}

    def set_weights(self, weights):
        for name, values in self.weights().items():
            # The arrays share memory with the tensors.
            values[...] = weights[name]

    def momentum(self):
        buffers = {name: self.solver.state[tensor].get("momentum_buffer") for name, tensor in self.tensors.items()}
        # A tensor that was frozen from the first round on has none.
        return {name: np.zeros(self.tensors[name].shape) if v is None else v.numpy() for name, v in buffers.items()}

    def logits(self, inputs):
        x, last = torch.from_numpy(inputs.reshape(len(inputs), -1)), len(self.tensors) // 2
        for number in range(1, last + 1):
            x = torch.addmm(self.tensors[f"dense{number}.bias"], x, self.tensors[f"dense{number}.weight"])
            x = x if number == last else x.relu()
        return x

    def train_epoch(self, examples, epoch):
        if epoch.epoch == 0:
            self.solver = optimiser(epoch.optimiser, epoch.learning_rate, self.tensors.values(), self.own)
            for name, values in (epoch.momentum or {}).items():
                self.solver.state[self.tensors[name]]["momentum_buffer"] = torch.from_numpy(values.copy())
        report = fedpipe.Report()
        for batch in epoch.batches(examples):
            labels = torch.from_numpy(batch.labels)
            logits = self.logits(batch.inputs)
            loss = cross_entropy(logits, labels)
            self.solver.zero_grad()
            loss.backward()
            epoch.correct(self.weights(), {name: tensor.grad.numpy() for name, tensor in self.tensors.items()})
            for name in epoch.frozen:
                # The optimiser leaves out a tensor without a gradient, also its momentum and its weight decay.
                self.tensors[name].grad = None
            self.solver.step()
            report.sums.add(loss.item() * len(batch), (logits.argmax(1) == labels).sum().item(), len(batch))
            report.steps += 1
        return report

    @torch.no_grad()
    def evaluate(self, examples):
        sums = fedpipe.Sums()
        for batch in examples.batches(500):
            labels = torch.from_numpy(batch.labels)
            logits = self.logits(batch.inputs)
            loss = cross_entropy(logits, labels, reduction="sum").item()
            sums.add(loss, (logits.argmax(1) == labels).sum().item(), len(batch))
        return sums


if __name__ == "__main__":
    fedpipe.serve(Mlp)
