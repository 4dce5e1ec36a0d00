"""The loops of the subject bootstrap: one replicate's weights at a time, over comparisons that are already sorted.

They are plain functions; `cv_quality.metrics.compiled` compiles them. Codes are not checked here: the callers in
`cv_quality.metrics.trials` and `percentiles` do that.
"""

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

SLACK = 1e-9
"""Relative slack of the highest count allowed: a product such as 0.001 * 7000 means a whole number."""


def weight_of_dyads(weights: Weights, one: Codes, other: Codes, counts: Floats) -> Floats:
    """Sum w_i w_j over comparisons, for each replicate; w_i over those within one cluster; shape (replicates,).

    Args:
        weights: of each subject, shape (replicates, subjects).
        one, other: subjects of each dyad, shape (dyads,).
        counts: comparisons of each dyad, shape (dyads,).
    """
    sums = np.zeros(len(weights))
    for replicate in range(len(weights)):
        w, total = weights[replicate], 0.0
        for dyad in range(len(one)):
            weight = w[one[dyad]]
            if one[dyad] != other[dyad]:
                weight *= w[other[dyad]]
            total += weight * counts[dyad]
        sums[replicate] = total
    return sums


def weighted_quantiles(weights: Weights, values: Floats, codes: Codes, sizes: Floats, quantiles: Floats) -> Floats:
    """Find the lowest value with at least each share of the weight up to it; shape (replicates, quantiles).

    Args:
        weights: of each cluster, shape (replicates, clusters).
        values: ascending, shape (values,).
        codes: the cluster of each value, shape (values,).
        sizes: values of each cluster, shape (clusters,).
        quantiles: shares in (0, 1), ascending.
    """
    found = np.full((len(weights), len(quantiles)), values[-1])
    for replicate in range(len(weights)):
        w, below, wanted = weights[replicate], 0.0, 0
        total = (w * sizes).sum()
        for index in range(len(values)):
            below += w[codes[index]]
            while wanted < len(quantiles) and below >= quantiles[wanted] * total * (1 - SLACK):
                found[replicate, wanted] = values[index]
                wanted += 1
            if wanted == len(quantiles):
                break
    return found
