"""Datasets that `write_dataset` writes, as this package and the command read them."""

import numpy as np
import pytest

import fedpipe
from fedpipe.data import safetensors

X = np.arange(120, dtype=np.float64).reshape(60, 2) / 100
Y = np.arange(60) % 3
TEST = (X[:6], Y[:6])


def test_arrays_are_npy_files(tmp_path):
    place = fedpipe.write_dataset(X, Y, tmp_path / "set", test=TEST)
    assert sorted(path.name for path in place.iterdir()) == ["x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy"]
    assert np.load(place / "x_train.npy").dtype == np.float32
    assert np.array_equal(np.load(place / "y_train.npy"), Y)
    whole = fedpipe.write_dataset(X.astype(np.uint8), Y, tmp_path / "whole")
    assert sorted(path.name for path in whole.iterdir()) == ["x.npy", "y.npy"]
    assert np.load(whole / "x.npy").dtype == np.uint8


def test_clients_are_partition_files(tmp_path):
    clients = np.array(["b", "a"])[np.arange(60) % 2]
    place = fedpipe.write_dataset(X, Y, tmp_path, test=TEST, clients=clients)
    files = sorted(path.name for path in place.iterdir())
    assert files == ["000000.safetensors", "000001.safetensors", "test.safetensors"]
    partition = fedpipe.Partition(place / "000000.safetensors")
    assert np.array_equal(partition.labels, Y[1::2])
    assert np.array_equal(partition.rows, X[1::2].astype(np.float32))
    assert int.from_bytes((place / "000000.safetensors").read_bytes()[:8], "little") % 64 == 56


def test_real_targets_are_a_tensor_of_their_own(tmp_path):
    real = (X[:6], np.linspace(0, 1, 6))
    place = fedpipe.write_dataset(X, Y / 2, tmp_path, test=real, clients=np.zeros(60))
    tensors = safetensors(place / "000000.safetensors")
    assert set(tensors) == {"targets", "examples"}
    assert np.array_equal(tensors["targets"], (Y / 2).astype(np.float32))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": X, "y": Y[:5]}, "(60, 2) and targets of (5,)"),
        ({"x": np.full((60, 2), np.nan), "y": Y}, "not finite in row 0"),
        ({"x": X, "y": Y - 1}, "the label -1"),
        ({"x": X, "y": Y, "clients": Y}, "need a test set"),
        ({"x": X, "y": Y, "test": TEST, "clients": Y[:5]}, "one a row"),
        ({"x": X, "y": np.array(["a"] * 60), "test": TEST, "clients": Y}, "are texts"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, arguments, words):
    with pytest.raises(fedpipe.DataError, match=words.replace("(", r"\(").replace(")", r"\)")):
        fedpipe.write_dataset(arguments.pop("x"), arguments.pop("y"), tmp_path / "set", **arguments)


def test_a_directory_with_files_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(fedpipe.DataError, match="not empty"):
        fedpipe.write_dataset(X, Y, tmp_path)


def test_the_command_runs_with_written_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    arrays = fedpipe.write_dataset(X, Y, tmp_path / "arrays", test=TEST)
    ready = fedpipe.write_dataset(X, Y, tmp_path / "ready", test=TEST, clients=Y)
    for name, flags in ("a", {"data": str(arrays), "clients": 3}), ("b", {"partition": f"files:{ready}"}):
        run = fedpipe.run("logreg", rounds=1, out=str(tmp_path / name), **flags)
        [dealt] = run.events("dealt")
        assert dealt["sizes"] == [20, 20, 20]
        assert dealt["dataset"]["classes"] == 3
