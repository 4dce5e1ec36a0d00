"""The uncertainty of a score set's rates: by subject where the files name subjects, else as independent comparisons.

Both kinds give the same intervals, so that an evaluation is written once. The methods are those of
`cv_quality.metrics`; here score files are turned into their arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.bootstrap import FnmrAtFmrInterval, fnmr_at_fmr_interval, tail_depth
from cv_quality.metrics.dyadic import pair_rate
from cv_quality.metrics.equal_error import EerInterval, eer_interval
from cv_quality.metrics.independent import fnmr_at_fmr_bounds
from cv_quality.metrics.point_intervals import BAND_REPLICATES, FIXED_THRESHOLD, Band, bands_at
from cv_quality.metrics.rates import Rate, binomial_rate, clustered_rate
from cv_quality.metrics.sorted_scores import SortedScores
from cv_quality.metrics.trials import ListedTrials, Trials
from cv_quality.metrics.verification import ErrorRates
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
        return eer_interval(self.genuine.scores, self.impostor.scores, seed=self.seed)

    def bands(self, targets: Sequence[float]) -> list[Band]:
        found = [fnmr_at_fmr_bounds(self.genuine, self.impostor, fmr=fmr, seed=self.seed) for fmr in targets]
        return [(bounds.low, bounds.high) for bounds in found]

    def impostors(self) -> Impostors:
        return self.impostor.scores, self.impostor.n, None


@dataclass(frozen=True, slots=True, eq=False)
class BySubject:
    """Comparisons of named subjects: genuine ones belong to one, impostor ones to two.

    Attributes:
        genuine_scores, genuine_subjects: of every genuine comparison, shape (n_genuine,).
        one, other, tail: subjects and score of every impostor comparison, highest first, shape (n_impostor,).
        trials: who was compared with whom.
    """

    genuine: SortedScores
    impostor: SortedScores
    genuine_scores: NDArray[np.float64]
    genuine_subjects: NDArray[np.int64]
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    tail: NDArray[np.float64]
    trials: ListedTrials
    replicates: int
    seed: int

    @property
    def n_subjects(self) -> int | None:
        return self.trials.n_subjects

    @property
    def warnings(self) -> tuple[str, ...]:
        return ()

    def fmr(self, threshold: float) -> Rate:
        """Estimate the FMR at a given threshold."""
        matched = int(np.searchsorted(-self.tail, -threshold, side="right"))
        return pair_rate((self.one[:matched], self.other[:matched]), trials=self.trials)

    def fnmr(self, rates: ErrorRates) -> Rate:
        """Estimate the FNMR at a given threshold."""
        attempts = np.bincount(self.genuine_subjects, minlength=self.trials.n_subjects)
        missed = self.genuine_subjects[self.genuine_scores < rates.threshold]
        return clustered_rate(np.bincount(missed, minlength=self.trials.n_subjects), attempts)

    def fnmr_at_fmr(self, rates: ErrorRates, *, fmr: float) -> PointBounds:
        """Estimate the FNMR at a threshold that was chosen for an FMR."""
        fixed = self.fnmr(rates)
        found = self._reestimated(fmr, self.replicates)
        if found.low is None or found.high is None:
            method = f"{fixed.method}; {FIXED_THRESHOLD}"
            return PointBounds(replace(fixed, method=method, reason=found.reason or fixed.reason), None, None)
        rate = replace(
            fixed,
            low=min(found.low, rates.fnmr),
            high=max(found.high, rates.fnmr),
            method=found.method,
            n_effective=found.n_effective,
            reason=found.reason,
        )
        assert found.threshold_low is not None
        assert found.threshold_high is not None
        low, high = min(found.threshold_low, rates.threshold), max(found.threshold_high, rates.threshold)
        return PointBounds(rate, low, high)

    def eer(self) -> EerInterval:
        """Estimate the equal error rate."""
        return eer_interval(
            self.genuine_scores,
            self.tail,
            genuine_subjects=self.genuine_subjects,
            impostor_subjects=(self.one, self.other),
            trials=self.trials,
            replicates=self.replicates,
            seed=self.seed,
        )

    def bands(self, targets: Sequence[float]) -> list[Band]:
        """Estimate bounds of the FNMR at each FMR."""
        return bands_at(targets, lambda fmr: self._reestimated(fmr, BAND_REPLICATES))

    def impostors(self) -> Impostors:
        """Return the impostor scores with who was compared with whom."""
        return self.tail, self.trials, (self.one, self.other)

    def _reestimated(self, fmr: float, replicates: int) -> FnmrAtFmrInterval:
        kept = tail_depth(self.tail, n=self.trials.n, fmr=fmr)
        return fnmr_at_fmr_interval(
            self.genuine_scores,
            self.genuine_subjects,
            (self.one[:kept], self.other[:kept], self.tail[:kept]),
            self.trials,
            fmr=fmr,
            replicates=max(replicates, 100),
            seed=self.seed,
        )


Uncertainty = Independent | BySubject
"""Rates with intervals, as an evaluation needs them; both kinds have the same methods."""


def uncertainty_of(
    scores: ScoreSet, genuine: SortedScores, impostor: SortedScores, *, replicates: int, seed: int
) -> Uncertainty:
    """Choose intervals by subject where both subjects of every comparison are named, else of independent comparisons.

    Args:
        scores: the score set.
        genuine, impostor: its scores, sorted.
        replicates: of the subject bootstrap.
        seed: of everything random.
    """
    if not scores.has_subjects:
        return Independent(genuine, impostor, seed, (NO_SUBJECTS,))
    is_genuine = scores.rows["is_genuine"].to_numpy()
    if ((scores.rows["subject_a"] == scores.rows["subject_b"]).to_numpy() & ~is_genuine).any():
        return Independent(genuine, impostor, seed, (CONTRADICTION,))
    codes, values = scores.subject_codes(), scores.rows["score"].to_numpy().astype(np.float64)
    order = np.flatnonzero(~is_genuine)[np.argsort(-values[~is_genuine], kind="stable")]
    trials = ListedTrials.of(codes.a[order], codes.b[order], n_subjects=len(codes.names))
    return BySubject(
        genuine=genuine,
        impostor=impostor,
        genuine_scores=values[is_genuine],
        genuine_subjects=codes.a[is_genuine],
        one=codes.a[order],
        other=codes.b[order],
        tail=values[order],
        trials=trials,
        replicates=replicates,
        seed=seed,
    )
