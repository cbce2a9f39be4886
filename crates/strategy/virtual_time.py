"""Simulates the events of schedules in virtual time on its own, for `virtual_time.csv`, or checks those of a ledger.

Usage: python3 virtual_time.py > virtual_time.csv
       python3 virtual_time.py RUN/ledger.jsonl
The program needs only Python, and `../random/vectors.py` for the streams. The events of FedBuff and FedAsync are those
of a heap by (virtual end, client). A `case` of the CSV is followed by its events: client, version, number, start, end.
"""

import heapq
import json
import math
import pathlib
import runpy
import sys
import types

streams = types.SimpleNamespace(**runpy.run_path(str(pathlib.Path(__file__).parents[1] / "random/vectors.py")))


def uniform(seed, draw, idle, count):
    order = streams.Stream(seed, streams.SAMPLE, round=draw).order(len(idle))
    return sorted(idle[place] for place in order[:count])


def seconds(steps, step_time, slowness, payload, bandwidth):
    """`payload` are the bytes each way, and the bandwidth is in Mbit/s."""
    work = steps * step_time * slowness
    return work if bandwidth is None else work + 2 * payload * 8 / (bandwidth * 1e6)


def events(seed, places, times, size, count, dropped=()):
    """Yields the trainings as they end. `times` has the seconds of a training by client. After each `size` updates the
    weights have a new version. `dropped` has the trainings, by client and number, from which no update arrives."""
    now, version, arrived, draw = 0.0, 0, 0, 0
    heap, last = [], {}
    for _ in range(count):
        if not heap or heap[0][0] > now:
            busy = {client for _, client, *_ in heap}
            idle = [client for client in range(len(times)) if client not in busy]
            if len(busy) < places:
                draw += 1
                for client in uniform(seed, draw, idle, places - len(busy)):
                    last[client] = max(version, last.get(client, 0)) + 1
                    heapq.heappush(heap, (now + times[client], client, version, last[client], now))
        now, client, received, number, start = heapq.heappop(heap)
        yield client, received, number, start, now
        if (client, number) not in dropped:
            arrived += 1
            if arrived % size == 0:
                version += 1


def show_case(name, seed, places, size, clients, count=40):
    """Prints a case. A client is its examples, its slowness and its bandwidth; it trains for an epoch of batches of 32,
    at 0.01 seconds each, and a model of 250 weights has 1000 bytes."""
    times = [seconds(math.ceil(n / 32), 0.01, slowness, 1000, bandwidth) for n, slowness, bandwidth in clients]
    shown = " ".join(f"{n},{slowness},{'' if bandwidth is None else bandwidth}" for n, slowness, bandwidth in clients)
    print(f"case;{name};{seed};{places};{size};{shown}")
    for client, version, number, start, end in events(seed, places, times, size, count):
        print(f"{client} {version} {number} {start!r} {end!r}")


def show_cases():
    show_case("equal clients", 1, 3, 3, [(100, 1.0, None)] * 3, 12)
    show_case("equal clients, some at work", 2, 2, 2, [(64, 1.5, None)] * 5, 12)
    show_case("one client", 3, 1, 1, [(33, 2.0, 0.5)], 6)
    mixed = [(100, 1.0, None), (320, 0.5, 8.0), (31, 7.25, 0.25), (500, 2.0, 100.0), (64, 1.0, None), (65, 0.125, 1.0)]
    show_case("buffered", 4, 4, 3, mixed)
    show_case("buffered, more updates than clients at work", 5, 2, 5, mixed)
    show_case("asynchronous", 6, 5, 1, mixed)
    show_case("asynchronous, all at work", 7, 6, 1, mixed)


def check_ledger(path):
    """Compares the trainings in a ledger of a run by FedBuff or FedAsync with simulated ones."""
    lines = [json.loads(line) for line in open(path)]
    experiment = next(line["experiment"] for line in lines if line["event"] == "started")
    sizes = next(line["sizes"] for line in lines if line["event"] == "dealt")
    rounds = [line for line in lines if line["event"] == "round"]
    schedule, _, parameters = experiment["strategy"]["schedule"].partition(":")
    others = {
        "local-steps": experiment["local"].get("local-steps"),
        "uneven": experiment["local"]["uneven"] != "none" and experiment["local"]["uneven"],
        "holdout-clients": experiment["data"]["holdout-clients"],
        "sample": experiment["strategy"]["sample"] != "uniform" and experiment["strategy"]["sample"],
        "clock": experiment["time"]["clock"].startswith("file:") and experiment["time"]["clock"],
        "schedule": schedule == "synchronous" and schedule,
        "transform": experiment["strategy"].get("transform", "none") != "none" and experiment["strategy"]["transform"],
        "term": experiment["strategy"]["term"].partition(":")[0] not in ("none", "proximal") and experiment["strategy"]["term"],
    }
    for key, value in others.items():
        if value:
            sys.exit(f"{key} is {value}, which is not simulated; the simulator knows whole epochs, the sampler uniform, the "
                     "clocks constant and lognormal, and the schedules buffered and asynchronous")
    size = int(dict(pair.split("=") for pair in parameters.split(","))["size"]) if schedule == "buffered" else 1
    local, time = experiment["local"], experiment["time"]
    clock, _, parameters = time["clock"].partition(":")
    given = dict(pair.split("=") for pair in parameters.split(","))
    bandwidth = None if given["bandwidth"] == "unlimited" else float(given["bandwidth"])
    seed = int(experiment.get("sample-seed", experiment["seed"]))
    payload = rounds[0]["bytes_received"] // rounds[0]["clients"]
    times = []
    for client, examples in enumerate(sizes):
        slowness, link = float(given.get("slowness", 1)), bandwidth
        if clock == "lognormal":
            stream = streams.Stream(seed, 20, client=client)
            slowness = math.exp(float(given["sigma"]) * stream.normal())
            if bandwidth is not None:
                link = bandwidth * math.exp(float(given["link-sigma"]) * stream.normal())
        steps = local["epochs"] * math.ceil(examples / local["batch-size"])
        times.append(seconds(steps, time["step-time"], slowness, payload, link))
    places = min(max(math.floor(len(sizes) * experiment["clients"]["fraction"] + 0.5), 1), len(sizes))
    recorded = [update for line in rounds for update in line["updates"]]
    simulated = dropping(seed, places, times, size, recorded)
    for place, (update, (client, version, number, start, end)) in enumerate(zip(recorded, simulated)):
        same = (update["client"], update["version"]) == (client, version)
        times = (update["start"], start), (update["end"], end)
        near = all(math.isclose(recorded, value, rel_tol=1e-12, abs_tol=1e-12) for recorded, value in times)
        assert same and near, f"training {place}: {update}, simulated {client, version, number, start, end}"
    for line in rounds:
        assert line["virtual_seconds"] == line["updates"][-1]["end"], line["round"]
    print(f"{len(recorded)} trainings of {len(rounds)} rounds are those of the simulation")


def dropping(seed, places, times, size, recorded):
    """Yields the events in which those of the `recorded` ones are dropped that the ledger names, by their place."""
    dropped = set()
    for place, update in enumerate(recorded):
        if update.get("dropped"):
            # An event depends on those before it alone.
            *_, (client, _, number, _, _) = events(seed, places, times, size, place + 1, dropped)
            dropped.add((client, number))
    yield from events(seed, places, times, size, len(recorded), dropped)


if __name__ == "__main__":
    check_ledger(sys.argv[1]) if len(sys.argv) > 1 else show_cases()
