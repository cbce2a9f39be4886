"""Paths of the command and of the programs that the tests start."""

import importlib.util
import os
import shlex
import sys
from pathlib import Path

import pytest

from fedpipe.runs import target

PACKAGE = Path(__file__).parent.parent
REPOSITORY = PACKAGE.parent.parent
FIXTURES = PACKAGE / "tests" / "fixtures"

# A client that a test starts finds the package from any folder.
os.environ["PYTHONPATH"] = str(PACKAGE)
os.environ.setdefault("FEDPIPE_BIN", os.path.join(target(), "release", "fedpipe"))


def python(program, *words):
    """Returns the command of a program in Python."""
    return shlex.join([sys.executable, str(program), *words])


def load(path):
    """The module at `path` of the repository, which is in no package."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), REPOSITORY / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Sets the cache that all tests share."""
    return {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture
def run(tmp_path, cache):
    """Returns `fedpipe.run` for the sample, in a folder of the test's own."""
    import fedpipe

    def start(model=None, **flags):
        return fedpipe.run(model, cwd=tmp_path, env=cache, **{"data": "sample", "rounds": 2, **flags})

    return start
