"""The lines of the command's README that load an exported file."""

import re
import subprocess

import pytest

import fedpipe
from conftest import REPOSITORY
from fedpipe.runs import find


def block(library):
    text = (REPOSITORY / "crates" / "cli" / "README.md").read_text()
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if f"safetensors.{library}" in block]
    return program


@pytest.fixture
def exported(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("mlp", rounds=1)
    subprocess.run([find(), "export", str(result.directory), "weights.safetensors"], check=True)
    return result


def test_numpy_loads_an_exported_file(exported):
    names = {}
    exec(block("numpy"), names)
    shapes = {name: array.shape for name, array in names["weights"].items()}
    assert shapes["dense1.weight"] == (784, 128) and shapes["dense3.bias"] == (10,)


def test_pytorch_loads_an_exported_file(exported):
    torch = pytest.importorskip("torch")
    names = {}
    exec(block("torch"), names)
    weights = names["weights"]
    layer = torch.nn.Linear(784, 128)
    layer.load_state_dict({"weight": weights["dense1.weight"], "bias": weights["dense1.bias"]})


def test_a_run_begins_with_an_exported_file(exported, run):
    again = run("mlp", rounds=1, init_from="weights.safetensors")
    assert again.ledger is not None and again.summary["initial_loss"] == exported.summary["loss"]
