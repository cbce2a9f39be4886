"""The ServerApp: a run of fedpipe (`fedpipe run --over SOCKET`) whose clients are Flower's nodes.

The host of the run is the binary. The host samples, aggregates in client order, retries, keeps the ledger and writes
the results, as in a run on one machine. For the host, each client is a connection to a socket of this process, in the
pipe protocol. A request becomes a message to the node with that partition, and the reply is passed back. This code does
no arithmetic on weights.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from typing import Any, Dict, List

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ..runs import find
from .courier import Courier
from .nodes import Nodes
from .relay import converse

OWN = ("binary", "out", "resume")
"""The keys of the run configuration that are not part of the experiment. An empty text means that the key is not
set."""

POLL = 0.2
"""The seconds between two polls for replies."""


def server_app() -> ServerApp:
    """Returns the app of the SuperLink. The run configuration is the experiment."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        with tempfile.TemporaryDirectory(prefix="fedpipe-") as folder:
            path = os.path.join(folder, "host.sock")
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen(64)
                _run(grid, listener, command(context.run_config, path))

    return app


def command(config: Dict[str, Any], path: str) -> List[str]:
    """Returns the host's command line for a run configuration. Raises `FileNotFoundError` if there is no command."""
    own = {key: str(config.get(key, "")) for key in OWN}
    experiment = {key: value for key, value in config.items() if key not in OWN}
    # The app lists every key of an experiment. An empty row of the strategy is that of its preset.
    experiment = {key: value for key, value in experiment.items() if not key.startswith("strategy.") or value != ""}
    # The host refuses a key without effect.
    without_effect = ("rounds",) if experiment.get("until-converged") is True else ("max-rounds", "tolerance")
    experiment = {key: value for key, value in experiment.items() if key not in without_effect}
    # The template names the command without a path. It is found as `fedpipe.run` finds it.
    words = [find(None if own["binary"] in ("", "fedpipe") else own["binary"]), "run", "--over", path]
    if own["resume"]:
        # The resumed run has its own experiment.
        return words + ["--resume", own["resume"]]
    words.append(str(experiment.pop("model", "")))
    for key, value in sorted(experiment.items()):
        words += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return words + (["--out", own["out"]] if own["out"] else [])


def _run(grid: Grid, listener: socket.socket, words: List[str]) -> None:
    """Runs the host to its end. This thread fetches replies, and one thread for each client talks to the host."""
    courier = Courier(grid)
    nodes = Nodes(courier)
    threading.Thread(target=_accept, args=(listener, nodes, courier), daemon=True).start()
    print("+", *words, flush=True)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as host:
        threading.Thread(target=_show, args=(host,), daemon=True).start()
        try:
            while host.poll() is None:
                courier.fetch()
                time.sleep(POLL)
        finally:
            host.send_signal(signal.SIGTERM)
    if host.returncode != 0:
        raise RuntimeError(f"fedpipe ended with {host.returncode}; its output is above")


def _accept(listener: socket.socket, nodes: Nodes, courier: Courier) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection, nodes, courier), daemon=True).start()


def _show(host: "subprocess.Popen[bytes]") -> None:
    """Copies the output of the host into the run's log."""
    assert host.stdout is not None
    for line in host.stdout:
        print(line.decode(errors="replace"), end="", flush=True)
