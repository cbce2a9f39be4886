"""A whole federation on this machine, for `just flower`: SuperLink, SuperNodes and workers over the loopback.

    python -m fedpipe.flower.local [--binary PATH] [--out DIR] [--tls] MODEL [flags of `fedpipe run`]

The folder `OUT-flower` beside the run directory has all other files: the app, Flower's own files, keys and logs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Dict, List, Optional, Sequence

from ..runs import find
from .processes import Processes

WAIT = 120.0
"""The seconds that a part may take to start on a busy machine."""


class Local:
    """Starts and stops the parts. `binary` is the command `fedpipe`, `experiment` the arguments of `fedpipe run`."""

    def __init__(self, binary: str, out: str, experiment: Sequence[str], tls: bool = False) -> None:
        self.out = os.path.abspath(out)
        self.folder = f"{self.out}-flower"
        self.tls = tls
        self.plain: Dict[int, str] = {}
        """The nodes without a worker, each with the entry of its configuration in the place of a socket."""
        self.models: Dict[int, str] = {}
        """The models of workers that differ from the experiment's model."""
        self.served: Dict[int, List[str]] = {}
        """The flags of `fedpipe serve` for workers that serve other data than their partition of the experiment."""
        self._binary = os.path.abspath(binary)
        self.app = os.path.join(self.folder, "app")
        self._ports: List[socket.socket] = []
        _make(self.folder)
        self._sockets = tempfile.TemporaryDirectory(prefix="fedpipe-")
        self.processes = Processes(self.folder, _environment(self.folder))
        try:
            self._prepare(experiment)
        except BaseException:
            # Nothing has run in the folder. Its name stays free for the next attempt.
            self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _prepare(self, experiment: Sequence[str]) -> None:
        """Writes the app, the keys and Flower's configuration into the folder."""
        self._do("new", [self._binary, "flower", "new", self.app, *experiment])
        with open(os.path.join(self.app, "experiment.toml"), encoding="utf-8") as file:
            lines = file.readlines()
        self.clients = next(int(line.split("=")[1]) for line in lines if line.startswith("count = "))
        self._own = 'partition = "own"\n' in lines
        self.port = self._port()
        if self.tls:
            module = "fedpipe.flower.certificates"
            self._do("certificates", [sys.executable, "-m", module, self._keys(), str(self.clients)])
        self._write_config()

    def start(self) -> None:
        """Starts all parts. The workers are first, so that each node has its worker at its first message."""
        for client in range(self.clients):
            if client not in self.plain:
                self.start_worker(client)
        self.start_superlink()
        self.start_supernodes()

    def start_supernodes(self) -> None:
        """Starts a SuperNode for each client. With TLS, each is registered at the SuperLink."""
        for client in range(self.clients):
            if self.tls:
                key = self._keys(f"node-{client}.pub")
                self._do("register", [self._flower("flwr"), "supernode", "register", key, "local"])
            self.start_supernode(client)

    def start_worker(self, client: int) -> None:
        """Starts `fedpipe serve`, as the administrator of a node does."""
        experiment = os.path.join(self.app, "experiment.toml")
        if self._own and client not in self.served:
            raise RuntimeError(f"under --partition own, node {client} needs data of its own; start the nodes by hand, as the README describes")
        served = self.served.get(client, ["--experiment", experiment, "--client", str(client)])
        words = [self._binary, "serve", *served]
        words += ["--model", self.models[client]] if client in self.models else []
        self.processes.start(f"worker-{client}", [*words, "--socket", self._socket(client)])
        self.processes.await_line(f"worker-{client}", "serving ", WAIT)

    def start_superlink(self) -> None:
        """Starts the SuperLink. Its database is a file, so that it can be started again."""
        words = [self._flower("flower-superlink"), "--disable-runtime-dependency-installation", "--host", "127.0.0.1"]
        words += ["--port", str(self.port), "--database", os.path.join(self.folder, "superlink.db")]
        if self.tls:
            words += ["--ssl-ca-certfile", self._keys("ca.crt"), "--ssl-certfile", self._keys("server.pem")]
            words += ["--ssl-keyfile", self._keys("server.key"), "--enable-supernode-auth"]
        else:
            words.append("--insecure")
        self.processes.start("superlink", words)
        self.processes.await_port("superlink", self.port, WAIT)

    def start_supernode(self, client: int, name: Optional[str] = None, key: Optional[str] = None) -> None:
        """Starts the node of a client. A plain node has its entry of `plain` in the place of a socket."""
        own = self.plain.get(client, f'socket="{self._socket(client)}"')
        config = f"partition-id={client} num-partitions={self.clients} {own}"
        words = [self._flower("flower-supernode"), "--superlink", f"127.0.0.1:{self.port}", "--node-config", config]
        words += ["--port", str(self._port())]
        if self.tls:
            words += ["--root-certificates", self._keys("ca.crt")]
            words += ["--auth-supernode-private-key", key or self._keys(f"node-{client}.key")]
        else:
            words.append("--insecure")
        self.processes.start(name or f"supernode-{client}", words)

    def submit(self, config: Optional[Dict[str, str]] = None) -> "subprocess.Popen[bytes]":
        """Starts `flwr run`, which shows the run's log until its end."""
        settings = {"binary": self._binary, "out": self.out, **(config or {})}
        text = " ".join(f'{key}="{value}"' for key, value in settings.items())
        words = [self._flower("flwr"), "run", self.app, "local", "--stream", "--run-config", text]
        return self.processes.start("run", words)

    def stop(self) -> None:
        """Ends all processes that were started here."""
        self.processes.stop()
        self._sockets.cleanup()
        for held in self._ports:
            held.close()

    def _socket(self, client: int) -> str:
        return os.path.join(self._sockets.name, f"{client}.sock")

    def _port(self) -> int:
        """Reserves a port. A socket that does not listen stays bound to it, so that no other process receives the port.
        Flower can bind the same port by its number, since both sockets set SO_REUSEADDR."""
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        self._ports.append(held)
        return held.getsockname()[1]

    def _keys(self, name: str = "") -> str:
        return os.path.join(self.folder, "keys", name)

    def _flower(self, name: str) -> str:
        """Returns the path of a command of Flower's in this environment. Raises `RuntimeError` if it is missing."""
        path = os.path.join(os.path.dirname(sys.executable), name)
        if not os.path.exists(path):
            listed = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")
            raise RuntimeError(f"there is no {name} at {path}: run `{sys.executable} -m pip install -r {listed}`")
        return path

    def _do(self, name: str, words: List[str]) -> None:
        """Runs a short command to its end."""
        self.processes.start(name, words)
        if self.processes.finish(name, WAIT) != 0:
            said = self.processes.said(name).strip()
            raise RuntimeError(said[len("error: ") :] if said.startswith("error: ") else f"{' '.join(words)}: {said}")

    def _write_config(self) -> None:
        home = os.path.join(self.folder, "home")
        os.makedirs(home)
        trust = f'root-certificates = "{self._keys("ca.crt")}"' if self.tls else "insecure = true"
        with open(os.path.join(home, "config.toml"), "w", encoding="utf-8") as file:
            file.write(
                f'[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = "127.0.0.1:{self.port}"\n{trust}\n'
            )


