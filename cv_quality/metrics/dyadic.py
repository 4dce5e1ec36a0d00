"""Intervals of pair rates: false matches between subjects, where each comparison depends on two of them.

The variance is the dyadic sandwich, computed from the erring pairs and totals per subject; nothing is resampled. Rates
whose trials belong to one subject each are in `cv_quality.metrics.rates`; FNMR at a fixed FMR, where the threshold is
estimated as well, is in `cv_quality.metrics.bootstrap`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import ASSUMED_ICC, EXPECTED_ERRORS_NEEDED, LEVEL, NO_TRIAL, Rate, percent, require_level
from cv_quality.metrics.trials import Trials, dyad_codes, require_different

Errors = tuple[ArrayLike, ArrayLike]
Values = NDArray[np.float64]

ASSUMED_CV = 1.0
"""Coefficient of variation of the subjects' own rates that is assumed where no comparison errs."""
RAISED_BY = 0.5
"""Share of its relative standard error by which the variance between subjects is raised: a few subjects with most of
the errors are missing from a sample more often than they are too many, and the variance is then too low."""
FEW_ERRING_DYADS = 10
SUBJECTS_NEEDED = 10.0


@dataclass(frozen=True, slots=True)
class PairVariance:
    """The variance of a pair rate, and what it is made of.

    Attributes:
        rate: errors / trials.
        value: variance of the rate that intervals rest on: that of independent dyads and, where the sandwich is larger,
            the excess raised by half of its relative standard error.
        sandwich: the sandwich itself; may be smaller than `of_dyads`.
        of_dyads: variance if the dyads were independent of each other.
        of_trials: variance if the comparisons were independent, p (1 - p) / n.
        df: degrees of freedom of `value`; large where it is that of independent comparisons.
        is_assumed: whether the ICC of a dyad's comparisons was assumed, as too few dyads err to estimate it.
    """

    rate: float
    value: float
    sandwich: float
    of_dyads: float
    of_trials: float
    df: float
    is_assumed: bool

    @property
    def design_effect(self) -> float:
        """The variance over that of independent comparisons, at least 1."""
        return self.value / self.of_trials


def pair_rate(errors: Errors, *, trials: Trials, level: float = LEVEL, expected_errors: float | None = None) -> Rate:
    """Estimate the rate of errors between subjects, with an interval that respects both; lower is better.

    With m_ij comparisons and y_ij errors of the dyad {i, j}, N = sum m_ij, p = sum y_ij / N, r_ij = y_ij - p m_ij and
    e_i = sum_j r_ij the variance is

        V = (sum_i e_i^2 - sum_{i<j} r_ij^2) / N^2, at least sum_{i<j} r_ij^2 / N^2 and p (1 - p) / N

    (Fafchamps and Gubert, J. Dev. Econ. 83, 2007), with e_i^2 scaled by (n - 1) / n (N / (N - M_i))^2, the jackknife's
    correction, M_i being the comparisons of subject i. What V exceeds those minima by is what subjects add; it has
    df_s = (sum d)^2 / sum d^2 - 1 degrees of freedom or, if fewer, 2 (sum e^2)^2 / (sum e^4 - (sum e^2)^2 / n), d_i
    being the errors of subject i, and is raised by half of its relative standard error sqrt(2 / df_s).

    The bounds are logit(p) +- t sqrt(V) / (p (1 - p)); for a small p that is the log scale. The t quantile has V /
    sum_c (V_c / df_c) degrees of freedom over the parts c of V: infinitely many for p (1 - p) / N, df_s for what
    subjects add, (sum y)^2 / sum y^2 - 1 for what dyads add. Nominal 95 % cover .93 to .97 where the subjects' rates
    have a gamma distribution with a CV of 0 to 3; see `benchmarks/interval_coverage.py` for heavier tails.

    Where fewer than 10 dyads err, the comparisons of a dyad are taken to be alike with an ICC of at least 0.1. Without
    an error the upper bound is that of Clopper and Pearson at the effective trials of an assumed CV of 1; see `method`.

    Args:
        errors: the two subject codes of every erring comparison, one entry each, shape (k,) and (k,).
        trials: who was compared with whom.
        level: confidence of the two-sided interval, between 0 and 1.
        expected_errors: errors expected in this cell, to say whether it is large enough; the observed ones by default.

    Raises:
        MetricError: codes that are no subjects of `trials`, an error of a subject with itself, more errors than
            comparisons of a dyad, or a level that is no probability.

    >>> from cv_quality.metrics.trials import CrossTrials
    >>> everyone = CrossTrials.all_pairs([1] * 200)
    >>> rate = pair_rate(([0, 0, 1, 5, 8, 9], [1, 7, 2, 6, 9, 10]), trials=everyone)
    >>> rate.numerator, rate.denominator, f"{rate.value:.1e} in {rate.low:.1e} to {rate.high:.1e}"
    (6, 19900, '3.0e-04 in 8.2e-05 to 1.1e-03')
    """
    require_level(level)
    dyads = _Dyads.of(errors, trials)
    if dyads.n == 0:
        return NO_TRIAL
    counts, subjects = (dyads.k / dyads.n, dyads.k, dyads.n), dyads.effective_subjects
    if dyads.hangs_on_one_subject:
        reason: str | None = "insufficient: one subject takes part in every comparison"
        return Rate(*counts, None, None, None, dyads.subjects, reason, None)
    reason, expected = None, float(dyads.k) if expected_errors is None else expected_errors
    if subjects < SUBJECTS_NEEDED:
        reason = f"insufficient: comparisons of {subjects:.3g} subjects' weight, {SUBJECTS_NEEDED:g} needed"
    elif expected < EXPECTED_ERRORS_NEEDED:
        reason = f"insufficient: {expected:.3g} errors expected, {EXPECTED_ERRORS_NEEDED:g} needed"
    if dyads.k in (0, dyads.n):
        bounds = _one_outcome(dyads, (1 - level) / 2, level)
    else:
        bounds = _sandwich(_variance(dyads), level)
    return Rate(*counts, bounds.low, bounds.high, bounds.method, dyads.subjects, reason, bounds.n_effective)


