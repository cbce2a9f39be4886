"""The program under test: a process and its two pipes. Neither pipe can block the suite."""

from __future__ import annotations

import fcntl
import io
import os
import select
import signal
import subprocess
import tempfile
import termios
import time
from array import array
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from .. import protocol
from ..protocol import WEIGHTS, Frame


_ANY = 1 << 32
"""A limit for messages whose payload does not matter."""


class Wrong(Exception):
    """A fault of the program, in one sentence that begins with "it"."""


class _Incoming(io.RawIOBase):
    """The output of the program, read until the child's deadline."""

    def __init__(self, child: "Child", descriptor: int) -> None:
        self._child, self._descriptor = child, descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        left = self._child.deadline - time.monotonic()
        ready, _, _ = select.select([self._descriptor], [], [], max(left, 0))
        if not ready:
            raise TimeoutError
        data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Child:
    """A started program. It is a context manager, which ends the program and its processes."""

    def __init__(self, command: List[str], timeout: float) -> None:
        self._timeout = timeout
        self.deadline = 0.0
        child_read, self._to = os.pipe()
        self._from, child_write = os.pipe()
        os.set_blocking(self._to, False)
        self._log = tempfile.TemporaryFile()
        own = [child_read, child_write]
        try:
            self._process = subprocess.Popen(
                [*command, str(child_read), str(child_write), "0"],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=own,
                start_new_session=True,
            )
        finally:
            for descriptor in own:
                os.close(descriptor)
        self._reader = io.BufferedReader(_Incoming(self, self._from))

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        os.close(self._from)
        self._log.close()

    def send(
        self, body: Dict[str, Any], weights: Optional[np.ndarray] = None, parts: Optional[Mapping[str, np.ndarray]] = None
    ) -> None:
        """Writes one request with the weights and further parts."""
        frame = io.BytesIO()
        protocol.write(frame, body, {**({} if weights is None else {WEIGHTS: weights}), **(parts or {})})
        self.send_bytes(frame.getvalue())

    def send_bytes(self, data: bytes) -> None:
        """Writes `data`. If the program has ended, nothing is written and no error raised: its messages are read
        later."""
        self.deadline = time.monotonic() + self._timeout
        rest = memoryview(data)
        while rest:
            _, ready, _ = select.select([], [self._to], [], max(self.deadline - time.monotonic(), 0))
            if not ready:
                raise Wrong(f"it did not read a request within {self._timeout:g} s")
            try:
                rest = rest[os.write(self._to, rest) :]
            except BrokenPipeError:
                return

    def send_piece(self, data: bytes) -> None:
        """Writes `data` and waits until the program has read it from the pipe, or has ended."""
        self.send_bytes(data)
        left = array("i", [0])
        while self._process.poll() is None:
            fcntl.ioctl(self._to, termios.FIONREAD, left)
            if left[0] == 0:
                return
            if self.deadline < time.monotonic():
                raise Wrong(f"it did not read a request within {self._timeout:g} s")
            time.sleep(0.001)

    def receive(self, most_payload: int = 0) -> Frame:
        """Reads one reply."""
        try:
            frame = self._read(most_payload)
        except TimeoutError:
            raise Wrong(f"it gave no answer within {self._timeout:g} s{self._last_words()}") from None
        if frame is None:
            raise Wrong(f"it ended instead of answering: {self._ending()}")
        return frame

    def ask(
        self,
        body: Dict[str, Any],
        weights: Optional[np.ndarray] = None,
        most_payload: int = 0,
        parts: Optional[Mapping[str, np.ndarray]] = None,
    ) -> Frame:
        """Sends a request and reads the reply."""
        self.send(body, weights, parts)
        return self.receive(most_payload)

    def hang_up(self) -> None:
        """Closes the pipe that the program reads."""
        if self._to >= 0:
            os.close(self._to)
            self._to = -1

    def await_end(self, what: str) -> None:
        """Waits for the end that must follow `what`. Before the end, only the message `failed` is in order."""
        try:
            frame = self._read(_ANY)
            while frame is not None:
                if frame.type != "failed":
                    raise Wrong(f"it answered {what} with {frame.type!r}; it must end, or say 'failed' and end")
                frame = self._read(_ANY)
            self._process.wait(max(self.deadline - time.monotonic(), 0))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise Wrong(f"it did not end within {self._timeout:g} s after {what}") from None

    def await_refusal(self, kind: str, what: str) -> None:
        """Waits for a `failed` of this kind with a sentence, and then for the end."""
        frame = self.receive()
        if frame.type != "failed" or frame.body.get("kind") != kind or not frame.body.get("message"):
            raise Wrong(f"it answered {what} with {frame.body!r}, not with 'failed' of the kind {kind!r} and a message")
        self.await_end(what)

    def await_good_end(self, what: str) -> None:
        """Closes the pipe and waits for the end. No message may follow, and the exit code must be 0."""
        self.hang_up()
        self.deadline = time.monotonic() + self._timeout
        try:
            frame = self._read(_ANY)
            if frame is not None:
                raise Wrong(f"it sent {frame.type!r} without a request after {what}")
            code = self._process.wait(max(self.deadline - time.monotonic(), 0))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise Wrong(f"it did not end within {self._timeout:g} s after {what}") from None
        if code != 0:
            raise Wrong(f"it ended with {_code(code)} after {what}, not with 0{self._last_words()}")

    def _read(self, most_payload: int) -> Optional[Frame]:
        if self.deadline < time.monotonic():
            self.deadline = time.monotonic() + self._timeout
        try:
            return protocol.read(self._reader, most_payload)
        except protocol.EndOfPipe:
            return None
        except protocol.Malformed as error:
            raise Wrong(f"it wrote bytes that are not a frame: {error}{self._last_words()}") from None

    def _ending(self) -> str:
        try:
            return f"it exited with {_code(self._process.wait(1))}{self._last_words()}"
        except subprocess.TimeoutExpired:
            return f"its pipe is closed, but it did not exit{self._last_words()}"

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read()[-2048:].decode(errors="replace").splitlines() if line.strip()]
        return f"; its last words: {' | '.join(lines[-3:])}" if lines else ""


def _code(code: int) -> str:
    return f"code {code}" if code >= 0 else signal.Signals(-code).name
