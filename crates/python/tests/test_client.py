"""Clients in Python in whole runs. Faults, pooling and reports are the same as for models in Rust."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fedpipe
from conftest import FIXTURES, PACKAGE, python

SOFTMAX = python(PACKAGE / "examples" / "softmax.py")


def faulty(*words):
    return python(FIXTURES / "faulty.py", *[str(word) for word in words])


def test_a_client_in_python_trains_as_the_model_in_rust_does(run):
    ours, rust = run(client=SOFTMAX, clients=3).summary, run("logreg", clients=3).summary
    assert ours["model"] == "softmax" and ours["client"] == SOFTMAX
    assert abs(ours["loss"] - rust["loss"]) < 1e-4 and abs(ours["accuracy"] - rust["accuracy"]) < 0.005


def test_the_bits_do_not_depend_on_the_processes(run):
    digests = {run(client=SOFTMAX, clients=5, processes=n, epochs=2).summary["weights_sha256"] for n in (1, 2, 5)}
    assert len(digests) == 1


def test_the_timeline_has_each_local_epoch(run, tmp_path):
    run(client=SOFTMAX, clients=2, rounds=1, epochs=2)
    lines = map(json.loads, (tmp_path / "runs" / "softmax-1" / "timeline.jsonl").read_text().splitlines())
    epochs = [line for line in lines if line.get("event") == "epoch"]
    assert sorted((line["client"], line["epoch"]) for line in epochs) == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("raise", {"kind": "reported", "failure": "model"}),
        ("exit", {"kind": "exit", "code": 7}),
        ("kill", {"kind": "signal", "number": 9}),
        ("sleep", {"kind": "deadline", "seconds": 5.0}),
    ],
)
def test_a_crashed_client_is_tried_again_and_costs_no_bit(run, tmp_path, how, cause):
    # The deadline includes the start of Python, which takes long on a busy machine.
    timeout = {"client_timeout": 5} if how == "sleep" else {}
    # The client writes the file that ends the fault. Isolation would forbid that.
    disturbed = run(client=faulty("train", how, tmp_path / "once"), isolation="off", **timeout)
    (crash,) = disturbed.events("client_crashed")
    assert {**crash["cause"], **cause} == crash["cause"] and crash["client"] == 1 and crash["then"] == "retried"
    assert "these are its last words" in (tmp_path / "runs" / "faulty-1" / "clients" / "001.log").read_text()
    assert disturbed.summary["weights_sha256"] == run(client=faulty("never", how)).summary["weights_sha256"]


def test_what_a_model_raises_is_one_sentence(run):
    with pytest.raises(fedpipe.RunError) as error:
        run(client=faulty("train", "raise"), on_failure="abort")
    says = "the model raised ZeroDivisionError in train_epoch: division by zero and more"
    assert error.value.exit_code == 6 and str(error.value).startswith("client 1 crashed in round 2 after ")
    assert f" s: {says}" in str(error.value) and len(str(error.value)) < 400
    # The user's line follows the text.
    assert '(faulty.py, line 25: raise ZeroDivisionError("division\\nby zero " + "and more " * 100))' in str(error.value)


@pytest.mark.parametrize(
    ("flags", "rows"),
    [
        ({"strategy": "fedprox:0.5"}, {}),
        ({"strategy": "scaffold"}, {}),
        ({"strategy": "feddyn:0.1"}, {}),
        ({"strategy": "fednova"}, {}),
        ({"aggregate": "median"}, {}),
        ({"until_converged": True, "max_rounds": 3}, {}),
        ({}, {"transform": "int8:bucket=100"}),
        ({}, {"transform": "clip:norm=0.1"}),
        ({}, {"transform": "clip:norm=1+topk:fraction=0.2"}),
    ],
    ids=["fedprox", "scaffold", "feddyn", "fednova", "median", "until-converged", "int8", "clip", "topk"],
)
def test_every_algorithm_is_that_of_the_model_in_rust(run, tmp_path, flags, rows):
    given = {"clients": 3, "rounds": None if "max_rounds" in flags else 3, "epochs": 2, "partition": "dirichlet:0.3", **flags}
    if rows:
        (tmp_path / "experiment.toml").write_text("format = 2\n[strategy]\n" + "".join(f'{key} = "{value}"\n' for key, value in rows.items()))
        given["config"] = "experiment.toml"
    ours, rust = run(client=SOFTMAX, **given), run("logreg", **given)
    for one, other in zip(ours.weights().values(), rust.weights().values()):
        # An encoded value may be rounded to the next level where the change differs in its last bit.
        assert np.abs(one.ravel() - other.ravel()).max() < (5e-3 if rows else 1e-4)
    starts = [[line.get("start_loss") for line in done.events("round")] for done in (ours, rust)]
    assert starts[0] == pytest.approx(starts[1], rel=1e-4) if "max_rounds" in flags else starts[0] == [None] * 3


def test_each_client_keeps_its_own_local_tensors(run, tmp_path):
    client = python(FIXTURES / "personal.py")
    done = run(client=client, clients=3, rounds=3, partition="dirichlet:0.3", isolation="off")
    assert not done.weights()["bias"].any() and done.weights()["weight"].any()
    states = sorted((tmp_path / "runs" / "personal-1" / "state").glob("*-000003.safetensors"))
    biases = [fedpipe.safetensors(path)["local"] for path in states]
    assert len(biases) == 3 and all(bias.any() for bias in biases) and not np.array_equal(*biases[:2])
    again = run(client=client, clients=3, rounds=3, partition="dirichlet:0.3", isolation="off", processes=1)
    assert again.summary["weights_sha256"] == done.summary["weights_sha256"]


# A beginner's first client, in which a test puts one fault.
CLIENT = """
import numpy as np
import fedpipe

