"""Processes that log into a folder. At the end no process and no descendant of one is left."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Dict, List

GRACE = 10.0
"""The seconds in which a process may end by itself."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


class Processes:
    """Named processes. The output of each is in `NAME.log`."""

    def __init__(self, folder: str, environment: Dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._running: Dict[str, "subprocess.Popen[bytes]"] = {}
        self._starts: Dict[str, int] = {}
        # A process whose parent has ended becomes a child of this one, which can then find and end it.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def start(self, name: str, words: List[str]) -> "subprocess.Popen[bytes]":
        """Starts a process. An earlier process of the same name is not ended.

        Raises `RuntimeError` if there is no such program, or the system cannot start it.
        """
        with open(self.log(name), "ab") as log:
            self._starts[name] = log.tell()
            try:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    # Ctrl-C reaches only this process, which then stops the others in order.
                    start_new_session=True,
                    preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
                )
            except OSError as error:
                raise RuntimeError(f"{words[0]} cannot be started: {error.strerror}") from error
        self._running[name] = process
        return process

    def __getitem__(self, name: str) -> "subprocess.Popen[bytes]":
        """Returns the last process that was started under this name."""
        return self._running[name]

    def log(self, name: str) -> str:
        """Returns the path of the log of a process."""
        return os.path.join(self._folder, f"{name}.log")

    def said(self, name: str) -> str:
        """Returns the output of a process so far, without that of earlier processes of the same name."""
        with open(self.log(name), "rb") as file:
            file.seek(self._starts[name])
            return file.read().decode(errors="replace")

    def await_line(self, name: str, text: str, limit: float) -> None:
        """Waits until a process has printed `text`."""
        self._await(name, f"print {text!r}", limit, lambda: text in self.said(name))

    def await_port(self, name: str, port: int, limit: float) -> None:
        """Waits until a process listens on the port."""

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        self._await(name, f"listen on port {port}", limit, listens)

    def _await(self, name: str, what: str, limit: float, look) -> None:
        end = time.monotonic() + limit
        while not look():
            if self._running[name].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} did not {what}; its log is {self.log(name)}")
            time.sleep(0.05)

    def follow(self, name: str, process: "subprocess.Popen[bytes]") -> int:
        """Shows the output of a process until its end. Returns the exit code."""
        with open(self.log(name), encoding="utf-8", errors="replace") as file:
            ended = False
            while not ended:
                ended = process.poll() is not None
                sys.stdout.write(file.read())
                sys.stdout.flush()
                time.sleep(0.1)
        return process.wait()

    def finish(self, name: str, limit: float) -> int:
        """Waits for the end of a process, which is killed after `limit` seconds. Returns the exit code."""
        try:
            return self._running[name].wait(limit)
        except subprocess.TimeoutExpired:
            self.kill(name)
            return self._running[name].returncode

    def kill(self, name: str) -> None:
        """Sends SIGKILL to this process alone, as a fault does."""
        self._running[name].kill()
        self._running[name].wait()

    def stop(self) -> None:
        """Ends all processes, the newest first. Processes that do not end in time, and descendants that remain, are
        killed."""
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + GRACE
        for process in self._running.values():
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        while left := descendants(os.getpid()):
            for number in left:
                try:
                    os.kill(number, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            _reap()


def descendants(root: int) -> List[int]:
    """Returns the descendants of `root`, children first."""
    children: Dict[int, List[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, at = list(children.get(root, [])), 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        time.sleep(0.02)
    except ChildProcessError:
        pass
