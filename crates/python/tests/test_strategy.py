"""Strategies that are programs."""

import inspect

import numpy as np
import pytest

import fedpipe
from conftest import FIXTURES, PACKAGE, python
from fedpipe.strategy import Strategy, load_state, save_state

FEDADAM = python(PACKAGE / "examples" / "fedadam.py", "--rate", "0.02")


def counting(*words):
    return python(FIXTURES / "strategy.py", *[str(word) for word in words])


def test_fedadam_of_ones_own_is_the_built_in_one(run):
    flags = {"clients": 3, "rounds": 4, "partition": "dirichlet:0.5"}
    ours, built_in = run("mlp", strategy_program=FEDADAM, **flags), run("mlp", strategy="fedadam:rate=0.02", **flags)
    assert ours.summary["strategy"] == f"program {FEDADAM}"
    for name, values in built_in.weights().items():
        assert np.abs(ours.weights()[name] - values).max() < 1e-6, name
    assert ours.summary["accuracy"] == built_in.summary["accuracy"]


def test_fedavg_of_ones_own_has_the_bits_of_the_built_in_one(run, tmp_path):
    flags = {"clients": 5, "fraction": 0.6, "rounds": 3}
    ours = run("logreg", strategy_program=counting("never", tmp_path / "never"), **flags)
    assert ours.summary["weights_sha256"] == run("logreg", **flags).summary["weights_sha256"]
    (ready,) = ours.events("ready")
    assert str(FIXTURES / "strategy.py") in ready["strategy_sha256"]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raise", 'the strategy raised ZeroDivisionError in aggregate: by zero (strategy.py, line 25: raise ZeroDivisionError("by zero"))'),
        ("exit", "it exited with code 7; its last words: these are its last words"),
        ("short", "it has 7849 weights, expected 7850"),
        ("nothing", "Counting.aggregate returned None, and must return a pair: the new weights, and the state"),
        ("weights alone", "Counting.aggregate returned a ndarray of the shape (7850,), and must return a pair"),
        ("a number", "Counting.aggregate returned a tuple of 2, and must return a pair"),
        ("text", "the weights are of the type <U5, not of numbers"),
        ("a name", "a name of the state is 7, and must be a text"),
        ("NaN", "weight 0 is NaN"),
    ],
)
def test_a_strategy_that_fails_ends_the_run_which_continues_with_its_state(run, tmp_path, how, says):
    # A confined strategy could not write the mark.
    flags = {"out": "out", "rounds": 3, "isolation": "off", "strategy_program": counting(how, tmp_path / "mark"), "on_failure": "abort"}
    with pytest.raises(fedpipe.RunError) as error:
        run("logreg", **flags)
    told = str(error.value)
    assert error.value.exit_code == 6 and told.startswith("the strategy's program crashed in round 2: ") and says in told
    # The program refuses a state that is not that of round 1.
    resumed = run(resume="out", rounds=None, data=None)
    assert [line["round"] for line in resumed.events("round")] == [1, 2, 3]
    whole = run("logreg", rounds=3, strategy_program=counting("never", tmp_path / "mark"))
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]


@pytest.mark.parametrize(
    ("flags", "says", "code"),
    [
        ({"strategy_program": "nonesuch"}, "there is no program nonesuch in PATH", 3),
        ({"strategy_program": "true"}, "the strategy's program crashed before the first round: it exited with code 0", 3),
        ({"strategy_program": "'"}, "--strategy-program", 2),
        ({"strategy_program": "true", "strategy": "fedadam"}, "cannot be used with", 2),
        ({"strategy_program": "true", "set": {"strategy.name": "fedadam"}}, "both the strategy fedadam", 2),
        ({"strategy_program": python(PACKAGE / "examples" / "softmax.py")}, "'setup_strategy'", 3),
        ({"client": FEDADAM, "model": None}, "this program is a strategy, for --strategy-program", 3),
    ],
)
def test_what_is_no_strategy_is_one_sentence(run, flags, says, code):
    with pytest.raises(fedpipe.RunError) as error:
        run(**{"model": "logreg", **flags})
    assert says in str(error.value) and error.value.exit_code == code, str(error.value)


SAMPLED = {"clients": 4, "fraction": 0.5, "rounds": 4, "partition": "dirichlet:0.3"}


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_scaffold_of_ones_own_has_the_bits_of_the_built_in_one(run, norm):
    """A norm over the batch has buffers: the running mean and variance."""
    flags = {**SAMPLED, "model_options": {"norm": norm}}
    program = python(PACKAGE / "examples" / "scaffold.py")
    ours, built_in = run("mlp", strategy_program=program, **flags), run("mlp", strategy="scaffold", **flags)
    bits = lambda done: [line["weights_sha256"] for line in done.events("round")]  # noqa: E731
    assert bits(ours) == bits(built_in)
    assert bits(ours)[-1] != run("mlp", **flags).summary["weights_sha256"]


