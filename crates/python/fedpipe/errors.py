"""What goes wrong in a client, by what the host is told of it."""

from __future__ import annotations


class Failure(Exception):
    """Ends the client; the host shows its one sentence. `kind` is as the protocol has it."""

    kind = "model"


class ModelError(Failure):
    """The model cannot do what it is asked to: raise it with one sentence that has the value, the reason and the remedy.

    Raised by a constructor, it means that the options or the task are refused.
    """


class Refused(Failure):
    """The model refuses its options or its task."""

    kind = "refused"


class DataError(Failure):
    """A partition file cannot be read."""

    kind = "data"


class ProtocolError(Failure):
    """The host said something that this client does not understand."""

    kind = "protocol"


class CannotOpen(Failure):
    """Something that the client needs is not installed."""

    kind = "cannot_open"
