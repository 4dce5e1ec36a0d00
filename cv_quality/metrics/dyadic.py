"""Intervals of pair rates: false matches between subjects, where each comparison depends on two of them.

The variance is the dyadic sandwich, computed from the erring pairs and totals per subject; nothing is resampled. Rates
whose trials belong to one subject each are in `cv_quality.metrics.rates`; FNMR at a fixed FMR, where the threshold is
estimated as well, is in `cv_quality.metrics.fixed_fmr`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import (
    ASSUMED_ICC,
    EXPECTED_ERRORS_NEEDED,
    LEVEL,
    NO_TRIAL,
    Rate,
    exact_bounds,
    percent,
    require_level,
)
from cv_quality.metrics.trials import Codes, Trials, dyad_codes, require_different
from cv_quality.text import figures

Errors = tuple[ArrayLike, ArrayLike]
Values = NDArray[np.float64]

ASSUMED_CV = 1.0
"""Coefficient of variation of the subjects' own rates that is assumed where too few dyads err to estimate it."""
RAISED_BY = 5.0
"""Relative standard errors by which the parts of the variance are raised for an upper bound. With 4 the bounds are 5 to
10 % narrower and cover .939 to .945 in the hardest designs of `benchmarks/interval_coverage.py`."""
FEW_ERRING_DYADS = 10
SUBJECTS_NEEDED = 10.0


@dataclass(frozen=True, slots=True)
class PairVariance:
    """The variance of a pair rate, and what it is made of.

    Attributes:
        rate: errors / trials.
        sandwich: the sandwich itself, which may be smaller than `of_dyads`.
        of_trials: variance if the comparisons were independent, p (1 - p) / n.
        of_dyads: variance if the dyads were independent of each other, at least `of_trials`.
        least: what the variance is at least, by assumption, where too few dyads err to estimate it; else 0.
        dyad_df, subject_df: degrees of freedom of what dyads and what subjects add.
    """

    rate: float
    sandwich: float
    of_trials: float
    of_dyads: float
    least: float
    dyad_df: float
    subject_df: float

    @property
    def value(self) -> float:
        """The variance, as estimated."""
        return self.raised(0.0)

    @property
    def of_subjects(self) -> float:
        """What subjects add to the variance between dyads."""
        return max(self.sandwich - self.of_dyads, 0.0)

    @property
    def df(self) -> float:
        """Degrees of freedom of `value` (Satterthwaite); infinite where it is that of independent comparisons."""
        worth = (self.of_dyads - self.of_trials) / self.dyad_df + self.of_subjects / self.subject_df
        return max(self.value / worth, 1.0) if worth > 0 else math.inf

    @property
    def is_assumed(self) -> bool:
        """Whether the variance is the least one, by assumption."""
        return self.value == self.least

    @property
    def design_effect(self) -> float:
        """The variance over that of independent comparisons, at least 1."""
        return self.value / self.of_trials

    def raised(self, by: float) -> float:
        """Return the variance with what dyads and subjects add raised by so many of its relative standard errors."""
        dyads = (self.of_dyads - self.of_trials) * (1 + by * math.sqrt(2 / self.dyad_df))
        subjects = self.of_subjects * (1 + by * math.sqrt(2 / self.subject_df))
        return max(self.of_trials + dyads + subjects, self.least)


def pair_rate(errors: Errors, *, trials: Trials, level: float = LEVEL, expected_errors: float | None = None) -> Rate:
    """Estimate the rate of errors between subjects, with an interval that respects both; lower is better.

    With m_ij comparisons and y_ij errors of the dyad {i, j}, N = sum m_ij, p = sum y_ij / N, r_ij = y_ij - p m_ij and
    e_i = sum_j r_ij the variance is

        V = (sum_i e_i^2 - sum_{i<j} r_ij^2) / N^2, at least D = sum_{i<j} r_ij^2 / N^2 and T = p (1 - p) / N

    (Fafchamps and Gubert, J. Dev. Econ. 83, 2007), with e_i^2 scaled by (n - 1) / n (N / (N - M_i))^2, the jackknife's
    correction, M_i being the comparisons of subject i. What dyads add, D - T, has df_d = (sum y)^2 / sum y^2 - 1
    degrees of freedom; what subjects add, V - D, has df_s = (sum d)^2 / sum d^2 - 1 or, if fewer, 2 (sum e^2)^2 /
    (sum e^4 - (sum e^2)^2 / n), d_i being the errors of subject i.

    The upper bound is that of Clopper and Pearson at N T / V_5 effective trials, V_5 being V with what dyads and
    subjects add raised by 5 of their relative standard errors sqrt(2 / df): a sample that happens to lack the few
    subjects with most of the errors has a low rate and a low variance at once. The lower bound is logit(p) - t sqrt(V)
    / (p (1 - p)), with V / ((D - T) / df_d + (V - D) / df_s) degrees of freedom.

    Where fewer than 10 dyads err, V is at least T (1 + 0.1 (sum m^2 / N - 1) + p (sum M^2 - 2 sum m^2) / N): an ICC of
    0.1 of a dyad's comparisons and a CV of 1 of the subjects' rates. Without an error the upper bound is that of
    Clopper and Pearson at the effective trials of the same assumptions; see `method`.

    Where subjects are grouped in clusters (`Trials.clustered`), clusters take their place in all of this.

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
    (6, 19900, '3.0e-04 in 9.0e-05 to 1.4e-03')
    """
    return rate_of(ErringDyads.of(errors, trials), level=level, expected_errors=expected_errors)


