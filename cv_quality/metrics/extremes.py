"""Extrapolation of the FMR below 1/N: the tail of the impostor scores, above what was compared.

A generalised Pareto distribution is fitted to the scores over a high threshold u (peaks over threshold; Coles, An
Introduction to Statistical Modeling of Extreme Values, 2001, chapter 4). What lies beyond the data is marked as
extrapolated, as ISO/IEC 5152 asks of estimates by statistical models. The likelihood is in `cv_quality.metrics.pareto`,
checks of the fit in `cv_quality.metrics.tail_checks`; `benchmarks/extremes.py` prints how often the intervals cover.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics import pareto
from cv_quality.metrics.rates import LEVEL, percent, require_level
from cv_quality.metrics.resampling import REPLICATES, require_replicates, scores_array, seeded, subject_weights
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import Trials, dyad_codes, require_different
from cv_quality.text import figures, told_apart

Floats = NDArray[np.float64]

EXCEEDANCES_NEEDED = 100
MOST_EXCEEDANCES = 500
"""By default: a tail is only nearly Pareto, and with more its bias outgrows the narrower interval."""
HIGHEST_SHARE = 1 / 400
"""By default at most this share of all comparisons is taken as the tail."""
MOST_TIED, MOST_AT_THE_TOP = 0.05, 0.01
STUDIED_REACH = 100.0
"""How many times beyond the comparisons made the coverage of the intervals was simulated."""
ROUNDED_ONE = 1 - 1e-9
USABLE_REPLICATES = 0.9
REPLICATES_AT_ONCE = 200
WELL_INSIDE = 2.0
"""The design effect is taken at least this far in the tail, in log FMR, as no replicate may put it before the tail."""


@dataclass(frozen=True, slots=True)
class Extrapolation(Result):
    """An FMR or a threshold from the fitted tail, with its interval; never a counted rate.

    Attributes:
        value: the estimate; None with a `reason`.
        low, high: two-sided bounds at `level`; None where the model gives none.
        method: how the bounds were computed.
        is_extrapolation: whether the answer is an FMR below 1/N, or a threshold above the highest score.
        note: what has to be read next to the number.
        reason: why there is no value.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str | None
    is_extrapolation: bool
    note: str
    reason: str | None = None


class Replicates(NamedTuple):
    """What each replicate of a bootstrap fitted; shape (replicates,)."""

    shape: Floats
    scale: Floats
    log_share: Floats


class Bootstraps(NamedTuple):
    """Replicates that weight each comparison by the product of two weights: of its two subjects, or drawn anew.

    Attributes:
        by_subject: w_i w_j with w ~ Multinomial(S; 1/S, ..., 1/S).
        by_dyad: w v with w, v ~ Poisson(1) for each two subjects, as if these were independent of all others.
        by_comparison: w v for each comparison, as if all were independent.
    """

    by_subject: Replicates
    by_dyad: Replicates
    by_comparison: Replicates


