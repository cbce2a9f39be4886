"""The events of runs in virtual time, compared with those of a simulator that shares no code with the command."""

import pytest

from conftest import load


@pytest.mark.parametrize(
    "flags",
    [
        {"strategy": "fedbuff:size=3", "clock": "lognormal", "fraction": 0.5},
        {"strategy": "fedbuff:size=12", "clock": "lognormal:sigma=0.5,bandwidth=3,link-sigma=1", "partition": "quantity:0.5"},
        {"strategy": "fedasync", "clock": "constant:slowness=2,bandwidth=10", "partition": "linear"},
    ],
)
def test_the_events_of_a_run_are_those_of_the_simulator(run, flags):
    done = run("logreg", clients=8, rounds=6, **flags)
    load("crates/strategy/virtual_time.py").check_ledger(f"{done.directory}/ledger.jsonl")
