"""A rate with its interval: clustered by subject, or exact where the trials are independent.

Attempts of one person are alike, so they are not independent trials: nominal 95 % of the clustered method cover .929 or
more in every design of `benchmarks/interval_coverage.py`, where Clopper-Pearson falls to .53. Comparisons of different
subjects share two subjects each and need another variance, in `cv_quality.metrics.dyadic`; at a fixed FMR the threshold
is uncertain too, see `cv_quality.metrics.fixed_fmr`.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result
from cv_quality.text import figures

LEVEL = 0.95
ASSUMED_ICC = 0.1
"""Intraclass correlation of one subject's attempts, assumed where too few subjects err to estimate it."""
FEW_ERRING_SUBJECTS = 10
EXPECTED_ERRORS_NEEDED = 5.0
UNKNOWN_SUBJECTS = "subjects unknown: independence assumed"

BinomialMethod = Literal["clopper-pearson", "wilson", "wald"]
Side = Literal["both", "upper", "lower"]
_NAMES: dict[BinomialMethod, str] = {
    "clopper-pearson": "Clopper-Pearson",
    "wilson": "Wilson score",
    "wald": "normal approximation",
}


@dataclass(frozen=True, slots=True)
class Rate(Result):
    """A published rate: never without its counts and its interval.

    Attributes:
        value: numerator / denominator, 0 to 1; None without a trial.
        low, high: bounds of the interval, 0 to 1, two-sided 95 % unless `method` says otherwise; None without a trial,
            and where the trials cannot show how uncertain the rate is.
        method: how the bounds were computed, with every assumed number.
        n_subjects: subjects with at least one trial; None where they are unknown.
        reason: why a value or a bound is missing, or "insufficient: ..." when the cell is too small to be ranked.
        n_effective: independent trials that would give the same variance, p (1 - p) / V; None where that is undefined.
    """

    value: float | None
    numerator: int
    denominator: int
    low: float | None
    high: float | None
    method: str | None
    n_subjects: int | None
    reason: str | None
    n_effective: float | None

    @property
    def has_interval(self) -> bool:
        return self.low is not None and self.high is not None


NO_TRIAL = Rate(None, 0, 0, None, None, None, 0, "no trial", None)


def clustered_rate(
    errors: ArrayLike,
    trials: ArrayLike,
    *,
    expected_errors: float | None = None,
    level: float = LEVEL,
    icc: float = ASSUMED_ICC,
    unit: str = "subject",
) -> Rate:
    """Estimate the rate sum(errors) / sum(trials) with an interval that respects subjects; lower is better.

    The variance of the ratio over subjects gives a design effect, at least 1; the Clopper-Pearson bounds are taken at
    the effective number of trials, reduced by the t quantile with subjects - 1 degrees of freedom (Korn and Graubard,
    Survey Methodology 24, 1998). Where fewer than 10 subjects err, or fewer than 10 succeed, the design effect is at
    least 1 + (m - 1) 0.1, with m the trial-weighted trials per subject: zero errors then have a finite upper bound.

    Args:
        errors: errors of each subject, shape (subjects,).
        trials: trials of each subject, shape (subjects,); subjects without a trial are left out.
        expected_errors: errors expected in this cell, to say whether it is large enough; the observed ones by default.
        level: confidence of the two-sided interval, between 0 and 1.
        icc: intraclass correlation that is assumed where few subjects err.
        unit: what a subject is called.

    Raises:
        MetricError: a count is no whole number from 0, a subject has more errors than trials, or the level is invalid.

    >>> rate = clustered_rate([0, 1, 0, 2], [10, 10, 10, 10])
    >>> rate.value, round(rate.low, 3), round(rate.high, 3)
    (0.075, 0.0, 0.47)
    >>> clustered_rate([], []).reason
    'no trial'
    """
    from scipy import special

    x, n = checked_counts(errors, trials)
    require_level(level)
    if n.size == 0:
        return NO_TRIAL
    design, is_assumed = observed_design_effect(x, n, icc)
    # The degrees of freedom of the variance widen the bounds.
    upper, effective = (1 + level) / 2, n.sum() / design
    if n.size > 1:
        effective *= float(special.ndtri(upper) / special.stdtrit(n.size - 1, upper)) ** 2
    low, high = exact_bounds(x.sum() / n.sum() * effective, effective, 1 - upper)
    expected = float(x.sum()) if expected_errors is None else expected_errors
    assumed = f", ICC {icc:g} assumed for few errors" if is_assumed else ""
    return Rate(
        value=float(x.sum() / n.sum()),
        numerator=int(x.sum()),
        denominator=int(n.sum()),
        low=low,
        high=high,
        method=f"Korn-Graubard by {unit}, {percent(level)}, design effect {figures(design)}{assumed}",
        n_subjects=n.size,
        reason=_shortage(expected) if n.size > 1 else f"insufficient: 1 {unit}, 2 needed",
        n_effective=float(n.sum() / design),
    )