def rotating(*words):
    return python(FIXTURES / "rotating.py", *[str(word) for word in words])


def test_a_strategy_chooses_the_clients_of_a_round(run, tmp_path):
    done = run("logreg", strategy_program=rotating("never", tmp_path / "mark"), **SAMPLED)
    assert [line["participants"] for line in done.events("round")] == [[1, 2], [2, 3], [0, 3], [0, 1]]


def test_a_program_leaves_local_tensors_to_their_clients(run, tmp_path):
    """FedAvg of one's own has the bits of the built-in one, and a resume those of a run without a break."""
    flags = {"client": python(FIXTURES / "personal.py"), "clients": 3, "partition": "dirichlet:0.3", "isolation": "off"}
    ours = {**flags, "strategy_program": counting("never", tmp_path / "never")}
    bits = lambda done: [(line["weights_sha256"], line["clients_sha256"]) for line in done.events("round")]  # noqa: E731
    built_in, whole = bits(run(rounds=4, **flags)), bits(run(rounds=4, **ours))
    run(rounds=2, out="out", **ours)
    assert whole == built_in == bits(run(resume="out", rounds=4, data=None))
    assert len(set(whole)) == 4 and None not in whole[0]


def test_a_sample_has_a_seed_of_its_own(run, tmp_path):
    (tmp_path / "seeded.py").write_text(
        "import fedpipe\n\nclass Seeded(fedpipe.Strategy):\n"
        "    def sample(self, round, clients, count, state):\n        return [self.sample_seed % clients]\n\n"
        "    def aggregate(self, round, weights, updates, state):\n        return updates[0].weights, {}\n\n"
        "fedpipe.serve_strategy(Seeded)\n"
    )
    flags = {"strategy_program": python(tmp_path / "seeded.py"), "clients": 4, "rounds": 1, "isolation": "off"}
    for seeds, client in ({"seed": 1}, 1), ({"seed": 1, "sample_seed": 3}, 3):
        (line,) = run("logreg", **flags, **seeds).events("round")
        assert line["participants"] == [client]


@pytest.mark.parametrize("where", ["sample", "prepare", "aggregate"])
def test_the_states_of_a_strategy_and_its_clients_survive_a_crash_and_a_resume(run, tmp_path, where):
    whole = run("logreg", strategy_program=rotating("never", tmp_path / "mark"), **SAMPLED).summary["weights_sha256"]
    # A confined strategy could not write the mark.
    flags = {**SAMPLED, "isolation": "off", "on_failure": "retry"}
    retried = run("logreg", strategy_program=rotating(where, tmp_path / "once"), **flags)
    (crash,) = retried.events("strategy_crashed")
    assert (crash["round"], crash["then"], retried.summary["weights_sha256"]) == (3, "retried", whole)
    flags.update(strategy_program=rotating(where, tmp_path / "twice"), on_failure="abort", out="out")
    with pytest.raises(fedpipe.RunError, match="the strategy's program crashed in round 3: it exited with code 7"):
        run("logreg", **flags)
    assert run(resume="out", rounds=None, data=None).summary["weights_sha256"] == whole


STRATEGY = """
import numpy as np
import fedpipe

class Bad(fedpipe.Strategy):
    def aggregate(self, round, weights, updates, state):
        return fedpipe.weighted_mean(updates), {}
"""


