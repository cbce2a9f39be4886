"""Compares strategies where the clients' data differ, and with cells that others published.

Usage: just noniid, or python3 noniid.py FEDPIPE [--out DIR] [--tiny]
The first part has ten clients with `mlp` on Fashion-MNIST for 50 rounds: seven strategies on four partitions. The learning
rate of each cell is the best of three after 25 rounds of a seed that is not reported; the table is of five other seeds.
Then come FLANDERS's MLP under attack, of which only the order compares, and NIID-Bench's CNN after 10 of its 50 rounds. The
budget is 90 minutes on two cores. A second call goes on with what is missing.
"""

import statistics

from studies import Study, arguments, diverged, table

STRATEGIES = {
    "fedavg": {"strategy.name": "fedavg"},
    "fedavg, equal": {"strategy.name": "fedavg", "strategy.weighting": "equal"},
    "fedprox": {"strategy.name": "fedprox:0.01"},
    "scaffold": {"strategy.name": "scaffold"},
    "fednova": {"strategy.name": "fednova"},
    "feddyn": {"strategy.name": "feddyn:0.1"},
    "fedadam": {"strategy.name": "fedadam"},
}
PARTITIONS = ["iid", "dirichlet:0.5", "dirichlet:0.1", "labels:2"]
RATES = [0.03, 0.1, 0.3]
SEEDS = [0, 1, 2, 3, 4]
# The seed by which a rate is chosen.
CHOOSING = 100

# FLANDERS, Fashion-MNIST, last rounds: no attack, 20 and 60 of 100 under the Gaussian one (ALGORITHMS.md, section 2.1).
FLANDERS = {
    "mean": ["0.68", "0.25", "0.28"],
    "median": ["0.71", "0.66", "0.65"],
    "trimmed-mean:beta=0.2": ["0.69", "0.69", "0.33"],
    "multi-krum:f=20": ["0.66", "0.74", "0.71"],
    "bulyan:f=20": ["0.62", "0.71", "–"],
}
# NIID-Bench, Fashion-MNIST, best of 50 rounds: Flower's run of it.
NIID = {
    "iid": ["89.23 ± 0.45", "89.36 ± 0.09"],
    "dirichlet:alpha=0.5,balance=true": ["88.09 ± 0.29", "88.22 ± 0.12"],
    "labels:2": ["78.10 ± 2.51", "71.67 ± 2.34"],
}


def folder(*words):
    return "-".join(word.replace(":", "").replace(", ", "-").replace("=", "").replace(",", "-") for word in words)


def strategies(study, tiny):
    """The accuracies of five seeds by partition and strategy, with the rate that was chosen."""
    common = {"model": "mlp", "clients.count": 10, "rounds": 1 if tiny else 50, "execution.checkpoint-every": 50}
    common["data.source"] = "sample" if tiny else "fashion-mnist"
    seeds, partitions = (SEEDS[:2], PARTITIONS[:1]) if tiny else (SEEDS, PARTITIONS)
    rates, names = (RATES[:2], list(STRATEGIES)[:2]) if tiny else (RATES, list(STRATEGIES))
    found = {}
    for partition in partitions:
        for name in names:
            experiment = {**common, **STRATEGIES[name], "data.partition": partition}
            half = {**experiment, "rounds": 1 if tiny else 25}
            choice = study.rows(folder("choice", name, partition), half, {"local.lr": rates, "seed": [CHOOSING]})
            rate = max(zip(rates, choice), key=lambda pair: 0 if diverged(pair[1]) else pair[1]["accuracy"])[0]
            rows = study.rows(folder(name, partition), {**experiment, "local.lr": rate}, {"seed": seeds})
            if any(map(diverged, rows)):
                count = f"{sum(map(diverged, rows))} of {len(rows)} runs diverged"
                print(f"{name}, {partition}, learning rate {rate}: {count}, and count with their last accuracy")
            found[partition, name] = ([100 * row["accuracy"] for row in rows], rate)
    print(f"`mlp`, {len(seeds)} seeds, accuracy in % after {common['rounds']} rounds, and the learning rate")
    lines = [[partition, *(spread(*found[partition, name]) for name in names)] for partition in partitions]
    table(["partition", *names], lines)
    print("\nless fedavg with the same seeds, in points")
    difference = lambda partition, name: [a - b for a, b in zip(found[partition, name][0], found[partition, "fedavg"][0])]
    table(["partition", *names[1:]], [[of, *(spread(difference(of, name)) for name in names[1:])] for of in partitions])