class Mean(fedpipe.Model):
    def __init__(self, task, options, seed):
        self.mean = np.zeros(784, np.float32)

    def weights(self):
        return {"mean": self.mean}

    def set_weights(self, weights):
        self.mean = weights["mean"].copy()

    def train_epoch(self, examples, epoch):
        report = fedpipe.Report(steps=1)
        batch = examples.all()
        self.mean += batch.inputs.reshape(len(batch), -1).mean(axis=0)
        report.sums.add(1.0, 0, len(batch))
        return report

    def evaluate(self, examples):
        return fedpipe.Sums(1.0, 0, len(examples))

fedpipe.serve(Mean)
"""


def broken(tmp_path, whole, fault, name="mean.py"):
    """Returns the command of the client with a line replaced, and the path of its file."""
    assert CLIENT.count(whole) == 1
    path = tmp_path / name
    path.write_text(CLIENT.replace(whole, fault))
    return python(path)


def test_the_client_that_the_next_tests_break_is_whole(run, tmp_path):
    assert run(client=broken(tmp_path, "import fedpipe\n", "import fedpipe\n")).summary["rounds"] == 2


@pytest.mark.parametrize(
    ("whole", "fault", "says", "code"),
    [
        ("        return report\n", "", "Mean.train_epoch returned None, and must return its fedpipe.Report; is a `return` missing?", 6),
        ("return report\n", "return report.sums\n", "Mean.train_epoch returned a value of the type Sums, and must return its fedpipe.Report", 6),
        ("steps=1", "steps=0.5", "Mean.train_epoch reports 0.5 as steps, and must count them in whole numbers", 6),
        ("steps=1", "steps=1, accumulation=float('inf')", "Mean.train_epoch reports the accumulation inf, and must give a finite number", 6),
        ("report.sums.add(1.0, 0, len(batch))", "report.sums = fedpipe.Sums(None, 0, 1)", "Mean.train_epoch returned sums that are not numbers: Sums(loss_sum=None", 6),
        ("report.sums.add(1.0, 0, len(batch))", "report.sums = 3", "must return a fedpipe.Report whose `sums` are fedpipe.Sums", 6),
        ("        report.sums.add(1.0, 0, len(batch))\n", "", "Mean.train_epoch returned sums over no examples; call report.sums.add", 6),
        ("report.sums.add(1.0, 0, len(batch))", "report.sums.loss_sum = float('nan')", "the loss became nan in train_epoch; try a lower --lr", 6),
        ("report.sums.add(1.0, 0", "report.sums.add(float('nan'), 0", "the loss became nan after 0 of the examples; try a lower --lr", 6),
        ("return fedpipe.Sums(1.0, 0, len(examples))", "fedpipe.Sums(1.0, 0, len(examples))", "Mean.evaluate returned None, and must return its fedpipe.Sums", 6),
        ("return fedpipe.Sums(1.0, 0, len(examples))", "return 1.0, 0", "Mean.evaluate returned a tuple of 2, and must return its fedpipe.Sums", 6),
        ("Sums(1.0, 0, len(examples))", "Sums(float('inf'), 0, len(examples))", "the loss became inf in evaluate", 6),
        ("Sums(1.0, 0, len(examples))", "Sums(1.0, 0, 7)", "Mean.evaluate returned sums over 7 examples, and was given 500", 6),
        ('return {"mean": self.mean}', 'self.mean', "Mean.weights returned None, and must return the arrays of the weights by name", 3),
        ('return {"mean": self.mean}', 'return self.mean', "Mean.weights returned a ndarray of the shape (784,), and must return the arrays", 3),
        ('return {"mean": self.mean}', 'return {"mean": ["a"]}', "the weights 'mean' are of the type <U1, not of numbers", 6),
        ('    def weights(self):', '    def layout(self):\n        pass\n\n    def weights(self):', "Mean.layout returned None, and must return a list of fedpipe.Tensor", 3),
        ('    def weights(self):', '    def layout(self):\n        return [fedpipe.Tensor("mean", 784)]\n\n    def weights(self):', "Mean.layout has a tensor whose shape is not a tuple of whole numbers", 3),
        ("class Mean(fedpipe.Model):", "class Mean(fedpipe.Model):\n    options = ['lr']", "Mean.options must be a list of fedpipe.Option", 3),
        ("class Mean(fedpipe.Model):", "class Mean(fedpipe.Model):\n    terms = ['drift']", "Mean.terms is ['drift'], and must be a list of proximal, linear, frozen", 3),
        ("class Mean(fedpipe.Model):", "class Mean(fedpipe.Model):\n    version = 1", "Mean.version is 1, and must be a text", 3),
        ("fedpipe.serve(Mean)", "fedpipe.serve(Mean(None, None, 0))", "serve takes a subclass of fedpipe.Model, the class itself, and got <", 3),
        ("    def evaluate", "    def evaluated", "the model raised TypeError in build: Can't instantiate abstract class Mean", 3),
    ],
)  # fmt: skip
def test_a_result_of_another_type_is_one_sentence_that_names_the_method(run, tmp_path, whole, fault, says, code):
    with pytest.raises(fedpipe.RunError) as error:
        run(client=broken(tmp_path, whole, fault), on_failure="abort", clients=2)
    assert says in str(error.value) and error.value.exit_code == code, str(error.value)


def told(run, **flags):
    """Returns the standard error and the exit code of the command for a run that fails."""
    process = subprocess.run(
        [os.environ["FEDPIPE_BIN"], "run", "--data", "sample", "--out", "out", *fedpipe.runs._flags(flags)],
        **{"capture_output": True, "text": True, **run},
    )
    return process.stderr.splitlines(), process.returncode


def test_a_typo_is_told_once_with_the_users_line(tmp_path, cache):
    """NumPy raises, and the error has the user's line, once for four clients and both attempts of each."""
    client = broken(tmp_path, "self.mean += batch.inputs.reshape(len(batch), -1)", "self.mean += np.dot(batch.inputs, self.mean)")
    where = {"cwd": tmp_path, "env": {**os.environ, **cache}}
    lines, code = told(where, client=client, clients=4)
    text = "\n".join(lines)
    place = "(mean.py, line 18: self.mean += np.dot(batch.inputs, self.mean).mean(axis=0))"
    # The first crash, and the reason why the round failed.
    assert text.count(place) == 2 and len(lines) <= 14, text
    words = [line[4:].strip() for line in lines if line.startswith("  | ")]
    assert words[0] == f'File "{tmp_path / "mean.py"}", line 18, in train_epoch', words
    assert words[1].startswith("self.mean += np.dot(") and words[2].startswith("ValueError: shapes ") and len(words) == 3
    # Any client may be the first to crash.
    assert text.count(" crashed as client ") == 2
    assert code == 6 and lines[-1].startswith("error: round 1 failed: 0 of 4 clients returned an update")
    # The log has the whole traceback with NumPy's frame.
    assert "Traceback (most recent call last):" in (tmp_path / "out" / "clients" / "000.log").read_text()


