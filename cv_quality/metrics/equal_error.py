"""The interval of the equal error rate: by resampling subjects where they are known, else by resampling comparisons.

With subjects, replicate b weights them by w ~ Multinomial(S; 1/S, ..., 1/S), a genuine comparison by w_i and an
impostor one by w_i w_j, and finds the crossing anew. As products of weights overstate what one pair of subjects adds,
the replicate's FMR departs from the sample's by the share s of what its weights say: s = t sqrt(V) / (z sd(FMR_b)), at
most 1, at the threshold of the sample; V and the degrees of freedom of t are those of
`cv_quality.metrics.dyadic.pair_rate`. The bounds are logit(EER) +- t sd(logit EER_b), with genuine subjects - 1 degrees
of freedom. Where either class has fewer than 5 errors at the crossing the interval also reaches from 0 or the smaller
to the larger of the bounds of FMR and FNMR at that threshold.

The rate itself is `cv_quality.metrics.verification.eer`. FNMR at a fixed FMR, which a decision should rest on instead,
has its interval in `cv_quality.metrics.bootstrap`.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics import bootstrap_kernels as kernels
from cv_quality.metrics.bootstrap_kernels import Codes, Floats
from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.dyadic import pair_rate, pair_variance
from cv_quality.metrics.rates import (
    EXPECTED_ERRORS_NEEDED,
    LEVEL,
    UNKNOWN_SUBJECTS,
    Rate,
    binomial_rate,
    clustered_rate,
    percent,
    require_level,
)
from cv_quality.metrics.resampling import (
    REPLICATES,
    logit_bounds,
    require_replicates,
    scores_array,
    seeded,
    subject_weights,
)
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import ListedTrials, Trials, active_subjects, subjects_of
from cv_quality.metrics.verification import EqualErrorRate, eer

CELLS = 2_048
"""Thresholds around the crossing at which resampled comparisons are counted."""
WINDOW_SDS = 8.0


@dataclass(frozen=True, slots=True)
class EerInterval(Result):
    """The equal error rate with its interval.

    Attributes:
        value: (FMR + FNMR) / 2 on the better side of the crossing.
        low, high: two-sided bounds; None where the subjects are too few to show how uncertain it is.
        threshold: a threshold at the crossing.
        method: how the bounds were computed, with every assumed number.
        n_effective: independent trials that would give a rate of this value the same variance.
        n_genuine, n_impostor: comparisons of each class.
        n_subjects: subjects with a comparison; None where they are unknown.
        n_replicates, seed: of the bootstrap.
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
    n_replicates: int
    seed: int
    reason: str | None
    warning: str | None


def eer_interval(
    genuine_scores: ArrayLike,
    impostor_scores: ArrayLike,
    *,
    seed: int,
    genuine_subjects: ArrayLike | None = None,
    impostor_subjects: tuple[ArrayLike, ArrayLike] | None = None,
    trials: Trials | None = None,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> EerInterval:
    """Estimate the equal error rate with an interval over subjects; lower is better, shown but never gated on.

    Without subjects the comparisons of each class are resampled one by one and the method says that independence is
    assumed: with several comparisons of each subject such an interval is too narrow.

    Args:
        genuine_scores, impostor_scores: all of them, higher is more alike; shape (n,) and (m,).
        seed, replicates: of the weights; at least 100 replicates.
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
    >>> found = eer_interval(genuine, impostor, seed=2, genuine_subjects=people, impostor_subjects=(one, other))
    >>> f"{found.value:.3f} in {found.low:.3f} to {found.high:.3f}"
    '0.095 in 0.073 to 0.128'
    >>> eer_interval(genuine, impostor, seed=2).method.split(", ")[0]
    'bootstrap of comparisons'
    """
    require_level(level)
    require_replicates(replicates)
    genuine, impostor = scores_array(genuine_scores, "genuine"), scores_array(impostor_scores, "impostor")
    point = eer(genuine, impostor)
    if genuine_subjects is None and impostor_subjects is None:
        return _without_subjects(genuine, impostor, point, level=level, replicates=replicates, seed=seed)
    if genuine_subjects is None or impostor_subjects is None:
        raise MetricError("expected subjects of both classes or of neither: one alone would hide what they share")
    people = _People.of(genuine, genuine_subjects, impostor, impostor_subjects, trials)
    return _Subjects(people, point, replicates, seed).interval(level)


@dataclass(frozen=True, slots=True)
class _People:
    """Checked comparisons with subjects, highest score first; a genuine one has the same subject on both sides."""

    scores: Floats
    one: Codes
    other: Codes
    trials: Trials

    @classmethod
    def of(
        cls,
        genuine: Floats,
        genuine_subjects: ArrayLike,
        impostor: Floats,
        impostor_subjects: tuple[ArrayLike, ArrayLike],
        trials: Trials | None,
    ) -> "_People":
        n_subjects = None if trials is None else trials.n_subjects
        codes, one, other = subjects_of(genuine, genuine_subjects, impostor, impostor_subjects, n_subjects=n_subjects)
        if trials is None:
            size = int(max(codes.max(initial=-1), one.max(initial=-1), other.max(initial=-1))) + 1
            trials = ListedTrials.of(one, other, n_subjects=size)
        if trials.n != len(impostor):
            raise MetricError(f"expected the scores of all {trials.n} impostor comparisons, found {len(impostor)}")
        scores = np.concatenate([genuine, impostor])
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], np.concatenate([codes, one])[order], np.concatenate([codes, other])[order], trials)

    @property
    def is_genuine(self) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = self.one == self.other
        return same

    def attempts(self) -> Codes:
        return np.bincount(self.one[self.is_genuine], minlength=self.trials.n_subjects)

    def active(self) -> Codes:
        return active_subjects(self.attempts(), self.trials)


