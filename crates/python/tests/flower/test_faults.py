"""The cost of a killed process, as in the matrix of fedpipe/flower/README.md."""

import os
import signal

import pytest

pytest.importorskip("flwr")

from stage import LIMIT, Results, command_line, eventually, finish  # noqa: E402

SMALL = ("mlp", "--data", "sample", "--model-option", "hidden=16", "--clients", "2", "--rounds", "2")


def child(process):
    """Returns the only child of a process."""
    from fedpipe.flower.processes import descendants

    [number] = descendants(process.pid)
    return number


def started_as(word):
    """Returns the descendants of this process that have a word in their command line."""
    from fedpipe.flower.processes import descendants

    return [number for number in descendants(os.getpid()) if word in command_line(number)]


def causes(results):
    """Returns the client and the cause of each crash in the ledger."""
    return [(line["client"], line["cause"]["message"]) for line in results.ledger("client_crashed")]


@pytest.mark.parametrize("strategy", [pytest.param("fedavg", marks=pytest.mark.slow), "scaffold"])
def test_a_killed_worker_costs_nothing_but_time(federation, alone, strategy):
    """Under SCAFFOLD the round needs the state that the round before left for each client."""
    experiment = (*SMALL, "--strategy", strategy)
    local = federation(*experiment)
    local.start()
    run = local.submit()
    local.processes.await_line("run", "round 1/", LIMIT)
    os.kill(child(local.processes["worker-1"]), signal.SIGKILL)
    said = finish(local, run)
    results = Results(local.out)
    # The kill of a busy process is a crash in the run. The worker replaces an idle one before its next request.
    replaced = "the idle client crashed: killed by SIGKILL; a fresh process takes its place"
    idle = replaced in local.processes.said("worker-1")
    assert causes(results) == ([] if idle else [(1, "killed by SIGKILL")]), said
    assert results.bits() == alone(*experiment).bits()
    assert all((line["clients_sha256"] is None) == (strategy == "fedavg") for line in results.bits())
    assert results.summary["failures"] == len(causes(results)) and not results.summary["clients_dropped"]


@pytest.mark.slow
def test_a_killed_serve_that_is_started_again_costs_nothing_but_time(federation, alone):
    local = federation(*SMALL)
    local.start()
    run = local.submit()
    local.processes.await_line("run", "round 1/", LIMIT)
    local.processes.kill("worker-1")
    local.processes.await_line("run", "a fresh process does its work again", LIMIT)
    local.start_worker(1)
    said = finish(local, run)
    results = Results(local.out)
    [(client, cause)] = causes(results)
    assert client == 1 and "is `fedpipe serve` running?" in cause, said
    assert results.bits() == alone(*SMALL).bits()


@pytest.mark.slow
def test_a_supernode_that_is_killed_and_started_again_costs_nothing_but_time(federation, alone):
    local = federation(*SMALL)
    local.start()
    run = local.submit()
    local.processes.await_line("run", "round 1/", LIMIT)
    local.processes.kill("supernode-1")
    local.start_supernode(1)
    said = finish(local, run)
    results = Results(local.out)
    [(client, cause)] = causes(results)
    assert client == 1 and "Node Unavailable" in cause, said
    assert results.bits() == alone(*SMALL).bits()


@pytest.mark.slow
def test_a_supernode_that_stays_away_costs_one_client(federation):
    local = federation(*SMALL)
    local.start()
    run = local.submit()
    local.processes.await_line("run", "round 1/", LIMIT)
    local.processes.kill("supernode-1")
    said = finish(local, run)
    results = Results(local.out)
    assert [line["clients"] for line in results.ledger("round")] == [2, 1], said
    assert results.summary["clients_dropped"] and "no node with partition 1 is connected" in said


@pytest.mark.slow
def test_a_superlink_that_is_killed_and_started_again_costs_nothing_but_time(federation, alone):
    local = federation(*SMALL)
    local.start()
    local.submit()
    local.processes.await_line("run", "round 1/", LIMIT)
    local.processes.kill("superlink")
    local.start_superlink()
    # The stream of `flwr run` ended with the SuperLink; the run did not.
    results = Results(local.out)
    eventually(lambda: results.has("summary.json"))
    assert results.bits() == alone(*SMALL).bits()
    # An interrupted message is a crash of its client, and is sent again.
    assert not results.summary["clients_dropped"]


@pytest.mark.slow
def test_a_run_whose_serverapp_was_killed_is_gone_on_with(federation, alone):
    local = federation(*SMALL)
    local.start()
    local.submit()
    local.processes.await_line("run", "round 1/", LIMIT)
    [server] = started_as("flwr-serverapp")
    os.kill(server, signal.SIGKILL)
    # The host has no clients any more, and ends.
    eventually(lambda: not started_as("--over"))
    results = Results(local.out)
    assert "failed" in results.summary["stopped"]
    said = finish(local, local.submit({"resume": local.out}))
    assert results.bits() == alone(*SMALL).bits(), said
    assert len(results.ledger("resumed")) == 1
