"""Reports a missing framework of a client to the user, in one sentence."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import Iterator

from . import protocol
from .client import pipes


@contextmanager
def requirements(path: str) -> Iterator[None]:
    """Surrounds the imports of a client's framework. If a module is missing, the host receives the command to install it.

    `path` is the file that lists the requirements, relative to the program's folder. Without a host, the sentence goes
    to standard error. The process exits with code 1.
    """
    try:
        yield
    except ImportError as error:
        program = sys.argv[0]
        listed = os.path.join(os.path.dirname(program), path)
        what = error.name or str(error)
        why = f"{program} needs {what}, which {sys.executable} does not have: run `{sys.executable} -m pip install -r {listed}`"
        if len(sys.argv) < 4:
            sys.exit(f"error: {why}")
        reader, writer = pipes(sys.argv)
        with reader, writer:
            protocol.write(writer, {"type": "hello", "protocol": protocol.PROTOCOL})
            # The host accepts a reply only after its request.
            protocol.read(reader, 0)
            protocol.write(writer, {"type": "failed", "kind": "cannot_open", "message": why})
        sys.exit(1)
