"""The checks that an answer follows from its request, from all of it and from nothing else."""

from __future__ import annotations

import json
import math
from typing import Any, Dict, List, Tuple

import numpy as np

from ..protocol import Frame
from .checks import check
from .child import Wrong
from .started import Session, ready
from .world import World

RATE = 0.01
"""The learning rate under which optimisers are compared."""


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
