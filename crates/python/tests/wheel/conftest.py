"""The wheel of `just wheel`, installed in a bare virtual environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedpipe.runs import target

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def wheel():
    """Returns the path of the wheel."""
    wheels = list(Path(target(), "wheels").glob("fedpipe-*.whl"))
    assert len(wheels) == 1, f"`just wheel` leaves one wheel in {target()}/wheels, and there are {wheels}"
    return wheels[0]


class Bare:
    """A virtual environment and a home that have nothing but the wheel. The environment is not active."""

    def __init__(self, folder):
        self.folder, self.home = folder / "venv", folder / "home"
        self.home.mkdir()
        subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
        # pip reads its own settings, such as the index, from the environment.
        self.pip = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}

    def run(self, *words, cwd=None, env=None):
        """Runs a program of the environment, and returns what it printed."""
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), **(env or {})}
        command = [str(self.folder / "bin" / words[0]), *map(str, words[1:])]
        done = subprocess.run(command, cwd=cwd or self.home, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def bare(tmp_path_factory, wheel):
    """Returns the environment with the wheel."""
    bare = Bare(tmp_path_factory.mktemp("bare"))
    bare.run("pip", "install", "--quiet", "--disable-pip-version-check", wheel, env=bare.pip)
    return bare
