"""Error rates of verification from two lists of scores: FMR, FNMR, FNMR at a fixed FMR, EER and the DET curve.

Everything here is exact arithmetic on scores (higher means more alike, accept when score >= threshold); intervals are
in `cv_quality.metrics.rates`, and scores counted over millions of pairs in `cv_quality.metrics.impostors`. Terms follow
ISO/IEC 19795-1.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError

Scores = NDArray[np.float64]

ROUNDING = 1e-9
"""Slack when a product such as 0.001 * 7000 is compared with the whole number that it means."""


@dataclass(frozen=True, slots=True)
class ScoreTail:
    """The highest impostor scores, exactly, and how many impostor scores there are in all.

    Attributes:
        scores: ascending; every impostor score that is not listed lies below the first.
        n: number of impostor comparisons, listed or not.
    """

    scores: Scores
    n: int

    @property
    def is_complete(self) -> bool:
        """Whether every impostor score is listed."""
        return len(self.scores) == self.n


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Both error rates at one threshold, with their counts.

    Attributes:
        threshold: accept when score >= threshold.
        fmr: share of impostor comparisons at or above the threshold.
        fnmr: share of genuine comparisons below it.
    """

    threshold: float
    fmr: float
    fnmr: float
    n_false_matches: int
    n_impostor: int
    n_false_non_matches: int
    n_genuine: int


@dataclass(frozen=True, slots=True)
class FnmrAtFmr:
    """FNMR at the smallest threshold whose FMR is at most `fmr_target`; `rates` is None when undefined.

    Attributes:
        reason: why it is undefined, in words; None when defined.
    """

    fmr_target: float
    rates: ErrorRates | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class EqualErrorRate:
    """The equal error rate and where it lies.

    Attributes:
        value: (FMR + FNMR) / 2 on the better side of the crossing, 0 to 1.
        rates: both rates at the score value `rates.threshold`.
        threshold_above: the next smaller score: every threshold in (threshold_above, rates.threshold] gives `rates`.
        warning: set when the rate exceeds 0.5: the scores are then probably distances, or of reversed polarity.
    """

    value: float
    rates: ErrorRates
    threshold_above: float
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class DetCurve:
    """Error rates at every threshold where one of them changes.

    Attributes:
        thresholds: strictly ascending score values, then +inf; shape (m,).
        fmr: falling from 1 to 0; shape (m,).
        fnmr: rising from 0 to 1; shape (m,).
    """

    thresholds: Scores
    fmr: Scores
    fnmr: Scores

    def thinned(self, points: int = 500) -> "DetCurve":
        """At most `points` of the points, both ends kept, spread evenly along the curve on logarithmic axes.

        For plots only: a thinned curve has fewer steps, but every point on it is a true one.
        """
        if len(self.thresholds) <= points:
            return self
        x, y = (np.log10(np.maximum(rate, ROUNDING)) for rate in (self.fmr, self.fnmr))
        along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        kept = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], points)).clip(0, len(x) - 1))
        return DetCurve(self.thresholds[kept], self.fmr[kept], self.fnmr[kept])


def rates_at(genuine: ArrayLike, impostor: "ArrayLike | ScoreTail", *, threshold: float) -> ErrorRates:
    """FMR(t) = #(impostor >= t) / #impostor and FNMR(t) = #(genuine < t) / #genuine; lower is better for both.

    Args:
        genuine: scores of comparisons within one subject, shape (n,).
        impostor: scores of comparisons between subjects, shape (m,), or their exact tail.
        threshold: accept at or above; +inf accepts nothing.

    Raises:
        MetricError: a class has no score, a score is NaN, or the tail does not reach down to the threshold.

    >>> rates_at([0.4, 0.9], [0.1, 0.4], threshold=0.4).fmr
    0.5
    """
    return _rates(scores_of(genuine, name="genuine"), tail_of(impostor), threshold=threshold)