def pair_rate_upper(errors: Errors, *, trials: Trials, level: float = LEVEL) -> float:
    """Bound a pair rate from above, one-sided: with probability `level` the rate lies below; lower is better.

    The upper bound is that of `pair_rate`, with all of 1 - `level` beyond it.

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
    require_level(level)
    dyads = ErringDyads.of(errors, trials)
    design = dyads.design
    if design.n == 0 or design.hangs_on_one_subject:
        raise MetricError(
            f"expected comparisons among several subjects, found {design.n} of {design.subjects} subjects, none of "
            "them without the same subject: an upper bound needs subjects that can be left out"
        )
    if dyads.k in (0, design.n):
        return one_outcome(design, is_error=dyads.k > 0, tail=1 - level).high
    return _upper(variance_of(dyads), design.n, 1 - level)


def pair_variance(errors: Errors, *, trials: Trials) -> PairVariance | None:
    """Estimate the variance of `pair_rate`; None where no comparison errs, or all do, or one subject is in all of them.

    Raises:
        MetricError: as `pair_rate`.
    """
    dyads = ErringDyads.of(errors, trials)
    if dyads.k in (0, dyads.design.n) or dyads.design.hangs_on_one_subject:
        return None
    return variance_of(dyads)


@dataclass(frozen=True, slots=True, eq=False)
class PairDesign:
    """The trials of a pair rate, as its variance needs them: counted once for any number of thresholds.

    Attributes:
        met: comparisons of each subject, 0 for one without any; shape (subjects,).
        squares: sum of the squared comparisons over all dyads, a cluster's own among them.
        own_squares: the part of `squares` that lies within clusters.
        own: comparisons within each cluster; all 0 where subjects stand for themselves.
        n: comparisons in all.
    """

    met: Values
    squares: float
    own_squares: float
    own: Values
    n: int

    @classmethod
    def of(cls, trials: Trials) -> "PairDesign":
        """Count the trials."""
        own = trials.own().astype(np.float64)
        met = trials.per_subject().astype(np.float64)
        return cls(met, trials.sum_of_squares(), float(np.square(own).sum()), own, trials.n)

    @property
    def subjects(self) -> int:
        """Subjects with a comparison."""
        return int(np.count_nonzero(self.met))

    @property
    def effective_subjects(self) -> float:
        """As many subjects with equally many comparisons would be as sure."""
        return float(self.met.sum() ** 2 / np.square(self.met).sum())

    @property
    def hangs_on_one_subject(self) -> bool:
        """Whether leaving out one subject leaves no comparison: then nothing shows how subjects differ."""
        return bool(np.any(self.met >= self.n))

    @property
    def shared(self) -> float:
        """Pairs of comparisons that share one subject, per comparison."""
        between = self.squares - self.own_squares
        return float(np.square(self.met).sum() - 2 * between - self.own_squares) / self.n

    @property
    def assumed_dyad_effect(self) -> float:
        """The design effect of dyads with an assumed ICC of their comparisons."""
        return 1 + (self.squares / self.n - 1) * ASSUMED_ICC


@dataclass(frozen=True, slots=True, eq=False)
class ErringDyads:
    """Errors by dyad and by subject.

    Attributes:
        y, m: errors and comparisons of each erring dyad.
        is_own: whether the erring dyad is one cluster with itself.
        d: errors of each subject, shape (subjects,).
        k: errors in all.
    """

    design: PairDesign
    y: Values
    m: Values
    is_own: NDArray[np.bool_]
    d: Values
    k: int

    @property
    def is_by_subject_only(self) -> bool:
        """Whether the dyads of the errors are unknown."""
        return self.k > 0 and not len(self.y)

    @classmethod
    def of(cls, errors: Errors, trials: Trials) -> "ErringDyads":
        """Count errors by dyad.

        Raises:
            MetricError: codes that are no subjects of `trials`, an error of a subject with itself, or more errors than
                comparisons of a dyad.
        """
        design, size = PairDesign.of(trials), max(trials.n_subjects, 1)
        one, other = dyad_codes(*errors, n_subjects=trials.n_subjects)
        if not design.own.any():
            require_different(one, other)
        keys, y = np.unique(np.minimum(one, other) * size + np.maximum(one, other), return_counts=True)
        m = trials.of_dyads(keys // size, keys % size)
        over = np.flatnonzero(y > m)
        if over.size:
            (i, j), found = divmod(keys[over[0]], size), f"{y[over[0]]} of {m[over[0]]}"
            raise MetricError(
                f"expected at most as many errors as comparisons of each two subjects, found {found} for subjects {i} "
                f"and {j}: errors and trials are of different sets"
            )
        is_own = keys // size == keys % size
        return cls(design, y.astype(np.float64), m.astype(np.float64), is_own, errors_of(one, other, size), len(one))

    @property
    def residuals(self) -> Values:
        """Errors of each subject beyond those expected at the common rate, shape (subjects,)."""
        return self.d - self.k / self.design.n * self.design.met


def errors_of(one: Codes, other: Codes, n_subjects: int) -> Values:
    """Count the erring comparisons of each subject; one within a cluster counts once."""
    own = np.bincount(one[one == other], minlength=n_subjects)
    both = np.bincount(one, minlength=n_subjects) + np.bincount(other, minlength=n_subjects) - own
    return both.astype(np.float64)


def rate_of(dyads: ErringDyads, *, level: float = LEVEL, expected_errors: float | None = None) -> Rate:
    """Estimate the rate of `pair_rate` from errors that are counted by dyad.

    Args:
        dyads: the errors.
        level, expected_errors: as for `pair_rate`.

    Raises:
        MetricError: a level that is no probability.
    """
    require_level(level)
    design = dyads.design
    if design.n == 0:
        return NO_TRIAL
    counts, subjects = (dyads.k / design.n, dyads.k, design.n), design.effective_subjects
    if design.hangs_on_one_subject:
        reason: str | None = "insufficient: one subject takes part in every comparison"
        return Rate(*counts, None, None, None, design.subjects, reason, None)
    reason, expected = None, float(dyads.k) if expected_errors is None else expected_errors
    if subjects < SUBJECTS_NEEDED:
        reason = f"insufficient: comparisons of {figures(subjects)} subjects' weight, {SUBJECTS_NEEDED:g} needed"
    elif expected < EXPECTED_ERRORS_NEEDED:
        reason = f"insufficient: {figures(expected)} errors expected, {EXPECTED_ERRORS_NEEDED:g} needed"
    bounds = bounds_of(dyads, level=level)
    return Rate(*counts, bounds.low, bounds.high, bounds.method, design.subjects, reason, bounds.n_effective)


@dataclass(frozen=True, slots=True)
class PairBounds:
    """Two-sided bounds of a pair rate, how they were computed, and the independent trials that would be as sure."""

    low: float
    high: float
    method: str
    n_effective: float


def bounds_of(dyads: ErringDyads, *, level: float) -> PairBounds:
    """Bound the rate of errors that are counted by dyad; there are comparisons, and not all of one subject."""
    from scipy import special

    design = dyads.design
    if dyads.k in (0, design.n):
        return one_outcome(design, is_error=dyads.k > 0, tail=(1 - level) / 2)
    variance = variance_of(dyads)
    p, t = variance.rate, t_quantile(variance.df, (1 + level) / 2)
    low = special.expit(special.logit(p) - t * math.sqrt(variance.value) / (p * (1 - p)))
    df = figures(variance.df) if variance.df < 1_000 else "many"
    effect, raised = (value / variance.of_trials for value in (variance.value, variance.raised(RAISED_BY)))
    assumed = f", {_ASSUMED}" if variance.is_assumed else ""
    unknown = ", errors known by subject only" if dyads.is_by_subject_only else ""
    return PairBounds(
        low=float(low),
        high=_upper(variance, design.n, (1 - level) / 2),
        method=f"dyadic sandwich, {percent(level)}, design effect {figures(effect)}, {df} degrees of freedom, "
        f"raised to {figures(raised)} for the upper bound{assumed}{unknown}",
        n_effective=p * (1 - p) / variance.value,
    )


def rate_of_subjects(matches: ArrayLike, *, trials: Trials, level: float = LEVEL) -> Rate:
    """Estimate the rate of `pair_rate` where only the errors of each subject are known, not those of each dyad.

    What the dyads add to the variance is then counted as added by subjects, twice: V = sum_i e_i^2 / N^2 - T, which is
    too much rather than too little, and hardly so where few comparisons are of one dyad. Where fewer than 10
    comparisons err, the variance is at least what `pair_rate` assumes of so few erring dyads.

    Args:
        matches: errors of each subject, in either role, shape (subjects,).
        trials: who was compared with whom.
        level: confidence of the two-sided interval, between 0 and 1.

    Raises:
        MetricError: a subject has more errors than comparisons, or a level that is no probability.
    """
    d, design = np.asarray(matches, np.float64), PairDesign.of(trials)
    if d.shape != design.met.shape or not np.all((d >= 0) & (d <= design.met)):
        raise MetricError(
            f"expected at most as many errors as comparisons of each of {len(design.met)} subjects, found {d.size}"
        )
    none = np.zeros(0)
    return rate_of(ErringDyads(design, none, none, none.astype(np.bool_), d, int(d.sum()) // 2), level=level)


def variance_of(dyads: ErringDyads) -> PairVariance:
    """Estimate the variance of the rate; some comparisons err, not all do, and none of the subjects is in all."""
    design = dyads.design
    n, p = design.n, dyads.k / design.n
    e, met = dyads.residuals, design.met
    spread = np.square(e * n / (n - met)).sum() * (1 - 1 / design.subjects)
    within = float((dyads.y**2 - 2 * p * dyads.y * dyads.m).sum() + p**2 * design.squares)
    own = dyads.is_own
    # A dyad is part of the sums of both its subjects, a cluster's own comparisons are part of one.
    own_within = float((dyads.y[own] ** 2 - 2 * p * dyads.y[own] * dyads.m[own]).sum() + p**2 * design.own_squares)
    of_trials = p * (1 - p) / n
    subject_df = _subject_df(dyads)
    n_erring = dyads.k if dyads.is_by_subject_only else len(dyads.y)
    assumed = of_trials * (design.assumed_dyad_effect + ASSUMED_CV**2 * p * design.shared)
    least = assumed if n_erring < FEW_ERRING_DYADS else 0.0
    if dyads.is_by_subject_only:
        sandwich = float(spread) / n**2 - of_trials
        return PairVariance(p, sandwich, of_trials, of_trials, least=least, dyad_df=1.0, subject_df=subject_df)
    return PairVariance(
        rate=p,
        sandwich=float(spread - (within - own_within)) / n**2,
        of_trials=of_trials,
        of_dyads=max(within / n**2, of_trials),
        least=least,
        dyad_df=_kish_df(dyads.y),
        subject_df=subject_df,
    )


def _subject_df(dyads: ErringDyads) -> float:
    """Degrees of freedom of the subjects' sum of squares: by the errors' concentration or the fourth moment."""
    e = dyads.residuals
    squares = float(np.square(e).sum())
    excess = float(np.square(np.square(e)).sum()) - squares**2 / dyads.design.subjects
    return max(1.0, min(2 * squares**2 / excess if excess > 0 else math.inf, _kish_df(dyads.d)))


def one_outcome(design: PairDesign, *, is_error: bool, tail: float) -> PairBounds:
    """Bound a rate where no comparison errs, or all do: no variance can be estimated, so a correlation is assumed.

    A rate p and a CV of c give the design effect D + c^2 p S, with D that of dyads and S the pairs of comparisons that
    share one subject, per comparison. At the bound p N = -ln(tail) times that.

    Args:
        design: the trials.
        is_error: whether all comparisons err.
        tail: probability beyond the bound.
    """
    within, q = design.assumed_dyad_effect, -math.log(tail)
    remaining = design.n - q * ASSUMED_CV**2 * design.shared
    at_bound = min(q * within / remaining, 1.0) if remaining > 0 else 1.0
    effective = design.n / (within + ASSUMED_CV**2 * at_bound * design.shared)
    bound = -math.expm1(math.log(tail) / effective)
    method = f"Clopper-Pearson at {figures(effective)} effective trials, {percent(1 - 2 * tail)}, {_ASSUMED}"
    low, high = (1 - bound, 1.0) if is_error else (0.0, bound)
    return PairBounds(low, high, method, effective)


_ASSUMED = f"CV {ASSUMED_CV:g} of the subjects' rates and ICC {ASSUMED_ICC} of a dyad's comparisons assumed"


def _upper(variance: PairVariance, n: int, tail: float) -> float:
    effective = n * variance.of_trials / variance.raised(RAISED_BY)
    return exact_bounds(variance.rate * effective, effective, tail)[1]


def _kish_df(counts: Values) -> float:
    return max(1.0, float(counts.sum() ** 2 / np.square(counts).sum()) - 1)


def t_quantile(df: float, probability: float) -> float:
    """Compute a quantile of the t distribution, that of the normal one at infinite degrees of freedom."""
    from scipy import special

    return float(special.ndtri(probability) if math.isinf(df) else special.stdtrit(df, probability))
