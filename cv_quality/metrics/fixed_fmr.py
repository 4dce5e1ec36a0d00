"""FNMR at a fixed FMR where subjects are known, with the uncertainty of its threshold; nothing is resampled.

With r impostor comparisons at or above a threshold, L(r) and U(r) are the bounds of its FMR by
`cv_quality.metrics.dyadic.pair_rate`. A threshold may be that of the FMR f while L <= f <= U; the highest and the
lowest such threshold are its bounds. What they make of the FNMR is combined with the bounds of the FNMR at the sample's
threshold by `cv_quality.metrics.clustered_scores.combined`, at the correlation of the subjects' errors of both kinds.

The equal error rate is in `cv_quality.metrics.equal_error`; where subjects are unknown, see
`cv_quality.metrics.independent`.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from cv_quality.errors import MetricError
from cv_quality.metrics.clustered_scores import ClusteredScores, ScoredPairs, combined, effective_trials
from cv_quality.metrics.dyadic import one_outcome
from cv_quality.metrics.rates import EXPECTED_ERRORS_NEEDED, LEVEL, percent, require_level
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import Trials
from cv_quality.metrics.verification import ErrorRates, ScoreTail, allowed_false_matches, fnmr_at_fmr
from cv_quality.text import figures, told_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class FnmrAtFmrInterval(Result):
    """FNMR at a fixed FMR with an interval that includes the uncertainty of the threshold.

    Attributes:
        fmr_target: the highest FMR allowed.
        value: FNMR at the strict threshold, numerator / denominator; None with a `reason`.
        numerator, denominator: genuine comparisons below the threshold, and all.
        low, high: two-sided bounds of the FNMR; None where there is no value, or the data cannot show its uncertainty.
        threshold: accept when score >= threshold.
        threshold_low, threshold_high: its bounds; +inf lies above every score, -inf stands for any below the tail.
        method: how the bounds were computed, with every assumed number.
        n_effective: independent genuine comparisons at a known threshold that would give the same interval.
        n_subjects: subjects with a genuine comparison.
        reason: why a value or a bound is missing, or "insufficient: ..." when there is too little data to rank it. What
            is insufficient follows from who was compared with whom and the FMR alone, not from the scores: otherwise
            the intervals that are left would cover less than they say.
    """

    fmr_target: float
    value: float | None
    numerator: int | None
    denominator: int
    low: float | None = None
    high: float | None = None
    threshold: float | None
    threshold_low: float | None = None
    threshold_high: float | None = None
    method: str | None = None
    n_effective: float | None = None
    n_subjects: int
    reason: str | None


def fnmr_at_fmr_interval(
    genuine_scores: ArrayLike,
    genuine_subjects: ArrayLike,
    tail: ScoredPairs,
    trials: Trials,
    *,
    fmr: float,
    level: float = LEVEL,
) -> FnmrAtFmrInterval:
    """Estimate the FNMR at the smallest threshold with an FMR of at most `fmr`, with the threshold's own uncertainty.

    Args:
        genuine_scores, genuine_subjects: higher is more alike; subject codes; shape (n,).
        tail: the two subject codes and the score of the highest impostor comparisons, shape (k,) each, in any order.
            Every comparison at or above the lowest score must be listed; where a lower bound of the threshold is not
            in the tail, the lower bound of the FNMR takes it to be below every score.
        trials: who was compared with whom, over all impostor comparisons, listed or not.
        fmr, level: the highest FMR allowed, above 0 and at most 1; of the two-sided interval, between 0 and 1.

    Raises:
        MetricError: shapes, codes, scores or ranges are wrong, more pairs are listed than were compared, or the tail
            ends above the threshold of the sample.

    Source: ISO/IEC 19795-1 for the rates.

    >>> import numpy as np
    >>> from cv_quality.metrics.trials import CrossTrials
    >>> rng = np.random.default_rng(1)
    >>> (one, other), everyone = np.triu_indices(60, 1), CrossTrials.all_pairs(np.ones(60, int))
    >>> tail, genuine = (one, other, rng.normal(0, 1, len(one))), rng.normal(4, 1, 300)
    >>> found = fnmr_at_fmr_interval(genuine, np.arange(300) % 60, tail, everyone, fmr=0.01)
    >>> f"{found.value:.3f} in {found.low:.3f} to {found.high:.3f} at {found.threshold:.2f}"
    '0.017 in 0.003 to 0.090 at 2.40'
    """
    return interval_at_fmr(ClusteredScores.of(genuine_scores, genuine_subjects, tail, trials), fmr=fmr, level=level)


def interval_at_fmr(scores: ClusteredScores, *, fmr: float, level: float = LEVEL) -> FnmrAtFmrInterval:
    """Estimate as `fnmr_at_fmr_interval`, from scores that are sorted and counted already.

    Args:
        scores: of both classes.
        fmr, level: as for `fnmr_at_fmr_interval`.

    Raises:
        MetricError: a range is wrong, or the tail ends above the threshold of the sample.
    """
    require_level(level)
    if not 0 < fmr <= 1:
        raise MetricError(f"an interval needs an FMR target above 0 and at most 1, found {fmr}")
    point = fnmr_at_fmr(scores.genuine, ScoreTail(scores.impostor[::-1], scores.trials.n), fmr=fmr)
    rates = point.rates
    unbounded = FnmrAtFmrInterval(
        fmr_target=fmr,
        value=rates.fnmr if rates else None,
        numerator=rates.n_false_non_matches if rates else None,
        denominator=len(scores.genuine),
        threshold=rates.threshold if rates else None,
        n_subjects=scores.n_genuine_subjects,
        reason=point.reason,
    )
    if rates is None:
        return unbounded
    if scores.n_genuine_subjects < 2:
        reason = f"{scores.n_genuine_subjects} subject with a genuine comparison, 2 needed"
        return replace(unbounded, reason=f"insufficient: {reason}")
    if scores.design.hangs_on_one_subject:
        return replace(unbounded, reason="insufficient: one subject takes part in every impostor comparison")
    return _bounded(unbounded, scores, rates, level=level)


def _bounded(
    unbounded: FnmrAtFmrInterval, scores: ClusteredScores, rates: ErrorRates, *, level: float
) -> FnmrAtFmrInterval:
    fmr, n = unbounded.fmr_target, rates.n_genuine
    fixed = scores.fnmr(rates.n_false_non_matches, level=level)
    assert fixed.low is not None
    assert fixed.high is not None
    highest, lowest = _blocked(scores, fmr=fmr, level=level)
    missed = 0 if lowest is None else scores.count_up_to(lowest), scores.count_up_to(highest)
    by_threshold = missed[0] / n, missed[1] / n
    low_step, high_step = (scores.largest_step(count, rates.n_false_non_matches) for count in missed)
    correlation = scores.correlation(rates.n_false_matches, rates.n_false_non_matches)
    parts = by_threshold, (fixed.low, fixed.high)
    bounds = combined(rates.fnmr, parts, n=n, correlation=correlation, steps=(low_step, high_step))
    open_end = "" if lowest is not None else ", the threshold's lower bound lies below the listed scores"
    return replace(
        unbounded,
        low=bounds[0],
        high=bounds[1],
        threshold_low=-math.inf if lowest is None else scores.threshold_above(lowest),
        threshold_high=scores.threshold_above(highest),
        method=f"threshold by the dyadic sandwich, combined with the FNMR by subject (MOVER), {percent(level)}, "
        f"correlation {figures(correlation)}{open_end}",
        n_effective=effective_trials(rates.fnmr, bounds, n=n, level=level) or fixed.n_effective,
        reason=shortage(scores, fmr=fmr, level=level),
    )


def shortage(scores: ClusteredScores, *, fmr: float, level: float = LEVEL) -> str | None:
    """Explain why these subjects are too few for an FMR, whatever their scores; None where they are enough.

    Args:
        scores: who was compared with whom.
        fmr, level: the highest FMR allowed; of the interval.
    """
    expected = fmr * scores.trials.n
    if expected < EXPECTED_ERRORS_NEEDED * (1 - 1e-12):
        return f"insufficient: {figures(expected)} false matches expected, {EXPECTED_ERRORS_NEEDED:g} needed"
    unerring = one_outcome(scores.design, is_error=False, tail=(1 - level) / 2).high
    if unerring >= fmr:
        still, target = told_apart([unerring, fmr])
        return (
            f"insufficient: without any false match {scores.design.subjects} subjects would still allow an FMR of "
            f"{still}, above {target}"
        )
    return None


def _blocked(scores: ClusteredScores, *, fmr: float, level: float) -> tuple[float, float | None]:
    """The impostor scores just below the highest and the lowest threshold: +inf above all, None below the listed."""
    ends = scores.ends
    sample = int(ends.searchsorted(allowed_false_matches(scores.trials.n, fmr=fmr), side="right"))

    def score_of(group: int) -> float:
        if group < 0:
            return math.inf
        return float(scores.impostor[ends[group] - 1]) if group < len(ends) else -math.inf

    def is_allowed(group: int) -> bool:
        return scores.fmr_bounds(int(ends[group]) if group >= 0 else 0, level=level).high >= fmr

    def is_too_many(group: int) -> bool:
        return scores.fmr_bounds(int(ends[group]), level=level).low > fmr

    # In growing steps, so that few comparisons below the bound are counted.
    low, step = sample, 1
    while low < len(ends) and not is_too_many(min(low + step, len(ends)) - 1):
        low, step = low + step, 2 * step
    last = low + bisect_left(range(low, min(low + step, len(ends))), True, key=is_too_many)
    first = -1 if is_allowed(-1) else bisect_left(range(sample), True, key=is_allowed)
    is_listed = last < len(ends) or scores.is_complete
    return score_of(first), score_of(last) if is_listed else None
