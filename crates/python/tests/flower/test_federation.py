"""A federation on Flower is the same run: bits, results and refusals."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

pytest.importorskip("flwr")

from stage import BINARY, LIMIT, Results, command_line, dylib, finish  # noqa: E402

SAMPLE = ("--data", "sample")
SMALL = ("mlp", *SAMPLE, "--model-option", "hidden=16", "--clients", "2")


def test_the_same_bits_as_on_one_machine(federation, alone):
    experiment = ("mlp", *SAMPLE, "--clients", "4", "--rounds", "3")
    local = federation(*experiment)
    local.start()
    said = finish(local, local.submit())
    there, here = Results(local.out), alone(*experiment)
    assert there.bits() == here.bits(), said
    assert len(there.bits()) == 3
    assert there.summary["weights_sha256"] == here.summary["weights_sha256"]
    assert list(there.summary) == list(here.summary)
    assert (there.summary["failures"], there.summary["stopped"]) == (0, "rounds")
    assert subprocess.run([BINARY, "verify", local.out], check=False).returncode == 0


def test_the_strategys_state_lives_in_the_host_and_tls_and_authentication_hold(federation, alone):
    experiment = (*SMALL, "--rounds", "2", "--strategy", "fedadam", "--partition", "dirichlet:alpha=0.5")
    local = federation(*experiment, tls=True)
    local.start()
    # A node with keys of another federation is refused. It claims partition 0.
    subprocess.run([sys.executable, "-m", "fedpipe.flower.certificates", local.folder + "/strange", "1"], check=True)
    local.start_supernode(0, name="stranger", key=local.folder + "/strange/node-0.key")
    said = finish(local, local.submit())
    assert Results(local.out).bits() == alone(*experiment).bits(), said
    assert "SuperNode ID" not in local.processes.said("stranger")
    assert local.processes.said("superlink").count("No SuperNode found with the given public key") == 1


ALGORITHMS = {
    "fedprox": {"strategy.name": "fedprox:mu=0.5"},
    "scaffold": {"strategy.name": "scaffold"},
    "fednova": {"strategy.name": "fednova", "local.optimiser": "sgd:momentum=0.5"},
    "feddyn": {"strategy.name": "feddyn:alpha=0.1"},
    "ditto": {"strategy.name": "ditto:0.1"},
    "fedrep": {"strategy.name": "fedrep:head-epochs=2"},
    "median": {"strategy.aggregate": "median"},
    "int8": {"strategy.transform": "int8"},
    "scaffold-int8": {"strategy.name": "scaffold", "strategy.transform": "clip:0.5+int8"},
    "topk": {"strategy.transform": "clip:0.5+topk:0.1"},
}


@pytest.mark.parametrize(
    "names", [["scaffold-int8", "topk"], pytest.param([*ALGORITHMS], id="all", marks=pytest.mark.slow)]
)
def test_every_algorithm_has_the_bits_of_one_machine(federation, alone, tmp_path, names):
    """One SuperLink and its nodes do all runs, one after the other."""
    experiment = (*SMALL, "--rounds", "2", "--partition", "dirichlet:alpha=0.5")
    local = federation(*experiment)
    local.start()
    differing, hashes = {}, set()
    for name in names:
        keys, out = ALGORITHMS[name], str(tmp_path / name)
        said = finish(local, local.submit({**keys, "out": out}))
        here = alone(*experiment, *(word for key, value in keys.items() for word in ("--set", f"{key}={value}"))).bits()
        there = Results(out).bits() if os.path.exists(out) else []
        hashes.add(here[-1]["weights_sha256"])
        if there != here:
            differing[name] = (there, here, said)
    assert not differing
    assert len(hashes) == len(names)


def test_each_node_keeps_its_own_local_tensors(federation, alone):
    if dylib("personal") is None:
        pytest.skip("the fixture `personal` is built with the tests of Rust, beside a command for tests")
    experiment = ("personal", *SAMPLE, "--clients", "2", "--rounds", "2", "--partition", "dirichlet:alpha=0.5")
    local = federation(*experiment)
    local.start()
    said = finish(local, local.submit())
    there = Results(local.out).bits()
    assert there == alone(*experiment).bits() and len({line["clients_sha256"] for line in there}) == 2, said


CLIENT = '''

import numpy as np
from flwr.client import NumPyClient

from fedpipe.data import Partition


class Softmax(NumPyClient):
    """One step of full-batch gradient descent of a softmax regression, in NumPy alone."""

    def __init__(self, path):
        self.path = path

    def fit(self, parameters, config):
        batch = Partition(self.path).examples().all()
        images, labels = batch.inputs.reshape(len(batch), -1), batch.labels
        weights, bias = parameters
        logits = images @ weights + bias
        exponents = np.exp(logits - logits.max(1, keepdims=True))
        probabilities = exponents / exponents.sum(1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.log(probabilities[rows, labels]).mean()
        probabilities[rows, labels] -= 1
        probabilities *= config["learning_rate"] / len(labels)
        return [weights - images.T @ probabilities, bias - probabilities.sum(0)], len(labels), {"loss": loss}


client = client_app(lambda context: Softmax(context.node_config["file"]))
'''


@pytest.mark.slow
def test_a_plain_flower_client_takes_part(federation, tmp_path, monkeypatch):
    """Node 1 has no worker: the app trains a NumPyClient there, on the partition file that is in its configuration."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    local = federation("logreg", *SAMPLE, "--clients", "2", "--rounds", "2")
    local.start_worker(0)
    [partition] = tmp_path.glob("cache/**/000001.safetensors")
    local.plain[1] = f'file="{partition}"'
    with open(os.path.join(local.app, "fedpipe_app.py"), "a", encoding="utf-8") as app:
        app.write(CLIENT)
    local.start_superlink()
    local.start_supernodes()
    said = finish(local, local.submit())
    summary = Results(local.out).summary
    assert (summary["rounds"], summary["failures"], summary["clients_dropped"]) == (2, 0, False), said
    # The node trained: a guess among ten classes has 10 %.
    assert summary["accuracy"] > 0.3
    assert [line["clients"] for line in Results(local.out).ledger("round")] == [2, 2]
    # The node has no term for the corrections of SCAFFOLD, and the run is refused before its first round.
    said = finish(local, local.submit({"out": str(tmp_path / "scaffold"), "strategy.name": "scaffold"}))
    assert 'client 1 lacks the feature "linear", which the strategy needs' in said, said
    assert not (tmp_path / "scaffold").exists()


