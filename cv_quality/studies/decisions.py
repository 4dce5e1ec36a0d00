"""Verdicts of differences and rates held against margins and limits: pass, fail, or insufficient, which never passes.

A margin is declared before the data are seen. How a difference is bounded is in `cv_quality.studies.comparison`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import Result
from cv_quality.studies.comparison import Difference
from cv_quality.text import told_apart

Verdict = Literal["pass", "fail", "insufficient"]

ALPHA = 0.05
"""One-sided: the chance of a pass where the truth lies at the margin."""
POWER = 0.8
"""Chance that as many subjects as are said to be needed settle a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement(Result):
    """A difference held against its margin.

    Attributes:
        metric: what was compared.
        verdict: "pass" where the one-sided bound lies within the margin, "fail" where the opposite bound lies beyond
            it, else "insufficient".
        margin: the largest loss that is accepted, above 0, in the unit of the metric; None where it hangs on a rate
            that was not measured.
        alpha: chance of a pass at the margin.
        value: the loss: candidate less reference, of a metric of which more is better the other way round.
        low, high: one-sided bounds of the loss, each at 1 - alpha.
        p_value: of the loss being at least the margin.
        subjects_needed: in all, for a verdict with the power of 80 %, were the loss as seen; None where no number does.
        reason: what the verdict rests on, in words.
    """

    metric: str
    verdict: Verdict
    margin: float | None
    alpha: float
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    subjects_needed: int | None
    reason: str


def judge(
    difference: Difference, *, margin: float, alpha: float = ALPHA, power: float = POWER, is_higher_better: bool = False
) -> Judgement:
    """Judge whether a candidate is worse than its reference by less than a margin.

    It passes where loss + t se < margin and fails where loss - t se > margin, t being the quantile of 1 - alpha. As
    many subjects n' = n ((z_(1-alpha) + z_power) se / |margin - loss|)^2 would settle it.

    Args:
        difference: candidate less reference.
        margin: the largest loss that is accepted, above 0.
        alpha: chance of a pass at the margin, between 0 and 0.5.
        power: of the subjects needed, above alpha and below 1.
        is_higher_better: whether a fall of the metric is a loss.

    Raises:
        MetricError: a margin that is not above 0, or an alpha or a power out of range.
    """
    from scipy import special

    if not (margin > 0 and math.isfinite(margin)):
        raise MetricError(
            f"{difference.metric}: expected a margin above 0, the loss that is accepted, found {margin:g}"
        )
    if not 0 < alpha < 0.5 or not alpha < power < 1:
        raise MetricError(f"expected 0 < alpha < 0.5 and alpha < power < 1, found alpha {alpha:g} and power {power:g}")
    bounds, value = difference.bounds(1 - 2 * alpha), difference.value
    if bounds is None or value is None or difference.standard_error is None or difference.df is None:
        return _without_bounds(difference.metric, value, margin, alpha, difference.reason)
    loss, (low, high) = (-value, (-bounds[1], -bounds[0])) if is_higher_better else (value, bounds)
    error = difference.standard_error * difference.raised
    p_value = 1 - float(special.stdtr(difference.df, (margin - loss) / error))
    found = _judged(difference.metric, (loss, low, high), margin=margin, alpha=alpha, reason=difference.reason)
    distance = abs(margin - loss)
    z = float(special.ndtri(1 - alpha)) + float(special.ndtri(power))
    if not distance or found.verdict != "insufficient" or difference.reason:
        return replace(found, p_value=p_value)
    needed = max(math.ceil(difference.n_subjects * (z * error / distance) ** 2), difference.n_subjects)
    told = f"{found.reason}; about {needed:,} subjects would settle it, were the loss the one that was seen"
    return replace(found, p_value=p_value, subjects_needed=needed, reason=told)