def fnmr_at_fmr(genuine: ArrayLike, impostor: "ArrayLike | ScoreTail", *, fmr: float) -> FnmrAtFmr:
    """FNMR at the smallest threshold, among all score values and +inf, whose FMR is at most `fmr`; lower is better.

    A positive target needs at least 1/fmr impostor scores; with fewer the answer is undefined, not 0. A target of 0
    asks for no false match among the scores at hand, a property of the sample. Equal scores move together.

    Args:
        fmr: the highest FMR allowed, 0 to 1.

    Raises:
        MetricError: a class has no score, a score is NaN, the target is outside [0, 1], or the tail is too short.

    >>> fnmr_at_fmr([0.4, 0.9], [0.1, 0.2, 0.3, 0.5], fmr=0.25).rates.fnmr
    0.0
    >>> fnmr_at_fmr([0.4, 0.9], [0.1] * 700, fmr=1e-6).reason
    'needs >= 1e+06 trials, has 700'
    """
    if not 0.0 <= fmr <= 1.0:
        raise MetricError(f"an FMR target lies in [0, 1], found {fmr}")
    genuine, tail = scores_of(genuine, name="genuine"), tail_of(impostor)
    reason = too_few_trials(tail.n, fmr=fmr)
    if reason is not None:
        return FnmrAtFmr(fmr, None, reason)
    threshold = _strict_threshold(genuine, tail, fmr=fmr)
    return FnmrAtFmr(fmr, _rates(genuine, tail, threshold=threshold))


def eer(genuine: ArrayLike, impostor: "ArrayLike | ScoreTail") -> EqualErrorRate:
    """The equal error rate: (FMR + FNMR) / 2 where the two cross; lower is better, shown but never gated on.

    FNMR - FMR never falls as the threshold rises. Where it is zero, that is the answer; where it jumps over zero,
    both sides of the jump are tested and the smaller mean counts (Maio et al., FVC2000).

    Raises:
        MetricError: a class has no score, a score is NaN, or the tail ends above the crossing.

    >>> eer([0.4, 0.9], [0.1, 0.2, 0.3, 0.5]).value
    0.125
    """
    genuine, tail = scores_of(genuine, name="genuine"), tail_of(impostor)
    first = min(_crossing_among(genuine, genuine, tail), _crossing_among(tail.scores, genuine, tail))
    below = max(_next_below(genuine, first), _next_below(tail.scores, first))
    rates = _better_side(genuine, tail, below=below, first=first)
    value = (rates.fmr + rates.fnmr) / 2
    above = below if rates.threshold == first else max(_next_below(genuine, below), _next_below(tail.scores, below))
    warning = f"EER {value:.3f} exceeds 0.5: the scores look reversed" if value > 0.5 else None
    return EqualErrorRate(value, rates, above, warning)


def det_curve(genuine: ArrayLike, impostor: ArrayLike) -> DetCurve:
    """FMR and FNMR at every distinct score and at +inf: the exact detection error trade-off.

    Raises:
        MetricError: a class has no score, or a score is NaN.

    >>> det_curve([0.9], [0.1]).fnmr.tolist()
    [0.0, 0.0, 1.0]
    """
    return _curve(scores_of(genuine, name="genuine"), tail_of(impostor))


def scores_of(values: ArrayLike, *, name: str) -> Scores:
    """The scores of one class, ascending, as float64.

    Raises:
        MetricError: there is none, or one is NaN.
    """
    scores: Scores = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    if scores.size == 0:
        raise MetricError(f"no {name} score: error rates need comparisons of both classes")
    if np.isnan(scores[-1]):
        raise MetricError(f"{int(np.isnan(scores).sum())} of {scores.size} {name} scores are NaN")
    return scores


def tail_of(impostor: "ArrayLike | ScoreTail") -> ScoreTail:
    """`impostor` as a tail; a plain list of scores is a complete one."""
    if isinstance(impostor, ScoreTail):
        return impostor
    scores = scores_of(impostor, name="impostor")
    return ScoreTail(scores, scores.size)


def too_few_trials(n: int, *, fmr: float) -> str | None:
    """Why `n` impostor comparisons cannot show an FMR of `fmr`, or None when they can.

    >>> too_few_trials(1000, fmr=0.001) is None
    True
    """
    if fmr <= 0.0 or n * fmr >= 1.0 - ROUNDING:
        return None
    return f"needs >= {1 / fmr:.4g} trials, has {n}"


