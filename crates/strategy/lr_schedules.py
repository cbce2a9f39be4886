"""Prints `lr_schedules.csv`: the rates of PyTorch's own schedulers over some rounds, each a step of the scheduler.

Usage: pip install torch==2.9.1 && python3 lr_schedules.py > lr_schedules.csv
A round of `fedpipe` has the rate of PyTorch's epoch before it. A warm-up of N rounds is `LinearLR` from 1/(N + 1).
"""

import warnings

import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, ExponentialLR, LinearLR, SequentialLR, StepLR

RATE, ROUNDS = 0.1, 12
SCHEDULES = {
    "constant": lambda solver, rounds: ConstantLR(solver, factor=1),
    "step:every=3,factor=0.5": lambda solver, rounds: StepLR(solver, 3, 0.5),
    "cosine:to=0": lambda solver, rounds: CosineAnnealingLR(solver, rounds),
    "cosine:to=0.25": lambda solver, rounds: CosineAnnealingLR(solver, rounds, eta_min=0.25 * RATE),
    "exponential:factor=0.9": lambda solver, rounds: ExponentialLR(solver, 0.9),
}
WARMED = ["constant", "step:every=3,factor=0.5", "cosine:to=0.25"]


def rates(make, warmup=0):
    solver = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = make(solver, ROUNDS - warmup)
    if warmup:
        rising = LinearLR(solver, start_factor=1 / (warmup + 1), total_iters=warmup)
        scheduler = SequentialLR(solver, [rising, scheduler], milestones=[warmup])
    for _ in range(ROUNDS):
        yield solver.param_groups[0]["lr"]
        solver.step()
        scheduler.step()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print("schedule;rates of the rounds")
    named = [(text, make, 0) for text, make in SCHEDULES.items()]
    for text, make, warmup in [*named, *((text, SCHEDULES[text], 4) for text in WARMED)]:
        name = text + (":" if warmup and ":" not in text else "," if warmup else "") + (f"warmup={warmup}" if warmup else "")
        print(f"{name};{' '.join(repr(rate) for rate in rates(make, warmup))}")
