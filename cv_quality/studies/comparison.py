"""Two builds against each other: the difference of a rate or a quantile, with what subjects make of its uncertainty.

A difference is linear in what each subject adds to it, its influence. Subjects stand for themselves in rates of
attempts and quantiles; a comparison of two subjects stands for both, so that FNMR at a fixed FMR, whose threshold is
estimated, takes the dyadic sandwich of both builds at once. Where the builds met the same subjects, what they share
cancels; where they met others, the variances add: the same formulas do both.

Whether a difference passes a margin is decided in `cv_quality.studies.decisions`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.dyadic import Errors, pair_rate, t_quantile
from cv_quality.metrics.fixed_fmr import shortage
from cv_quality.metrics.rates import LEVEL, Rate, clustered_rate, percent, require_level
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import Trials
from cv_quality.metrics.verification import ErrorRates, ScoreTail, fnmr_at_fmr
from cv_quality.studies.influence import MOST_DF, Influence, threshold_slope
from cv_quality.text import figures

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FEW_SUBJECTS = 10
"""Subjects whose results differ between the builds, below which the sandwich is not trusted."""
RAISED_BY = 0.55
"""Relative standard errors of the variance by which it is raised for bounds at an estimated threshold: a sample that
lacks the few subjects with most of the false matches has a low rate and a low variance at once (they correlate by .4
in the most unequal design of `benchmarks/comparisons.py`). Without it builds at the margin pass there in .080 of the
studies, with it in .064, and builds alike in .63 instead of .69. Other ways were worse there: the bootstrap-t over
subjects .139, the jackknife .072 at a power of .57, Satterthwaite's degrees of freedom of both parts .085, Hall's
correction for skewness .091."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Result):
    """A metric of a candidate less that of a reference, with what is known of its uncertainty.

    Attributes:
        metric: which, such as "fnmr at FMR 0.0001".
        reference, candidate: the metric of each; None with a `reason`.
        value: candidate less reference.
        standard_error: of the value; None where it cannot be estimated.
        raised: factor of the standard error in bounds, at least 1.
        df: degrees of freedom of the standard error.
        low, high: two-sided bounds at `level`.
        level: confidence of these bounds, between 0 and 1.
        n_subjects: subjects with a trial in either build.
        n_shared: subjects with trials in both.
        method: how the bounds were computed.
        reason: why a value or a bound is missing, or "insufficient: ..." where there is too little data for a claim.
    """

    metric: str
    reference: float | None
    candidate: float | None
    value: float | None
    standard_error: float | None
    raised: float
    df: float | None
    low: float | None
    high: float | None
    level: float
    n_subjects: int
    n_shared: int
    method: str | None
    reason: str | None

    def bounds(self, level: float) -> tuple[float, float] | None:
        """Bound the difference from both sides at another level; None where it has no standard error."""
        if self.value is None or self.standard_error is None or self.df is None:
            return None
        half = t_quantile(self.df, (1 + level) / 2) * self.standard_error * self.raised
        return self.value - half, self.value + half


