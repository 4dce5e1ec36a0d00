"""The uncertainty of a score set's rates: by subject where the files name subjects, else as independent comparisons.

Both kinds give the same intervals, so that an evaluation is written once. The methods are those of
`cv_quality.metrics`; here score files are turned into their arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.equal_error import EerInterval, eer_interval, interval_of_eer
from cv_quality.metrics.fixed_fmr import interval_at_fmr
from cv_quality.metrics.independent import fnmr_at_fmr_bounds
from cv_quality.metrics.point_intervals import FIXED_THRESHOLD, Band, bands_at
from cv_quality.metrics.rates import Rate, binomial_rate
from cv_quality.metrics.sorted_scores import SortedScores
from cv_quality.metrics.trials import ListedTrials, Trials
from cv_quality.metrics.verification import ErrorRates
from cv_quality.scores.rows import FAMILIES
from cv_quality.scores.score_set import ScoreSet

Impostors = tuple[NDArray[np.floating], Trials | int, tuple[NDArray[np.int64], NDArray[np.int64]] | None]

NO_SUBJECTS = (
    "the files name no subjects, so the intervals take the comparisons as independent: where subjects repeat they are "
    "too narrow"
)
CONTRADICTION = (
    "some impostor comparisons name one subject twice, so the subjects are not used: the intervals take the "
    "comparisons as independent, and are too narrow where subjects repeat"
)


@dataclass(frozen=True, slots=True)
class PointBounds:
    """The FNMR at a fixed FMR with its interval, and the bounds of its threshold where they are known."""

    fnmr: Rate
    threshold_low: float | None
    threshold_high: float | None


@dataclass(frozen=True, slots=True)
class Independent:
    """Comparisons taken as independent, because the files name no subjects."""

    genuine: SortedScores
    impostor: SortedScores
    seed: int
    warnings: tuple[str, ...]

    @property
    def n_subjects(self) -> int | None:
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def fmr(self, threshold: float) -> Rate:
        matched = self.impostor.n - int(np.searchsorted(self.impostor.scores, threshold, side="left"))
        return binomial_rate(matched, self.impostor.n)

    def fnmr(self, rates: ErrorRates) -> Rate:
        return binomial_rate(rates.n_false_non_matches, rates.n_genuine)

    def fnmr_at_fmr(self, rates: ErrorRates, *, fmr: float) -> PointBounds:
        found = fnmr_at_fmr_bounds(self.genuine, self.impostor, fmr=fmr, seed=self.seed)
        low, high = min(found.low, rates.fnmr), max(found.high, rates.fnmr)
        fixed = binomial_rate(rates.n_false_non_matches, rates.n_genuine)
        return PointBounds(
            replace(fixed, low=low, high=high, method=found.method), found.threshold_low, found.threshold_high
        )

    def eer(self) -> EerInterval:
        return eer_interval(self.genuine.scores, self.impostor.scores)

    def bands(self, targets: Sequence[float]) -> list[Band]:
        found = [fnmr_at_fmr_bounds(self.genuine, self.impostor, fmr=fmr, seed=self.seed) for fmr in targets]
        return [(bounds.low, bounds.high) for bounds in found]

    def impostors(self) -> Impostors:
        return self.impostor.scores, self.impostor.n, None


@dataclass(frozen=True, slots=True, eq=False)
class BySubject:
    """Comparisons of named subjects: genuine ones belong to one, impostor ones to two.

    Attributes:
        scores: of every comparison, by subject.
        clustered: the same by family, where the files name families; else `scores`.
    """

    genuine: SortedScores
    impostor: SortedScores
    scores: ClusteredScores
    clustered: ClusteredScores
    warnings: tuple[str, ...]

    @property
    def n_subjects(self) -> int | None:
        return self.scores.trials.n_subjects

    @property
    def notes(self) -> tuple[str, ...]:
        if self.clustered is self.scores:
            return ()
        families, subjects = self.clustered.n_subjects, self.scores.n_subjects
        return (f"the intervals are by family, {families} families of {subjects} subjects",)

    def fmr(self, threshold: float) -> Rate:
        """Estimate the FMR at a given threshold."""
        return self.clustered.fmr(self.clustered.count_matches(threshold))

    def fnmr(self, rates: ErrorRates) -> Rate:
        """Estimate the FNMR at a given threshold."""
        return self.clustered.fnmr(self.clustered.count_misses(rates.threshold))

    def fnmr_at_fmr(self, rates: ErrorRates, *, fmr: float) -> PointBounds:
        """Estimate the FNMR at a threshold that was chosen for an FMR."""
        fixed, found = self.fnmr(rates), interval_at_fmr(self.clustered, fmr=fmr)
        if found.low is None or found.high is None:
            method = f"{fixed.method}; {FIXED_THRESHOLD}"
            return PointBounds(replace(fixed, method=method, reason=found.reason or fixed.reason), None, None)
        rate = replace(
            fixed,
            low=found.low,
            high=found.high,
            method=found.method,
            n_effective=found.n_effective,
            reason=found.reason,
        )
        return PointBounds(rate, found.threshold_low, found.threshold_high)

    def eer(self) -> EerInterval:
        """Estimate the equal error rate."""
        return interval_of_eer(self.clustered)

    def bands(self, targets: Sequence[float]) -> list[Band]:
        """Estimate bounds of the FNMR at each FMR."""
        return bands_at(targets, lambda fmr: interval_at_fmr(self.clustered, fmr=fmr))

    def impostors(self) -> Impostors:
        """Return the impostor scores with who was compared with whom."""
        clustered = self.clustered
        return clustered.impostor, clustered.trials, (clustered.one, clustered.other)


Uncertainty = Independent | BySubject
"""Rates with intervals, as an evaluation needs them; both kinds have the same methods."""


def uncertainty_of(scores: ScoreSet, *, seed: int) -> Uncertainty:
    """Choose intervals by subject where both subjects of every comparison are named, else of independent comparisons.

    Args:
        scores: the score set.
        seed: of everything random.

    Raises:
        MetricError: a class has no comparison.
    """
    genuine, impostor = (SortedScores(getattr(scores, side), name=side) for side in ("genuine", "impostor"))
    if not scores.has_subjects:
        return Independent(genuine, impostor, seed, (NO_SUBJECTS,))
    is_genuine = scores.rows["is_genuine"].to_numpy()
    if ((scores.rows["subject_a"] == scores.rows["subject_b"]).to_numpy() & ~is_genuine).any():
        return Independent(genuine, impostor, seed, (CONTRADICTION,))
    codes, values = scores.subject_codes(), scores.rows["score"].to_numpy().astype(np.float64)
    own = values[is_genuine], codes.a[is_genuine]
    others = codes.a[~is_genuine], codes.b[~is_genuine], values[~is_genuine]
    trials = ListedTrials.of(others[0], others[1], n_subjects=len(codes.names))
    by_subject = ClusteredScores.of(*own, others, trials)
    families, warnings = _families(scores)
    if families is None:
        return BySubject(genuine, impostor, by_subject, by_subject, warnings)
    relatives = families[own[1]], (families[others[0]], families[others[1]], others[2])
    clustered = ClusteredScores.of(own[0], *relatives, trials.clustered(families))
    return BySubject(genuine, impostor, by_subject, clustered, warnings)


def _families(scores: ScoreSet) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The family of each subject as a code, one of its own where none is named; None without families."""
    if not set(FAMILIES) & set(scores.rows.columns):
        return None, ()
    named, torn = scores.of_subjects("family")
    if torn:
        return None, (f"{len(torn)} of {len(named)} subjects are in several families: families are not used",)
    # A name of its own, which no family can have, as it is no text.
    labels = [(index,) if name is None else name for index, name in enumerate(named)]
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.int64), ()
