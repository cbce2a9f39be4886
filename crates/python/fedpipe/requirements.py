"""A client whose framework is not installed says so to its user, in one sentence."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import Iterator

from . import protocol
from .client import pipes


@contextmanager
def requirements(path: str) -> Iterator[None]:
    """Surrounds the imports of a client's framework: where a module is missing, the host receives what to install.

    `path` is the file that lists the requirements; relative to the program's folder. Without a host the same sentence
    goes to standard error. The process ends with 1.
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
            # The host hears no answer before it has asked.
            protocol.read(reader, 0)
            protocol.write(writer, {"type": "failed", "kind": "cannot_open", "message": why})
        sys.exit(1)
