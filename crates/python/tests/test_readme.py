"""The README's programs are run as they stand."""

import os
import re
import sys

import fedpipe
from conftest import PACKAGE, python


def blocks():
    return re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.S)


def test_the_client_of_the_readme_runs(run, tmp_path):
    (program,) = [block for block in blocks() if "fedpipe.serve(" in block]
    (tmp_path / "counts.py").write_text(program)
    summary = run(client=python(tmp_path / "counts.py"), model_options={"start": 0.5}).summary
    # Ten classes, all as many.
    assert summary["model"] == "counts" and summary["accuracy"] == 0.1 and abs(summary["loss"] - 2.3026) < 1e-2


def test_the_strategy_of_the_readme_runs(run, tmp_path):
    (program,) = [block for block in blocks() if "serve_strategy(" in block]
    (tmp_path / "halfway.py").write_text(program)
    assert run("logreg", rounds=3, strategy_program=python(tmp_path / "halfway.py")).summary["rounds"] == 3


def test_the_runs_of_the_readme_run(tmp_path, cache, monkeypatch):
    (client,) = [block for block in blocks() if "fedpipe.serve(" in block]
    (program,) = [block for block in blocks() if "fedpipe.run(" in block]
    (tmp_path / "counts.py").write_text(client)
    here = {**cache, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    start = fedpipe.run
    flags = {"data": "sample", "cwd": tmp_path, "env": here}
    monkeypatch.setattr(fedpipe, "run", lambda *model, **more: start(*model, **flags, **more))
    exec(program, {})
    assert (tmp_path / "runs" / "mlp-1").is_dir() and (tmp_path / "runs" / "counts-1").is_dir()
