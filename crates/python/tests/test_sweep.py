"""Runs and sweeps of before, read without the command."""

import json
import subprocess

import pytest

import fedpipe
from conftest import PACKAGE
from fedpipe.runs import find


@pytest.fixture
def sweep(tmp_path, cache, monkeypatch):
    """Returns a function that runs a sweep in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    for name, value in cache.items():
        monkeypatch.setenv(name, value)

    def start(*more):
        (tmp_path / "e.toml").write_text("format = 2\nmodel = 'logreg'\nrounds = 2\ndata.source = 'sample'\nclients.count = 2\n")
        command = [find(), "sweep", "e.toml", "--quiet", *(word for value in more for word in ("--set", value))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return start


def test_a_run_of_before_is_read(run):
    done = run("logreg", clients=2)
    read = fedpipe.read(done.directory)
    assert [row["round"] for row in read.history] == [1, 2] and isinstance(read.history, list)
    assert read.history[-1]["accuracy"] == read.summary["accuracy"]
    assert read.experiment["clients"]["count"] == 2 and read.events("dealt")


def test_a_sweep_is_rows(sweep):
    sweep("lr=0.1,0.5", "seed=0..1", "strategy=fedavg")
    rows = fedpipe.read_sweep("runs/sweep-1")
    assert [(row["name"], row["local.lr"], row["seed"], row["state"]) for row in rows] == [
        ("000", 0.1, 0, "finished"),
        ("001", 0.1, 1, "finished"),
        ("002", 0.5, 0, "finished"),
        ("003", 0.5, 1, "finished"),
    ]
    for row in rows:
        summary = fedpipe.read(f"runs/sweep-1/{row['name']}").summary
        assert row["accuracy"] == summary["accuracy"] and row["weights_sha256"] == summary["weights_sha256"]
        assert row["strategy.name"] == "fedavg" and row["rmse"] is None and row["rounds"] == 2


def test_the_readme_reads_a_sweep(sweep, run, tmp_path):
    sweep("lr=0.1,0.5")
    run("logreg", out="runs/mlp-1")
    text = (PACKAGE / "README.md").read_text()
    (program,) = [block.split("```")[0] for block in text.split("```python\n") if "read_sweep(" in block.split("```")[0]]
    names = {}
    exec(program, names)
    assert len(names["rows"]) == 2 and names["run"].history
    pandas = pytest.importorskip("pandas")
    assert list(pandas.DataFrame(names["rows"])["local.lr"]) == [0.1, 0.5]


def test_the_state_of_a_run_follows_from_its_files(tmp_path):
    runs = [{"name": f"00{place}", "values": {"seed": str(place), "data.label": "nan"}} for place in range(4)]
    (tmp_path / "sweep.json").write_text(json.dumps({"format": 1, "axes": [], "runs": runs}))
    for name, stopped in ("000", "rounds"), ("001", {"signal": 15}), ("002", {"failed": "a reason"}):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps({"accuracy": 0.5, "stopped": stopped}))
    rows = fedpipe.read_sweep(tmp_path)
    assert [row["state"] for row in rows] == ["finished", "interrupted", "failed", "missing"]
    assert rows[0]["data.label"] == "nan" and rows[3]["accuracy"] is None
    (tmp_path / "003").mkdir()
    (tmp_path / "003" / "ledger.jsonl").write_text("")
    assert fedpipe.read_sweep(tmp_path)[3]["state"] == "interrupted"


def test_what_is_no_run_and_no_sweep_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run .*; give a run directory"):
        fedpipe.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        fedpipe.read_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="has format 2, and this fedpipe reads format 1; begin another sweep"):
        fedpipe.read_sweep(tmp_path)
    with pytest.raises(FileNotFoundError, match="read it with read_sweep"):
        fedpipe.read(tmp_path)
