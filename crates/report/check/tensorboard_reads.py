"""Reads the event file of a run by TensorBoard's own reader, and compares it with metrics.csv.

    python3 tensorboard_reads.py RUN
"""

import csv
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    run = pathlib.Path(sys.argv[1])
    events = EventAccumulator(str(run))
    events.Reload()
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    compared = 0
    for tag in events.Tags()["scalars"]:
        scalars = {event.step: event.value for event in events.Scalars(tag)}
        for row in rows:
            if row[tag] == "":
                continue
            expected, found = float(row[tag]), scalars.get(int(row["round"]))
            assert found is not None and abs(found - expected) <= 1e-6 * abs(expected), (tag, row["round"], found, expected)
            compared += 1
    assert compared >= 10 * (len(rows) - 1), compared
    print(f"TensorBoard reads {compared} numbers of {len(events.Tags()['scalars'])} scalars, as metrics.csv has them")


if __name__ == "__main__":
    main()
