"""The lines of the command's README that load an exported file."""

import gzip
import re
import subprocess

import numpy as np
import pytest

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


def sample(name, header):
    return np.frombuffer(gzip.decompress((REPOSITORY / "crates/data/sample" / name).read_bytes())[header:], np.uint8)


IMAGES = sample("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(np.float32) / 255
LABELS = sample("t10k-labels-idx1-ubyte.gz", 8)


def check_scores(logits, summary):
    """The class scores of the test set have the accuracy and the loss of the run."""
    rows = np.arange(len(LABELS))
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[rows, LABELS]
    assert (logits.argmax(axis=1) == LABELS).mean() == summary["accuracy"]
    assert abs(losses.mean() - summary["loss"]) < 1e-5


def test_numpy_loads_an_exported_file(exported):
    names = {}
    exec(block("numpy"), names)
    shapes = {name: array.shape for name, array in names["weights"].items()}
    assert shapes["dense1.weight"] == (784, 128) and shapes["dense3.bias"] == (10,)
    values = IMAGES
    for layer in (1, 2, 3):
        values = np.maximum(values, 0) @ names["weights"][f"dense{layer}.weight"] + names["weights"][f"dense{layer}.bias"]
    check_scores(values.astype(np.float64), exported.summary)


def test_pytorch_loads_an_exported_file(exported):
    torch = pytest.importorskip("torch")
    names = {}
    exec(block("torch"), names)
    layers = [torch.nn.Linear(784, 128), torch.nn.Linear(128, 64), torch.nn.Linear(64, 10)]
    for number, layer in enumerate(layers, 1):
        layer.load_state_dict({part: names["weights"][f"dense{number}.{part}"] for part in ("weight", "bias")})
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    with torch.no_grad():
        logits = network(torch.from_numpy(IMAGES))
    check_scores(logits.numpy().astype(np.float64), exported.summary)


def test_a_run_begins_with_an_exported_file(exported, run):
    again = run("mlp", rounds=1, init_from="weights.safetensors")
    assert again.ledger is not None and again.summary["initial_loss"] == exported.summary["loss"]