@pytest.mark.parametrize(
    ("whole", "fault", "line", "last"),
    [
        ("np.zeros(784, np.float32)", "np.zeros(784, np.float32", 7, "SyntaxError: '(' was never closed"),
        ("fedpipe.serve(Mean)", "fedpipe.serve(Meam)", 25, "NameError: name 'Meam' is not defined"),
        ("fedpipe.serve(Mean)", "np.dot(np.ones(3), np.ones(2))\nfedpipe.serve(Mean)", 25, "ValueError: shapes (3,) and (2,) not aligned"),
    ],
)  # fmt: skip
def test_a_program_that_fails_before_its_hello_ends_the_run_with_one_line(tmp_path, cache, whole, fault, line, last):
    """The exit code is that of a strategy, and nothing is tried again."""
    where = {"cwd": tmp_path, "env": {**os.environ, **cache}}
    lines, code = told(where, client=broken(tmp_path, whole, fault), clients=4)
    assert code == 3 and len(lines) == 1, lines
    says = "error: the client's program failed before its first message: it exited with code 1; its last words: File "
    assert lines[0].startswith(says) and f'mean.py", line {line}' in lines[0] and last in lines[0], lines
    assert not (tmp_path / "out").exists()


def test_a_script_that_is_not_there_has_the_code_of_a_strategy_that_is_not(tmp_path, cache):
    where = {"cwd": tmp_path, "env": {**os.environ, **cache}}
    absent = python(tmp_path / "nonesuch.py")
    for lines, code in told(where, client=absent), told(where, client=SOFTMAX, strategy_program=absent):
        assert code == 3 and len(lines) == 1, lines
        assert "it exited with code 2; its last words: " in lines[0] and "can't open file" in lines[0], lines


