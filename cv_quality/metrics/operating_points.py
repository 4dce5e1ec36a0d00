"""Operating points on counted pairs: exact where the tail of impostor scores reaches, from the histogram elsewhere.

The exact rules are those of `cv_quality.metrics.verification`; this module only chooses between the two sources and
says which one answered. Intervals are added in `cv_quality.tasks.verification.build_metrics`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.pairs import PairCounts
from cv_quality.metrics.score_bins import BINS, BINS_PER_UNIT, bin_of, edge_of
from cv_quality.metrics.sorted_scores import SortedScores
from cv_quality.metrics.verification import (
    ErrorRates,
    ScoreTail,
    allowed_false_matches,
    eer,
    fnmr_at_fmr,
    rates_at,
    too_few_trials,
)

EXACT = "exact impostor scores"
DET_POINTS = 240
FROM_HISTOGRAM = f"FMR from {BINS} bins, an upper bound: the exact tail ends above this point"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One threshold and what it costs; `rates` is None when the point is undefined, and `reason` says why.

    Attributes:
        name: "fnmr_at_fmr", "eer" or "decision_threshold".
        method: where the FMR comes from; None when undefined.
    """

    name: str
    fmr_target: float | None
    rates: ErrorRates | None
    method: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class BothClasses:
    """Genuine scores, sorted once, and the counted impostor pairs, at least one of each.

    Attributes:
        above: number of pairs in each bin and all higher ones, then 0; shape (BINS + 1,).
    """

    genuine: SortedScores
    counts: PairCounts
    tail: ScoreTail
    above: NDArray[np.int64]

    def reaches(self, threshold: float) -> bool:
        """Whether the tail has every pair at or above the threshold."""
        return threshold >= self.counts.floor


def both_classes(genuine: NDArray[np.float64], counts: PairCounts) -> BothClasses | str:
    """The two classes, or in words which one is missing."""
    if genuine.size == 0:
        return "no genuine comparison"
    if counts.n == 0:
        return "no impostor comparison"
    above = np.append(np.cumsum(counts.histogram[::-1])[::-1], 0)
    return BothClasses(SortedScores(genuine, name="genuine"), counts, counts.score_tail(), above)


def point_at_fmr(classes: BothClasses | str, *, fmr: float) -> OperatingPoint:
    """FNMR at the smallest threshold whose FMR is at most `fmr`.

    From the histogram the threshold is a bin edge, one bin higher than the counts ask for, so that the rounding of
    float32 can never push the FMR over the target.
    """
    name = "fnmr_at_fmr"
    if isinstance(classes, str):
        return OperatingPoint(name, fmr, None, None, classes)
    n = classes.counts.n
    reason = too_few_trials(n, fmr=fmr)
    if reason is not None:
        return OperatingPoint(name, fmr, None, None, reason)
    allowed = allowed_false_matches(n, fmr=fmr)
    if classes.tail.is_complete or allowed < len(classes.tail.scores):
        return OperatingPoint(name, fmr, fnmr_at_fmr(classes.genuine, classes.tail, fmr=fmr).rates, EXACT)
    lowest = int(np.argmax(classes.above <= allowed))
    rates = _binned(classes, lowest, threshold=edge_of(lowest + 1, classes.counts.scale))
    return OperatingPoint(name, fmr, rates, FROM_HISTOGRAM)


def point_at_threshold(classes: BothClasses | str, *, threshold: float) -> OperatingPoint:
    """Both rates at a given threshold, accepting at or above."""
    name = "decision_threshold"
    if isinstance(classes, str):
        return OperatingPoint(name, None, None, None, classes)
    if classes.reaches(threshold):
        return OperatingPoint(name, None, rates_at(classes.genuine, classes.tail, threshold=threshold), EXACT)
    matches = classes.counts.matches
    if matches is not None and matches.threshold == threshold:
        missed = int(np.searchsorted(classes.genuine.scores, threshold, side="left"))
        return OperatingPoint(name, None, _counted(classes, threshold, matches.n, missed), EXACT)
    index = max(int(bin_of(np.array([threshold]), classes.counts.scale)[0]) - 1, 0)
    return OperatingPoint(name, None, _binned(classes, index, threshold=threshold), FROM_HISTOGRAM)


def point_of_eer(classes: BothClasses | str) -> OperatingPoint:
    """Where FMR and FNMR cross; in the histogram, on the bin edge where they are closest."""
    if isinstance(classes, str):
        return OperatingPoint("eer", None, None, None, classes)
    lowest = classes.tail.scores[0] if len(classes.tail.scores) else math.inf
    fnmr = np.searchsorted(classes.genuine.scores, lowest, side="left") / classes.genuine.n
    if classes.tail.is_complete or fnmr < len(classes.tail.scores) / classes.counts.n:
        return OperatingPoint("eer", None, eer(classes.genuine, classes.tail).rates, EXACT)
    edges = classes.counts.scale.score_at(np.arange(BINS + 1) / BINS_PER_UNIT - 1.0)
    missed = np.searchsorted(classes.genuine.scores, edges, side="left") / classes.genuine.n
    closest = int(np.argmin(np.abs(missed - classes.above / classes.counts.n)))
    method = f"FMR from {BINS} bins: the exact tail ends above the equal error rate"
    return OperatingPoint("eer", None, _binned(classes, closest, threshold=float(edges[closest])), method)


def det_points(classes: BothClasses | str, *, points: int = DET_POINTS) -> list[OperatingPoint]:
    """FNMR at FMRs evenly spread on a logarithmic axis, from 1 down to one false match; equal thresholds once."""
    if isinstance(classes, str):
        return []
    targets = np.logspace(0.0, -math.log10(classes.counts.n), points)
    found = [point_at_fmr(classes, fmr=max(float(target), 1 / classes.counts.n)) for target in targets]
    by_threshold = {point.rates.threshold: point for point in reversed(found) if point.rates is not None}
    return list(reversed(by_threshold.values()))


def _binned(classes: BothClasses, index: int, *, threshold: float) -> ErrorRates:
    missed = int(np.searchsorted(classes.genuine.scores, threshold, side="left"))
    return _counted(classes, threshold, int(classes.above[min(index, BINS)]), missed)


def _counted(classes: BothClasses, threshold: float, matched: int, missed: int) -> ErrorRates:
    return ErrorRates(
        threshold=threshold,
        fmr=matched / classes.counts.n,
        fnmr=missed / classes.genuine.n,
        n_false_matches=matched,
        n_impostor=classes.counts.n,
        n_false_non_matches=missed,
        n_genuine=classes.genuine.n,
    )