def pair_rate_upper(errors: Errors, *, trials: Trials, level: float = LEVEL) -> float:
    """Bound a pair rate from above, one-sided: with probability `level` the rate lies below; lower is better.

    k_eff = k (p (1 - p) / N) / V (z / t)^2 errors carry the information of the k observed ones, V and its degrees of
    freedom those of `pair_rate`; the bound is p chi2(level; 2 k_eff + 2) / (2 k_eff), or that of `pair_rate` if k = 0.

    Args:
        errors: the two subject codes of every erring comparison, one entry each, shape (k,) and (k,).
        trials: who was compared with whom.
        level: confidence of the bound, between 0 and 1.

    Raises:
        MetricError: as `pair_rate`; there is no comparison; or one subject takes part in all of them.

    >>> from cv_quality.metrics.trials import CrossTrials
    >>> everyone = CrossTrials.all_pairs([1] * 2_449)
    >>> none, one = ([], []), ([0], [1])
    >>> [f"{pair_rate_upper(errors, trials=everyone):.2e}" for errors in (none, one)]
    ['1.00e-06', '1.59e-06']
    """
    from scipy import special

    require_level(level)
    dyads = _Dyads.of(errors, trials)
    if dyads.n == 0 or dyads.hangs_on_one_subject:
        raise MetricError(
            f"expected comparisons among several subjects, found {dyads.n} of {dyads.subjects} subjects, none of them "
            "without the same subject: an upper bound needs subjects that can be left out"
        )
    if dyads.k in (0, dyads.n):
        return _one_outcome(dyads, 1 - level, level).high
    variance = _variance(dyads)
    shrink = (float(special.ndtri(level)) / _t_quantile(variance.df, level)) ** 2
    effective = dyads.k / variance.design_effect * shrink
    return min(1.0, variance.rate * float(special.gammaincinv(effective + 1, level)) / effective)


def pair_variance(errors: Errors, *, trials: Trials) -> PairVariance | None:
    """Estimate the variance of `pair_rate`; None where no comparison errs, or all do, or one subject is in all of them.

    Raises:
        MetricError: as `pair_rate`.
    """
    dyads = _Dyads.of(errors, trials)
    if dyads.k in (0, dyads.n) or dyads.hangs_on_one_subject:
        return None
    return _variance(dyads)


