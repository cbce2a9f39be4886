"""The checks of the features that a client lists in `ready`. A feature that it lacks is not checked."""

from __future__ import annotations

import json
import math
from typing import Any, Callable, Dict, Optional

import numpy as np

from ..protocol import EVALUATION_BLOCK
from ..transform import Transforms
from .checks import check
from .child import Wrong
from .started import Session, ready
from .world import BATCH, LARGE, SIZES, TEST, World

WHOLE = {"batch_size": 1000, "learning_rate": 0.01}
"""The changes of a request that make a local epoch one step."""


def feature(name: str, what: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Adds the check of a feature. The check is in order for a client that lacks the feature."""

    def add(function: Callable[[World], None]) -> Callable[[World], None]:
        def checked(world: World) -> None:
            if world.features is None:
                with ready(world) as session:
                    world.features = session.features
            if name in world.features:
                function(world)

        check(f"{name}: {what}, if it has the feature")(checked)
        return function

    return add


@feature("keeps-weights", "it keeps the weights that it was sent last, by their version")
def keeps_weights(world: World) -> None:
    with ready(world) as session:
        _, sent = session.train(session.weights())
        whole = session.train(sent, weights_version=7)
        again = session.train(None, weights_version=7)
        if again[0] != whole[0] or again[1].tobytes() != whole[1].tobytes():
            raise Wrong("it lists 'keeps-weights', but its update differs if the part is left out")
        session.evaluate(None, [0], weights_version=7)
        session.child.send(world.train(weights_version=8))
        session.child.await_end("a request without weights that names a version which it was not sent")


@feature("phases", "it does the phases in order, each from its start")
def does_phases(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
        two = session.phases(start, {"epochs": 2})
        one = session.phases(start, {"epochs": 1})
        _equal(session.phases(start, {"epochs": 1}, {"epochs": 1, "start": "previous"}), two, "two phases, the second from the previous weights", "one phase of two epochs")
        _equal(session.phases(start, {"epochs": 2}, {"epochs": 1}), one, "a second phase from the received weights", "this phase alone")
        frame = session.attempt(start, phases=[{"epochs": 1}, {"epochs": 2, "update": False}])
        slot = frame.parts.get("slot/1")
        if slot is None or slot.dtype != np.float32 or len(slot) != len(start):
            raise Wrong('its update has no part "slot/1" with the weights after a phase that is no update')
        _equal(slot, two, 'the part "slot/1"', "the weights after that phase alone")
        _equal(session.weights_of(frame, "update"), one, "the update of a request whose last phase is none", "the phase that is the update")
        parts = {"start/1": two}
        begun = session.phases(start, {"epochs": 1}, {"epochs": 1, "start": "slot"}, parts=parts)
        _equal(begun, session.phases(two, {"epochs": 1}), 'a phase from the part "start/1"', "a training from these weights")


@feature("step-limit", "it ends a phase after as many mini-batches")
def limits_steps(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
        update, weights = session.train(start, phases=[{"epochs": 2, "steps": 3}])
        due = {"steps": 3, "scored": 3 * BATCH, "examples": SIZES[0]}
        if {field: update.get(field) for field in due} != due:
            raise Wrong(f"its update after 3 steps has { {field: update.get(field) for field in due} }, expected {due}")
        whole = -(-SIZES[0] // BATCH)
        update, further = session.train(start, phases=[{"epochs": 2, "steps": whole + 1}])
        if (update.get("steps"), update.get("scored")) != (whole + 1, BATCH):
            raise Wrong(f"its steps continue in the second epoch, and its update has {update}")
        if np.array_equal(weights, further):
            raise Wrong("its update does not depend on the step limit")
        _equal(session.phases(start, {"epochs": 2, "steps": 1000}), session.phases(start, {"epochs": 2}), "a limit that is not reached", "no limit")


@feature("proximal", "it adds the proximal term to each gradient")
def adds_proximal(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
        anchor = (start + np.float32(2)).astype(np.float32)
        plain = session.phases(start, {"epochs": 1}, **WHOLE)
        pulled = session.phases(start, {"epochs": 1, "proximal": 0.5}, parts={"anchor": anchor}, **WHOLE)
        _moves(session, pulled - plain, 0.01 * 0.5 * 2, "the proximal term 0.5 with an anchor that is 2 above its weights")
        own = session.phases(start, {"epochs": 2, "proximal": 0.5})
        _equal(session.phases(start, {"epochs": 2, "proximal": 0.5}, parts={"anchor": start}), own, "the anchor of the received weights", "no anchor")
        if np.array_equal(own, session.phases(start, {"epochs": 2})):
            raise Wrong("its update does not depend on 'proximal'")


@feature("linear", "it adds the linear term to each gradient")
def adds_linear(world: World) -> None:
    with ready(world) as session:
        start, linear = session.weights(), {"linear": session.vector(0.5)}
        plain = session.phases(start, {"epochs": 1}, **WHOLE)
        moved = session.phases(start, {"epochs": 1, "linear": True}, parts=linear, **WHOLE)
        _moves(session, moved - plain, -0.01 * 0.5, "a linear term of 0.5")
        _equal(session.phases(start, {"epochs": 1}, parts=linear, **WHOLE), plain, "a phase without 'linear'", "a request without the part")


@feature("frozen", "it keeps the bits of frozen tensors")
def keeps_frozen(world: World) -> None:
    with ready(world) as session:
        _, start = session.train(session.weights())
        bounds = np.cumsum([0] + [math.prod(tensor["shape"]) for tensor in session.layout])
    for rules in {"name": "sgd"}, {"name": "sgd", "momentum": 0.9, "weight_decay": 0.5}, {"name": "adam", "weight_decay": 0.5}:
        with ready(world) as session:
            phase = {"epochs": 2, "frozen": [session.layout[0]["name"]]}
            frame = session.attempt(start, phases=[phase], optimiser=json.dumps(rules, separators=(",", ":")))
            if frame.type == "failed" and rules != {"name": "sgd"}:
                continue
            weights = session.weights_of(frame, "update")
        if not np.array_equal(weights[: bounds[1]], start[: bounds[1]]):
            raise Wrong(f"it changed the frozen tensor {phase['frozen'][0]!r} under {rules}")
        if len(session.layout) > 1 and np.array_equal(weights[bounds[1] :], start[bounds[1] :]):
            raise Wrong(f"it trained no tensor although only {phase['frozen'][0]!r} was frozen")


@feature("score-start", "it scores the received weights before it trains")
def scores_start(world: World) -> None:
    with ready(world) as session:
        _, weights = session.train(session.weights())
        plain = session.train(weights)
        update = session.train(weights, score_start="all")
        _score(update[0], SIZES[0])
        _equal(update[1], plain[1], "a training whose start is scored", "the same training without the score")
    with ready(world, ["large"]) as session:
        rows = _score(session.train(weights, score_start="rows")[0], 512)
    with ready(world, ["scored"]) as session:
        due = _score(session.train(weights, score_start="all")[0], 512)
    if not math.isclose(rows, due, rel_tol=1e-4):
        raise Wrong(f"it scored other rows than those of crates/random/README.md: its loss is {rows}, expected {due}")


def _score(update: Dict[str, Any], rows: int) -> float:
    start = update.get("start") or {}
    loss = start.get("loss_sum")
    if start.get("examples") != rows or not isinstance(loss, (int, float)) or not math.isfinite(loss):
        raise Wrong(f"its update has the 'start' {start}, expected a finite loss over {rows} rows")
    return loss


@feature("flip-labels", "it trains on flipped labels")
def flips_labels(world: World) -> None:
    if world.classes is None:
        return  # A real target has no labels.
    with ready(world) as session:
        start = session.weights()
        plain, flipped = (session.train(start, flip_labels=flip)[1] for flip in (False, True))
        if np.array_equal(plain, flipped):
            raise Wrong("it trained on the labels of the partition, and was asked for flipped ones")
        _equal(session.train(start)[1], plain, "a training after one on flipped labels", "the same training before it")


@feature("phase-batch", "it takes a mini-batch size for one phase")
def sizes_batches(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
        whole = session.train(start, batch_size=1000)[1]
        phased = session.phases(start, {"epochs": 1, "batch_size": 1000})
        _equal(phased, whole, "a phase with a batch size of its own", "a request with that batch size")


@feature("accumulation", "it reports the accumulation of SGD")
def accumulates(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
    for momentum in 0.0, 0.5:
        with ready(world) as session:
            rules = {"name": "sgd", **({"momentum": momentum} if momentum else {})}
            frame = session.attempt(start, phases=[{"epochs": 2}], optimiser=json.dumps(rules, separators=(",", ":")))
        if frame.type == "failed" and momentum:
            continue
        session.weights_of(frame, "update")
        steps, reported = frame.body["steps"], frame.body["accumulation"]
        most = steps if momentum == 0 else steps / (1 - momentum)
        if reported is None or not steps <= reported <= most:
            raise Wrong(f"it reports the accumulation {reported} of {steps} steps of {rules}, expected {steps} to {most}")


@feature("keeps-momentum", "it begins with the momentum of an earlier round and returns that of this one")
def keeps_momentum(world: World) -> None:
    rules = json.dumps({"name": "sgd", "momentum": 0.5, "keep": True}, separators=(",", ":"))
    with ready(world) as session:
        start, zeros = session.weights(), session.vector(0)

        def train(momentum: Optional[np.ndarray]) -> Dict[str, np.ndarray]:
            parts = {} if momentum is None else {"momentum": momentum}
            frame = session.attempt(start, parts, optimiser=rules, keeps_momentum=True, **WHOLE)
            session.weights_of(frame, "update")
            if frame.parts.get("momentum", zeros[:0]).size != len(start):
                raise Wrong("its update has no part 'momentum' with one value a weight")
            return frame.parts

        first = train(None)
        _equal(train(zeros)["weights"], first["weights"], "a training with a momentum of zeros", "one without a momentum")
        # One whole batch with the velocity v: the momentum is v / 2 + g, and η times it is the step.
        moved = train(session.vector(4))
        _moves(session, moved["momentum"] - first["momentum"], 2, "a momentum of 4")
        _moves(session, moved["weights"] - first["weights"], -0.01 * 2, "a momentum of 4")


@feature("own-optimiser", "it trains by an optimiser of its own")
def brings_optimiser(world: World) -> None:
    with ready(world) as session:
        start = session.weights()
        frame = session.attempt(start, optimiser='{"name":"own"}', **WHOLE)
        if np.array_equal(session.weights_of(frame, "update"), start):
            raise Wrong("it trained no weight by its own optimiser")


@feature("local-tensors", "it starts from its own values of local tensors")
def takes_local(world: World) -> None:
    with ready(world) as session:
        sizes = [math.prod(tensor["shape"]) for tensor in session.layout]
        is_local = np.repeat([tensor["place"] == "local" for tensor in session.layout], sizes)
        if not is_local.any():
            return
        start = session.weights()
        _, other = session.train(start)
        due = session.phases(np.where(is_local, other, start), {"epochs": 1})
        got = session.phases(start, {"epochs": 1}, parts={"local": other[is_local]})
        _equal(got, due, 'a training with the part "local"', "one from weights with these values")


@feature("evaluate-partition", "it evaluates the held-out rows of its partition, and trains on the others")
def evaluates_partition(world: World) -> None:
    with ready(world, ("held out", "1")) as session:
        # A client may leave both counts out.
        due = {"examples": [LARGE, SIZES[1]], "held_out": [TEST, 0]}
        if session.counts not in ({}, due):
            raise Wrong(f"its 'ready' has the counts {session.counts}, expected {due}")
        start = session.weights()
        got = session.train(start)
        scored = session.evaluate(got[1], [2, 0], client=0)
    with ready(world, ("training", "1")) as session:
        due = session.train(start)
    if got[0] != due[0]:
        raise Wrong(f"its update is {got[0]}, expected that of a partition without the held-out rows: {due[0]}")
    _equal(got[1], due[1], "a training beside held-out rows", "one without them")
    held = world.held("scored at last")
    setup = world.setup()
    setup["purpose"]["serve"]["test"], setup["test_sha256"] = held["path"], held["sha256"]
    with ready(world, setup=setup) as session:
        expected = session.evaluate(got[1], [2, 0])
    if scored != expected:
        raise Wrong(f"its sums for held-out rows are {scored}, expected those of a test set with the same rows: {expected}")


@feature("predict", "it sends the confusion matrix and the outputs of what it evaluates")
def predicts(world: World) -> None:
    width = world.classes or 1
    with ready(world) as session:
        _, weights = session.train(session.weights())
        request = World.evaluate([1, 0], predictions="outputs")
        outputs = session.child.ask(request, weights, 4 * 2 * EVALUATION_BLOCK * width).parts
        if list(outputs) != ["outputs"] or outputs["outputs"].size != 2 * EVALUATION_BLOCK * width:
            raise Wrong(f"its 'evaluated' has the parts {list(outputs)}, expected outputs: f32, {width} for each example")
        if world.classes is None:
            return  # A real target has no confusion matrix.
        request = World.evaluate([1, 0], predictions="confusion")
        frame = session.child.ask(request, weights, 4 * world.classes**2)
    blocks, counts = frame.body.get("blocks") or [], frame.parts.get("confusion")
    if list(frame.parts) != ["confusion"] or counts.dtype != np.uint32 or counts.size != world.classes**2:
        raise Wrong(f"its 'evaluated' has the parts {list(frame.parts)}, expected confusion: u32, {world.classes**2} numbers")
    correct = sum(block["correct"] for block in blocks)
    matrix = counts.reshape(world.classes, world.classes)
    if matrix.sum() != 2 * EVALUATION_BLOCK or np.trace(matrix) != correct:
        raise Wrong(f"its confusion matrix has {matrix.sum()} examples, {np.trace(matrix)} of them correct; its sums have {correct}")
    predicted = np.argmax(outputs["outputs"].reshape(-1, width), axis=1)
    if not np.array_equal(np.bincount(predicted, minlength=width), matrix.sum(axis=0)):
        raise Wrong("the greatest of its outputs are not the predictions of its confusion matrix")


@feature("clip", "it bounds the norm of its change to the bit")
def clips(world: World) -> None:
    encodings = [""] + (["+int8:bucket=512,l2=false"] if "compress:int8" in (world.features or []) else [])
    for norm in "0.001", "1000000":
        for encoding in encodings:
            _encodes(world, f"clip:norm={norm}{encoding}")


@feature("compress:int8", "it encodes the change of its weights to the bit")
def quantises(world: World) -> None:
    for text in "int8:bucket=512,l2=false", "int8:bucket=100,l2=true":
        _encodes(world, text)


@feature("compress:topk", "it sends the greatest values of its change and returns the rest, to the bit")
def sends_greatest(world: World) -> None:
    with ready(world) as session:
        # Most values are equal, so that ties decide.
        residual = np.repeat(np.float32([8, -8, 2]), -(-len(session.weights()) // 3))[: len(session.weights())]
    for text in "topk:fraction=0.1,feedback=true", "topk:fraction=0.1,feedback=false", "topk:fraction=1,feedback=true":
        _encodes(world, text)
    _encodes(world, "topk:fraction=0.4,feedback=true", residual)


def _encodes(world: World, chain: str, residual: Optional[np.ndarray] = None) -> None:
    """Checks the parts of an update under a chain of transforms."""
    texts = chain.split("+")
    with ready(world) as session:
        start = session.weights()
        _, after = session.train(start, client=1, round=4)
        parts = None if residual is None else {"residual": residual}
        frame = session.attempt(start, parts, client=1, round=4, transforms=texts)
    due = Transforms.read(texts).encode(after - start, residual, world.setup()["seed"], 1, 4)
    if set(frame.parts) != set(due):
        raise Wrong(f"its update under {chain} has the parts {list(frame.parts)}, expected {', '.join(due)}")
    for name, values in due.items():
        got = frame.parts[name]
        if got.dtype != values.dtype or got.tobytes() != values.tobytes():
            raise Wrong(f'the part "{name}" of its update under {chain} has other bits than the protocol says')


def _equal(one: np.ndarray, other: np.ndarray, what: str, due: str) -> None:
    if one.tobytes() != other.tobytes():
        raise Wrong(f"its weights after {what} differ from those after {due}")


def _moves(session: Session, moved: np.ndarray, due: float, what: str) -> None:
    """Checks that one step moved each trained weight by `due` more."""
    sizes = [math.prod(tensor["shape"]) for tensor in session.layout]
    moved = moved[np.repeat([tensor["kind"] == "param" for tensor in session.layout], sizes)]
    if not np.allclose(moved, due, rtol=1e-2, atol=abs(due) * 1e-2):
        raise Wrong(f"one step under {what} moves a weight by {moved.min():.3g} to {moved.max():.3g} more, expected {due:.3g}")