def test_nodes_with_data_of_their_own(federation, alone, tmp_path, monkeypatch):
    """The host has only the test set. The partitions are those of a run on one machine, of unequal sizes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = alone(*SMALL, "--rounds", "1", "--partition", "dirichlet:alpha=0.5")
    [test] = tmp_path.glob("cache/**/test.safetensors")
    local = federation(*SMALL, "--rounds", "1", "--partition", "own")
    for client in range(2):
        [partition] = tmp_path.glob(f"cache/**/{client:06}.safetensors")
        local.served[client] = ["--model", "mlp", "--partition", str(partition), "--test", str(test)]
    local.start()
    said = finish(local, local.submit())
    there = Results(local.out)
    assert there.bits() == here.bits(), said
    [dealt] = there.ledger("dealt")
    assert dealt["sizes"] == here.ledger("dealt")[0]["sizes"] and len(set(dealt["sizes"])) == 2


def test_this_machine_has_no_data_of_the_nodes_own(federation):
    local = federation(*SMALL, "--partition", "own")
    with pytest.raises(RuntimeError, match="node 0 needs data of its own"):
        local.start()


def test_a_node_with_another_dylib_is_refused_by_name(federation, tmp_path):
    local = federation(*SMALL, "--rounds", "1")
    # The same model with one more byte at its end, which no loader reads.
    other = tmp_path / "libmlp.so"
    shutil.copy(dylib("mlp"), other)
    with open(other, "ab") as file:
        file.write(b"\0")
    local.models[1] = str(other)
    local.start()
    said = finish(local, local.submit())
    assert "the node of partition 1: this node has the model mlp with SHA-256 " in said
    assert "install the same dylib" in said
    assert not os.path.exists(local.out)


def test_ctrl_c_leaves_no_process(processes, tmp_path):
    out = tmp_path / "out"
    words = [sys.executable, "-m", "fedpipe.flower.local", "--binary", BINARY, "--out", str(out), *SMALL]
    local = processes.start("local", words)
    processes.await_line("local", "Start `flwr-serverapp` process", LIMIT)
    local.send_signal(signal.SIGINT)
    assert processes.finish("local", LIMIT) == 130
    assert [words for words in map(command_line, os.listdir("/proc")) if str(out) in words] == []