@dataclass(frozen=True, slots=True)
class _Dyads:
    """Errors by dyad and by subject; subjects without a comparison are left out.

    Attributes:
        y, m: errors and comparisons of each erring dyad.
        d, met: errors and comparisons of each subject.
        squares: sum of squared comparisons over all dyads.
    """

    y: Values
    m: Values
    d: Values
    met: Values
    squares: float
    k: int
    n: int

    @classmethod
    def of(cls, errors: Errors, trials: Trials) -> "_Dyads":
        one, other = dyad_codes(*errors, n_subjects=trials.n_subjects)
        require_different(one, other)
        size = max(trials.n_subjects, 1)
        keys, y = np.unique(np.minimum(one, other) * size + np.maximum(one, other), return_counts=True)
        m = trials.of_dyads(keys // size, keys % size)
        over = np.flatnonzero(y > m)
        if over.size:
            (i, j), found = divmod(keys[over[0]], size), f"{y[over[0]]} of {m[over[0]]}"
            raise MetricError(
                f"expected at most as many errors as comparisons of each two subjects, found {found} for subjects {i} "
                f"and {j}: errors and trials are of different sets"
            )
        met = trials.per_subject()
        d = np.bincount(np.concatenate([one, other]), minlength=trials.n_subjects)
        kept = met > 0
        return cls(
            y=y.astype(np.float64),
            m=m.astype(np.float64),
            d=d[kept].astype(np.float64),
            met=met[kept].astype(np.float64),
            squares=trials.sum_of_squares(),
            k=len(one),
            n=trials.n,
        )

    @property
    def subjects(self) -> int:
        return len(self.met)

    @property
    def effective_subjects(self) -> float:
        return float(self.met.sum() ** 2 / np.square(self.met).sum())

    @property
    def hangs_on_one_subject(self) -> bool:
        """Whether leaving out one subject leaves no comparison: then nothing shows how subjects differ."""
        return bool(np.any(self.met >= self.n))


def _variance(dyads: _Dyads) -> PairVariance:
    n, p = dyads.n, dyads.k / dyads.n
    e = dyads.d - p * dyads.met
    spread = np.square(e * n / (n - dyads.met)) * (1 - 1 / dyads.subjects)
    within = float((dyads.y**2 - 2 * p * dyads.y * dyads.m).sum() + p**2 * dyads.squares)
    of_trials = p * (1 - p) / n
    assumed = of_trials * _assumed_design_effect(dyads) if len(dyads.y) < FEW_ERRING_DYADS else 0.0
    of_dyads = max(within / n**2, of_trials, assumed)
    # Degrees of freedom of the sum of squares: from the errors' concentration, or the residuals' fourth moment.
    squares = float(np.square(e).sum())
    excess = float((e**4).sum()) - squares**2 / len(e)
    subject_df = max(1.0, min(2 * squares**2 / excess if excess > 0 else math.inf, _kish_df(dyads.d)))
    sandwich = (float(spread.sum()) - within) / n**2
    shared = max(sandwich - of_dyads, 0.0) * (1 + RAISED_BY * math.sqrt(2 / subject_df))
    value = of_dyads + shared
    worth = shared / subject_df + (of_dyads - of_trials) / _kish_df(dyads.y)
    df = value / worth if worth > 0 else math.inf
    is_assumed = assumed > of_trials and assumed == of_dyads
    return PairVariance(p, value, sandwich, of_dyads, of_trials, max(df, 1.0), is_assumed)


def _assumed_design_effect(dyads: _Dyads) -> float:
    return 1 + (dyads.squares / dyads.n - 1) * ASSUMED_ICC


def _kish_df(counts: Values) -> float:
    return max(1.0, float(counts.sum() ** 2 / np.square(counts).sum()) - 1)


@dataclass(frozen=True, slots=True)
class _Bounds:
    low: float
    high: float
    method: str
    n_effective: float


def _sandwich(variance: PairVariance, level: float) -> _Bounds:
    from scipy import special

    p, t = variance.rate, _t_quantile(variance.df, (1 + level) / 2)
    centre, half = special.logit(p), t * math.sqrt(variance.value) / (p * (1 - p))
    df = f"{variance.df:.0f}" if variance.df < 1_000 else "many"
    assumed = f", ICC {ASSUMED_ICC} of a dyad's comparisons assumed for few errors" if variance.is_assumed else ""
    return _Bounds(
        low=float(special.expit(centre - half)),
        high=float(special.expit(centre + half)),
        method=f"dyadic sandwich, logit scale, {percent(level)}, design effect {variance.design_effect:.2f}, "
        f"{df} degrees of freedom{assumed}",
        n_effective=p * (1 - p) / variance.value,
    )


def _t_quantile(df: float, probability: float) -> float:
    from scipy import special

    return float(special.ndtri(probability) if math.isinf(df) else special.stdtrit(df, probability))


def _one_outcome(dyads: _Dyads, tail: float, level: float) -> _Bounds:
    """Bounds where no comparison errs, or all do: no variance can be estimated, so a correlation is assumed.

    A rate p and a CV of c give the design effect D + c^2 p S, with D that of dyads and S = (sum M_i^2 - 2 sum m_ij^2)
    / N the pairs of comparisons that share one subject, per comparison. At the bound p N = -ln(tail) times that.
    """
    shared = float(np.square(dyads.met).sum() - 2 * dyads.squares) / dyads.n
    within, q = _assumed_design_effect(dyads), -math.log(tail)
    remaining = dyads.n - q * ASSUMED_CV**2 * shared
    at_bound = min(q * within / remaining, 1.0) if remaining > 0 else 1.0
    design = within + ASSUMED_CV**2 * at_bound * shared
    effective = dyads.n / design
    bound = -math.expm1(math.log(tail) / effective)
    assumed = f"CV {ASSUMED_CV:g} of the subjects' rates and ICC {ASSUMED_ICC} of a dyad's comparisons assumed"
    method = f"Clopper-Pearson at {effective:.4g} effective trials, {percent(level)}, {assumed}"
    low, high = (0.0, bound) if dyads.k == 0 else (1 - bound, 1.0)
    return _Bounds(low, high, method, effective)
