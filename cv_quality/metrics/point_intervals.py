"""The uncertainty of a build's operating points: its FMR, its FNMR, the threshold between them, the band of the curve.

Scores are oriented (higher means more alike), thresholds may be infinite.

Where the tail of impostor scores reaches the threshold its own uncertainty is included; elsewhere it is taken as given,
and the method says so. The intervals themselves are in `cv_quality.metrics.fixed_fmr`, `equal_error`, `dyadic` and
`rates`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.dyadic import rate_of_subjects
from cv_quality.metrics.equal_error import TAIL_TOO_SHORT, interval_of_eer
from cv_quality.metrics.fixed_fmr import FnmrAtFmrInterval, interval_at_fmr
from cv_quality.metrics.operating_points import EXACT, OperatingPoint
from cv_quality.metrics.pairs import PairCounts
from cv_quality.metrics.rates import Rate, clustered_rate
from cv_quality.metrics.trials import Codes
from cv_quality.metrics.verification import allowed_false_matches

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, object]
Band = tuple[float | None, float | None]

BAND_POINTS = 40
FIXED_THRESHOLD = "threshold taken as given, its own uncertainty not included"
BY_FAMILY = "families taken together"
NOT_ACCOUNTED = "no interval: the subjects' samples do not account for every pair"


@dataclass(frozen=True, slots=True)
class BuildScores:
    """Genuine and impostor scores of one model over the drops of a build, subjects as codes.

    Attributes:
        subjects: the subject of each code, ascending.
        families: the family of each subject as a code, one of its own where none is named; shape (subjects,).
        genuine_scores, genuine_subjects: every bona fide genuine comparison, shape (n_genuine,).
        counts: all cross-subject pairs.
        by_subject: the genuine scores and the highest of the pairs; None when the subjects' samples do not account for
            every pair.
        clustered: the same by family, for intervals; `by_subject` itself where no families are named.
    """

    subjects: tuple[str, ...]
    families: Codes
    genuine_scores: NDArray[np.float64]
    genuine_subjects: Codes
    counts: PairCounts
    by_subject: ClusteredScores | None
    clustered: ClusteredScores | None

    @property
    def is_by_family(self) -> bool:
        """Whether subjects of a family are taken together."""
        return self.clustered is not self.by_subject

    def reaches(self, threshold: float) -> bool:
        """Whether the tail has every impostor comparison at or above the threshold."""
        return threshold >= self.counts.floor

    def in_order(self, counts: "pl.DataFrame") -> Codes:
        """Read a count of each subject in the order of the codes, 0 where there is none; shape (subjects,)."""
        known = dict(counts.iter_rows())
        return np.array([known.get(subject, 0) for subject in self.subjects], np.int64)


def fmr_interval(scores: BuildScores, *, threshold: float) -> Row:
    """The columns of the FMR's interval at a fixed threshold, clustered by both subjects."""
    clustered, by_subject = scores.clustered, scores.by_subject
    if clustered is None or by_subject is None:
        return {"fmr_method": NOT_ACCOUNTED}
    matches = scores.counts.matches
    if scores.reaches(threshold):
        rate = clustered.fmr(clustered.count_matches(threshold))
        note = BY_FAMILY if scores.is_by_family else None
    elif matches is not None and matches.threshold == threshold:
        rate = rate_of_subjects(scores.in_order(matches.of_subjects), trials=by_subject.trials)
        note = f"not {BY_FAMILY}: only counts of subjects are at hand" if scores.is_by_family else None
    else:
        return {"fmr_method": "no interval: the exact tail ends above this threshold"}
    method = _told(rate.method, note, rate.reason)
    return {"fmr_low": rate.low, "fmr_high": rate.high, "fmr_n_effective": rate.n_effective, "fmr_method": method}


