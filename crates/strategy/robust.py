"""Prints ByzFL's heat map: the accuracy under the worst of three attacks, by the number of attackers f and the heterogeneity.

Usage: just robust, or python3 robust.py FEDPIPE [--out DIR] [--tiny]
There are ten honest clients and f others, which hold data, too: ByzFL deals data to the honest ones alone. γ is the share of
the examples that is dealt at random; the others are dealt by label. A run has 40 rounds of ten steps of `mlp` on
Fashion-MNIST. All 336 runs take 7 minutes on two cores without other work. A second call goes on with what is
missing. A table has a colour for each accuracy on a terminal, unless NO_COLOR is set.
"""

import os
import sys

from studies import Study, arguments, table

HONEST = 10
FAULTY = [1, 2, 3, 4]
GAMMAS = ["1", "0.66", "0.33", "0"]
RULES = [
    "mean",
    "median",
    "trimmed-mean:f={f}",
    "geometric-median",
    "multi-krum:f={f}",
    "nnm:f={f}+trimmed-mean:f={f}",
    "nnm:f={f}+geometric-median",
]
ATTACKS = ["sign-flip:fraction={share}", "ipm:fraction={share},epsilon=0.5", "alie:fraction={share},z=1.5"]


def coloured(share):
    """The accuracy in percent; on a terminal from red to green."""
    text = f"{100 * share:5.1f}"
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    red, green = (5, round(10 * share)) if share < 0.5 else (round(10 * (1 - share)), 5)
    return f"\x1b[38;5;16;48;5;{16 + 36 * red + 6 * green}m{text}\x1b[0m"


def sweep(study, f, tiny):
    """The runs with f attackers."""
    clients = HONEST + f
    # Half a client more, so that no rounding takes one away.
    share = round((f + 0.5) / clients, 4)
    experiment = {
        "model": "mlp",
        "rounds": 1 if tiny else 40,
        "clients.count": clients,
        "clients.min-clients": clients,
        "local.local-steps": 10,
        "local.batch-size": 25,
        "local.lr": 0.1,
        "data.source": "sample" if tiny else "fashion-mnist",
        "execution.checkpoint-every": 40,
    }
    axes = {
        "strategy.aggregate": [rule.format(f=f) for rule in (RULES[-2:] if tiny else RULES)],
        "data.partition": [f"gamma-similarity:gamma={gamma}" for gamma in (GAMMAS[:1] if tiny else GAMMAS)],
        "strategy.attack": [attack.format(share=share) for attack in (ATTACKS[:2] if tiny else ATTACKS)],
    }
    return study.rows(f"f{f}", experiment, axes)


def main():
    given = arguments(__doc__, "runs/robust")
    study = Study(given.command, given.out)
    rules, gammas = (RULES[-2:], GAMMAS[:1]) if given.tiny else (RULES, GAMMAS)
    faulty = FAULTY[:1] if given.tiny else FAULTY
    worst, seconds = {}, {}
    for f in faulty:
        rows = sweep(study, f, given.tiny)
        # The order of the grid: the last axis varies fastest.
        attacks = len(rows) // (len(rules) * len(gammas))
        for cell, first in enumerate(range(0, len(rows), attacks)):
            rule, gamma = rules[cell // len(gammas)], gammas[cell % len(gammas)]
            of_cell = rows[first : first + attacks]
            worst[rule, gamma, f] = min(row["accuracy"] for row in of_cell)
            seconds.setdefault(rule, []).extend(row["wall_seconds"] for row in of_cell)
    for rule in rules:
        mean = sum(seconds[rule]) / len(seconds[rule])
        print(f"{rule.replace('{f}', 'f').replace('f=f', 'f')}: accuracy in % under the worst attack, {mean:.1f} s a run")
        lines = [[f"γ = {gamma}", *(coloured(worst[rule, gamma, f]) for f in faulty)] for gamma in gammas]
        table(["", *(f"f = {f}" for f in faulty)], lines)
        print()
    study.print_cost()


if __name__ == "__main__":
    main()
