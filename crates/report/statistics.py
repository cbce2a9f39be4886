"""Writes `statistics.json`: pairs of results with the statistics that SciPy gives them.

Usage: python3 statistics.py (needs SciPy; written with 1.17.1)
The cases have ties, differences of one sign, and accuracies as runs have them. The permutation test flips the sign of
each difference, in all combinations.
"""

import json
import pathlib

import numpy as np
from scipy import stats


def case(a, b):
    a, b = np.array(a), np.array(b)
    differences = b - a
    test = stats.ttest_rel(b, a)
    interval = test.confidence_interval(0.95)
    flips = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    return {
        "a": a.tolist(),
        "b": b.tolist(),
        "mean": float(np.mean(differences)),
        "sd_of_a": float(np.std(a, ddof=1)),
        "t": float(test.statistic),
        "p": float(test.pvalue),
        "low": float(interval.low),
        "high": float(interval.high),
        "sign_flip_p": float(flips.pvalue),
    }


def main():
    generator = np.random.default_rng(0)
    runs = 85 + generator.normal(size=(2, 10)).round(2)
    cases = [
        case([85.1, 84.9, 85.3, 85.0, 85.2], [85.6, 85.2, 85.9, 85.1, 85.8]),
        case([1.0, 2.0, 3.0], [2.0, 2.0, 5.0]),
        case([0.5, 0.25], [0.75, 1.0]),
        case([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.5]),
        case(runs[0], runs[1]),
        case(generator.normal(size=16), generator.normal(loc=0.5, size=16)),
    ]
    path = pathlib.Path(__file__).with_name("statistics.json")
    path.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
