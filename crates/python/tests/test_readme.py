"""The README's client is run as it stands."""

import re

from conftest import PACKAGE, python


def test_the_client_of_the_readme_runs(run, tmp_path):
    text = (PACKAGE / "README.md").read_text()
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "fedpipe.serve(" in block]
    (tmp_path / "counts.py").write_text(program)
    summary = run(client=python(tmp_path / "counts.py"), model_options={"start": 0.5}).summary
    # Ten classes, all as many.
    assert summary["model"] == "counts" and summary["accuracy"] == 0.1 and abs(summary["loss"] - 2.3026) < 1e-2