def compare_fnmr_at_fmr(
    reference: ClusteredScores, candidate: ClusteredScores, *, fmr: float, level: float = LEVEL
) -> Difference:
    """Compare FNMR at a fixed FMR, each build at its own estimated threshold: the paired dyadic sandwich.

    With p the FNMR at the threshold where the FMR is f, and s = -dp/df > 0, subject i and dyad {i, j} of a build add

        c_i = (x_i - p n_i) / N + s sum_j w_ij,    w_ij = (y_ij - f m_ij) / M

    where x of n genuine comparisons of the subject miss and y of m impostor comparisons of the dyad match. Candidate
    less reference, the variance is n / (n - 1) sum_i c_i^2 - sum_{i<j} w_ij^2, the second term because a dyad is in the
    first twice. The slope s is in `cv_quality.studies.influence.threshold_slope`. The degrees of freedom are at most
    (sum d)^2 / sum d^2 - 1, d_i being the false matches of subject i, and bounds take the variance raised by RAISED_BY
    of its relative standard errors sqrt(2 / df).

    Args:
        reference, candidate: scores of both builds, with one code for one subject.
        fmr: the highest FMR allowed, above 0 and at most 1.
        level: of the two-sided bounds.

    Raises:
        MetricError: a range is wrong, the builds count other subjects, or a tail ends above the threshold.

    Source: Fafchamps and Gubert (J. Dev. Econ. 83, 2007) for the sandwich; the influence of an estimated threshold is
    the delta method for p = G(F^-1(f)).
    """
    require_level(level)
    if not 0 < fmr <= 1:
        raise MetricError(f"expected an FMR above 0 and at most 1, found {fmr}")
    points = [
        fnmr_at_fmr(side.genuine, ScoreTail(side.impostor[::-1], side.trials.n), fmr=fmr)
        for side in (reference, candidate)
    ]

    def influence(scores: ClusteredScores, rates: ErrorRates) -> Influence:
        weights = (1.0, threshold_slope(scores, rates))
        return Influence.at_threshold(scores, rates.fnmr, rates, weights=weights)

    return _at_thresholds(
        f"fnmr at FMR {fmr:g}",
        (reference, candidate),
        [point.rates or point.reason or "no rate" for point in points],
        influence,
        level=level,
        reason=shortage(reference, fmr=fmr) or shortage(candidate, fmr=fmr),
    )


def compare_eer(
    reference: ClusteredScores,
    candidate: ClusteredScores,
    *,
    rates: tuple[ErrorRates, ErrorRates],
    level: float = LEVEL,
) -> Difference:
    """Compare equal error rates, each build at its own threshold.

    With the slope s of `compare_fnmr_at_fmr` at the threshold, an EER moves by (dFNMR + s dFMR) / (1 + s).

    Args:
        reference, candidate: scores of both builds, with one code for one subject.
        rates: of both builds where FMR and FNMR cross; their mean is the EER.
        level: of the two-sided bounds.

    Raises:
        MetricError: the builds count other subjects.
    """

    def influence(scores: ClusteredScores, found: ErrorRates) -> Influence:
        slope = threshold_slope(scores, found)
        weights = (1 / (1 + slope), slope / (1 + slope))
        return Influence.at_threshold(scores, (found.fmr + found.fnmr) / 2, found, weights=weights)

    return _at_thresholds("eer", (reference, candidate), rates, influence, level=level, reason=None)


def compare_fmr(
    reference: ClusteredScores,
    candidate: ClusteredScores,
    *,
    rates: tuple[ErrorRates, ErrorRates],
    level: float = LEVEL,
) -> Difference:
    """Compare the FMR of builds, each at its given threshold.

    Args:
        reference, candidate: scores of both builds, with one code for one subject.
        rates: of both builds at their thresholds.
        level: of the two-sided bounds.

    Raises:
        MetricError: the builds count other subjects.
    """

    def influence(scores: ClusteredScores, found: ErrorRates) -> Influence:
        return Influence.at_threshold(scores, found.fmr, found, weights=(0.0, 1.0))

    return _at_thresholds("fmr", (reference, candidate), rates, influence, level=level, reason=None)


def compare_pair_rates(
    name: str, reference: tuple[Errors, Trials], candidate: tuple[Errors, Trials], *, level: float = LEVEL
) -> Difference:
    """Compare rates of errors between subjects whose trials are listed, such as FAR.

    Args:
        name: of the metric.
        reference, candidate: the two subject codes of every error, and who was compared with whom; one numbering.
        level: of the two-sided bounds.

    Raises:
        MetricError: codes that are no subjects of the trials, or more errors than comparisons of a dyad.
    """
    require_level(level)
    sides = reference, candidate
    met = tuple(trials.per_subject() for _, trials in sides)
    if not all(trials.n for _, trials in sides):
        values = tuple(len(np.asarray(errors[0])) / trials.n if trials.n else None for errors, trials in sides)
        return _undefined(name, values, (met[0], met[1]), level, "no trial")
    one, other = (Influence.of_pairs(errors, trials) for errors, trials in sides)
    return _paired(
        name,
        one,
        other,
        attempts=(met[0], met[1]),
        level=level,
        method="paired dyadic sandwich",
        fallback=lambda: _mover(*(pair_rate(errors, trials=trials, level=level) for errors, trials in sides)),
        reason=None,
    )


