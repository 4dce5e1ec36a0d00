"""The holdout test: whether a candidate fails more than the rest on subjects who had no part in its search.

The test corrects for rows of one subject by their design effect; Holm's rule for the number of candidates. How
candidates are found is in `cv_quality.error_analysis.candidate_search`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cv_quality.error_analysis.candidate_search import log_likelihood_gain
from cv_quality.error_analysis.halves import Flags, Half, Masks

MIN_SUBJECTS: Final = 20
"""A slice needs this many subjects in all, and half as many to be confirmed on."""
MIN_CONDITION_GAIN: Final = 3.0
"""A condition is kept that gains this log-likelihood within the slice without it: a row-level z of 2.4."""


@dataclass(frozen=True, slots=True)
class HoldoutResult:
    """The result of a holdout test of a slice against a rest.

    Attributes:
        total: failures, or the sum of the loss.
        p: one-sided, that the slice is no worse than the rest.
    """

    rows: int
    total: float
    rest_rate: float
    subjects: int
    p: float

    @property
    def rate(self) -> float:
        return self.total / self.rows


def holdout_test(half: Half, inside: Flags, rest: Flags) -> HoldoutResult | None:
    """Test that the rows `inside` fail more than the rows `rest`; None where either has none.

    A rate: the exact binomial tail of the failures at the rate of the rest, both counts divided by the design effect,
    taken as a normal deviate, reduced by the uncertainty of the rest, and held against t with subjects - 1 degrees of
    freedom. The design effect is that of the slice's own subjects, or what the intraclass correlation of the rest
    predicts, whichever is larger: few subjects show too little of it. A loss: the same from the difference of means.

    Args:
        half: the subjects who had no part in the search.
        inside, rest: rows of the slice, and those that it is held against.
    """
    from scipy import special

    (rows, total), (rest_rows, rest_total) = half.totals(inside), half.totals(rest)
    if not rows or not rest_rows:
        return None
    own, others = half.clustering(inside), half.clustering(rest)
    predicted = 1.0 + (own.squares / rows - 1.0) * others.intraclass_correlation
    n, n_rest = rows / max(own.design_effect, predicted), rest_rows / others.design_effect
    rate, rest_rate = total / rows, rest_total / rest_rows
    if half.is_rate:
        z = _rate_deviate(rate, n, rest_rate)
    else:
        variance = max(own.variance, others.variance)
        z = (rate - rest_rate) / math.sqrt(variance / n) if variance > 0 else 0.0
    z *= math.sqrt(n_rest / (n + n_rest))
    freedom = own.subjects - 1
    tail = special.stdtr(max(freedom, 1), -z) if freedom < 1e7 else special.ndtr(-z)
    p = float(tail) if freedom > 0 else 1.0
    return HoldoutResult(int(rows), total, rest_rate, own.subjects, p)


def holm(p: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Adjust p values by Holm's rule (Scandinavian J. Statistics 6, 1979).

    In the order of p / w, the k-th is p / w times the sum of the weights from the k-th on, never falling. Weights must
    not come from the data that gave the p values.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    >>> holm([0.01, 0.04], weights=[1, 3])
    [0.04, 0.04]
    """
    w = [1.0] * len(p) if weights is None else list(weights)
    order = sorted(range(len(p)), key=lambda index: p[index] / w[index])
    adjusted, highest, left = [0.0] * len(p), 0.0, sum(w)
    for index in order:
        highest = max(highest, min(1.0, p[index] / w[index] * left))
        adjusted[index] = highest
        left -= w[index]
    return adjusted


def prune_conditions(half: Half, masks: Masks, rest: Flags) -> Masks:
    """Drop the conditions of a slice that do not hold up on the holdout subjects.

    A condition goes when the slice gains no less log-likelihood without it, and does not fail clearly more than what
    the others hold beside it.

    Args:
        half, masks, rest: the holdout subjects, the slice, and the rows that are not in slices before it.
    """

    def gain(masks: Masks, among: Flags) -> float:
        return log_likelihood_gain(half, half.inside(masks), among)

    best = gain(masks, rest)
    while len(masks) > 1:
        shorter = [{name: mask for name, mask in masks.items() if name != column} for column in masks]
        gains = [gain(item, rest) for item in shorter]
        top = int(np.argmax(gains))
        within = gain(masks, half.inside(shorter[top]) & rest)
        if gains[top] < best or within > MIN_CONDITION_GAIN:
            break
        masks, best = shorter[top], gains[top]
    return masks


def _rate_deviate(rate: float, n: float, null: float) -> float:
    """The normal deviate of at least n * rate failures in n trials of chance `null`."""
    from scipy import special

    failures = n * rate
    if failures <= 0 or null >= 1:
        return 0.0
    if null <= 0:
        null = 0.5 / n
    tail = float(special.betainc(failures, max(n - failures, 0.0) + 1.0, null))
    return -float(special.ndtri(tail)) if tail > 1e-300 else math.sqrt(2 * 690.0)
