"""Runs on a real target: the set and the values of `crates/python/reference/regression.py`."""

import json
import struct

import numpy as np
import pytest

from conftest import PACKAGE, REPOSITORY, python

SET = json.loads((REPOSITORY / "crates/cli/tests/e2e/regression/set.json").read_text())


@pytest.fixture
def real(tmp_path):
    """Returns the path of the set, as IDX files of f32."""
    folder = tmp_path / "real"
    folder.mkdir()
    for split, name in ("train", "train"), ("test", "t10k"):
        targets = np.array(SET[f"{split}_targets"], ">f4")
        inputs = np.array(SET[f"{split}_inputs"], ">f4").reshape(len(targets), 3)
        for what, values in (f"{name}-images-idx2-float", inputs), (f"{name}-labels-idx1-float", targets):
            head = struct.pack(f">4B{values.ndim}I", 0, 0, 13, values.ndim, *values.shape)
            (folder / what).write_bytes(head + values.tobytes())
    return str(folder)


def test_a_client_in_python_has_the_errors_of_the_model_in_rust_and_of_numpy(run, real):
    flags = {"data": real, "target": "real", "clients": 4, "rounds": 60, "lr": 0.3, "batch_size": 160}
    ours = run(client=python(PACKAGE / "examples" / "least_squares.py"), **flags)
    rust = run("linreg", **flags)
    for done in ours, rust:
        assert "accuracy" not in done.summary and done.summary["loss_fell"]
        for name, due in SET["test_errors"].items():
            assert abs(done.summary[name] - due) < 1e-5
    r2 = list(rust.ledger["r2"])
    assert len(r2) == 60 and r2[-1] == rust.summary["r2"]


def test_a_model_of_classes_is_refused_by_its_own_error(run, real):
    with pytest.raises(Exception, match="take a model of regression, such as linreg or mlp"):
        run(client=python(PACKAGE / "examples" / "softmax.py"), data=real, target="real")
