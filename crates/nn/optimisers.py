"""Prints `optimisers.csv`: two weights after 60 steps of PyTorch's own optimisers, in f64.

Usage: pip install torch==2.9.1 && python3 optimisers.py > optimisers.csv
"""

import json

import torch

OPTIMISERS = [
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"name": "sgd", "momentum": 0.9, "nesterov": True},
    {"name": "sgd", "momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
    {"name": "adam", "weight_decay": 0.1},
    {"name": "adamw"},
    {"name": "adamw", "weight_decay": 0.5},
    {"name": "adamw", "beta1": 0.8, "beta2": 0.95, "epsilon": 0.001, "weight_decay": 0.1},
]


def solver(rules, weights):
    rules = dict(rules)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[rules.pop("name")]
    if kind is not torch.optim.SGD:
        rules["betas"] = (rules.pop("beta1", 0.9), rules.pop("beta2", 0.999))
        rules["eps"] = rules.pop("epsilon", 1e-8)
    return kind([weights], lr=0.0625, **rules)


def stepped(rules):
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimiser = solver(rules, weights)
    for step in range(60):
        weights.grad = torch.tensor([0.5 - step / 64, (step % 7) / 4 - 0.75], dtype=torch.float64)
        optimiser.step()
    return weights.tolist()


if __name__ == "__main__":
    print("optimiser;weights after 60 steps")
    for rules in OPTIMISERS:
        print(f"{json.dumps(rules, separators=(',', ':'))};{' '.join(map(repr, stepped(rules)))}")
