"""Makes the PyTorch values that `models/mlp` is tested against: forward, gradient, and a few steps of each optimiser.

    pip install torch==1.13.1 "numpy<2"
    python3 crates/python/reference/mlp.py > models/mlp/src/reference.json

All arithmetic is float64, so that the file holds what is true rather than one library's rounding. The inputs are small
multiples of powers of two: exact in float32, and half of them 0. Weights have shape (inputs, outputs), as in fedpipe.
"""

import json
import platform

import torch

WIDTHS = [12, 8, 6, 4]
BATCH = 5
STEPS = 3
RATE = 0.1
OPTIMISERS = [
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    {"name": "adam"},
    {"name": "adam", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.01},
]


def dyadic(*shape, scale):
    """Random multiples of 1/64 about as wide as `scale`, exact in float32."""
    return torch.round(torch.randn(*shape, dtype=torch.float64) * scale * 64) / 64


def parameters():
    tensors = []
    for inputs, outputs in zip(WIDTHS, WIDTHS[1:]):
        tensors += [dyadic(inputs, outputs, scale=(2 / inputs) ** 0.5), dyadic(outputs, scale=0.1)]
    return tensors


def logits(tensors, x):
    for weight, bias in zip(tensors[0:-2:2], tensors[1:-2:2]):
        x = torch.relu(x @ weight + bias)
    return x @ tensors[-2] + tensors[-1]


def flat(tensors):
    return [value for tensor in tensors for value in tensor.flatten().tolist()]


def optimiser(rules, tensors):
    rules = dict(rules)
    if rules.pop("name") == "sgd":
        return torch.optim.SGD(tensors, RATE, **rules)
    betas = (rules.pop("beta1", 0.9), rules.pop("beta2", 0.999))
    return torch.optim.Adam(tensors, RATE, betas, rules.pop("epsilon", 1e-8), **rules)


def trained(start, x, labels, rules):
    tensors = [tensor.clone().requires_grad_() for tensor in start]
    solver = optimiser(rules, tensors)
    for _ in range(STEPS):
        solver.zero_grad()
        torch.nn.functional.cross_entropy(logits(tensors, x), labels).backward()
        solver.step()
    return flat(tensors)


def main():
    torch.manual_seed(1)
    start = parameters()
    x = torch.relu(dyadic(BATCH, WIDTHS[0], scale=1.0))
    labels = torch.randint(WIDTHS[-1], (BATCH,))
    tensors = [tensor.clone().requires_grad_() for tensor in start]
    scores = logits(tensors, x)
    loss = torch.nn.functional.cross_entropy(scores, labels, reduction="sum")
    (loss / BATCH).backward()
    values = {
        "made_by": f"torch {torch.__version__}, Python {platform.python_version()}",
        "widths": WIDTHS,
        "rate": RATE,
        "steps": STEPS,
        "inputs": flat([x]),
        "labels": labels.tolist(),
        "weights": flat(start),
        "logits": flat([scores]),
        "loss_sum": loss.item(),
        "gradient": flat([tensor.grad for tensor in tensors]),
        "trained": [{"optimiser": rules, "weights": trained(start, x, labels, rules)} for rules in OPTIMISERS],
    }
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
