"""Federations of Flower on this machine, small ones: a message costs seconds here, whatever is in it."""

import os
import subprocess

import pytest
from stage import BINARY, Results, command_line


def pytest_configure(config):
    """What `-m "not slow"` leaves out."""
    config.addinivalue_line("markers", "slow: waits until Flower misses heartbeats, a minute and more")


def pytest_collection_modifyitems(items):
    """The slow ones first, which wait while others work: the last to begin is then one that soon ends."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Datasets and partitions of all tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def processes(tmp_path):
    """Processes of a test's own. Whatever it started, also by others, ends with it: by itself, or the test has failed."""
    from fedpipe.flower.processes import Processes, descendants

    own = Processes(str(tmp_path), dict(os.environ))
    yield own
    left = [command_line(number) for number in descendants(os.getpid())]
    own.stop()
    assert left == []


@pytest.fixture
def federation(tmp_path, processes):
    """Makes federations, which end with the test."""
    from fedpipe.flower.local import Local

    made = []

    def make(*experiment, **options):
        made.append(Local(BINARY, str(tmp_path / "out"), experiment, **options))
        return made[-1]

    yield make
    for local in made:
        local.stop()


@pytest.fixture
def alone(tmp_path):
    """The results of the same experiment on one machine."""

    def run(*experiment):
        out = tmp_path / "alone"
        subprocess.run([BINARY, "run", *experiment, "--out", out, "--quiet"], check=True)
        return Results(out)

    return run
