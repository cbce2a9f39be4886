"""Small federations of Flower on this machine, since each message takes seconds."""

import itertools
import os
import subprocess

import pytest
from stage import BINARY, Results, command_line


def pytest_configure(config):
    """Registers the marker of the tests that `-m "not slow"` leaves out."""
    config.addinivalue_line("markers", "slow: waits until Flower misses heartbeats, a minute and more")


def pytest_collection_modifyitems(items):
    """Puts the slow tests first. They mostly wait, and a short test is then the last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Sets the cache that all tests share."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def processes(tmp_path):
    """Returns processes of the test's own. All their descendants must end by themselves, or the test fails."""
    from fedpipe.flower.processes import Processes, descendants

    own = Processes(str(tmp_path), dict(os.environ))
    yield own
    left = [command_line(number) for number in descendants(os.getpid())]
    own.stop()
    assert left == []


@pytest.fixture
def federation(tmp_path, processes):
    """Returns a function that makes federations, which end with the test."""
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
    """Returns the results of the same experiment on one machine."""

    runs = itertools.count()

    def run(*experiment):
        out = tmp_path / f"alone-{next(runs)}"
        subprocess.run([BINARY, "run", *experiment, "--out", out, "--quiet"], check=True)
        return Results(out)

    return run
