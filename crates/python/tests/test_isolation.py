"""The kernel refuses the attempts of a client in Python, and the client trains nevertheless."""

import socket
from pathlib import Path

import pytest

import fedpipe
from conftest import FIXTURES, python

REFUSED = {
    "open a TCP socket": "PermissionError",
    "open a Unix socket": "PermissionError",
    "read a sibling's partition": "PermissionError",
    "read /etc/passwd": "PermissionError",
    "write a file": "PermissionError",
    "fork": "PermissionError",
    "start a program": "PermissionError",
    "signal the host": "PermissionError",
}
ALLOWED = ["start threads", "use NumPy"]


def attempts(run, tmp_path, cache, **flags):
    """Returns the report of client 1 about each attempt, and the run."""
    run("logreg", clients=2, rounds=1)
    sibling = next(Path(cache["XDG_CACHE_HOME"]).glob("**/000000.safetensors"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = python(FIXTURES / "trespasser.py", str(sibling), str(server.getsockname()[1]), str(tmp_path / "written"))
        ended = run(client=program, clients=2, rounds=1, memory_limit="1G", **flags)
    log = (tmp_path / ended.directory / "clients" / "001.log").read_text()
    said = dict(line.split(": ") for line in log.splitlines() if line.count(": ") == 1)
    return said, ended


def test_a_client_in_python_is_confined_and_trains(run, tmp_path, cache):
    try:
        said, ended = attempts(run, tmp_path, cache, isolation="require")
    except fedpipe.RunError as error:
        if "isolation is required" not in str(error):
            raise
        pytest.skip(str(error))
    assert {name: said[name] for name in REFUSED} == REFUSED
    assert [said[name] for name in ALLOWED] == ["done", "done"] and said["take 2 GiB"].endswith("MemoryError")
    assert not (tmp_path / "written").exists()
    (force,) = ended.events("isolation")
    assert force["seccomp"] and force["threads"] and force["landlock_abi"] and force["memory_limit"] == 1 << 30


def test_isolation_costs_no_bit_and_can_be_left_out(run, tmp_path, cache):
    said, free = attempts(run, tmp_path, cache, isolation="off")
    assert [said[name] for name in [*REFUSED, *ALLOWED]] == ["done"] * (len(REFUSED) + len(ALLOWED))
    assert said["take 2 GiB"].endswith("MemoryError") and (tmp_path / "written").exists()
    _, confined = attempts(run, tmp_path, cache)
    assert free.summary["weights_sha256"] == confined.summary["weights_sha256"]
