"""What `robust.py` and `noniid.py` share: sweeps that continue where they stopped, and tables."""

import argparse
import json
import math
import pathlib
import resource
import shutil
import subprocess
import sys
import time


# The exit code of a sweep some of whose runs failed.
SOME_FAILED = 8


class Study:
    """Sweeps in the folders of one study."""

    def __init__(self, command, out):
        self.command, self.out, self.began = command, pathlib.Path(out), time.monotonic()

    def rows(self, name, experiment, axes):
        """Runs what is left of a sweep, and returns the summary of each run. `experiment` and `axes` have dotted keys.

        A run that diverged has a summary, too: that of the rounds before.
        """
        folder = self.out / name
        if not (folder / "sweep.json").exists():
            # Without this file the folder is not whole, and no run of it began.
            shutil.rmtree(folder, ignore_errors=True)
            self.out.mkdir(parents=True, exist_ok=True)
            # Dotted keys need no tables, but those above the sections come first.
            keys = sorted(experiment.items(), key=lambda pair: pair[0].count("."))
            text = "format = 2\n" + "".join(f"{key} = {value!r}\n" for key, value in keys)
            (self.out / f"{name}.toml").write_text(text)
            sets = [word for key, values in axes.items() for word in ("--set", f"{key}={toml_array(values)}")]
            self.run("sweep", str(self.out / f"{name}.toml"), "--out", str(folder), *sets)
        else:
            self.run("sweep", "--resume", str(folder))
        sweep = json.loads((folder / "sweep.json").read_text())
        if len(sweep["runs"]) != math.prod(map(len, axes.values())):
            raise SystemExit(f"error: {folder} has another grid; give another --out, or remove it")
        return [json.loads((folder / run["name"] / "summary.json").read_text()) for run in sweep["runs"]]

    def run(self, *words):
        done = subprocess.run([self.command, *words, "--quiet"], stdout=subprocess.DEVNULL)
        if done.returncode not in (0, SOME_FAILED):
            raise SystemExit(done.returncode)

    def print_cost(self):
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        minutes, of_processors = (time.monotonic() - self.began) / 60, (usage.ru_utime + usage.ru_stime) / 60
        print(f"{minutes:.0f} minutes, {of_processors:.0f} of processor time, for what was missing; the runs are in {self.out}")


def diverged(row):
    return "failed" in row.get("stopped", {})


def toml_array(values):
    return "[" + ", ".join(f'"{value}"' if isinstance(value, str) else repr(value) for value in values) + "]"


def arguments(doc, out):
    """The command, the folder of the study, and `tiny`: the smallest grid, which shows that the study starts."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("command", help="the command fedpipe")
    parser.add_argument("--out", default=out, help="the folder of the runs, which a second call continues")
    parser.add_argument("--tiny", action="store_true", help="the smallest grid on the data set `sample`")
    return parser.parse_args()


def table(head, rows):
    """Prints aligned columns, the first one to the left. A cell may have colours."""
    cells = [head, *rows]
    widths = [max(len(visible(row[column])) for row in cells) for column in range(len(head))]
    for row in cells:
        pad = [" " * (width - len(visible(cell))) for cell, width in zip(row, widths)]
        print("  ".join(cell + space if not place else space + cell for place, (cell, space) in enumerate(zip(row, pad))).rstrip())
    sys.stdout.flush()


def visible(cell):
    """The cell without its colours."""
    return cell.split("m", 1)[1].split("\x1b", 1)[0] if cell.startswith("\x1b") else cell
