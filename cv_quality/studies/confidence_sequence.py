"""Intervals of a mean that hold at every sample size at once, however often the data are looked at.

The asymptotic sequence stands on the normal mixture bound; sequences of bounded and of 0/1 outcomes that hold exactly
are in `cv_quality.studies.betting`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError

Floats = NDArray[np.float64]

LEAST_SAMPLES = 50
"""Below which an asymptotic sequence is not begun: the normal distribution is not reached."""


def best_rho(variance: float, *, alpha: float) -> float:
    """Choose the mixture that makes the two-sided bound about as narrow as it can be at one intrinsic time.

    v / (2 log(1 / alpha) + log(1 + 2 log(1 / alpha))), of Howard et al. (Ann. Statist. 49, 2021), as `confseq` has it.

    Args:
        variance: v, the intrinsic time, above 0.
        alpha: two-sided.

    >>> round(best_rho(100, alpha=0.05), 5)
    12.60056
    """
    _check(variance, alpha)
    needed = 2 * math.log(1 / alpha)
    return variance / (needed + math.log1p(needed))


def normal_mixture_bound(variance: ArrayLike, *, alpha: float, rho: float) -> Floats:
    """Compute the two-sided bound of a sum of deviations that holds at every intrinsic time at once.

    sqrt((v + rho) log((v + rho) / (rho alpha^2))), Howard et al. (2021), section 3.2; a one-sided level is about half.

    Args:
        variance: v, variance of the sum so far.
        alpha: two-sided.
        rho: of the mixture, above 0.

    >>> round(float(normal_mixture_bound(100, alpha=0.05, rho=best_rho(100, alpha=0.05))), 5)
    30.35209
    """
    _check(rho, alpha)
    v = np.asarray(variance, np.float64)
    found: Floats = np.sqrt((v + rho) * np.log((v + rho) / (rho * alpha**2)))
    return found


def sequence_bound(information: float, *, alpha: float) -> float:
    """Compute the one-sided bound of Z that holds at every look at once, about narrowest at the end of a study.

    Args:
        information: part of that at the end, above 0 and at most 1.
        alpha: one-sided, taken as half of a two-sided level.

    >>> [round(sequence_bound(part, alpha=0.05), 2) for part in (0.1, 0.5, 1.0)]
    [3.63, 2.82, 2.76]
    """
    bound = normal_mixture_bound(information, alpha=2 * alpha, rho=best_rho(1.0, alpha=2 * alpha))
    return float(bound) / math.sqrt(information)


def asymptotic_sequence(values: ArrayLike, *, alpha: float, best_at: int) -> tuple[Floats, Floats]:
    """Bound a mean at every sample size at once, from `LEAST_SAMPLES` values on.

    mean +- sd sqrt(2 (n r^2 + 1) / (n^2 r^2) log(sqrt(n r^2 + 1) / alpha)), r making it about narrowest at `best_at`.
    Waudby-Smith et al., 2103.06476, theorem 2.2.

    Args:
        values: independent, one a subject, in the order of their coming; shape (n,).
        alpha: two-sided.
        best_at: number of values.

    Returns:
        Lower and upper bounds after each value, shape (n,) each; infinite before there are enough, and never wider
        again than they were.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise MetricError("expected finite values, one a subject, in one dimension")
    n = np.arange(1, len(x) + 1)
    mean = np.cumsum(x) / n
    spread = np.sqrt(np.maximum(np.cumsum(x**2) / n - mean**2, 0.0))
    half = spread * normal_mixture_bound(n, alpha=alpha, rho=best_rho(best_at, alpha=alpha)) / n
    half[: LEAST_SAMPLES - 1] = math.inf
    return np.maximum.accumulate(mean - half), np.minimum.accumulate(mean + half)


def _check(positive: float, alpha: float) -> None:
    if not positive > 0 or not 0 < alpha < 1:
        raise MetricError(f"expected a variance above 0 and 0 < alpha < 1, found {positive:g} and {alpha:g}")
