"""SCAFFOLD with option II (Karimireddy 2020, Algorithm 1) as a strategy of one's own.

The bits are those of `--strategy scaffold`. No gradient moves a buffer, such as a running mean, so that the control variates
have 0 for its values.

fedpipe run mlp --strategy-program "python3 scaffold.py"
"""

from dataclasses import replace

import numpy as np

import fedpipe


def variate(state, weights):
    """The control variate in a state, in float64; 0 before the first one. The strategy's has a rest, so that it is the mean
    of the clients' variates without a drift."""
    zeros = np.zeros(len(weights), np.float32)
    return state.get("c", zeros).astype(np.float64) + state.get("c-rest", zeros)


class Scaffold(fedpipe.Strategy):
    features = ["linear", "accumulation"]
    keeps_client_state = True

    def prepare(self, round, client, weights, state, client_state):
        if not state and not client_state:
            return fedpipe.Prepared([self.phase])
        correction = variate(state, weights) - variate(client_state, weights)
        return fedpipe.Prepared([replace(self.phase, linear=True)], linear=correction)

    def aggregate(self, round, weights, updates, state):
        server, after = variate(state, weights), {}
        for update in updates:
            if update.accumulation is None:
                raise fedpipe.ModelError("the optimiser has no accumulation, by which SCAFFOLD divides; take --optimiser sgd")
            moved = (weights.astype(np.float64) - update.weights) / (self.learning_rate * update.accumulation)
            c = (variate(update.state, weights) - server + moved).astype(np.float32)
            after[update.client] = {"c": np.where(self.params(), c, np.float32(0))}
        # In the order in which the host adds, since a sum in another order has other bits.
        mean, moved, each = np.zeros(len(weights)), 0.0 + server, 1 / self.clients
        for update in updates:
            mean += update.weights
            moved = moved + each * variate(after[update.client], weights)
        for update in updates:
            moved = moved - each * variate(update.state, weights)
        c = moved.astype(np.float32)
        return mean / len(updates), {"c": c, "c-rest": (moved - c).astype(np.float32)}, after


if __name__ == "__main__":
    fedpipe.serve_strategy(Scaffold)
