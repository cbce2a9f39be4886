"""The checks. Each check starts a fresh program, so that a fault is reported only once."""

from __future__ import annotations

import io
import json
import math
import struct
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from .. import protocol
from ..protocol import FEATURES, MAGIC, MAX_REQUEST_HEADER, MOST_VECTORS, PROTOCOL, WEIGHTS, Frame
from .child import Child, Wrong
from .world import BATCH, SIZES, TEST, World

Check = Callable[[World], None]

RATE = 0.01
"""The learning rate under which optimisers are compared."""

CHECKS: List[Tuple[str, bool, Check]] = []
"""The checks: the name, True if the later checks depend on it, and the function."""


def check(name: str, basic: bool = False) -> Callable[[Check], Check]:
    """Adds a check to the list."""

    def add(function: Check) -> Check:
        CHECKS.append((name, basic, function))
        return function

    return add


class Session:
    """A program that is ready."""

    def __init__(self, child: Child, ready: Frame) -> None:
        self.child, self.layout = child, ready.body["layout"]
        self.features = ready.body.get("features", [])
        self.counts = {name: ready.body[name] for name in ("examples", "held_out") if name in ready.body}
        sizes = [math.prod(tensor["shape"]) for tensor in self.layout]
        self.payload = 4 * sum(sizes)

    def weights(self) -> np.ndarray:
        """Returns the answer to `get_weights`."""
        return self.weights_of(self.child.ask({"type": "get_weights"}, None, self.payload), "weights")

    def train(self, weights: Optional[np.ndarray], **changes: Any) -> Tuple[Dict[str, Any], np.ndarray]:
        """Returns the update of a request to train, and its weights. Under `None` the client uses the weights of the
        request before."""
        frame = self.attempt(weights, **changes)
        # The times of the epochs differ from training to training.
        frame.body.pop("epochs", None)
        return frame.body, self.weights_of(frame, "update")

    def phases(self, weights: np.ndarray, *phases: Dict[str, Any], **changes: Any) -> np.ndarray:
        """Returns the weights of the update after these phases."""
        return self.train(weights, phases=list(phases), **changes)[1]

    def evaluate(self, weights: Optional[np.ndarray], blocks: List[int], **changes: Any) -> List[Dict[str, Any]]:
        """Returns the blocks in the answer to a request to evaluate."""
        frame = self.child.ask(World.evaluate(blocks, **changes), weights)
        _expect(frame, "evaluated")
        return frame.body.get("blocks") or []

    def attempt(
        self, weights: Optional[np.ndarray], parts: Optional[Dict[str, np.ndarray]] = None, **changes: Any
    ) -> Frame:
        """Returns the answer to a request to train; the answer may be `failed`. `parts` are further parts of the
        request."""
        return self.child.ask(World.train(**changes), weights, 3 * self.payload + 1024, parts)

    def vector(self, value: float) -> np.ndarray:
        """Returns a part that is as long as the weights."""
        return np.full(self.payload // 4, value, np.float32)

    def weights_of(self, frame: Frame, kind: str) -> np.ndarray:
        """Returns the weights of an answer of this kind."""
        _expect(frame, kind)
        weights = frame.parts.get(WEIGHTS)
        if weights is None or weights.dtype != np.float32:
            raise Wrong(f'its {kind!r} has no part "{WEIGHTS}" of the type f32')
        if 4 * weights.size != self.payload:
            raise Wrong(f"its {kind!r} has {weights.size} weights, its layout {self.payload // 4}")
        if not np.isfinite(weights).all():
            raise Wrong(f"its {kind!r} has weights that are NaN or infinite")
        return weights


def _expect(frame: Frame, kind: str) -> None:
    if frame.type != kind:
        raise Wrong(f"it answered with {frame.body!r}, expected {kind!r}")


@contextmanager
def greeted(world: World) -> Iterator[Child]:
    """Starts the program and receives its `hello`."""
    with Child(world.command, world.timeout) as child:
        _expect(child.receive(), "hello")
        yield child


@contextmanager
def ready(
    world: World, files: Sequence[str] = ("0", "1"), setup: Optional[Dict[str, Any]] = None
) -> Iterator[Session]:
    """Starts the program with the partitions in `files`, or another setup, and receives its `ready`."""
    with greeted(world) as child:
        frame = child.ask(world.setup(files) if setup is None else setup)
        _expect(frame, "ready")
        yield Session(child, frame)


@check("it says hello first", basic=True)
def hello_first(world: World) -> None:
    with Child(world.command, world.timeout) as child:
        frame = child.receive()
        spoken = frame.body.get("protocol")
        if frame.type == "hello" and type(spoken) is int and spoken != PROTOCOL:
            raise Wrong(f"it speaks protocol {spoken}, and this suite and its fedpipe speak protocol {PROTOCOL}")
        if frame.body != {"type": "hello", "protocol": PROTOCOL} or frame.parts:
            raise Wrong(f'its first message is {frame.body!r}, not {{"type": "hello", "protocol": {PROTOCOL}}}')


@check("it is ready after the setup, with a layout", basic=True)
def ready_with_layout(world: World) -> None:
    with greeted(world) as child:
        frame = child.ask(world.setup())
        _expect(frame, "ready")
        _texts(frame)
        due, said = list(SIZES), frame.body.get("examples", [])
        if said not in ([], due):
            raise Wrong(f"its 'ready' has 'examples' {said!r}, expected {due} or nothing")
        layout = frame.body.get("layout")
        if not layout:
            raise Wrong("its 'ready' has no layout")
        for tensor in layout:
            _tensor(tensor)
        names = [tensor["name"] for tensor in layout]
        if len(set(names)) != len(names):
            raise Wrong(f"its layout has a name twice: {names}")
        _features(frame)


def _texts(frame: Frame) -> None:
    for field in "name", "version", "summary":
        if not isinstance(frame.body.get(field), str):
            raise Wrong(f"its 'ready' has no text {field!r}")
    options = frame.body.get("options")
    if not isinstance(options, list) or not all(set(option) == {"key", "default", "help"} for option in options):
        raise Wrong("its 'ready' has no list of options, each with key, default and help")


def _features(frame: Frame) -> None:
    features = frame.body.get("features", [])
    if not isinstance(features, list) or not set(map(str, features)) <= set(FEATURES):
        raise Wrong(f"its 'ready' has 'features' {features!r}; the protocol has {', '.join(FEATURES)}")
    local = [tensor["name"] for tensor in frame.body["layout"] if tensor["place"] == "local"]
    if local and "local-tensors" not in features:
        raise Wrong(f"its layout has the local tensors {local}, and it lacks the feature 'local-tensors'")


def _tensor(tensor: Dict[str, Any]) -> None:
    if tensor.get("name") in ("", "__metadata__"):
        raise Wrong(f"its layout has a tensor with a name that a weights file cannot have: {tensor}")
    if not isinstance(tensor.get("name"), str) or tensor.get("kind") not in ("param", "buffer"):
        raise Wrong(f"its layout has a tensor without a name, or of no kind (param, buffer): {tensor}")
    if tensor.get("place") not in ("shared", "local"):
        raise Wrong(f"its layout has a tensor of no place (shared, local): {tensor}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 1 for n in shape):
        raise Wrong(f"its layout has a tensor whose shape is not a list of whole numbers from 1 on: {tensor}")


@check("it gives the weights of its layout", basic=True)
def gives_weights(world: World) -> None:
    with ready(world) as session:
        session.weights()


@check("its update is whole", basic=True)
def whole_update(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
        for client, epochs, batch in (0, 1, BATCH), (1, 2, BATCH), (1, 1, 1000):
            update, weights = session.train(start, client=client, round=3, epochs=epochs, batch_size=batch)
            steps = epochs * -(-SIZES[client] // batch)
            due = {"client": client, "round": 3, "steps": steps, "examples": SIZES[client], "scored": SIZES[client]}
            for field, value in due.items():
                if update.get(field) != value:
                    raise Wrong(f"its update has {field!r} {update.get(field)!r}, expected {value}")
            _sums(update, SIZES[client], "update")
            if "accumulation" not in update or not _number_or_none(update["accumulation"]):
                raise Wrong("its update has no 'accumulation', a number or null")
            if np.array_equal(weights, start):
                raise Wrong("its update has the weights that it was sent: it did not train")


def _sums(sums: Dict[str, Any], examples: int, what: str) -> None:
    loss, correct = sums.get("loss_sum"), sums.get("correct")
    if not isinstance(loss, (int, float)) or not math.isfinite(loss):
        raise Wrong(f"its {what} has 'loss_sum' {loss!r}, not a finite number")
    if type(correct) is not int or not 0 <= correct <= examples:
        raise Wrong(f"its {what} has 'correct' {correct!r}, not a whole number up to {examples}")


def _number_or_none(value: Any) -> bool:
    return value is None or type(value) in (int, float)


@check("it evaluates the blocks that are asked for, in their order", basic=True)
def evaluates_blocks(world: World) -> None:
    with ready(world) as session:
        weights = session.weights()
        blocks = session.evaluate(weights, [2, 0])
        if [block.get("block") for block in blocks] != [2, 0]:
            raise Wrong(f"it was asked for the blocks [2, 0] and answered with {blocks!r}")
        for block, examples in zip(blocks, (TEST - 1000, 500)):
            if block.get("examples") != examples:
                raise Wrong(f"its block {block['block']} has {block.get('examples')!r} examples, expected {examples}")
            _sums(block, examples, "block")
            _regression(block, world)


def _regression(block: Dict[str, Any], world: World) -> None:
    """Checks the sums of a real target: those over the targets follow from the file."""
    sums, number = block.get("regression"), block["block"]
    if world.classes is not None:
        if sums is not None:
            raise Wrong(f"its block {number} has 'regression' {sums!r}, but the task has classes")
        return
    targets = world.targets["test"][500 * number : 500 * (number + 1)].astype(np.float64)
    due = {"target_sum": targets.sum(), "target_square_sum": (targets * targets).sum()}
    for name in ("squared_error", "absolute_error", *due):
        value = (sums or {}).get(name)
        if type(value) not in (int, float) or not math.isfinite(value) or ("error" in name and value < 0):
            raise Wrong(f"its block {number} has 'regression.{name}' {value!r}, not a finite number of that kind")
        if name in due and abs(value - due[name]) > 1e-9 * targets.size:
            raise Wrong(f"its block {number} has 'regression.{name}' {value!r}, but the targets give {float(due[name])!r}")
    if sums["squared_error"] * len(targets) < sums["absolute_error"] ** 2 * (1 - 1e-9):
        raise Wrong(f"its block {number} has a squared error that is too small for its absolute error: {sums!r}")


@check("a block's sums depend neither on other blocks nor on earlier requests")
def blocks_stand_alone(world: World) -> None:
    with ready(world) as session:
        weights = session.weights()
        first = session.evaluate(weights, [0, 1])
        session.train(weights)
        if session.evaluate(weights, [1]) != first[1:]:
            raise Wrong("its sums for block 1 differ when block 1 is evaluated alone after training: weights or state are kept")


@check("the same request has the same bits, in the same process and in a fresh one")
def same_bits(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
        first = session.train(start, epochs=2)
        session.train(start, client=1, round=2)
        session.evaluate(first[1], [0])
        if not _same(session.train(start, epochs=2), first):
            raise Wrong("its answer to the same request differs the second time: it keeps a state between requests")
    with ready(world) as session:
        if not np.array_equal(session.weights(), start):
            raise Wrong("its initial weights differ in a fresh process under the same seed")
        if not _same(session.train(start, epochs=2), first):
            raise Wrong("its answer to the same request differs in a fresh process")


def _same(one: Tuple[Dict[str, Any], np.ndarray], other: Tuple[Dict[str, Any], np.ndarray]) -> bool:
    return one[0] == other[0] and one[1].tobytes() == other[1].tobytes()


@check("it trains from the weights of the request, on the client's partition, as the request says")
def follows_the_request(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
        _, usual = session.train(start)
        others: List[Tuple[str, np.ndarray, Dict[str, Any]]] = [
            ("the weights that it is sent", usual, {}),
            ("the client, whose partition it trains on", start, {"client": 1}),
            ("the round, which is part of the key of the example order", start, {"round": 2}),
            ("the number of epochs", start, {"epochs": 2}),
            ("the batch size", start, {"batch_size": 7}),
            ("the learning rate", start, {"learning_rate": 0.01}),
        ]
        for what, weights, changes in others:
            if np.array_equal(session.train(weights, **changes)[1], usual):
                raise Wrong(f"its update does not depend on {what}")


@check("it trains by the local optimiser of the request, or refuses it by name")
def follows_the_optimiser(world: World) -> None:
    with ready(world) as session:
        # Weight decay changes no weight that is 0, and initial weights may be 0.
        _, start = session.train(session.weights(), learning_rate=RATE)
        trained = _trained(session)
        plain = session.train(start, learning_rate=RATE)[1]
        if not trained.any():
            return
    for optimiser, words, check_effect in (
        ({"name": "no-such-optimiser"}, ("no-such-optimiser",), None),
        ({"name": "sgd", "no_such_parameter": 0.5}, ("no_such_parameter", "sgd"), None),
        ({"name": "sgd", "momentum": 0.9}, ("momentum", "sgd"), _differs),
        ({"name": "sgd", "weight_decay": 0.5}, ("weight_decay", "weight-decay", "sgd"), _decays),
        ({"name": "adam"}, ("adam",), _differs),
        ({"name": "adam", "weight_decay": 0.5}, ("weight_decay", "weight-decay", "adam"), _differs),
    ):
        with ready(world) as session:
            frame = session.attempt(start, learning_rate=RATE, optimiser=json.dumps(optimiser, separators=(",", ":")))
            if frame.type == "failed":
                _refused_by_name(frame, optimiser, words)
            elif check_effect is None:
                raise Wrong(f"it trained under {optimiser}, which it cannot know; it must refuse an unknown optimiser by name")
            else:
                check_effect(start[trained], plain[trained], session.weights_of(frame, "update")[trained], optimiser)
    _one_step_of_adam(world, start, trained)


def _trained(session: Session) -> np.ndarray:
    """Returns flat booleans, True for a weight that an optimiser moves: its tensor has the kind param."""
    return np.repeat([t["kind"] == "param" for t in session.layout], [math.prod(t["shape"]) for t in session.layout])


def _refused_by_name(frame: Frame, optimiser: Dict[str, Any], words: Tuple[str, ...]) -> None:
    message = str(frame.body.get("message"))
    if frame.body.get("kind") not in ("model", "refused"):
        raise Wrong(f"it refused {optimiser} with 'failed' of the kind {frame.body.get('kind')!r}, expected 'model'")
    if not any(word in message for word in words):
        raise Wrong(f"it refused {optimiser} with {message!r}, which does not name it")


def _differs(start: np.ndarray, plain: np.ndarray, moved: np.ndarray, optimiser: Dict[str, Any]) -> None:
    if np.array_equal(moved, plain):
        raise Wrong(f"its update under {optimiser} is that of plain sgd: it ignores the optimiser and does not refuse it")


def _decays(start: np.ndarray, plain: np.ndarray, moved: np.ndarray, optimiser: Dict[str, Any]) -> None:
    _differs(start, plain, moved, optimiser)
    # Some tensors may be exempt, but the weights as a whole become smaller.
    if not np.dot((moved - plain).astype(np.float64), start.astype(np.float64)) < 0:
        raise Wrong(f"its update under {optimiser} moves the weights away from 0, and not towards it")


def _one_step_of_adam(world: World, start: np.ndarray, trained: np.ndarray) -> None:
    """Checks the first step of Adam, in which the weight of the greatest gradient moves by the learning rate."""
    request = {"learning_rate": RATE, "batch_size": 1000, "optimiser": '{"name":"adam"}'}
    with ready(world) as session:
        frame = session.attempt(start, **request)
        if frame.type == "failed":
            return
        moved = np.abs(session.weights_of(frame, "update") - start)[trained].max()
    if not 0.9 * RATE <= moved <= 1.1 * RATE:
        raise Wrong(f"its first step of adam moves a weight by {moved:.2g}; at a learning rate of {RATE} that is at most {RATE}")


@check("it visits the examples in the protocol's order")
def follows_the_order(world: World) -> None:
    if world.own_randomness:
        return
    with ready(world) as session:
        start = session.weights()
        _, usual = session.train(start)
    with ready(world, ["0 for round 2"]) as session:
        _, same = session.train(start, round=2)
    if not np.array_equal(same, usual):
        raise Wrong(
            "its update differs for another partition and round with the same sequence of examples: the order is not that"
            " of crates/random/README.md (or the model draws its own random numbers: --own-randomness)"
        )


@check("it reads frames that come in pieces")
def reads_pieces(world: World) -> None:
    with greeted(world) as child:
        frame = io.BytesIO()
        protocol.write(frame, world.setup())
        data = frame.getvalue()
        for start in range(0, 24):
            child.send_piece(data[start : start + 1])
        child.send_bytes(data[24:])
        _expect(child.receive(), "ready")


@check("it describes itself without data")
def describes(world: World) -> None:
    with greeted(world) as child:
        frame = child.ask(world.setup(purpose="describe", options={}))
        _expect(frame, "ready")
        _texts(frame)
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
