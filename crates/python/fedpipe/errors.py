"""The failures that a client reports to its host, by their kind in the protocol."""

from __future__ import annotations


class Failure(Exception):
    """A failure that ends the client. The host shows its text, one sentence. `kind` is the word of the protocol."""

    kind = "model"


class ModelError(Failure):
    """The model cannot carry out a request. The text is one sentence with the value, the reason and the remedy.

    If a constructor raises it, the model refuses its options or its task.
    """


class Refused(Failure):
    """The model refuses its options or its task."""

    kind = "refused"


class DataError(Failure):
    """A partition file cannot be read."""

    kind = "data"


class ProtocolError(Failure):
    """The host sent a message that this client does not understand."""

    kind = "protocol"
