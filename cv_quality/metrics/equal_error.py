"""The interval of the equal error rate, by subject where they are known; nothing is resampled.

The rate is where FMR and FNMR cross. With the bounds of the FMR at every threshold in the place of the FMR the crossing
moves to what the FMR's uncertainty alone makes of it, with those of the FNMR to what that makes of it; both are
combined by `cv_quality.metrics.clustered_scores.combined`, at the correlation of the subjects' errors of both kinds.
Where few subjects err no correlation of one subject's attempts is assumed, as it is for an FNMR that decides something:
intervals are then a third narrower and still cover (`benchmarks/laboratories.py`).

The rate itself is `cv_quality.metrics.verification.eer`. FNMR at a fixed FMR, which a decision should rest on instead,
has its interval in `cv_quality.metrics.fixed_fmr`.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.clustered_scores import Bounds, ClusteredScores, combined, effective_trials
from cv_quality.metrics.rates import (
    EXPECTED_ERRORS_NEEDED,
    LEVEL,
    UNKNOWN_SUBJECTS,
    Rate,
    binomial_rate,
    percent,
    require_level,
)
from cv_quality.metrics.resampling import scores_array
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import ListedTrials, Trials, dyad_codes, subject_codes
from cv_quality.metrics.verification import EqualErrorRate, ScoreTail, eer
from cv_quality.text import figures

Floats = NDArray[np.float64]
RateAt = Callable[[int], Rate]

TAIL_TOO_SHORT = "insufficient: the listed impostor scores end above a crossing of the bounds of both rates"


@dataclass(frozen=True, slots=True)
class EerInterval(Result):
    """The equal error rate with its interval.

    Attributes:
        value: (FMR + FNMR) / 2 on the better side of the crossing.
        low, high: two-sided bounds; None where the subjects, or the listed scores, are too few to show how uncertain it
            is.
        threshold: a threshold at the crossing.
        method: how the bounds were computed, with every assumed number.
        n_effective: independent trials that would give a rate of this value the same interval.
        n_genuine, n_impostor: comparisons of each class.
        n_subjects: subjects with a comparison; None where they are unknown.
        reason: why a bound is missing, or "insufficient: ..." when there are too few errors to rank it.
        warning: set when the rate exceeds 0.5: the scores look reversed.
    """

    value: float
    low: float | None
    high: float | None
    threshold: float
    method: str | None
    n_effective: float | None
    n_genuine: int
    n_impostor: int
    n_subjects: int | None
    reason: str | None
    warning: str | None


def eer_interval(
    genuine_scores: ArrayLike,
    impostor_scores: ArrayLike,
    *,
    genuine_subjects: ArrayLike | None = None,
    impostor_subjects: tuple[ArrayLike, ArrayLike] | None = None,
    trials: Trials | None = None,
    level: float = LEVEL,
) -> EerInterval:
    """Estimate the equal error rate with an interval over subjects; lower is better, shown but never gated on.

    Without subjects the bounds of both rates are those of Clopper and Pearson, and the method says that independence is
    assumed: with several comparisons of each subject such an interval is too narrow.

    Args:
        genuine_scores, impostor_scores: all of them, higher is more alike; shape (n,) and (m,).
        genuine_subjects: subject code of each genuine score, shape (n,).
        impostor_subjects: the two subject codes of each impostor score, shape (m,) each.
        trials: who was compared with whom; by default counted from `impostor_subjects`.
        level: confidence of the two-sided interval, between 0 and 1.

    Raises:
        MetricError: a class has no score, a score is NaN, only one class has subjects, shapes differ, a code is no
            subject, or an argument lies outside its range.

    >>> rng = np.random.default_rng(1)
    >>> one, other = np.triu_indices(40, 1)
    >>> genuine, impostor = rng.normal(2.5, 1, 200), rng.normal(0, 1, len(one))
    >>> people = np.arange(200) % 40
    >>> found = eer_interval(genuine, impostor, genuine_subjects=people, impostor_subjects=(one, other))
    >>> f"{found.value:.3f} in {found.low:.3f} to {found.high:.3f}"
    '0.095 in 0.073 to 0.138'
    >>> eer_interval(genuine, impostor).method.split(", ")[-1]
    'subjects unknown: independence assumed'
    """
    require_level(level)
    genuine, impostor = scores_array(genuine_scores, "genuine"), scores_array(impostor_scores, "impostor")
    if genuine_subjects is None and impostor_subjects is None:
        return _without_subjects(genuine, impostor, level=level)
    if genuine_subjects is None or impostor_subjects is None:
        raise MetricError("expected subjects of both classes or of neither: one alone would hide what they share")
    if trials is None:
        codes, (one, other) = subject_codes(genuine_subjects), dyad_codes(*impostor_subjects)
        size = int(max(codes.max(initial=-1), one.max(initial=-1), other.max(initial=-1))) + 1
        trials = ListedTrials.of(one, other, n_subjects=size)
    if len(impostor) < trials.n:
        raise MetricError(f"expected the scores of all {trials.n} impostor comparisons, found {len(impostor)}")
    scores = ClusteredScores.of(genuine, genuine_subjects, (*impostor_subjects, impostor), trials)
    return interval_of_eer(scores, level=level)


def interval_of_eer(scores: ClusteredScores, *, level: float = LEVEL) -> EerInterval:
    """Estimate as `eer_interval`, from scores that are sorted and counted already.

    Args:
        scores: of both classes; of the impostor comparisons at least those down to the crossing.
        level: of the two-sided interval, which needs those down to where its bounds cross.

    Raises:
        MetricError: the impostor scores end above the crossing, a class has no score, or a level that is no
            probability.
    """
    require_level(level)
    tail = ScoreTail(scores.impostor[::-1], scores.trials.n)
    point = eer(scores.genuine, tail)
    if scores.design.hangs_on_one_subject:
        reason: str | None = "insufficient: one subject takes part in every comparison"
        return _result(point, None, None, scores.n_subjects, reason, level)
    if scores.n_genuine_subjects < 2:
        reason = f"insufficient: {scores.n_genuine_subjects} subject with a genuine comparison, 2 needed"
        return _result(point, None, None, scores.n_subjects, reason, level)
    correlation = scores.correlation(point.rates.n_false_matches, point.rates.n_false_non_matches)
    curves = _Curves(
        scores.genuine,
        tail,
        lambda matches: scores.fmr(matches, level=level),
        lambda misses: scores.fnmr(misses, level=level, icc=0.0),
    )
    bounds = curves.interval(point, correlation=correlation)
    if bounds is None:
        return _result(point, None, None, scores.n_subjects, TAIL_TOO_SHORT, level)
    method = (
        f"crossings of the bounds of FMR (dyadic sandwich) and FNMR (by subject), combined (MOVER), {percent(level)}, "
        f"correlation {figures(correlation)}"
    )
    return _result(point, bounds, method, scores.n_subjects, None, level)


@dataclass(frozen=True, slots=True)
class _Curves:
    """Both rates with their bounds at any threshold that the tail reaches: by the number of errors."""

    genuine: Floats
    tail: ScoreTail
    fmr: RateAt
    fnmr: RateAt

    def interval(self, point: EqualErrorRate, *, correlation: float) -> Bounds | None:
        """Bound the rate; None where the tail ends above a crossing of the bounds."""
        scores = np.unique(np.concatenate([self.genuine, self.tail.scores]))
        candidates = np.append(scores[scores >= self.tail.floor], np.inf)
        of_fmr = [self._crossing(candidates, self._bound_of_fmr(side), self._fnmr) for side in (0, 1)]
        of_fnmr = [self._crossing(candidates, self._fmr, self._bound_of_fnmr(side)) for side in (0, 1)]
        known = [crossing for crossing in (*of_fmr, *of_fnmr) if crossing is not None]
        if len(known) < len(of_fmr) + len(of_fnmr):
            return None
        n = min(point.rates.n_genuine, point.rates.n_impostor)
        return combined(point.value, ((known[0], known[1]), (known[2], known[3])), n=n, correlation=correlation)

    def _matches(self, threshold: float) -> int:
        return int(self.tail.count_from(np.array([threshold]))[0])

    def _misses(self, threshold: float) -> int:
        return int(np.searchsorted(self.genuine, threshold, side="left"))

    def _fmr(self, threshold: float) -> float:
        return self._matches(threshold) / self.tail.n

    def _fnmr(self, threshold: float) -> float:
        return self._misses(threshold) / len(self.genuine)

    def _bound_of_fmr(self, side: int) -> Callable[[float], float]:
        return lambda threshold: _bounds(self.fmr(self._matches(threshold)))[side]

    def _bound_of_fnmr(self, side: int) -> Callable[[float], float]:
        return lambda threshold: _bounds(self.fnmr(self._misses(threshold)))[side]

    def _crossing(
        self, candidates: Floats, fmr: Callable[[float], float], fnmr: Callable[[float], float]
    ) -> float | None:
        """The mean of both curves on the better side of their crossing, as `verification.eer` has it."""
        first = bisect_left(candidates, True, key=lambda threshold: fnmr(threshold) >= fmr(threshold))
        if first == 0 and not self.tail.is_complete:
            return None
        sides = [candidates[index] for index in (first - 1, first) if 0 <= index < len(candidates)]
        return min((fmr(threshold) + fnmr(threshold)) / 2 for threshold in sides)


def _bounds(rate: Rate) -> Bounds:
    assert rate.low is not None
    assert rate.high is not None
    return rate.low, rate.high


def _without_subjects(genuine: Floats, impostor: Floats, *, level: float) -> EerInterval:
    point = eer(genuine, impostor)
    curves = _Curves(
        np.sort(genuine),
        ScoreTail(np.sort(impostor), len(impostor)),
        lambda matches: binomial_rate(matches, len(impostor), level=level),
        lambda misses: binomial_rate(misses, len(genuine), level=level),
    )
    bounds = curves.interval(point, correlation=0.0)
    method = (
        f"crossings of the bounds of FMR and FNMR (Clopper-Pearson), combined (MOVER), {percent(level)}, "
        f"{UNKNOWN_SUBJECTS}"
    )
    return _result(point, bounds, method, None, None, level)


def _result(
    point: EqualErrorRate,
    bounds: Bounds | None,
    method: str | None,
    n_subjects: int | None,
    reason: str | None,
    level: float,
) -> EerInterval:
    rates, value = point.rates, point.value
    fewest = min(rates.n_false_matches, rates.n_false_non_matches)
    if reason is None and fewest < EXPECTED_ERRORS_NEEDED:
        reason = f"insufficient: {fewest} errors of one class at the crossing, {EXPECTED_ERRORS_NEEDED:g} needed"
    n = min(rates.n_genuine, rates.n_impostor)
    return EerInterval(
        value=value,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        threshold=rates.threshold,
        method=method,
        n_effective=effective_trials(value, bounds, n=n, level=level) if bounds else None,
        n_genuine=rates.n_genuine,
        n_impostor=rates.n_impostor,
        n_subjects=n_subjects,
        reason=reason,
        warning=point.warning,
    )
