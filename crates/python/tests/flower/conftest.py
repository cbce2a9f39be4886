"""Small federations of Flower on this machine, since each message takes seconds."""

import itertools
import os
import subprocess

import pytest
from stage import BINARY, Results, command_line


def pytest_configure(config):
    """Registers the marker of the tests that `-m "not slow"` leaves out."""
    config.addinivalue_line("markers", "slow: a federation whose case no other test needs, half a minute and more")


def pytest_collection_modifyitems(items):
    """Puts the slow tests first. They mostly wait, and a short test is then the last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the ends of all logs and the processes to the report of a test that failed."""
    report = yield
    if report.when == "call" and report.failed and "tmp_path" in item.funcargs:
        for log in sorted(item.funcargs["tmp_path"].rglob("*.log")):
            report.sections.append((log.name, "".join(log.read_text(errors="replace").splitlines(True)[-25:])))
        running = subprocess.run(["ps", "-eo", "pid,ppid,stat,etimes,cputimes,args"], capture_output=True, text=True)
        report.sections.append(("processes", "\n".join(line[:160] for line in running.stdout.splitlines() if "flw" in line)))
    return report


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