def _at_thresholds(
    name: str,
    sides: tuple[ClusteredScores, ClusteredScores],
    rates: Sequence[ErrorRates | str],
    influence: Callable[[ClusteredScores, ErrorRates], Influence],
    *,
    level: float,
    reason: str | None,
) -> Difference:
    """Compare a rate at the thresholds of two builds; of a build without one, why."""
    require_level(level)
    reference, candidate = sides
    if reference.trials.n_subjects != candidate.trials.n_subjects:
        raise MetricError(
            f"expected both builds' scores under one numbering of subjects, found {reference.trials.n_subjects} and "
            f"{candidate.trials.n_subjects} codes"
        )
    attempts = reference.attempts, candidate.attempts
    found: list[Influence | str] = [
        why if isinstance(why, str) else _too_few(scores) or influence(scores, why)
        for scores, why in zip(sides, rates, strict=True)
    ]
    one, other = found
    if isinstance(one, str) or isinstance(other, str):
        values = tuple(None if isinstance(side, str) else side.value for side in found)
        named = zip(("reference", "candidate"), found, strict=True)
        return _undefined(
            name, values, attempts, level, "; ".join(f"{who}: {why}" for who, why in named if isinstance(why, str))
        )

    def fallback() -> float | None:
        one, other = rates
        assert not isinstance(one, str)
        assert not isinstance(other, str)
        if name == "fmr":
            return _mover(reference.fmr(one.n_false_matches), candidate.fmr(other.n_false_matches))
        return _mover(reference.fnmr(one.n_false_non_matches), candidate.fnmr(other.n_false_non_matches))

    method = "paired dyadic sandwich" if name == "fmr" else "paired dyadic sandwich, thresholds estimated"
    return _paired(name, one, other, attempts=attempts, level=level, method=method, fallback=fallback, reason=reason)


def _too_few(scores: ClusteredScores) -> str:
    if scores.n_genuine_subjects < 2:
        return f"{scores.n_genuine_subjects} subject with a genuine comparison, 2 needed"
    return "one subject takes part in every impostor comparison" if scores.design.hangs_on_one_subject else ""


def compare_rates(
    name: str, reference: tuple[ArrayLike, ArrayLike], candidate: tuple[ArrayLike, ArrayLike], *, level: float = LEVEL
) -> Difference:
    """Compare a rate of errors, such as FRR or FTA, subject by subject.

    Args:
        name: of the metric.
        reference, candidate: errors and trials of each subject, whole numbers, shape (subjects,), in one order; 0
            trials where a build did not meet a subject.
        level: of the two-sided bounds.

    Raises:
        MetricError: shapes differ, or there are more errors than trials.

    >>> rng = np.random.default_rng(0)
    >>> trials, own = np.full(200, 10), rng.beta(1, 30, 200)
    >>> errors = rng.binomial(trials, own), rng.binomial(trials, own)
    >>> found = compare_rates("frr", (errors[0], trials), (errors[1], trials))
    >>> f"{found.value:+.4f} in {found.low:+.4f} to {found.high:+.4f}"
    '-0.0050 in -0.0156 to +0.0056'
    """
    require_level(level)
    (x, n), (y, m) = _counts(reference), _counts(candidate)
    if x.shape != y.shape:
        raise MetricError(f"expected the subjects of both builds in one order, found {len(x)} and {len(y)}")
    if not n.sum() or not m.sum():
        values = (x.sum() / n.sum() if n.sum() else None, y.sum() / m.sum() if m.sum() else None)
        return _undefined(name, values, (n, m), level, "no trial")
    return _of_sums(
        name,
        (x, n),
        (y, m),
        level=level,
        fallback=lambda: _mover(clustered_rate(x, n, level=level), clustered_rate(y, m, level=level)),
        differing=_differing(x, n, y, m),
    )


