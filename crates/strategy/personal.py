"""Prints the table of personal methods in README.md.

Usage: python3 personal.py FEDPIPE
FEDPIPE is the command. Each cell is one run of 20 rounds on Fashion-MNIST, which is fetched once: all take some ten minutes
on two cores.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FEDPIPE = sys.argv[1]
RUN = "run mlp --test-split per-client:0.25,merge --clients 20 --rounds 20 --evaluate-every 20 --weighting examples"
METHODS = [
    "--strategy fedavg",
    "--strategy fedavg --fine-tune 1",
    "--strategy ditto:0",
    "--strategy ditto:1",
    "--strategy fedper",
    "--strategy fedrep",
    "--strategy lg-fedavg",
    "--strategy fedbabu",
    "--strategy fedavg --model-option norm=batch",
    "--strategy fedbn --model-option norm=batch",
]
PARTITIONS = ["labels:k=2", "dirichlet:alpha=0.1"]


def cell(method, partition):
    """Returns the accuracy on the clients' own test examples, and that of the worst client, in percent."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [FEDPIPE, *RUN.split(), "--partition", partition, *method.split(), "--out", out]
        subprocess.run(command, check=True, capture_output=True)
        summary = json.loads((out / "summary.json").read_text())
    accuracy = (summary.get("personal") or summary["held_out"])["accuracy"]
    return f"{100 * accuracy['mean']:.1f} ({100 * accuracy['worst']:.1f})"


print(f"| method | {' | '.join(f'`{partition}`' for partition in PARTITIONS)} |")
print("|---|---|---|")
for method in METHODS:
    print(f"| `{method}` | {' | '.join(cell(method, partition) for partition in PARTITIONS)} |", flush=True)
