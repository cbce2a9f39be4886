"""The justfile uses the folder into which cargo builds, also if a variable changes it."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from conftest import REPOSITORY
from fedpipe.runs import find

CARGO = """#!/bin/sh
# `build` leaves a command that prints its arguments. Other subcommands are cargo's own.
if [ "$1" != build ]; then exec '{cargo}' "$@"; fi
mkdir -p "{target}/release"
printf '#!/bin/sh\\nfor word; do echo "$word"; done\\n' >"{target}/release/fedpipe"
chmod +x "{target}/release/fedpipe"
"""


@pytest.fixture(params=["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"])
def just(request, tmp_path):
    """Runs a recipe with cargo's target in a folder of the test's own. Returns the arguments of the command."""
    just, cargo = shutil.which("just"), shutil.which("cargo")
    if just is None or cargo is None:
        pytest.skip("just or cargo is not installed")
    target = tmp_path / "a target"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cargo").write_text(CARGO.format(cargo=cargo, target=target))
    (tmp_path / "bin" / "cargo").chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if "TARGET_DIR" not in key and key != "FEDPIPE_BIN"}
    environment.update({request.param: str(target), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})

    def run(*words):
        done = subprocess.run([just, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    run.target = target
    return run


def environment(just, name, requirements):
    """Makes an up-to-date environment of that name, with a Python that prints its arguments."""
    folder = just.target / "python" / name
    (folder / "bin").mkdir(parents=True)
    shutil.copy(REPOSITORY / requirements, folder / "requirements.txt")
    (folder / "bin" / "python").write_text('#!/bin/sh\nfor word; do echo "$word"; done\necho "FEDPIPE_BIN=$FEDPIPE_BIN"\n')
    (folder / "bin" / "python").chmod(0o755)
    return str(folder / "bin" / "python")


def test_a_model_runs_from_cargos_folder(just):
    assert just("run", "mlp", "--clients", "7") == ["run", "mlp", "--clients", "7"]


def test_a_client_in_python_runs_in_the_environment_there(just):
    python = environment(just, "torch", "models/torch/requirements.txt")
    words = just("run", "torch", "--clients", "7")
    assert words[:2] == ["run", "--client"] and words[3:] == ["--clients", "7"]
    assert shlex.split(words[2]) == [python, "models/torch/client.py"]


def test_a_federation_on_flower_takes_the_command_from_there(just):
    environment(just, "flower", "crates/python/fedpipe/flower/requirements.txt")
    words = just("flower", "mlp", "--tls")
    binary = str(just.target / "release" / "fedpipe")
    assert words[:-1] == ["-m", "fedpipe.flower.local", "--binary", binary, "mlp", "--tls"]


def test_the_tests_in_python_take_the_command_from_there(just):
    """`conftest.py` uses `fedpipe.runs.target`, for which the recipe sets the variable."""
    environment(just, "test", "crates/python/tests/requirements.txt")
    python = just.target / "python" / "test" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import fedpipe.runs; print(fedpipe.runs.target())"\n')
    assert just("test-python")[-1] == str(just.target)


@pytest.mark.parametrize("study", ["robust", "noniid"])
def test_a_study_starts_and_continues(study, tmp_path, cache, monkeypatch):
    """The smallest grid of a study. A second call has nothing to do, and prints the same tables."""
    for name, value in cache.items():
        monkeypatch.setenv(name, value)
    script = REPOSITORY / "crates" / "strategy" / f"{study}.py"

    def printed():
        words = [sys.executable, str(script), find(), "--tiny", "--out", str(tmp_path / "runs")]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[:-1]

    def times():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("ledger.jsonl")}

    first, ledgers = printed(), times()
    assert len(ledgers) >= 4 and any("±" in line or "worst attack" in line for line in first), first
    assert printed() == first and times() == ledgers