def compare_means(
    name: str, reference: tuple[ArrayLike, ArrayLike], candidate: tuple[ArrayLike, ArrayLike], *, level: float = LEVEL
) -> Difference:
    """Compare the mean of values, such as the loss of clips, subject by subject (or clip by clip).

    Args:
        name: of the metric.
        reference, candidate: values and the code of each value's subject, shape (n,) each, one numbering for both.
        level: of the two-sided bounds.

    Raises:
        MetricError: a value is not finite.

    >>> own = np.linspace(0, 1, 30)
    >>> found = compare_means("loss", (own, range(30)), (own + 0.1 + 0.02 * (-1.0) ** np.arange(30), range(30)))
    >>> f"{found.value:+.3f} in {found.low:+.3f} to {found.high:+.3f}"
    '+0.100 in +0.092 to +0.108'
    """
    require_level(level)
    sides = [_valued(side) for side in (reference, candidate)]
    size = 1 + max((int(codes.max()) for _, codes in sides if len(codes)), default=-1)
    counts = [np.bincount(codes, minlength=size) for _, codes in sides]
    sums = [np.bincount(codes, values, size) for values, codes in sides]
    if not all(len(values) for values, _ in sides):
        found = [float(values.mean()) if len(values) else None for values, _ in sides]
        return _undefined(name, (found[0], found[1]), (counts[0], counts[1]), level, "no value")
    one, other = zip(sums, counts, strict=True)
    return _of_sums(name, one, other, level=level, fallback=lambda: None)


def _of_sums(
    name: str,
    reference: tuple[Floats | Codes, Codes],
    candidate: tuple[Floats | Codes, Codes],
    *,
    level: float,
    fallback: Callable[[], float | None],
    differing: int | None = None,
) -> Difference:
    """Compare ratios of sums over subjects: those of errors, or of values, over those of trials."""
    (x, n), (y, m) = reference, candidate
    p, q = float(x.sum() / n.sum()), float(y.sum() / m.sum())
    return _difference(
        name,
        (p, q),
        (y - q * m) / m.sum() - (x - p * n) / n.sum(),
        attempts=(n, m),
        doubled=0.0,
        level=level,
        method="paired by subject",
        fallback=fallback,
        differing=differing,
    )


def against_ratio(scaled: Difference, ratio: float) -> Difference:
    """Give the difference from a reference whose values were multiplied by a ratio, against the reference itself.

    A margin of (ratio - 1) times the reference then decides as the ratio does, with what is not known of the reference.

    Args:
        scaled: candidate less ratio times the reference.
        ratio: above 0.
    """
    if scaled.value is None or scaled.reference is None or scaled.low is None or scaled.high is None:
        return scaled
    moved = (ratio - 1) * scaled.reference / ratio
    return replace(
        scaled,
        reference=scaled.reference / ratio,
        value=scaled.value + moved,
        low=scaled.low + moved,
        high=scaled.high + moved,
    )


