"""The checks of the conversation: its frames, its end, and what a program must refuse."""

from __future__ import annotations

import io
import struct
from typing import Any, Dict, List, Tuple

from .. import protocol
from ..protocol import MAGIC, MAX_REQUEST_HEADER, MOST_VECTORS
from .basics import check_texts
from .checks import check
from .child import Wrong
from .started import expect, greeted, ready
from .world import World


@check("it reads frames that come in pieces")
def reads_pieces(world: World) -> None:
    with greeted(world) as child:
        frame = io.BytesIO()
        protocol.write(frame, world.setup())
        data = frame.getvalue()
        for start in range(0, 24):
            child.send_piece(data[start : start + 1])
        child.send_bytes(data[24:])
        expect(child.receive(), "ready")


@check("it describes itself without data")
def describes(world: World) -> None:
    with greeted(world) as child:
        frame = child.ask(world.setup(purpose="describe", options={}))
        expect(frame, "ready")
        check_texts(frame)
        if frame.body.get("layout") != []:
            raise Wrong("it was asked to describe itself, and its 'ready' has no empty layout")
        child.await_good_end("the end of the pipe, having described itself")


@check("it ends with 0 when its pipe ends")
def ends_with_the_pipe(world: World) -> None:
    with greeted(world) as child:
        child.await_good_end("the end of the pipe before a setup")
    with ready(world) as session:
        session.weights()
        session.child.await_good_end("the end of the pipe")


@check("it refuses an option that it does not know")
def refuses_options(world: World) -> None:
    with greeted(world) as child:
        child.send(world.setup(options={**world.options, "no-such-option": "1"}))
        child.await_refusal("refused", "the option 'no-such-option'")


@check("it refuses a partition file that is missing or malformed")
def refuses_data(world: World) -> None:
    with open(world.path("text"), "w", encoding="ascii") as file:
        file.write("this text is not a safetensors file, but it is long enough to be read as one")
    for name in "absent", "text":
        with greeted(world) as child:
            child.send(world.setup([name]))
            child.await_refusal("data", f"a partition at {world.path(name)}")


@check("it ends at a request that makes no sense")
def ends_at_nonsense(world: World) -> None:
    requests: List[Tuple[str, Dict[str, Any], int]] = [
        ("a request of an unknown type", {"type": "no_such_request"}, 0),
        ("a second setup", world.setup(), 0),
        ("a request to train a client that it does not hold", world.train(client=7), 0),
        ("a request to evaluate a block beyond the test set", world.evaluate([3]), 0),
        ("too few weights", world.train(), -1),
    ]
    for what, request, more in requests:
        with ready(world) as session:
            weights = session.weights()
            takes = request["type"] in ("train", "evaluate")
            session.child.send(request, weights[: len(weights) + more] if takes else None)
            session.child.await_end(what)
    with ready(world) as session:
        session.child.send(world.train())
        session.child.await_end("a request to train without weights")


@check("it ends at a malformed frame, before it allocates memory for it")
def ends_at_broken_frames(world: World) -> None:
    body = b'{"body":{"type":"get_weights"}}'
    with ready(world) as session:
        more = MOST_VECTORS * session.payload // 4 + 1
    large = b'{"body":{"type":"get_weights"},"parts":[{"name":"weights","dtype":"f32","len":%d}]}'
    frames = [
        ("bytes that are not a frame", b"GET / HTTP/1.1\r\n\r\n" + bytes(64)),
        ("a header that is not JSON", _preamble(4, 0) + b"{[}]"),
        ("a header above 64 MiB", _preamble(MAX_REQUEST_HEADER + 1, 0)),
        ("a payload above 8 times its weights", _preamble(len(large % more), 4 * more) + large % more),
        ("a payload of 2⁶² bytes", _preamble(len(large % 2**60), 1 << 62) + large % 2**60),
        ("parts that do not add up to the payload", _preamble(len(body), 4) + body + bytes(4)),
    ]
    for what, data in frames:
        with ready(world) as session:
            session.child.send_bytes(data)
            session.child.await_end(what)


@check("it ends where the pipe ends within a frame")
def ends_within_a_frame(world: World) -> None:
    with ready(world) as session:
        session.child.send_bytes(_preamble(100, 0) + b"{")
        session.child.hang_up()
        session.child.await_end("half a frame and the end of the pipe")


def _preamble(header: int, payload: int) -> bytes:
    return struct.pack("<4sIQ", MAGIC, header, payload)