def judge_bounds(
    metric: str,
    bounds: tuple[float | None, float | None, float | None],
    *,
    margin: float,
    alpha: float,
    is_higher_better: bool = False,
    reason: str | None = None,
) -> Judgement:
    """Judge a difference of which only its value and two bounds are known.

    Args:
        metric: of what.
        bounds: the difference, its lower and its upper one-sided bound at 1 - alpha.
        margin, alpha, is_higher_better: as for `judge`.
        reason: why the data are too few, or a bound is missing.

    Raises:
        MetricError: a margin that is not above 0, or an alpha out of range.
    """
    _require_margin(metric, margin, alpha)
    value, low, high = bounds
    if value is None or low is None or high is None:
        return _without_bounds(metric, value, margin, alpha, reason)
    loss = (-value, -high, -low) if is_higher_better else (value, low, high)
    return _judged(metric, loss, margin=margin, alpha=alpha, reason=reason)


def judge_limit(name: str, rate: Rate, *, limit: float) -> Judgement:
    """Judge whether a rate of errors lies below a limit: by its two-sided 95 % bounds, so at alpha 0.025.

    Args:
        name: of the metric.
        rate: with its interval.
        limit: the highest rate accepted, above 0 and below 1.

    Raises:
        MetricError: the limit is out of range.
    """
    if not 0 < limit < 1:
        raise MetricError(f"{name}: expected a limit between 0 and 1, found {limit:g}")
    known = rate.low is not None and rate.high is not None and rate.value is not None
    verdict: Verdict = "insufficient"
    reason = rate.reason or "no interval"
    if known and rate.reason is None:
        assert rate.low is not None
        assert rate.high is not None
        verdict = "pass" if rate.high < limit else "fail" if rate.low > limit else "insufficient"
        bound, allowed = told_apart([rate.low if verdict == "fail" else rate.high, limit])
        reason = {
            "pass": f"at most {bound}, below the limit of {allowed}",
            "fail": f"at least {bound}, above the limit of {allowed}",
            "insufficient": f"the interval reaches {bound}, the limit is {allowed}",
        }[verdict]
    return Judgement(
        metric=name,
        verdict=verdict,
        margin=limit,
        alpha=0.025,
        value=rate.value,
        low=rate.low,
        high=rate.high,
        p_value=None,
        subjects_needed=None,
        reason=reason,
    )


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Combine verdicts that must all pass: one failure fails, one that cannot tell leaves the whole open, none too.

    >>> overall(["pass", "insufficient"]), overall(["fail", "insufficient"]), overall(["pass"]), overall([])
    ('insufficient', 'fail', 'pass', 'insufficient')
    """
    found = set(verdicts)
    if "fail" in found:
        return "fail"
    return "pass" if found == {"pass"} else "insufficient"


def _require_margin(metric: str, margin: float, alpha: float) -> None:
    if not (margin > 0 and math.isfinite(margin)):
        raise MetricError(f"{metric}: expected a margin above 0, the loss that is accepted, found {margin:g}")
    if not 0 < alpha < 0.5:
        raise MetricError(f"expected an alpha above 0 and below 0.5, found {alpha:g}")


def _judged(
    metric: str, loss: tuple[float, float, float], *, margin: float, alpha: float, reason: str | None
) -> Judgement:
    value, low, high = loss
    settled: Verdict = "pass" if high < margin else "fail" if low > margin else "insufficient"
    bound, allowed = told_apart([low if settled == "fail" else high, margin])
    told = {
        "pass": f"worse by at most {bound}, within the margin of {allowed}",
        "fail": f"worse by at least {bound}, beyond the margin of {allowed}",
        "insufficient": f"worse by up to {bound}, where {allowed} is allowed",
    }[settled]
    if settled == "pass" and high <= 0:
        told = "no worse, at this level of confidence"
    return Judgement(
        metric=metric,
        verdict="insufficient" if reason else settled,
        margin=margin,
        alpha=alpha,
        value=value,
        low=low,
        high=high,
        p_value=None,
        subjects_needed=None,
        reason=reason or told,
    )


def _without_bounds(metric: str, value: float | None, margin: float, alpha: float, reason: str | None) -> Judgement:
    return Judgement(
        metric=metric,
        verdict="insufficient",
        margin=margin,
        alpha=alpha,
        value=value,
        low=None,
        high=None,
        p_value=None,
        subjects_needed=None,
        reason=reason or "no interval",
    )
