"""The subject bootstrap: FNMR at a fixed FMR with its threshold found anew in every replicate, and pair rates.

Replicate b draws subject weights w ~ Multinomial(S; 1/S, ..., 1/S); a comparison of two subjects counts w_i w_j times,
and only the highest impostor scores are needed. The threshold of a replicate is passed where the descending sum of
w_i w_j over the impostor tail exceeds fmr sum_{i<j} w_i w_j m_ij; r_b is the number of impostor comparisons above it,
against r in the sample. Products of weights overstate what one pair of subjects adds, so log(r_b / r) is scaled until
its standard deviation is t sqrt(V) / (z p), with V and the degrees of freedom of t those of
`cv_quality.metrics.dyadic.pair_rate` at the threshold (never above its own). FNMR_b = sum w_i m_i(t_b) / sum w_i n_i at
the threshold t_b so scaled. The bounds lie midway, on the logit scale, between logit(FNMR) +- t sd(logit FNMR_b), with
genuine subjects - 1 degrees of freedom, and the bias-corrected percentiles of FNMR_b; those of the threshold accept
r exp(+- t sqrt(V) / p) impostor comparisons. With fewer than 5 genuine comparisons on one side of the threshold the
interval also holds that of `cv_quality.metrics.rates.clustered_rate`.

The equal error rate is in `cv_quality.metrics.equal_error`; where subjects are unknown, see
`cv_quality.metrics.independent`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from cv_quality.errors import MetricError
from cv_quality.metrics import bootstrap_kernels as kernels
from cv_quality.metrics.bootstrap_kernels import Codes, Floats
from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.dyadic import Errors, PairVariance, pair_rate, pair_variance
from cv_quality.metrics.rates import EXPECTED_ERRORS_NEEDED, LEVEL, Rate, clustered_rate, percent, require_level
from cv_quality.metrics.resampling import REPLICATES, logit_bounds, require_replicates, scores_array, subject_weights
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import Trials, active_subjects, dyad_codes, subjects_of
from cv_quality.metrics.verification import ErrorRates, FnmrAtFmr, ScoreTail, allowed_false_matches, fnmr_at_fmr

ScoredPairs = tuple[ArrayLike, ArrayLike, ArrayLike]

DEPTH = 50
"""No replicate asks for impostor scores below this many times the FMR."""


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
        n_effective: independent genuine comparisons at a known threshold that would give the same variance.
        n_subjects: subjects with a genuine comparison.
        n_replicates, seed: of the bootstrap.
        n_exhausted: replicates whose threshold lies below the listed tail; their share is at most half of 1 - level.
        reason: why a value or a bound is missing, or "insufficient: ..." when there is too little data to rank it.
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
    n_replicates: int
    n_exhausted: int = 0
    seed: int
    reason: str | None


def fnmr_at_fmr_interval(
    genuine_scores: ArrayLike,
    genuine_subjects: ArrayLike,
    tail: ScoredPairs,
    trials: Trials,
    *,
    fmr: float,
    seed: int,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> FnmrAtFmrInterval:
    """Estimate the FNMR at the smallest threshold with an FMR of at most `fmr`, re-estimated in every replicate.

    A replicate whose threshold lies below the tail counts as lying at its end: harmless while they are fewer than half
    of 1 - level; with more there are no bounds.

    Args:
        genuine_scores, genuine_subjects: higher is more alike; subject codes; shape (n,).
        tail: the two subject codes and the score of the highest impostor comparisons, shape (k,) each, in any order.
            Every comparison at or above the lowest score must be listed; down to an FMR of 50 fmr is enough.
        trials: who was compared with whom, over all impostor comparisons, listed or not.
        fmr, level: the highest FMR allowed, above 0 and at most 1; of the two-sided interval, between 0 and 1.
        seed, replicates: of the weights; at least 100 replicates.

    Raises:
        MetricError: shapes, codes, scores or ranges are wrong, more pairs are listed than were compared, or the tail
            ends above the threshold of the sample.

    Source: ISO/IEC 19795-1 for the rates; Bolle, Ratha and Pankanti, CVIU 93 (2004), for resampling subjects.

    >>> from cv_quality.metrics.trials import CrossTrials
    >>> rng = np.random.default_rng(1)
    >>> (one, other), everyone = np.triu_indices(60, 1), CrossTrials.all_pairs(np.ones(60, int))
    >>> tail, genuine = (one, other, rng.normal(0, 1, len(one))), rng.normal(4, 1, 300)
    >>> found = fnmr_at_fmr_interval(genuine, np.arange(300) % 60, tail, everyone, fmr=0.01, seed=2)
    >>> f"{found.value:.3f} in {found.low:.3f} to {found.high:.3f} at {found.threshold:.2f}"
    '0.017 in 0.003 to 0.052 at 2.40'
    """
    require_level(level)
    if not 0 < fmr <= 1:
        raise MetricError(f"an interval needs an FMR target above 0 and at most 1, found {fmr}")
    require_replicates(replicates)
    sample = _Sample.of(genuine_scores, genuine_subjects, tail, trials)
    point = fnmr_at_fmr(sample.genuine, ScoreTail(sample.tail[::-1], trials.n), fmr=fmr)
    unbounded = _unbounded(sample, point, replicates, seed)
    if point.rates is None:
        return unbounded
    matches = point.rates.n_false_matches
    variance = pair_variance((sample.one[:matches], sample.other[:matches]), trials=trials)
    reason = None
    if sample.n_genuine_subjects < 2:
        reason = f"{sample.n_genuine_subjects} subject with a genuine comparison, 2 needed"
    elif variance is None and matches in (0, trials.n):
        reason = f"{matches} of {trials.n} impostor comparisons lie at or above the threshold"
    elif variance is None:
        reason = "one subject takes part in every impostor comparison"
    if reason is not None or variance is None:
        return replace(unbounded, reason=f"insufficient: {reason}")
    found = _Found(sample, fmr, point.rates, replicates, seed)
    return _bounded(unbounded, found, _ranks(found, variance, matches, level), level)


def tail_depth(scores: Floats, *, n: int, fmr: float) -> int:
    """Count the highest impostor scores that `fnmr_at_fmr_interval` needs, down to an FMR of 50 fmr, ties together.

    Args:
        scores: highest first, shape (k,); all of them count where there are fewer.
        n: impostor comparisons in all.

    >>> tail_depth(np.linspace(1, 0, 1_000), n=1_000, fmr=0.001)
    100
    """
    wanted = DEPTH * (allowed_false_matches(n, fmr=fmr) + 1)
    if wanted >= len(scores):
        return len(scores)
    return int(np.searchsorted(-scores, -scores[wanted - 1], side="right"))


def pair_rate_bootstrap(
    errors: Errors, *, trials: Trials, seed: int, replicates: int = REPLICATES, level: float = LEVEL
) -> Rate:
    """Estimate the rate of `pair_rate` with the variance from a subject bootstrap; lower is better.

    V = max(V_boot - 2 V_dyads, V_dyads), with V_boot the variance of sum w_i w_j y_ij / sum w_i w_j m_ij over
    replicates of subject weights, and V_dyads that of independent dyads, p / N for rare errors of single comparisons.
    A check on the sandwich, which needs no replicate: they agree where both are sound.

    Args:
        errors: the two subject codes of every erring comparison, one entry each, shape (k,) and (k,).
        trials: who was compared with whom.
        seed, replicates: of the weights; at least 100 replicates.
        level: confidence of the two-sided interval, between 0 and 1.

    Raises:
        MetricError: as `pair_rate`, or fewer than 100 replicates.

    >>> from cv_quality.metrics.trials import CrossTrials
    >>> everyone = CrossTrials.all_pairs([1] * 200)
    >>> rate = pair_rate_bootstrap(([0, 0, 1, 5, 8, 9], [1, 7, 2, 6, 9, 10]), trials=everyone, seed=3)
    >>> f"{rate.value:.1e} in {rate.low:.1e} to {rate.high:.1e}"
    '3.0e-04 in 9.1e-05 to 1.0e-03'
    """
    from scipy import special

    require_replicates(replicates)
    rate = pair_rate(errors, trials=trials, level=level)
    variance = pair_variance(errors, trials=trials)
    if variance is None:
        return rate
    one, other = dyad_codes(*errors, n_subjects=trials.n_subjects)
    active = np.flatnonzero(trials.per_subject())
    weighted = compiled(kernels.weight_of_pairs)
    parts = [
        weighted(w, one, other) / trials.weighted(w)
        for w in subject_weights(active, trials.n_subjects, replicates=replicates, seed=seed)
    ]
    value = max(float(np.nanvar(np.concatenate(parts))) - 2 * variance.of_dyads, variance.of_dyads)
    p, t = variance.rate, special.stdtrit(min(variance.df, 1e9), (1 + level) / 2)
    centre, half = special.logit(p), t * math.sqrt(value) / (p * (1 - p))
    run = f"{replicates} replicates, seed {seed}"
    return replace(
        rate,
        low=float(special.expit(centre - half)),
        high=float(special.expit(centre + half)),
        method=f"corrected two-level subject bootstrap, logit scale, {percent(level)}, {run}",
        n_effective=p * (1 - p) / value,
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    """Checked input. Genuine ascending with subjects; tail descending with both subjects."""

    genuine: Floats
    codes: Codes
    tail: Floats
    one: Codes
    other: Codes
    trials: Trials

    @classmethod
    def of(cls, scores: ArrayLike, subjects: ArrayLike, tail: ScoredPairs, trials: Trials) -> "_Sample":
        genuine = scores_array(scores, "genuine")
        listed = scores_array(tail[2], "impostor")
        codes, one, other = subjects_of(genuine, subjects, listed, tail[:2], n_subjects=trials.n_subjects)
        up, down = np.argsort(genuine, kind="stable"), np.argsort(-listed, kind="stable")
        return cls(genuine[up], codes[up], listed[down], one[down], other[down], trials)

    @property
    def is_complete(self) -> bool:
        return len(self.tail) == self.trials.n

    @property
    def n_genuine_subjects(self) -> int:
        return int(np.count_nonzero(self.attempts()))

    def attempts(self) -> Codes:
        return np.bincount(self.codes, minlength=self.trials.n_subjects)


@dataclass(frozen=True, slots=True)
class _Found:
    sample: _Sample
    fmr: float
    rates: ErrorRates
    replicates: int
    seed: int

    def weights(self) -> Iterator[Floats]:
        active, trials = active_subjects(self.sample.attempts(), self.sample.trials), self.sample.trials
        return subject_weights(active, trials.n_subjects, replicates=self.replicates, seed=self.seed)


def _unbounded(sample: _Sample, point: FnmrAtFmr, replicates: int, seed: int) -> FnmrAtFmrInterval:
    rates = point.rates
    return FnmrAtFmrInterval(
        fmr_target=point.fmr_target,
        value=rates.fnmr if rates else None,
        numerator=rates.n_false_non_matches if rates else None,
        denominator=len(sample.genuine),
        threshold=rates.threshold if rates else None,
        n_subjects=sample.n_genuine_subjects,
        n_replicates=replicates,
        seed=seed,
        reason=point.reason,
    )


@dataclass(frozen=True, slots=True)
class _Ranks:
    """How many impostor comparisons lie at or above each replicate's threshold, and by how much that was scaled.

    Attributes:
        bounds: as many at or above the highest and the lowest threshold that the sandwich allows.
    """

    accepted: Codes
    bounds: tuple[int, int]
    scale: float
    n_exhausted: int


def _ranks(found: _Found, variance: PairVariance, matches: int, level: float) -> _Ranks:
    from scipy import special

    sample, trials = found.sample, found.sample.trials
    blocked_at = compiled(kernels.blocked_at)
    parts = [blocked_at(w, found.fmr * trials.weighted(w), sample.one, sample.other) for w in found.weights()]
    blocked = np.concatenate(parts)
    is_past = blocked == len(sample.tail)
    first_equal = np.append(np.searchsorted(-sample.tail, -sample.tail, side="left"), len(sample.tail))
    moved = np.log((first_equal[blocked] + 0.5) / (matches + 0.5))
    spread = float(moved.std())
    t = float(special.stdtrit(min(variance.df, 1e9), (1 + level) / 2))
    half = t * math.sqrt(variance.value) / variance.rate
    scale = min(1.0, half / float(special.ndtri((1 + level) / 2)) / spread) if spread > 0 else 1.0
    highest = len(sample.tail) - (0 if sample.is_complete else 1)
    accepted = np.rint((matches + 0.5) * np.exp(scale * moved) - 0.5).astype(np.int64).clip(0, highest)
    fewest, most = ((matches + 0.5) * math.exp(sign * half) - 0.5 for sign in (-1, 1))
    return _Ranks(
        accepted, (max(math.floor(fewest), 0), math.ceil(most)), scale, 0 if sample.is_complete else int(is_past.sum())
    )


def _bounded(unbounded: FnmrAtFmrInterval, found: _Found, ranks: _Ranks, level: float) -> FnmrAtFmrInterval:
    sample, rates = found.sample, found.rates
    if ranks.n_exhausted > (1 - level) / 2 * found.replicates:
        reason = (
            f"insufficient: the tail ends at FMR {len(sample.tail) / sample.trials.n:.3g}, and {ranks.n_exhausted} of "
            f"{found.replicates} replicates need lower scores: list the pairs down to FMR {50 * found.fmr:.3g}"
        )
        return replace(unbounded, n_exhausted=ranks.n_exhausted, reason=reason)
    blocked = np.append(sample.tail, -np.inf)[ranks.accepted]
    counts = np.searchsorted(sample.genuine, blocked, side="right")
    fnmr = _weighted_fnmr(found, counts)
    bounds, sd = logit_bounds(
        rates.fnmr, fnmr, n=rates.n_genuine, subjects=sample.n_genuine_subjects, level=level, is_balanced=True
    )
    n_effective = min(float(rates.n_genuine), 1 / (rates.fnmr * (1 - rates.fnmr) * sd**2)) if sd > 0 else None
    if min(rates.n_false_non_matches, rates.n_genuine - rates.n_false_non_matches) < EXPECTED_ERRORS_NEEDED:
        attempts = sample.attempts()
        missed = np.bincount(sample.codes[: rates.n_false_non_matches], minlength=len(attempts))
        fixed = clustered_rate(missed, attempts, level=level)
        assert fixed.low is not None
        assert fixed.high is not None
        bounds = min(bounds[0], fixed.low), max(bounds[1], fixed.high)
        n_effective = fixed.n_effective if n_effective is None else n_effective
    method = (
        f"subject bootstrap, threshold re-estimated, balanced logit scale, {percent(level)}, "
        f"{found.replicates} replicates, seed {found.seed}, threshold ranks scaled by {ranks.scale:.2f} to the dyadic "
        "sandwich"
    )
    exhausted = f", {ranks.n_exhausted} of them taken to end with the tail" if ranks.n_exhausted else ""
    most = min(ranks.bounds[1], sample.trials.n)
    lowest = _threshold(sample, most) if most < len(sample.tail) or sample.is_complete else -math.inf
    return replace(
        unbounded,
        low=bounds[0],
        high=bounds[1],
        threshold_low=lowest,
        threshold_high=_threshold(sample, ranks.bounds[0]),
        method=method + exhausted,
        n_effective=n_effective,
        n_exhausted=ranks.n_exhausted,
        reason=_shortage(found),
    )


def _weighted_fnmr(found: _Found, counts: Codes) -> Floats:
    sample, start, parts = found.sample, 0, []
    attempts = sample.attempts().astype(np.float64)
    weight_of_first = compiled(kernels.weight_of_first)
    for weights in found.weights():
        missed = weight_of_first(weights, sample.codes, counts[start : start + len(weights)])
        made = weights @ attempts
        parts.append(missed[made > 0] / made[made > 0])
        start += len(weights)
    return np.concatenate(parts)


def _threshold(sample: _Sample, accepted: int) -> float:
    """The lowest score above the first impostor score that is too many, if only `accepted` may match."""
    first = int(np.searchsorted(-sample.tail, -sample.tail[accepted])) if accepted < len(sample.tail) else accepted
    blocked = sample.tail[accepted] if accepted < len(sample.tail) else -np.inf
    above = int(np.searchsorted(sample.genuine, blocked, side="right"))
    lowest_genuine = sample.genuine[above] if above < len(sample.genuine) else np.inf
    return float(min(sample.tail[first - 1] if first else np.inf, lowest_genuine))


def _shortage(found: _Found) -> str | None:
    matches, misses = found.fmr * found.rates.n_impostor, found.rates.n_false_non_matches
    for name, expected in (("false matches", matches), ("false non-matches", misses)):
        if expected < EXPECTED_ERRORS_NEEDED:
            return f"insufficient: {expected:.3g} {name} expected, {EXPECTED_ERRORS_NEEDED:g} needed"
    return None
