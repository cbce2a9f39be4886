"""The answers of nodes are checked."""

import io
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("flwr")

from flwr.app import ConfigRecord, RecordDict  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

from fedpipe import protocol  # noqa: E402
from fedpipe.flower import client, records, relay  # noqa: E402
from fedpipe.flower.courier import Courier, Unanswered  # noqa: E402
from fedpipe.flower.nodes import Place  # noqa: E402


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    """Returns the context of a ServerApp's process, without which Flower makes no message."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class Grid:
    """A grid with one node, which answers each message with `content`."""

    def __init__(self, content):
        self.content = content

    def push_messages(self, messages):
        return [str(number) for number, _ in enumerate(messages)]

    def pull_messages(self, numbers):
        metadata = [SimpleNamespace(reply_to_message_id=number) for number in numbers]
        return [SimpleNamespace(metadata=of, content=self.content, has_error=lambda: False) for of in metadata]


def ask(content):
    """Asks a node as `Nodes` does, while another thread fetches."""
    courier = Courier(Grid(content))
    done = threading.Event()

    def fetch():
        while not done.is_set():
            courier.fetch()

    thread = threading.Thread(target=fetch)
    thread.start()
    try:
        return courier.ask(7, {}, None, 1.0)
    finally:
        done.set()
        thread.join()


def content(**record):
    return RecordDict({"fedpipe": ConfigRecord(record)})


def test_a_reply_is_a_message_of_the_protocol():
    reply, partition, _ = ask(content(**{"reply": json.dumps({"type": "plain"}), "partition-id": "3"}))
    assert (reply, partition) == ({"type": "plain"}, 3)


@pytest.mark.parametrize(
    "strange",
    [
        RecordDict({}),
        content(reply="{}"),
        content(**{"reply": "no JSON", "partition-id": "3"}),
        content(**{"reply": "[1]", "partition-id": "3"}),
        content(**{"reply": json.dumps({"type": "plain"}), "partition-id": "three"}),
        content(**{"reply": json.dumps({"type": "update", "loss_sum": float("nan")}), "partition-id": "3"}),
    ],
    ids=["no record", "no partition", "no JSON", "no message", "no number", "NaN"],
)
def test_another_reply_is_none(strange):
    with pytest.raises(Unanswered, match="node 7: its reply is not that of a client_app"):
        ask(strange)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (None, "fit() returned None, and must return the tensors, the number of examples and the metrics"),
        (([], 3), "fit() returned a tuple, and must return the tensors"),
        (([], 3, {}), "fit() returned no metric `loss`"),
        (([], 3, {"loss": float("nan")}), "fit() returned a loss of nan; try a lower --lr"),
    ],
    ids=["nothing", "two", "no loss", "NaN"],
)
def test_a_numpy_client_that_returns_something_else_is_told_what(result, says):
    numpy_client = SimpleNamespace(fit=lambda parameters, config: result)
    request = {"type": "train", "client": 0, "round": 1, "phases": [{"epochs": 1}], "batch_size": 32}
    answer = client._by_numpy(lambda context: numpy_client, None, request, {})
    reply = json.loads(str(answer.config_records["fedpipe"]["reply"]))
    assert (reply["type"], reply["kind"]) == ("failed", "model") and reply["message"].startswith(says)


def test_a_node_has_the_features_of_its_own_and_keeps_no_weights():
    """Each request may reach another process. A plain node has the `ready` of another node, and no feature."""
    worker = Place(7, 0, {"type": "ready", "layout": [], "features": ["keeps-weights", "linear"]})
    for place, features in (worker, ["linear"]), (Place(8, 1, {"type": "plain"}), []):
        said = io.BytesIO()
        # The host has closed the connection, so that nothing follows.
        stream = SimpleNamespace(read=lambda n: b"", write=said.write, flush=said.flush)
        with pytest.raises(protocol.EndOfPipe):
            relay._serve(stream, {}, place, SimpleNamespace(worker=lambda: worker), None)
        said.seek(0)
        assert protocol.read(said, 0).body["features"] == features


def test_all_parts_of_a_message_are_passed_on():
    layout = [{"name": "w", "shape": [2]}, {"name": "b", "shape": [1]}]
    parts = {"weights": np.array([1, 2, 3], np.float32), "linear": np.array([4, 5, 6], np.float32)}
    parts["levels"], parts["indices"] = np.array([7, 255], np.uint8), np.array([3, 2**32 - 1], np.uint32)
    content = RecordDict()
    records.add_parts(content, parts, layout)
    assert list(content.array_records["arrays"]) == ["w", "b"]
    back = records.parts_of(content)
    assert {name: (values.dtype, values.tolist()) for name, values in back.items()} == {
        name: (values.dtype, values.tolist()) for name, values in parts.items()
    }