@dataclass(frozen=True, slots=True, eq=False)
class TailFit:
    """A generalised Pareto tail over `threshold`, or the reason why there is none.

    Nothing is fitted with fewer than 100 exceedances; where one score value holds more than 5 % of them, or the highest
    one more than 1 %, so that scores are discrete or clipped; where the threshold lies below the lowest listed score;
    and where the shape is at or below -0.5, where likelihood gives no interval.

    Attributes:
        threshold: u, in units of score.
        n: comparisons of different subjects in all.
        exceedances: scores strictly above u; their share of n is zeta.
        shape, scale: xi and sigma of highest likelihood; None with a `reason`.
        limit: the highest score that there can be, such as 1 for a cosine; None where there is none.
        reason: why nothing was fitted.
        freedom: degrees of freedom of the interval, (sum d)^2 / sum d^2 - 1 with d the exceedances of each subject;
            None where comparisons were taken to be independent.
        excesses: score - u, ascending, shape (exceedances,).
        bootstraps: None where comparisons were taken to be independent.
    """

    threshold: float
    n: int
    exceedances: int
    shape: float | None = None
    scale: float | None = None
    limit: float | None = None
    reason: str | None = None
    freedom: float | None = None
    excesses: Floats = field(default_factory=lambda: np.empty(0), repr=False)
    bootstraps: Bootstraps | None = field(default=None, repr=False)

    @property
    def end_point(self) -> float | None:
        """The score that the fitted tail never exceeds, u - sigma / xi; None where xi >= 0, which has none."""
        if self.shape is None or self.scale is None or self.shape >= 0:
            return None
        return self.threshold - self.scale / self.shape

    @property
    def shape_error(self) -> float | None:
        """Standard error of the shape, (1 + xi) sqrt(design effect / exceedances); None where nothing was fitted."""
        if self.shape is None:
            return None
        return (1 + self.shape) * math.sqrt(_design_effect(self, lambda drawn: drawn.shape) / self.exceedances)

    def fmr(self, threshold: float, *, level: float = LEVEL) -> Extrapolation:
        """Extrapolate FMR(t) = zeta (1 + xi (t - u) / sigma)^(-1/xi) at a threshold t above u, 0 to 1; lower is better.

        The bounds are the rates whose likelihood ratio, profiled over the other two parameters, is at most the squared
        t quantile times a design effect, (V_subject - 2/3 V_dyad) / (V_comparison / 3), at least 1. The V are variances
        of the log of t - u in the three bootstraps; a product of two weights counts the independent part three times.

        A threshold beyond the fitted end point has no value, only bounds: the 0 of the model is not a finding.

        Args:
            threshold: in units of score, above u.
            level: of the two-sided interval, in (0, 1).

        Raises:
            MetricError: the threshold is not finite, or the level lies outside (0, 1).
        """
        require_level(level)
        if not math.isfinite(threshold):
            raise MetricError(f"expected a finite threshold, found {threshold}")
        model = _Model.of(self)
        if model is None:
            return _refused(self, level, self.reason)
        excess = threshold - self.threshold
        if excess <= 0 or (self.limit is not None and threshold > self.limit):
            ends = "" if self.limit is None else f" and ends at {self.limit:g}"
            begins = f"which begins at {self.threshold:g}{ends}"
            return _refused(self, level, f"threshold {threshold:g} is not in the tail, {begins}")
        log_rate = model.log_rate(excess)
        bounds = _rate_bounds(self, model, log_rate, excess, level=level)
        value, reason = math.exp(log_rate) if log_rate > -math.inf else None, None
        if value is None:
            left = ": only bounds" if bounds[1] is not None else ", and beyond its upper bound: no answer"
            reason = f"the threshold lies beyond the fitted end point {figures(self.end_point or math.nan)}{left}"
        is_beyond = value is None or value * self.n < 1.0 or excess > self.excesses[-1]
        return _answer(self, value, bounds, level=level, rate=value or 0.0, is_beyond=is_beyond, reason=reason)

    def threshold_at(self, fmr: float, *, level: float = LEVEL) -> Extrapolation:
        """Extrapolate the threshold with FMR(t) = fmr, u + sigma ((zeta / fmr)^xi - 1) / xi; bounds as in `fmr`.

        Args:
            fmr: above 0, and below the share of comparisons that exceed u.
            level: of the two-sided interval, in (0, 1).

        Raises:
            MetricError: the target lies outside (0, 1], or the level outside (0, 1).
        """
        require_level(level)
        if not 0.0 < fmr <= 1.0:
            raise MetricError(f"expected an FMR target above 0 and at most 1, found {fmr}")
        model = _Model.of(self)
        if model is None:
            return _refused(self, level, self.reason)
        if math.log(fmr) >= model.log_share:
            begins = figures(self.exceedances / self.n)
            return _refused(self, level, f"FMR {fmr:g} is not in the tail, which begins at FMR {begins}: count it")
        excess = model.excess(math.log(fmr))
        bounds = _threshold_bounds(self, model, math.log(fmr), excess, level=level)
        value, reason = self.threshold + excess, None
        if self.limit is not None and value > self.limit:
            found, most = told_apart([value, self.limit])
            reason = f"the fitted threshold {found} lies above the highest possible score, {most}"
        is_beyond, answer = fmr * self.n < 1.0, None if reason else value
        return _answer(self, answer, bounds, level=level, rate=fmr, is_beyond=is_beyond, reason=reason)


