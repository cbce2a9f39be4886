"""The folders of the tests of Flower, and the files that a run left there."""

import json
import os
import time
from pathlib import Path

from fedpipe.runs import target

BINARY = os.environ.setdefault("FEDPIPE_BIN", os.path.join(target(), "release", "fedpipe"))

LIMIT = 600.0
"""The seconds after which a test fails. A machine that also builds takes a minute for work of ten seconds."""


class Results:
    """A run directory."""

    def __init__(self, directory):
        self._directory = Path(directory)

    def has(self, name):
        """Returns True if the file exists."""
        return (self._directory / name).exists()

    @property
    def summary(self):
        """Returns the contents of `summary.json`."""
        return json.loads((self._directory / "summary.json").read_text())

    def ledger(self, event):
        """Returns the ledger's lines of one event."""
        lines = map(json.loads, (self._directory / "ledger.jsonl").read_text().splitlines())
        return [line for line in lines if line["event"] == event]

    def bits(self):
        """Returns the values of every round that must have the same bits."""
        keys = ("round", "accuracy", "loss", "training_loss", "weights_sha256", "server_sha256", "clients_sha256")
        return [{key: line.get(key) for key in keys} for line in self.ledger("round")]


def finish(local, run):
    """Waits for the end of a submitted run and returns its output."""
    run.wait(LIMIT)
    return local.processes.said("run")


def eventually(look):
    """Waits until `look` is true, for a condition without an event."""
    end = time.monotonic() + LIMIT
    while not look():
        assert time.monotonic() < end, f"not in {LIMIT} s"
        time.sleep(0.05)


def command_line(process):
    """Returns the command line of a process; empty for a process that has ended."""
    try:
        with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read().replace("\0", " ")
    except OSError:
        return ""


def dylib(model):
    """Returns the path of a model that cargo built: beside the command, or in the folder for tests below it. None for a
    fixture that was not built, as beside a command that is not for tests."""
    folder = Path(BINARY).parent
    built = (path for path in (folder / f"lib{model}.so", folder / "deps" / f"lib{model}.so") if path.exists())
    return next(built, None)