def compare_quantiles(
    name: str,
    reference: tuple[ArrayLike, ArrayLike],
    candidate: tuple[ArrayLike, ArrayLike],
    *,
    quantile: float,
    level: float = LEVEL,
) -> Difference:
    """Compare a quantile, such as the 95th percentile of latency, with subjects (or devices) as units.

    With q the quantile and g the density there, subject i adds c_i = (tau n_i - #{values <= q}) / (N g); the density
    is that between the quantiles one standard error of their rank to either side (Woodruff).

    Args:
        name: of the metric.
        reference, candidate: values and the code of each value's subject, shape (n,) each, one numbering for both.
        quantile: tau, between 0 and 1.
        level: of the two-sided bounds.

    Raises:
        MetricError: a value is not finite, or the quantile is no probability.
    """
    require_level(level)
    if not 0 < quantile < 1:
        raise MetricError(f"expected a quantile between 0 and 1, found {quantile}")
    sides = [_valued(side) for side in (reference, candidate)]
    size = 1 + max((int(codes.max()) for _, codes in sides if len(codes)), default=-1)
    counts = [np.bincount(codes, minlength=size) for _, codes in sides]
    if not all(len(values) for values, _ in sides):
        return _undefined(name, (None, None), (counts[0], counts[1]), level, "no value")
    found, influences = [], []
    for (values, codes), n in zip(sides, counts, strict=True):
        value, influence = _quantile_influence(values, codes, n, quantile)
        found.append(value)
        influences.append(influence)
    return _difference(
        name,
        (found[0], found[1]),
        influences[1] - influences[0],
        attempts=(counts[0], counts[1]),
        doubled=0.0,
        level=level,
        method="paired by subject, density by Woodruff",
        fallback=lambda: None,
    )


def _paired(
    name: str,
    reference: Influence,
    candidate: Influence,
    *,
    attempts: tuple[Codes, Codes],
    level: float,
    method: str,
    fallback: Callable[[], float | None],
    reason: str | None,
) -> Difference:
    """The paired dyadic sandwich of two influences."""
    doubled = reference.dyads_squared + candidate.dyads_squared - 2 * reference.times(candidate)
    return _difference(
        name,
        (reference.value, candidate.value),
        candidate.of_subjects - reference.of_subjects,
        attempts=attempts,
        doubled=doubled,
        most_df=min(reference.most_df, candidate.most_df),
        raised_by=RAISED_BY,
        level=level,
        method=method,
        fallback=fallback,
        reason=reason,
    )


def _quantile_influence(values: Floats, codes: Codes, n: Codes, tau: float) -> tuple[float, Floats]:
    """The quantile, and what each subject adds to it."""
    order = np.sort(values)
    total = len(order)
    value = float(order[min(math.ceil(tau * total), total) - 1])
    below = np.bincount(codes[values <= value], minlength=len(n))
    rank = (tau * n - below) / total
    spread = max(math.sqrt(float(np.square(rank - rank.sum() * n / total).sum())), 1 / total)
    low, high = (min(max(math.ceil((tau + sign * spread) * total), 1), total) for sign in (-1, 1))
    if high <= low:
        return value, np.zeros(len(n))
    per_share = (float(order[high - 1]) - float(order[low - 1])) / ((high - low) / total)
    return value, rank * per_share


def _difference(
    name: str,
    values: tuple[float, float],
    influence: Floats,
    *,
    attempts: tuple[Codes, Codes],
    doubled: float,
    level: float,
    method: str,
    fallback: Callable[[], float | None],
    differing: int | None = None,
    most_df: float = MOST_DF,
    raised_by: float = 0.0,
    reason: str | None = None,
) -> Difference:
    """Bound a difference by its influences, or by the rates' own bounds where too few subjects differ."""
    seen = (attempts[0] > 0) | (attempts[1] > 0)
    n, shared = int(np.count_nonzero(seen)), int(np.count_nonzero((attempts[0] > 0) & (attempts[1] > 0)))
    centred = influence[seen] - influence[seen].mean() if n else influence
    squares = np.square(centred)
    total = float(squares.sum())
    variance = n / (n - 1) * total - doubled if n > 1 else 0.0
    variance = max(variance, total / 2)
    changed = int(np.count_nonzero(influence)) if differing is None else differing
    told = f"{method}, {percent(level)}"
    df = min(_degrees(squares, n), most_df)
    raised = math.sqrt(1 + raised_by * math.sqrt(2 / df))
    error: float | None = math.sqrt(variance)
    if n < 2 or changed < FEW_SUBJECTS:
        error, df, raised = fallback(), float(max(n - 1, 1)), 1.0
        told = f"bounds of both rates combined as if independent (MOVER), {percent(level)}: {changed} subjects differ"
    if n < FEW_SUBJECTS:
        reason = reason or f"insufficient: {n} subjects, {FEW_SUBJECTS} needed"
    elif error is None or error == 0:
        error, reason = None, reason or f"insufficient: {changed} subjects differ, {FEW_SUBJECTS} needed"
    found = Difference(
        metric=name,
        reference=values[0],
        candidate=values[1],
        value=values[1] - values[0],
        standard_error=error,
        raised=raised,
        df=df if error is not None else None,
        low=None,
        high=None,
        level=level,
        n_subjects=n,
        n_shared=shared,
        method=f"{told}, {figures(df)} degrees of freedom" if error is not None else None,
        reason=reason,
    )
    bounds = found.bounds(level)
    return found if bounds is None else replace(found, low=bounds[0], high=bounds[1])


