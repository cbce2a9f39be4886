"""A frame is read as it was written. Other bytes are refused before memory is allocated for them."""

import io
import json
import struct

import numpy as np
import pytest

from fedpipe import protocol


def frame(header, payload=b"", magic=b"fdp1", length=None, says=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    preamble = struct.pack("<4sIQ", magic, length or len(text), len(payload) if says is None else says)
    return io.BytesIO(preamble + text + payload)


def test_a_frame_is_read_back():
    stream = io.BytesIO()
    parts = {"weights": np.array([1.5, -0.0], np.float32), "state": np.frombuffer(b"abc", np.uint8)}
    parts["none"], parts["indices"] = np.empty(0, np.float32), np.array([7, 2**32 - 1], np.uint32)
    protocol.write(stream, {"type": "update", "client": 3}, parts)
    protocol.write(stream, {"type": "hello", "protocol": 2})
    stream.seek(0)
    first, second = protocol.read(stream, 19), protocol.read(stream, 0)
    assert first.type == "update" and first.parts["weights"].tobytes() == parts["weights"].tobytes()
    assert first.parts["indices"].dtype == np.uint32 and first.parts["indices"].tolist() == [7, 2**32 - 1]
    assert first.parts["state"].tobytes() == b"abc" and first.parts["none"].size == 0 and second.parts == {}
    with pytest.raises(protocol.EndOfPipe):
        protocol.read(stream, 0)


PART = {"name": "w", "dtype": "f32", "len": 1}


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (frame({"body": {}}, magic=b"GET "), "starts with b'GET '"),
        (frame({"body": {}}, length=2 << 20), "2097152 bytes, at most 1048576"),
        (frame({"body": {}}, says=1 << 63), "9223372036854775808 bytes, at most 8"),
        (frame({"body": {}}, b"1234"), "do not add up"),
        (frame({"body": {}, "parts": [{**PART, "len": 2}]}, b"1234"), "do not add up"),
        (frame({"body": {}, "parts": [{**PART, "len": -1}]}, b"1234"), "not a number"),
        (frame({"body": {}, "parts": [{**PART, "len": 1.0}]}, b"1234"), "not a number"),
        (frame({"body": {}, "parts": [{**PART, "dtype": "f64"}]}, b"1234"), "f64"),
        (frame({"body": {}, "parts": 7}), "not understood"),
        (frame({"parts": []}), "body"),
        (frame([]), "not understood"),
        (frame({"body": []}), "not an object"),
        (frame(b"{[}]"), "not understood"),
        (frame(b"[" * 100_000), "not understood"),
        (frame({"body": {}, "parts": [PART]}, b"12", says=4), "ended within a frame"),
        (io.BytesIO(b"fdp1\x00"), "ended within a frame"),
    ],
)
def test_bytes_that_are_not_a_frame_are_refused(stream, says):
    with pytest.raises(protocol.Malformed, match=says.replace("(", r"\(")):
        protocol.read(stream, 8)


def test_a_request_may_have_a_longer_header_than_a_reply():
    text = json.dumps({"body": {"type": "setup", "more": "x" * protocol.MAX_HEADER}}).encode()
    assert protocol.read_request(frame(text), 0).type == "setup"
    with pytest.raises(protocol.Malformed, match="at most 1048576 are allowed"):
        protocol.read(frame(text), 0)


def test_what_json_cannot_say_is_not_written():
    with pytest.raises(ValueError):
        protocol.write(io.BytesIO(), {"loss_sum": float("nan")})
    with pytest.raises(ValueError, match="float64"):
        protocol.write(io.BytesIO(), {}, {"weights": np.zeros(3)})
    with pytest.raises(ValueError, match="header"):
        protocol.write(io.BytesIO(), {"message": "x" * protocol.MAX_HEADER})