def binomial_rate(
    errors: int,
    trials: int,
    *,
    level: float = LEVEL,
    method: BinomialMethod = "clopper-pearson",
    side: Side = "both",
    is_subject_known: bool = False,
) -> Rate:
    """Estimate the rate of independent trials, with an exact or an approximate interval; lower is better.

    "clopper-pearson" inverts the exact binomial test and never covers less than `level` (Biometrika 26, 1934);
    "wilson" inverts the score test, p between the roots of (x/n - p)^2 = z^2 p (1 - p) / n (JASA 22, 1927). "wald" is
    x/n +- z sqrt(x/n (1 - x/n) / n), cut to [0, 1]: it covers too little, but a biometrics protection profile has it:
    5 failures of 174 and an interval of 80 % (z = 1.2816) give an upper bound of .0450.

    Args:
        errors, trials: whole numbers, 0 <= errors <= trials.
        level: confidence of the interval, between 0 and 1; of the single bound where `side` is "upper" or "lower".
        side: a one-sided interval reaches to 0 or to 1 on its other side.
        is_subject_known: whether each trial is known to be of another subject; else `method` calls that assumed.

    Raises:
        MetricError: more errors than trials, a negative count, a level that is no probability, or an unknown method.

    >>> round(binomial_rate(5, 174, level=0.8, method="wald").high, 4)
    0.045
    >>> round(binomial_rate(0, 30_000, side="upper").high, 6)
    0.0001
    """
    checked_counts([errors], [trials])
    require_level(level)
    upper, tail = (level, 1 - level) if side != "both" else ((1 + level) / 2, (1 - level) / 2)
    if method not in _NAMES or side not in ("both", "upper", "lower"):
        raise MetricError(f"expected a method of {', '.join(_NAMES)} and both, upper or lower: {method}, {side}")
    if trials == 0:
        return NO_TRIAL
    p = errors / trials
    low, high = exact_bounds(errors, trials, tail) if method == "clopper-pearson" else _normal(p, trials, upper, method)
    sided = "" if side == "both" else f" {side} bound"
    known = "independent trials" if is_subject_known else UNKNOWN_SUBJECTS
    return Rate(
        value=p,
        numerator=int(errors),
        denominator=int(trials),
        low=0.0 if side == "upper" else low,
        high=1.0 if side == "lower" else high,
        method=f"{_NAMES[method]}{sided}, {percent(level)}, {known}",
        n_subjects=int(trials) if is_subject_known else None,
        reason=_shortage(float(errors)),
        n_effective=float(trials),
    )


def percent(level: float) -> str:
    """Write a level as it stands in a method's name.

    >>> percent(0.95), percent(0.999)
    ('95 %', '99.9 %')
    """
    return f"{100 * level:.6g} %"


def require_level(level: float) -> None:
    """Refuse a confidence level that is no probability.

    Raises:
        MetricError: it is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise MetricError(f"a confidence level lies between 0 and 1, found {level}: 95 % is 0.95")


def checked_counts(errors: ArrayLike, trials: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check the errors and trials of each subject, and leave out subjects without a trial.

    Raises:
        MetricError: a count is no whole number from 0, or a subject has more errors than trials.
    """
    x, n = np.asarray(errors, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if x.shape != n.shape or x.ndim != 1 or not np.all((x >= 0) & (x <= n) & np.isfinite(n)):
        raise MetricError(f"expected 0 <= errors <= trials for each subject, found shapes {x.shape} and {n.shape}")
    if np.any(x % 1) or np.any(n % 1):
        raise MetricError("expected whole numbers of errors and trials, found a fraction")
    return x[n > 0], n[n > 0]


def observed_design_effect(x: NDArray[np.float64], n: NDArray[np.float64], icc: float) -> tuple[float, bool]:
    """Estimate the variance of the rate over subjects, over that of independent trials, at least 1.

    Args:
        x, n: errors and trials of each subject, as `checked_counts` gives them.
        icc: intraclass correlation that is assumed where fewer than 10 subjects err, or fewer than 10 succeed.

    Returns:
        The design effect, and whether it rests on that assumption.
    """
    total, p = n.sum(), x.sum() / n.sum()
    observed = 1.0
    if 0 < p < 1 and n.size > 1:
        variance = n.size / (n.size - 1) * np.square(x - p * n).sum() / total**2
        observed = max(1.0, float(variance * total / (p * (1 - p))))
    if min(np.count_nonzero(x), np.count_nonzero(x < n)) >= FEW_ERRING_SUBJECTS:
        return observed, False
    assumed = 1.0 + (float(np.square(n).sum() / total) - 1.0) * icc
    return max(observed, assumed), True


def exact_bounds(x: float, n: float, tail: float) -> tuple[float, float]:
    """Clopper-Pearson bounds, each missed with probability `tail`; x and n need not be whole."""
    from scipy import special

    low = special.betaincinv(x, n - x + 1, tail) if x > 0 else 0.0
    high = special.betaincinv(x + 1, n - x, 1 - tail) if x < n else 1.0
    return float(low), float(high)


def _normal(p: float, n: int, upper: float, method: BinomialMethod) -> tuple[float, float]:
    """Bounds from the normal distribution: the roots of the score test, or the estimate's own variance."""
    from scipy import special

    z = float(special.ndtri(upper))
    if method == "wilson":
        centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    else:
        half = z * math.sqrt(p * (1 - p) / n)
        low, high = p - half, p + half
    return (max(low, 0.0) if p > 0 else 0.0), (min(high, 1.0) if p < 1 else 1.0)


def _shortage(expected_errors: float) -> str | None:
    if expected_errors >= EXPECTED_ERRORS_NEEDED:
        return None
    return f"insufficient: {figures(expected_errors)} errors expected, {EXPECTED_ERRORS_NEEDED:g} needed"