def _differing(x: Codes, n: Codes, y: Codes, m: Codes) -> int:
    """Subjects that differ between the builds; of those that met one build, as many as err under the better one."""
    under_one = min(np.count_nonzero((m == 0) & (x > 0)), np.count_nonzero((n == 0) & (y > 0)))
    return int(np.count_nonzero(x * m != y * n) + under_one)


def _mover(reference: Rate, candidate: Rate) -> float | None:
    """The standard error that gives the wider side of the difference's bounds, were the two rates independent."""
    ends = (reference.low, reference.high, candidate.low, candidate.high)
    if reference.value is None or candidate.value is None or any(end is None for end in ends):
        return None
    low, high, below, above = (float(end) for end in ends if end is not None)
    up = math.hypot(above - candidate.value, reference.value - low)
    down = math.hypot(candidate.value - below, high - reference.value)
    return max(up, down) / t_quantile(math.inf, (1 + LEVEL) / 2)


def _degrees(squares: Floats, n: int) -> float:
    """Degrees of freedom of a sum of squares, by its fourth moment, at most n - 1."""
    total = float(squares.sum())
    excess = float(np.square(squares).sum()) - total**2 / max(n, 1)
    return max(1.0, min(2 * total**2 / excess if excess > 0 else MOST_DF, float(n - 1)))


def undefined_difference(metric: str, reason: str, *, level: float = LEVEL) -> Difference:
    """Make a difference without a value.

    Args:
        metric: of what.
        reason: why there is none.
        level: of the bounds that are missing.
    """
    nobody = np.zeros(0, np.int64)
    return _undefined(metric, (None, None), (nobody, nobody), level, reason)


def _undefined(
    name: str, values: tuple[float | None, ...], attempts: tuple[Codes, Codes], level: float, reason: str
) -> Difference:
    shared = int(np.count_nonzero((attempts[0] > 0) & (attempts[1] > 0)))
    return Difference(
        metric=name,
        reference=values[0],
        candidate=values[1],
        value=None,
        standard_error=None,
        raised=1.0,
        df=None,
        low=None,
        high=None,
        level=level,
        n_subjects=int(np.count_nonzero((attempts[0] > 0) | (attempts[1] > 0))),
        n_shared=shared,
        method=None,
        reason=reason,
    )


def _counts(side: tuple[ArrayLike, ArrayLike]) -> tuple[Codes, Codes]:
    errors, trials = (np.asarray(part) for part in side)
    if errors.ndim != 1 or errors.shape != trials.shape:
        raise MetricError(f"expected errors and trials of each subject, found shapes {errors.shape} and {trials.shape}")
    if not np.all((errors >= 0) & (errors <= trials)) or np.any(errors != np.floor(errors)):
        raise MetricError("expected whole numbers of errors from 0 to the trials of each subject")
    return errors.astype(np.int64), trials.astype(np.int64)


def _valued(side: tuple[ArrayLike, ArrayLike]) -> tuple[Floats, Codes]:
    values, codes = np.asarray(side[0], np.float64), np.asarray(side[1])
    if values.ndim != 1 or values.shape != codes.shape or not np.all(np.isfinite(values)):
        raise MetricError("expected finite values and one subject code for each")
    return values, codes.astype(np.int64)
