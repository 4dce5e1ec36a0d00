"""The loops of the subject bootstrap: one replicate's weights at a time, over comparisons that are already sorted.

They are plain functions; `cv_quality.metrics.compiled` compiles them. Codes are not checked here: the callers in
`cv_quality.metrics.bootstrap`, `equal_error` and `percentiles` do that.
"""

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

EQUAL = 1e-12
"""Rates that differ by less are equal: they are quotients of whole numbers, rounded."""
SLACK = 1e-9
"""Relative slack of the highest count allowed: a product such as 0.001 * 7000 means a whole number."""


def blocked_at(weights: Weights, allowed: Floats, one: Codes, other: Codes) -> Codes:
    """Find where the weighted count of pairs first exceeds what is allowed; shape (replicates,).

    Args:
        weights: of each subject, shape (replicates, subjects).
        allowed: the highest weighted count of each replicate, shape (replicates,).
        one, other: subjects of the pairs, highest score first, shape (pairs,).

    Returns:
        The index of the first pair that is too many; the number of pairs where none is.
    """
    found = np.full(len(weights), len(one), np.int64)
    for replicate in range(len(weights)):
        w, limit, count = weights[replicate], allowed[replicate] * (1 + SLACK), 0.0
        for pair in range(len(one)):
            count += w[one[pair]] * w[other[pair]]
            if count > limit:
                found[replicate] = pair
                break
    return found


def weight_of_first(weights: Weights, codes: Codes, counts: Codes) -> Floats:
    """Sum the weight of the first codes in each replicate; shape (replicates,).

    Args:
        weights: of each subject, shape (replicates, subjects).
        codes: subject of each comparison, shape (comparisons,).
        counts: how many codes count, shape (replicates,).
    """
    sums = np.zeros(len(weights))
    for replicate in range(len(weights)):
        w, total = weights[replicate], 0.0
        for index in range(counts[replicate]):
            total += w[codes[index]]
        sums[replicate] = total
    return sums


def weight_of_pairs(weights: Weights, one: Codes, other: Codes) -> Floats:
    """Sum w_i w_j over the pairs, for each replicate; shape (replicates,).

    Args:
        weights: of each subject, shape (replicates, subjects).
        one, other: subjects of the pairs, shape (pairs,).
    """
    sums = np.zeros(len(weights))
    for replicate in range(len(weights)):
        w, total = weights[replicate], 0.0
        for pair in range(len(one)):
            total += w[one[pair]] * w[other[pair]]
        sums[replicate] = total
    return sums


def crossings(
    weights: Weights,
    n_genuine: Floats,
    n_impostor: Floats,
    events: tuple[Codes, Codes, NDArray[np.bool_]],
    fmr: Floats,
    shrink: float,
) -> Floats:
    """Find the equal error rate of each replicate, walking down all scores until FMR reaches FNMR; shape (replicates,).

    Where the two jump over each other, the smaller mean of both sides of the jump counts.

    Args:
        weights: of each subject, shape (replicates, subjects).
        n_genuine, n_impostor: weighted comparisons of each replicate, shape (replicates,).
        events: of every comparison, highest score first: its two subjects (the same one twice when genuine), and
            whether the next comparison has a lower score; shape (comparisons,) each.
        fmr: the unweighted FMR with the threshold at each comparison, shape (comparisons,).
        shrink: a replicate's FMR departs from the unweighted one by this share of what its weights say.
    """
    one, other, is_last = events
    found = np.zeros(len(weights))
    for replicate in range(len(weights)):
        w, matched, accepted, before = weights[replicate], 0.0, 0.0, 0.5
        for index in range(len(one)):
            if one[index] == other[index]:
                accepted += w[one[index]]
            else:
                matched += w[one[index]] * w[other[index]]
            if not is_last[index]:
                continue
            false_match = fmr[index] + shrink * (matched / n_impostor[replicate] - fmr[index])
            missed = 1 - accepted / n_genuine[replicate]
            mean = (false_match + missed) / 2
            if false_match >= missed - EQUAL:
                found[replicate] = mean if false_match <= missed + EQUAL else min(mean, before)
                break
            before = mean
    return found


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
