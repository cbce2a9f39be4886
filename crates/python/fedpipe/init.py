"""Initial weights with the same values as those of the Rust models."""

from __future__ import annotations

import math
import struct
from statistics import NormalDist
from typing import Dict, Sequence, Tuple

import numpy as np

from .order import chacha8


def he_normal(shape: Tuple[int, ...], inputs: int, seed: int, tensor: int) -> np.ndarray:
    """Draws float32 weights from He's normal distribution, for layers followed by ReLU (He 2015, eq. 10).

    The mean is 0 and the variance 2 / `inputs`. `tensor` is the number of the tensor in its layout. The values are
    those of `crates/nn/src/init.rs`: the same shape and seed give the same weights.
    """
    count = math.prod(shape)
    words = chacha8(struct.pack("<Q8sQQ", seed, b"nn-init\0", tensor, 0), 2 * count).astype(np.uint64)
    units = (((words[0::2] | words[1::2] << np.uint64(32)) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    # `NormalDist` computes the quantile by algorithm AS 241, as the Rust code does.
    quantile = NormalDist().inv_cdf
    values = np.array([quantile(unit) for unit in units.tolist()])
    return (math.sqrt(2 / inputs) * values).astype(np.float32).reshape(shape)


def dense_layers(widths: Sequence[int], seed: int) -> Dict[str, np.ndarray]:
    """Returns the initial weights of dense layers between consecutive `widths`, by name.

    The names and shapes are `dense1.weight` (inputs, outputs), `dense1.bias` (outputs), and so on. Layout and values
    are those of the model `mlp` under the same seed.
    """
    tensors = {}
    for number, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        tensors[f"dense{number + 1}.weight"] = he_normal((inputs, outputs), inputs, seed, 2 * number)
        tensors[f"dense{number + 1}.bias"] = np.zeros(outputs, np.float32)
    return tensors
