"""A client's end of the pipe: `serve` answers the requests of the host."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import contextmanager
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

from . import faults, protocol
from .errors import Failure, ProtocolError, Refused
from .model import TERMS, Model, Option
from .model_calls import model_name
from .protocol import MOST_VECTORS, PROTOCOL, WEIGHTS, Frame
from .session import Answer, Session

FEATURES = tuple(name for name in protocol.FEATURES if name not in (*TERMS, "predict", "keeps-momentum", "own-optimiser"))
"""The features of every model. `_features` returns those of one model."""


def serve(model: Type[Model], arguments: Optional[Sequence[str]] = None) -> None:
    """Answers the host's requests with `model` until the pipe ends. The call is the last line of a client's program.

    The host adds the last three `arguments` to the command: `<read-fd> <write-fd> <number>`. The default is `sys.argv`.
    The output of the model goes to the run's log. The process exits with code 1 if the pipe breaks or a frame is
    malformed, and with code 2 if no host started it. Raises `TypeError` if `model` is not a subclass of `Model`.
    """
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise TypeError(f"serve takes a subclass of fedpipe.Model, the class itself, and got {model!r}")
    serve_pipes(lambda reader, writer: converse(model, reader, writer), arguments)


def serve_pipes(hold: Callable[[BinaryIO, BinaryIO], None], arguments: Optional[Sequence[str]]) -> None:
    """Holds a conversation over the two pipes of the host. The process exits with code 1 if a pipe breaks."""
    reader, writer = pipes(sys.argv if arguments is None else arguments)
    # Lines that were printed before a crash must be in the log.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with reader, writer:
        try:
            hold(reader, writer)
        except (OSError, protocol.Malformed) as error:
            sys.exit(f"error: the pipe to the host broke: {error}")


def pipes(arguments: Sequence[str]) -> Tuple[BinaryIO, BinaryIO]:
    """Opens the two pipes that the last three arguments name. Child processes do not inherit them."""
    try:
        read, write, _number = (int(argument) for argument in arguments[-3:])
        if min(read, write) < 3 or read == write:
            raise ValueError(f"descriptors {read} and {write} cannot be a client's pipes")
        for descriptor in read, write:
            os.set_inheritable(descriptor, False)
    except (ValueError, OSError) as error:
        program = os.path.basename(sys.argv[0])
        print(
            f'error: {program} is started by fedpipe run --client "python3 {program}", which adds three arguments; a '
            f'script in between passes them on as "$@": {error}',
            file=sys.stderr,
        )
        sys.exit(2)
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")


def converse(model: Type[Model], reader: BinaryIO, writer: BinaryIO) -> None:
    """Holds the whole conversation over any two streams. A failure is reported to the host and ends the
    conversation."""
    protocol.write(writer, {"type": "hello", "protocol": PROTOCOL})
    try:
        setup = protocol.read_request(reader, 0)
        session, ready = _start(model, setup.body)
        protocol.write(writer, ready)
        most = MOST_VECTORS * session.payload if session else 0
        while True:
            protocol.write(writer, *_answer(session, protocol.read_request(reader, most)))
    except protocol.EndOfPipe:
        return
    except Failure as failure:
        protocol.write(writer, {"type": "failed", "kind": failure.kind, "message": str(failure)})


def _start(model: Type[Model], setup: Mapping[str, Any]) -> Tuple[Optional[Session], Dict[str, Any]]:
    if setup.get("type") != "setup" or "purpose" not in setup:
        raise ProtocolError(f"the first request is {setup.get('type')!r}, not a whole 'setup'")
    _check_class(model)
    ready = {
        "type": "ready",
        "name": model_name(model),
        "version": model.version,
        "summary": model.summary,
        "options": [{"key": o.key, "default": o.default, "help": o.help} for o in model.options],
        "layout": [],
        "features": _features(model),
    }
    if setup["purpose"] == "describe":
        return None, ready
    with _understood():
        session = Session(model, setup, setup["purpose"]["serve"])
    ready["layout"] = [
        {"name": t.name, "shape": list(t.shape), "kind": t.kind, "place": t.place} for t in session.layout
    ]
    partitions = session.partitions.values()
    ready["examples"] = [partition.training for partition in partitions]
    if any(partition.held_out for partition in partitions):
        ready["held_out"] = [partition.held_out for partition in partitions]
    return session, ready


def _features(model: Type[Model]) -> List[str]:
    of_model = {
        "predict": model.predict is not Model.predict,
        "keeps-momentum": model.momentum is not Model.momentum,
        "own-optimiser": model.own_optimiser,
    }
    return [*FEATURES, *model.terms, *(name for name, has in of_model.items() if has)]


def _answer(session: Optional[Session], request: Frame) -> Answer:
    if session is None:
        raise ProtocolError("a client that describes its model has no data")
    body = request.body
    if request.type == "get_weights":
        return {"type": "weights"}, {WEIGHTS: session.weights()}
    if request.type not in ("train", "evaluate"):
        raise ProtocolError(f"a request of the type {request.type!r} is not known")
    with _understood():
        session.receive(request.parts.get(WEIGHTS), body["weights_version"])
        if request.type == "train":
            return session.train(body, request.parts)
        return session.evaluate(body["blocks"], body.get("client"), body.get("predictions"))


@contextmanager
def _understood() -> Iterator[None]:
    """Turns an exception into a `ProtocolError`. An exception of the model is a failure of another kind already."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        traceback.print_exc()
        raise ProtocolError(f"the request is not understood: {type(error).__name__}: {error}") from error


def _check_class(model: Type[Model]) -> None:
    """Raises `Refused` if an attribute of the class has another type than in `Model`."""
    for attribute in "name", "version", "summary":
        value = getattr(model, attribute)
        if not isinstance(value, str):
            raise Refused(f"{model.__name__}.{attribute} is {value!r}, and must be a text")
    if not isinstance(model.terms, (list, tuple)) or not set(model.terms) <= set(TERMS):
        raise Refused(f"{model.__name__}.terms is {model.terms!r}, and must be a list of {', '.join(TERMS)}")
    options = model.options
    if not isinstance(options, (list, tuple)) or not all(isinstance(option, Option) for option in options):
        raise Refused(f"{model.__name__}.options must be a list of fedpipe.Option(key, default, help)")
    for option in options:
        if not all(isinstance(text, str) for text in (option.key, option.default, option.help)):
            raise Refused(f"{model.__name__}.options has {option!r}, whose key, default and help must be texts")


faults.log_uncaught()