@dataclass(frozen=True, slots=True)
class _Subjects:
    people: _People
    point: EqualErrorRate
    replicates: int
    seed: int

    def interval(self, level: float) -> EerInterval:
        (fmr, fnmr), run = self._fixed_rates(level), (self.replicates, self.seed)
        genuine_subjects = int(np.count_nonzero(self.people.attempts()))
        n_subjects = len(self.people.active())
        if fmr.low is None or genuine_subjects < 2:
            reason = fmr.reason if fmr.low is None else "insufficient: 1 subject with a genuine comparison, 2 needed"
            return _result(self.point, None, None, None, n_subjects, run, reason)
        scale = self._scale(level)
        n = min(self.point.rates.n_genuine, self.point.rates.n_impostor)
        bounds, sd = logit_bounds(self.point.value, self._drawn(scale), n=n, subjects=genuine_subjects, level=level)
        method = (
            f"subject bootstrap, logit scale, {percent(level)}, {self.replicates} replicates, seed {self.seed}, "
            f"FMR deviations scaled by {scale:.2f} to the dyadic sandwich"
        )
        return _result(self.point, _widened(self.point, bounds, fmr, fnmr), method, sd, n_subjects, run, None)

    def _fixed_rates(self, level: float) -> tuple[Rate, Rate]:
        people, rates = self.people, self.point.rates
        is_genuine, is_accepted = people.is_genuine, people.scores >= rates.threshold
        matched = is_accepted & ~is_genuine
        missed = np.bincount(people.one[is_genuine & ~is_accepted], minlength=people.trials.n_subjects)
        fmr = pair_rate((people.one[matched], people.other[matched]), trials=people.trials, level=level)
        return fmr, clustered_rate(missed, people.attempts(), level=level)

    def _weights(self) -> Iterator[Floats]:
        people = self.people
        return subject_weights(people.active(), people.trials.n_subjects, replicates=self.replicates, seed=self.seed)

    def _scale(self, level: float) -> float:
        """How far a replicate's FMR may depart from the sample's, over how far its weights say it does."""
        from scipy import special

        people = self.people
        matched = (people.scores >= self.point.rates.threshold) & ~people.is_genuine
        one, other = people.one[matched], people.other[matched]
        variance = pair_variance((one, other), trials=people.trials)
        if variance is None:
            return 1.0
        weighted = compiled(kernels.weight_of_pairs)
        drawn = np.concatenate([weighted(w, one, other) / people.trials.weighted(w) for w in self._weights()])
        upper = (1 + level) / 2
        t = special.stdtrit(min(variance.df, 1e9), upper) / special.ndtri(upper)
        spread = float(np.nanstd(drawn))
        return min(1.0, float(t) * math.sqrt(variance.value) / spread) if spread > 0 else 1.0

    def _drawn(self, scale: float) -> Floats:
        people, attempts = self.people, self.people.attempts().astype(np.float64)
        is_last = np.append(people.scores[1:] < people.scores[:-1], True)
        events = (people.one, people.other, is_last)
        fmr = np.cumsum(~people.is_genuine) / people.trials.n
        crossings = compiled(kernels.crossings)
        parts = []
        for weights in self._weights():
            made, met = weights @ attempts, people.trials.weighted(weights)
            kept = (made > 0) & (met > 0)
            parts.append(crossings(weights[kept], made[kept], met[kept], events, fmr, scale))
        return np.concatenate(parts)


