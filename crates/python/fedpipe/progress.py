"""Shows each round of a run on standard error when it ends."""

from __future__ import annotations

import re
import sys
from typing import Any, Optional

_ROUND = re.compile(r"round +(\d+)(?:/(\d+))?  (.*)")


class Progress:
    """Shows the rounds of `fedpipe run` as a bar if tqdm is installed, otherwise as lines. It is a context manager."""

    def __init__(self, wanted: Optional[bool] = None) -> None:
        """If `wanted` is None, the rounds are shown only in a terminal and in a notebook."""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._shows = (self._terminal or _in_notebook()) if wanted is None else wanted
        self._bar: Any = None
        self._begun = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._begun and self._redraws:
            print(file=sys.stderr)

    @property
    def _redraws(self) -> bool:
        return self._terminal or _in_notebook()

    def take(self, line: str) -> None:
        """Shows a line of the command if the line is about the end of a round."""
        ended = _ROUND.fullmatch(line) if self._shows else None
        if ended is None:
            return
        number, last, what = int(ended[1]), ended[2], re.sub(r" +", " ", ended[3])
        if not self._begun:
            self._begun = True
            self._bar = _bar(int(last) if last else None, number - 1)
        if self._bar is not None:
            self._bar.set_postfix_str(what, refresh=False)
            self._bar.update()
            return
        text = f"round {number}{f'/{last}' if last else ''}: {what}"
        if self._redraws:
            print(f"\r{text}\x1b[K" if self._terminal else f"\r{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def _bar(rounds: Optional[int], done: int) -> Any:
    """Returns a bar of tqdm's for a notebook or a terminal; None if tqdm is not installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(total=rounds, initial=done, unit="round", leave=True)
