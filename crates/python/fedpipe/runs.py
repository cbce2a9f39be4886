"""Runs from Python: `run` starts the command and gives its results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any, Dict, List, Mapping, Optional, Union

import numpy as np

from .data import safetensors

Path = Union[str, "os.PathLike[str]"]


class RunError(Exception):
    """The command ended with an error: its own sentence."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """As `fedpipe --help` lists them; 128 + n for signal n."""


class Run:
    """A run's directory and what is in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = os.fspath(directory)

    @property
    def summary(self) -> Dict[str, Any]:
        """`summary.json`: accuracy, loss, weights_sha256, …"""
        with open(os.path.join(self.directory, "summary.json"), encoding="utf-8") as file:
            return json.load(file)

    @property
    def ledger(self) -> Any:
        """The rounds in `ledger.jsonl`: a pandas DataFrame where pandas is there, a list of dicts otherwise."""
        rounds = self.events("round")
        try:
            import pandas
        except ImportError:
            return rounds
        return pandas.DataFrame(rounds)

    def events(self, event: Optional[str] = None) -> List[Dict[str, Any]]:
        """The ledger's lines, of one kind (such as "round", "lost") or all of them."""
        with open(os.path.join(self.directory, "ledger.jsonl"), encoding="utf-8") as file:
            # A line that a power cut tore is none.
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if event in (None, line["event"])]

    def weights(self) -> Dict[str, np.ndarray]:
        """The final weights by name: float32, read-only, mapped from `model.safetensors`."""
        return safetensors(os.path.join(self.directory, "model.safetensors"))

    def __repr__(self) -> str:
        return f"Run({self.directory!r})"


def run(
    model: Optional[str] = None,
    *,
    client: Optional[str] = None,
    binary: Optional[Path] = None,
    cwd: Optional[Path] = None,
    env: Optional[Mapping[str, str]] = None,
    model_options: Optional[Mapping[str, Any]] = None,
    set: Optional[Mapping[str, Any]] = None,
    **flags: Any,
) -> Run:
    """Runs `fedpipe run` to its end: `run("mlp", clients=4, rounds=5, partition="dirichlet:0.3")`.

    `model` is a name or a path, or `client` the command of a client. `flags` are those of the command, with `_` for `-`:
    True gives a flag alone, False and None leave it out. `binary` is the command; without it, `$FEDPIPE_BIN`, the PATH,
    and `target/release/fedpipe` in the folder of this package's repository are tried in turn. It runs in `cwd`, with `env`
    added to the environment.

    Raises `RunError` with the command's sentence and exit code; `FileNotFoundError` where there is no command.
    """
    command = [find(binary), "run", "--quiet", *([model] if model is not None else [])]
    command += _flags({"client": client, **flags})
    for flag, pairs in ("--model-option", model_options), ("--set", set):
        for key, value in (pairs or {}).items():
            command += [flag, f"{key}={_text(value)}"]
    # In a group of its own it would outlive an interrupted notebook.
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise RunError(_sentence(done), done.returncode if done.returncode > 0 else 128 - done.returncode)
    (directory,) = [line.split(" ", 2)[2] for line in done.stdout.splitlines() if line.startswith("results in ")]
    return Run(os.path.join(cwd or os.getcwd(), directory))


def find(binary: Optional[Path] = None) -> str:
    """The command `fedpipe`. Raises `FileNotFoundError` naming where it was looked for."""
    if binary is not None:
        return os.fspath(binary)
    named, found = os.environ.get("FEDPIPE_BIN"), shutil.which("fedpipe")
    if named or found:
        return named or str(found)
    # This file is crates/python/fedpipe/runs.py of a clone.
    repository = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    built = os.path.join(repository, "target", "release", "fedpipe")
    if os.path.exists(built):
        return built
    raise FileNotFoundError(
        f"there is no command fedpipe: not in $FEDPIPE_BIN, not in the PATH, and not at {built}; give its path as `binary`"
    )


def _flags(flags: Mapping[str, Any]) -> List[str]:
    words: List[str] = []
    for key, value in flags.items():
        if value is None or value is False:
            continue
        words.append("--" + key.replace("_", "-"))
        if value is not True:
            # In one word, so that -1 is a bad number and not a flag.
            words[-1] += f"={_text(value)}"
    return words


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(_text(item) for item in value)
    return str(value)


def _sentence(done: "subprocess.CompletedProcess[str]") -> str:
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return errors[-1][len("error: ") :] if errors else done.stderr.strip() or f"it ended with {done.returncode}"
