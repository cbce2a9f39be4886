"""Prints the records that TensorBoard writes for two events, which the tests of event_file.rs read.

    pip install tensorboard && python3 event_file.py > src/event_file.golden
"""

import io

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def record(event):
    file = io.BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue().hex()


scalars = [Summary.Value(tag="loss", simple_value=0.5), Summary.Value(tag="accuracy", simple_value=-1.0)]
print("# The records of event_file.py, by TensorBoard's own writer, in hexadecimal.")
print(record(Event(wall_time=1.5, step=0, file_version="brain.Event:2")))
print(record(Event(wall_time=2.25, step=300, summary=Summary(value=scalars))))
