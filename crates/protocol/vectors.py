"""Prints the test vectors of `README.md` from their definitions.

Usage: python3 vectors.py
The program needs only Python, and `../random/vectors.py` for the streams and `f32`.
"""

import fractions
import math
import pathlib
import runpy
import struct
import types

streams = types.SimpleNamespace(**runpy.run_path(str(pathlib.Path(__file__).parents[1] / "random/vectors.py")))
f32, numbers = streams.f32, streams.exactly

# The use of the random numbers of a transform, which are those of client 2 in round 3 under the seed 1.
TRANSFORM = 6
CHANGE = [0.5, -0.3, 0.001, 0.0, 0.9, -127.0, 64.25, 1e-20, 3.0, -3.0]
RESIDUAL = [0.25, 0.0, 0.0, 1.0, 0.0, 126.5, 0.0, 0.0, 0.0, 0.0]


def length(values):
    """The Euclidean norm, added up in order."""
    squares = 0.0
    for value in values:
        squares += value * value
    return math.sqrt(squares)


def int8(change, bucket, l2):
    """QSGD with 127 levels: the levels of the change, and the scales."""
    stream = streams.Stream(1, TRANSFORM, client=2, round=3)
    levels, scales = [], []
    for start in range(0, len(change), bucket):
        values = [f32(value) for value in change[start : start + bucket]]
        scales.append(f32(length(values)) if l2 else max(map(abs, values)))
        for value in values:
            draw, level = stream.unit(), fractions.Fraction(abs(value)) * 127 / fractions.Fraction(scales[-1])
            whole = math.floor(level) + (draw < level - math.floor(level))
            levels.append(int(math.copysign(whole, value)))
    return levels, scales


def clip(change, bound):
    """The change at most as long as the bound, each value rounded to an f32 that is not farther from zero."""
    change = [f32(value) for value in change]
    factor = bound / length(change)
    return [towards_zero(value * factor) for value in change] if factor < 1 else change


def towards_zero(x):
    nearest = f32(x)
    if abs(nearest) <= abs(x):
        return nearest
    # The magnitude of an f32 grows with its bits.
    [bits] = struct.unpack("<I", struct.pack("<f", nearest))
    return struct.unpack("<f", struct.pack("<I", bits - 1))[0]


def topk(change, fraction, residual):
    """The indices and the values of the greatest magnitudes, and the new residual."""
    left = [f32(f32(value) + old) for value, old in zip(change, residual)]
    order = sorted(range(len(left)), key=lambda index: (-abs(left[index]), index))
    indices = sorted(order[: math.ceil(fraction * len(left))])
    return indices, [left[index] for index in indices], [0 if index in indices else value for index, value in enumerate(left)]


def vectors():
    """The table of `README.md`."""
    rows = [("change", numbers(CHANGE)), ("residual", numbers(RESIDUAL))]
    rows.append(("change under `clip:norm=10`", numbers(clip(CHANGE, 10))))
    for l2 in False, True:
        levels, scales = int8(CHANGE, 4, l2)
        under = f"under `int8:bucket=4,l2={str(l2).lower()}`"
        rows += [(f"levels {under}", " ".join(map(str, levels))), (f"scales {under}", numbers(scales))]
    encoded = zip(("indices", "values", "new residual"), topk(CHANGE, 0.2, RESIDUAL))
    rows += [(f"{name} under `topk:fraction=0.2,feedback=true`", numbers(values)) for name, values in encoded]
    return streams.table(*rows)


if __name__ == "__main__":
    print(vectors())