def _make(folder: str) -> None:
    """Makes the folder. Raises `RuntimeError` with the remedy if it exists or cannot be made."""
    try:
        os.makedirs(folder)
    except FileExistsError:
        raise RuntimeError(f"{folder} exists already, from another run; remove it, or give another --out") from None
    except OSError as error:
        raise RuntimeError(f"cannot make {folder}: {error.strerror}; give another folder with --out") from error


def _environment(folder: str) -> Dict[str, str]:
    """Returns the environment of Flower's processes: its files in the folder, no telemetry, its commands on the
    PATH."""
    return {
        **os.environ,
        "FLWR_HOME": os.path.join(folder, "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _next_out() -> str:
    number = 1
    while os.path.exists(f"runs/flower-{number}") or os.path.exists(f"runs/flower-{number}-flower"):
        number += 1
    return f"runs/flower-{number}"


def main() -> int:
    """Runs the command line. Returns 0 for a completed run, 130 for Ctrl-C, and 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m fedpipe.flower.local", description=__doc__.split("\n", 1)[0])
    where = "the command fedpipe [default: $FEDPIPE_BIN, the PATH, or what cargo built here]"
    parser.add_argument("--binary", help=where)
    parser.add_argument("--out", help="the run directory [default: runs/flower-N]")
    parser.add_argument("--tls", action="store_true", help="TLS, with SuperNodes that prove their identity")
    options, experiment = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        local = Local(find(options.binary), options.out or _next_out(), experiment, options.tls)
    except (RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        print(f"logs are in {local.folder}", flush=True)
        local.start()
        local.processes.follow("run", local.submit())
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        local.stop()
    try:
        with open(os.path.join(local.out, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
    except OSError:
        print(f"error: the run left no results; its log is {local.folder}/run.log", file=sys.stderr)
        return 1
    print(f"weights_sha256 {summary['weights_sha256']}\nresults in {local.out}")
    return 0 if isinstance(summary["stopped"], str) else 1


if __name__ == "__main__":
    sys.exit(main())
