"""Runs from Python."""

import sys

import numpy as np
import pytest

import fedpipe


def test_a_run_gives_its_results(run):
    done = run("mlp", clients=3, rounds=2, partition="dirichlet:0.5", model_options={"hidden": [16, 8]}, set={"seed": 7})
    assert done.summary["rounds"] == 2 and done.summary["seed"] == 7 and done.summary["partition"] == "dirichlet:alpha=0.5"
    weights = done.weights()
    assert {name: values.shape for name, values in weights.items()}["dense2.weight"] == (16, 8)
    assert all(values.dtype == np.float32 for values in weights.values())
    assert [event["event"] for event in done.events()][:3] == ["started", "dealt", "ready"]


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
        ({"model": "mlp", "colour": "red"}, "--colour", 2),
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


def test_a_command_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("FEDPIPE_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.path.exists", lambda path: False)
    with pytest.raises(FileNotFoundError, match=r"not in \$FEDPIPE_BIN, not in the PATH"):
        fedpipe.run("mlp")
