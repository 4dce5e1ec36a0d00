"""The rate of one PAI species with bounds that know how few artefacts were shown, however often each was.

Presentations of one artefact are alike. How alike is estimated from few artefacts, so the part of the variance that
lies between them is raised for the upper bound; without an error it cannot be estimated at all, and each artefact then
counts once. Which bounds hold in which designs is in `benchmarks/artefact_coverage.py`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import (
    ASSUMED_ICC,
    FEW_ERRING_SUBJECTS,
    LEVEL,
    NO_TRIAL,
    Rate,
    Side,
    checked_counts,
    exact_bounds,
    observed_design_effect,
    percent,
    require_level,
)
from cv_quality.text import figures

ARTEFACTS_NEEDED = 5
"""With fewer artefacts no bound of a species is worth a verdict."""
RAISE = 2.0
"""Standard errors of a variance between artefacts that are added to it for an upper bound."""


def artefact_rate(
    errors: ArrayLike, presentations: ArrayLike, *, level: float = LEVEL, side: Side = "both", unit: str = "artefact"
) -> Rate:
    """Estimate the rate sum(errors) / sum(presentations) of one PAI species; lower is better.

    The bounds are those of Clopper and Pearson at an effective number of presentations n / D (Korn and Graubard, Survey
    Methodology 24, 1998), where D is the design effect over artefacts, at least 1; with fewer than 10 artefacts that
    err, or that do not, at least 1 + (m - 1) 0.1, with m presentations of each. For the lower bound n / D is reduced by
    the t quantile with artefacts - 1 degrees of freedom. For the upper one D is
    1 + (D - 1) (1 + 2 sqrt(2 / (artefacts - 1))); while fewer than 10 artefacts err, the bound is never below
    1 - tail ^ (1 / artefacts), that of no error with each artefact counted once: an error more never lowers it there.

    Args:
        errors: of each artefact, shape (artefacts,).
        presentations: with a response, of each artefact; those without one are left out.
        level: confidence of the interval, or of the single bound where `side` is "upper" or "lower".
        side: a one-sided interval reaches to 0 or to 1 on its other side.
        unit: what an artefact is called, where another unit stands in for it.

    Raises:
        MetricError: a count is no whole number from 0, an artefact has more errors than presentations, or the level is
            invalid.

    >>> rate = artefact_rate([0] * 10, [15] * 10, side="upper")
    >>> rate.numerator, rate.denominator, round(rate.high, 3)
    (0, 150, 0.259)
    >>> artefact_rate([1, 0, 2], [10, 10, 10]).reason
    'insufficient: 3 artefacts, 5 needed'
    """
    x, n = checked_counts(errors, presentations)
    require_level(level)
    if side not in ("both", "upper", "lower"):
        raise MetricError(f"expected both, upper or lower, found {side!r}")
    if n.size == 0:
        return NO_TRIAL
    tail = 1 - level if side != "both" else (1 - level) / 2
    design, is_assumed = observed_design_effect(x, n, ASSUMED_ICC)
    low, high = _bounds(x, n, design, tail)
    few = f"insufficient: {n.size} {unit}{'s' if n.size > 1 else ''}, {ARTEFACTS_NEEDED} needed"
    sided = "" if side == "both" else f" {side} bound"
    assumed = f", ICC at least {ASSUMED_ICC:g} for few errors" if is_assumed else ""
    return Rate(
        value=float(x.sum() / n.sum()),
        numerator=int(x.sum()),
        denominator=int(n.sum()),
        low=0.0 if side == "upper" else low,
        high=1.0 if side == "lower" else high,
        method=f"Korn-Graubard by {unit}{sided}, {percent(level)}, {_design_words(x, n, design, unit)}{assumed}",
        n_subjects=n.size,
        reason=few if n.size < ARTEFACTS_NEEDED else None,
        n_effective=float(n.sum() / design),
    )


def intraclass_correlation(errors: ArrayLike, presentations: ArrayLike) -> float | None:
    """Estimate how alike presentations of one artefact are, from the analysis of variance; 1 where each is all or none.

    (MSB - MSW) / (MSB + (m0 - 1) MSW), with m0 = (n - sum m^2 / n) / (artefacts - 1) (Donner, International Statistical
    Review 54, 1986). The estimate of what is unlike within artefacts falls below 0.

    Args:
        errors, presentations: as for `artefact_rate`.

    Returns:
        None where nothing can be told: no error or errors only, one artefact, or one presentation of each.

    >>> intraclass_correlation([5, 0, 5, 0], [5, 5, 5, 5]), intraclass_correlation([0, 0], [5, 5])
    (1.0, None)
    """
    x, m = checked_counts(errors, presentations)
    n, k, total = m.sum(), m.size, x.sum()
    if k < 2 or n == k or total in (0, n):
        return None
    within = float((x * (m - x) / m).sum())
    between = float((m * (x / m - total / n) ** 2).sum())
    msb, msw = between / (k - 1), within / (n - k)
    size = float((n - np.square(m).sum() / n) / (k - 1))
    return float((msb - msw) / (msb + (size - 1) * msw))


def artefacts_without_error(limit: float, *, level: float = LEVEL) -> int:
    """Count the artefacts that settle a limit without an error: ln(1 - level) / ln(1 - limit).

    Args:
        limit: highest rate, above 0 and below 1.
        level: of the one-sided upper bound.

    >>> artefacts_without_error(0.07), artefacts_without_error(0.15)
    (42, 19)
    """
    require_level(level)
    if not 0 < limit < 1:
        raise MetricError(f"expected a limit above 0 and below 1, found {limit:g}")
    return math.ceil(math.log(1 - level) / math.log(1 - limit))


def _bounds(x: NDArray[np.float64], n: NDArray[np.float64], design: float, tail: float) -> tuple[float, float]:
    from scipy import special

    p, total, k = x.sum() / n.sum(), float(n.sum()), n.size
    once = tail ** (1 / k)
    effective = total / design
    if k > 1:
        effective *= float(special.ndtri(1 - tail) / special.stdtrit(k - 1, 1 - tail)) ** 2
    low, _ = exact_bounds(p * effective, effective, tail) if p < 1 else (once, 1.0)
    effective = total / (1 + (design - 1) * (1 + RAISE * math.sqrt(2 / max(k - 1, 1))))
    _, high = exact_bounds(p * effective, effective, tail) if p > 0 else (0.0, 1 - once)
    if np.count_nonzero(x) < FEW_ERRING_SUBJECTS:
        high = max(high, 1 - once)
    if np.count_nonzero(x < n) < FEW_ERRING_SUBJECTS:
        low = min(low, once)
    return low, high


def _design_words(x: NDArray[np.float64], n: NDArray[np.float64], design: float, unit: str) -> str:
    if x.sum() in (0, n.sum()):
        return f"each {unit} counted once as none {'errs' if x.sum() == 0 else 'does not err'}"
    return f"design effect {figures(design)}"
