"""A whole federation on this machine, as `just flower` starts it: SuperLink, SuperNodes and workers over the loopback.

    python -m fedpipe.flower.local [--binary PATH] [--out DIR] [--tls] MODEL [as for `fedpipe run`]

Everything lives in the folder `OUT-flower` beside the run directory: the app, Flower's own files, keys and logs.
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
"""Seconds that anything may take to start on a busy machine."""


class Local:
    """Starts and stops the parts. `binary` is the command `fedpipe`, `experiment` what follows `fedpipe run`."""

    def __init__(self, binary: str, out: str, experiment: Sequence[str], tls: bool = False) -> None:
        self.out = os.path.abspath(out)
        self.folder = f"{self.out}-flower"
        self.tls = tls
        self.plain: Dict[int, str] = {}
        """Nodes without a worker, and what their configuration has instead of a socket."""
        self.models: Dict[int, str] = {}
        """Models of workers that are not the experiment's."""
        self.served: Dict[int, List[str]] = {}
        """What workers serve that is not their partition of the experiment, as flags of `fedpipe serve`."""
        self._binary = os.path.abspath(binary)
        self.app = os.path.join(self.folder, "app")
        self._ports: List[socket.socket] = []
        _make(self.folder)
        self._sockets = tempfile.TemporaryDirectory(prefix="fedpipe-")
        self.processes = Processes(self.folder, _environment(self.folder))
        try:
            self._prepare(experiment)
        except BaseException:
            # Nothing has run in the folder, and the next try may have the same name.
            self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _prepare(self, experiment: Sequence[str]) -> None:
        """Writes the app, the keys and Flower's configuration into the folder."""
        self._do("new", [self._binary, "flower", "new", self.app, *experiment])
        with open(os.path.join(self.app, "experiment.toml"), encoding="utf-8") as file:
            lines = file.readlines()
        self.clients = next(int(line.split("=")[1]) for line in lines if line.startswith("clients = "))
        self._own = 'partition = "own"\n' in lines
        self.port = self._port()
        if self.tls:
            module = "fedpipe.flower.certificates"
            self._do("certificates", [sys.executable, "-m", module, self._keys(), str(self.clients)])
        self._write_config()

    def start(self) -> None:
        """Workers first, so that every node has its own when it is asked."""
        for client in range(self.clients):
            if client not in self.plain:
                self.start_worker(client)
        self.start_superlink()
        self.start_supernodes()

    def start_supernodes(self) -> None:
        """One a client; each is made known to a SuperLink that asks who they are."""
        for client in range(self.clients):
            if self.tls:
                key = self._keys(f"node-{client}.pub")
                self._do("register", [self._flower("flwr"), "supernode", "register", key, "local"])
            self.start_supernode(client)

    def start_worker(self, client: int) -> None:
        """`fedpipe serve`, as an administrator of the node would."""
        experiment = os.path.join(self.app, "experiment.toml")
        if self._own and client not in self.served:
            raise RuntimeError(f"--partition own: this machine has no data of node {client}'s; start the nodes by hand, as the README has it")
        served = self.served.get(client, ["--experiment", experiment, "--client", str(client)])
        words = [self._binary, "serve", *served]
        words += ["--model", self.models[client]] if client in self.models else []
        self.processes.start(f"worker-{client}", [*words, "--socket", self._socket(client)])
        self.processes.await_line(f"worker-{client}", "serving ", WAIT)

    def start_superlink(self) -> None:
        """With its database in a file, so that it can be started again."""
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
        """The node of a client; a plain one has what `plain` says in the place of a socket."""
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
        """`flwr run`, which shows the run's log until its end."""
        settings = {"binary": self._binary, "out": self.out, **(config or {})}
        text = " ".join(f'{key}="{value}"' for key, value in settings.items())
        words = [self._flower("flwr"), "run", self.app, "local", "--stream", "--run-config", text]
        return self.processes.start("run", words)

    def stop(self) -> None:
        """Ends everything that was started here."""
        self.processes.stop()
        self._sockets.cleanup()
        for held in self._ports:
            held.close()

    def _socket(self, client: int) -> str:
        return os.path.join(self._sockets.name, f"{client}.sock")

    def _port(self) -> int:
        """A port that nobody else gets as long as this is there: it stays bound here, where nobody listens. Who asks for it by
        its number, as Flower does, may bind it as well, since both say SO_REUSEADDR."""
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        self._ports.append(held)
        return held.getsockname()[1]

    def _keys(self, name: str = "") -> str:
        return os.path.join(self.folder, "keys", name)

    def _flower(self, name: str) -> str:
        """The path of a command of Flower's in this environment. Raises `RuntimeError` where it is absent."""
        path = os.path.join(os.path.dirname(sys.executable), name)
        if not os.path.exists(path):
            listed = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")
            raise RuntimeError(f"there is no {name} at {path}: run `{sys.executable} -m pip install -r {listed}`")
        return path

    def _do(self, name: str, words: List[str]) -> None:
        """Runs something short to its end."""
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
    """Makes the folder. Raises `RuntimeError` with the remedy where it is there, or cannot be made."""
    try:
        os.makedirs(folder)
    except FileExistsError:
        raise RuntimeError(f"{folder} is there already, from another run; remove it, or give another --out") from None
    except OSError as error:
        raise RuntimeError(f"cannot make {folder}: {error.strerror}; give another folder with --out") from error


def _environment(folder: str) -> Dict[str, str]:
    """Flower's files stay in the folder, it tells nobody, and it finds its own commands."""
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
    """0 where the run came to its good end, 1 otherwise; 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m fedpipe.flower.local", description=__doc__.split("\n", 1)[0])
    where = "the command fedpipe [default: $FEDPIPE_BIN, the PATH, or what cargo built here]"
    parser.add_argument("--binary", help=where)
    parser.add_argument("--out", help="the run directory [default: runs/flower-N]")
    parser.add_argument("--tls", action="store_true", help="TLS, and SuperNodes that prove who they are")
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
