"""The programs in the README run without a change."""

import os
import re
import sys

import pytest

import fedpipe
from conftest import PACKAGE, python


def blocks():
    return re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.S)


def test_the_client_of_the_readme_runs(run, tmp_path):
    (program,) = [block for block in blocks() if "fedpipe.serve(" in block]
    (tmp_path / "counts.py").write_text(program)
    summary = run(client=python(tmp_path / "counts.py"), model_options={"start": 0.5}).summary
    # Ten classes of equal size.
    assert summary["model"] == "counts" and summary["accuracy"] == 0.1 and abs(summary["loss"] - 2.3026) < 1e-2


def test_the_strategy_of_the_readme_runs(run, tmp_path):
    (program,) = [block for block in blocks() if "serve_strategy(" in block]
    (tmp_path / "halfway.py").write_text(program)
    assert run("logreg", rounds=3, strategy_program=python(tmp_path / "halfway.py")).summary["rounds"] == 3


@pytest.mark.parametrize("has_pandas", [True, False])
def test_the_runs_of_the_readme_run(tmp_path, cache, monkeypatch, has_pandas):
    """The programs run with and without pandas, which is optional."""
    if has_pandas:
        pytest.importorskip("pandas")
    else:
        monkeypatch.setitem(sys.modules, "pandas", None)
    (client,) = [block for block in blocks() if "fedpipe.serve(" in block]
    (program,) = [block for block in blocks() if "run = fedpipe.run(" in block]
    (tmp_path / "counts.py").write_text(client)
    here = {**cache, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    start = fedpipe.run
    flags = {"data": "sample", "cwd": tmp_path, "env": here}
    monkeypatch.setattr(fedpipe, "run", lambda *model, **more: start(*model, **flags, **more))
    names = {}
    exec(program, names)
    rounds = names["run"].ledger[["round", "accuracy"]]
    rounds = rounds.to_dict("records") if has_pandas else rounds
    assert [row["round"] for row in rounds] == [1, 2, 3, 4, 5]
    assert rounds[-1] == {"round": 5, "accuracy": names["run"].summary["accuracy"]}
    assert (tmp_path / "runs" / "mlp-1").is_dir() and (tmp_path / "runs" / "counts-1").is_dir()


def test_the_data_of_the_readme_are_written_and_read(tmp_path, cache, monkeypatch):
    (program,) = [block for block in blocks() if "write_dataset(" in block]
    monkeypatch.chdir(tmp_path)
    start = fedpipe.run
    runs = []
    monkeypatch.setattr(fedpipe, "run", lambda *model, **flags: runs.append(start(*model, env=cache, **flags)))
    exec(program, {})
    assert [(run.summary["dataset"], run.summary["clients"]) for run in runs] == [("arrays", 4), ("ready", 5)]


def test_the_readme_counts_the_lines_that_are_there():
    def lines(path):
        return len((PACKAGE / path).read_text().splitlines())

    (client,) = [block for block in blocks() if "fedpipe.serve(" in block]
    assert len(client.splitlines()) <= 40
    text = (PACKAGE / "README.md").read_text()
    assert f"`tests/fixtures/client.c`, {lines('tests/fixtures/client.c')} lines," in text
    assert f"`fedpipe.h` beside it, {lines('tests/fixtures/fedpipe.h')} lines to" in text


def test_the_exceptions_and_names_of_the_readme_exist():
    text = (PACKAGE / "README.md").read_text()
    named = set(re.findall(r"`?fedpipe\.([A-Za-z_]+)\(?", text)) - {"flower", "conformance", "h"}
    assert named >= {"Model", "RunError", "RunWarning", "ModelError"}
    assert [name for name in named if not hasattr(fedpipe, name)] == []
