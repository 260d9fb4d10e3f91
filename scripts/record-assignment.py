#!/usr/bin/env python3
"""Records the exact optimum of balanced assignments, for train/nn/bias_balance_test.cc: testdata/oracles/assignment.json.

T tokens choose K of E experts each, every expert takes exactly T K / E; the sum of the scores is the largest possible. It
is a linear program whose corners are whole numbers (transport), solved by scipy's HiGHS. Scores come from the generator of
base/random.h, written out here again: sigmoid(0.7 z + m_e), z the sum of twelve uniforms less 6, m_e from -0.8 to 0.8.
Needs the PyPI packages numpy and scipy.
"""
import json
import math
import pathlib

import numpy as np
import scipy
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "oracles" / "assignment.json"
T, E, K = 1024, 16, 2
MASK = (1 << 64) - 1


class Random:
    """xoshiro256++, seeded by splitmix64."""

    def __init__(self, seed):
        self.state = []
        for _ in range(4):
            seed = (seed + 0x9E3779B97F4A7C15) & MASK
            z = seed
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            self.state.append(z ^ (z >> 31))

    def uniform(self):
        s = self.state
        rotate = lambda x, k: ((x << k) | (x >> (64 - k))) & MASK
        result = (rotate((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
        return (result >> 11) * 2.0**-53


def scores_of(seed):
    random = Random(seed)
    rows = [[0.7 * (sum(random.uniform() for _ in range(12)) - 6.0) - 0.8 + 1.6 * e / (E - 1) for e in range(E)] for _ in range(T)]
    return 1.0 / (1.0 + np.exp(-np.array(rows)))


def optimum(scores):
    variables = np.arange(T * E)
    rows = np.concatenate([variables // E, T + variables % E])
    matrix = csr_matrix((np.ones(2 * T * E), (rows, np.concatenate([variables, variables]))), shape=(T + E, T * E))
    sides = np.concatenate([np.full(T, K), np.full(E, T * K / E)])
    found = linprog(-scores.ravel(), A_eq=matrix, b_eq=sides, bounds=(0, 1), method="highs")
    assert found.status == 0, found.message
    whole = bool(np.abs(found.x - np.round(found.x)).max() < 1e-6)
    return -found.fun, whole


def main():
    record = {"scipy": scipy.__version__, "tokens": T, "experts": E, "k": K, "cases": []}
    for seed in range(1, 6):
        scores = scores_of(seed)
        value, whole = optimum(scores)
        assert whole and not math.isnan(value)
        record["cases"].append({"seed": seed, "first_score": float(scores[0, 0]), "last_score": float(scores[-1, -1]), "optimum": value})
    OUT.write_text(json.dumps(record, indent=1) + "\n")


main()
