"""Runs from Python."""

import os
import re
import sys
from importlib import metadata

import numpy as np
import pytest

import fedpipe
from conftest import FIXTURES, python
from fedpipe.progress import Progress


def test_a_run_gives_its_results(run):
    done = run("mlp", clients=3, rounds=2, partition="dirichlet:0.5", model_options={"hidden": [16, 8]}, set={"seed": 7})
    assert done.summary["rounds"] == 2 and done.summary["seed"] == 7 and done.summary["partition"] == "dirichlet:alpha=0.5"
    weights = done.weights()
    assert {name: values.shape for name, values in weights.items()}["dense2.weight"] == (16, 8)
    assert all(values.dtype == np.float32 for values in weights.values())
    assert [event["event"] for event in done.events()][:3] == ["started", "dealt", "ready"]


def test_columns_of_the_ledger_are_had_without_pandas(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    done = run("logreg", clients=2)
    rounds = done.ledger
    assert rounds["round"] == [1, 2] and rounds[["round", "clients"]] == [{"round": 1, "clients": 2}, {"round": 2, "clients": 2}]
    assert rounds[-1:]["accuracy"] == [done.summary["accuracy"]] and isinstance(rounds[0], dict)
    with pytest.raises(KeyError, match="acuracy"):
        rounds[["round", "acuracy"]]


def crashing(tmp_path):
    """Returns the command of a client that crashes once, and the path of its file."""
    return python(FIXTURES / "faulty.py", "train", "exit", str(tmp_path / "once"))


def test_a_crash_in_a_run_that_ends_well_is_a_warning(run, tmp_path):
    with pytest.warns(fedpipe.RunWarning) as warned:
        done = run(client=crashing(tmp_path), isolation="off", clients=2)
    (text,) = [str(warning.message) for warning in warned if warning.category is fedpipe.RunWarning]
    assert re.match(r"client 1 crashed in round 2 after [0-9.]+ s: it exited with code 7", text) and "these are its last words" in text
    assert warned[0].filename.endswith("conftest.py") and done.summary["failures"] == 1


def test_a_run_without_a_fault_warns_of_nothing(run, recwarn):
    run("logreg", clients=2)
    assert [warning for warning in recwarn if warning.category is fedpipe.RunWarning] == []


def test_a_run_that_learned_nothing_is_a_warning(run):
    with pytest.warns(fedpipe.RunWarning, match=r"no round was better than the initial weights \(.*\): .*; lower --lr$"):
        done = run("logreg", clients=2, lr=10)
    assert done.summary["loss_fell"] is False and done.summary["loss"] >= done.summary["initial_loss"]


def test_a_run_replaces_the_one_before(run, tmp_path):
    for seed in 1, 2:
        done = run("logreg", clients=2, out=tmp_path / "here", overwrite=True, set={"seed": seed})
        assert done.summary["seed"] == seed


def test_the_rounds_are_shown_where_that_is_asked_for(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    run("logreg", clients=2, rounds=3)
    assert capsys.readouterr().err == ""
    done = run("logreg", clients=2, rounds=3, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["round 1/3", "round 2/3", "round 3/3"]
    assert f"accuracy {100 * done.summary['accuracy']:.2f} %" in lines[-1]


class Bar:
    """A stand-in for the bar of tqdm."""

    made = []

    def __init__(self, **how):
        self.how, self.shown, self.is_closed = how, [], False
        Bar.made.append(self)

    def set_postfix_str(self, text, refresh):
        self.shown.append(text)

    def update(self):
        self.how["initial"] += 1

    def close(self):
        self.is_closed = True


def test_with_tqdm_a_bar_is_shown(run, monkeypatch):
    import types

    monkeypatch.setattr(Bar, "made", [])
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Bar))
    run("logreg", clients=2, rounds=3, progress=True)
    (bar,) = Bar.made
    assert (bar.how["total"], bar.how["initial"], len(bar.shown), bar.is_closed) == (3, 3, 3, True)
    assert bar.shown[0].startswith("loss ")


def test_a_terminal_has_one_line_that_is_redrawn(monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with Progress() as shown:
        shown.take("mlp 0.1.0: 109386 weights")
        shown.take("round  1/20  loss 0.5000  accuracy 85.00 %  0.20 s")
        shown.take("round   2  loss 0.4000  accuracy 86.00 %  0.20 s  (1 client failed)")
    assert screen.getvalue().split("\r")[1:] == [
        "round 1/20: loss 0.5000 accuracy 85.00 % 0.20 s\x1b[K",
        "round 2: loss 0.4000 accuracy 86.00 % 0.20 s (1 client failed)\x1b[K\n",
    ]


def test_the_ledger_is_a_frame_where_pandas_is_there(run, monkeypatch):
    done = run("logreg")
    pandas = pytest.importorskip("pandas")
    assert isinstance(done.ledger, pandas.DataFrame) and done.ledger["round"].tolist() == [1, 2]
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert [line["round"] for line in done.ledger] == [1, 2]
    assert done.ledger[-1]["accuracy"] == done.summary["accuracy"]


@pytest.mark.parametrize(
    ("flags", "says", "code"),
    [
        ({"model": "mlp", "clients": 0}, "--clients is 0; give at least 1", 2),
        ({"model": "mlp", "colour": "red"}, "unexpected argument '--colour' found", 2),
        ({"model": "mlp", "round": 3}, "unexpected argument '--round' found; a similar argument exists: '--rounds'", 2),
        ({"model": "mlp", "rounds": None, "epochs": True}, "a value is required for '--epochs", 2),
        ({"model": "mlp", "help": True}, "exited with code 0 and named no results", 0),
        ({"model": "nonesuch"}, 'there is no model "nonesuch"', 3),
        ({"model": "mlp", "clients": 2001}, "2001 clients", 4),
        ({"client": "nonesuch"}, "there is no program nonesuch in PATH", 3),
        ({"client": "'"}, "has a quote", 2),
    ],
)
def test_an_error_carries_the_commands_sentence_and_code(run, flags, says, code):
    with pytest.raises(fedpipe.RunError) as error:
        run(**flags)
    assert says in str(error.value) and error.value.exit_code == code


@pytest.mark.parametrize("how", ["binary", "FEDPIPE_BIN"])
def test_a_command_that_is_named_and_absent_is_told_with_its_name(monkeypatch, tmp_path, how):
    absent = str(tmp_path / "fedpipe")
    if how == "FEDPIPE_BIN":
        monkeypatch.setenv("FEDPIPE_BIN", absent)
    with pytest.raises(FileNotFoundError, match=f"{how}`? names {absent}, which is not a program here"):
        fedpipe.run("mlp", binary=absent if how == "binary" else None)


def test_the_command_is_looked_for_where_cargo_builds(monkeypatch, tmp_path):
    monkeypatch.delenv("FEDPIPE_BIN")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CARGO_TARGET_DIR", str(tmp_path / "built"))
    (tmp_path / "built" / "release").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "built" / "release" / "fedpipe")):
        fedpipe.runs.find()
    (tmp_path / "built" / "release" / "fedpipe").touch(mode=0o755)
    assert fedpipe.runs.find() == str(tmp_path / "built" / "release" / "fedpipe")


@pytest.mark.parametrize("is_own", [True, False])
def test_the_command_of_the_packages_own_wheel_comes_before_that_in_the_path(monkeypatch, tmp_path, is_own):
    monkeypatch.delenv("FEDPIPE_BIN")
    for folder in "bin", "other":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "fedpipe").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    info = tmp_path / "site" / "fedpipe-0.1.0.dist-info"
    info.mkdir(parents=True)
    # A package that is installed elsewhere is not the one that is imported.
    package = os.path.relpath(fedpipe.runs.__file__, info.parent) if is_own else "fedpipe/runs.py"
    (info / "RECORD").write_text(f"{package},,\n../bin/fedpipe,,\n")
    monkeypatch.setattr(metadata, "distribution", lambda name: metadata.PathDistribution(info))
    assert fedpipe.runs.find() == str(tmp_path / ("bin" if is_own else "other") / "fedpipe")


def test_a_command_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("FEDPIPE_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.path.exists", lambda path: False)
    with pytest.raises(FileNotFoundError, match=r"not in \$FEDPIPE_BIN, not in the PATH"):
        fedpipe.run("mlp")
