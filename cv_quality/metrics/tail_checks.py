"""Checks of a fitted tail: stability over thresholds, goodness of fit and quantiles, before a rate is extrapolated.

A tail that is Pareto over u is Pareto with the same shape over every higher threshold: `stability` shows it and `judge`
tests it. `goodness_of_fit` and `quantiles` hold the fit against the scores it was made from. Rows come as frozen
dataclasses, one per point, ready for Altair; the fit itself is in `cv_quality.metrics.extremes`.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics import pareto
from cv_quality.metrics.extremes import EXCEEDANCES_NEEDED, Extrapolation, TailFit, default_exceedances, fit_tail
from cv_quality.metrics.resampling import scores_array, seeded
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import Trials
from cv_quality.text import figures, told_apart

Floats = NDArray[np.float64]

POINTS = 10
WIDEST = 4
"""A stability plot reaches down to this many times the exceedances that a fit takes by default."""
SIGNIFICANCE = 0.05
POINTS_NEEDED = 3


@dataclass(frozen=True, slots=True)
class StabilityPoint(Result):
    """What the tail over one threshold says.

    Attributes:
        exceedances, threshold: k and u.
        shape, shape_error: xi and its standard error; None with a `reason`.
        modified_scale: sigma - xi u, constant over thresholds where the tail is Pareto.
        extrapolated: the threshold at the FMR that was asked for.
        reason: why nothing was fitted.
    """

    exceedances: int
    threshold: float
    shape: float | None
    shape_error: float | None
    modified_scale: float | None
    extrapolated: Extrapolation
    reason: str | None


@dataclass(frozen=True, slots=True)
class GoodnessOfFit(Result):
    """How far the excesses are from the fitted distribution.

    Attributes:
        statistic: Anderson and Darling's A^2, lower is better; None with a `reason`.
        p_value: share of samples from the fitted distribution, each fitted anew, with a larger A^2.
    """

    statistic: float | None
    p_value: float | None
    method: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class QuantilePoint(Result):
    """One excess against the fitted tail.

    Attributes:
        rate: the expected FMR at the score with this rank, (rank - 1/2) / n.
        observed: the score.
        fitted: the threshold that the fit gives for `rate`.
    """

    rate: float
    observed: float
    fitted: float


@dataclass(frozen=True, slots=True)
class Judgement(Result):
    """Whether a fit is stable, by the stated rule.

    Attributes:
        is_stable: None where it cannot be said.
        reasons: what speaks against it, or why it cannot be said.
    """

    is_stable: bool | None
    reasons: tuple[str, ...]


def stability(
    scores: ArrayLike,
    *,
    trials: Trials | int,
    fmr: float,
    subjects: tuple[ArrayLike, ArrayLike] | None = None,
    counts: ArrayLike | None = None,
    limit: float | None = None,
    replicates: int = 200,
    seed: int = 0,
) -> tuple[StabilityPoint, ...]:
    """Fit the tail and extrapolate to `fmr` for several numbers of exceedances, ascending: a stability plot.

    Args:
        scores, trials, subjects, limit, seed: as for `fit_tail`.
        fmr: the target whose threshold is extrapolated.
        counts: numbers of exceedances; by default ten from 100 to four times what a fit takes, evenly spaced in log.
        replicates: of the bootstrap at each point.

    Raises:
        MetricError: as `fit_tail`, or a count is not above 0.

    >>> scores = np.random.default_rng(7).normal(size=200_000)
    >>> points = stability(scores, trials=200_000, fmr=1e-6, counts=[250, 500, 1_000])
    >>> [(point.exceedances, round(point.shape, 2), round(point.extrapolated.value, 2)) for point in points]
    [(250, -0.13, 4.45), (500, -0.11, 4.49), (1000, -0.11, 4.48)]
    """
    listed = scores_array(scores, "impostor")
    if counts is None:
        n = int(trials) if isinstance(trials, int | np.integer) else trials.n
        top = max(min(listed.size - 1, WIDEST * default_exceedances(n)), 1)
        counts = np.geomspace(min(EXCEEDANCES_NEEDED, top), top, POINTS).round()
    asked = np.unique(np.asarray(counts, dtype=np.int64))
    if asked.size and asked[0] < 1:
        raise MetricError(f"expected numbers of exceedances above 0, found {asked[0]}")
    fit = partial(fit_tail, listed, trials=trials, subjects=subjects, limit=limit, replicates=replicates, seed=seed)
    points = []
    for tail in (fit(exceedances=count) for count in asked.tolist()):
        modified = None if tail.shape is None or tail.scale is None else tail.scale - tail.shape * tail.threshold
        shape, extrapolated = (tail.shape, tail.shape_error, modified), tail.threshold_at(fmr)
        points.append(StabilityPoint(tail.exceedances, tail.threshold, *shape, extrapolated, tail.reason))
    return tuple(points)


def goodness_of_fit(tail: TailFit, *, replicates: int = 200, seed: int = 0) -> GoodnessOfFit:
    """Compute Anderson and Darling's A^2 of the excesses, with a p-value from samples of the fitted distribution.

    A^2 = -k - (1/k) sum_i (2 i - 1) (log F(y_i) + log S(y_(k+1-i))), with y ascending; fitting the same excesses makes
    it small, so that every sample is fitted anew before its A^2 is taken. Samples are independent: where subjects share
    pairs the p-value is somewhat too small.

    Args:
        replicates: samples.
        seed: of the samples.

    >>> tail = fit_tail(np.random.default_rng(7).normal(size=200_000), trials=200_000)
    >>> goodness_of_fit(tail).p_value > 0.05
    True
    """
    method = f"Anderson-Darling, parametric bootstrap, {replicates} samples"
    if tail.shape is None or tail.scale is None:
        return GoodnessOfFit(None, None, method, tail.reason)
    rng, near = seeded(seed), tail.shape / tail.scale
    uniform = rng.uniform(size=(replicates, tail.exceedances))
    drawn = np.sort(pareto.excess_at(np.log(uniform), shape=tail.shape, scale=tail.scale), axis=1)
    statistic = _anderson_darling(tail.excesses, pareto.Maximum(np.array([tail.shape]), np.array([tail.scale])))
    others = np.array([_anderson_darling(sample, pareto.fit(sample, near=near)) for sample in drawn])
    others = others[np.isfinite(others)]
    p_value = (1 + np.count_nonzero(others >= statistic)) / (1 + others.size)
    return GoodnessOfFit(statistic, float(p_value), method)


def quantiles(tail: TailFit) -> tuple[QuantilePoint, ...]:
    """Pair every exceedance with the threshold that the fit gives for its rank, highest score first.

    Returns:
        Nothing where nothing was fitted.
    """
    if tail.shape is None or tail.scale is None:
        return ()
    ranks = np.arange(1, tail.exceedances + 1) - 0.5
    fitted = pareto.excess_at(np.log(ranks / tail.exceedances), shape=tail.shape, scale=tail.scale) + tail.threshold
    observed = tail.excesses[::-1] + tail.threshold
    rows = zip((ranks / tail.n).tolist(), observed.tolist(), fitted.tolist(), strict=True)
    return tuple(QuantilePoint(*row) for row in rows)


def judge(tail: TailFit, points: tuple[StabilityPoint, ...], *, goodness: GoodnessOfFit | None = None) -> Judgement:
    """Judge whether the fit is stable: its shape agrees with that over higher thresholds, and it fits its scores.

    The shape over fewer exceedances k differs from the shape over all K by a variance of s^2 (K / k - 1), with s the
    standard error over K, as the difference from an efficient estimate adds its own variance (Hausman, Econometrica
    46, 1978). The fit is unstable where a difference is beyond the two-sided 5 % of that, shared among the points, or
    where the goodness-of-fit test rejects at 5 %. Fewer than 3 higher thresholds cannot say. One in ten tails that are
    exactly Pareto is called unstable, and a bend must be strong to be seen in a few hundred exceedances.

    Args:
        tail: the fit to be judged.
        points: from `stability` on the same scores; those with at least as many exceedances are not looked at.
        goodness: of the same fit, where known.
    """
    from scipy import special

    error = tail.shape_error
    if tail.shape is None or error is None:
        return Judgement(None, (tail.reason or "nothing was fitted",))
    higher = [point for point in points if point.shape is not None and point.exceedances < tail.exceedances]
    if len(higher) < POINTS_NEEDED:
        return Judgement(None, (f"{len(higher)} higher thresholds with a fit, {POINTS_NEEDED} needed",))
    allowed = float(special.ndtri(1 - SIGNIFICANCE / (2 * len(higher))))
    against = []
    for point in higher:
        spread = error * math.sqrt(tail.exceedances / point.exceedances - 1)
        if abs((point.shape or 0.0) - tail.shape) > allowed * spread:
            there, here = told_apart([point.shape, tail.shape])
            against.append(f"over {figures(point.threshold)} the shape is {there}, not {here}")
    if goodness is not None and goodness.p_value is not None and goodness.p_value < SIGNIFICANCE:
        against.append(f"the excesses do not fit the tail: p = {figures(goodness.p_value)}")
    return Judgement(not against, tuple(against))


def _anderson_darling(excesses: Floats, best: pareto.Maximum) -> float:
    """A^2 of ascending excesses; nan where the fit has no maximum."""
    shape, scale = float(best.shape[0]), float(best.scale[0])
    if not math.isfinite(shape):
        return math.nan
    above = pareto.log_survival(excesses, shape=shape, scale=scale)
    below = np.log(-np.expm1(above))
    odd = 2 * np.arange(1, excesses.size + 1) - 1
    return float(-excesses.size - (odd * (below + above[::-1])).sum() / excesses.size)