def allowed_false_matches(n: int, *, fmr: float) -> int:
    """The largest number of false matches among `n` comparisons whose share is at most `fmr`.

    >>> allowed_false_matches(7000, fmr=0.001)
    7
    """
    return math.floor(n * fmr + ROUNDING)


def _strict_threshold(genuine: Scores, tail: ScoreTail, *, fmr: float) -> float:
    """The smallest score value, or +inf, above the impostor score that must not be accepted any more."""
    allowed = allowed_false_matches(tail.n, fmr=fmr)
    if allowed >= tail.n:
        return float(min(genuine[0], tail.scores[0])) if tail.is_complete else -math.inf
    if allowed >= len(tail.scores):
        raise MetricError(f"FMR {fmr} needs the {allowed + 1} highest impostor scores, the tail has {len(tail.scores)}")
    blocked = tail.scores[len(tail.scores) - 1 - allowed]
    return min(_next_above(genuine, blocked), _next_above(tail.scores, blocked))


def _next_above(ascending: Scores, value: float) -> float:
    index = int(np.searchsorted(ascending, value, side="right"))
    return float(ascending[index]) if index < len(ascending) else math.inf


def _rates(genuine: Scores, tail: ScoreTail, *, threshold: float) -> ErrorRates:
    if threshold < _floor(tail):
        raise MetricError(f"the {len(tail.scores)} highest of {tail.n} impostor scores end above threshold {threshold}")
    missed = int(np.searchsorted(genuine, threshold, side="left"))
    matched = len(tail.scores) - int(np.searchsorted(tail.scores, threshold, side="left"))
    return ErrorRates(
        threshold=threshold,
        fmr=matched / tail.n,
        fnmr=missed / genuine.size,
        n_false_matches=matched,
        n_impostor=tail.n,
        n_false_non_matches=missed,
        n_genuine=genuine.size,
    )


def _floor(tail: ScoreTail) -> float:
    """The lowest threshold that the tail can answer for."""
    if tail.is_complete:
        return -math.inf
    return float(tail.scores[0]) if len(tail.scores) else math.inf


def _curve(genuine: Scores, tail: ScoreTail) -> DetCurve:
    """The curve at every distinct score that the tail reaches, and at +inf."""
    reached = genuine[genuine >= _floor(tail)]
    thresholds: Scores = np.append(np.unique(np.concatenate([reached, tail.scores])), np.inf)
    matched = len(tail.scores) - np.searchsorted(tail.scores, thresholds, side="left")
    missed = np.searchsorted(genuine, thresholds, side="left")
    return DetCurve(thresholds, matched / tail.n, missed / genuine.size)


def _crossing_among(candidates: Scores, genuine: Scores, tail: ScoreTail) -> float:
    """The first of the ascending candidates, or +inf, with FNMR >= FMR; found by bisection, as the gap never falls.

    Raises:
        MetricError: FNMR >= FMR already where the tail begins.
    """
    floor = _floor(tail)
    if not tail.is_complete and (floor == math.inf or _gap(genuine, tail, floor) >= 0):
        raise MetricError(f"the {len(tail.scores)} highest of {tail.n} impostor scores end above the equal error rate")
    start = int(np.searchsorted(candidates, floor))
    index = bisect_left(candidates, 0.0, lo=start, key=lambda score: _gap(genuine, tail, score))
    return float(candidates[index]) if index < len(candidates) else math.inf


def _gap(genuine: Scores, tail: ScoreTail, threshold: float) -> float:
    rates = _rates(genuine, tail, threshold=threshold)
    return rates.fnmr - rates.fmr


def _next_below(ascending: Scores, value: float) -> float:
    index = int(np.searchsorted(ascending, value, side="left"))
    return float(ascending[index - 1]) if index else -math.inf


def _better_side(genuine: Scores, tail: ScoreTail, *, below: float, first: float) -> ErrorRates:
    """The rates at the crossing where it is exact, else on the side of the jump with the smaller mean."""
    at, before = (_rates(genuine, tail, threshold=threshold) for threshold in (first, below))
    if at.fnmr == at.fmr or at.fnmr + at.fmr < before.fnmr + before.fmr:
        return at
    return before
