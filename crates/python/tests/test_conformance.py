"""The conformance suite: correct clients pass it, and each fault of a wrong client is named."""

import shlex
import subprocess
import sys

import pytest

from conftest import FIXTURES, PACKAGE

WRONG = [
    ("says nothing", "hello", "it ended instead of answering: it exited with code 1; its last words: there was no licence"),
    ("another protocol", "hello", "it speaks protocol 1, and this suite and its fedpipe speak protocol 2"),
    ("prints into the pipe", "hello", "it wrote bytes that are not a frame: it starts with b'Load'"),
    ("no layout", "ready", "its 'ready' has no layout"),
    ("a name twice", "ready", "its layout has a name twice: ['w', 'w']"),
    ("miscounts", "ready", "its 'ready' has 'examples' ["),
    ("one weight too few", "gives the weights", "its 'weights' has 7849 weights, its layout 7850"),
    ("NaN", "is whole", "its 'update' has weights that are NaN or infinite"),
    ("no training", "is whole", "it did not train"),
    ("one step", "is whole", "its update has 'steps' 1, expected 5"),
    ("ignores the client", "is whole", "its update has 'client' 0, expected 1"),
    ("sorts the blocks", "evaluates the blocks", "it was asked for the blocks [2, 0] and answered with"),
    ("keeps state", "the same bits", "its answer to the same request differs the second time"),
    ("scores half", "is whole", "its update has 'scored' 65, expected 130"),
    ("flies", "ready", "its 'ready' has 'features' ['flying']; the protocol has keeps-weights, phases, "),
    ("forgets", "keeps-weights", "but its update differs if the part is left out"),
    ("starts over", "phases", "its weights after two phases, the second from the previous weights differ from"),
    ("no slots", "phases", 'its update has no part "slot/1"'),
    ("no step limit", "step-limit", "its update after 3 steps has {'steps': 10"),
    ("no proximal term", "proximal", "expected 0.01"),
    ("no anchor", "proximal", "one step under the proximal term 0.5 with an anchor that is 2 above its weights moves"),
    ("no linear term", "linear", "one step under a linear term of 0.5 moves a weight by 0 to 0 more"),
    ("thaws", "frozen", "it changed the frozen tensor 'weight' under {'name': 'sgd'}"),
    ("no score", "score-start", "its update has the 'start' {}, expected a finite loss over 130 rows"),
    ("other rows", "score-start", "it scored other rows than those of crates/random/README.md"),
    ("shares all", "local-tensors", "its weights after a training with the part \"local\" differ"),
    ("no accumulation", "accumulation", "it reports the accumulation None of 10 steps of {'name': 'sgd'}, expected 10 to 10"),
    ("evaluates the test set", "evaluate-partition", "expected those of a test set with the same rows"),
    ("no held-out rows", "evaluate-partition", "its 'ready' has the counts {'examples': [600, 70]}, expected {'examples': [600, 70], 'held_out': [1234, 0]}"),
    ("recognises all", "predict", "its confusion matrix has 1000 examples, 1000 of them correct; its sums have "),
    ("clips nothing", "clip", 'the part "change" of its update under clip:norm=0.001 has other bits'),
    ("sends more", "compress:topk", "has the parts ['indices', 'values', 'residual', 'more'], expected indices, values, residual"),
    ("forgets the rest", "compress:topk", 'the part "indices" of its update under topk:fraction=0.4,feedback=true has other bits'),
    ("another rounding", "compress:int8", 'the part "levels" of its update under int8:bucket=512,l2=false has other bits'),
    ("random start", "the same bits", "its initial weights differ in a fresh process"),
    ("ignores the learning rate", "as the request says", "its update does not depend on the learning rate"),
    ("ignores the round", "as the request says", "its update does not depend on the round"),
    ("ignores the optimiser", "optimiser", "it trained under {'name': 'no-such-optimiser'}, which it cannot know"),
    ("takes any optimiser", "optimiser", "it trained under {'name': 'no-such-optimiser'}, which it cannot know"),
    ("takes any parameter", "optimiser", "'no_such_parameter': 0.5}, which it cannot know"),
    ("names no optimiser", "optimiser", "with 'it cannot be done', which does not name it"),
    ("ignores momentum", "optimiser", "its update under {'name': 'sgd', 'momentum': 0.9} is that of plain sgd"),
    ("ignores weight decay", "optimiser", "its update under {'name': 'sgd', 'weight_decay': 0.5} is that of plain sgd"),
    ("grows", "optimiser", "moves the weights away from 0"),
    ("ignores adam", "optimiser", "its update under {'name': 'adam'} is that of plain sgd"),
    ("forgets the bias", "optimiser", "its first step of adam moves a weight by 0.032"),
    ("an order of its own", "the protocol's order", "the order is not that of crates/random/README.md"),
    ("short reads", "in pieces", "it ended instead of answering: it exited with code 1"),
    ("needs data", "describes itself", "'message': 'there are no data'"),
    ("outlives its pipe", "when its pipe ends", "it did not end within 5 s after the end of the pipe"),
    ("ends with 3", "when its pipe ends", "it ended with code 3 after the end of the pipe"),
    ("says more", "when its pipe ends", "it sent 'weights' without a request after the end of the pipe"),
    ("ignores options", "an option", "not with 'failed' of the kind 'refused' and a message"),
    ("trusts lengths", "malformed frame", "it did not end within 5 s after a payload above 8 times its weights"),
]