def fit_tail(
    scores: ArrayLike,
    *,
    trials: Trials | int,
    subjects: tuple[ArrayLike, ArrayLike] | None = None,
    exceedances: int | None = None,
    threshold: float | None = None,
    limit: float | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> TailFit:
    """Fit the tail of the impostor scores by maximum likelihood, and once for each replicate of a subject bootstrap.

    Replicate b weights subjects by w ~ Multinomial(S; 1/S, ..., 1/S) and a pair by w_i w_j. Without `subjects`
    comparisons are taken to be independent. Where nothing can be fitted, `reason` says why (see `TailFit`).

    Args:
        scores: every score at or above some floor, higher means more alike, any order, shape (listed,).
        trials: comparisons of different subjects in all, listed or not; with `subjects`, who was compared with whom.
        subjects: codes of both subjects of each listed score, two of shape (listed,).
        exceedances: how many of the highest scores to use, fewer where fewer are listed or tie; by default n / 400 and
            at most 500.
        threshold, limit: u, instead of a number of exceedances; the highest score that there can be.
        replicates, seed: of the bootstrap.

    Raises:
        MetricError: a score is NaN or +inf, there are more scores than trials, `subjects` and `trials` do not fit, both
            `exceedances` and `threshold` are given, or fewer than 100 replicates are asked for.

    >>> scores = np.random.default_rng(7).normal(size=200_000)
    >>> tail = fit_tail(scores, trials=200_000)
    >>> answer = tail.threshold_at(1e-6)
    >>> round(answer.value, 2), round(answer.low, 2), round(answer.high, 2), answer.is_extrapolation
    (4.49, 4.27, 4.96, True)
    >>> fit_tail(scores[:500], trials=500).reason
    'insufficient: 1 exceedance, 100 needed'
    """
    listed = scores_array(scores, "impostor")
    n = int(trials) if isinstance(trials, int | np.integer) else trials.n
    if listed.size > n:
        raise MetricError(f"expected at most {n} scores, one per comparison, found {listed.size}")
    if infinite := np.count_nonzero(np.isposinf(listed)):
        raise MetricError(f"{infinite} of {listed.size} impostor scores are +inf: no tail reaches them")
    dyads, floor = _dyads(subjects, trials, listed.size), float(listed.min()) if 0 < listed.size < n else -math.inf
    start = _threshold(listed, n, exceedances=exceedances, threshold=threshold)
    above = np.flatnonzero(listed > start)
    above = above[np.argsort(listed[above], kind="stable")]
    tail = TailFit(start, n, above.size, limit=limit, excesses=listed[above] - start)
    reason = _unfit(listed[above], start=start, floor=floor, limit=limit)
    if reason is not None:
        return replace(tail, reason=reason)
    best = pareto.fit(tail.excesses)
    if not best.shape[0] > pareto.LOWEST_SHAPE:
        return replace(tail, reason=f"no regular maximum: the shape is at or below {pareto.LOWEST_SHAPE:g}")
    tail = replace(tail, shape=float(best.shape[0]), scale=float(best.scale[0]))
    if dyads is None:
        return tail
    require_replicates(replicates)
    of_tail = _Dyads(dyads.one[above], dyads.other[above], dyads.trials)
    return _bootstrapped(tail, of_tail, replicates=replicates, seed=seed)


def default_exceedances(n: int) -> int:
    """Count the exceedances that a fit takes unless it is told: n / 400, and at most 500.

    >>> default_exceedances(100_000), default_exceedances(10_000_000)
    (250, 500)
    """
    return min(MOST_EXCEEDANCES, int(n * HIGHEST_SHARE))


class _Dyads(NamedTuple):
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    trials: Trials


class _Model(NamedTuple):
    shape: float
    scale: float
    log_share: float

    @classmethod
    def of(cls, tail: TailFit) -> "_Model | None":
        if tail.shape is None or tail.scale is None:
            return None
        return cls(tail.shape, tail.scale, math.log(tail.exceedances / tail.n))

    def log_rate(self, excess: float) -> float:
        return self.log_share + float(pareto.log_survival(np.array([excess]), shape=self.shape, scale=self.scale)[0])

    def excess(self, log_rate: float) -> float:
        return float(pareto.excess_at(log_rate - self.log_share, shape=self.shape, scale=self.scale))


def _dyads(subjects: tuple[ArrayLike, ArrayLike] | None, trials: Trials | int, listed: int) -> _Dyads | None:
    if isinstance(trials, int | np.integer):
        if subjects is None:
            return None
        raise MetricError(f"the subjects of the scores need Trials, who was compared with whom; found {trials} trials")
    if subjects is None:
        raise MetricError("Trials without the subjects of the scores: give both, or the number of comparisons alone")
    one, other = dyad_codes(*subjects, n_subjects=trials.n_subjects)
    if one.size != listed:
        raise MetricError(f"expected the subjects of {listed} scores, found {one.size}")
    require_different(one, other)
    return _Dyads(one, other, trials)


def _threshold(listed: Floats, n: int, *, exceedances: int | None, threshold: float | None) -> float:
    """The score over which the tail lies: the next below the exceedances that are asked for."""
    if threshold is not None:
        if exceedances is not None or not math.isfinite(threshold):
            raise MetricError(
                f"expected a finite threshold or a number of exceedances, found {threshold}, {exceedances}"
            )
        return threshold
    if exceedances is not None and exceedances < 1:
        raise MetricError(f"expected at least 1 exceedance, found {exceedances}")
    wanted = exceedances if exceedances is not None else default_exceedances(n)
    at = min(wanted, listed.size - 1)
    return float(np.partition(listed, listed.size - 1 - at)[listed.size - 1 - at]) if listed.size else math.inf


def _unfit(above: Floats, *, start: float, floor: float, limit: float | None) -> str | None:
    """Why no tail may be fitted to these ascending exceedances, or None."""
    if start == -math.inf:
        return "the tail would begin at a score of -inf, which no enrolment reached"
    if start < floor:
        return f"the threshold {start:g} lies below {floor:g}, the lowest score that is listed"
    if above.size < EXCEEDANCES_NEEDED:
        plural = "" if above.size == 1 else "s"
        return f"insufficient: {above.size} exceedance{plural}, {EXCEEDANCES_NEEDED} needed"
    if limit is not None and above[-1] > limit:
        found, most = told_apart([float(above[-1]), limit])
        return f"the highest score {found} lies above the highest possible score, {most}"
    _, counts = np.unique(above, return_counts=True)
    if counts.max() > MOST_TIED * above.size:
        return f"discrete scores: {counts.max()} of {above.size} exceedances are equal"
    if counts[-1] > max(2, MOST_AT_THE_TOP * above.size):
        return f"clipped scores: {counts[-1]} of {above.size} exceedances equal the highest"
    return None


def _bootstrapped(tail: TailFit, dyads: _Dyads, *, replicates: int, seed: int) -> TailFit:
    active, n_subjects = np.flatnonzero(dyads.trials.per_subject()), dyads.trials.n_subjects
    draws = subject_weights(active, n_subjects, replicates=replicates, seed=seed)
    blocks = (rows[at : at + REPLICATES_AT_ONCE] for rows in draws for at in range(0, len(rows), REPLICATES_AT_ONCE))
    of_subjects = _refitted(tail, ((w[:, dyads.one] * w[:, dyads.other], dyads.trials.weighted(w)) for w in blocks))
    if of_subjects.shape.size < USABLE_REPLICATES * replicates:
        reason = f"only {of_subjects.shape.size} of {replicates} bootstrap replicates have a regular maximum"
        return replace(tail, shape=None, scale=None, reason=reason)
    rng, single = seeded(seed), np.arange(tail.exceedances)
    _, codes = np.unique(np.sort([dyads.one, dyads.other], axis=0), axis=1, return_inverse=True)
    of_comparisons = of_dyads = _refitted(tail, _code_weights(single, tail.n, rng, replicates))
    if codes.max() + 1 < single.size:
        of_dyads = _refitted(tail, _code_weights(codes, tail.n, rng, replicates))
    own = np.bincount(np.concatenate([dyads.one, dyads.other])).astype(np.float64)
    freedom = float(own.sum() ** 2 / np.square(own).sum() - 1)
    return replace(tail, bootstraps=Bootstraps(of_subjects, of_dyads, of_comparisons), freedom=freedom)


def _code_weights(
    codes: NDArray[np.int64], n: int, rng: np.random.Generator, replicates: int
) -> Iterator[tuple[Floats, Floats]]:
    """Weights of the exceedances and of all comparisons, with two weights for each code drawn anew."""
    for start in range(0, replicates, REPLICATES_AT_ONCE):
        rows = min(REPLICATES_AT_ONCE, replicates - start)
        drawn = rng.poisson(size=(2, rows, codes.max() + 1)).astype(np.float64)
        yield (drawn[0] * drawn[1])[:, codes], np.full(rows, float(n))


def _refitted(tail: TailFit, draws: Iterator[tuple[Floats, Floats]]) -> Replicates:
    near, parts = (tail.shape or 0.0) / (tail.scale or 1.0), []
    for weights, trials in draws:
        best = pareto.fit(tail.excesses, weights, near=near)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(np.stack([*best, np.log(weights.sum(axis=1) / trials)]))
    drawn = np.concatenate(parts, axis=1)
    return Replicates(*drawn[:, np.isfinite(drawn).all(axis=0)])


def _threshold_bounds(
    tail: TailFit, model: _Model, log_rate: float, excess: float, *, level: float
) -> tuple[float | None, float | None]:
    """The thresholds nearest to the fitted one whose likelihood ratio reaches the cutoff."""
    profile, at = _profile(tail, model, log_rate, level=level), math.log(excess)

    def lost(log_excess: float) -> float:
        return profile.ratio(log_rate=log_rate, excess=math.exp(log_excess)) - profile.cutoff

    low, high = (_crossing(lost, at, farthest=at + side * pareto.FARTHEST) for side in (-1, 1))
    low = tail.threshold + (math.exp(low) if low is not None else 0.0)
    high = tail.threshold + math.exp(high) if high is not None else math.inf
    high = high if tail.limit is None else min(high, tail.limit)
    return low, high if math.isfinite(high) else None


def _rate_bounds(
    tail: TailFit, model: _Model, log_rate: float, excess: float, *, level: float
) -> tuple[float | None, float | None]:
    """The rates nearest to the fitted one whose likelihood ratio reaches the cutoff; 0 where no lower one does."""
    profile = _profile(tail, model, log_rate, level=level)

    def lost(at: float) -> float:
        return profile.ratio(log_rate=at, excess=excess) - profile.cutoff

    at = log_rate
    if log_rate == -math.inf:
        tried = model.log_share - np.geomspace(0.1, pareto.FARTHEST, 60)
        at = next((float(rate) for rate in tried if lost(float(rate)) <= 0), -math.inf)
        if at == -math.inf:
            return 0.0, None
    high = _crossing(lost, at, farthest=model.log_share + 1.0)
    low = _crossing(lost, log_rate, farthest=model.log_share - pareto.FARTHEST) if math.isfinite(log_rate) else None
    return math.exp(low) if low is not None else 0.0, math.exp(high) if high is not None else None


def _crossing(lost: Callable[[float], float], start: float, *, farthest: float) -> float | None:
    """Where `lost` first exceeds 0, going from `start` towards `farthest` in growing steps; None when it never does."""
    from scipy.optimize import brentq

    near, width = start, 0.05
    while near != farthest:
        is_last = abs(farthest - near) <= width
        far = farthest if is_last else near + math.copysign(width, farthest - near)
        if lost(far) > 0:
            return float(brentq(lost, near, far, xtol=1e-7))
        near, width = far, width * 1.6
    return None


def _profile(tail: TailFit, model: _Model, log_rate: float, *, level: float) -> pareto.Profile:
    from scipy import special

    upper = (1 + level) / 2
    quantile = special.ndtri(upper) if tail.freedom is None else special.stdtrit(tail.freedom, upper)
    log_rate = min(max(log_rate, -math.log(tail.n * STUDIED_REACH)), model.log_share - WELL_INSIDE)

    def log_excess(drawn: Replicates) -> Floats:
        return np.log(pareto.excess_at(log_rate - drawn.log_share, shape=drawn.shape, scale=drawn.scale))

    best = pareto.Maximum(np.array([model.shape]), np.array([model.scale]))
    cutoff = float(quantile) ** 2 * _design_effect(tail, log_excess)
    return pareto.Profile.of(tail.excesses, best, n=tail.n, cutoff=cutoff)


def _design_effect(tail: TailFit, quantity: Callable[[Replicates], Floats]) -> float:
    """Variance of a quantity by subject over that of independent comparisons, at least 1.

    A product of two weights of variance 1 has variance (1 + 1)(1 + 1) - 1 = 3. What one subject brings to its pairs
    counts once, and what two subjects share three times, where once is wanted. All three variances are drawn alike, so
    that what bends a quantity bends them all.
    """
    if tail.bootstraps is None:
        return 1.0
    with np.errstate(invalid="ignore"):
        subject, dyad, comparison = (float(np.nanvar(quantity(drawn))) for drawn in tail.bootstraps)
    return max((subject - dyad * 2 / 3) / (comparison / 3), 1.0)


def _answer(
    tail: TailFit,
    value: float | None,
    bounds: tuple[float | None, float | None],
    *,
    level: float,
    rate: float,
    is_beyond: bool,
    reason: str | None,
) -> Extrapolation:
    where = "extrapolated beyond" if is_beyond else "within"
    start = figures(tail.threshold)
    note = f"{where} {tail.n} comparisons by a Pareto tail over {start}, {tail.exceedances} exceedances"
    if rate * tail.n * STUDIED_REACH < ROUNDED_ONE:
        note += f"; more than {STUDIED_REACH:g} times beyond the data, further than coverage was studied"
    clustered = "independent comparisons assumed"
    if tail.bootstraps is not None:
        clustered = f"widened by a bootstrap by subject, {tail.bootstraps.by_subject.shape.size} replicates"
    return Extrapolation(
        value, *bounds, level, f"profile likelihood, {percent(level)}, {clustered}", is_beyond, note, reason
    )


def _refused(tail: TailFit, level: float, reason: str | None) -> Extrapolation:
    note = f"no answer from {tail.n} comparisons"
    return Extrapolation(None, None, None, level, None, False, note, reason)