def fnmr_interval(point: OperatingPoint, scores: BuildScores) -> Row:
    """The columns of the FNMR's interval, and of the threshold's, oriented, where that was estimated."""
    assert point.rates is not None
    note = BY_FAMILY if scores.is_by_family else None
    found = None if point.fmr_target is None else _reestimated(scores, fmr=point.fmr_target)
    if found is None or found.low is None:
        people, n = scores.families[scores.genuine_subjects], len(scores.subjects)
        missed = people[scores.genuine_scores < point.rates.threshold]
        rate = clustered_rate(np.bincount(missed, minlength=n), np.bincount(people, minlength=n))
        method = _told(rate.method, FIXED_THRESHOLD, note, rate.reason)
        return _columns(point, rate, method, None if found is None else found.reason)
    assert found.threshold_low is not None
    assert found.threshold_high is not None
    threshold = point.rates.threshold
    bounds: Row = {
        "threshold_low": min(found.threshold_low, threshold),
        "threshold_high": max(found.threshold_high, threshold),
    }
    return _columns(point, found, _told(found.method, note), found.reason) | bounds


def eer_columns(point: OperatingPoint, scores: BuildScores) -> Row:
    """The equal error rate and the columns of its interval, as far as the tail of impostor scores reaches."""
    assert point.rates is not None
    value = (point.rates.fmr + point.rates.fnmr) / 2
    clustered = scores.clustered
    if clustered is None or point.method != EXACT:
        why = NOT_ACCOUNTED if clustered is None else TAIL_TOO_SHORT
        return {"eer": value, "method": point.method, "reason": why}
    found = interval_of_eer(clustered)
    method = _told(point.method, found.method, BY_FAMILY if scores.is_by_family else None)
    return {"eer": value, "eer_low": found.low, "eer_high": found.high, "method": method, "reason": found.reason}


def curve_bands(points: Sequence[OperatingPoint], scores: BuildScores) -> list[Band]:
    """Bounds of the FNMR at the points of a curve; (None, None) where they cannot be told."""
    targets = [point.fmr_target or 0.0 for point in points]
    found = bands_at(targets, lambda fmr: _reestimated(scores, fmr=fmr))
    bands: list[Band] = []
    for point, (low, high) in zip(points, found, strict=True):
        assert point.rates is not None
        fnmr = point.rates.fnmr
        bands.append((None, None) if low is None or high is None else (min(low, fnmr), max(high, fnmr)))
    return bands


def bands_at(targets: Sequence[float], interval: Callable[[float], FnmrAtFmrInterval | None]) -> list[Band]:
    """Bounds of the FNMR at FMRs along a curve: computed at some of them, each holding up to the next."""
    chosen = {int(index) for index in np.linspace(0, len(targets) - 1, BAND_POINTS)} if targets else set()
    bands: list[Band] = []
    for index, fmr in enumerate(targets):
        if index in chosen:
            found = interval(fmr)
        bands.append((None, None) if found is None else (found.low, found.high))
    return bands


def _columns(point: OperatingPoint, rate: Rate | FnmrAtFmrInterval, method: str, reason: str | None) -> Row:
    assert point.rates is not None
    assert rate.low is not None
    assert rate.high is not None
    return {
        "fnmr_low": min(rate.low, point.rates.fnmr),
        "fnmr_high": max(rate.high, point.rates.fnmr),
        "fnmr_n_effective": rate.n_effective,
        "method": _told(point.method, method),
        "reason": reason,
    }


def _told(*parts: str | None) -> str:
    return "; ".join(part for part in parts if part)


def _reestimated(scores: BuildScores, *, fmr: float) -> FnmrAtFmrInterval | None:
    """The interval with the threshold's uncertainty; None where the tail does not even hold the sample's threshold."""
    clustered = scores.clustered
    if clustered is None:
        return None
    is_reached = clustered.is_complete or allowed_false_matches(scores.counts.n, fmr=fmr) < len(clustered.impostor)
    return interval_at_fmr(clustered, fmr=min(fmr, 1.0)) if is_reached else None