def _without_subjects(
    genuine: Floats, impostor: Floats, point: EqualErrorRate, *, level: float, replicates: int, seed: int
) -> EerInterval:
    rates = point.rates
    drawn = _drawn_comparisons(np.sort(genuine), np.sort(impostor), replicates=replicates, seed=seed)
    bounds, sd = logit_bounds(point.value, drawn, n=min(rates.n_genuine, rates.n_impostor), subjects=None, level=level)
    fmr = binomial_rate(rates.n_false_matches, rates.n_impostor, level=level)
    fnmr = binomial_rate(rates.n_false_non_matches, rates.n_genuine, level=level)
    run = f"{replicates} replicates, seed {seed}, {UNKNOWN_SUBJECTS}"
    method = f"bootstrap of comparisons, logit scale, {percent(level)}, {run}"
    return _result(point, _widened(point, bounds, fmr, fnmr), method, sd, None, (replicates, seed), None)


def _drawn_comparisons(genuine: Floats, impostor: Floats, *, replicates: int, seed: int) -> Floats:
    """The crossing of each replicate by multinomial counts between neighbouring thresholds; scores are ascending."""
    thresholds, rng = _thresholds(genuine, impostor), seeded(seed)
    below = []
    for scores in (genuine, impostor):
        edges = np.searchsorted(scores, thresholds, side="left")
        cells = np.diff(np.concatenate([[0], edges, [len(scores)]]))
        drawn = rng.multinomial(len(scores), cells / len(scores), size=replicates)
        below.append(np.cumsum(drawn, axis=1) / len(scores))
    fnmr, fmr = below[0], 1 - below[1]
    first = np.argmax(fnmr >= fmr - kernels.EQUAL, axis=1)
    rows, mean = np.arange(len(first)), (fnmr + fmr) / 2
    at, before = mean[rows, first], mean[rows, np.maximum(first - 1, 0)]
    is_exact = fnmr[rows, first] <= fmr[rows, first] + kernels.EQUAL
    crossings: Floats = np.where(is_exact, at, np.minimum(at, before))
    return crossings


def _thresholds(genuine: Floats, impostor: Floats) -> Floats:
    """Score values around the crossing, at most CELLS, evenly spread over those in reach of a replicate."""
    reach = WINDOW_SDS * math.sqrt(0.25 / len(genuine) + 0.25 / len(impostor))

    def gap(score: float) -> float:
        missed = np.searchsorted(genuine, score, side="left") / len(genuine)
        return float(missed - 1 + np.searchsorted(impostor, score, side="left") / len(impostor))

    candidates = np.unique(np.concatenate([genuine, impostor]))
    first, last = (bisect_left(candidates, side * reach, key=gap) for side in (-1, 1))
    within = candidates[max(first - 1, 0) : last + 1]
    return within[np.linspace(0, len(within) - 1, min(CELLS, len(within))).astype(np.int64)]


def _widened(point: EqualErrorRate, bounds: tuple[float, float], fmr: Rate, fnmr: Rate) -> tuple[float, float]:
    """With few errors of a class, also what the bounds of both rates at the sample's threshold allow."""
    if min(point.rates.n_false_matches, point.rates.n_false_non_matches) >= EXPECTED_ERRORS_NEEDED:
        return bounds
    fixed = [bound for rate in (fmr, fnmr) for bound in (rate.low, rate.high) if bound is not None]
    return min(bounds[0], *fixed), max(bounds[1], *fixed)


def _result(
    point: EqualErrorRate,
    bounds: tuple[float, float] | None,
    method: str | None,
    sd: float | None,
    n_subjects: int | None,
    run: tuple[int, int],
    reason: str | None,
) -> EerInterval:
    low, high = bounds or (None, None)
    rates, value = point.rates, point.value
    fewest = min(rates.n_false_matches, rates.n_false_non_matches)
    if reason is None and fewest < EXPECTED_ERRORS_NEEDED:
        reason = f"insufficient: {fewest} errors of one class at the crossing, {EXPECTED_ERRORS_NEEDED:g} needed"
    return EerInterval(
        value=value,
        low=low,
        high=high,
        threshold=rates.threshold,
        method=method,
        n_effective=1 / (value * (1 - value) * sd**2) if sd else None,
        n_genuine=rates.n_genuine,
        n_impostor=rates.n_impostor,
        n_subjects=n_subjects,
        n_replicates=run[0],
        seed=run[1],
        reason=reason,
        warning=point.warning,
    )
