"""Runs from Python: `run` starts the command and returns its results, `read` and `read_sweep` read those of earlier runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np

from .data import safetensors
from .progress import Progress

Path = Union[str, "os.PathLike[str]"]

GRACE = 10.0
"""The seconds in which an interrupted command may write its results."""


SWEEP = "sweep.json"
"""The file of a sweep."""

SWEEP_FORMAT = 1
"""The format of `sweep.json` that this version reads."""

COLUMNS = ("accuracy", "loss", "rmse", "mae", "r2", "rounds", "failures", "wall_seconds", "weights_sha256")
"""The keys of `summary.json` that a row of a sweep has."""


class RunError(Exception):
    """The command ended with an error. The text is the command's own sentence."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """The exit code, as `fedpipe --help` lists it; 128 + n for signal n."""


class RunWarning(UserWarning):
    """A warning about a run that was completed, such as a client that crashed."""


class Rounds(List[Dict[str, Any]]):
    """The rounds of a ledger without pandas: a list of dicts. Columns are selected as in a DataFrame."""

    def __getitem__(self, key: Any) -> Any:
        """Returns a round for `rounds[0]`, a list for `rounds["loss"]`, and rounds for `rounds[["round", "loss"]]`.

        A round without the key has the value None. Raises `KeyError` for a key that no round has.
        """
        if isinstance(key, str):
            self._check(key)
            return [row.get(key) for row in self]
        if isinstance(key, (list, tuple)):
            for name in key:
                self._check(name)
            return Rounds({name: row.get(name) for name in key} for row in self)
        found = super().__getitem__(key)
        return Rounds(found) if isinstance(key, slice) else found

    def _check(self, key: str) -> None:
        if not any(key in row for row in self):
            raise KeyError(key)


class Run:
    """A run directory and its contents."""

    def __init__(self, directory: Path) -> None:
        self.directory = os.fspath(directory)

    @property
    def summary(self) -> Dict[str, Any]:
        """The contents of `summary.json`: accuracy, loss, weights_sha256, …"""
        with open(os.path.join(self.directory, "summary.json"), encoding="utf-8") as file:
            return json.load(file)

    @property
    def ledger(self) -> Any:
        """The rounds in `ledger.jsonl`: a DataFrame if pandas is installed, otherwise `Rounds`."""
        rounds = self.events("round")
        try:
            import pandas
        except ImportError:
            return Rounds(rounds)
        return pandas.DataFrame(rounds)

    def events(self, event: Optional[str] = None) -> List[Dict[str, Any]]:
        """Returns the lines of one event in the ledger, such as "round" or "client_crashed". Without an event, returns
        all lines."""
        with open(os.path.join(self.directory, "ledger.jsonl"), encoding="utf-8") as file:
            # A power cut may leave an incomplete last line, which does not count.
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if event in (None, line["event"])]

    @property
    def history(self) -> List[Dict[str, Any]]:
        """The rounds in `ledger.jsonl` as plain dicts: round, accuracy, loss, weights_sha256, …"""
        return self.events("round")

    @property
    def experiment(self) -> Dict[str, Any]:
        """The experiment with its sections, as the run began."""
        return self.events("started")[0]["experiment"]

    def weights(self) -> Dict[str, np.ndarray]:
        """Returns the final weights by name: float32, read-only, mapped from `model.safetensors`."""
        return safetensors(os.path.join(self.directory, "model.safetensors"))

    def __repr__(self) -> str:
        return f"Run({self.directory!r})"


def read(directory: Path) -> Run:
    """Returns the run in a directory: `read("runs/mlp-1").history`. Raises `FileNotFoundError` if there is none."""
    if not os.path.isfile(os.path.join(directory, "ledger.jsonl")):
        remedy = "read it with read_sweep" if os.path.isfile(os.path.join(directory, SWEEP)) else "give a run directory"
        raise FileNotFoundError(f"{os.fspath(directory)} holds no run (no ledger.jsonl); {remedy}")
    return Run(directory)


def read_sweep(directory: Path) -> List[Dict[str, Any]]:
    """Returns the runs of a sweep as rows, such as for `pandas.DataFrame(rows)`.

    A row has the name of the run, its values of the sweep by key, its state, and the numbers of its `summary.json`:
    accuracy, loss, rmse, mae, r2, rounds, failures, wall_seconds, weights_sha256. A number that a run does not have is
    None. The state is "finished", "interrupted", "failed" or "missing". Raises `FileNotFoundError` for a folder without
    a sweep, and `ValueError` for a sweep of another format.
    """
    path = os.path.join(directory, SWEEP)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{os.fspath(directory)} holds no sweep (no {SWEEP}); give the folder of a sweep")
    with open(path, encoding="utf-8") as file:
        sweep = json.load(file)
    if sweep.get("format") != SWEEP_FORMAT:
        raise ValueError(f"{path} has format {sweep.get('format')}, and this fedpipe reads format {SWEEP_FORMAT}; begin another sweep")
    return [_row(os.path.join(directory, row["name"]), row) for row in sweep["runs"]]