@pytest.mark.parametrize(
    ("words", "flags", "says", "code"),
    [
        (("build", "refuse"), {}, "7 is not lucky; give another", 3),
        (("build", "raise"), {}, "the model raised ZeroDivisionError in build: division by zero", 3),
        (("never", "-"), {"model_options": {"luck": 7}}, 'model faulty has no option "luck" (known: lucky)', 3),
        (("import", "exit"), {}, "failed before its first message: it exited with code 7; its last words: these are", 3),
        # After its hello, a client may fail alone. It is then started again.
        (("build", "exit"), {}, "no client could be started: it exited with code 7", 6),
        (("evaluate", "refuse"), {"on_failure": "abort"}, "7 is not lucky", 6),
        (("train", "shape"), {"on_failure": "abort"}, "the weights 'bias' has the shape (3,), the layout says (10,)", 6),
        (("train", "NaN loss"), {"on_failure": "abort"}, "the loss became nan", 6),
    ],
)
def test_what_cannot_work_is_one_sentence_with_its_exit_code(run, words, flags, says, code):
    with pytest.raises(fedpipe.RunError) as error:
        run(client=faulty(*words), **flags)
    assert says in str(error.value) and error.value.exit_code == code, str(error.value)


@pytest.mark.parametrize(("strategy", "feature"), [("fedprox:0.1", "proximal"), ("scaffold", "linear")])
def test_a_model_that_declares_no_terms_is_refused_by_name(run, tmp_path, strategy, feature):
    with pytest.raises(fedpipe.RunError) as error:
        run(client=broken(tmp_path, "import fedpipe\n", "import fedpipe\n"), strategy=strategy)
    says = f'the client mean lacks the feature "{feature}", which the strategy needs'
    assert says in str(error.value) and error.value.exit_code == 3, str(error.value)


SOLVERS = python(FIXTURES / "solvers.py")


def test_a_momentum_is_kept_exactly_over_processes_and_a_resume(run):
    """With all examples in one batch, rounds of one step that keep the momentum are one round of as many steps."""
    whole = {"client": SOLVERS, "clients": 1, "batch_size": 5000, "lr": 0.01}
    kept, long = run(**whole, optimiser="sgd:momentum=0.9,keep=true", rounds=3), run(**whole, optimiser="sgd:momentum=0.9", rounds=1, epochs=3)
    for ours, due in zip(kept.weights().values(), long.weights().values()):
        np.testing.assert_allclose(ours, due, atol=1e-5)
    flags = {"client": SOLVERS, "clients": 3, "fraction": 0.67, "rounds": 3, "optimiser": "sgd:momentum=0.9,keep=true"}
    digest = run(**flags).summary["weights_sha256"]
    assert run(**{**flags, "optimiser": "sgd:momentum=0.9"}).summary["weights_sha256"] != digest
    for processes in 1, 2:
        assert run(processes=processes, **flags).summary["weights_sha256"] == digest
    begun = run(**{**flags, "rounds": 1})
    assert run(resume=begun.directory, rounds=3, data=None).summary["weights_sha256"] == digest


