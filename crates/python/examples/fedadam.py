"""FedAdam (Reddi 2021, Algorithm 2) as a strategy program. It computes the weights of fedpipe's own `fedadam`.

fedpipe run mlp --strategy-program "python3 fedadam.py --rate 0.01"
"""

import argparse

import numpy as np

import fedpipe

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=0.01)
parser.add_argument("--beta1", type=float, default=0.9)
parser.add_argument("--beta2", type=float, default=0.99)
parser.add_argument("--tau", type=float, default=1e-3)


class FedAdam(fedpipe.Strategy):
    def aggregate(self, round, weights, updates, state):
        mean = fedpipe.weighted_mean(updates).astype(np.float32)
        w, delta = weights.astype(np.float64), mean.astype(np.float64) - weights
        m = state.get("m", np.zeros_like(weights))
        v = state.get("v", np.full_like(weights, OPTIONS.tau**2))
        # Computed in float64 and kept in float32.
        m = (OPTIONS.beta1 * m.astype(np.float64) + (1 - OPTIONS.beta1) * delta).astype(np.float32)
        v = (OPTIONS.beta2 * v.astype(np.float64) + (1 - OPTIONS.beta2) * delta**2).astype(np.float32)
        moved = w + OPTIONS.rate * m / (np.sqrt(v.astype(np.float64)) + OPTIONS.tau)
        return np.where(self.params(), moved, mean), {"m": m, "v": v}


if __name__ == "__main__":
    # The arguments that the host adds come last.
    OPTIONS, _ = parser.parse_known_args()
    fedpipe.serve_strategy(FedAdam)
