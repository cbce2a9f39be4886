"""Sentences about faults in a user's code: the line that raised, or the method that returned a wrong type."""

from __future__ import annotations

import linecache
import os
import site
import sys
import sysconfig
import textwrap
import traceback
from types import TracebackType
from typing import Any, Optional, Type

from .errors import ModelError

LONGEST = 200
"""The most characters of an exception's text that the host receives."""

_LONGEST_LINE = 80
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def _library_folders() -> tuple:
    """The folders of Python's own library and of installed packages."""
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    return tuple(os.path.realpath(folder) + os.sep for folder in folders if folder)


_LIBRARIES = _library_folders()


def users_frame(trace: Optional[TracebackType]) -> Optional[traceback.FrameSummary]:
    """Returns the innermost frame in the user's own code, which is neither in a library nor in this package.

    If all code is in libraries, returns the innermost frame outside this package, or None if there is none.
    """
    frames = [frame for frame in traceback.extract_tb(trace) if not _is_ours(frame.filename)]
    own = [frame for frame in frames if not _is_library(frame.filename)]
    return own[-1] if own else frames[-1] if frames else None


def _is_ours(path: str) -> bool:
    return os.path.abspath(path).startswith(_PACKAGE)


def _is_library(path: str) -> bool:
    parts = path.split(os.sep)
    return path.startswith("<") or "site-packages" in parts or "dist-packages" in parts or (
        os.path.realpath(path).startswith(_LIBRARIES)
    )


def raised(who: str, what: str, error: Exception) -> str:
    """Returns one sentence for an exception of the user's code: its type, its text and the user's line."""
    # Some exceptions print whole arrays. The log has the whole text.
    text = textwrap.shorten(str(error), LONGEST, placeholder=" …") or "no message"
    frame = users_frame(error.__traceback__)
    return f"{who} raised {type(error).__name__} in {what}: {text}{_place(frame)}"


def _place(frame: Optional[traceback.FrameSummary]) -> str:
    if frame is None:
        return ""
    code = textwrap.shorten(frame.line or "", _LONGEST_LINE, placeholder=" …")
    return f" ({os.path.basename(frame.filename)}, line {frame.lineno}{f': {code}' if code else ''})"


def log(error: BaseException) -> None:
    """Prints the traceback to standard error. fedpipe shows the last three lines: the user's frame and the error."""
    traceback.print_exception(type(error), error, error.__traceback__)
    frame = users_frame(error.__traceback__)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    ends_there = frame is not None and last and last[0].filename == frame.filename and last[0].lineno == frame.lineno
    if frame is None or isinstance(error, SyntaxError) or (ends_there and "\n" not in str(error)):
        return
    text = textwrap.shorten(str(error), LONGEST, placeholder=" …")
    print(f'\nin the program itself:\n  File "{frame.filename}", line {frame.lineno}, in {frame.name}', file=sys.stderr)
    if frame.line:
        print(f"    {frame.line}", file=sys.stderr)
    print(f"{type(error).__name__}: {text}", file=sys.stderr)


def log_uncaught() -> None:
    """Installs `log` for uncaught exceptions, if a host started this process."""

    def hook(kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log(error)

    # The host sets this variable for each process that it starts.
    if "FEDPIPE_CLIENT" in os.environ and sys.excepthook is sys.__excepthook__:
        sys.excepthook = hook


def wrong_result(owner: Any, method: str, result: Any, due: str) -> ModelError:
    """Returns the error for a method of the user's that returned `result` instead of `due`."""
    returned = "None" if result is None else _described(result)
    hint = "; is a `return` missing?" if result is None else ""
    sentence = f"{type(owner).__name__}.{method} returned {returned}, and must return {due}{hint}"
    function = getattr(type(owner), method, None)
    code = getattr(function, "__code__", None)
    if code is None or _is_ours(code.co_filename):
        return ModelError(sentence)
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return ModelError(f"{sentence} ({os.path.basename(code.co_filename)}, line {code.co_firstlineno}: {line})")


def _described(value: Any) -> str:
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"a {kind} of the shape {shape}"
    if isinstance(value, (tuple, list)):
        return f"a {kind} of {len(value)}"
    return f"a value of the type {kind}"
