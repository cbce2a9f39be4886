"""Clients in Python in whole runs: the same faults, pooling and reports as for models in Rust."""

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


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("raise", {"kind": "reported", "failure": "model"}),
        ("exit", {"kind": "exit", "code": 7}),
        ("kill", {"kind": "signal", "number": 9}),
        ("sleep", {"kind": "deadline", "seconds": 5.0}),
    ],
)
def test_a_lost_client_is_tried_again_and_costs_no_bit(run, tmp_path, how, cause):
    # The deadline is for starting Python, too: it must be more than a loaded machine takes for that.
    timeout = {"client_timeout": 5} if how == "sleep" else {}
    # The file that ends the fault is written by the client, which isolation would refuse.
    disturbed = run(client=faulty("train", how, tmp_path / "once"), isolation="off", **timeout)
    (lost,) = disturbed.events("lost")
    assert {**lost["cause"], **cause} == lost["cause"] and lost["client"] == 1 and lost["then"] == "retried"
    assert "these are its last words" in (tmp_path / "runs" / "faulty-1" / "clients" / "001.log").read_text()
    assert disturbed.summary["weights_sha256"] == run(client=faulty("never", how)).summary["weights_sha256"]


def test_what_a_model_raises_is_one_sentence(run):
    with pytest.raises(fedpipe.RunError) as error:
        run(client=faulty("train", "raise"), on_failure="abort")
    says = "client 1 was lost in round 2: the model raised ZeroDivisionError in train_epoch: division by zero and more"
    assert error.value.exit_code == 6 and says in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("words", "flags", "says", "code"),
    [
        (("build", "refuse"), {}, "7 is not lucky; give another", 3),
        (("build", "raise"), {}, "the model raised ZeroDivisionError in build: division by zero", 3),
        (("never", "-"), {"model_options": {"luck": 7}}, 'model faulty has no option "luck" (known: lucky)', 3),
        (("import", "exit"), {"on_failure": "abort"}, "it exited with code 7", 6),
        (("evaluate", "refuse"), {"on_failure": "abort"}, "7 is not lucky", 6),
        (("train", "shape"), {"on_failure": "abort"}, "the weights 'bias' has the shape (3,), the layout says (10,)", 6),
        (("train", "NaN loss"), {"on_failure": "abort"}, "the loss became nan", 6),
    ],
)
def test_what_cannot_work_is_one_sentence_with_its_exit_code(run, words, flags, says, code):
    with pytest.raises(fedpipe.RunError) as error:
        run(client=faulty(*words), **flags)
    assert says in str(error.value) and error.value.exit_code == code, str(error.value)


def test_a_requirement_that_is_missing_is_one_sentence(run, tmp_path):
    program = tmp_path / "client.py"
    program.write_text('import fedpipe\nwith fedpipe.requirements("requirements.txt"):\n    import nonesuch\n')
    with pytest.raises(fedpipe.RunError, match=r"client.py needs nonesuch, which .*python.* -m pip install -r .*requirements"):
        run(client=python(program))


def test_a_client_that_no_host_started_says_so():
    import subprocess
    import sys

    done = subprocess.run([sys.executable, str(PACKAGE / "examples" / "softmax.py")], capture_output=True, text=True)
    assert done.returncode == 2 and 'softmax.py is started by fedpipe run --client "python3 softmax.py"' in done.stderr
