"""The clients in `models/` agree with the model in Rust. `just run keras` and `just run torch` make the environments. The
tests of a missing environment are skipped."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import REPOSITORY
from fedpipe.runs import target


def client(name):
    interpreter = Path(target()) / "python" / name / "bin" / "python"
    if not interpreter.exists():
        pytest.skip(f"`just run {name}` has not made its environment")
    return shlex.join([str(interpreter), str(REPOSITORY / "models" / name / "client.py")])


@pytest.mark.parametrize("name", ["keras", "torch"])
def test_one_full_batch_epoch_is_that_of_the_model_in_rust(run, name):
    flags = {"clients": 1, "rounds": 1, "batch_size": 2000}
    ours, rust = run(client=client(name), **flags).weights(), run("mlp", **flags).weights()
    assert list(ours) == list(rust)
    assert max(np.abs(ours[tensor] - rust[tensor]).max() for tensor in rust) < 1e-5


@pytest.mark.parametrize(("name", "points"), [("keras", 0.01), ("torch", 0.005)])
def test_five_rounds_have_its_accuracy_as_the_mean_of_five_seeds(run, name, points):
    def mean(**what):
        return np.mean([run(**what, clients=4, rounds=5, seed=seed).summary["accuracy"] for seed in range(5)])

    assert abs(mean(client=client(name)) - mean(model="mlp")) < points


MOMENTUM = "sgd:momentum=0.9,weight-decay=0.001"


# Keras's Adam adds its epsilon before the bias correction, so that its steps differ where a gradient is almost 0.
@pytest.mark.parametrize(
    ("name", "optimiser", "share", "within"),
    [
        ("keras", MOMENTUM, 1.0, 1e-5),
        ("torch", MOMENTUM, 1.0, 1e-5),
        ("keras", "sgd:momentum=0.9,nesterov=true", 1.0, 1e-5),
        ("torch", "sgd:momentum=0.9,nesterov=true", 1.0, 1e-5),
        ("torch", "adam", 0.9999, 1e-5),
        ("torch", "adamw:weight-decay=0.5", 0.9999, 1e-5),
        ("keras", "adam", 0.9, 1e-4),
    ],
)
def test_the_local_optimiser_is_that_of_the_model_in_rust(run, name, optimiser, share, within):
    flags = {"clients": 1, "rounds": 1, "epochs": 3, "batch_size": 1000, "lr": 0.001, "optimiser": optimiser}
    ours, rust = run(client=client(name), **flags).weights(), run("mlp", **flags).weights()
    distances = np.concatenate([np.abs(ours[tensor] - rust[tensor]).ravel() for tensor in rust])
    assert np.quantile(distances, share) < within


@pytest.mark.parametrize("name", ["keras", "torch"])
def test_the_conformance_suite_takes_optimisers_that_are_not_fedpipes_own(name):
    """The optimisers of a framework may differ in details: Keras's Adam adds its epsilon at another place."""
    command = shlex.split(client(name))
    words = ["-m", "fedpipe.conformance", "--timeout", "300", "--only", "optimiser", "--", *command]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0 and "ok     it trains by the local optimiser" in done.stdout, done.stdout + done.stderr
