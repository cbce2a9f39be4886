"""Writes `by_class.json`: labels and predictions with the scores that scikit-learn gives them.

Usage: python3 by_class.py (needs scikit-learn; written with 1.9.1)
The scores of two classes have ties. One case has a class that is never predicted, and one a class without an example.
"""

import json
import pathlib

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, roc_auc_score


def case(classes, labels, predictions, scores=None):
    every = list(range(classes))
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predictions, labels=every, zero_division=0)
    return {
        "classes": classes,
        "labels": labels,
        "predictions": predictions,
        "scores": scores,
        "confusion": confusion_matrix(labels, predictions, labels=every).tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0)),
        "auc": None if scores is None else float(roc_auc_score(labels, scores)),
    }


def drawn(classes, n, seed, steps=None):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    if steps is None:
        predictions = np.where(random.random(n) < 0.6, labels, random.integers(0, classes, n))
        return case(classes, labels.tolist(), predictions.tolist())
    # Eighths are exact in float32, and few of them make many ties.
    scores = np.round((labels + random.normal(0, 1, n)) * steps) / steps
    return case(classes, labels.tolist(), (scores > 0.5).astype(int).tolist(), scores.tolist())


cases = [
    drawn(10, 60, 1),
    drawn(3, 40, 2),
    case(4, [0, 1, 1, 3, 3, 3], [0, 1, 0, 0, 3, 1]),
    case(3, [0, 0, 1, 1], [0, 1, 1, 2]),
    drawn(2, 50, 3, steps=8),
    drawn(2, 30, 4, steps=1),
    case(2, [0, 1, 1, 0], [0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0]),
]
text = ",\n".join(json.dumps(case) for case in cases)
pathlib.Path(__file__).with_name("by_class.json").write_text(f"[\n{text}\n]\n")
