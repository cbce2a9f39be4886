"""Where the tests of Flower run, and what a run left there."""

import json
import os
import time
from pathlib import Path

from fedpipe.runs import target

BINARY = os.environ.setdefault("FEDPIPE_BIN", os.path.join(target(), "release", "fedpipe"))

LIMIT = 600.0
"""Seconds after which a test has failed; a machine that also builds takes a minute for what else takes ten seconds."""


class Results:
    """A run directory."""

    def __init__(self, directory):
        self._directory = Path(directory)

    def has(self, name):
        """Whether a file is there."""
        return (self._directory / name).exists()

    @property
    def summary(self):
        """`summary.json`."""
        return json.loads((self._directory / "summary.json").read_text())

    def ledger(self, event):
        """The ledger's lines of one kind."""
        lines = map(json.loads, (self._directory / "ledger.jsonl").read_text().splitlines())
        return [line for line in lines if line["event"] == event]

    def bits(self):
        """What must be the same, to the bit, for every round."""
        keys = ("round", "accuracy", "loss", "training_loss", "weights_sha256")
        return [{key: line[key] for key in keys} for line in self.ledger("round")]


def finish(local, run):
    """Waits for the end of a run that was submitted, and says what it printed."""
    run.wait(LIMIT)
    return local.processes.said("run")


def eventually(look):
    """Waits until `look` is true, for what no event can be had of."""
    end = time.monotonic() + LIMIT
    while not look():
        assert time.monotonic() < end, f"not in {LIMIT} s"
        time.sleep(0.05)


def command_line(process):
    """What a process was started with; empty for one that is gone."""
    try:
        with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read().replace("\0", " ")
    except OSError:
        return ""


def dylib(model):
    """Where cargo has put a model: beside the command, or for tests below it."""
    folder = Path(BINARY).parent
    return next(path for path in (folder / f"lib{model}.so", folder / "deps" / f"lib{model}.so") if path.exists())