def test_a_client_brings_an_optimiser_of_its_own(run):
    own = run(client=SOLVERS, optimiser="own", rounds=1, lr=0.001, clients=1, batch_size=5000)
    assert {round(float(abs(values).max()), 6) for values in own.weights().values()} == {0.001}
    for flags, says in [
        ({"client": SOLVERS, "strategy": "fednova"}, "the aggregator normalised and the optimiser own do not combine"),
        ({"client": SOFTMAX}, 'the client softmax lacks the feature "own-optimiser", which --optimiser needs'),
        ({"model": "logreg"}, 'the client logreg lacks the feature "own-optimiser", which --optimiser needs'),
        ({"client": SOFTMAX, "optimiser": "sgd:momentum=0.5,keep=true"}, 'lacks the feature "keeps-momentum"'),
    ]:
        with pytest.raises(fedpipe.RunError) as error:
            run(**{"optimiser": "own", **flags})
        assert says in str(error.value), str(error.value)


@pytest.mark.parametrize("strategy", ["scaffold", "fednova"])
def test_a_client_that_reports_no_accumulation_is_refused_by_name(run, tmp_path, strategy):
    (tmp_path / "mute.py").write_text(
        "import fedpipe, sys\nfrom fedpipe import client\n"
        'client.FEATURES = [name for name in client.FEATURES if name != "accumulation"]\n'
        f"sys.path.insert(0, {str(PACKAGE / 'examples')!r})\nfrom softmax import Softmax\nfedpipe.serve(Softmax)\n"
    )
    with pytest.raises(fedpipe.RunError) as error:
        run(client=python(tmp_path / "mute.py"), isolation="off", strategy=strategy)
    says = 'the client softmax lacks the feature "accumulation", which the strategy needs'
    assert says in str(error.value) and error.value.exit_code == 3, str(error.value)


def test_a_client_that_trains_a_frozen_tensor_is_told(monkeypatch):
    session = object.__new__(fedpipe.session.Session)
    session.model, session.layout = object.__new__(type("Thawing", (), {})), [fedpipe.Tensor("w", (2,))]
    monkeypatch.setattr(session, "weights", lambda: np.ones(2, np.float32), raising=False)
    session._check_frozen({"w": np.ones(2, np.float32)})
    with pytest.raises(fedpipe.ModelError, match="Thawing.train_epoch changed the tensor 'w', which epoch.frozen names"):
        session._check_frozen({"w": np.zeros(2, np.float32)})


def test_a_client_of_protocol_1_is_refused_with_both_versions(run, tmp_path):
    (tmp_path / "old.py").write_text(
        "import fedpipe, sys\nfrom fedpipe import client\nclient.PROTOCOL = 1\n"
        f"sys.path.insert(0, {str(PACKAGE / 'examples')!r})\nfrom softmax import Softmax\nfedpipe.serve(Softmax)\n"
    )
    with pytest.raises(fedpipe.RunError, match="it speaks protocol 1, this host 2"):
        run(client=python(tmp_path / "old.py"), isolation="off", on_failure="abort")


def test_a_requirement_that_is_missing_is_one_sentence(run, tmp_path):
    program = tmp_path / "client.py"
    program.write_text('import fedpipe\nwith fedpipe.requirements("requirements.txt"):\n    import nonesuch\n')
    with pytest.raises(fedpipe.RunError, match=r"client.py needs nonesuch, which .*python.* -m pip install -r .*requirements"):
        run(client=python(program))


def test_a_client_that_no_host_started_says_so():
    done = subprocess.run([sys.executable, str(PACKAGE / "examples" / "softmax.py")], capture_output=True, text=True)
    assert done.returncode == 2 and 'softmax.py is started by fedpipe run --client "python3 softmax.py"' in done.stderr
