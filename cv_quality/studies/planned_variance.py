"""What the variance of an endpoint's difference is expected to be, from what a protocol assumes or a pilot shows.

Variances are those of the estimated difference times the number of subjects. Each comes with the sentences that it
rests on, since a size is worth no more than its assumptions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from cv_quality.errors import MetricError
from cv_quality.metrics.results import percent
from cv_quality.studies.protocol import Assumptions, StudyEndpoint, StudyMetric, StudyProtocol
from cv_quality.studies.sample_size import design_effect
from cv_quality.text import figures

BETWEEN_SUBJECTS = ("fmr", "far")


@dataclass(frozen=True, slots=True)
class ExpectedVariance:
    """The variance of a difference times the subjects, and the distance that it is held against.

    Attributes:
        variance: on the scale of the distance.
        distance: from no difference to the margin; None without a margin.
        is_log: whether both are of logarithms, so that differences are ratios.
        assumptions: in words.
    """

    variance: float
    distance: float | None
    is_log: bool
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PilotRate:
    """A rate as a pilot shows it.

    Attributes:
        icc: intraclass correlation of a subject's trials (analysis of variance); None where it cannot be told.
        n_subjects: that it is of.
        agreement: correlation of two builds' rates on the same subjects; None where one build met them.
    """

    value: float
    icc: float | None
    n_subjects: int
    agreement: float | None = None


def pilot_rate(errors: ArrayLike, trials: ArrayLike) -> PilotRate:
    """Estimate a rate and the likeness of a subject's trials from the counts of a pilot.

    Args:
        errors, trials: of each subject, shape (subjects,).

    Raises:
        MetricError: no subject has a trial.
    """
    made = np.asarray(trials, np.float64)
    kept = made > 0
    x, m = np.asarray(errors, np.float64)[kept], made[kept]
    if not len(m):
        raise MetricError("a pilot without a trial says nothing")
    total, k = float(m.sum()), len(m)
    value = float(x.sum()) / total
    if k < 2 or total == k or not 0 < value < 1:
        return PilotRate(value, None, k)
    between = float((m * (x / m - value) ** 2).sum()) / (k - 1)
    within = float((x * (1 - x / m)).sum()) / (total - k)
    size = (total - float((m**2).sum()) / total) / (k - 1)
    icc = (between - within) / (between + (size - 1) * within)
    return PilotRate(value, min(max(icc, 0.0), 0.99), k)


def pilot_agreement(first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike]) -> float | None:
    """Estimate how alike two builds err on the same subjects: 1 - Var(difference) / (Var(first) + Var(second)).

    Args:
        first, second: errors and trials of each subject, the same subjects in the same order, of each build.

    Returns:
        Within 0 and 0.99; None where a subject has no trial of both, or nothing varies.
    """
    (x, m), (y, n) = (
        (np.asarray(errors, np.float64), np.asarray(trials, np.float64)) for errors, trials in (first, second)
    )
    kept = (m > 0) & (n > 0)
    if kept.sum() < 2:
        return None
    a, b = x[kept] / m[kept], y[kept] / n[kept]
    apart = float(a.var() + b.var())
    return min(max(1 - float((a - b).var()) / apart, 0.0), 0.99) if apart > 0 else None


def with_pilot(assume: Assumptions, endpoint: StudyEndpoint, pilot: Mapping[str, PilotRate]) -> Assumptions:
    """Replace what is assumed of an endpoint by what a pilot shows of it; a value that is stated is kept.

    Args:
        assume: by the protocol.
        endpoint: that is sized.
        pilot: rates by endpoint.
    """
    found = pilot.get(endpoint.id)
    if found is None:
        return assume
    values = dict(assume.values)
    values.setdefault(endpoint.id, found.value)
    return replace(
        assume,
        values=tuple(values.items()),
        icc=assume.icc if found.icc is None else found.icc,
        agreement=assume.agreement if found.agreement is None else found.agreement,
    )


def expected_variance(
    endpoint: StudyEndpoint, metric: StudyMetric, *, protocol: StudyProtocol, assume: Assumptions, subjects: float
) -> ExpectedVariance:
    """Compute the variance that a protocol expects of an endpoint's difference.

    Args:
        endpoint, metric: that is sized.
        protocol: its design.
        assume: what is expected.
        subjects: that complete; the number of comparisons of subjects hangs on it.

    Raises:
        MetricError: something is not known without which the endpoint cannot be sized; says what to state.
    """
    m, words = _attempts(endpoint, protocol)
    effect = design_effect(m, assume.icc)
    value = dict(assume.values).get(endpoint.id)
    words.append(f"ICC {figures(assume.icc)} of the attempts of a subject: design effect {figures(effect)}")
    is_paired = protocol.design.arms == "paired"
    each = subjects if is_paired else subjects / 2
    if metric.kind == "time":
        own, distance = _time(endpoint, value, assume, words)
        variance = own * effect / m
    elif metric.kind == "rate":
        if value is None:
            raise MetricError(f"no pilot shows {metric.name}, and sample_size.assume.values has no {endpoint.id}")
        if not 0 < value < 1:
            raise MetricError(f"a {metric.name} of {percent(value)} in the pilot is none to plan by; state one")
        words.insert(0, f"{metric.name} of the reference {percent(value)}")
        distance = _rate_distance(endpoint, value)
        variance = _rate(endpoint, metric, value, assume=assume, attempts=m, subjects=each, words=words)
    else:
        raise MetricError(f"how much {metric.name} varies between subjects is not known before there are data")
    if is_paired:
        words.append(f"both builds judge the same attempts; correlation of their outcomes {figures(assume.agreement)}")
        return ExpectedVariance(2 * (1 - assume.agreement) * variance, distance, metric.kind == "time", tuple(words))
    words.append("half of the subjects in each arm")
    return ExpectedVariance(4 * variance, distance, metric.kind == "time", tuple(words))


def _attempts(endpoint: StudyEndpoint, protocol: StudyProtocol) -> tuple[float, list[str]]:
    """The attempts of a subject that lie in the scope of an endpoint."""
    design, m, words = protocol.design, float(protocol.design.attempts_per_subject), list[str]()
    levels = {plan.factor: len(plan.levels) for plan in (design.devices, design.conditions) if plan}
    for column, level in endpoint.scope:
        if column in levels:
            m /= levels[column]
        else:
            words.append(f"all attempts have {column} {level}, as nothing says how many do")
    return m, [*words, f"{figures(m)} attempts of a subject count"]


def _rate(
    endpoint: StudyEndpoint,
    metric: StudyMetric,
    value: float,
    *,
    assume: Assumptions,
    attempts: float,
    subjects: float,
    words: list[str],
) -> float:
    """Variance of one build's rate, times the subjects."""
    own = value * (1 - value) * design_effect(attempts, assume.icc) / attempts
    if metric.name in BETWEEN_SUBJECTS:
        words.append(f"subjects’ {metric.name} varies by {figures(assume.fmr_cv)} of its mean, on both sides of a pair")
        return value**2 * _relative_fmr(value, assume, attempts, subjects)
    if metric.name == "fnmr_at_fmr" and endpoint.threshold == "re_estimated" and endpoint.fmr is not None:
        slope = log_slope(value, endpoint.fmr)
        words.append(
            f"the threshold is estimated anew: FNMR moves by {percent(slope)} for each unit of ln FMR (scores of normal"
            f" shape), and subjects’ FMR varies by {figures(assume.fmr_cv)} of its mean"
        )
        return own + slope**2 * _relative_fmr(endpoint.fmr, assume, attempts, subjects)
    return own


