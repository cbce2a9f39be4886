"""The command line of the conformance suite."""

from __future__ import annotations

import argparse
import sys
import tempfile

# The imports add the checks to the list, in this order.
from . import basics, requests, conversation, features  # noqa: F401  # isort: skip
from .checks import CHECKS
from .child import Wrong
from .world import World


def main() -> int:
    """Prints a line for each check. Returns 0 if all are in order, 1 if one fails, 2 if the command cannot be
    started."""
    arguments = _arguments()
    shape = tuple(int(n) for n in arguments.shape.split(","))
    options = dict(option.split("=", 1) for option in arguments.option)
    checks = [check for check in CHECKS if arguments.only in check[0]]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        world = World(
            arguments.command,
            folder,
            shape,
            None if arguments.real else arguments.classes,
            options,
            arguments.timeout,
            arguments.own_randomness,
        )
        for name, basic, check in checks:
            try:
                check(world)
                print(f"ok     {name}", flush=True)
            except OSError as error:
                print(f"error: {arguments.command[0]} cannot be started: {error.strerror}", file=sys.stderr)
                return 2
            except Wrong as fault:
                wrong += 1
                print(f"WRONG  {name}: {fault}", flush=True)
                if basic:
                    print("       the other checks depend on this one and were left out")
                    break
    print(f"{wrong} wrong" if wrong else f"all {len(checks)} checks are in order")
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    about = "Checks a client against the protocol and reports each fault."
    parser = argparse.ArgumentParser("python3 -m fedpipe.conformance", description=about)
    parser.add_argument("--shape", default="28,28", metavar="N,N", help="the shape of an example [default: 28,28]")
    parser.add_argument("--classes", type=int, default=10, metavar="N", help="the number of classes [default: 10]")
    parser.add_argument("--real", action="store_true", help="the targets are real numbers, and there are no classes")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the model; may be repeated")
    parser.add_argument("--timeout", type=float, default=60, metavar="S", help="the seconds for one answer [default: 60]")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the checks whose name contains TEXT")
    own = "the model draws its own random numbers, as dropout does, so that its order cannot be checked"
    parser.add_argument("--own-randomness", action="store_true", help=own)
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="the command of the client, after `--`")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
