"""The generalised Pareto distribution of excesses over a threshold: weighted maximum likelihood and its profile.

Only the likelihood lives here; which scores are a tail, what may be said about FMR, and how dependence widens an
interval are in `cv_quality.metrics.extremes`. An excess y > 0 has survival (1 + xi y / sigma)^(-1/xi), shape xi and
scale sigma; xi = 0 is the exponential. With theta = xi / sigma the best shape is the mean of log(1 + theta y), so one
dimension is left to search (Grimshaw, Technometrics 35, 1993).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LOWEST_SHAPE = -0.5
"""At or below it the maximum has no standard error (Smith, Biometrika 72, 1985)."""
NEAR_THE_END = -1 + 1e-12
"""theta y stays above -1; an excess without weight may lie beyond the end point."""
EXPONENTIAL = 1e-6
"""theta times the mean excess stays at least so far from 0, where the formulas divide 0 by 0."""
STARTS = np.linspace(-6.0, 3.0, 73)
STEPS, LONGEST_STEP, CONVERGED = 30, 0.7, 1e-8
ROWS_AT_ONCE = 400_000
"""Replicates times excesses of one step: 3 MB, so that it stays in the cache."""
WIDEST = 25.0
"""log(1 + theta max y) lies between -25 and 25, where 1 + theta y keeps its digits."""
KNOTS, COARSE, REFINED, REFINEMENTS = 201, 60, 15, 3
FARTHEST = 300.0
"""An excess so near the end point, or a share so small, in logarithms, is called at it, or 0."""


class Maximum(NamedTuple):
    """Where the likelihood is highest, one entry for each row of weights; nan where it has no inner maximum."""

    shape: Floats
    scale: Floats


class _Terms(NamedTuple):
    """The weighted means of log(1 + theta y), y / (1 + theta y) and its square; shape (rows,)."""

    log: Floats
    slope: Floats
    bend: Floats


def fit(excesses: Floats, weights: Floats | None = None, *, near: float | None = None) -> Maximum:
    """Fit shape and scale by maximum likelihood, for each row of weights.

    Args:
        excesses: above 0, shape (k,).
        weights: at least 0, shape (rows, k); by default one row of ones.
        near: theta of a fit to the same excesses from which the search starts; by default a scan finds the start.

    >>> fit(np.array([0.1, 0.2, 0.3, 0.5, 0.9, 1.6])).shape.round(3).tolist()
    [-0.358]
    """
    w = np.ones((1, excesses.size)) if weights is None else weights
    start = _scan(excesses, w) if near is None else np.log1p(np.maximum(near * _longest(excesses, w), NEAR_THE_END))
    step = max(1, ROWS_AT_ONCE // excesses.size)
    parts = [_newton(excesses, w[at : at + step], start[at : at + step]) for at in range(0, len(w), step)]
    return Maximum(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def log_survival(excesses: Floats, *, shape: float, scale: float) -> Floats:
    """Compute the log of (1 + xi y / sigma)^(-1/xi); -inf at and beyond the end point.

    Args:
        excesses: y, above 0.
        shape, scale: xi and sigma.
    """
    theta = float(_off_zero(np.array([shape / scale]), scale)[0])
    with np.errstate(divide="ignore"):
        survival: Floats = -np.log1p(np.maximum(theta * excesses, -1.0)) / (theta * scale)
    return survival


def excess_at(log_share: Floats | float, *, shape: Floats | float, scale: Floats | float) -> Floats:
    """Compute the excess that a share of the excesses exceeds: sigma (share^-xi - 1) / xi.

    Args:
        log_share: the logarithm of the share.
        shape, scale: xi and sigma.
    """
    xi = np.asarray(shape, dtype=np.float64)
    safe = np.where(np.abs(xi) < EXPONENTIAL, EXPONENTIAL, xi)
    excess: Floats = scale * np.expm1(-safe * log_share) / safe
    return excess


@dataclass(frozen=True, slots=True)
class Profile:
    """The likelihood of k excesses among n trials, ready to be asked about a rate at an excess.

    The likelihood has three parameters: theta, xi and the share zeta of trials that exceed the threshold. A rate p at
    an excess t ties them, zeta = p (1 + theta t)^(1/xi), and of the excesses only the mean of log(1 + theta y) enters.

    Attributes:
        slope: of log(1 + theta max y), the mean of log(1 + theta y) over theta: smooth, and at 0 the mean excess.
        low, high: the range of log(1 + theta max y) that the cutoff leaves possible.
        longest: the largest excess.
        k, n: exceedances and trials.
        highest: log-likelihood at the maximum.
        cutoff: likelihood ratios up to it are found; of those above it only that they are above.
    """

    slope: Callable[[Floats], Floats]
    low: float
    high: float
    longest: float
    k: int
    n: int
    highest: float
    cutoff: float

    @classmethod
    def of(cls, excesses: Floats, maximum: Maximum, *, n: int, cutoff: float) -> "Profile":
        """Profile the likelihood around its maximum.

        Args:
            excesses: above 0, shape (k,).
            maximum: their fit.
            n: trials.
            cutoff: the profile is wide enough for likelihood ratios up to it.
        """
        from scipy.interpolate import CubicSpline

        longest, k = float(excesses.max()), excesses.size
        best = float(_log_likelihood(excesses, maximum.shape / maximum.scale)[1][0])
        centre = float(np.log1p(maximum.shape[0] / maximum.scale[0] * longest))
        low, high = (_edge(excesses, centre, side, lowest=best - cutoff / 2) for side in (-1.0, 1.0))
        knots = np.linspace(low, high, KNOTS)
        theta = _off_zero(np.expm1(knots) / longest, excesses.mean())
        slope = np.array([np.log1p(value * excesses).mean() / value for value in theta])
        return cls(CubicSpline(knots, slope), low, high, longest, k, n, best + k * np.log(k / n) - k, cutoff)

    def ratio(self, *, log_rate: float, excess: float) -> float:
        """Compute the likelihood ratio, 2 log, of the hypothesis that a share exp(log_rate) of trials exceeds `excess`.

        The search is over the reach log(1 + theta t): a grid first, then between the neighbours of its best point.
        """
        reach = self._grid(excess)
        if reach.size == 0:
            return math.inf
        best = -math.inf
        for _ in range(REFINEMENTS):
            likelihood = self._likelihood(reach, log_rate, excess)
            at = int(np.argmax(likelihood))
            best = max(best, float(likelihood[at]))
            reach = np.linspace(reach[max(at - 1, 0)], reach[min(at + 1, reach.size - 1)], REFINED)
        return max(0.0, 2 * (self.highest - best))

    def _grid(self, excess: float) -> Floats:
        """Every reach to begin with, ascending. One of an excess near the end point has no lowest value."""
        stretch = excess / self.longest
        lowest, highest = np.expm1(np.array([self.low, self.high])) * stretch
        if highest <= -1.0:
            return np.empty(0)
        top, bottom = float(np.log1p(highest)), float(np.log1p(lowest)) if lowest > -1.0 else -FARTHEST
        inner = np.expm1(np.linspace(self.low, self.high, COARSE)) * stretch
        inner = np.log1p(inner[inner > -1.0])
        outer = top - np.geomspace(1e-3, max(top - bottom, 2e-3), COARSE)
        return np.unique(np.concatenate([[bottom, top], inner, outer[outer > bottom]]))

    def _likelihood(self, reach: Floats, log_rate: float, excess: float) -> Floats:
        """The log-likelihood at each reach, highest over z = log(zeta / p), in which it is concave."""
        theta = np.expm1(reach) / excess
        is_flat, flat = np.abs(theta) * self.longest < EXPONENTIAL, EXPONENTIAL / self.longest
        theta, reach = np.where(is_flat, flat, theta), np.where(is_flat, math.log1p(flat * excess), reach)
        mean = theta * self.slope(np.log1p(np.maximum(theta * self.longest, NEAR_THE_END)).clip(self.low, self.high))
        z = _best_log_share(1 - mean / reach, k=self.k, log_trials=math.log(self.n) + log_rate)
        z = np.where(theta < 0, np.maximum(z, -reach), z)
        likelihood = np.log(theta / reach) + np.log(z) - z * mean / reach - mean + z + log_rate
        value: Floats = self.k * likelihood - self.n * np.exp(z + log_rate)
        return value


def _best_log_share(slope: Floats, *, k: int, log_trials: float) -> Floats:
    """z > 0 with k / z + k slope = n p e^z, for each slope."""
    z = np.full(slope.shape, max(math.log(k) - log_trials, 1e-3))
    for _ in range(2 * STEPS):
        expected = np.exp(z + log_trials)
        step = (k / z + k * slope - expected) / (k / z**2 + expected)
        z = np.maximum(z + np.clip(step, -2.0, 2.0), z / 10)
        if np.all(np.abs(step) < CONVERGED * (1 + z)):
            break
    return z


def _edge(excesses: Floats, centre: float, direction: float, *, lowest: float) -> float:
    """The first log(1 + theta max y), going out from `centre`, whose profile likelihood is below `lowest`."""
    longest, width, at = excesses.max(), 0.02, centre
    while abs(at) < WIDEST:
        at = min(max(at + direction * width, -WIDEST), WIDEST)
        width *= 1.3
        log_mean, value = _log_likelihood(excesses, _off_zero(np.expm1(np.array([at])) / longest, excesses.mean()))
        if value[0] < lowest or log_mean[0] <= -1.0:
            break
    return at


def _log_likelihood(excesses: Floats, theta: Floats) -> tuple[Floats, Floats]:
    log_mean = np.log1p(theta[:, None] * excesses).mean(axis=1)
    with np.errstate(invalid="ignore"):
        return log_mean, -excesses.size * (np.log(log_mean / theta) + log_mean + 1)


def _off_zero(theta: Floats, mean_excess: Floats | float) -> Floats:
    nearest = EXPONENTIAL / mean_excess
    moved: Floats = np.where(np.abs(theta) < nearest, nearest, theta)
    return moved


def _terms(theta: Floats, excesses: Floats, weights: Floats) -> _Terms:
    reached = theta[:, None] * excesses
    np.maximum(reached, NEAR_THE_END, out=reached)
    log, total = np.einsum("ij,ij->i", weights, np.log1p(reached)), weights.sum(axis=1)
    reached += 1
    share = np.divide(excesses, reached, out=reached)
    weighted = weights * share
    return _Terms(log / total, weighted.sum(axis=1) / total, np.einsum("ij,ij->i", weighted, share) / total)


def _longest(excesses: Floats, weights: Floats) -> Floats:
    longest: Floats = np.where(weights > 0, excesses, 0.0).max(axis=1)
    return longest


def _scan(excesses: Floats, weights: Floats) -> Floats:
    """For each row of weights the start, as log(1 + theta max y), with the highest likelihood and an allowed shape."""
    longest, mean = _longest(excesses, weights), (weights @ excesses) / weights.sum(axis=1)
    best, start = np.full(len(weights), -np.inf), np.zeros(len(weights))
    for at in STARTS:
        theta = _off_zero(np.expm1(at) / longest, mean)
        shape = _terms(theta, excesses, weights).log
        likelihood = np.where(shape > LOWEST_SHAPE, -np.log(shape / theta) - shape, -np.inf)
        start, best = np.where(likelihood > best, at, start), np.maximum(best, likelihood)
    return start


def _newton(excesses: Floats, weights: Floats, start: Floats) -> Maximum:
    """Newton's method on log(1 + theta max y), where every step stays inside the domain."""
    longest, mean = _longest(excesses, weights), (weights @ excesses) / weights.sum(axis=1)
    at, step = start, np.full(start.shape, np.inf)
    for _ in range(STEPS):
        theta = _off_zero(np.expm1(at) / longest, mean)
        terms, stretch = _terms(theta, excesses, weights), np.exp(at) / longest
        slope = (terms.slope / terms.log - 1 / theta + terms.slope) * stretch
        bend = (-terms.bend / terms.log - (terms.slope / terms.log) ** 2 + 1 / theta**2 - terms.bend) * stretch**2
        bend += slope
        step = np.clip(-slope / np.where(bend > 0, bend, np.inf), -LONGEST_STEP, LONGEST_STEP)
        step = np.where(bend > 0, step, -np.sign(slope) * LONGEST_STEP / 2)
        at = at + step
        if np.all(np.abs(step) < CONVERGED):
            break
    theta = _off_zero(np.expm1(at) / longest, mean)
    shape = _terms(theta, excesses, weights).log
    shape = np.where(np.abs(step) < 1e-6, shape, np.nan)
    return Maximum(shape, shape / theta)
