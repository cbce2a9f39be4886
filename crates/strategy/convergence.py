"""Prints the table of `README.md` on convergence: the round at which a run stops, for some tolerances.

Usage: python3 convergence.py FEDPIPE [SETTING…]
FEDPIPE is the command. Each setting is a run of 80 rounds on Fashion-MNIST, which is fetched once: all take some 20 minutes
on two cores. The rule is written again here from the README, and needs only Python.
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

ROUNDS = 80
TOLERANCES = [0.005, 0.01, 0.015, 0.02, 0.03]
DEFAULT = 0.02
SETTINGS = [
    "--lr 0.00001",
    "--lr 0.0001",
    "--lr 0.001",
    "--lr 0.01",
    "--lr 0.1",
    "--partition dirichlet:alpha=0.1",
    "--fraction 0.3",
    "--strategy fedadam",
    "--optimiser adam",
    "--data sample --optimiser adam --epochs 20",
]


def stop(losses, tolerance):
    """The round after which the run has converged; None if it has not."""
    quiet = 0
    for t in range(1, len(losses) + 1):
        window = max(5, math.ceil(t / 4))
        at_rest = False
        if t >= 2 * window:
            last = sum(losses[t - window : t]) / window
            before = sum(losses[t - 2 * window : t - window]) / window
            at_rest = last <= losses[0] and before - last <= tolerance * (losses[0] - last)
        quiet = quiet + 1 if at_rest else 0
        if quiet == 3:
            return t
    return None


def rounds(fedpipe, setting, folder):
    """The ledger's lines of 80 rounds. Those until the stop by the least tolerance have `start_loss`."""
    run = [fedpipe, "run"]
    until = ["--until-converged", "--max-rounds", str(ROUNDS), "--tolerance", str(TOLERANCES[0])]
    quiet = ["--quiet", "--checkpoint-every", "20"]
    out = str(folder / "run")
    subprocess.run([*run, "mlp", "--clients", "10", *setting.split(), *until, *quiet, "--out", out], check=True, stdout=subprocess.DEVNULL)
    onwards = ["--set", "until-converged=false", "--set", f"rounds={ROUNDS}", "--quiet"]
    subprocess.run([*run, "--resume", out, "--force", *onwards], check=True, stdout=subprocess.DEVNULL)
    lines = map(json.loads, (folder / "run/ledger.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == "round"]


def row(fedpipe, setting):
    with tempfile.TemporaryDirectory() as folder:
        lines = rounds(fedpipe, setting, pathlib.Path(folder))
    losses = [line["start_loss"] for line in lines if "start_loss" in line]
    stops = [stop(losses, tolerance) for tolerance in TOLERANCES]
    at = stops[TOLERANCES.index(DEFAULT)]
    percent = lambda line: f"{100 * line['accuracy']:.1f}"
    cells = [str(stop or "–") for stop in stops]
    return [f"`{setting}`", *cells, percent(lines[at - 1]) if at else "–", percent(lines[ROUNDS - 1])]


def main():
    fedpipe, *settings = sys.argv[1:]
    head = ["setting", *map(str, TOLERANCES), f"accuracy at {DEFAULT}, %", f"after {ROUNDS} rounds, %"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for setting in settings or SETTINGS:
        print(f"| {' | '.join(row(fedpipe, setting))} |", flush=True)


if __name__ == "__main__":
    main()