@pytest.mark.parametrize(
    ("more", "says", "code"),
    [
        ("def sample(self, round, clients, count, state): return []", "it sampled no client; a round needs at least one", 6),
        ("def sample(self, round, clients, count, state): return [1, 1]", "it sampled client 1 twice", 6),
        ("def sample(self, round, clients, count, state): return [4]", "it sampled client 4, and the clients are 0 to 3", 6),
        ("def sample(self, round, clients, count, state): pass", "Bad.sample returned None, and must return a list of the clients' numbers", 6),
        ("def prepare(self, *_): pass", "Bad.prepare returned None, and must return a fedpipe.Prepared; is a `return` missing?", 6),
        ("def prepare(self, *_): return fedpipe.Prepared([])", "its answer for client 0: it has no phase; give at least one", 6),
        ("def prepare(self, *_): return fedpipe.Prepared([7])", "Bad.prepare must return a fedpipe.Prepared with a list of fedpipe.Phase", 6),
        (
            "def prepare(self, *_): return fedpipe.Prepared([fedpipe.Phase(1, linear=True)])",
            'it needs the feature "linear", which the program did not list when it was ready',
            6,
        ),
        (
            "features = ['linear']\n    def prepare(self, *_): return fedpipe.Prepared([fedpipe.Phase(1, linear=True)], linear=np.ones(3))",
            'its part "linear" has 3 values, expected 7850',
            6,
        ),
        ("features = ['flying']", "lacks the feature \"flying\", which the strategy's program needs", 3),
        ("keeps_client_state = True", "Bad.aggregate returned a tuple of 2, and must return three values", 6),
        (
            "keeps_client_state = True\n    def aggregate(self, round, weights, updates, state): return weights, {}, {9: {'c': weights}}",
            'the part "client_state/9", which was not asked for',
            6,
        ),
    ],
)
def test_a_wrong_answer_is_one_sentence(run, tmp_path, more, says, code):
    program = tmp_path / "bad.py"
    program.write_text(f"{STRATEGY}\n    {more}\n\nfedpipe.serve_strategy(Bad)\n")
    with pytest.raises(fedpipe.RunError) as error:
        run("logreg", clients=4, strategy_program=python(program), on_failure="abort")
    assert says in str(error.value) and error.value.exit_code == code, str(error.value)


def test_a_strategy_knows_the_experiment(run, tmp_path):
    program = tmp_path / "known.py"
    method = "def prepare(self, *_): raise fedpipe.ModelError(repr((self.phase.epochs, self.batch_size, self.learning_rate, self.optimiser)))"
    program.write_text(f"{STRATEGY}\n    {method}\n\nfedpipe.serve_strategy(Bad)\n")
    flags = {"epochs": 3, "batch_size": 7, "lr": 0.25, "optimiser": "sgd:momentum=0.5", "on_failure": "abort"}
    with pytest.raises(fedpipe.RunError, match=r"\(3, 7, 0.25, \{'momentum': 0.5, 'name': 'sgd'\}\)"):
        run("logreg", strategy_program=python(program), **flags)


class Losses(Strategy):
    """FedAvg with a state: the losses of its updates."""

    def aggregate(self, round, weights, updates, state):
        losses = np.array([update.loss for update in updates])
        sums = np.array([update.loss_sum for update in updates])
        return fedpipe.weighted_mean(updates), {"losses": losses, "sums": sums}


def test_an_update_has_its_training_loss(run, tmp_path):
    """The mean over the clients' examples is the training loss of the ledger."""
    program = tmp_path / "losses.py"
    text = inspect.getsource(Losses).replace("(Strategy)", "(fedpipe.Strategy)")
    program.write_text(f"import fedpipe\nimport numpy as np\n\n{text}\nfedpipe.serve_strategy(Losses)\n")
    done = run("logreg", clients=3, rounds=1, partition="dirichlet:0.5", strategy_program=python(program))
    (dealt,), (line,) = done.events("dealt"), done.events("round")
    (checkpoint,) = (tmp_path / "runs" / "logreg-1" / "checkpoint").rglob("*.safetensors")
    state = load_state(fedpipe.safetensors(checkpoint)["server.program"])
    assert len(state["losses"]) == 3 and np.allclose(state["losses"] * dealt["sizes"], state["sums"])
    assert state["sums"].sum() / sum(dealt["sizes"]) == pytest.approx(line["training_loss"], rel=1e-12)


def test_what_makes_no_strategy_is_refused_by_name(run, tmp_path):
    program = tmp_path / "none.py"
    program.write_text("import fedpipe\nfedpipe.serve_strategy(lambda layout, clients, seed: None)\n")
    with pytest.raises(fedpipe.RunError, match="serve_strategy takes a subclass of fedpipe.Strategy, .* and got None") as error:
        run("logreg", strategy_program=python(program))
    assert error.value.exit_code == 3


def test_a_state_is_read_back():
    state = {"m": np.arange(6, dtype=np.float32).reshape(2, 3), "round": np.array(7), "v": np.array([0.1])}
    back = load_state(save_state(state))
    assert {name: (values.dtype, values.tolist()) for name, values in back.items()} == {
        name: (values.dtype, values.tolist()) for name, values in state.items()
    }
    assert load_state(save_state({})) == {}
    with pytest.raises(TypeError, match="complex128"):
        save_state({"x": np.array(1j)})


def test_buffers_are_no_params():
    class Mean(Strategy):
        def aggregate(self, round, weights, updates, state):
            return weights, state

    tensors = [fedpipe.Tensor("a", (2,)), fedpipe.Tensor("b", (1, 2), kind="buffer"), fedpipe.Tensor("c", ())]
    assert Mean(tensors, 1, 0).params().tolist() == [True, True, False, False, True]
