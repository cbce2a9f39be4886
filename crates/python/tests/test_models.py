"""The clients in `models/` agree with the model in Rust. `just run keras` and `just run torch` make the environments. The
tests of a missing environment are skipped."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fedpipe
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
        ("keras", "adamw:weight-decay=0.5", 0.9, 1e-4),
    ],
)
def test_the_local_optimiser_is_that_of_the_model_in_rust(run, name, optimiser, share, within):
    flags = {"clients": 1, "rounds": 1, "epochs": 3, "batch_size": 1000, "lr": 0.001, "optimiser": optimiser}
    ours, rust = run(client=client(name), **flags).weights(), run("mlp", **flags).weights()
    distances = np.concatenate([np.abs(ours[tensor] - rust[tensor]).ravel() for tensor in rust])
    assert np.quantile(distances, share) < within


KEPT = {"clients": 3, "fraction": 0.67, "rounds": 3, "optimiser": "sgd:momentum=0.9,keep=true", "lr": 0.01}


def test_pytorch_keeps_a_momentum_as_the_model_in_rust_does_over_processes_and_a_resume(run):
    ours, rust = run(client=client("torch"), **KEPT), run("mlp", **KEPT).weights()
    for tensor, values in ours.weights().items():
        np.testing.assert_allclose(values, rust[tensor], atol=1e-5)
    digest = ours.summary["weights_sha256"]
    assert run(client=client("torch"), **{**KEPT, "optimiser": "sgd:momentum=0.9"}).summary["weights_sha256"] != digest
    assert run(client=client("torch"), processes=1, **KEPT).summary["weights_sha256"] == digest
    begun = run(client=client("torch"), **{**KEPT, "rounds": 1})
    assert run(resume=begun.directory, rounds=3, data=None).summary["weights_sha256"] == digest


def test_keras_keeps_no_momentum_and_is_refused_by_name(run):
    with pytest.raises(fedpipe.RunError) as error:
        run(client=client("keras"), **KEPT)
    assert 'the client keras-mlp lacks the feature "keeps-momentum"' in str(error.value), str(error.value)


@pytest.mark.parametrize(("name", "library"), [("keras", "keras.optimizers"), ("torch", "torch.optim")])
def test_an_optimiser_of_the_clients_own_is_the_one_that_the_option_names(run, name, library):
    def digest(optimiser, **options):
        flags = {"clients": 2, "batch_size": 500, "lr": 0.001}
        done = run(client=client(name), optimiser=optimiser, model_options=options, **flags)
        return done.summary["weights_sha256"]

    assert digest("own", own="SGD") == digest("sgd") != digest("own") == digest("own", own="RMSprop")
    with pytest.raises(fedpipe.RunError) as error:
        digest("own", own="Lion3")
    says = f"model option own: {library} has no 'Lion3'; give one such as RMSprop"
    assert says in str(error.value) and error.value.exit_code == 3, str(error.value)


@pytest.mark.parametrize("name", ["keras", "torch"])
def test_the_conformance_suite_takes_optimisers_that_are_not_fedpipes_own(name):
    """The optimisers of a framework may differ in details: Keras's Adam adds its epsilon at another place."""
    command = shlex.split(client(name))
    words = ["-m", "fedpipe.conformance", "--timeout", "300", "--only", "optimiser", "--", *command]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0 and "ok     it trains by the local optimiser" in done.stdout, done.stdout + done.stderr
