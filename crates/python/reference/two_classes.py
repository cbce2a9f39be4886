"""Scores the final weights of a run with scikit-learn, for `crates/cli/tests/e2e/metrics.rs` to compare the run with.

    pip install scikit-learn
    python3 crates/python/reference/two_classes.py RUN > crates/cli/tests/e2e/metrics/two_classes.json

RUN is the directory that the test leaves. The rows follow from a rule, which the test has, too. The network is computed
in float64.
"""

import json
import pathlib
import struct
import sys

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

TRAINING, TEST = 400, 600


def row(n):
    """Three features and a label, of which the cube is not visible to the features."""
    a, b, c = n % 7, n * n % 11, 5 * n % 13
    return [a, b, c], int(a + b + n**3 % 9 > 11)


def tensors(path):
    """The tensors of a safetensors file, which are float32."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    read = lambda at: np.frombuffer(body[slice(*at["data_offsets"])], "<f4").reshape(at["shape"])
    return {name: read(at).astype(float) for name, at in header.items()}


def main():
    run = pathlib.Path(sys.argv[1])
    weights = tensors(run / "model.safetensors")
    rows = [row(n) for n in range(TRAINING, TRAINING + TEST)]
    inputs, labels = np.array([x for x, _ in rows], float), np.array([y for _, y in rows])
    hidden = np.maximum(inputs @ weights["dense1.weight"] + weights["dense1.bias"], 0)
    outputs = hidden @ weights["dense2.weight"] + weights["dense2.bias"]
    predictions = outputs.argmax(axis=1)
    result = {
        "weights_sha256": json.loads((run / "summary.json").read_text())["weights_sha256"],
        "confusion": confusion_matrix(labels, predictions).tolist(),
        "macro_f1": float(f1_score(labels, predictions, average="macro")),
        "auc": float(roc_auc_score(labels, outputs[:, 1] - outputs[:, 0])),
    }
    print(json.dumps(result, indent=4))


main()