def suite(command, *flags):
    words = [sys.executable, "-m", "fedpipe.conformance", *flags, "--", *command]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize(("fault", "only", "says"), WRONG, ids=[fault for fault, _, _ in WRONG])
def test_the_fault_of_a_wrong_client_is_named(fault, only, says):
    done = suite([sys.executable, str(FIXTURES / "wrong.py"), fault], "--only", only, "--timeout", "5")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert done.returncode == 1 and says in line, done.stdout + done.stderr


@pytest.mark.parametrize("program", [(PACKAGE / "examples" / "softmax.py",), (FIXTURES / "wrong.py", "none"), (FIXTURES / "personal.py",), (FIXTURES / "solvers.py",)])
def test_a_client_in_python_passes(program):
    """The first client knows only plain sgd and refuses other optimisers. The second knows all of them. The third has a
    local tensor, and the fourth keeps its momentum and brings an optimiser. All have every other feature."""
    done = suite([sys.executable, *map(str, program)])
    assert done.returncode == 0 and "checks are in order" in done.stdout, done.stdout


def test_a_client_of_a_real_target_passes():
    """It knows only plain sgd."""
    done = suite([sys.executable, str(PACKAGE / "examples" / "least_squares.py")], "--real", "--shape", "3,2")
    assert done.returncode == 0 and "checks are in order" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("sums no errors", "Wrong.evaluate summed no errors of the real target; call sums.add_predictions("),
        ("other targets", "its block 2 has 'regression.target_sum' 0.0, but the targets give "),
        ("negative error", "its block 2 has 'regression.squared_error' -1.0, not a finite number of that kind"),
        ("half the error", "its block 2 has a squared error that is too small for its absolute error"),
    ],
)
def test_wrong_sums_of_a_real_target_are_named(fault, says):
    done = suite([sys.executable, str(FIXTURES / "wrong_real.py"), fault], "--real", "--only", "evaluates the blocks")
    assert done.returncode == 1 and says in done.stdout, done.stdout


@pytest.mark.parametrize("flags", [[], ["--real"]])
def test_the_other_kind_of_targets_is_refused_by_name(flags):
    """A model of classes never asks for more than `task.classes`."""
    program = "softmax.py" if flags else "least_squares.py"
    done = suite([sys.executable, str(PACKAGE / "examples" / program)], *flags, "--only", "ready")
    says = "the targets of the data are real numbers; take a model of regression" if flags else "the data have 10 classes"
    assert done.returncode == 1 and says in done.stdout, done.stdout


@pytest.fixture(scope="session")
def client_in_c(tmp_path_factory):
    program = tmp_path_factory.mktemp("c") / "client"
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", str(FIXTURES / "client.c"), "-lm", "-o", str(program)], check=True)
    return program


def test_a_client_in_c_passes(client_in_c):
    done = suite([str(client_in_c)])
    assert done.returncode == 0, done.stdout


def test_a_client_in_c_trains_as_the_model_in_rust_does(client_in_c, run):
    ours = run(client=shlex.quote(str(client_in_c))).summary
    rust = run("logreg").summary
    assert ours["model"] == "c" and abs(ours["accuracy"] - rust["accuracy"]) < 0.005
    assert abs(ours["loss"] - rust["loss"]) < 1e-4


def test_a_program_that_is_not_there_is_an_error():
    done = suite(["./nonesuch"])
    assert done.returncode == 2 and done.stderr == "error: ./nonesuch cannot be started: No such file or directory\n"
