"""FNMR at a fixed FMR, and its threshold, where subjects are unknown and comparisons are taken as independent.

Nothing is resampled: how far the threshold may move follows from the order statistics of the impostor scores, and what
that does to the FNMR from the genuine ones. Where subjects are known, `cv_quality.metrics.fixed_fmr` is the one to use.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import LEVEL, UNKNOWN_SUBJECTS, percent, require_level
from cv_quality.metrics.results import Result
from cv_quality.metrics.sorted_scores import SortedScores, count_up_to, next_above
from cv_quality.metrics.verification import allowed_false_matches, too_few_trials

DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class IndependentInterval(Result):
    """Bounds of an FNMR and of its threshold, comparisons taken as independent.

    Attributes:
        low, high: bounds of the FNMR, 0 to 1.
        threshold_low, threshold_high: bounds of the threshold; +inf where it may lie above every score.
    """

    low: float
    high: float
    threshold_low: float
    threshold_high: float
    method: str


def fnmr_at_fmr_bounds(
    genuine: "ArrayLike | SortedScores",
    impostor: "ArrayLike | SortedScores",
    *,
    fmr: float,
    level: float = LEVEL,
    seed: int = 0,
) -> IndependentInterval:
    """Bound the FNMR at an FMR of at most `fmr`, with the threshold estimated from the same scores.

    In a bootstrap of N impostor scores a score is drawn about Poisson(1) times, so the threshold passes the m-th
    highest score as soon as m such draws exceed floor(f N): m is distributed as the next whole number above a
    Gamma(floor(f N) + 1) variable. At each threshold so drawn, the bounds of the FNMR are those of Clopper and
    Pearson: a Beta variable with one failure more, or fewer, than seen.

    Args:
        genuine, impostor: scores, higher is more alike; shape (n,).
        fmr: the highest FMR allowed, 0 to 1; at least 1 / N.
        level: confidence of the two-sided interval.
        seed: of the draws.

    Raises:
        MetricError: a class has no score, too few impostor scores for the target, or a level that is no probability.

    >>> rng = np.random.default_rng(0)
    >>> found = fnmr_at_fmr_bounds(rng.normal(4, 1, 1000), rng.normal(0, 1, 100_000), fmr=1e-3)
    >>> found.low < 0.1815 < found.high
    True
    """
    require_level(level)
    genuine, impostor = SortedScores(genuine, name="genuine"), SortedScores(impostor, name="impostor")
    reason = too_few_trials(impostor.n, fmr=fmr)
    if reason is not None:
        raise MetricError(f"FMR {fmr:g} {reason}: nothing can be said about its threshold")
    rng, tail = np.random.default_rng(seed), (1 - level) / 2
    # The highest impostor score that is not accepted any more, in each draw; -inf where all are.
    passed = np.ceil(rng.gamma(allowed_false_matches(impostor.n, fmr=fmr) + 1, size=DRAWS)).astype(np.int64)
    index = impostor.n - passed
    blocked = np.where(index >= 0, impostor.scores[np.maximum(index, 0)], -np.inf)
    missed = count_up_to(genuine.scores, blocked)
    low = rng.beta(np.maximum(missed, 1e-9), genuine.n - missed + 1)
    high = rng.beta(missed + 1, np.maximum(genuine.n - missed, 1e-9))
    lowest, highest = np.quantile(blocked, [tail, 1 - tail], method="inverted_cdf").tolist()
    return IndependentInterval(
        low=float(np.quantile(low, tail)) if missed.min() > 0 else 0.0,
        high=float(np.quantile(high, 1 - tail)),
        threshold_low=min(next_above(genuine, lowest), next_above(impostor, lowest)),
        threshold_high=min(next_above(genuine, highest), next_above(impostor, highest)),
        method=f"order statistics of the threshold, Clopper-Pearson at each, {percent(level)}, {UNKNOWN_SUBJECTS}",
    )
