#!/usr/bin/env python3
"""Records what scipy makes of samples, for analyze/paired_statistics_test.cc: testdata/oracles/statistics.json.

Needs the PyPI packages numpy and scipy. Equivalence is two calls of scipy.stats.ttest_1samp with an alternative, Holm's
correction is written out from its definition (scipy has none).
"""
import json
import pathlib

import numpy as np
import scipy
from scipy import special, stats

OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "oracles" / "statistics.json"


def sample(values, at, margin):
    mean, n = float(np.mean(values)), len(values)
    low, high = stats.t.interval(0.95, n - 1, loc=mean, scale=stats.sem(values))
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    return {"values": [float(v) for v in values], "at": at, "margin": margin, "mean": mean,
            "deviation": float(np.std(values, ddof=1)), "low": float(low), "high": float(high),
            "p": float(stats.ttest_1samp(values, at).pvalue), "equivalence_p": float(max(above, below))}


def holm(p):
    order = np.argsort(p, kind="stable")
    out, so_far = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        so_far = max(so_far, min(1.0, p[i] * (len(p) - rank)))
        out[i] = float(so_far)
    return {"p": [float(v) for v in p], "adjusted": out}


def main():
    rng = np.random.default_rng(20261126)
    beta = [(a, b, x) for a in (0.5, 1.0, 2.5, 15.0) for b in (0.5, 3.0, 40.0) for x in (1e-6, 0.01, 0.3, 0.5, 0.9, 0.999)]
    t = [(q, d) for d in (1.0, 2.0, 4.0, 4.7, 9.0, 120.0) for q in (-40.0, -3.5, -1.0, 0.0, 0.2, 2.776, 12.0)]
    quantiles = [(p, d) for d in (1.0, 2.0, 4.0, 9.0, 120.0) for p in (1e-6, 0.025, 0.05, 0.4, 0.5, 0.9, 0.975, 0.9995)]
    ranked = [(rng.normal(size=30), rng.integers(0, 5, size=30)), (np.arange(8.0), np.arange(8.0) ** 3),
              (rng.integers(0, 3, size=50), rng.integers(0, 3, size=50))]
    boot = rng.normal(0.3, 1.0, size=12)
    interval = stats.bootstrap((boot,), np.mean, confidence_level=0.95, n_resamples=200000, method="percentile",
                               random_state=1).confidence_interval
    record = {
        "scipy": scipy.__version__,
        "incomplete_beta": [[a, b, x, float(special.betainc(a, b, x))] for a, b, x in beta],
        "student_t_cdf": [[q, d, float(stats.t.cdf(q, d))] for q, d in t],
        "student_t_quantile": [[p, d, float(stats.t.ppf(p, d))] for p, d in quantiles],
        "samples": [sample(rng.normal(mean, spread, size=n), at, margin)
                    for n, mean, spread, at, margin in ((2, 0.1, 1.0, 0.0, 0.5), (5, 0.02, 0.01, 0.0, 0.05), (5, -1.0, 0.2, 0.0, 0.4),
                                                        (6, 0.0, 1.0, 0.3, 2.0), (30, 5.0, 3.0, 4.0, 6.0))],
        "holm": [holm(rng.uniform(size=n) ** 3) for n in (1, 2, 5, 9)] + [holm([0.01, 0.01, 0.04, 1.0])],
        "spearman": [{"x": [float(v) for v in x], "y": [float(v) for v in y], "rho": float(stats.spearmanr(x, y)[0])}
                     for x, y in ranked],
        "bootstrap": {"values": [float(v) for v in boot], "low": float(interval.low), "high": float(interval.high)},
    }
    OUT.write_text("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record.items()) + "\n}\n")


main()