def _row(directory: str, of: Mapping[str, Any]) -> Dict[str, Any]:
    try:
        with open(os.path.join(directory, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
    except FileNotFoundError:
        summary = {}
    begun = os.path.isfile(os.path.join(directory, "ledger.jsonl"))
    state = _state(summary["stopped"]) if summary else "interrupted" if begun else "missing"
    values = {key: _number(value) for key, value in of["values"].items()}
    return {"name": of["name"], **values, "state": state, **{key: summary.get(key) for key in COLUMNS}}


def _state(stopped: Any) -> str:
    """Returns the state of a run from the reason for its end."""
    if isinstance(stopped, dict):
        return "failed" if "failed" in stopped else "interrupted"
    return "finished"


def _number(text: str) -> Any:
    """Returns a value of a key as a number or a truth value if it is one."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    return float(text) if re.fullmatch(r"[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?", text) else text


def run(
    model: Optional[str] = None,
    *,
    client: Optional[str] = None,
    binary: Optional[Path] = None,
    cwd: Optional[Path] = None,
    env: Optional[Mapping[str, str]] = None,
    model_options: Optional[Mapping[str, Any]] = None,
    set: Optional[Mapping[str, Any]] = None,
    progress: Optional[bool] = None,
    **flags: Any,
) -> Run:
    """Runs `fedpipe run` to its end: `run("mlp", clients=4, rounds=5, partition="dirichlet:0.3")`.

    `model` is a name or a path. Instead of a model, `client` may be the command of a client. `flags` are those of the
    command, with `_` for `-`. A flag with the value True has no argument; one with False or None is left out. `binary`
    is the command. Without it, `$FEDPIPE_BIN`, the PATH, and the build folder of this clone are tried in turn. The
    command runs in `cwd`, with `env` added to the environment.

    If `progress` is True, the rounds are shown on standard error: as a bar if tqdm is installed, otherwise as lines. If
    it is None, they are shown only in a terminal and in a notebook.

    Each warning of the command, such as one about a client that crashed, is a `RunWarning`. Raises `RunError` with the
    command's sentence and exit code, and `FileNotFoundError` if there is no command.
    """
    command = [find(binary), "run", *([model] if model is not None else [])]
    command += _flags({"client": client, **flags})
    for flag, pairs in ("--model-option", model_options), ("--set", set):
        for key, value in (pairs or {}).items():
            command += [flag, f"{key}={_text(value)}"]
    # A file takes any number of warnings, but a pipe without a reader would block the command.
    with tempfile.TemporaryFile() as errors, Progress(False if flags.get("quiet") else progress) as shown:
        directory, code = _follow(command, cwd, {**os.environ, **(env or {})}, errors, shown)
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if code != 0:
        raise RunError(_sentence(said, code), code if code > 0 else 128 - code)
    if directory is None:
        raise RunError(f"{' '.join(command)} exited with code 0 and named no results", code)
    for text in _blocks(said):
        warnings.warn(text, RunWarning, stacklevel=2)
    return Run(os.path.join(cwd or os.getcwd(), directory))


def _follow(
    command: Sequence[str], cwd: Optional[Path], env: Mapping[str, str], errors: Any, shown: Progress
) -> "tuple[Optional[str], int]":
    """Runs the command and shows its rounds. Returns the run directory that the command named, and its exit code."""
    directory = None
    # The command shares this process group, since in its own group it would outlive an interrupted notebook.
    process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    try:
        with process.stdout:
            for line in process.stdout:
                text = line.decode(errors="replace").rstrip("\n")
                if text.startswith("results in "):
                    directory = text[len("results in ") :]
                shown.take(text)
        return directory, process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def find(binary: Optional[Path] = None) -> str:
    """Returns the path of the command `fedpipe`. Raises `FileNotFoundError` with the places that were searched."""
    for named, by in (binary, "`binary`"), (os.environ.get("FEDPIPE_BIN"), "$FEDPIPE_BIN"):
        if named:
            found = shutil.which(os.fspath(named))
            if found is None:
                raise FileNotFoundError(f"{by} names {os.fspath(named)}, which is not a program here; build it with `just build`")
            return os.path.abspath(found)
    found = shutil.which("fedpipe")
    if found:
        return os.path.abspath(found)
    built = os.path.join(target(), "release", "fedpipe")
    if os.path.exists(built):
        return built
    raise FileNotFoundError(
        f"there is no command fedpipe: not in $FEDPIPE_BIN, not in the PATH, and not at {built}; give its path as `binary`"
    )


def target() -> str:
    """Returns the folder into which cargo builds the clone of this package: `$CARGO_TARGET_DIR`, or its `target`."""
    # This file is crates/python/fedpipe/runs.py of a clone.
    repository = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    named = os.environ.get("CARGO_TARGET_DIR") or os.environ.get("CARGO_BUILD_TARGET_DIR")
    return os.path.abspath(named) if named else os.path.join(repository, "target")


def _flags(flags: Mapping[str, Any]) -> List[str]:
    words: List[str] = []
    for key, value in flags.items():
        if value is None or value is False:
            continue
        words.append("--" + key.replace("_", "-"))
        if value is not True:
            # Flag and value are one word, so that -1 is a wrong number and not a flag.
            words[-1] += f"={_text(value)}"
    return words


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(_text(item) for item in value)
    return str(value)


def _sentence(said: str, code: int) -> str:
    """Returns the last error of the command."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    return errors[-1][len("error: ") :] if errors else said.strip() or f"it ended with {code}"


def _blocks(said: str) -> List[str]:
    """Returns the warnings and errors that the command printed, each with the lines that belong to it."""
    blocks: List[List[str]] = []
    for line in said.splitlines():
        if line.startswith(("warning: ", "error: ")):
            blocks.append([line.split(": ", 1)[1]])
        elif blocks and line.startswith("  "):
            blocks[-1].append(line)
    return ["\n".join(block) for block in blocks]
