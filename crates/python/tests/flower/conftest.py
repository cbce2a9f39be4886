"""Federations of Flower on this machine, small ones: a message costs seconds here, whatever is in it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[4]
BINARY = os.environ.setdefault("FEDPIPE_BIN", str(REPOSITORY / "target" / "release" / "fedpipe"))

LIMIT = 600.0
"""Seconds after which a test has failed; a machine that also builds takes a minute for what else takes ten seconds."""


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Datasets and partitions of all tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def federation(tmp_path):
    """Makes federations; none of their processes is left afterwards."""
    from fedpipe.flower.local import Local
    from fedpipe.flower.processes import descendants

    made = []

    def make(*experiment, **options):
        made.append(Local(BINARY, tmp_path / "out", experiment, **options))
        return made[-1]

    yield make
    for local in made:
        local.stop()
    assert descendants(os.getpid()) == []


@pytest.fixture
def alone(tmp_path):
    """The results of the same experiment on one machine."""

    def run(*experiment):
        out = tmp_path / "alone"
        subprocess.run([BINARY, "run", *experiment, "--out", out, "--quiet"], check=True)
        return Results(out)

    return run


class Results:
    """A run directory."""

    def __init__(self, directory):
        self._directory = Path(directory)

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


@pytest.fixture
def results():
    """Reads a run directory."""
    return Results


@pytest.fixture
def finish():
    """Waits for the end of a run that was submitted, and says what it printed."""

    def wait(local, run):
        run.wait(LIMIT)
        return local.processes.said("run")

    return wait
