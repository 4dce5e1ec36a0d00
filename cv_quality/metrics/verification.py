"""Error rates of verification from two classes of scores: FMR, FNMR, each at a fixed other, EER and the DET curve.

Everything here is exact arithmetic on scores (higher means more alike, accept when score >= threshold); intervals are
in `cv_quality.metrics.rates`, scores counted over millions of pairs in `cv_quality.metrics.pairs`. Terms follow
ISO/IEC 19795-1; genuine comparisons are its mated ones, impostor comparisons its non-mated ones.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result
from cv_quality.metrics.sorted_scores import (
    LARGEST_WHOLE,
    Scores,
    SortedScores,
    count_below,
    next_above,
    next_below,
    thresholds_of,
)
from cv_quality.text import figures

FMR_TARGETS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Highest FMRs allowed at which the FNMR is reported unless others are asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTail:
    """The highest impostor scores, exactly, and how many impostor scores there are in all.

    Attributes:
        scores: ascending, float32 or float64; every impostor score that is not listed lies below the first.
        n: number of impostor comparisons, listed or not.

    Raises:
        MetricError: the scores are not ascending, one is NaN, or more are listed than there are.
    """

    scores: Scores
    n: int

    def __post_init__(self) -> None:
        if self.n < len(self.scores):
            raise MetricError(f"a tail of {len(self.scores)} scores cannot be part of {self.n} impostor scores")
        if np.any(np.isnan(self.scores[-1:])) or not np.all(self.scores[:-1] <= self.scores[1:]):
            raise MetricError("the scores of a tail must be ascending and without NaN: sort them first")

    @property
    def listed(self) -> int:
        """Number of scores that are known one by one."""
        return len(self.scores)

    @property
    def is_complete(self) -> bool:
        """Whether every impostor score is listed."""
        return self.listed == self.n

    @property
    def floor(self) -> float:
        """The lowest threshold at which every match is listed."""
        if self.is_complete:
            return -math.inf
        return float(self.scores[0]) if self.listed else math.inf

    def count_from(self, thresholds: Scores) -> NDArray[np.int64]:
        """Count the listed scores at or above each threshold, exactly; shape of the thresholds."""
        return self.listed - count_below(self.scores, thresholds)

    def highest(self, rank: int) -> float:
        """Find the score of a rank, 1 for the highest."""
        return float(self.scores[self.listed - rank])


Genuine: TypeAlias = "ArrayLike | SortedScores"
Impostor: TypeAlias = "ArrayLike | SortedScores | ScoreTail"


@dataclass(frozen=True, slots=True)
class ErrorRates(Result):
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
class FnmrAtFmr(Result):
    """FNMR at the smallest threshold whose FMR is at most `fmr_target`; undefined, `rates` is None with a `reason`."""

    fmr_target: float
    rates: ErrorRates | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class FmrAtFnmr(Result):
    """FMR at the largest threshold whose FNMR is at most `fnmr_target`; undefined, `rates` is None with a `reason`."""

    fnmr_target: float
    rates: ErrorRates | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class EqualErrorRate(Result):
    """The equal error rate and where it lies.

    Attributes:
        value: (FMR + FNMR) / 2 on the better side of the crossing, 0 to 1.
        rates: both rates at the score value `rates.threshold`.
        threshold_above: the next smaller score: every threshold in (threshold_above, rates.threshold] gives `rates`.
        nearest: (FMR + FNMR) / 2 on the side of the crossing where the two are nearest to each other: the convention of
            many published figures. It differs from `value` where ties make the rates jump.
        warning: set when the rate exceeds 0.5: the scores are then probably distances, or of reversed polarity.
    """

    value: float
    rates: ErrorRates
    threshold_above: float
    nearest: float
    warning: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DetCurve(Result):
    """Error rates at many thresholds, with their counts; all arrays have the shape (m,).

    Attributes:
        thresholds: accept when score >= threshold; those of `det_curve` are strictly ascending.
        fmr: n_false_matches / n_impostor; it never rises along ascending thresholds.
        fnmr: n_false_non_matches / n_genuine; it never falls along ascending thresholds.
    """

    thresholds: NDArray[np.float64]
    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]
    n_false_matches: NDArray[np.int64]
    n_impostor: int
    n_false_non_matches: NDArray[np.int64]
    n_genuine: int

    def thinned(self, points: int = 500) -> "DetCurve":
        """Thin to at most `points` points, both ends kept, spread evenly along the curve on logarithmic axes.

        For plots only: fewer steps, but each is one of the curve. A rate of 0 is spaced as half an error.
        """
        if len(self.thresholds) <= points:
            return self
        x, y = (
            np.log10(np.maximum(rate, 0.5 / n))
            for rate, n in ((self.fmr, self.n_impostor), (self.fnmr, self.n_genuine))
        )
        along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        kept = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], points)).clip(0, len(x) - 1))
        return _curve(
            self.thresholds[kept],
            (self.n_false_matches[kept], self.n_impostor),
            (self.n_false_non_matches[kept], self.n_genuine),
        )


def rates_at(genuine: Genuine, impostor: Impostor, *, threshold: float) -> ErrorRates:
    """Compute FMR(t) = #(impostor >= t) / #impostor and FNMR(t) = #(genuine < t) / #genuine; lower is better.

    Args:
        genuine: scores of comparisons within one subject, shape (n,).
        impostor: scores of comparisons between subjects, shape (m,), or their exact tail.
        threshold: accept at or above; +inf accepts only scores of +inf. It is compared as it is: with float32 scores,
            0.7 lies above the score that was stored for 0.7.

    Raises:
        MetricError: a class has no score, a score or the threshold is NaN, or the tail does not reach down to it.

    >>> rates_at([0.4, 0.9], [0.1, 0.4], threshold=0.4).fmr
    0.5
    """
    return _rates(SortedScores(genuine, name="genuine"), tail_of(impostor), threshold=threshold)


def curve_at(genuine: Genuine, impostor: Impostor, *, thresholds: ArrayLike) -> DetCurve:
    """Compute FMR and FNMR, as in `rates_at`, at each of the given thresholds, in their order.

    Args:
        thresholds: shape (m,); +inf and -inf are legal.

    Raises:
        MetricError: as in `rates_at`; it holds for the lowest threshold.

    >>> curve_at([0.4, 0.9], [0.1, 0.4], thresholds=[0.9, 0.2]).fmr.tolist()
    [0.0, 0.5]
    """
    genuine, tail = SortedScores(genuine, name="genuine"), tail_of(impostor)
    asked = np.atleast_1d(thresholds_of(thresholds))
    if asked.size:
        _require_reach(tail, float(asked.min()))
    return _curve(asked, (tail.count_from(asked), tail.n), (count_below(genuine.scores, asked), genuine.n))


def det_curve(genuine: Genuine, impostor: Impostor) -> DetCurve:
    """Compute the detection error trade-off in its corners: at every distinct genuine score and at +inf.

    A threshold anywhere else misses as many genuine comparisons as the next corner above it and accepts at least as
    many impostors: the corners are the whole curve, in memory that does not grow with the impostors. For rates at other
    thresholds see `curve_at`.

    The FNMR starts at 0, the FMR ends at the share of impostor scores that are +inf, usually 0. With a tail the curve
    starts at the first genuine score that the tail reaches down to.

    Raises:
        MetricError: a class has no score, or a score is NaN.

    >>> curve = det_curve([0.4, 0.9, 0.9], [0.1, 0.2, 0.5, 0.95])
    >>> curve.thresholds.tolist(), curve.fmr.tolist()
    ([0.4, 0.9, inf], [0.5, 0.25, 0.0])
    """
    genuine, tail = SortedScores(genuine, name="genuine"), tail_of(impostor)
    corners, missed = _corners(genuine, tail)
    if genuine.scores[-1] < np.inf:
        corners, missed = np.append(corners, genuine.scores.dtype.type(np.inf)), np.append(missed, genuine.n)
    return _curve(corners, (tail.count_from(corners), tail.n), (missed, genuine.n))


def fnmr_at_fmr(genuine: Genuine, impostor: Impostor, *, fmr: float) -> FnmrAtFmr:
    """Compute the FNMR at the smallest threshold, of all scores and +inf, whose FMR is at most `fmr`; lower is better.

    A positive target needs at least 1/fmr impostor scores; with fewer the answer is undefined, not 0. A target of 0
    asks for no false match among the scores at hand, a property of the sample. Equal scores move together.

    Args:
        fmr: the highest FMR allowed, 0 to 1. "At most" is meant in float64: 7 false matches of 7,000 are at most 0.001.

    Raises:
        MetricError: a class has no score, a score is NaN, the target is outside [0, 1], or the tail is too short.

    >>> fnmr_at_fmr([0.4, 0.9], [0.1, 0.2, 0.3, 0.5], fmr=0.25).rates.fnmr
    0.0
    >>> fnmr_at_fmr([0.4, 0.9], [0.1] * 700, fmr=1e-6).reason
    'needs >= 1,000,000 trials, has 700'
    """
    if not 0.0 <= fmr <= 1.0:
        raise MetricError(f"an FMR target lies in [0, 1], found {fmr}")
    genuine, tail = SortedScores(genuine, name="genuine"), tail_of(impostor)
    reason = too_few_trials(tail.n, fmr=fmr)
    if reason is not None:
        return FnmrAtFmr(fmr, None, reason)
    threshold = _strict_threshold(genuine, tail, fmr=fmr)
    if threshold is None:
        infinite = int(tail.count_from(thresholds_of(np.inf)))
        return FnmrAtFmr(fmr, None, f"{infinite} of {tail.n} impostor scores are +inf: no threshold rejects them")
    return FnmrAtFmr(fmr, _rates(genuine, tail, threshold=threshold))


def fmr_at_fnmr(genuine: Genuine, impostor: Impostor, *, fnmr: float) -> FmrAtFnmr:
    """Compute the FMR at the largest threshold, of all scores and +inf, whose FNMR is at most `fnmr`; lower is better.

    That threshold is a genuine score, or +inf for a target of 1, and no other with so low an FNMR has a smaller FMR. A
    positive target needs at least 1/fnmr genuine scores; with fewer the answer is undefined. A target of 0 asks for no
    false non-match among the scores at hand. A failed enrolment at -inf then forces the threshold to -inf.

    Args:
        fnmr: the highest FNMR allowed, 0 to 1.

    Raises:
        MetricError: a class has no score, a score is NaN, the target is outside [0, 1], or the tail is too short.

    >>> fmr_at_fnmr([0.4, 0.9], [0.1, 0.2, 0.3, 0.5], fnmr=0).rates.fmr
    0.25
    >>> fmr_at_fnmr([0.4, 0.9], [0.1], fnmr=0.1).reason
    'needs >= 10 trials, has 2'
    """
    if not 0.0 <= fnmr <= 1.0:
        raise MetricError(f"an FNMR target lies in [0, 1], found {fnmr}")
    genuine, tail = SortedScores(genuine, name="genuine"), tail_of(impostor)
    reason = too_few_trials(genuine.n, fmr=fnmr)
    if reason is not None:
        return FmrAtFnmr(fnmr, None, reason)
    allowed = allowed_false_matches(genuine.n, fmr=fnmr)
    threshold = float(genuine.scores[allowed]) if allowed < genuine.n else math.inf
    return FmrAtFnmr(fnmr, _rates(genuine, tail, threshold=threshold))


def eer(genuine: Genuine, impostor: Impostor) -> EqualErrorRate:
    """Compute the equal error rate, (FMR + FNMR) / 2 where the two cross; lower is better, never gated on.

    FNMR - FMR rises from one score value to the next. Where it is zero, that is the answer; where it jumps over zero,
    both sides of the jump are tested and the smaller mean counts (Maio et al., FVC2000), the lower threshold when they
    are equal. Where both classes reach +inf, no threshold may be high enough to cross: then the rates at +inf count.

    Raises:
        MetricError: a class has no score, a score is NaN, or the tail ends above the crossing.

    >>> eer([0.4, 0.9], [0.1, 0.2, 0.3, 0.5]).value
    0.125
    """
    genuine, tail = SortedScores(genuine, name="genuine"), tail_of(impostor)
    if not tail.is_complete and (tail.floor == math.inf or _gap(genuine, tail, tail.floor) >= 0):
        raise MetricError(f"the {tail.listed} highest of {tail.n} impostor scores end above the equal error rate")
    first = _first_crossing(genuine, tail)
    sides = [_rates(genuine, tail, threshold=first)]
    if _gap(genuine, tail, first) > 0:  # not above 0 only at +inf, where nothing lies above to cross
        sides = [_rates(genuine, tail, threshold=_score_below(genuine, tail, first)), *sides]
    sums = [side.n_false_non_matches * side.n_impostor + side.n_false_matches * side.n_genuine for side in sides]
    rates = sides[sums.index(min(sums))]
    nearest = min(sides, key=lambda side: abs(side.fnmr - side.fmr))
    value = (rates.fmr + rates.fnmr) / 2
    warning = f"EER {figures(value)} exceeds 0.5: the scores look reversed" if value > 0.5 else None
    above = _score_below(genuine, tail, rates.threshold)
    return EqualErrorRate(value, rates, above, (nearest.fmr + nearest.fnmr) / 2, warning)


def tail_of(impostor: Impostor) -> "ScoreTail | SortedScores":
    """Prepare impostor scores to be counted from above: a tail as it is, anything else sorted (a complete tail).

    Raises:
        MetricError: there is no impostor score, or as for `SortedScores`.
    """
    if not isinstance(impostor, ScoreTail):
        return SortedScores(impostor, name="impostor")
    if impostor.n == 0:
        raise MetricError("no impostor score: error rates need comparisons of both classes")
    return impostor


def too_few_trials(n: int, *, fmr: float) -> str | None:
    """Explain why `n` comparisons cannot show an error rate of `fmr`; None when they can.

    >>> too_few_trials(1000, fmr=0.001) is None
    True
    """
    if fmr <= 0.0 or allowed_false_matches(n, fmr=fmr) >= 1:
        return None
    needed = round(1 / fmr, 6)
    return f"needs >= {figures(math.ceil(needed) if needed < LARGEST_WHOLE else needed)} trials, has {n:,}"


def allowed_false_matches(n: int, *, fmr: float) -> int:
    """Compute the largest number of errors among `n` comparisons whose share is at most `fmr` in float64.

    >>> allowed_false_matches(7000, fmr=0.001)
    7
    """
    allowed = min(math.floor(n * fmr), n)
    while allowed < n and (allowed + 1) / n <= fmr:
        allowed += 1
    while allowed and allowed / n > fmr:
        allowed -= 1
    return allowed


def _strict_threshold(genuine: SortedScores, tail: ScoreTail | SortedScores, *, fmr: float) -> float | None:
    """The smallest score value, or +inf, above the impostor score that must not be accepted; None where that is +inf.

    Raises:
        MetricError: that impostor score is not in the tail.
    """
    allowed = allowed_false_matches(tail.n, fmr=fmr)
    if allowed >= tail.n:
        return min(float(genuine.scores[0]), tail.highest(tail.n)) if tail.is_complete else -math.inf
    if allowed >= tail.listed:
        raise MetricError(f"FMR {fmr} needs the {allowed + 1} highest impostor scores, the tail has {tail.listed}")
    blocked = tail.highest(allowed + 1)
    if blocked == math.inf:
        return None
    return min(next_above(genuine, blocked), next_above(tail, blocked))


def _rates(genuine: SortedScores, tail: ScoreTail | SortedScores, *, threshold: float) -> ErrorRates:
    asked = thresholds_of(threshold)
    _require_reach(tail, float(asked))
    missed, matched = int(count_below(genuine.scores, asked)), int(tail.count_from(asked))
    return ErrorRates(
        threshold=float(asked),
        fmr=matched / tail.n,
        fnmr=missed / genuine.n,
        n_false_matches=matched,
        n_impostor=tail.n,
        n_false_non_matches=missed,
        n_genuine=genuine.n,
    )


def _curve(
    thresholds: Scores, matched: tuple[NDArray[np.int64], int], missed: tuple[NDArray[np.int64], int]
) -> DetCurve:
    """The curve of errors and trials: (false matches, impostor comparisons), (false non-matches, genuine ones)."""
    return DetCurve(
        thresholds=thresholds.astype(np.float64, copy=False),
        fmr=matched[0] / matched[1],
        fnmr=missed[0] / missed[1],
        n_false_matches=matched[0],
        n_impostor=matched[1],
        n_false_non_matches=missed[0],
        n_genuine=missed[1],
    )


def _require_reach(tail: ScoreTail | SortedScores, threshold: float) -> None:
    if threshold < tail.floor:
        raise MetricError(f"the {tail.listed} highest of {tail.n} impostor scores end above threshold {threshold}")


def _gap(genuine: SortedScores, tail: ScoreTail | SortedScores, threshold: float) -> int:
    """FNMR - FMR times both numbers of comparisons: as whole numbers no crossing is lost to rounding."""
    rates = _rates(genuine, tail, threshold=threshold)
    return rates.n_false_non_matches * rates.n_impostor - rates.n_false_matches * rates.n_genuine


def _corners(genuine: SortedScores, tail: ScoreTail | SortedScores) -> tuple[Scores, NDArray[np.int64]]:
    """The distinct genuine scores that the tail reaches down to, ascending, and the genuine scores below each."""
    scores = genuine.scores
    missed = np.flatnonzero(np.concatenate([[True], scores[1:] > scores[:-1]]))
    missed = missed[int(count_below(scores[missed], thresholds_of(tail.floor))) :]
    return scores[missed], missed


def _first_crossing(genuine: SortedScores, tail: ScoreTail | SortedScores) -> float:
    """The first score of either class with FNMR >= FMR, else +inf; the gap between the two never falls.

    Between two genuine scores the FNMR stands still: the first impostor score there with so low an FMR is looked up by
    its rank.
    """
    corners, missed = _corners(genuine, tail)
    gap = missed * tail.n - tail.count_from(corners) * genuine.n
    index = int(np.argmax(gap >= 0)) if np.any(gap >= 0) else len(corners)
    first, below = (corners[index], missed[index]) if index < len(corners) else (math.inf, genuine.n)
    allowed = int(below) * tail.n // genuine.n
    blocked = tail.highest(allowed + 1) if allowed < tail.listed else -math.inf
    before = float(corners[index - 1]) if index else tail.floor
    return min(float(first), next_above(tail, max(blocked, before)))


def _score_below(genuine: SortedScores, tail: ScoreTail | SortedScores, value: float) -> float:
    """The next smaller score of either class, -inf where there is none.

    Below a partial tail it is unknown: any number below the tail might be a score.
    """
    unlisted = -math.inf if tail.is_complete else math.nextafter(tail.floor, -math.inf)
    return max(unlisted, next_below(genuine, value), next_below(tail, value))
