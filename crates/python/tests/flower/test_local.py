"""A federation that cannot be started ends with one sentence and leaves no folder."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("flwr")

from stage import BINARY  # noqa: E402

from fedpipe.flower import server  # noqa: E402
from fedpipe.flower.local import Local  # noqa: E402


def local(place, *words, **environment):
    """Runs `python -m fedpipe.flower.local` in a folder. Returns its exit code and its output."""
    command = [sys.executable, "-m", "fedpipe.flower.local", "--out", "out", *words]
    done = subprocess.run(command, cwd=place, env={**os.environ, **environment}, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("how", ["--binary", "FEDPIPE_BIN", "PATH"])
def test_a_command_that_is_absent_is_named_each_time(tmp_path, how):
    absent = str(tmp_path / "nonesuch" / "fedpipe")
    words, environment = ([], {}) if how != "--binary" else (["--binary", absent], {})
    if how == "FEDPIPE_BIN":
        environment = {"FEDPIPE_BIN": absent}
    if how == "PATH":
        environment = {"FEDPIPE_BIN": "", "PATH": str(tmp_path), "CARGO_TARGET_DIR": str(tmp_path)}
    tries = [local(tmp_path, *words, "mlp", **environment) for _ in range(2)]
    assert tries[0] == tries[1] and tries[0][0] == 1
    says = "there is no command fedpipe: not in $FEDPIPE_BIN, not in the PATH" if how == "PATH" else f"names {absent}, which is not a program"
    assert tries[0][1].startswith("error: ") and says in tries[0][1] and tries[0][1].count("\n") == 1, tries[0]
    assert not (tmp_path / "out-flower").exists()


@pytest.mark.parametrize("how", ["FEDPIPE_BIN", "PATH"])
def test_an_experiment_that_is_refused_is_the_commands_sentence_each_time(tmp_path, how):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fedpipe").symlink_to(BINARY)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = {"FEDPIPE_BIN": BINARY} if how == "FEDPIPE_BIN" else {"FEDPIPE_BIN": "", "PATH": path}
    for _ in range(2):
        assert local(tmp_path, "mlp", "--clients", "0", **environment) == (1, "error: --clients is 0; give at least 1\n")
    assert not (tmp_path / "out-flower").exists()


def test_a_folder_that_is_there_is_told_with_the_remedy(tmp_path):
    (tmp_path / "out-flower").mkdir()
    (tmp_path / "out-flower" / "kept").touch()
    code, said = local(tmp_path, "mlp", "--data", "sample")
    assert code == 1 and said == f"error: {tmp_path / 'out-flower'} exists already, from another run; remove it, or give another --out\n"
    assert (tmp_path / "out-flower" / "kept").exists()


def test_an_environment_without_flowers_commands_is_told_what_to_install(tmp_path, monkeypatch):
    made = Local(BINARY, str(tmp_path / "out"), ["mlp", "--data", "sample", "--clients", "1"])
    try:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(RuntimeError, match=r"there is no flower-superlink at .*: run `.* -m pip install -r .*requirements.txt`"):
            made.start_superlink()
    finally:
        made.stop()


def test_the_host_is_given_no_key_without_effect(tmp_path, monkeypatch):
    """The app has all keys, since Flower overrides only keys that an app has."""
    monkeypatch.setenv("FEDPIPE_BIN", BINARY)
    config = {"model": "mlp", "until-converged": False, "rounds": 3, "max-rounds": 200, "tolerance": 0.025, "strategy.term": ""}
    words = server.command(config, "sock")
    assert words[words.index("mlp") + 1 :] == ["--set", "rounds=3", "--set", "until-converged=false"]
    words = server.command({**config, "until-converged": True}, "sock")
    assert words[words.index("mlp") + 1 :] == [
        "--set", "max-rounds=200", "--set", "tolerance=0.025", "--set", "until-converged=true",
    ]  # fmt: skip


def test_the_serverapp_finds_the_command_that_the_template_names(monkeypatch):
    monkeypatch.setenv("FEDPIPE_BIN", BINARY)
    assert server.command({"binary": "fedpipe", "model": "mlp"}, "sock") == [BINARY, "run", "--over", "sock", "mlp"]
    with pytest.raises(FileNotFoundError, match="names ./nonesuch, which is not a program here"):
        server.command({"binary": "./nonesuch", "model": "mlp"}, "sock")