def _relative_fmr(fmr: float, assume: Assumptions, attempts: float, subjects: float) -> float:
    """Relative variance of an FMR over all pairs of subjects, times the subjects; a pair has two of them."""
    return 4 * assume.fmr_cv**2 + 1 / (max(subjects - 1, 1) * attempts * fmr)


def log_slope(fnmr: float, fmr: float) -> float:
    """Compute by how much FNMR falls for each unit of ln FMR, where scores have a normal shape of equal spread.

    >>> round(log_slope(0.03, 0.001), 4)
    0.0202
    """
    from scipy import special

    at_fnmr, at_fmr = float(special.ndtri(fnmr)), float(special.ndtri(fmr))
    return fmr * math.exp((at_fmr**2 - at_fnmr**2) / 2)


def _rate_distance(endpoint: StudyEndpoint, value: float) -> float | None:
    if endpoint.margin_ratio is not None:
        return (endpoint.margin_ratio - 1) * value
    return endpoint.margin


def _time(
    endpoint: StudyEndpoint, value: float | None, assume: Assumptions, words: list[str]
) -> tuple[float, float | None]:
    """Variance of the logarithm of a quantile of one attempt a subject, and the margin as a logarithm."""
    from scipy import special

    sd, quantile = dict(assume.log_sd).get(endpoint.id), endpoint.quantile
    if sd is None or quantile is None:
        raise MetricError(f"nothing says how much it varies: sample_size.assume.log_sd has no {endpoint.id}")
    words.insert(0, f"logarithms of it are normal with standard deviation {figures(sd)}")
    density = math.exp(-(float(special.ndtri(quantile)) ** 2) / 2) / math.sqrt(2 * math.pi)
    variance = sd**2 * quantile * (1 - quantile) / density**2
    if endpoint.margin_ratio is not None:
        return variance, math.log(endpoint.margin_ratio)
    if endpoint.margin is None:
        return variance, None
    if value is None:
        raise MetricError(f"a margin in ms needs the time expected: sample_size.assume.values has no {endpoint.id}")
    return variance, math.log1p(endpoint.margin / value)
