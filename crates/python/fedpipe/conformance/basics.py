"""The checks on which the others depend: the greeting, the layout, the weights, an update and an evaluation."""

from __future__ import annotations

import math
from typing import Any, Dict

import numpy as np

from ..protocol import FEATURES, PROTOCOL, Frame
from .checks import check
from .child import Child, Wrong
from .started import expect, greeted, ready
from .world import BATCH, SIZES, TEST, World


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
        expect(frame, "ready")
        check_texts(frame)
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


def check_texts(frame: Frame) -> None:
    """Checks the name, the version, the summary and the options of a `ready`."""
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