def spread(values, rate=None):
    sd = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{sd}" + (f" ({rate})" if rate else "")


def flanders(study, tiny):
    """FLANDERS's MLP: 100 clients, one local epoch, the Gaussian attack on none, 20 and 60 of them."""
    experiment = {
        "model": "mlp",
        "model-options.hidden": "256,128,64",
        "model-options.dropout": "0.2",
        "clients.count": 100,
        "clients.min-clients": 100,
        "rounds": 1 if tiny else 50,
        "local.optimiser": "adam",
        "local.lr": 0.003,
        "data.source": "sample" if tiny else "fashion-mnist",
        "data.partition": "iid" if tiny else "dirichlet-client:0.5",
        "execution.checkpoint-every": 50,
        "execution.processes": 2,
    }
    rules = list(FLANDERS)[:2] if tiny else list(FLANDERS)
    ours = {rule: [] for rule in rules}
    for share in [0, 0.2] if tiny else [0, 0.2, 0.6]:
        # Bulyan of 60 attackers is not defined for 100 clients.
        of_share = [rule for rule in rules if share < 0.6 or "bulyan" not in rule]
        attack = f"gaussian:fraction={share},sigma=10"
        rows = study.rows(folder("flanders", str(share)), {**experiment, "strategy.attack": attack}, {"strategy.aggregate": of_share})
        for rule in rules:
            found = [f"{row['accuracy']:.2f}" for row, of in zip(rows, of_share) if of == rule]
            ours[rule] += found or ["–"]
    print("\nFLANDERS's MLP, Gaussian attack on 0, 20 and 60 of 100 clients: ours, and published; compare the order")
    table(["rule", "ours", "published"], [[rule, " ".join(ours[rule]), " ".join(FLANDERS[rule])] for rule in rules])


def niid_bench(study, tiny):
    """NIID-Bench's CNN: ten local epochs, SGD with momentum 0.9."""
    experiment = {
        "model": "cnn",
        "model-options.channels": "6,16",
        "clients.count": 10,
        "rounds": 1 if tiny else 10,
        "local.epochs": 1 if tiny else 10,
        "local.batch-size": 64,
        "local.lr": 0.01,
        "local.optimiser": "sgd:momentum=0.9,weight-decay=0.00001",
        "data.source": "sample" if tiny else "fashion-mnist",
        "execution.checkpoint-every": 5,
    }
    partitions = list(NIID)[:1] if tiny else list(NIID)
    axes = {"data.partition": partitions, "strategy.name": ["fedavg", "fednova"]}
    rows = study.rows("niid-bench", experiment, axes)
    print("\nNIID-Bench's CNN, accuracy in % after 10 rounds of one seed, and the best of 50 rounds as published")
    percent = lambda row: f"{100 * row['accuracy']:.2f}"
    lines = [
        [partition, percent(rows[2 * place]), NIID[partition][0], percent(rows[2 * place + 1]), NIID[partition][1]]
        for place, partition in enumerate(partitions)
    ]
    table(["partition", "fedavg", "published", "fednova", "published"], lines)


def main():
    given = arguments(__doc__, "runs/noniid")
    study = Study(given.command, given.out)
    for part in [strategies, flanders, niid_bench]:
        part(study, given.tiny)
    print()
    study.print_cost()


if __name__ == "__main__":
    main()
